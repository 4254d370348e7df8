"""PSFs and images of emitters, with the exact PSF for each emitter's position and aberrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np

from simtiff._core import MOST_THREADS
from simtiff._core import set_threads as core_set_threads
from simtiff._core import threads as core_threads
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import is_whole, output, shown, whole_numbers
from simtiff.imaging.options import PsfOptions, refuse_coefficients
from simtiff.imaging.renderer import Renderer
from simtiff.imaging.scene import MOST_FRAMES, Scene

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from simtiff.imaging.optics import Optics


def set_threads(n: int, /) -> None:
    """Set the number of threads that simtiff uses in this process. Results do not depend on it.

    Parameters
    ----------
    n : int
        0, the default: ``RAYON_NUM_THREADS`` if set, else one thread per CPU that the process may use. This is the
        minimum of its CPU affinity, the CPU quota of its control groups (containers, cluster jobs; rounded up) and
        ``SLURM_CPUS_PER_TASK``. A forked child inherits the number of its parent.
    """
    if not is_whole(n) or not 0 <= n <= MOST_THREADS:
        raise ConfigError(f"the number of threads is {shown(n)}; expected an integer, 0 to {MOST_THREADS}")
    core_set_threads(int(n))


def threads() -> int:
    """Return the number of threads that simtiff uses."""
    return core_threads()


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
        x, y in pixels from the stamp's central pixel, z in micrometres.
    phase : array (n, modes) or (modes,), optional
        Zernike phase coefficients in radians rms; column i is Noll i + 1.
    magnitude : array (n, modes) or (modes,), optional
        Zernike amplitude coefficients, dimensionless.
    size : int
        Side of the stamp in pixels; odd, at most 511.
    model : {"scalar", "vectorial", "gaussian"}
        Scalar; vectorial, for a freely rotating dipole with the indices of sample, coverslip and immersion; or a
        Gaussian without aberrations.
    defocus : {"exact", "paraxial"}
        Defocus phase; paraxial for the scalar model only.
    pixel_integration : bool
        Integrate over each pixel; False: the value at the pixel's centre times the pixel's area.
    out : float32 array (n, size, size), optional
        Filled in place and returned; contents undefined if Ctrl-C ends the call, which takes less than a second.
    **options
        `PsfOptions`: ``phase_noll``, ``blur_nm``, and the shape of a Gaussian.

    Returns
    -------
    float32 array (n, size, size), ``[emitter, y, x]``
        Normalised to one photon over the whole plane; light outside the stamp is lost and does not wrap around.

    Raises
    ------
    ConfigError
        A parameter or a value is not allowed.
    ShapeError
        An array has the wrong shape or type.

    Examples
    --------
    Two emitters, the second 0.5 um above the first and with coma (Noll 8):

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
    vectorial model has five field components instead of one (Stallinga & Rieger, Opt. Express 18, 24461, 2010). They
    are computed by quadrature, with an error below 5e-4 of the stamp's peak; 1e-3 with a refractive-index mismatch,
    and 2e-3 with supercritical-angle light.
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
    """Render an image or a movie of expected photons, without background.

    Parameters
    ----------
    optics : Optics
        The microscope.
    xyz : array (n, 3)
        Position of each record: x, y in pixels (integers are pixel centres), z in micrometres.
    photons : array (n,)
        Photons of each record.
    shape : (y, x)
        Shape of a frame.
    phase, magnitude : array (n, modes) or (modes,), optional
        Zernike coefficients of each record, or of all.
    frame_ix : integer array (n,), optional
        Frame of each record, from 0; default: all records are in one image.
    id : integer array (n,), optional
        Emitter of each record. The PSF is computed once for records with the same id, position and coefficients.
    n_frames : int, optional
        Number of frames; default: up to the last frame with a record.
    size, model, defocus, pixel_integration
        As for `psf`; `size` is the side of each emitter's stamp.
    **options
        `PsfOptions`: ``phase_noll``, ``blur_nm``, and the shape of a Gaussian.
    out : float32 array, optional
        Filled in place and returned; contents undefined if Ctrl-C ends the call, which takes less than a second.

    Returns
    -------
    float32 array (y, x), or (t, y, x) if ``frame_ix`` is given
        Expected photons. Light outside an emitter's stamp is lost.

    Raises
    ------
    ConfigError
        A parameter or a value is not allowed.
    ShapeError
        An array has the wrong shape or type.

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
