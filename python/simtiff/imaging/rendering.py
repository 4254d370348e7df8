"""PSFs and images of emitters: the exact PSF of each emitter's position and aberrations."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import Psf
from simtiff._core import set_threads as core_set_threads
from simtiff._core import threads as core_threads
from simtiff.errors import ConfigError, ShapeError
from simtiff.imaging.arrays import asarray, borrowed, indices, is_whole, numbers, output, shown, whole_numbers
from simtiff.imaging.camera import Camera, exposure
from simtiff.imaging.optics import Optics
from simtiff.imaging.scene import same_psf

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    _Scene = tuple[
        NDArray[np.float64],
        NDArray[np.float32],
        NDArray[np.float32] | None,
        NDArray[np.uint32],
        NDArray[np.uint32],
        NDArray[np.float32],
    ]

MODELS = ("scalar",)
DEFOCUS = ("exact", "paraxial")
MOST_THREADS = 4096
MOST_FRAMES = 2**32


def set_threads(n: int, /) -> None:
    """Set the number of threads that simtiff computes with; 0 is one per core. Results never depend on it."""
    if not is_whole(n) or not 0 <= n <= MOST_THREADS:
        raise ConfigError(f"the number of threads is {shown(n)}; expected an integer, 0 to {MOST_THREADS}")
    core_set_threads(int(n))


def threads() -> int:
    """Return the number of threads that simtiff computes with."""
    return core_threads()


@functools.lru_cache(maxsize=4)
def _plan(
    optics: Optics,
    size: int,
    modes: int,
    defocus: str,
    pixel_integration: bool,
    samples_per_pixel: int | None,
) -> Psf:
    """Build, or take from the last few, the matrices of the transform."""
    sampling = samples_per_pixel if samples_per_pixel is not None else 0 if pixel_integration else -1
    pixel = (optics.pixel_size_nm_x, optics.pixel_size_nm_y)
    return Psf(optics.wavelength_nm, optics.NA, optics.n_immersion, pixel, size, modes, defocus, sampling)


class Renderer:
    """Renders emitters with one set of optics; keeps the matrices of the transform between calls.

    Parameters
    ----------
    optics : Optics
        The microscope.
    size : int
        Pixels along a side of the stamp on which an emitter is rendered; odd, at most 511.
    model : {"scalar"}
        PSF model.
    defocus : {"exact", "paraxial"}
        Phase of defocus: ``2 pi / wavelength (n - sqrt(n^2 - NA^2 rho^2)) z``, or ``pi NA^2 rho^2 z / wavelength``.
    pixel_integration : bool
        Integrate over each pixel; False takes the point at the pixel's centre times the pixel's area.
    samples_per_pixel : int, optional
        Render at this many samples per pixel and axis and bin them, in place of exact integration.

    Raises
    ------
    ConfigError
        If a parameter is not allowed.
    """

    def __init__(
        self,
        optics: Optics,
        *,
        size: int = 41,
        model: str = "scalar",
        defocus: str = "exact",
        pixel_integration: bool = True,
        samples_per_pixel: int | None = None,
    ) -> None:
        if not isinstance(optics, Optics):
            raise ConfigError(f"optics is a {type(optics).__name__}; expected simtiff.Optics")
        for name, value, allowed in (("model", model, MODELS), ("defocus", defocus, DEFOCUS)):
            if not isinstance(value, str) or value not in allowed:
                raise ConfigError(f"{name} is {shown(value)}; expected {' or '.join(map(repr, allowed))}")
        if not is_whole(size) or not 1 <= size <= 511:
            raise ConfigError(f"size is {shown(size)}; expected an odd number of pixels from 1 to 511")
        if samples_per_pixel is not None and not (is_whole(samples_per_pixel) and 1 <= samples_per_pixel <= 64):
            raise ConfigError(f"samples_per_pixel is {shown(samples_per_pixel)}; expected an integer from 1 to 64")
        self._size = int(size)
        self._for_modes = functools.partial(
            _plan,
            optics,
            self._size,
            defocus=defocus,
            pixel_integration=bool(pixel_integration),
            samples_per_pixel=None if samples_per_pixel is None else int(samples_per_pixel),
        )
        self._for_modes(0)  # checks the parameters now

    def stamps(
        self,
        xyz: ArrayLike,
        phase: ArrayLike | None,
        magnitude: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the stamp of each emitter; see `psf`."""
        positions = _positions(xyz)
        coefficients, magnitude = _coefficients(len(positions), phase, magnitude)
        out = output(out, (len(positions), self._size, self._size), np.float32)
        with borrowed():
            self._for_modes(coefficients.shape[-1]).stamps(positions, coefficients, magnitude, out)
        return out

    def render(
        self,
        xyz: ArrayLike,
        photons: ArrayLike,
        emitter_ix: ArrayLike,
        frame_ix: ArrayLike,
        shape: tuple[int, int, int],
        phase: ArrayLike | None,
        magnitude: ArrayLike | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return frames of expected photons; each emitter's stamp is computed once, whatever its number of records.

        Parameters
        ----------
        xyz : array (n, 3)
            Emitters: x, y in the frame's pixels, z in um. An emitter may lie outside the frame.
        photons, emitter_ix, frame_ix : array (m,)
            Records: photons emitted, row of ``xyz``, frame from 0 to t - 1.
        shape : (t, y, x)
            Shape of the result.
        phase, magnitude : array (n, modes) or (modes,), optional
            Zernike coefficients of the emitters.
        out : float32 array (t, y, x), optional
            Overwritten and returned.
        """
        core, scene, t, frame = self._scene(xyz, photons, emitter_ix, frame_ix, shape, phase, magnitude)
        out = output(out, (t, *frame), np.float32)
        if out.size:
            with borrowed():
                core.render(*scene, frame, out)
        return out

    def expose(
        self,
        xyz: ArrayLike,
        photons: ArrayLike,
        emitter_ix: ArrayLike,
        frame_ix: ArrayLike,
        shape: tuple[int, int, int],
        phase: ArrayLike | None,
        magnitude: ArrayLike | None = None,
        *,
        camera: Camera,
        seed: int = 1,
        first_frame: int = 0,
        space: NDArray[np.float32] | None = None,
        out: NDArray[Any] | None = None,
        finished: Callable[[int, int], object] | None = None,
    ) -> NDArray[Any]:
        """Return camera frames: what `render` and then `Camera.expose` give, to the last bit, but faster.

        Parameters
        ----------
        xyz, photons, emitter_ix, frame_ix, shape, phase, magnitude
            As for `render`.
        camera, seed, first_frame
            The camera and what it is asked for; see `Camera.expose`.
        space : float32 array (t, y, x), optional
            Work space, for callers that render many chunks.
        out : array (t, y, x) of the camera's dtype, optional
            Overwritten and returned.
        finished : callable, optional
            Called with the index of each frame of `out` and the CRC-32 of its bytes as soon as it is whole, in any
            order and from any thread; what it raises ends the call.
        """
        core, scene, t, frame = self._scene(xyz, photons, emitter_ix, frame_ix, shape, phase, magnitude)
        out = output(out, (t, *frame), camera.dtype)
        space = output(space, out.shape, np.float32)
        key, first = exposure(seed, first_frame)
        if out.size:
            with borrowed():
                core.expose(*scene, camera.core, key, first, frame, space, out, finished)
        return out

    def _scene(
        self,
        xyz: ArrayLike,
        photons: ArrayLike,
        emitter_ix: ArrayLike,
        frame_ix: ArrayLike,
        shape: tuple[int, int, int],
        phase: ArrayLike | None,
        magnitude: ArrayLike | None,
    ) -> tuple[Psf, _Scene, int, tuple[int, int]]:
        """Check emitters and records; return the core for them, them, and the number and shape of frames."""
        positions = _positions(xyz)
        coefficients, magnitude = _coefficients(len(positions), phase, magnitude)
        t, height, width = whole_numbers("shape (t, y, x)", shape, 3)
        light = numbers("photons", photons, np.float32, 1)
        emitter_ix = indices("emitter_ix", emitter_ix, len(light), len(positions))
        frame_ix = indices("frame_ix", frame_ix, len(light), t)
        scene = (positions, coefficients, magnitude, emitter_ix, frame_ix, light)
        return self._for_modes(coefficients.shape[-1]), scene, t, (height, width)


def psf(
    optics: Optics,
    xyz: ArrayLike,
    phase: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    size: int = 31,
    model: str = "scalar",
    defocus: str = "exact",
    pixel_integration: bool = True,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the PSF of each emitter.

    Parameters
    ----------
    optics : Optics
        The microscope.
    xyz : array (n, 3)
        x, y in pixels from the stamp's middle pixel, z in micrometres.
    phase : array (n, modes) or (modes,), optional
        Zernike phase coefficients in radians rms; column i is Noll i + 1.
    magnitude : array (n, modes) or (modes,), optional
        Zernike magnitude coefficients, dimensionless.
    size : int
        Pixels along a side of the stamp; odd, at most 511.
    model : {"scalar"}
        PSF model.
    defocus : {"exact", "paraxial"}
        Phase of defocus.
    pixel_integration : bool
        Integrate over each pixel; False takes the point at the pixel's centre times the pixel's area.
    out : float32 array (n, size, size), optional
        Filled in place and returned.

    Returns
    -------
    float32 array (n, size, size), ``[emitter, y, x]``
        Photons per emitted photon. The whole plane sums to 1; light outside the stamp is lost, not folded back.

    Raises
    ------
    ConfigError
        If a parameter or a number is not allowed.
    ShapeError
        If an array does not fit.

    Notes
    -----
    The pupil is ``max(0, 1 + sum m_j Z_j) exp(i sum c_j Z_j)`` with Noll's Zernike polynomials (J. Opt. Soc. Am. 66,
    207, 1976), transformed by quadrature; the error is below 5e-4 of the stamp's peak.
    """
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration)
    return renderer.stamps(xyz, phase, magnitude, out)


def render(
    optics: Optics,
    xyz: ArrayLike,
    photons: ArrayLike,
    shape: tuple[int, int],
    phase: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    frame_ix: ArrayLike | None = None,
    id: ArrayLike | None = None,  # noqa: A002 - the name in the files
    n_frames: int | None = None,
    size: int = 41,
    model: str = "scalar",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Render an image, or a movie, of expected photons without background.

    Parameters
    ----------
    optics : Optics
        The microscope.
    xyz : array (n, 3)
        x, y in pixels (integers are pixel centres), z in micrometres, of each record.
    photons : array (n,)
        Photons emitted, of each record.
    shape : (y, x)
        Shape of a frame.
    phase, magnitude : array (n, modes) or (modes,), optional
        Zernike coefficients of each record, or of all.
    frame_ix : integer array (n,), optional
        Frame of each record, from 0. Without it, all light goes into one image.
    id : integer array (n,), optional
        Emitter of each record. Records that share an id, a position and coefficients share one PSF, computed once.
    n_frames : int, optional
        Number of frames; without it, up to the last one with a record.
    size, model
        As for `psf`.
    out : float32 array, optional
        Filled in place and returned.

    Returns
    -------
    float32 array (y, x), or (t, y, x) where ``frame_ix`` is given
        Expected photons.
    """
    positions = _positions(xyz)
    light = numbers("photons", photons, np.float32, (0, 1))
    light = np.ascontiguousarray(np.broadcast_to(light, len(positions))) if light.ndim == 0 else light
    if len(light) != len(positions):
        raise ShapeError(f"photons has {len(light)} elements; expected {len(positions)}, one for each row of xyz")
    coefficients, magnitudes = _coefficients(len(positions), phase, magnitude)
    height, width = whole_numbers("shape (y, x)", shape, 2)
    if frame_ix is None:
        if n_frames is not None:
            raise ConfigError("n_frames is given without frame_ix")
        frames, count = np.zeros(len(positions), np.uint32), 1
    else:
        if n_frames is not None and not (is_whole(n_frames) and 0 <= n_frames <= MOST_FRAMES):
            raise ConfigError(f"n_frames is {shown(n_frames)}; expected an integer from 0 to 2^32")
        frames = indices("frame_ix", frame_ix, len(positions), MOST_FRAMES if n_frames is None else n_frames)
        last = int(frames.max()) + 1 if frames.size else 0
        count = last if n_frames is None else int(n_frames)
    emitters = np.arange(len(positions), dtype=np.uint32)
    if id is not None:
        first, emitters = _emitters(asarray("id", id), positions, coefficients, magnitudes)
        positions = np.ascontiguousarray(positions[first])
        coefficients = coefficients if coefficients.ndim == 1 else np.ascontiguousarray(coefficients[first])
        if magnitudes is not None and magnitudes.ndim == 2:
            magnitudes = np.ascontiguousarray(magnitudes[first])
    movie = (count, height, width)
    flat = movie[1:] if frame_ix is None else movie
    out = output(out, flat, np.float32)
    renderer = Renderer(optics, size=size, model=model)
    renderer.render(positions, light, emitters, frames, movie, coefficients, magnitudes, out.reshape(movie))
    return out


def _positions(xyz: ArrayLike) -> NDArray[np.float64]:
    positions = numbers("xyz", xyz, np.float64, 2)
    if positions.shape[1] != 3:
        raise ShapeError(f"xyz has shape {positions.shape}; expected (n, 3)")
    return positions


def _coefficients(
    count: int, phase: ArrayLike | None, magnitude: ArrayLike | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return phase and magnitude with the same number of modes."""
    phases = numbers("phase", np.zeros(0) if phase is None else phase, np.float32, (1, 2))
    magnitudes = None if magnitude is None else numbers("magnitude", magnitude, np.float32, (1, 2))
    for name, array in (("phase", phases), ("magnitude", magnitudes)):
        if array is not None and array.ndim == 2 and len(array) != count:
            raise ShapeError(f"{name} has shape {array.shape}; expected ({count}, modes) or (modes,)")
    if magnitudes is None:
        return phases, None
    modes = max(phases.shape[-1], magnitudes.shape[-1])
    return _padded(phases, modes), _padded(magnitudes, modes)


def _padded(coefficients: NDArray[np.float32], modes: int) -> NDArray[np.float32]:
    """Add modes of coefficient zero at the end."""
    missing = modes - coefficients.shape[-1]
    widths = [(0, 0)] * (coefficients.ndim - 1) + [(0, missing)]
    return np.pad(coefficients, widths) if missing else coefficients


def _emitters(
    ids: NDArray[Any],
    xyz: NDArray[np.float64],
    phase: NDArray[np.float32],
    magnitude: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the records whose PSFs are computed, and which of them each record has."""
    if ids.shape != (len(xyz),) or (ids.dtype.kind not in "ui" and ids.size):
        raise ShapeError(f"id is {ids.dtype} {ids.shape}; expected integers ({len(xyz)},)")
    of_each = (part for part in (phase, magnitude) if part is not None and part.ndim == 2)
    first, emitter_ix = same_psf(ids.astype(np.int64), xyz, *of_each)
    return first, emitter_ix.astype(np.uint32)
