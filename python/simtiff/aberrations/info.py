"""Summary of an aberration map: a table of its modes, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.mapfile import MAX_COEFFICIENT, PHASE
from simtiff.aberrations.synthetic import BUILTIN, RADIANS_PER_MILLIWAVE
from simtiff.errors import DataError
from simtiff.language import Text

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ModeRow:
    """One Zernike mode over the whole field; in radians, except for names that end in ``_mw`` (milliwaves)."""

    noll: int
    name: str
    mean: float
    std: float
    low: float
    high: float

    @property
    def mean_mw(self) -> float:
        """Mean in milliwaves."""
        return self.mean / RADIANS_PER_MILLIWAVE

    @property
    def std_mw(self) -> float:
        """Standard deviation over the field in milliwaves."""
        return self.std / RADIANS_PER_MILLIWAVE

    @property
    def low_mw(self) -> float:
        """Smallest value in milliwaves."""
        return self.low / RADIANS_PER_MILLIWAVE

    @property
    def high_mw(self) -> float:
        """Largest value in milliwaves."""
        return self.high / RADIANS_PER_MILLIWAVE


@dataclass(frozen=True)
class MapInfo:
    """Summary of a map.

    ``total_mw`` is the minimum, mean and maximum over the field of the rms over all modes from Noll 4 on (piston and
    tilt do not blur), in milliwaves. ``notes`` has remarks, one sentence each.
    """

    name: str
    shape: tuple[int, int]
    modes: int
    unit: str
    wavelength_nm: float | None
    NA: float | None
    points: int
    rows: tuple[ModeRow, ...]
    total_mw: tuple[float, float, float]
    notes: tuple[str, ...]


def map_info(zmap_path: str | os.PathLike[str]) -> MapInfo:
    """Return a table of a map's modes, with means and ranges, and the total aberration.

    Raises
    ------
    DataError
        The file is missing, damaged, or not an aberration map.
    """
    field = FieldMap.open(zmap_path)
    header = field.header
    squares = np.zeros(field.shape, np.float32)
    bad = np.zeros(field.shape, np.bool_)
    rows = []
    for noll, plane in enumerate(field.planes(), start=1):
        good = np.abs(plane) <= MAX_COEFFICIENT
        bad |= ~good
        values = plane if good.all() else plane[good]
        if not values.size:
            raise DataError(
                f"{field.name}: {PHASE}: Noll mode {noll} has no valid value; "
                f"allowed: finite numbers up to {MAX_COEFFICIENT:g} radians"
            )
        if noll > 3:
            squares += np.where(good, plane, 0) ** 2
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        rows.append(ModeRow(noll, noll_name(noll), mean, std, float(values.min()), float(values.max())))
    if bad.all():
        raise DataError(f"{field.name}: {PHASE}: no pixel has valid values for all modes")
    total = np.sqrt(squares[~bad]) / RADIANS_PER_MILLIWAVE
    return MapInfo(
        name=field.name,
        shape=field.shape,
        modes=field.modes,
        unit=header.unit,
        wavelength_nm=header.wavelength_nm,
        NA=header.NA,
        points=header.points,
        rows=tuple(rows),
        total_mw=(float(total.min()), float(total.mean(dtype=np.float64)), float(total.max())),
        notes=_notes(field, bad),
    )


def _notes(field: FieldMap, bad: NDArray[np.bool_]) -> tuple[str, ...]:
    if field.name == BUILTIN:
        return (
            Text("Synthetic, computed on the fly for a field of any size; shown at {size} px.", size=field.shape[0]),
        )
    notes = []
    if field.header.matlab:
        notes.append(Text("Saved by MATLAB: read in MATLAB's order, H x W x modes; row is y, column is x."))
    if field.header.are_lengths:
        notes.append(
            Text("Path differences: converted to radians at optical.wavelength_nm; shown at the file's wavelength.")
        )
    if bad.any():
        y, x = np.argwhere(bad)[0]
        text = Text(
            "{n:,} of {pixels:,} pixels have no valid value, the first at x = {x}, y = {y}: fields must not use them, "
            "and cubic interpolation needs all pixels.",
            n=int(np.count_nonzero(bad)),
            pixels=bad.size,
            x=x,
            y=y,
        )
        notes.append(text)
    if field.has_magnitudes:
        points = field.header.points
        notes.append(
            Text("Amplitude coefficients: at {n} points; cubic interpolation, nearest point outside.", n=points)
        )
    else:
        notes.append(Text("Amplitude coefficients: none, or all zero (uniform amplitude)."))
    if field.header.has_point_phase:
        notes.append(Text("zernike/coeff_phase is ignored: phases are read from z_maps/phase."))
    return tuple(notes)


_NAMES = (
    Text("piston"),
    Text("tilt x"),
    Text("tilt y"),
    Text("defocus"),
    Text("oblique astigmatism"),
    Text("vertical astigmatism"),
    Text("coma y"),
    Text("coma x"),
    Text("trefoil y"),
    Text("trefoil x"),
    Text("spherical"),
    Text("secondary vertical astigmatism"),
    Text("secondary oblique astigmatism"),
    Text("vertical tetrafoil"),
    Text("oblique tetrafoil"),
    Text("secondary coma x"),
    Text("secondary coma y"),
    Text("secondary trefoil x"),
    Text("secondary trefoil y"),
    Text("pentafoil x"),
    Text("pentafoil y"),
    Text("secondary spherical"),
)


def noll_name(noll: int) -> str:
    """Return the name of a Zernike mode; above Noll 22, its radial order n and azimuthal order m."""
    if noll <= len(_NAMES):
        return _NAMES[noll - 1]
    order = 0
    while (order + 1) * (order + 2) // 2 < noll:
        order += 1
    place = noll - order * (order + 1) // 2 - 1
    azimuth = 2 * ((place + 1) // 2) if order % 2 == 0 else 2 * (place // 2) + 1
    sign = "" if azimuth == 0 or noll % 2 == 0 else "-"
    return f"n = {order}, m = {sign}{azimuth}"
