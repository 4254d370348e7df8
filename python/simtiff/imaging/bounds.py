"""Derivatives of PSFs, and the best precision that can be reached: the Cramér-Rao bound."""

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
    """Compute the PSF of each emitter and its derivatives by position and Zernike coefficients.

    Parameters
    ----------
    optics, xyz, phase, magnitude, size, model, defocus, pixel_integration, **options
        As for `psf`.
    modes : sequence of int
        Noll indices of the phase coefficients whose derivatives are wanted.
    out : float32 array (n, 4 + len(modes), size, size), optional
        Filled in place and returned.

    Returns
    -------
    float32 array (n, 4 + len(modes), size, size)
        Value, d/dx and d/dy per px, d/dz per um, d/dc per radian of each mode. They are computed with the stamp, as
        further fields of the same transform, with an error below 5e-4 of their own peak; up to 1e-2, of d/dz, for an
        emitter on the coverslip whose light leaves the sample above the critical angle.

    Raises
    ------
    ConfigError
        If a parameter or a number is not allowed.
    ShapeError
        If an array does not fit.

    Examples
    --------
    An emitter a little beside the middle of its pixel and above focus, which coma (Noll 8) moves along x:

    >>> import numpy as np
    >>> import simtiff
    >>> value, dx, dy, dz, dcoma = simtiff.psf_gradient(simtiff.Optics(), [[0.2, 0, 0.1]], modes=[8], size=21)[0]
    >>> x = np.arange(21) - 10
    >>> bool(abs(dx.sum()) < 1e-3 and abs((dx * x).sum() - 1) < 0.1)
    True
    """
    if not all(is_whole(noll) and noll >= 1 for noll in modes):
        raise ConfigError(f"modes is {shown(modes)}; expected Noll indices, from 1 on")
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
    """Compute the Cramér-Rao bound of each emitter alone on its stamp: the best precision that a localizer can reach.

    Parameters
    ----------
    optics, xyz, phase, magnitude, size, model, defocus, pixel_integration, **options
        As for `psf`.
    photons, background : array (n,) or a number
        Photons of each emitter, and background photons per pixel.
    read_noise : float
        Standard deviation of the read noise in electrons; over the gain, where there is an EM register.
    excess_noise : float
        1; 2 with an EM register, an approximation from above.
    camera : Camera, optional
        Its QE, dark charge, gain and read noise, in place of these two numbers. Its maps, if any, are of the pixels of
        a stamp, (size, size); its own background does not count.

    Returns
    -------
    float64 array (n, 5)
        Standard deviations of x px, y px, z um, photons, and background photons per pixel; infinity where the pixels
        say nothing, as of z in focus without aberrations.

    Raises
    ------
    ConfigError
        If a parameter or a number is not allowed.
    ShapeError
        If an array does not fit.

    Examples
    --------
    >>> import simtiff
    >>> optics = simtiff.Optics(pixel_size_nm_x=100, pixel_size_nm_y=100)
    >>> sigma = simtiff.crlb(optics, [[0, 0, 0.3]], photons=1000, background=10, size=21, phase_noll={6: 0.7})
    >>> [round(float(100 * value), 1) for value in sigma[0, :2]]  # x and y in nm
    [13.9, 5.1]

    Notes
    -----
    A pixel's mean is ``mu = QE (N h + b) + dark``, its variance ``v = F mu + (r / G)^2`` with read noise r, gain G and
    excess noise F of a register (Huang et al., Nat. Methods 10, 653, 2013). The information of parameters a and b is
    the sum over pixels of ``(d mu / da)(d mu / db) / v``, and the bound the square root of the diagonal of its inverse.
    """
    detector = Detector(read_noise_e=read_noise, excess_noise=excess_noise)
    if camera is not None:
        if not isinstance(camera, Camera):
            raise ConfigError(f"camera is a {type(camera).__name__}; expected simtiff.Camera")
        if (read_noise, excess_noise) != (0.0, 1.0):
            raise ConfigError("camera and read_noise or excess_noise are given; expected either")
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
