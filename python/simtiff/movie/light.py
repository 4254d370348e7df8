"""Background of a movie, and illumination of emitters and background.

The expected background of pixel p in frame t is ``image[p] * factor[t]`` photons. The image is ``background.photons``
on average, flat or shaped by an image file, times a smooth random structure and the beam of ``illumination``. The
factor of a frame is a draw between the limits of ``photons``, times the fraction left after bleaching. With only an
illumination, it shapes the flat background of ``tiff.noise_params``. Random numbers derive from ``emitters.seed``; the
values of a pixel or a frame do not depend on the crop or the number of frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import bleach
from simtiff.config.light import MOST_PHOTONS
from simtiff.errors import ConfigError, DataError, in_words
from simtiff.imaging.background import Beam, random_field, read_background
from simtiff.io.hdf5 import check_stored, describe, find_dataset, reading
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    import h5py
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.emitters.tables import Records
    from simtiff.imaging.scene import Scene

GROUP = "background"
_IMAGE, _FACTOR = f"{GROUP}/image", f"{GROUP}/factor"
_STREAM = 0x6C696768  # "ligh": separates these random streams from others with the same seed
_STRUCTURE, _FRAMES = 0, 1
_CUT_WORTH_A_NOTE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Expected background photons of a movie: pixel p of frame t has ``image[p] * factor[t]``.

    Attributes
    ----------
    image : (y, x) float32
        Photons per pixel of the frame, averaged over time, before bleaching.
    factor : (t,) float64
        Factor of each frame.
    cut : float
        Fraction of the frame's pixels at which the random structure was clipped at 0; 0 if read from a file.
    """

    image: NDArray[np.float32]
    factor: NDArray[np.float64]
    cut: float = 0.0

    def under(self, scene: Scene, start: int, stop: int) -> Scene:
        """Return a scene of frames ``start..stop - 1`` with their background."""
        return replace(scene, background=self.image, background_factor=self.factor[start:stop])


def has_background(config: JobConfig) -> bool:
    """Return whether a job's background is an image with a factor per frame, not a single number of its camera."""
    return config.background is not None or config.illumination is not None


def background_of(config: JobConfig) -> Background | None:
    """Make the background of a job; None if it is a single number of its camera.

    Raises
    ------
    DataError
        If the image of ``background.image_path`` cannot be read or does not cover the frame.
    ConfigError
        If structure or image make a pixel brighter than the limit.
    """
    if not has_background(config):
        return None
    image, cut = _image(config)
    background = Background(image.astype(np.float32), _factor(config), cut)
    brightest = float(background.image.max()) * float(background.factor.max())
    if brightest > MOST_PHOTONS:
        given = [f"background.{key}" for key in ("structure", "image_path") if getattr(config.background, key, None)]
        text = Text(
            "{keys}: the brightest pixel has {photons:.3g} photons; allowed: up to {most:g}",
            keys=", ".join(["background.photons", *given]),
            photons=brightest,
            most=MOST_PHOTONS,
        )
        raise ConfigError(text)
    return background


def beam_of(config: JobConfig) -> Beam | None:
    """Return the illumination beam of a job; None if the illumination is uniform."""
    illumination, optical = config.illumination, config.optical
    if illumination is None:
        return None
    width, height = config.emitters.area
    return Beam(
        illumination.fwhm_um,
        illumination.centre_px or ((width - 1) / 2, (height - 1) / 2),
        (optical.pixel_size_nm_x / 1000, optical.pixel_size_nm_y / 1000),
    )


def illuminated(records: Records, beam: Beam) -> NDArray[np.float32]:
    """Return the photons of records after the illumination, each at its position."""
    return (records.phot * beam.at(records.xyz[:, :2])).astype(np.float32)


def check_image(config: JobConfig) -> None:
    """Raise `DataError` if a job's background image cannot be read or does not cover the frame."""
    if config.background is not None and config.background.image_path is not None:
        _mean_image(config)


def _image(config: JobConfig) -> tuple[NDArray[np.float64], float]:
    """Return the mean background of a frame's pixels, and the fraction at which its structure was clipped."""
    try:
        image = _mean_image(config)
    except DataError as error:
        raise DataError(joined([in_words(error), "(background.image_path)"], " ")) from error
    origin = config.tiff.crop_offset
    structure = None if config.background is None else config.background.structure
    cut = 0.0
    if structure is not None and structure.amplitude > 0:
        seed = int(_seed(config, _STRUCTURE).generate_state(1, np.uint64)[0])
        field = random_field(image.shape, structure.length_px, seed=seed, origin=origin)
        relative = 1 + structure.amplitude * field.astype(np.float64)
        cut = float(np.mean(relative < 0))
        image *= np.maximum(relative, 0)
    if (beam := beam_of(config)) is not None:
        image *= beam.image(image.shape, origin)
    return image, cut


def _mean_image(config: JobConfig) -> NDArray[np.float64]:
    """Return the background without structure, under uniform illumination."""
    photons, shape = _mean_photons(config), config.tiff.frame_shape
    if config.background is None or config.background.image_path is None:
        return np.full(shape, photons)
    return read_background(config.background.image_path, photons, shape, config.tiff.crop_offset)


def _mean_photons(config: JobConfig) -> float:
    if config.background is None:
        return config.tiff.noise_params.background
    low, high = config.background.photon_limits
    return (low + high) / 2


def _factor(config: JobConfig) -> NDArray[np.float64]:
    """Return the background factor of each frame."""
    background, frames = config.background, config.emitters.frames
    factor = np.ones(frames)
    if background is None:
        return factor
    low, high = background.photon_limits
    if low < high:
        random = np.random.Generator(np.random.PCG64DXSM(_seed(config, _FRAMES)))
        factor = (low + (high - low) * random.random(frames)) / _mean_photons(config)
    if background.decay_frames is not None:
        bleach(background.decay_frames, factor)
    return factor


def _seed(config: JobConfig, purpose: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(config.emitters.seed, spawn_key=(_STREAM, purpose))


def cut_note(background: Background | None) -> str | None:
    """Return a warning if the structure was clipped at more than 1 % of the pixels, or None."""
    if background is None or background.cut <= _CUT_WORTH_A_NOTE:
        return None
    return Text(
        "background.structure was clipped at 0 in {percent:.1f} % of the pixels, so the mean background is above "
        "background.photons",
        percent=100 * background.cut,
    )


def structure_note(configs: Iterable[JobConfig]) -> str | None:
    """Return a warning about the largest structure, if more than 1 % of its pixels will be clipped at 0, or None."""
    structures = [config.background.structure for config in configs if config.background is not None]
    largest = max((structure.amplitude for structure in structures if structure is not None), default=0.0)
    cut = (
        0.5 * math.erfc(1 / (largest * math.sqrt(2))) if largest > 0 else 0.0
    )  # of a normal number below -1 / amplitude
    if cut <= _CUT_WORTH_A_NOTE:
        return None
    return Text(
        "background.structure.amplitude {amplitude:g} is clipped at 0 in about {percent:.1f} % of the pixels, so the "
        "mean background is above background.photons",
        amplitude=largest,
        percent=100 * cut,
    )


# In emitters.h5


def write_background(file: h5py.File, background: Background | None) -> None:
    """Write a movie's background into a truth file that is being written."""
    if background is None:
        return
    for name, values, unit in ((_IMAGE, background.image, "photons per pixel"), (_FACTOR, background.factor, "1")):
        describe(file.create_dataset(name, data=values, track_times=False), unit=unit)


def find_background(file: h5py.File, frames: int, wanted: JobConfig, stored: JobConfig | None) -> Background | None:
    """Return the background of an open truth file's movie for a config.

    The stored background is used if it was made with the same settings; no image file is needed then. Otherwise it is
    made according to the config.

    Parameters
    ----------
    file
        The file.
    frames
        Number of frames of its movie.
    wanted
        The config of the movie to render.
    stored
        The config stored in the file, if any.

    Raises
    ------
    DataError
        If the file is damaged, or a required image cannot be read or does not cover the frame.
    """
    if not has_background(wanted):
        return None
    if stored is not None and _settings_of_light(stored) == _settings_of_light(wanted):
        image = _read(file, _IMAGE, wanted.tiff.frame_shape, np.float32)
        factor = _read(file, _FACTOR, (frames,), np.float64)
        if image is not None and factor is not None:
            return Background(image, factor)
    emitters = wanted.emitters.model_copy(update={"frames": frames})
    return background_of(wanted.model_copy(update={"emitters": emitters}))


def _settings_of_light(config: JobConfig) -> tuple[Any, ...]:
    """Return all settings that a background depends on, except the number of frames."""
    return (
        config.background,
        _mean_photons(config),
        beam_of(config),
        config.emitters.seed,
        config.tiff.crop_offset,
        config.tiff.frame_shape,
    )


def _read(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any] | None:
    """Return a dataset of the background, finite and not negative, or None if it does not exist."""
    dataset = find_dataset(file, name)
    if dataset is None:
        return None
    if dataset.dtype.kind not in "iuf" or dataset.shape != shape:
        text = Text(
            "{path}: {name}: has type {dtype} and shape {found}; expected real numbers of shape {shape}",
            path=file.filename,
            name=name,
            dtype=dataset.dtype,
            found=dataset.shape,
            shape=shape,
        )
        raise DataError(text)
    check_stored(dataset)
    with reading(file.filename, name):
        values: NDArray[Any] = dataset[...].astype(dtype)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        text = Text("{path}: {name}: has NaN, infinite or negative values", path=file.filename, name=name)
        raise DataError(text)
    return values
