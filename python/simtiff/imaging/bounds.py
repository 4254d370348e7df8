"""Derivatives of PSFs, and the Cramér-Rao bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np

from simtiff.errors import ConfigError, ShapeError
from simtiff.imaging.arrays import is_whole, numbers, shown
from simtiff.imaging.camera import Camera, Detector
from simtiff.imaging.options import PsfOptions, refuse_coefficients
from simtiff.imaging.renderer import Renderer
from simtiff.imaging.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from simtiff.imaging.optics import Optics


def psf_gradient(
    optics: Optics,
    xyz: ArrayLike,
    phase: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    modes: Sequence[int] = (),
    size: int = 41,
    model: str = "scalar",
    defocus: str = "exact",
    pixel_integration: bool = True,
    out: NDArray[np.float32] | None = None,
    **options: Unpack[PsfOptions],
) -> NDArray[np.float32]:
    """Compute the PSF of each emitter and its derivatives with respect to position and Zernike coefficients.

    Parameters
    ----------
    optics, xyz, phase, magnitude, size, model, defocus, pixel_integration, **options
        As for `psf`.
    modes : sequence of int
        Noll indices of the phase coefficients for which derivatives are computed.
    out : float32 array (n, 4 + len(modes), size, size), optional
        Filled in place and returned.

    Returns
    -------
    float32 array (n, 4 + len(modes), size, size)
        Value, d/dx and d/dy per px, d/dz per um, d/dc per radian for each mode. They are computed together with the
        stamp, as further fields of the same transform. Their error is below 5e-4 of their own peak; for an emitter on
        the coverslip with supercritical-angle light, the error of d/dz is up to 1e-2.

    Raises
    ------
    ConfigError
        A parameter or a value is not allowed.
    ShapeError
        An array has the wrong shape or type.

    Examples
    --------
    An emitter slightly off the centre of its pixel and above focus, with the derivative for coma (Noll 8):

    >>> import numpy as np
    >>> import simtiff
    >>> value, dx, dy, dz, dcoma = simtiff.psf_gradient(simtiff.Optics(), [[0.2, 0, 0.1]], modes=[8], size=21)[0]
    >>> x = np.arange(21) - 10
    >>> bool(abs(dx.sum()) < 1e-3 and abs((dx * x).sum() - 1) < 0.1)
    True
    """
    if not all(is_whole(noll) and noll >= 1 for noll in modes):
        raise ConfigError(f"modes is {shown(modes)}; expected Noll indices, 1 and up")
    if model == "gaussian" and len(modes):
        raise ConfigError(f"modes is {shown(modes)}, but a Gaussian has no pupil; expected none")
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration, **options)
    refuse_coefficients(model, phase, magnitude)
    scene = Scene.from_arrays(xyz, phase=phase, magnitude=magnitude)
    return renderer.gradients(scene.with_modes(max(modes, default=0)), [int(noll) for noll in modes], out)


def crlb(
    optics: Optics,
    xyz: ArrayLike,
    photons: ArrayLike,
    background: ArrayLike,
    phase: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    size: int = 41,
    model: str = "scalar",
    read_noise: float = 0.0,
    excess_noise: float = 1.0,
    camera: Camera | None = None,
    defocus: str = "exact",
    pixel_integration: bool = True,
    **options: Unpack[PsfOptions],
) -> NDArray[np.float64]:
    """Compute the single-emitter Cramér-Rao bound: the best precision that any unbiased estimator can reach.

    Each emitter is alone on its stamp.

    Parameters
    ----------
    optics, xyz, phase, magnitude, size, model, defocus, pixel_integration, **options
        As for `psf`.
    photons, background : array (n,) or a number
        Photons of each emitter, and background photons per pixel.
    read_noise : float
        Standard deviation of the read noise in electrons; with an EM register, divided by the gain.
    excess_noise : float
        1; with an EM register 2, which is an upper limit.
    camera : Camera, optional
        Replaces these two numbers by its QE, dark charge, gain and read noise. Its maps, if any, must have the shape
        of a stamp, (size, size). Its background is ignored.

    Returns
    -------
    float64 array (n, 5)
        Standard deviations of x px, y px, z um, photons, and background photons per pixel; infinity if the data do not
        determine a parameter, such as z in focus without aberrations.

    Raises
    ------
    ConfigError
        A parameter or a value is not allowed.
    ShapeError
        An array has the wrong shape or type.

    Examples
    --------
    >>> import simtiff
    >>> optics = simtiff.Optics(pixel_size_nm_x=100, pixel_size_nm_y=100)
    >>> sigma = simtiff.crlb(optics, [[0, 0, 0.3]], photons=1000, background=10, size=21, phase_noll={6: 0.7})
    >>> [round(float(100 * value), 1) for value in sigma[0, :2]]  # x and y in nm
    [13.9, 5.1]

    Notes
    -----
    A pixel has the mean ``mu = QE (N h + b) + dark`` and the variance ``v = F mu + (r / G)^2``, with read noise r, gain
    G and excess noise F of a register (Huang et al., Nat. Methods 10, 653, 2013). The Fisher information of parameters
    a and b is the sum over pixels of ``(d mu / da)(d mu / db) / v``, and the bound is the square root of the diagonal
    of its inverse.
    """
    detector = Detector(read_noise_e=read_noise, excess_noise=excess_noise)
    if camera is not None:
        if not isinstance(camera, Camera):
            raise ConfigError(f"camera is a {type(camera).__name__}; expected simtiff.Camera")
        if (read_noise, excess_noise) != (0.0, 1.0):
            raise ConfigError("camera cannot be combined with read_noise or excess_noise")
        detector = camera.detector
        detector.check_frame((size, size), "stamps")
    renderer = Renderer(optics, size=size, model=model, defocus=defocus, pixel_integration=pixel_integration, **options)
    refuse_coefficients(model, phase, magnitude)
    scene = Scene.from_arrays(xyz, phase=phase, magnitude=magnitude)
    of_each = []
    for name, values in (("photons", photons), ("background", background)):
        array = numbers(name, values, np.float64, (0, 1))
        if array.ndim == 1 and len(array) != len(scene.xyz):
            raise ShapeError(f"{name} has {len(array)} elements; expected {len(scene.xyz)}, one for each row of xyz")
        of_each.append(np.ascontiguousarray(np.broadcast_to(array, len(scene.xyz))))
    return renderer.bounds(scene, of_each[0], of_each[1], detector)
