"""Synthetic aberration maps: smooth fields from nodal aberration theory.

In an optical system with slightly tilted and decentred elements, each aberration keeps the field dependence
of the aligned system, but its zeros (nodes) move off the axis (Shack & Thompson, Proc. SPIE 251, 146,
1980; Thompson, JOSA A 22, 1389, 2005). A pair of Zernike coefficients of azimuthal order m is treated as one complex
number. With the field point as a complex number H = Hx + i Hy (1 at the middle of the field's edge), the pairs
are low-order polynomials of H:

- coma (Noll 8 + i 7): linear with one node; astigmatism (6 + i 5): binodal; trefoil, secondary
  astigmatism and coma and the higher pairs: a constant and a small linear term,
- defocus (field curvature and tilt), spherical aberration: a constant, a tilt and a term in abs(H)^2.

The magnitudes are typical of high-NA oil objectives: astigmatism varies by about +-55 milliwaves over the
field, coma by +-50, spherical aberration is 40 +- 10; the total is 45 to 100 milliwaves rms everywhere in
the field. The seed determines the positions of the nodes and the orientation of the fields.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.mapfile import COORDS, MAGNITUDE, MAX_MODES, MAX_PLANE_PX, PHASE, POINT_PHASE, MapHeader
from simtiff.errors import ConfigError
from simtiff.io.hdf5 import describe, writing_hdf5

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BUILTIN = "builtin:oil"
RECIPE_VERSION = 1
DEFAULT_MODES = 21
WAVELENGTH_NM = 660.0
RADIANS_PER_MILLIWAVE = 2e-3 * np.pi

_STREAM = 0x7A6D6170  # "zmap": independent of the random streams of emitters and camera with the same seed
_POINTS_PER_SIDE = 12
# (cosine, sine) Noll indices of the pairs; magnitudes of the constant, linear and conjugate terms, in milliwaves.
_SMALL_PAIRS = (
    ((10, 9), 6.0, 4.0, 1.5),  # trefoil
    ((12, 13), 3.0, 5.0, 1.5),  # secondary astigmatism
    ((14, 15), 2.0, 1.0, 0.5),  # tetrafoil
    ((16, 17), 6.0, 3.0, 0.5),  # secondary coma
    ((18, 19), 2.0, 1.0, 0.5),  # secondary trefoil
    ((20, 21), 2.0, 1.0, 0.5),  # pentafoil
)


class _Fields:
    """One random draw of all fields: complex polynomials of H for pairs, real ones for single modes, in milliwaves."""

    def __init__(self, random: np.random.Generator) -> None:
        def phase_factor() -> complex:
            angle = 2 * np.pi * random.random()
            return complex(np.cos(angle), np.sin(angle))

        def place(radius: float) -> complex:
            return radius * float(np.sqrt(random.random())) * phase_factor()

        coma = 38 + 10 * random.random()
        node = place(0.25)
        # Coma points along the field vector (real factor); its node is off axis.
        self.pairs: dict[tuple[int, int], list[complex]] = {(8, 7): [-coma * node, coma, 0, 0]}
        # Binodal astigmatism: w (H - near) (1 - H / far); the far node is outside the field.
        # Oriented near a diagonal, so that both components cover their full range within the square field.
        quarter = np.pi / 2 * np.floor(4 * random.random()) + np.pi / 4 + 0.5 * (random.random() - 0.5)
        size = (36 + 8 * random.random()) * complex(np.cos(quarter), np.sin(quarter))
        near, far = place(0.3), (3 + 3 * random.random()) * phase_factor()
        self.pairs[6, 5] = [-size * near, size * (1 + near / far), -size / far, 0]
        for pair, constant, linear, conjugate in _SMALL_PAIRS:
            self.pairs[pair] = [
                constant * phase_factor(),
                linear * phase_factor(),
                0,
                conjugate * phase_factor(),
            ]
        # single modes: constant, tilt vector, term in abs(H)^2
        self.singles: dict[int, tuple[float, complex, float]] = {
            4: (-4.0, place(4), 6.0),
            11: (40 + 9 * random.random(), place(3), -5 - 4 * random.random()),
            22: (3 - 6 * random.random(), place(1), 2.0),
        }

    def evaluate(self, field: NDArray[np.complex128], mode: int) -> NDArray[np.float64]:
        """Return Noll `mode` in milliwaves at the field points H."""
        if mode in self.singles:
            constant, tilt, curved = self.singles[mode]
            value: NDArray[np.float64] = (
                constant + (field * tilt.conjugate()).real + curved * (field.real**2 + field.imag**2)
            )
            return value
        for (cosine, sine), (constant_c, linear, square, conjugate) in self.pairs.items():
            if mode in (cosine, sine):
                pair = constant_c + field * (linear + field * square) + conjugate * field.conj()
                return pair.real if mode == cosine else pair.imag
        return np.zeros(field.shape)

    def is_realistic(self) -> bool:
        """Return whether magnitudes and ranges over the field match the module's description."""
        axis = np.linspace(-1, 1, 25)
        field = (axis[None, :] + 1j * axis[:, None]).ravel()
        planes = {mode: self.evaluate(field, mode) for mode in range(4, DEFAULT_MODES + 1)}
        total = np.sqrt(sum(plane**2 for plane in planes.values()))

        def spread(mode: int) -> float:
            return float(np.ptp(planes[mode])) / 2

        def peak(mode: int) -> float:
            return float(np.abs(planes[mode]).max())

        return bool(
            total.min() >= 45.5
            and total.max() <= 99
            and all(48 <= spread(mode) <= 60 for mode in (5, 6))
            and all(spread(mode) >= 40 and peak(mode) <= 58 for mode in (7, 8))
            and planes[11].min() >= 30
            and planes[11].max() <= 50
        )


@lru_cache(maxsize=8)
def _fields(seed: int) -> _Fields:
    """Return the first realistic draw of a seed's stream."""
    random = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(_STREAM,))))
    while True:
        fields = _Fields(random)
        if fields.is_realistic():
            return fields


class SyntheticMap:
    """A synthetic map, computed exactly at each position; nothing is read, checked or cached.

    Parameters
    ----------
    size
        Side of the square field in px, or its (width, height): abs(H) is then 1 at the middles of the two edges at
        the ends of the longer side.
    seed
        Determines the positions of the nodes and the orientation of the fields.
    modes
        Number of Zernike modes; those above Noll 22 are zero.
    """

    def __init__(self, size: int | tuple[int, int], seed: int = 0, modes: int = DEFAULT_MODES) -> None:
        width, height = size if isinstance(size, tuple) else (size, size)
        self.header = MapHeader(BUILTIN, modes, (height, width), wavelength_nm=WAVELENGTH_NM)
        self.has_magnitudes = False
        self._fields = _fields(seed)

    def planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield the phase planes one by one, (y, x) float32, in radians."""
        height, width = self.header.shape
        y, x = np.divmod(np.arange(height * width, dtype=np.float64), width)
        phase, _ = self.coefficients(x, y)
        return (phase[:, mode].reshape(height, width) for mode in range(self.header.modes))

    def check(self, *_: object, **__: object) -> None:
        """Do nothing: all values are valid."""

    def held_bytes(self, *_: object, **__: object) -> float:
        """Return 0."""
        return 0.0

    def coefficients(
        self, x: NDArray[np.float64], y: NDArray[np.float64], *_: object
    ) -> tuple[NDArray[np.float32], None]:
        """Return the phase, (n, modes) float32, and no amplitude coefficients."""
        height, width = self.header.shape
        half = max(height, width) / 2
        field = np.empty(x.shape, np.complex128)
        field.real, field.imag = (x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half
        phase = np.zeros((x.size, self.header.modes), np.float32)
        for mode in range(4, min(self.header.modes, 22) + 1):
            phase[:, mode - 1] = self._fields.evaluate(field, mode) * RADIANS_PER_MILLIWAVE
        return phase, None


def synthesize(path: str | Path, size: int = 256, seed: int = 0, modes: int = DEFAULT_MODES) -> None:
    """Write a synthetic map as an HDF5 file in the documented format.

    The file has the phase planes in radians rms (with attributes for index, unit and wavelength) and, on a grid of
    points, ``coords``, ``zernike/coeff_phase`` and ``zernike/coeff_mag`` (zero: uniform amplitude). It is
    written atomically.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    size
        Side of the square map in px.
    seed
        Determines the positions of the nodes and the orientation of the fields.
    modes
        Number of Zernike modes.

    Raises
    ------
    ConfigError
        Size, seed or modes are out of range.
    OSError
        The file cannot be written.
    """
    if not 1 <= size <= int(MAX_PLANE_PX**0.5):
        raise ConfigError(f"--size={size}: allowed: 1 to {int(MAX_PLANE_PX**0.5)} px")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed={seed}: allowed: 0 to 2^63 - 1")
    if not 1 <= modes <= MAX_MODES:
        raise ConfigError(f"modes {modes}: allowed: 1 to {MAX_MODES}")
    field = SyntheticMap(size, seed, modes)
    axis = np.arange(size, dtype=np.float64)
    points = np.linspace(0, size - 1, min(size, _POINTS_PER_SIDE))
    coords = np.array([(x, y) for y in points for x in points])
    at_points, _ = field.coefficients(coords[:, 0], coords[:, 1])
    with writing_hdf5(path) as (file, check):
        side = min(size, 256)
        phase = file.create_dataset(
            PHASE,
            (modes, size, size),
            np.float32,
            chunks=(1, side, side),
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
        for first in range(0, size, side):
            rows = axis[first : first + side]
            y, x = np.repeat(rows, size), np.tile(axis, len(rows))
            values, _ = field.coefficients(x, y)
            phase[:, first : first + len(rows)] = values.T.reshape(modes, len(rows), size)
            check()
        describe(phase, index="Noll", unit="rad", wavelength=WAVELENGTH_NM)
        file[COORDS] = coords
        file[POINT_PHASE] = at_points
        file[MAGNITUDE] = np.zeros_like(at_points)
        describe(file, source="simtiff zmap synth", seed=seed, recipe_version=RECIPE_VERSION)


def builtin_digest() -> str:
    """Return a digest that changes whenever the built-in map changes."""
    return hashlib.sha256(f"{BUILTIN} recipe {RECIPE_VERSION}".encode()).hexdigest()
