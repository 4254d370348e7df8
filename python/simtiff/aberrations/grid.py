"""Coefficients on a pixel grid: planes that are spline-filtered, interpolated, and cached in memory.

A field needs the part of the map under it, plus a margin. The planes of this part are cached, spline-filtered for
cubic interpolation. When another part is needed, the whole map is read and cached unfiltered, unless it is too large.
Further parts are then cut from it and filtered, without reading the file again. Each part is filtered separately,
whether it was read or cut. So its coefficients are bit-identical, regardless of earlier calls.

For constant planes, such as modes that were not measured, only the value is stored. Filter and interpolation are in
the core.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simtiff._core import interpolate, spline_filter
from simtiff.aberrations._scattered import ScatteredCoefficients
from simtiff.aberrations.mapfile import MAX_COEFFICIENT, PHASE, MapHeader
from simtiff.errors import DataError
from simtiff.io.locks import ProcessLock
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

Method = Literal["cubic", "linear", "nearest"]

KEPT_BYTES = 2**29
"""Largest map, in bytes, that is cached as a whole."""
_MAX_PART_BYTES = 2**32
# The influence of a pixel on a cubic spline decays by a factor of 0.27 per pixel: after 32 px it is below double
# precision.
_MARGIN_PX = 32
_MORE_PLANES = 4  # temporary planes while a part is read


@dataclass(frozen=True)
class Window:
    """A rectangle of a map's pixels."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns as slices."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Part:
    """The part of a map under a field.

    Attributes
    ----------
    y, x : tuple of int
        First and last map pixel between which the field lies; parts outside the map count as at its edge.
    pixels : Window
        The pixels that contain the field.
    window : Window
        The pixels that a spline needs for the field, including its margin.
    """

    y: tuple[int, int]
    x: tuple[int, int]
    pixels: Window
    window: Window

    def read(self, method: Method) -> Window:
        """Return the window that is read for a method."""
        return self.window if method == "cubic" else Window(self.y[0], self.y[1] + 1, self.x[0], self.x[1] + 1)

    def needed(self, method: Method) -> Window:
        """Return the window that must be finite for a method."""
        return self.pixels if method == "nearest" else self.read(method)

    @classmethod
    def under(cls, shape: tuple[int, int], size: tuple[float, float] | None, offset: tuple[float, float]) -> Part:
        """Return the part under a field of `size` (width, height) px at `offset` (x, y); None: the whole map."""
        height, width = shape
        if size is None:
            whole = Window(0, height, 0, width)
            return cls((0, height - 1), (0, width - 1), whole, whole)
        across, down = size
        y, x = _span(offset[1], down, height), _span(offset[0], across, width)
        pixels = Window(*_pixels(offset[1], down, height), *_pixels(offset[0], across, width))
        return cls(y, x, pixels, Window(*_with_margin(y, height), *_with_margin(x, width)))


def _span(start: float, size: float, length: int) -> tuple[int, int]:
    """Return the first and last of `length` pixels that enclose `size` px from `start` on."""
    first, last = math.floor(start - 0.5), math.ceil(start + size - 0.5)
    return min(max(first, 0), length - 1), min(max(last, 0), length - 1)


def _pixels(start: float, size: float, length: int) -> tuple[int, int]:
    """Return the range (first, stop) of `length` pixels that contain `size` px from `start` on."""
    first = min(max(math.floor(start), 0), length - 1)
    return first, max(min(math.ceil(start + size), length), first + 1)


def _with_margin(span: tuple[int, int], length: int) -> tuple[int, int]:
    """Return the range (first, stop) of pixels that the spline needs for a span."""
    return max(0, span[0] - _MARGIN_PX), min(length, span[1] + _MARGIN_PX + 1)


@dataclass(frozen=True)
class _Planes:
    """The planes of a window: those that vary, with their modes, and the values (all modes,) of constant planes.

    All are finite in `needed`, a window inside; None: not checked.
    """

    window: Window
    needed: Window | None
    filtered: bool
    values: NDArray[np.float32]
    varying: list[int]
    planes: list[NDArray[np.float32]]

    def lay_together(self) -> None:
        """Interleave the planes, (y, x, modes), so that the values of a position are contiguous in memory."""
        if len(self.planes) > 1:
            together = np.empty((*self.window.shape, len(self.planes)), np.float32)
            for row, of_all in enumerate(zip(*self.planes, strict=True)):  # row by row, to stay in the CPU cache
                np.stack(of_all, axis=-1, out=together[row])
            self.planes[:] = [together]

    def add(self, mode: int, plane: NDArray[np.float32]) -> None:
        """Store the plane of a mode, or only its value if it is constant."""
        # Comparing two corners first is usually enough to rule that out.
        if plane[0, 0] == plane[-1, -1] and plane.min() == plane.max() and _is_good(plane):
            self.values[mode] = plane[0, 0]
        else:
            self.varying.append(mode)
            self.planes.append(plane)


class GridMap(ABC):
    """Phase planes on a pixel grid, and amplitude coefficients at scattered points. Thread-safe.

    Parameters
    ----------
    header
        Metadata of the map.
    points
        Amplitude coefficients: (points, 2), x and y in px, and (points, modes) float64; None: none.
    kept_bytes
        A larger map is never cached as a whole.
    """

    def __init__(
        self,
        header: MapHeader,
        points: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.header = header
        self.has_magnitudes = points is not None
        self._points = points
        self._kept_bytes = kept_bytes
        self._lock = ProcessLock()
        self.asked_often = False
        """Whether a part is stored for many calls with few positions each."""
        self._bad: NDArray[np.bool_] | None = None
        self._whole: _Planes | None = None
        self._part: _Planes | None = None
        self._magnitude: ScatteredCoefficients | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Drop cached data; they are read again when needed."""
        return self.__dict__ | {"_bad": None, "_whole": None, "_part": None, "_magnitude": None}

    @abstractmethod
    def read(self, window: Window) -> Iterator[NDArray[np.float32]]:
        """Yield the phase planes of a window one by one, in radians; the caller may modify them."""

    def planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield the complete phase planes one by one, (y, x) float32, in radians."""
        return self.read(self._all)

    def check(self, part: Part, method: Method, *, keep: bool) -> None:
        """Check the values that a part needs for a method (for splines, the whole map).

        With `keep`, what `coefficients` needs is kept in memory. The map is read only once for all checks.
        """
        with self._lock:
            needed = self._all if method == "cubic" else part.needed(method)
            if self._bad is None:
                bad = np.zeros(self.header.shape, np.bool_)
                planes = self._noting(bad, self.read(self._all))
                if keep:
                    window = part.read(method)
                    cut = (plane[window.slices] for plane in planes)
                    self._part = self._gathered(window, cut, part.needed(method), method)
                else:
                    for _ in planes:
                        pass
                self._bad = bad
            if self._bad[needed.slices].any():
                for mode, plane in enumerate(self.read(needed)):
                    self._refuse_bad(mode, plane, needed, needed, method)

    def _noting(self, bad: NDArray[np.bool_], planes: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for plane in planes:
            if not _is_good(plane):
                bad |= ~(np.abs(plane) <= MAX_COEFFICIENT)
            yield plane

    def _refuse_bad(
        self, mode: int, plane: NDArray[np.float32], window: Window, needed: Window, method: Method
    ) -> None:
        """Raise `DataError` if the plane of a window has invalid values in the part that is needed."""
        inside = plane[needed.y0 - window.y0 : needed.y1 - window.y0, needed.x0 - window.x0 : needed.x1 - window.x0]
        if _is_good(inside):
            return
        y, x = np.argwhere(~(np.abs(inside) <= MAX_COEFFICIENT))[0]
        where = (
            Text(" in the field")
            if method != "cubic"
            else Text(
                '; zernike.interpolation_method "cubic" needs the whole map, "linear" and "nearest" only the field'
            )
        )
        text = Text(
            "{path}: {name}: Noll mode {mode} is {value} at pixel x = {x}, y = {y}; allowed: finite numbers up to "
            "{most:g} radians{where}",
            path=self.header.path,
            name=PHASE,
            mode=mode + 1,
            value=inside[y, x],
            x=x + needed.x0,
            y=y + needed.y0,
            most=MAX_COEFFICIENT,
            where=where,
        )
        raise DataError(text)

    def coefficients(
        self, x: NDArray[np.float64], y: NDArray[np.float64], method: Method, part: Part
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return phase and amplitude coefficients at positions within a part, (n, modes) float32 each."""
        modes = self.header.modes
        phase = np.empty((x.size, modes), np.float32)
        if x.size:
            planes = self._planes_of(part, method)
            places = np.column_stack([x - planes.window.x0, y - planes.window.y0])
            count = len(planes.varying)
            values = phase if count == modes else np.empty((x.size, count), np.float32)
            interpolate(planes.planes, planes.window.shape, method, places, values)
            if values is not phase:
                phase[:] = planes.values
                phase[:, planes.varying] = values
        return phase, None if self._points is None else self._magnitudes(*self._points)(x, y)

    def held_bytes(self, part: Part, *, several: bool) -> float:
        """Return the maximum memory in bytes while a part is used; `several`: after other parts of the map."""
        held = self._bytes(part.window, _MORE_PLANES)
        if several and self._bytes(self._all) <= self._kept_bytes:
            held += self._bytes(self._all, _MORE_PLANES)
        return held

    def release(self) -> None:
        """Free the memory of planes and amplitude coefficients; they are read again when needed."""
        with self._lock:
            self._whole = self._part = self._magnitude = None

    @property
    def _all(self) -> Window:
        height, width = self.header.shape
        return Window(0, height, 0, width)

    def _bytes(self, window: Window, more_planes: int = 0) -> int:
        return 4 * (self.header.modes + more_planes) * math.prod(window.shape)

    def _planes_of(self, under: Part, method: Method) -> _Planes:
        with self._lock:
            window, needed, filtered = under.read(method), under.needed(method), method == "cubic"
            part = self._part
            if part is None or (part.window, part.needed, part.filtered) != (window, needed, filtered):
                another = part is not None
                part = self._part = None  # free the old part before reading the new one
                if another and self._whole is None and self._bytes(self._all) <= self._kept_bytes:
                    self._whole = self._gathered(self._all, self.read(self._all), None, method)
                if self._whole is not None:
                    part = self._cut(self._whole, window, needed, method)
                else:
                    part = self._gathered(window, self.read(window), needed, method)
                self._part = part
            if self.asked_often:
                part.lay_together()
            return part

    def _gathered(
        self, window: Window, planes: Iterable[NDArray[np.float32]], needed: Window | None, method: Method
    ) -> _Planes:
        """Return the planes of a window, prepared for a method and checked in `needed`; None: raw and unchecked."""
        size = self._bytes(window)
        if size > _MAX_PART_BYTES:
            raise DataError(
                f"{self.header.path}: needs {size / 2**30:.1f} GiB of memory; allowed: {_MAX_PART_BYTES / 2**30:g} GiB "
                "(a smaller emitters.area_px needs less of the map)"
            )
        filtered = needed is not None and method == "cubic"
        part = _Planes(window, needed, filtered, np.zeros(self.header.modes, np.float32), [], [])
        # A second thread filters a plane while this one reads the next.
        with ThreadPoolExecutor(1, "simtiff-zmap") as pool:
            last: Future[None] | None = None
            for mode, plane in enumerate(planes):
                if needed is not None:
                    self._refuse_bad(mode, plane, window, needed, method)
                part.add(mode, np.ascontiguousarray(plane))
                if last is not None:
                    last.result()
                if filtered and part.varying[-1:] == [mode]:
                    last = pool.submit(spline_filter, part.planes[-1:], window.shape[1])
            if last is not None:
                last.result()
        return part

    def _cut(self, whole: _Planes, window: Window, needed: Window, method: Method) -> _Planes:
        """Return a copy of a window of planes; for constant planes, only the value is stored."""
        filtered = method == "cubic"
        part = _Planes(window, needed, filtered, whole.values.copy(), [], [])
        for mode, plane in zip(whole.varying, whole.planes, strict=True):
            self._refuse_bad(mode, plane, self._all, needed, method)
            part.add(mode, plane[window.slices].copy())
        if filtered:
            spline_filter(part.planes, window.shape[1])
        return part

    def _magnitudes(self, coords: NDArray[np.float64], values: NDArray[np.float64]) -> ScatteredCoefficients:
        with self._lock:
            if self._magnitude is None:
                self._magnitude = ScatteredCoefficients(coords, values)
            return self._magnitude


class ArrayMap(GridMap):
    """A map from arrays. They are in memory anyway, so only the last part is cached."""

    def __init__(
        self,
        header: MapHeader,
        phase: NDArray[np.float32],
        points: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    ) -> None:
        super().__init__(header, points, kept_bytes=0)
        self._phase = phase

    def read(self, window: Window) -> Iterator[NDArray[np.float32]]:
        """Yield copies of the planes; see `GridMap.read`."""
        return (plane[window.slices].copy() for plane in self._phase)


def _is_good(plane: NDArray[np.float32]) -> bool:
    """Return whether all values of a plane are valid coefficients."""
    return bool(plane.min() >= -MAX_COEFFICIENT and plane.max() <= MAX_COEFFICIENT)
