"""A converged PSF, summed in double precision by its definition: what the error of simtiff's PSFs is measured by."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import numpy as np
from baseline import zernike

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS, _NODES, _SAMPLES = 96, 96, 5  # quadrature of the disk; samples per pixel and axis (Gauss-Legendre)


def reference_psf(
    wavelength_nm: float,
    NA: float,
    n_immersion: float,
    pixel_nm: tuple[float, float],
    xyz: NDArray[np.float64],
    phase: NDArray[np.floating],
    size: int,
) -> NDArray[np.float64]:
    """Return stamps (n, size, size) with exact defocus, integrated over pixels, for emitters at x, y (px), z (um)."""
    t, weight_t = np.polynomial.legendre.leggauss(_ROWS)
    eta = np.sin(pi / 2 * t)
    chord = np.cos(pi / 2 * t)
    u, weight_u = np.polynomial.legendre.leggauss(_NODES)
    xi = chord[:, None] * u
    weights = (weight_t * pi / 2 * chord * chord)[:, None] * weight_u
    etas = np.broadcast_to(eta[:, None], xi.shape)
    modes = np.stack([zernike(j, xi, etas) for j in range(1, phase.shape[1] + 1)])
    root = np.sqrt(n_immersion**2 - NA**2 * (xi**2 + etas**2))
    defocus = 2 * pi / wavelength_nm * 1000 * (n_immersion - root)

    part, weight_part = np.polynomial.legendre.leggauss(_SAMPLES)
    places = (np.arange(size)[:, None] - size // 2 + part / 2).ravel()
    cutoff_x, cutoff_y = (NA * pixel / wavelength_nm for pixel in pixel_nm)
    stamps = np.empty((len(xyz), size, size))
    for stamp, (x, y, z), coefficients in zip(stamps, xyz, phase, strict=True):
        pupil = weights * np.exp(1j * (np.tensordot(coefficients, modes, 1) + defocus * z))
        along_x = np.exp(2j * pi * cutoff_x * xi[:, :, None] * (places - x))
        rows = np.einsum("kl,klx->kx", pupil, along_x)
        field = np.exp(2j * pi * cutoff_y * eta * (places[:, None] - y)) @ rows
        density = np.abs(field) ** 2 * cutoff_x * cutoff_y / pi
        per_pixel = density.reshape(size, _SAMPLES, size, _SAMPLES)
        stamp[...] = np.einsum("yaxb,a,b->yx", per_pixel, weight_part / 2, weight_part / 2)
    return stamps
