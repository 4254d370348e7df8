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

from simtiff._core import interpolate, spline_filter
from simtiff.aberrations._scattered import read_magnitude
from simtiff.aberrations.fieldmap import FieldMap, Method
from simtiff.aberrations.mapfile import PHASE, read_header, read_planes
from simtiff.errors import DataError
from simtiff.io.hdf5 import (
    open_hdf5,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MAX_HELD_BYTES = 4 * 2**30
# The cubic spline forgets a far pixel by a factor 0.27 per pixel: 32 px of margin are beyond double
# precision.
_MARGIN_PX = 32


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


class MeasuredMap(FieldMap):
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
            interpolate(list(varying.values()), shape, method, places, values)
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
        spline_filter(compact, compact.shape[1])
    return compact
