"""PSFs and images of emitters: the exact PSF of each emitter's position and aberrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import MOST_THREADS, Cost, Psf
from simtiff._core import set_threads as core_set_threads
from simtiff._core import threads as core_threads
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import borrowed, is_whole, output, shown, whole_numbers
from simtiff.imaging.camera import Camera, exposure
from simtiff.imaging.optics import Optics
from simtiff.imaging.plans import Plans
from simtiff.imaging.scene import MOST_FRAMES, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

_PLANS = Plans()


def set_threads(n: int, /) -> None:
    """Set the number of threads that simtiff computes with in this process. Results never depend on it.

    Parameters
    ----------
    n : int
        0, the default, is one for each CPU that the process may use: the least of its affinity, the CPU quota of its
        control groups (a container's, a cluster job's; rounded up) and ``SLURM_CPUS_PER_TASK``; or
        ``RAYON_NUM_THREADS``, where that is set. A forked child begins with its parent's number.
    """
    if not is_whole(n) or not 0 <= n <= MOST_THREADS:
        raise ConfigError(f"the number of threads is {shown(n)}; expected an integer, 0 to {MOST_THREADS}")
    core_set_threads(int(n))


def threads() -> int:
    """Return the number of threads that simtiff computes with."""
    return core_threads()


class Renderer:
    """Renders scenes with one set of optics, into new arrays or the caller's; keeps the matrices of the transform.

    It is what `psf` and `render` use. Keep one where frames or stamps are made again and again: arguments are checked
    once, and its matrices stay whatever else is computed. Pickled, it leaves the matrices behind.

    What raises during a call, as Ctrl-C does, ends it at once: ``out`` is then written in part, and the renderer is
    as good as before.

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
        Render at this many samples per pixel and axis and bin them, in place of exact integration; 1 to 64.

    Raises
    ------
    ConfigError
        If a parameter is not allowed, or a stamp is so large in wavelengths that it cannot be computed.

    Examples
    --------
    A movie of two emitters, one of them on in both frames; stamps lose a little of their light:

    >>> import simtiff
    >>> renderer = simtiff.Renderer(simtiff.Optics(), size=31)
    >>> scene = simtiff.Scene.from_arrays([[10, 12, 0], [30.5, 8, 0.3]], [900, 500, 700],
    ...                                   emitter_ix=[0, 1, 1], frame_ix=[0, 0, 1])
    >>> photons = renderer.render(scene, (2, 24, 40))
    >>> photons.shape, photons.dtype
    ((2, 24, 40), dtype('float32'))
    >>> [round(float(frame.sum()), -1) for frame in photons]
    [1340.0, 660.0]
    >>> counts = renderer.expose(scene, photons.shape, simtiff.Camera(background=20, read_noise=1.5), seed=3)
    >>> counts.dtype, counts.shape
    (dtype('uint16'), (2, 24, 40))
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
        if samples_per_pixel is not None:
            sampling: str | int = samples_per_pixel
        else:
            sampling = "integrated" if pixel_integration else "point"
        Cost(optics, size, 0, model, defocus, sampling)  # checks them now; the plan waits for the number of modes
        self.optics = optics
        self.size = int(size)
        self._rest = (model, defocus, sampling)
        self._plan: tuple[int, Psf] | None = None

    def __repr__(self) -> str:
        return f"Renderer({self.optics}, size={self.size})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": None}

    def stamps(self, scene: Scene, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the stamp of each emitter; see `psf`.

        Parameters
        ----------
        scene : Scene
            x and y of its emitters count from the stamp's middle pixel; there may be no records.
        out : float32 array (n, size, size), optional
            Overwritten and returned.

        Returns
        -------
        float32 array (n, size, size)
            Photons per emitted photon.
        """
        core = self._core(scene)
        out = output(out, (len(scene.xyz), self.size, self.size), np.float32)
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

        Returns
        -------
        float32 array (t, y, x)
            Expected photons, without background.

        Raises
        ------
        ConfigError
            If a record is of no frame or emitter, or an emitter cannot be computed.
        ShapeError
            If an array does not fit.
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
        check: Callable[[], object] | None = None,
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
        check : callable, optional
            Called many times a second, from the thread of the call; what it raises ends the call.

        Returns
        -------
        array (t, y, x) of the camera's dtype
            Counts in ADU.

        Raises
        ------
        ConfigError, ShapeError
            As `render` and `Camera.expose` do.
        """
        core = self._core(scene)
        out = output(out, whole_numbers("shape (t, y, x)", shape, 3), camera.dtype)
        space = output(space, out.shape, np.float32)
        key, first = exposure(seed, first_frame)
        if out.size:
            with borrowed():
                core.expose(scene, camera.core, key, first, space, out, finished, check)
        return out

    def _core(self, scene: Scene) -> Psf:
        """Return the core's object for a scene's number of modes."""
        if not isinstance(scene, Scene):
            raise ConfigError(f"scene is a {type(scene).__name__}; expected simtiff.Scene")
        modes = (np.shape(scene.phase) or (0,))[-1]
        held = self._plan  # another thread may put another one there
        if held is None or held[0] != modes:
            self._plan = held = modes, _PLANS.get(self.optics, self.size, modes, *self._rest)
        return held[1]


def psf(
    optics: Optics,
    xyz: ArrayLike,
    phase: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    size: int = 41,
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
        Filled in place and returned; in part where Ctrl-C ends the call, which takes less than a second.

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

    Examples
    --------
    Two emitters, the second 0.5 um above the first's plane and with coma (Noll 8):

    >>> import numpy as np
    >>> import simtiff
    >>> optics = simtiff.Optics(wavelength_nm=660, NA=1.4, pixel_size_nm_x=100, pixel_size_nm_y=100)
    >>> phase = np.zeros((2, 8))
    >>> phase[1, 7] = 0.5
    >>> stamps = simtiff.psf(optics, [[0, 0, 0], [0.3, -0.2, 0.5]], phase)
    >>> stamps.shape, stamps.dtype
    ((2, 41, 41), dtype('float32'))
    >>> [round(float(stamp.sum()), 2) for stamp in stamps]
    [0.98, 0.97]

    Notes
    -----
    The pupil is ``max(0, 1 + sum m_j Z_j) exp(i sum c_j Z_j)`` with Noll's Zernike polynomials (J. Opt. Soc. Am. 66,
    207, 1976); its scalar Fourier transform, squared, is the PSF (Hanser et al., J. Microsc. 216, 32, 2004). It is
    computed by quadrature, with an error below 5e-4 of the stamp's peak.
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
    defocus: str = "exact",
    pixel_integration: bool = True,
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
    size, model, defocus, pixel_integration
        As for `psf`: of the stamp on which an emitter is rendered.
    out : float32 array, optional
        Filled in place and returned; in part where Ctrl-C ends the call, which takes less than a second.

    Returns
    -------
    float32 array (y, x), or (t, y, x) where ``frame_ix`` is given
        Expected photons. Light that falls beside an emitter's stamp is lost.

    Raises
    ------
    ConfigError
        If a parameter or a number is not allowed.
    ShapeError
        If an array does not fit.

    Examples
    --------
    Two emitters in one image, and in a movie of two frames:

    >>> import numpy as np
    >>> import simtiff
    >>> xyz = [[10, 12, 0], [30.5, 8, 0.3]]
    >>> image = simtiff.render(simtiff.Optics(), xyz, [900, 500], (24, 40))
    >>> image.shape, np.unravel_index(image.argmax(), image.shape)
    ((24, 40), (np.int64(12), np.int64(10)))
    >>> movie = simtiff.render(simtiff.Optics(), xyz, [900, 500], (24, 40), frame_ix=[0, 1])
    >>> bool(np.allclose(movie.sum(axis=0), image))
    True
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
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration)
    renderer.render(scene, movie, out.reshape(movie))
    return out
