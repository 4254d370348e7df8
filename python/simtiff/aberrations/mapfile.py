"""The HDF5 file of an aberration map: its layout, its units and its planes, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import h5py
import numpy as np
from h5py import h5z

from simtiff._core import inflate_tiles
from simtiff.errors import DataError
from simtiff.io.hdf5 import H5PY_ERRORS, attribute, check_numbers, find, find_dataset, need_dataset, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

PHASE = "z_maps/phase"
COORDS = "coords"
MAGNITUDE = "zernike/coeff_mag"
POINT_PHASE = "zernike/coeff_phase"

MAX_MODES = 500
"""Most Zernike modes of a map or a truth file: as many as the core computes."""
MAX_PLANE_PX = 2**26
MAX_COEFFICIENT = 1e3
_MAX_POINTS = 100_000
_FILTERS = ([h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE])
_MAX_TILE_BYTES = 1 << 26
_RADIANS_PER_UNIT = {
    "rad": 1.0,
    "radian": 1.0,
    "radians": 1.0,
    "waves": 2 * np.pi,
    "wave": 2 * np.pi,
    "milliwaves": 2e-3 * np.pi,
    "milliwave": 2e-3 * np.pi,
    "mwaves": 2e-3 * np.pi,
    "nm": 0.0,
}


@dataclass(frozen=True)
class MapHeader:
    """What a map says about itself; of a file, read and checked without reading its planes.

    ``path`` names the map; ``to_radians`` is what stored numbers are multiplied with; ``wavelength_nm`` is None
    where none is known; ``points`` is the number of scattered points.
    """

    path: str
    modes: int
    shape: tuple[int, int]
    unit: str = "rad"
    wavelength_nm: float | None = None
    to_radians: float = 1.0
    points: int = 0
    has_point_phase: bool = False


def read_header(path: str | Path, file: h5py.File) -> MapHeader:
    """Check the layout of a map's file and return what it says about itself.

    Raises
    ------
    DataError
        If a dataset is missing, or has a wrong shape or type, or an attribute says what is not known.
    """
    phase = need_dataset(file, PHASE, " as an array (modes, y, x) of Zernike coefficients, plane i for Noll i + 1")
    check_numbers(phase, (None, None, None), "(modes, y, x)")
    modes, height, width = phase.shape
    if min(phase.shape) < 1:
        raise DataError(f"{path}: {PHASE}: is empty, shape {phase.shape}; allowed: at least one mode and pixel")
    if modes > MAX_MODES or height * width > MAX_PLANE_PX:
        raise DataError(
            f"{path}: {PHASE}: has shape {phase.shape}; allowed: at most {MAX_MODES} modes and "
            f"{MAX_PLANE_PX} px a plane"
        )
    points = 0
    magnitude, point_phase = find_dataset(file, MAGNITUDE), find_dataset(file, POINT_PHASE)
    coords = find_dataset(file, COORDS)
    if coords is not None:
        check_numbers(coords, (None, 2), "(points, 2), x and y in px")
        points = int(coords.shape[0])
        if points > _MAX_POINTS:
            raise DataError(f"{path}: {COORDS}: has {points} points; allowed: at most {_MAX_POINTS}")
    if magnitude is not None:
        if coords is None:
            raise DataError(f"{path}: no dataset {COORDS}; {MAGNITUDE} needs it: (points, 2), x and y in px")
        check_numbers(magnitude, (points, modes), f"(points of {COORDS}, modes of {PHASE})")
    if point_phase is not None and coords is not None:
        check_numbers(point_phase, (points, modes), f"(points of {COORDS}, modes of {PHASE})")
    unit, wavelength_nm, to_radians = _units(path, file, phase)
    return MapHeader(
        str(path), modes, (height, width), unit, wavelength_nm, to_radians, points, point_phase is not None
    )


def _units(path: str | Path, file: h5py.File, phase: h5py.Dataset) -> tuple[str, float | None, float]:
    """Return unit, wavelength in nm, and radians per stored unit; the attributes may also be on the root."""
    group = find(file, "z_maps")
    nodes = [phase, *([] if group is None else [group]), file]

    def stated(*names: str) -> object:
        found = (attribute(node, name) for node in nodes for name in names)
        return next((value for value in found if value is not None), None)

    index = stated("index")
    if index is not None and str(index).strip().lower() != "noll":
        raise DataError(f"{path}: attribute index of {PHASE} is {index!r}; allowed: Noll")
    unit = str(stated("unit", "units") or "rad").strip()
    if unit.lower() not in _RADIANS_PER_UNIT:
        raise DataError(f"{path}: attribute unit of {PHASE} is {unit!r}; allowed: rad, waves, milliwaves, nm")
    wavelength = stated("wavelength", "wavelength_nm")
    wavelength_nm = None
    if wavelength is not None:
        try:
            wavelength_nm = float(wavelength)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            wavelength_nm = float("nan")
        if not 100 <= wavelength_nm <= 20000:
            raise DataError(
                f"{path}: attribute wavelength of {PHASE} is {wavelength!r}; allowed: nanometres, 100 to 20000"
            )
    if unit.lower() != "nm":
        return unit, wavelength_nm, _RADIANS_PER_UNIT[unit.lower()]
    if wavelength_nm is None:
        raise DataError(f"{path}: {PHASE} is in nm, but has no attribute wavelength (nm) to turn them into radians")
    return unit, wavelength_nm, 2 * np.pi / wavelength_nm


def read_planes(
    file: h5py.File, header: MapHeader, rows: slice = slice(None), columns: slice = slice(None)
) -> Iterator[NDArray[np.float32]]:
    """Yield the phase planes one by one in radians; `DataError` names mode and first bad pixel."""
    dataset = need_dataset(file, PHASE)
    height, width = header.shape
    most = 2 * len(range(height)[rows]) * len(range(width)[columns]) > height * width
    for mode in range(header.modes):
        with reading(header.path, f"{PHASE} (mode {mode + 1})"), np.errstate(all="ignore"):
            # HDF5 reads whole tiles anyway, so where most of the plane is wanted, all of it costs nothing more.
            tiles = read_tiles(dataset, mode) if most else None
            stored = dataset[mode, rows, columns] if tiles is None else tiles[rows, columns]
            plane = np.ascontiguousarray(stored, np.float32)
            if header.to_radians != 1:
                plane = plane * np.float32(header.to_radians)
        low, high = float(plane.min()), float(plane.max())
        if not (low >= -MAX_COEFFICIENT and high <= MAX_COEFFICIENT):
            bad = ~(np.abs(plane) <= MAX_COEFFICIENT)
            y, x = np.argwhere(bad)[0]
            value = stored[y, x]
            raise DataError(
                f"{header.path}: {PHASE}: Noll mode {mode + 1} is {value} at pixel "
                f"x = {x + (columns.start or 0)}, y = {y + (rows.start or 0)}; "
                f"allowed: finite numbers up to {MAX_COEFFICIENT:g} radians"
            )
        yield plane


def read_tiles(dataset: h5py.Dataset, index: int) -> NDArray[np.float32] | None:
    """Return plane `index` of a dataset (planes, y, x), or None where only HDF5 itself can read it.

    That is anything but float32 in gzip tiles of one plane each, all there; also what is damaged, so that HDF5 says
    what is wrong.
    """
    try:
        tiles = dataset.chunks
        if tiles is None or tiles[0] != 1 or dataset.dtype != np.dtype("<f4") or 4 * prod(tiles) > _MAX_TILE_BYTES:
            return None
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if filters not in _FILTERS:
            return None
        _, height, width = dataset.shape
        stored = []
        for y in range(0, height, tiles[1]):
            for x in range(0, width, tiles[2]):
                skipped_filters, data = dataset.id.read_direct_chunk((index, y, x))
                if skipped_filters:
                    return None
                stored.append(data)
        plane = np.empty((height, width), np.float32)
        inflate_tiles(stored, tiles[1:], len(filters) == 2, (height, width), plane)
    except H5PY_ERRORS:
        return None
    return plane
