"""Background and camera of a job's whole field and of its crops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import bleach
from simtiff.errors import ConfigError
from simtiff.imaging.camera import Camera
from simtiff.movie.camera import camera_of
from simtiff.movie.light import background_of, has_background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.cameramaps import CameraMaps


def of_field(config: JobConfig) -> JobConfig:
    """Return a job whose frame covers its whole field."""
    width, height = (math.floor(side) for side in config.emitters.area)
    tiff = config.tiff.model_copy(update={"roi_size": (width, height), "crop_offset": (0, 0)})
    return config.model_copy(update={"tiff": tiff})


class FieldLight:
    """The background of a job's field.

    Parameters
    ----------
    config
        The job.
    limits
        The lowest and the highest mean background photons per pixel of a crop; None: from the config.

    Attributes
    ----------
    flat : float
        Background photons per pixel, if equal for all pixels of all crops: the camera adds it; else 0.
    """

    def __init__(self, config: JobConfig, limits: tuple[float, float] | None) -> None:
        block = config.background
        self._noisy = config.tiff.add_noise
        own = config.tiff.noise_params.background if block is None else np.mean(block.photon_limits)
        if limits is None:
            limits = (float(own), float(own)) if block is None else block.photon_limits
        elif own <= 0 and has_background(config):
            raise ConfigError("background is given, but the config's background is 0 and cannot be scaled")
        found = background_of(of_field(config)) if has_background(config) else None
        self._image: NDArray[np.float32] | None = None
        if found is not None and not (found.image == found.image.flat[0]).all():
            self._image = found.image / np.float32(own)
        self._limits = limits
        self._decay = None if block is None else block.decay_frames
        self._frames = config.emitters.frames
        same = self._image is None and limits[0] == limits[1] and self._decay is None
        self.flat = limits[0] if same else 0.0
        self._is_flat = same

    def of_crops(
        self, origin: NDArray[np.int64], size: int, window: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """Return the background of all frames of crops, (n * window, y, x), and of their middle frames, (n, y, x).

        The first is None if the camera adds the background, or without noise.
        """
        count = len(origin)
        low, high = self._limits
        if self._is_flat:
            return None, np.full((count, size, size), low, np.float32)
        mean = np.full(count, low) if low == high else low + (high - low) * random.random(count)
        factor = np.repeat(mean[:, None], window, axis=1)
        if self._decay is not None:  # a window anywhere in the movie
            first = np.floor(max(self._frames - window + 1, 1) * random.random(count)).astype(np.int64)
            left = np.ones(int(first.max()) + window)
            bleach(self._decay, left)
            factor *= left[first[:, None] + np.arange(window)]
        shape = np.ones((count, size, size), np.float32)
        if self._image is not None:
            rows = origin[:, 1, None, None] + np.arange(size)[:, None]
            shape = self._image[rows, origin[:, 0, None, None] + np.arange(size)]
        image = (shape[:, None] * factor.astype(np.float32)[:, :, None, None]).reshape(-1, size, size)
        middle = image[window // 2 :: window]
        return (np.ascontiguousarray(image) if self._noisy else None), middle


class FieldCamera:
    """The camera of a job's field.

    Parameters
    ----------
    config
        The job.
    background
        Background photons of every pixel.
    """

    def __init__(self, config: JobConfig, background: float) -> None:
        field = of_field(config)
        self._dtype = config.tiff.dtype
        self._camera = camera_of(field) if config.tiff.add_noise else Camera(0, 0, shot_noise=False, dtype=self._dtype)
        self._background = background if config.tiff.add_noise else 0.0
        self._maps: CameraMaps | None = None
        if self._camera.maps is not None:
            self._maps = self._camera.maps.in_electrons(self._camera.e_per_adu)
        self._kept: dict[str, Camera] = {}

    def of_crops(self, origin: NDArray[np.int64], size: int, window: int, *, float32: bool) -> Camera:
        """Return the camera, with its maps cut to all frames of crops."""
        dtype = "float32" if float32 else self._dtype
        if self._maps is not None:
            return self._with(dtype, self._maps.crops(origin, size, window))
        if dtype not in self._kept:
            self._kept[dtype] = self._with(dtype, None)
        return self._kept[dtype]

    def _with(self, dtype: str, maps: CameraMaps | None) -> Camera:
        parameters: dict[str, Any] = self._camera.parameters | {"dtype": dtype, "maps": maps}
        return Camera(**parameters | {"background": self._background})

    @staticmethod
    def to_photons(camera: Camera, frames: NDArray[np.float32]) -> None:
        """Convert ADU to photons in place."""
        maps = camera.maps
        offset: Any = camera.offset_adu
        per_adu: Any = camera.e_per_adu
        efficiency: Any = camera.quantum_efficiency
        if maps is not None:
            offset = offset if maps.offset_adu is None else maps.offset_adu
            per_adu = per_adu if maps.adu_per_e is None else 1 / maps.adu_per_e
            efficiency = efficiency if maps.quantum_efficiency is None else np.maximum(maps.quantum_efficiency, 1e-6)
        frames -= offset
        frames *= per_adu / (efficiency * (camera.em_gain or 1.0))
