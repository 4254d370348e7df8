"""The HDF5 file of an aberration map: layout, units and planes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import h5py
import numpy as np
from h5py import h5z

from simtiff._core import inflate_tiles
from simtiff.errors import DataError
from simtiff.io.hdf5 import H5PY_ERRORS, check_stored, find_dataset, need_dataset, reading, stated
from simtiff.io.matlab import empty_shape, is_matlab
from simtiff.io.rows import check_numbers
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

PHASE = "z_maps/phase"
COORDS = "coords"
MAGNITUDE = "zernike/coeff_mag"
POINT_PHASE = "zernike/coeff_phase"
_SAID_AT = (PHASE, "z_maps")

MAX_MODES = 500
"""Maximum number of Zernike modes of a map or a truth file; the core's limit."""
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
    """Metadata of a map; for a file, read and checked without reading its planes.

    ``path`` names the map; ``to_radians`` is the factor from stored values to radians; ``wavelength_nm`` and ``NA``
    are None if unknown; ``points`` is the number of scattered points; ``matlab`` tells whether MATLAB saved the file.
    """

    path: str
    modes: int
    shape: tuple[int, int]
    unit: str = "rad"
    wavelength_nm: float | None = None
    to_radians: float = 1.0
    points: int = 0
    has_point_phase: bool = False
    NA: float | None = None
    matlab: bool = False

    @property
    def are_lengths(self) -> bool:
        """Whether the values are optical path differences, whose phase in radians depends on the wavelength."""
        return self.wavelength_nm is not None and not self.unit.lower().startswith("rad")


def read_header(path: str | Path, file: h5py.File) -> MapHeader:
    """Check the layout of a map's file and return its metadata.

    Raises
    ------
    DataError
        A dataset is missing or has a wrong shape or type, or an attribute has an unknown value.
    """
    phase = need_dataset(
        file, PHASE, Text(" as an array (modes, y, x) of Zernike coefficients, plane i for Noll i + 1")
    )
    matlab, (modes, height, width) = _planes_shape(path, phase)
    points = 0
    of_points = Text("(points of {coords}, modes of {phase})", coords=COORDS, phase=PHASE)
    magnitude, point_phase = find_dataset(file, MAGNITUDE), find_dataset(file, POINT_PHASE)
    coords = find_dataset(file, COORDS)
    if coords is not None:
        points = len(check_numbers(coords, (None, 2), Text("(points, 2), x and y in px")))
        if points > _MAX_POINTS:
            text = Text(
                "{name}: has {points} points; allowed: at most {most}", name=COORDS, points=points, most=_MAX_POINTS
            )
            raise DataError(joined([str(path), text], ": "))
    if magnitude is not None:
        if coords is None:
            text = Text(
                "{path}: no dataset {name}; {user} needs it: (points, 2), x and y in px",
                path=path,
                name=COORDS,
                user=MAGNITUDE,
            )
            raise DataError(text)
        check_numbers(magnitude, (points, modes), of_points)
    if point_phase is not None and coords is not None:
        check_numbers(point_phase, (points, modes), of_points)
    unit, wavelength_nm, to_radians = _units(path, file)
    return MapHeader(
        path=str(path),
        modes=modes,
        shape=(height, width),
        unit=unit,
        wavelength_nm=wavelength_nm,
        to_radians=to_radians,
        points=points,
        has_point_phase=point_phase is not None,
        NA=_numerical_aperture(file),
        matlab=matlab,
    )


def _planes_shape(path: str | Path, phase: h5py.Dataset) -> tuple[bool, tuple[int, int, int]]:
    """Return whether MATLAB saved the planes (in the order y, x, modes), and their number, height and width."""
    with reading(path, PHASE):
        matlab = is_matlab(phase)
        if (empty := empty_shape(phase)) is not None:
            raise _wrong(path, Text("is empty, shape {shape}; allowed: at least one mode and pixel", shape=empty))
        if phase.dtype.kind not in "iuf" or phase.dtype.subdtype is not None:
            raise _wrong(path, Text("holds {found}; allowed: real numbers", found=phase.dtype))
        stored = phase.shape
        if matlab and stored is not None and len(stored) == 2:  # MATLAB drops a last axis of length 1
            stored = (1, *stored)
        if stored is None or len(stored) != 3:
            allowed = Text("H x W x modes") if matlab else Text("(any, any, any), that is (modes, y, x)")
            raise _wrong(path, Text("has shape {shape}; allowed: {allowed}", shape=phase.shape, allowed=allowed))
        modes, height, width = (stored[0], stored[2], stored[1]) if matlab else stored
        shape = (
            Text("{y} x {x} x {modes} (y, x, modes, in MATLAB's order)", y=height, x=width, modes=modes)
            if matlab
            else str(stored)
        )
        if min(stored) < 1:
            raise _wrong(path, Text("is empty, shape {shape}; allowed: at least one mode and pixel", shape=shape))
        check_stored(phase)
        if modes > MAX_MODES or height * width > MAX_PLANE_PX:
            text = Text(
                "has shape {shape}; allowed: at most {modes} modes and {pixels} px a plane",
                shape=shape,
                modes=MAX_MODES,
                pixels=MAX_PLANE_PX,
            )
            raise _wrong(path, text)
    return matlab, (modes, height, width)


def _wrong(path: str | Path, problem: Text) -> DataError:
    """Return the error about the planes of a file."""
    return DataError(joined([str(path), PHASE, problem], ": "))


def _units(path: str | Path, file: h5py.File) -> tuple[str, float | None, float]:
    """Return unit, wavelength in nm, and radians per stored unit (at that wavelength if the unit is a length)."""
    index = stated(file, _SAID_AT, "index")
    if index is not None and str(index).strip().lower() != "noll":
        text = Text("attribute index of {name} is {value}; allowed: Noll", name=PHASE, value=repr(index))
        raise DataError(joined([str(path), text], ": "))
    unit = str(stated(file, _SAID_AT, "unit", "units") or "rad").strip()
    if unit.lower() not in _RADIANS_PER_UNIT:
        text = Text(
            "attribute unit of {name} is {value}; allowed: rad, waves, milliwaves, nm", name=PHASE, value=repr(unit)
        )
        raise DataError(joined([str(path), text], ": "))
    wavelength = stated(file, _SAID_AT, "wavelength", "wavelength_nm")
    wavelength_nm = None
    if wavelength is not None:
        try:
            wavelength_nm = float(wavelength)
        except (TypeError, ValueError):
            wavelength_nm = float("nan")
        if not 100 <= wavelength_nm <= 20000:
            text = Text(
                "attribute wavelength of {name} is {value}; allowed: nanometres, 100 to 20000",
                name=PHASE,
                value=repr(wavelength),
            )
            raise DataError(joined([str(path), text], ": "))
    if unit.lower() != "nm":
        return unit, wavelength_nm, _RADIANS_PER_UNIT[unit.lower()]
    if wavelength_nm is None:
        text = Text("{name} is in nm, but has no attribute wavelength (nm) for the conversion to radians", name=PHASE)
        raise DataError(joined([str(path), text], ": "))
    return unit, wavelength_nm, 2 * np.pi / wavelength_nm


def _numerical_aperture(file: h5py.File) -> float | None:
    """Return the numerical aperture that the map was measured with, if the file has one."""
    value = stated(file, _SAID_AT, "NA")
    return float(value) if isinstance(value, int | float) and 0 < value <= 5 else None


def read_planes(
    file: h5py.File, header: MapHeader, rows: slice = slice(None), columns: slice = slice(None)
) -> Iterator[NDArray[np.float32]]:
    """Yield the phase planes, (y, x), one by one in radians, unchecked: they may have NaN or implausible values."""
    dataset = need_dataset(file, PHASE)
    height, width = header.shape
    most = 2 * len(range(height)[rows]) * len(range(width)[columns]) > height * width
    place = (columns, rows) if header.matlab else (rows, columns)
    for mode in range(header.modes):
        with reading(header.path, f"{PHASE} (mode {mode + 1})"), np.errstate(all="ignore"):
            # HDF5 reads whole tiles anyway, so if most of the plane is needed, reading all of it costs no more.
            tiles = read_tiles(dataset, mode) if most and dataset.ndim == 3 else None
            if tiles is not None:
                stored = tiles[place]
            else:
                stored = dataset[mode, *place] if dataset.ndim == 3 else dataset[place]
            plane = np.ascontiguousarray(stored.T if header.matlab else stored, np.float32)
            if header.to_radians != 1:
                plane = plane * np.float32(header.to_radians)
        yield plane


def read_tiles(dataset: h5py.Dataset, index: int) -> NDArray[np.float32] | None:
    """Return plane `index` of a dataset (planes, y, x), or None if HDF5 has to read it.

    This fast path requires float32 in gzip tiles of one plane each, without missing tiles. Damaged data also return
    None, so that HDF5 reports the error.
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
