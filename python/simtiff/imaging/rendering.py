"""PSFs and images of emitters: the exact PSF of each emitter's position and aberrations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from simtiff._core import MOST_MODES, MOST_THREADS, Psf, Spec
from simtiff._core import set_threads as core_set_threads
from simtiff._core import threads as core_threads
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import borrowed, is_whole, output, shown, whole_numbers
from simtiff.imaging.camera import Camera, exposure
from simtiff.imaging.optics import Optics
from simtiff.imaging.plans import Plans
from simtiff.imaging.scene import MOST_FRAMES, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from simtiff.imaging.camera import Detector

_PLANS = Plans()
_LARGEST_ADDED = 1000.0
_NO_COEFFICIENTS = np.zeros(0, np.float32)


class PsfOptions(TypedDict, total=False):
    """What is seldom asked for of a PSF: keyword arguments of all that computes one.

    Attributes
    ----------
    phase_noll : mapping
        Noll index to a phase coefficient in radians rms that is added to those of all emitters: a cylindrical lens, a
        phase mask. Not for a Gaussian.
    blur_nm : float or (x, y)
        Standard deviation of a Gaussian blur, in nanometres, at most 5 pixels: motion, the size of a bead (diameter d
        adds d^2 / 20 to its square), the bandwidth of the fluorophore.
    sigma_nm : float or (x, y)
        Of a Gaussian: standard deviation in focus, in nanometres; 130 where it is not given.
    depth_nm : float or None
        Of a Gaussian: the depth d over which it widens, ``sigma_x(z) = sigma_x sqrt(1 + ((z - a) / d)^2)``; None: not
        at all.
    astigmatism_nm : float
        Of a Gaussian: a, half the distance between the focus along x, above, and that along y, below.
    """

    phase_noll: Mapping[int, float] | Mapping[str, float]
    blur_nm: float | tuple[float, float]
    sigma_nm: float | tuple[float, float]
    depth_nm: float | None
    astigmatism_nm: float


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
    model : {"scalar", "vectorial", "gaussian"}
        PSF model; see `psf`. A Gaussian takes no account of a scene's coefficients.
    defocus : {"exact", "paraxial"}
        Phase of defocus: ``2 pi / wavelength (n - sqrt(n^2 - NA^2 rho^2)) z``, or ``pi NA^2 rho^2 z / wavelength``,
        which only the scalar model has.
    pixel_integration : bool
        Integrate over each pixel; False takes the point at the pixel's centre times the pixel's area.
    samples_per_pixel : int, optional
        Render at this many samples per pixel and axis and bin them, in place of exact integration; 1 to 64.
    **options
        `PsfOptions`.

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
        **options: Unpack[PsfOptions],
    ) -> None:
        if not isinstance(optics, Optics):
            raise ConfigError(f"optics is a {type(optics).__name__}; expected simtiff.Optics")
        if samples_per_pixel is not None:
            sampling: str | int = samples_per_pixel
        else:
            sampling = "integrated" if pixel_integration else "point"
        self._added = _noll_coefficients(options.pop("phase_noll", {}))
        shape = {key: value for key, value in options.items() if key in {"sigma_nm", "depth_nm", "astigmatism_nm"}}
        if model != "gaussian" and shape:
            raise ConfigError(f"{next(iter(shape))} is of the model 'gaussian'; the model is {shown(model)}")
        if model == "gaussian" and self._added.size:
            raise ConfigError("phase_noll is given, but a Gaussian has no pupil; expected a model that has one")
        if model == "gaussian" and defocus == "paraxial":
            raise ConfigError("defocus is 'paraxial', but a Gaussian has no pupil; expected 'exact'")
        numbers: dict[str, Any] = {
            key: _pair(key, value) if key in {"blur_nm", "sigma_nm"} else _number(key, value)
            for key, value in options.items()
        }
        self.optics = optics
        self.size = int(size) if is_whole(size) else size
        self._arguments = (optics, size, model, defocus, sampling), numbers
        self._spec = self._checked()
        self._plan: tuple[int, Psf] | None = None

    def _checked(self) -> Spec:
        positional, numbers = self._arguments
        return Spec(*positional, **numbers)

    def __repr__(self) -> str:
        return f"Renderer({self.optics}, size={self.size})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plan": None, "_spec": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._spec = self._checked()

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
        core, scene = self._core(scene)
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
        core, scene = self._core(scene)
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
        core, scene = self._core(scene)
        out = output(out, whole_numbers("shape (t, y, x)", shape, 3), camera.dtype)
        space = output(space, out.shape, np.float32)
        key, first = exposure(seed, first_frame)
        if out.size:
            with borrowed():
                core.expose(scene, camera.core, key, first, space, out, finished, check)
        return out

    def gradients(
        self, scene: Scene, modes: Sequence[int] = (), out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the stamp of each emitter and its derivatives; see `psf_gradient`.

        Parameters
        ----------
        scene : Scene
            As for `stamps`.
        modes : sequence of int
            Noll indices, among the coefficients that the scene has.
        out : float32 array (n, 4 + len(modes), size, size), optional
            Overwritten and returned.
        """
        core, scene = self._core(scene)
        out = output(out, (len(scene.xyz), 4 + len(modes), self.size, self.size), np.float32)
        with borrowed():
            core.gradients(scene, [noll - 1 for noll in modes], out)
        return out

    def bounds(
        self, scene: Scene, photons: NDArray[np.float64], background: NDArray[np.float64], detector: Detector
    ) -> NDArray[np.float64]:
        """Return the bound of each emitter alone on its stamp; see `crlb`.

        Parameters
        ----------
        scene : Scene
            As for `stamps`.
        photons, background : float64 array (n,)
            Of each emitter: photons, and background photons per pixel.
        detector : Detector
            What the light becomes before it is counted.

        Returns
        -------
        float64 array (n, 5)
            Sigma of x px, y px, z um, photons, background.
        """
        core, scene = self._core(scene)
        out = np.empty((len(scene.xyz), 5))
        with borrowed():
            core.bounds(scene, photons, background, detector, out)
        return out

    def record_bounds(
        self,
        scene: Scene,
        background: NDArray[np.float64],
        shape: tuple[int, int],
        detector: Detector,
        *,
        joint: bool = False,
    ) -> NDArray[np.float64]:
        """Return the bound of each record of a scene, on the pixels of its frame that its emitter's stamp covers.

        Parameters
        ----------
        scene : Scene
            What is bound; its records are of ``len(background)`` frames.
        background : float64 array (t,)
            Photons per pixel of each frame.
        shape : (y, x)
            Shape of a frame.
        detector : Detector
            What the light becomes before it is counted.
        joint : bool
            Bind an emitter together with all those of its frame whose stamps touch its own, directly or by others, at
            most 250, with one background for all of these; False: each as if it were alone.

        Returns
        -------
        float64 array (m, 5)
            Sigma of x px, y px, z um, photons, background; infinity for what the frame does not show.

        Raises
        ------
        ConfigError
            If more than 250 emitters are to be bound together.
        """
        core, scene = self._core(scene)
        out = np.empty((len(scene.photons), 5))
        if out.size:
            with borrowed():
                core.record_bounds(scene, background, shape, detector, joint, out)
        return out

    def _core(self, scene: Scene) -> tuple[Psf, Scene]:
        """Return the core's object for a scene, and the scene as it takes it."""
        if not isinstance(scene, Scene):
            raise ConfigError(f"scene is a {type(scene).__name__}; expected simtiff.Scene")
        if self._arguments[0][2] == "gaussian":
            scene = replace(scene, phase=_NO_COEFFICIENTS, magnitude=None)  # there is no pupil
        if self._added.size:
            scene = scene.with_modes(len(self._added))
            phase = scene.phase.copy()
            phase[..., : len(self._added)] += self._added
            scene = replace(scene, phase=phase)
        modes = (np.shape(scene.phase) or (0,))[-1]
        held = self._plan  # another thread may put another one there
        if held is None or held[0] != modes:
            self._plan = held = modes, _PLANS.get(self._spec, modes)
        return held[1], scene


def refuse_coefficients(model: str, phase: ArrayLike | None, magnitude: ArrayLike | None) -> None:
    """Raise `ConfigError` if coefficients are given to a model without a pupil."""
    if model == "gaussian" and not (phase is None and magnitude is None):
        raise ConfigError("phase or magnitude is given, but a Gaussian has no pupil; expected neither")


def _noll_coefficients(given: Mapping[int, float] | Mapping[str, float]) -> NDArray[np.float32]:
    """Return what is to be added to phases, from Noll 1 on."""
    try:
        found = {int(noll): float(value) for noll, value in dict(given).items()}
    except (TypeError, ValueError):
        raise ConfigError(f"phase_noll is {shown(given)}; expected Noll indices and radians, as {{6: 0.8}}") from None
    if not all(1 <= noll <= MOST_MODES and abs(value) <= _LARGEST_ADDED for noll, value in found.items()):
        raise ConfigError(
            f"phase_noll is {shown(given)}; expected Noll indices from 1 to {MOST_MODES} and at most 1000 radians"
        )
    coefficients = np.zeros(max(found, default=0), np.float32)
    for noll, value in found.items():
        coefficients[noll - 1] = value
    return coefficients


def _pair(name: str, value: object) -> tuple[float, float]:
    """Return a number of each axis, given as one of both or as two."""
    try:
        pair = tuple(float(v) for v in np.broadcast_to(np.asarray(value, np.float64), 2))
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {shown(value)}; expected a number or two, of x and y") from None
    return pair[0], pair[1]


def _number(name: str, value: object) -> float | None:
    if value is None and name == "depth_nm":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ConfigError(f"{name} is {shown(value)}; expected a number")
    return float(value)


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
    **options: Unpack[PsfOptions],
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
    model : {"scalar", "vectorial", "gaussian"}
        One scalar field; the fields of a dipole that rotates freely, through sample, coverslip and immersion; or a
        Gaussian, which has no aberrations.
    defocus : {"exact", "paraxial"}
        Phase of defocus; paraxial for the scalar model alone.
    pixel_integration : bool
        Integrate over each pixel; False takes the point at the pixel's centre times the pixel's area.
    out : float32 array (n, size, size), optional
        Filled in place and returned; in part where Ctrl-C ends the call, which takes less than a second.
    **options
        `PsfOptions`: ``phase_noll``, ``blur_nm``, and the shape of a Gaussian.

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
    207, 1976); its scalar Fourier transform, squared, is the PSF (Hanser et al., J. Microsc. 216, 32, 2004). The
    vectorial model has five field components in place of one (Stallinga & Rieger, Opt. Express 18, 24461, 2010). They
    are computed by quadrature, with an error below 5e-4 of the stamp's peak, 1e-3 where sample and immersion differ,
    and 2e-3 where light leaves the sample above the critical angle.
    """
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration, **options)
    refuse_coefficients(model, phase, magnitude)
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
    **options: Unpack[PsfOptions],
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
    **options
        `PsfOptions`: ``phase_noll``, ``blur_nm``, and the shape of a Gaussian.
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
    refuse_coefficients(model, phase, magnitude)
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
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration, **options)
    renderer.render(scene, movie, out.reshape(movie))
    return out
