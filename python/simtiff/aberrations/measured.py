"""Aberration maps from HDF5 files: planes of coefficients on a pixel grid, interpolated.

Phase planes are kept one array each, already spline-filtered for cubic interpolation and cut to the part of
the map that the field needs, so a worker holds 4 bytes per pixel and mode and pays for filtering once. Planes
that are constant, as modes that were not measured are, keep a single number.

The core filters and interpolates.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simtiff import _core
from simtiff.errors import DataError
from simtiff.fieldmap import MAX_MODES, FieldMap, Method
from simtiff.io.hdf5 import (
    attribute,
    check_numbers,
    find,
    find_dataset,
    need_dataset,
    open_hdf5,
    read_rows,
    reading,
)
from simtiff.magnitude import ScatteredCoefficients
from simtiff.tiles import read_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

PHASE = "z_maps/phase"
COORDS = "coords"
MAGNITUDE = "zernike/coeff_mag"
POINT_PHASE = "zernike/coeff_phase"

MAX_PLANE_PX = 2**26
MAX_COEFFICIENT = 1e3
_MAX_POINTS = 100_000
_MAX_POSITION_PX = 1e7
_MAX_HELD_BYTES = 4 * 2**30
# The cubic spline forgets a far pixel by a factor 0.27 per pixel: 32 px of margin are beyond double
# precision.
_MARGIN_PX = 32
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
    """What a map's file says about itself, read and checked without reading its planes.

    ``to_radians`` is what stored numbers are multiplied with; `wavelength_nm` is None where the file has
    none.
    """

    path: str
    modes: int
    shape: tuple[int, int]
    unit: str
    wavelength_nm: float | None
    to_radians: float
    points: int
    has_point_phase: bool


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


def read_magnitude(file: h5py.File, header: MapHeader) -> ScatteredCoefficients | None:
    """Return the magnitudes over the field; None where the file has none or all are zero."""
    dataset = find_dataset(file, MAGNITUDE)
    if dataset is None or not header.points:
        return None
    values = read_rows(dataset, 0, header.points, np.float64)
    if not values.any():
        return None
    if np.abs(values).max() > MAX_COEFFICIENT:
        row, mode = np.argwhere(np.abs(values) > MAX_COEFFICIENT)[0]
        raise DataError(
            f"{header.path}: {MAGNITUDE}: {values[row, mode]:g} at point {row}, Noll mode {mode + 1}; "
            f"allowed: numbers up to {MAX_COEFFICIENT:g}"
        )
    coords = read_rows(need_dataset(file, COORDS), 0, header.points, np.float64)
    if np.abs(coords).max() > _MAX_POSITION_PX:
        raise DataError(
            f"{header.path}: {COORDS}: up to {np.abs(coords).max():g}; allowed: up to {_MAX_POSITION_PX:g} px"
        )
    return ScatteredCoefficients(coords, values)


@dataclass(frozen=True)
class _Window:
    """The part of the map that is held in memory."""

    y0: int
    y1: int
    x0: int
    x1: int

    def holds(self, other: _Window) -> bool:
        return self.y0 <= other.y0 and other.y1 <= self.y1 and self.x0 <= other.x0 and other.x1 <= self.x1


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    """Return the pixels needed for places from `low` to `high`, with the spline's margin, inside the map."""
    first = int(np.clip(np.floor(low), 0, length - 1)) - _MARGIN_PX
    last = int(np.clip(np.ceil(high), 0, length - 1)) + _MARGIN_PX
    return max(0, first), min(length, last + 1)


class SampledMap(FieldMap):
    """A map from an HDF5 file.

    Parameters
    ----------
    path
        The file.
    x_range, y_range
        Lowest and highest place in map px that will be asked for; None: the whole map. Only this part, with
        a margin, is held in memory.
    """

    def __init__(
        self,
        path: str | Path,
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> None:
        self.name = str(path)
        with open_hdf5(path) as file:
            self.header = read_header(path, file)
            self._magnitude = read_magnitude(file, self.header)
        self.modes, self.shape = self.header.modes, self.header.shape
        height, width = self.shape
        y0, y1 = _span(*y_range, height) if y_range else (0, height)
        x0, x1 = _span(*x_range, width) if x_range else (0, width)
        self._window = _Window(y0, y1, x0, x1)
        self._filtered = False
        self._planes: list[NDArray[np.float32] | float] = []
        self._lock = threading.Lock()

    def _evaluate(
        self, x: NDArray[np.float64], y: NDArray[np.float64], method: Method
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        phase = np.empty((x.size, self.modes), np.float32)
        if x.size:
            planes, window = self._load(x, y, filtered=method == "cubic")
            varying = {mode: plane for mode, plane in enumerate(planes) if not isinstance(plane, float)}
            shape = (window.y1 - window.y0, window.x1 - window.x0)
            places = np.column_stack([x - window.x0, y - window.y0])
            values = phase if len(varying) == self.modes else np.empty((x.size, len(varying)), np.float32)
            _core.interpolate(list(varying.values()), shape, method, places, values)
            if values is not phase:
                phase[:] = [plane if isinstance(plane, float) else 0 for plane in planes]
                phase[:, list(varying)] = values
        return phase, None if self._magnitude is None else self._magnitude(x, y)

    def check(self, method: Method) -> None:
        """Read the whole map and check it; see `FieldMap.check`."""
        filtered = method == "cubic"
        with self._lock:
            self._planes = self._read(self._window, filtered=filtered, check_all=True)
            self._filtered = filtered

    def _load(
        self, x: NDArray[np.float64], y: NDArray[np.float64], *, filtered: bool
    ) -> tuple[list[NDArray[np.float32] | float], _Window]:
        """Return the planes, raw or spline-filtered, of a window that holds these places."""
        height, width = self.shape
        asked = _Window(int(y.min()), min(height, int(y.max()) + 2), int(x.min()), min(width, int(x.max()) + 2))
        with self._lock:
            if not self._window.holds(asked):
                self._window, self._planes = _Window(0, height, 0, width), []
            if not self._planes or self._filtered != filtered:
                self._planes = []
                self._planes = self._read(self._window, filtered=filtered)
                self._filtered = filtered
            return self._planes, self._window

    def _read(self, window: _Window, *, filtered: bool, check_all: bool = False) -> list[NDArray[np.float32] | float]:
        size = 4 * self.modes * (window.y1 - window.y0) * (window.x1 - window.x0)
        if size > _MAX_HELD_BYTES:
            raise DataError(
                f"{self.name}: {PHASE}: needs {size / 2**30:.1f} GiB of memory; allowed: "
                f"{_MAX_HELD_BYTES / 2**30:g} GiB (a smaller emitters.area_px needs less of the map)"
            )
        rows, columns = slice(window.y0, window.y1), slice(window.x0, window.x1)
        planes: list[NDArray[np.float32] | float] = []
        waiting: deque[Future[NDArray[np.float32] | float]] = deque()
        prepare = _spline_filtered if filtered else _compact
        # One thread filters while this one reads; no more than three unfiltered planes exist at a time.
        with ThreadPoolExecutor(1, "simtiff-zmap") as pool, open_hdf5(self.name) as file:
            every = slice(None)
            for plane in read_planes(file, self.header, *((every, every) if check_all else (rows, columns))):
                part = np.ascontiguousarray(plane[rows, columns]) if check_all else plane
                waiting.append(pool.submit(prepare, part))
                if len(waiting) > 1:
                    planes.append(waiting.popleft().result())
            planes.extend(future.result() for future in waiting)
        return planes


def _compact(plane: NDArray[np.float32]) -> NDArray[np.float32] | float:
    """Return the plane, or its value if it is the same everywhere."""
    return float(plane.flat[0]) if plane.min() == plane.max() else plane


def _spline_filtered(plane: NDArray[np.float32]) -> NDArray[np.float32] | float:
    """Return the cubic B-spline coefficients of a plane, which is overwritten, unless it is the same everywhere."""
    compact = _compact(plane)
    if not isinstance(compact, float):
        _core.spline_filter(compact, compact.shape[1])
    return compact
