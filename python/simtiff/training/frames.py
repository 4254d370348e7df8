"""Endless batches of newly drawn crops of a job's field, with their targets."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simtiff._core import normal
from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.config.loading import load_job_config
from simtiff.emitters.crops import CropEmitters, density_on, draw_emitters
from simtiff.errors import ConfigError, ShapeError
from simtiff.imaging.arrays import is_whole, shown
from simtiff.imaging.scene import Scene
from simtiff.movie.frames import renderer_of
from simtiff.movie.light import beam_of
from simtiff.training._field import FieldCamera, FieldLight

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

    Range = float | tuple[float, float] | None

_STREAM = 0x747261696E  # "train": separates these random streams from others with the same seed
_DRAWS, _NOISE = 0, 1
_MOST_SEED = 2**128 - 1
_FIRST_JITTERED = 5  # Noll index: piston, tilts and defocus only shift an emitter
_WORKERS = 2  # batches made at a time: one is drawn while the other is rendered


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some crops and their targets.

    Attributes
    ----------
    frames : (batch, window, y, x)
        Camera frames in ADU, of the config's ``tiff.dtype``; or in photons, float32.
    xyz : (batch, n, 3) float32
        Emitters on the crop that emit in the middle frame of the window: x and y in px of the crop (integers are pixel
        centres), z in um; 0 where `mask` is False.
    photons : (batch, n) float32
        Their photons in the middle frame.
    mask : (batch, n) bool
        True where there is an emitter.
    background : (batch, y, x) float32
        Expected background photons of each pixel in the middle frame; 0 with ``tiff.add_noise`` false.
    origin : (batch, 2) int64
        The field pixel x, y at pixel (0, 0) of each crop.
    coefficients : (batch, n, modes) float32, or None
        Phase coefficients of the emitters in radians rms, from Noll 1 on, if requested.
    bounds : (batch, n, 5) float32, or None
        Single-emitter Cramér-Rao bounds (sigma of x px, y px, z um, photons, background), if requested; infinity where
        `mask` is False.
    index : int
        Number of the batch, from 0.
    """

    frames: NDArray[Any]
    xyz: NDArray[np.float32]
    photons: NDArray[np.float32]
    mask: NDArray[np.bool_]
    background: NDArray[np.float32]
    origin: NDArray[np.int64]
    coefficients: NDArray[np.float32] | None = None
    bounds: NDArray[np.float32] | None = None
    index: int = 0


class Frames:
    """Batches of crops of a job's field, each with newly drawn emitters: frames and targets for training networks.

    Crops are at random positions in the field. The emitters on a crop, and those around it whose PSFs extend into it,
    are drawn for this crop according to the config: density, blinking, photons, z. Each has the exact PSF of its
    position in the field. Background, illumination and the camera with its maps are also those of that position.
    Drift is not applied.

    Batch k depends only on the config, `seed`, k and `rank`, not on the number of threads and processes. Iterating
    yields ``batch(start)``, ``batch(start + 1)``, ... without end.

    Parameters
    ----------
    config : path, dict or JobConfig
        Config of a job, or of a batch, of which ``base_config`` is used.
    size : int
        Side of a crop, in px.
    batch : int
        Number of crops in a batch.
    window : int
        Number of consecutive frames of a crop; targets are of frame ``window // 2``.
    seed : int
        An integer from 0 to 2**128 - 1; batches of different seeds are independent.
    rank, ranks : int
        Index of this process, and number of processes that train together; each rank has its own batches.
    start : int
        The first batch of an iteration.
    density_per_um2 : float or (low, high), optional
        Emitters on at a time, per um^2; (low, high): drawn for each crop. Default: from the config.
    photons : float or (low, high), optional
        Mean photons per frame of a crop's emitters, replaces ``emitters.intensity_mu``; the spread of the photons
        scales with it.
    background : float or (low, high), optional
        Mean background photons per pixel of a crop, replaces the config's; structure, image and illumination still
        shape it.
    zernike_jitter_rad : float
        Standard deviation of a random error added to each phase coefficient from Noll 5 on, drawn for each crop, since
        no map is exact.
    max_emitters : int, optional
        n of the targets; default: enough for nearly all batches. A batch with more emitters has a larger n.
    units : {"adu", "photons"}
        Units of the frames; "photons": float32, with offset, gain and quantum efficiency reversed.
    coefficients, bounds : bool
        Whether batches contain them.
    prefetch : int
        Number of batches made ahead on threads while one is used; 0: none.

    Attributes
    ----------
    config : JobConfig
        The checked config.
    max_emitters : int
        n of the targets.

    Raises
    ------
    ConfigError
        A parameter is out of range, or the crop does not fit into the field.
    DataError
        The aberration map, the camera's maps or the background image are damaged, or do not cover the field.

    Examples
    --------
    >>> from simtiff.training import Frames
    >>> config = {"zmap_path": "builtin:oil", "emitters": {"area_px": 256}}
    >>> frames = Frames(config, size=32, batch=8, density_per_um2=0.5)
    >>> batch = frames.batch(0)
    >>> batch.frames.shape, batch.frames.dtype, batch.xyz.shape[0], batch.background.shape
    ((8, 1, 32, 32), dtype('uint16'), 8, (8, 32, 32))
    >>> for batch in frames:
    ...     if batch.index == 2:
    ...         break
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | JobConfig,
        size: int = 64,
        batch: int = 64,
        window: int = 1,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        start: int = 0,
        *,
        density_per_um2: Range = None,
        photons: Range = None,
        background: Range = None,
        zernike_jitter_rad: float = 0.0,
        max_emitters: int | None = None,
        units: Literal["adu", "photons"] = "adu",
        coefficients: bool = False,
        bounds: bool = False,
        prefetch: int = 2,
    ) -> None:
        self.config = load_job_config(config)
        self.size, self.crops = _whole("size", size, 1, 65536), _whole("batch", batch, 1, 2**20)
        self.window, self.seed = _whole("window", window, 1, 1000), _whole("seed", seed, 0, _MOST_SEED)
        self.ranks = _whole("ranks", ranks, 1, 2**32)
        self.rank = _whole("rank", rank, 0, self.ranks - 1)
        self.start, self.prefetch = _whole("start", start, 0, 2**62), _whole("prefetch", prefetch, 0, 1000)
        if units not in ("adu", "photons"):
            raise ConfigError(f'units is {shown(units)}; expected "adu" or "photons"')
        self.units = units
        self._places = [math.floor(side) - self.size + 1 for side in self.config.emitters.area]
        if min(self._places) < 1:
            width, height = self.config.emitters.area
            raise ConfigError(
                f"size is {self.size}, but emitters.area_px is {width:g} x {height:g}; expected a crop that fits"
            )
        optical, emitters = self.config.optical, self.config.emitters
        if emitters.positions_path is not None:
            raise ConfigError(
                "emitters.positions_path is given, but each crop draws its own emitters; expected no list"
            )
        per_px2 = optical.pixel_size_nm_x * optical.pixel_size_nm_y * 1e-6
        own = density_on(self.config)
        asked = _range("density_per_um2", density_per_um2, 0, 1e6)
        self._density = (own, own) if asked is None else (asked[0] * per_px2, asked[1] * per_px2)
        self._photons = _range("photons", photons, 0, 1e9)
        if self._photons is not None and emitters.intensity_mu <= 0:
            raise ConfigError("photons is given, but emitters.intensity_mu is 0 and cannot be scaled")
        if not (isinstance(zernike_jitter_rad, (int, float)) and 0 <= zernike_jitter_rad <= 100):
            raise ConfigError(f"zernike_jitter_rad is {shown(zernike_jitter_rad)}; expected a number from 0 to 100")
        self._jitter = float(zernike_jitter_rad)
        self._coefficients, self._bounds = bool(coefficients), bool(bounds)
        self._field = open_field(self.config)
        self._field.expect_many_calls()
        self._beam = beam_of(self.config)
        self._light = FieldLight(self.config, _range("background", background, 0, 1e9))
        self._camera = FieldCamera(self.config, self._light.flat)
        self._renderer = renderer_of(self.config)
        self._reach = float(self.config.psf.size_px // 2)
        if max_emitters is None:
            most = self._density[1] * self.size**2
            most *= 1.0 if emitters.blinking.kind == "always" else 1 + 1 / max(1e-9, _mean_on_time(self.config))
            if emitters.fiducials is not None:
                most += emitters.fiducials.count * self.size**2 / math.prod(emitters.area)
            max_emitters = math.ceil(most + 6 * math.sqrt(most)) + 8
        self.max_emitters = _whole("max_emitters", max_emitters, 0, 10**7)

    def __repr__(self) -> str:
        shape = (self.crops, self.window, self.size, self.size)
        return f"Frames(shape {shape}, seed {self.seed}, rank {self.rank} of {self.ranks})"

    def __iter__(self) -> Iterator[Batch]:
        """Yield batch `start` and all that follow."""
        return self.batches(self.start)

    def batches(self, start: int = 0, step: int = 1) -> Iterator[Batch]:
        """Yield batches ``start, start + step, ...`` without end; `prefetch` batches are made ahead."""
        if self.prefetch == 0:
            while True:
                yield self.batch(start)
                start += step
        pool = ThreadPoolExecutor(min(_WORKERS, self.prefetch), thread_name_prefix="training")
        try:
            ahead = deque(pool.submit(self.batch, start + step * k) for k in range(self.prefetch))
            following = start + step * self.prefetch
            while True:
                done = ahead.popleft().result()
                ahead.append(pool.submit(self.batch, following))
                following += step
                yield done
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def empty(self) -> Batch:
        """Return a batch of preallocated arrays for `batch` to fill."""
        crops, size, n = self.crops, self.size, self.max_emitters
        return Batch(
            frames=np.empty((crops, self.window, size, size), self._dtype),
            xyz=np.zeros((crops, n, 3), np.float32),
            photons=np.zeros((crops, n), np.float32),
            mask=np.zeros((crops, n), np.bool_),
            background=np.empty((crops, size, size), np.float32),
            origin=np.empty((crops, 2), np.int64),
            coefficients=np.zeros((crops, n, self._modes), np.float32) if self._coefficients else None,
            bounds=np.full((crops, n, 5), np.inf, np.float32) if self._bounds else None,
        )

    def batch(self, index: int, out: Batch | None = None) -> Batch:
        """Make batch `index`.

        Parameters
        ----------
        index : int
            Number of the batch, from 0.
        out : Batch, optional
            Preallocated arrays, as from `empty`; the returned batch has these arrays.

        Raises
        ------
        ShapeError
            The arrays of `out` do not fit, or are too small for the emitters of the batch.
        """
        if not is_whole(index) or not 0 <= index < 2**63:
            raise ConfigError(f"index is {shown(index)}; expected an integer from 0")
        random = np.random.Generator(np.random.PCG64DXSM(self._seeds(index, _DRAWS)))
        origin = np.empty((self.crops, 2), np.int64)
        for axis, places in enumerate(self._places):
            origin[:, axis] = (places * random.random(self.crops)).astype(np.int64)
        density = _drawn(self._density, self.crops, random)
        brightness = np.ones(self.crops)
        if self._photons is not None:
            brightness = _drawn(self._photons, self.crops, random) / self.config.emitters.intensity_mu
        image, shown_background = self._light.of_crops(origin, self.size, self.window, random)
        emitters = draw_emitters(
            self.config.emitters, origin, self.size, self._reach, self.window, density, brightness, random
        )
        place = emitters.xyz.copy()
        place[:, :2] += origin[emitters.crop]
        light = emitters.light
        if self._beam is not None and len(emitters):
            light = light * self._beam.at(place[:, :2].astype(np.float32))[:, None]
        phase, magnitude = field_coefficients(self.config, self._field, place.astype(np.float32))
        phase = self._jittered(phase, emitters, random)
        scene = self._scene(emitters, light, phase, magnitude, image)
        rows = self._on_target(emitters, light)
        target = self._room(emitters.crop[rows], out)
        self._expose(scene, origin, index, target.frames)
        self._fill(target, rows, emitters, light, phase, origin, shown_background, scene)
        return Batch(**{f.name: getattr(target, f.name) for f in fields(Batch) if f.name != "index"}, index=index)

    @property
    def _dtype(self) -> str:
        return "float32" if self.units == "photons" else self.config.tiff.dtype

    @property
    def _modes(self) -> int:
        return self._field.modes

    def _seeds(self, index: int, purpose: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(_STREAM, purpose, self.rank, index))

    def _jittered(
        self, phase: NDArray[np.float32], emitters: CropEmitters, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Add each crop's random error of the map to its coefficients."""
        if self._jitter == 0 or phase.shape[1] < _FIRST_JITTERED:
            return phase
        drawn = random.random((self.crops, phase.shape[1] - _FIRST_JITTERED + 1))
        normal(drawn.reshape(-1), random.random(drawn.size))
        phase = phase.copy()
        phase[:, _FIRST_JITTERED - 1 :] += (self._jitter * drawn).astype(np.float32)[emitters.crop]
        return phase

    def _scene(
        self,
        emitters: CropEmitters,
        light: NDArray[np.float64],
        phase: NDArray[np.float32],
        magnitude: NDArray[np.float32] | None,
        image: NDArray[np.float32] | None,
    ) -> Scene:
        """Return all crops as consecutive frames of one scene, with their background."""
        row, column = np.nonzero(light)
        return Scene(
            xyz=np.ascontiguousarray(emitters.xyz),
            phase=np.ascontiguousarray(phase),
            magnitude=None if magnitude is None else np.ascontiguousarray(magnitude),
            emitter_ix=row.astype(np.uint32),
            frame_ix=(emitters.crop[row] * self.window + column).astype(np.uint32),
            photons=light[row, column].astype(np.float32),
            background=image,
        )

    def _expose(self, scene: Scene, origin: NDArray[np.int64], index: int, out: NDArray[Any]) -> None:
        shape = (self.crops * self.window, self.size, self.size)
        camera = self._camera.of_crops(origin, self.size, self.window, float32=self.units == "photons")
        seed = int.from_bytes(self._seeds(index, _NOISE).generate_state(2, np.uint64).tobytes(), "little")
        frames = out.reshape(shape)
        self._renderer.expose(scene, shape, camera, seed=seed, out=frames)
        if self.units == "photons":
            self._camera.to_photons(camera, frames)

    def _room(self, crop: NDArray[np.int64], out: Batch | None) -> Batch:
        """Return arrays that hold all targets of these crops: those given, or new ones."""
        most = int(np.bincount(crop, minlength=1).max())
        empty = self.empty()
        if out is None:
            if most <= self.max_emitters:
                return empty
            parts = {field.name: getattr(empty, field.name) for field in fields(Batch)}
            for name, fill in (("xyz", 0), ("photons", 0), ("mask", False), ("coefficients", 0), ("bounds", np.inf)):
                if (array := parts[name]) is not None:
                    parts[name] = np.full((self.crops, most, *array.shape[2:]), fill, array.dtype)
            return Batch(**parts)
        if most > self.max_emitters:
            raise ShapeError(f"a crop has {most} emitters, but out holds {self.max_emitters} (max_emitters)")
        for field in fields(Batch):
            wanted, given = getattr(empty, field.name), getattr(out, field.name)
            if isinstance(wanted, np.ndarray):
                fits = isinstance(given, np.ndarray) and given.shape == wanted.shape and given.dtype == wanted.dtype
                if not (fits and given.flags.c_contiguous and given.flags.writeable):
                    raise ShapeError(
                        f"out.{field.name} does not fit; expected {wanted.dtype} {wanted.shape}, C-contiguous"
                    )
                if field.name not in ("frames", "background", "origin"):
                    given[...] = wanted
        return out

    def _on_target(self, emitters: CropEmitters, light: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the emitters on their crop that emit in the middle frame."""
        inside = (emitters.xyz[:, :2] >= -0.5) & (emitters.xyz[:, :2] < self.size - 0.5)
        return np.flatnonzero(inside.all(axis=1) & (light[:, self.window // 2] > 0))

    def _fill(
        self,
        target: Batch,
        rows: NDArray[np.int64],
        emitters: CropEmitters,
        light: NDArray[np.float64],
        phase: NDArray[np.float32],
        origin: NDArray[np.int64],
        background: NDArray[np.float32],
        scene: Scene,
    ) -> None:
        crop = emitters.crop[rows]
        place = np.arange(len(rows)) - np.searchsorted(crop, crop)  # index within its crop
        target.xyz[crop, place] = emitters.xyz[rows]
        target.photons[crop, place] = light[rows, self.window // 2]
        target.mask[crop, place] = True
        target.background[...] = background if self.config.tiff.add_noise else 0
        target.origin[...] = origin
        if target.coefficients is not None:
            target.coefficients[crop, place] = phase[rows]
        if target.bounds is not None:
            target.bounds[crop, place] = self._bounds_of(rows, emitters, light, scene, origin, background)

    def _bounds_of(
        self,
        rows: NDArray[np.int64],
        emitters: CropEmitters,
        light: NDArray[np.float64],
        scene: Scene,
        origin: NDArray[np.int64],
        background: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the bounds of targets, from the pixels of their crop in the middle frame."""
        middle = Scene(
            xyz=scene.xyz[rows],
            phase=scene.phase[rows],
            magnitude=None if scene.magnitude is None else scene.magnitude[rows],
            emitter_ix=np.arange(len(rows), dtype=np.uint32),
            frame_ix=emitters.crop[rows].astype(np.uint32),
            photons=light[rows, self.window // 2].astype(np.float32),
            background=np.ascontiguousarray(background),
        )
        detector = self._camera.of_crops(origin, self.size, 1, float32=True).detector
        shape = (self.size, self.size)
        return self._renderer.record_bounds(middle, np.zeros(self.crops), shape, detector).astype(np.float32)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if not is_whole(value) or not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name} is {shown(value)}; expected an integer from {low} to {high}")
    return int(value)  # type: ignore[call-overload,no-any-return]


def _range(name: str, value: Range, low: float, high: float) -> tuple[float, float] | None:
    """Return a number or (low, high) as (low, high)."""
    if value is None:
        return None
    try:
        first, last = np.broadcast_to(np.asarray(value, np.float64), 2).tolist()
    except (TypeError, ValueError):
        first, last = math.nan, math.nan
    if not low <= first <= last <= high:
        raise ConfigError(f"{name} is {shown(value)}; expected a number from {low:g} to {high:g}, or (low, high)")
    return first, last


def _drawn(limits: tuple[float, float], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    low, high = limits
    return np.full(count, low) if low == high else low + (high - low) * random.random(count)


def _mean_on_time(config: JobConfig) -> float:
    """Return the shortest mean on-time in frames; it sets how many more emitters a frame has than are on at a time."""
    blinking = config.emitters.blinking
    if blinking.kind == "once":
        return config.emitters.lifetime_avg
    if blinking.kind == "paint":
        return blinking.on_frames or 1.0
    exits = [sum(rates.values()) for name, rates in blinking.states.items() if blinking.brightness.get(name, 0) > 0]
    return 1 / max(max(exits, default=1.0), 1e-9)
