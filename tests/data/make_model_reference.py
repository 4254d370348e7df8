"""Make model_reference_small.npz: PSFs, their derivatives and bounds by the formula, summed in float64.

    python make_model_reference.py

Independent of the package: the six fields of a freely rotating dipole (Stallinga & Rieger, Opt. Express 18, 24461,
2010), in place of the package's five components; a polar quadrature, split at the critical angle, in place of its rows;
derivatives by Richardson's extrapolation of differences of stamps; bounds from NumPy's inverse.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from make_psf_reference import zernike

SIZE, MODES = 17, 21
BY_MODE = (6, 8)
ANGLES, RADII = 160, 56
# wavelength, NA, n_immersion, pixel x and y; n_sample, n_coverslip, focal_depth_um
OIL = (660, 1.4, 1.518, 101.11, 98.83, 1.518, 1.518, 0)
SILICONE = (600, 1.3, 1.406, 110, 95, 1.38, 1.52, 1.5)
WATER = (580, 1.2, 1.33, 110, 130, 1.33, 1.33, 0)
DEEP = (640, 1.25, 1.518, 100, 100, 1.33, 1.523, 2.0)
TIRF = (660, 1.45, 1.518, 90, 100, 1.33, 1.518, 0.3)
CASES = (
    ("scalar", OIL),
    ("scalar", WATER),
    *(("vectorial", optics) for optics in (OIL, WATER, OIL, SILICONE, DEEP, DEEP, TIRF, TIRF, TIRF)),
)


def radii(critical: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights (rho d rho) on [0, 1], with the root at the critical radius taken out."""
    s, w = np.polynomial.legendre.leggauss(RADII)
    s, w = (s + 1) / 2, w / 2
    if critical >= 1:
        return np.sqrt(s), w / 2
    inside, outside = critical * s, math.sqrt(1 - critical**2) * s
    rho = np.r_[np.sqrt(critical**2 - inside**2), np.sqrt(critical**2 + outside**2)]
    return rho, np.r_[inside * critical * w, outside * math.sqrt(1 - critical**2) * w]


def fields(model: str, optics: tuple, rho: np.ndarray, phi: np.ndarray, z: float) -> list[np.ndarray]:
    """Return the pupil of each pair of image polarisation and dipole axis, with the phase of height."""
    wavelength, aperture, ni, _, _, ns, nc, depth = optics
    k = 2000 * math.pi / wavelength
    sine = aperture * rho
    cos_i = np.sqrt(1 - (sine / ni) ** 2)
    if model == "scalar":
        return [np.exp(1j * k * ni * (1 - cos_i) * z)]
    cos_c = np.sqrt(1 - (sine / nc) ** 2)
    cos_s = np.sqrt((1 - (sine / ns) ** 2).astype(complex))
    cos_s = np.where(sine > ns, -1j * np.abs(cos_s), cos_s)
    t_p = 2 * ns * cos_s / (ns * cos_c + nc * cos_s) * 2 * nc * cos_c / (nc * cos_i + ni * cos_c)
    t_s = 2 * ns * cos_s / (ns * cos_s + nc * cos_c) * 2 * nc * cos_c / (nc * cos_c + ni * cos_i)
    common = np.sqrt(cos_i) / (ns * cos_s) * np.exp(-1j * k * (ns * cos_s * z - ni * cos_i * depth))
    p = (cos_s * np.cos(phi), cos_s * np.sin(phi), -sine / ns)
    s = (-np.sin(phi), np.cos(phi), 0)
    along_x = [np.cos(phi) * t_p * a - np.sin(phi) * t_s * b for a, b in zip(p, s, strict=True)]
    along_y = [np.sin(phi) * t_p * a + np.cos(phi) * t_s * b for a, b in zip(p, s, strict=True)]
    return [common * w for w in along_x + along_y]


def stamp(model: str, optics: tuple, xyz: np.ndarray, phase: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Return the light in each pixel, by 5 x 5 points of a Gauss rule."""
    wavelength, aperture, _, px, py, ns, *_ = optics
    r, w = radii(ns / aperture if model == "vectorial" else 1)
    rho, phi = (a.ravel() for a in np.meshgrid(r, 2 * math.pi * np.arange(ANGLES) / ANGLES, indexing="ij"))
    weight = np.repeat(w, ANGLES) * 2 * math.pi / ANGLES
    modes = [zernike(j + 1, rho, phi) for j in range(MODES)]
    pupil = np.maximum(0, 1 + magnitude @ modes) * np.exp(1j * (phase @ modes))
    u, v = np.polynomial.legendre.leggauss(5)
    at = (np.arange(SIZE)[:, None] - SIZE // 2 + u / 2).ravel()
    k = 2 * math.pi * aperture / wavelength
    ex = np.exp(1j * k * px * np.outer(at - xyz[0], rho * np.cos(phi))).T
    ey = np.exp(1j * k * py * np.outer(at - xyz[1], rho * np.sin(phi)))
    light, energy = 0.0, 0.0
    for field in fields(model, optics, rho, phi, xyz[2]):
        light = light + np.abs((ey * (weight * pupil * field)) @ ex) ** 2
        energy += (weight * np.abs(pupil * field) ** 2).sum()
    light *= px * py / (energy * (wavelength / aperture) ** 2)
    return np.einsum("aibj,i,j->ab", light.reshape(SIZE, 5, SIZE, 5), v / 2, v / 2)


def planes(model: str, optics: tuple, xyz: np.ndarray, phase: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Return the stamp and its derivatives by x, y, z and the modes."""

    def at(change: np.ndarray) -> np.ndarray:
        moved = phase.copy()
        for noll, step in zip(BY_MODE, change[3:], strict=True):
            moved[noll - 1] += step
        return stamp(model, optics, xyz + change[:3], moved, magnitude)

    found = [at(np.zeros(5))]
    for unit, step in zip(np.eye(5), (0.02, 0.02, 0.002, 0.01, 0.01), strict=True):
        one, two = ((at(h * unit) - at(-h * unit)) / (2 * h) for h in (step, 2 * step))
        found.append((4 * one - two) / 3)
    return np.array(found)


def bound(planes: np.ndarray, photons: float, background: float, read_noise: float, excess_noise: float) -> np.ndarray:
    value, dx, dy, dz = planes[:4].reshape(4, -1)
    mean = photons * value + background
    slopes = np.array([photons * dx, photons * dy, photons * dz, value, np.ones_like(value)])
    return np.sqrt(np.diag(np.linalg.inv((slopes / (excess_noise * mean + read_noise**2)) @ slopes.T)))


def main() -> None:
    rng = np.random.default_rng(31)
    out: dict[str, list] = {}
    for case, (model, optics) in enumerate(CASES):
        depth = optics[-1]
        low, high = (-0.6, 0.6) if depth == 0 else (max(0.0, depth - 0.5), depth + 0.5)
        xyz = np.r_[rng.uniform(-0.5, 0.5, 2), rng.uniform(low, high)]
        phase = np.r_[0, 0, 0, rng.normal(0, 0.2, MODES - 3)]
        phase[5] += 0.5  # so that z is well known
        magnitude = rng.normal(0, 0.02, MODES) if case % 3 == 2 else np.zeros(MODES)
        counting = (
            10.0 ** rng.uniform(2.5, 4.5),
            10.0 ** rng.uniform(-1, 2),
            rng.choice([0, 1.6]),
            rng.choice([1, 2]),
        )
        found = planes(model, optics, xyz, phase, magnitude)
        for key, value in {
            "model": model,
            "optics": np.array(optics, float),
            "xyz": xyz,
            "phase": phase,
            "magnitude": magnitude,
            "planes": found.astype(np.float32),
            "counting": np.array(counting),
            "crlb": bound(found, *counting),
        }.items():
            out.setdefault(key, []).append(value)
    arrays = {key: np.array(values) for key, values in out.items()}
    np.savez_compressed(Path(__file__).with_name("model_reference_small.npz"), **arrays)


if __name__ == "__main__":
    main()
