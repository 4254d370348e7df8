"""Render stamps, frames, derivatives and bounds of scenes; keeps the transform matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from simtiff._core import Psf, Spec
from simtiff.errors import ConfigError, ShapeError
from simtiff.imaging.arrays import borrowed, is_whole, output, shown, whole_numbers
from simtiff.imaging.camera import Camera, exposure
from simtiff.imaging.optics import Optics
from simtiff.imaging.options import PsfOptions, noll_coefficients, number, pair
from simtiff.imaging.plans import Plans
from simtiff.imaging.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simtiff.imaging.camera import Detector

_PLANS = Plans()
_NO_COEFFICIENTS = np.zeros(0, np.float32)


class Renderer:
    """Renders scenes with fixed optics, into new or preallocated arrays; keeps the transform matrices.

    `psf` and `render` use it. Keep a renderer to compute many frames or stamps: arguments are checked once, and its
    matrices stay in memory. Pickles do not contain the matrices.

    An exception during a call, such as Ctrl-C, ends it immediately. The contents of ``out`` are then undefined, but
    the renderer remains usable.

    Parameters
    ----------
    optics : Optics
        The microscope.
    size : int
        Side of the PSF stamp in pixels; odd, at most 511.
    model : {"scalar", "vectorial", "gaussian"}
        PSF model; see `psf`. The Gaussian ignores the coefficients of a scene.
    defocus : {"exact", "paraxial"}
        Defocus phase: ``2 pi / wavelength (n - sqrt(n^2 - NA^2 rho^2)) z``, or ``pi NA^2 rho^2 z / wavelength``
        (scalar model only).
    pixel_integration : bool
        Integrate over each pixel; False: the value at the pixel's centre times the pixel's area.
    samples_per_pixel : int, optional
        Render at this many samples per pixel and axis and bin them, instead of exact integration; 1 to 64.
    **options
        `PsfOptions`.

    Raises
    ------
    ConfigError
        A parameter is not allowed, or a stamp is too large in wavelengths to be computed.

    Examples
    --------
    A movie of two emitters, one of them on in both frames. Some light falls outside the stamps:

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
        self._added = noll_coefficients(options.pop("phase_noll", {}))
        shape = {key: value for key, value in options.items() if key in {"sigma_nm", "depth_nm", "astigmatism_nm"}}
        if model != "gaussian" and shape:
            raise ConfigError(f"{next(iter(shape))} needs the model 'gaussian'; the model is {shown(model)}")
        if model == "gaussian" and self._added.size:
            raise ConfigError("phase_noll is given, but a Gaussian has no pupil; expected a model that has one")
        if model == "gaussian" and defocus == "paraxial":
            raise ConfigError("defocus is 'paraxial', but a Gaussian has no pupil; expected 'exact'")
        numbers: dict[str, Any] = {
            key: pair(key, value) if key in {"blur_nm", "sigma_nm"} else number(key, value)
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
            x and y of its emitters are relative to the stamp's central pixel; records are not needed.
        out : float32 array (n, size, size), optional
            Overwritten and returned.

        Returns
        -------
        float32 array (n, size, size)
            Normalised to one photon.
        """
        core, scene = self._core(scene)
        out = output(out, (len(scene.xyz), self.size, self.size), np.float32)
        with borrowed():
            core.stamps(scene, out)
        return out

    def render(
        self, scene: Scene, shape: tuple[int, int, int], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return frames of expected photons; each emitter's stamp is computed once, regardless of its records.

        Parameters
        ----------
        scene : Scene
            Emitters and records. Emitters may be outside the frame.
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
            A record refers to a missing frame or emitter, or an emitter cannot be computed.
        ShapeError
            An array has the wrong shape or type.
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
        """Return camera frames: bit-identical to `render` followed by `Camera.expose`, but faster.

        Parameters
        ----------
        scene, shape
            As for `render`.
        camera, seed, first_frame
            The camera, and the arguments of `Camera.expose`.
        space : float32 array (t, y, x), optional
            Scratch array, for callers that render many chunks.
        out : array (t, y, x) of the camera's dtype, optional
            Overwritten and returned.
        finished : callable, optional
            Called with the index of each frame of `out` and the CRC-32 of its bytes as soon as it is complete, in any
            order and from any thread. If it raises, the call ends.
        check : callable, optional
            Called many times per second, from the calling thread. If it raises, the call ends.

        Returns
        -------
        array (t, y, x) of the camera's dtype
            Counts in ADU.

        Raises
        ------
        ConfigError, ShapeError
            As for `render` and `Camera.expose`.
        """
        core, scene = self._core(scene)
        out = output(out, whole_numbers("shape (t, y, x)", shape, 3), camera.dtype)
        space = output(space, out.shape, np.float32)
        key, first = exposure(seed, first_frame)
        camera.check_frame(out.shape)
        _check_background(scene, out.shape)
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
            Noll indices, among the coefficients of the scene.
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
        """Return the single-emitter bound of each emitter on its stamp; see `crlb`.

        Parameters
        ----------
        scene : Scene
            As for `stamps`.
        photons, background : float64 array (n,)
            Photons of each emitter, and background photons per pixel.
        detector : Detector
            Noise properties of the camera.

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
        """Return the bound of each record of a scene, from the pixels of its frame that its emitter's stamp covers.

        Parameters
        ----------
        scene : Scene
            Emitters and records in ``len(background)`` frames.
        background : float64 array (t,)
            Photons per pixel of each frame, in addition to the scene's background.
        shape : (y, x)
            Shape of a frame.
        detector : Detector
            Noise properties of the camera.
        joint : bool
            Joint bound of an emitter with all emitters of its frame whose stamps overlap with its own, directly or
            through others, at most 250, with one common background; False: single-emitter bounds.

        Returns
        -------
        float64 array (m, 5)
            Sigma of x px, y px, z um, photons, background; infinity if the frame does not determine a parameter.

        Raises
        ------
        ConfigError
            More than 250 emitters overlap.
        """
        core, scene = self._core(scene)
        detector.check_frame((len(background), *shape))
        _check_background(scene, (len(background), *shape))
        out = np.empty((len(scene.photons), 5))
        if out.size:
            with borrowed():
                core.record_bounds(scene, background, shape, detector, joint, out)
        return out

    def _core(self, scene: Scene) -> tuple[Psf, Scene]:
        """Return the core's PSF for a scene, and the scene in the form that it needs."""
        if not isinstance(scene, Scene):
            raise ConfigError(f"scene is a {type(scene).__name__}; expected simtiff.Scene")
        if self._arguments[0][2] == "gaussian":
            scene = replace(scene, phase=_NO_COEFFICIENTS, magnitude=None)  # a Gaussian has no pupil
        if self._added.size:
            scene = scene.with_modes(len(self._added))
            phase = scene.phase.copy()
            phase[..., : len(self._added)] += self._added
            scene = replace(scene, phase=phase)
        modes = (np.shape(scene.phase) or (0,))[-1]
        held = self._plan  # another thread may replace it
        if held is None or held[0] != modes:
            self._plan = held = modes, _PLANS.get(self._spec, modes)
        return held[1], scene


def _check_background(scene: Scene, shape: tuple[int, ...]) -> None:
    """Raise `ShapeError` if a scene's background does not match frames of this shape (t, y, x)."""
    background, factor = scene.background, scene.background_factor
    if background is not None and np.shape(background) not in (tuple(shape[1:]), tuple(shape)):
        raise ShapeError(f"background has shape {np.shape(background)}; expected {tuple(shape[1:])}, as a frame")
    if factor is not None and np.shape(factor) != (shape[0],):
        raise ShapeError(f"background_factor has shape {np.shape(factor)}; expected ({shape[0]},), one for each frame")
