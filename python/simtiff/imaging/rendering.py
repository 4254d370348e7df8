"""PSFs and images of emitters: the exact PSF of each emitter's position and aberrations."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import Psf
from simtiff._core import set_threads as core_set_threads
from simtiff._core import threads as core_threads
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import borrowed, is_whole, output, shown, whole_numbers
from simtiff.imaging.camera import Camera, exposure
from simtiff.imaging.optics import Optics
from simtiff.imaging.scene import MOST_FRAMES, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

MODELS = ("scalar",)
MOST_THREADS = 4096


def set_threads(n: int, /) -> None:
    """Set the number of threads that simtiff computes with; 0 is one per core. Results never depend on it."""
    if not is_whole(n) or not 0 <= n <= MOST_THREADS:
        raise ConfigError(f"the number of threads is {shown(n)}; expected an integer, 0 to {MOST_THREADS}")
    core_set_threads(int(n))


def threads() -> int:
    """Return the number of threads that simtiff computes with."""
    return core_threads()


@functools.lru_cache(maxsize=4)
def _plan(optics: Optics, size: int, modes: int, defocus: str, sampling: str | int) -> Psf:
    """Build, or take from the last few, the matrices of the transform."""
    return Psf(optics, size, modes, defocus, sampling)


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
        if not isinstance(model, str) or model not in MODELS:
            raise ConfigError(f"model is {shown(model)}; expected {' or '.join(map(repr, MODELS))}")
        if samples_per_pixel is not None:
            sampling: str | int = samples_per_pixel
        else:
            sampling = "integrated" if pixel_integration else "point"
        Psf.check(optics, size, defocus, sampling)
        self._size = int(size)
        self._for_modes = functools.partial(_plan, optics, self._size, defocus=defocus, sampling=sampling)

    def stamps(self, scene: Scene, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the stamp of each emitter; see `psf`.

        Parameters
        ----------
        scene : Scene
            x and y of its emitters count from the stamp's middle pixel; there may be no records.
        out : float32 array (n, size, size), optional
            Overwritten and returned.
        """
        core = self._core(scene)
        out = output(out, (len(scene.xyz), self._size, self._size), np.float32)
        with borrowed():
            core.stamps(scene, out)
        return out

    def render(
        self, scene: Scene, shape: tuple[int, int, int], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return frames of expected photons; each emitter's stamp is computed once, whatever its number of records.

        Parameters
        ----------
        scene : Scene
            What is rendered. An emitter may lie outside the frame.
        shape : (t, y, x)
            Shape of the result.
        out : float32 array (t, y, x), optional
            Overwritten and returned.
        """
        core = self._core(scene)
        out = output(out, whole_numbers("shape (t, y, x)", shape, 3), np.float32)
        if out.size:
            with borrowed():
                core.render(scene, out)
        return out

    def expose(
        self,
        scene: Scene,
        shape: tuple[int, int, int],
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
        scene, shape
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
        core = self._core(scene)
        out = output(out, whole_numbers("shape (t, y, x)", shape, 3), camera.dtype)
        space = output(space, out.shape, np.float32)
        key, first = exposure(seed, first_frame)
        if out.size:
            with borrowed():
                core.expose(scene, camera.core, key, first, space, out, finished)
        return out

    def _core(self, scene: Scene) -> Psf:
        """Return the core's object for a scene's number of modes."""
        if not isinstance(scene, Scene):
            raise ConfigError(f"scene is a {type(scene).__name__}; expected simtiff.imaging.scene.Scene")
        return self._for_modes((np.shape(scene.phase) or (0,))[-1])


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
    return renderer.stamps(Scene.from_arrays(xyz, phase=phase, magnitude=magnitude), out)


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
    height, width = whole_numbers("shape (y, x)", shape, 2)
    if n_frames is not None:
        if frame_ix is None:
            raise ConfigError("n_frames is given without frame_ix")
        if not (is_whole(n_frames) and 0 <= n_frames <= MOST_FRAMES):
            raise ConfigError(f"n_frames is {shown(n_frames)}; expected an integer from 0 to 2^32")
    scene = Scene.from_arrays(xyz, photons, phase, magnitude, frame_ix=frame_ix, id=id, n_frames=n_frames)
    if frame_ix is None:
        count = 1
    elif n_frames is None:
        count = int(scene.frame_ix.max()) + 1 if scene.frame_ix.size else 0
    else:
        count = int(n_frames)
    movie = (count, height, width)
    out = output(out, movie[1:] if frame_ix is None else movie, np.float32)
    Renderer(optics, size=size, model=model).render(scene, movie, out.reshape(movie))
    return out
