"""Make psf_reference_small.npz: PSFs by the formula, summed in float64 over a converged quadrature.

    python make_psf_reference.py

Independent of the package: its own Zernike polynomials (by the explicit radial sum), its own quadrature (polar:
Gauss-Legendre in rho^2, equal steps in the angle) and no transform but the sum itself. Pixels are integrated by
7 x 7 Gauss-Legendre points.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

SIZE = 21
MODES = 21


def noll(j: int) -> tuple[int, int]:
    """Return radial and signed azimuthal order of a Noll index."""
    n = 0
    while (n + 1) * (n + 2) // 2 < j:
        n += 1
    place = j - n * (n + 1) // 2
    m = place // 2 * 2 if n % 2 == 0 else (place - 1) // 2 * 2 + 1
    return n, m if j % 2 == 0 else -m


def zernike(j: int, rho: np.ndarray, phi: np.ndarray) -> np.ndarray:
    n, m = noll(j)
    a = abs(m)
    radial = sum(
        (-1) ** k
        * math.factorial(n - k)
        / (math.factorial(k) * math.factorial((n + a) // 2 - k) * math.factorial((n - a) // 2 - k))
        * rho ** (n - 2 * k)
        for k in range((n - a) // 2 + 1)
    )
    if m == 0:
        return math.sqrt(n + 1) * radial
    return math.sqrt(2 * n + 2) * radial * (np.cos(a * phi) if m > 0 else np.sin(a * phi))


def samples(optics, xyz, phase, magnitude, at, paraxial):
    wavelength, aperture, index, px, py = optics
    s, w = np.polynomial.legendre.leggauss(64)
    rho2, weight = (s + 1) / 2, w / 2 * math.pi / 160
    rho, phi = np.meshgrid(np.sqrt(rho2), 2 * math.pi * np.arange(160) / 160, indexing="ij")
    weight = np.repeat(weight, 160)
    rho, phi = rho.ravel(), phi.ravel()
    depth = 1000 * xyz[2]
    if paraxial:
        defocus = math.pi * aperture**2 * rho**2 * depth / wavelength
    else:
        defocus = 2 * math.pi / wavelength * (index - np.sqrt(index**2 - (aperture * rho) ** 2)) * depth
    total = defocus + sum(c * zernike(j + 1, rho, phi) for j, c in enumerate(phase))
    amplitude = np.maximum(0, 1 + sum(m * zernike(j + 1, rho, phi) for j, m in enumerate(magnitude)))
    pupil = weight * amplitude * np.exp(1j * total)
    k = 2 * math.pi * aperture / wavelength
    ex = np.exp(1j * k * px * np.outer(at - xyz[0], rho * np.cos(phi)))
    ey = np.exp(1j * k * py * np.outer(at - xyz[1], rho * np.sin(phi)))
    energy = (wavelength / aperture) ** 2 * (weight * amplitude**2).sum()
    return np.abs((ey * pupil) @ ex.T) ** 2 * px * py / energy


def main() -> None:
    rng = np.random.default_rng(20)
    pixels = np.arange(SIZE) - SIZE // 2
    u, w = np.polynomial.legendre.leggauss(7)
    fine = (pixels[:, None] + u / 2).ravel()
    out: dict[str, list] = {
        key: []
        for key in (
            "optics",
            "xyz",
            "phase",
            "magnitude",
            "scalar_integrated",
            "scalar_point",
            "scalar_paraxial_point",
        )
    }
    microscopes = [(660, 1.4, 1.518, 101.11, 98.83), (596, 1.47, 1.518, 65, 65), (580, 1.2, 1.33, 110, 130)]
    for case in range(6):
        optics = microscopes[case % 3]
        size = (0, 0.1, 0.25, 0.4, 0.1, 0.25)[case]
        phase = np.r_[0, 0, 0, rng.normal(0, size, MODES - 3)]
        phase[:3] = rng.normal(0, 0.5 * size, 3)
        magnitude = rng.normal(0, 0.03 if case % 2 else 0, MODES)
        xyz = np.r_[rng.uniform(-0.5, 0.5, 2), rng.uniform(-1, 1)]
        args = (optics, xyz, phase, magnitude)
        square = samples(*args, fine, False).reshape(SIZE, 7, SIZE, 7)
        out["scalar_integrated"].append(np.einsum("aibj,i,j->ab", square, w / 2, w / 2))
        out["scalar_point"].append(samples(*args, pixels, False))
        out["scalar_paraxial_point"].append(samples(*args, pixels, True))
        for key, value in zip(("optics", "xyz", "phase", "magnitude"), args, strict=True):
            out[key].append(value)
    arrays = {key: np.array(value, np.float32 if key.startswith("scalar") else float) for key, value in out.items()}
    np.savez_compressed(Path(__file__).with_name("psf_reference_small.npz"), **arrays)


if __name__ == "__main__":
    main()
