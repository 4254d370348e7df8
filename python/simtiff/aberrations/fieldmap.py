"""Field-dependent aberrations: Zernike coefficients of the pupil at any position in the field."""

from __future__ import annotations

import math
import os
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from simtiff.aberrations._uniform import UniformMap
from simtiff.aberrations.grid import ArrayMap, GridMap, Method, Part
from simtiff.aberrations.mapfile import MAX_COEFFICIENT, MAX_MODES, MapHeader
from simtiff.aberrations.measured import measured_map
from simtiff.aberrations.synthetic import BUILTIN, SyntheticMap
from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

METHODS: tuple[Method, ...] = ("cubic", "linear", "nearest")
_BUILTIN_PX = 256


class Source(Protocol):
    """Source of a map's values; implemented by `GridMap`, `SyntheticMap` and `UniformMap`."""

    header: MapHeader
    has_magnitudes: bool

    def planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield the complete phase planes one by one, (y, x), in radians."""

    def check(self, part: Part, method: Method, *, keep: bool) -> None:
        """Check the values that a part needs for a method."""

    def coefficients(
        self, x: NDArray[np.float64], y: NDArray[np.float64], method: Method, part: Part
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return phase and amplitude coefficients at positions between the outermost pixel centres."""

    def held_bytes(self, part: Part, *, several: bool) -> float:
        """Return the maximum memory of the map, in bytes."""


class FieldMap:
    """Zernike coefficients of the pupil as functions of the field position.

    Create one with `open`, `from_arrays` or `uniform`. Maps of the same file share their data within a process.

    Attributes
    ----------
    name : str
        The file, or ``builtin:oil``, ``arrays``, ``uniform``.
    modes : int
        Number of Zernike modes; index i is Noll i + 1 (R. J. Noll, J. Opt. Soc. Am. 66, 207, 1976).
    shape : tuple of int
        Height and width in px; the map covers [-0.5, width - 0.5) x [-0.5, height - 0.5). A uniform map has the shape
        (1, 1), but is valid everywhere.
    has_magnitudes : bool
        Whether the map has amplitude coefficients.
    header : MapHeader
        Metadata of the map, such as unit and wavelength.

    Examples
    --------
    PSFs at two field positions, without a file:

    >>> import simtiff
    >>> field = simtiff.FieldMap.open("builtin:oil", size=1200)
    >>> phase, magnitude = field.coefficients([0.0, 600.5], [0.0, 600.5])
    >>> phase.shape, magnitude
    ((2, 21), None)
    >>> simtiff.psf(simtiff.Optics(), [[0, 0, 0.5], [0, 0, 0.5]], phase, size=21).shape
    (2, 21, 21)
    """

    def __init__(
        self,
        source: Source,
        *,
        size: float | tuple[float, float] | None = None,
        offset: tuple[float, float] = (0, 0),
        wavelength_nm: float | None = None,
    ) -> None:
        self._source = source
        self._added = np.zeros(0, np.float32)
        self.header = source.header
        self._factor = np.float32(1)
        if wavelength_nm is not None and self.header.are_lengths and self.header.wavelength_nm is not None:
            self._factor = np.float32(self.header.wavelength_nm / wavelength_nm)
        self._is_uniform = isinstance(source, UniformMap)
        self.name, self.modes, self.shape = self.header.path, self.header.modes, self.header.shape
        self.has_magnitudes = source.has_magnitudes
        self._part = Part.under(self.shape, None if size is None else _sides(size), offset)

    def __repr__(self) -> str:
        height, width = self.shape
        size = "" if self._is_uniform else f", {width} x {height} px"
        return f"FieldMap({self.name}, {self.modes} modes{size})"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        size: float | tuple[float, float] | None = None,
        offset: tuple[float, float] = (0, 0),
        wavelength_nm: float | None = None,
    ) -> FieldMap:
        """Open a map, either for a field or as a whole.

        Parameters
        ----------
        path
            An HDF5 file or ``builtin:oil``.
        size
            Side of the square field in px, or its (width, height). Positions outside the field then raise an error,
            and only the part of a large file under the field, plus a margin, is read and kept in memory. Default: the
            whole map. The built-in map is as large as the field needs, each side ``max(offset)`` longer; by default
            256 px.
        offset
            Map pixel (x, y) of field pixel (0, 0).
        wavelength_nm
            Emission wavelength, for maps of optical path differences: those in nm, or in waves with a wavelength
            given in the file. Default: the file's wavelength. No effect on maps in radians.

        Raises
        ------
        ConfigError
            `wavelength_nm` is not a positive number.
        DataError
            The file is missing, damaged, or not an aberration map.

        Examples
        --------
        >>> import h5py
        >>> import numpy as np
        >>> from simtiff import FieldMap
        >>> with h5py.File("map.h5", "w") as file:
        ...     file["z_maps/phase"] = np.full((1, 4, 4), 100.0)  # (modes, y, x)
        ...     file["z_maps/phase"].attrs.update(unit="nm", wavelength=660)
        >>> for wavelength_nm in (660, 500):  # 2 pi 100 / wavelength
        ...     field = FieldMap.open("map.h5", wavelength_nm=wavelength_nm)
        ...     print(f"{field.coefficients([1], [2])[0][0, 0]:.3f} rad")
        0.952 rad
        1.257 rad
        """
        if wavelength_nm is not None and not 0 < wavelength_nm < math.inf:
            raise ConfigError(f"wavelength_nm: got {wavelength_nm!r}; allowed: a positive number of nanometres")
        path = os.fspath(path)
        if path == BUILTIN:
            width, height = (_BUILTIN_PX,) * 2 if size is None else (math.ceil(max(offset) + s) for s in _sides(size))
            return cls(SyntheticMap((width, height)), size=size, offset=offset)
        return cls(measured_map(path), size=size, offset=offset, wavelength_nm=wavelength_nm)

    @classmethod
    def uniform(cls, coefficients: ArrayLike, magnitude: ArrayLike | None = None) -> FieldMap:
        """Create a uniform map.

        Parameters
        ----------
        coefficients
            (modes,) radians rms; index i is Noll i + 1.
        magnitude
            (modes,) amplitude coefficients, dimensionless; default: none.

        Raises
        ------
        ShapeError
            Shapes do not match, or a value is not finite or above 1000.

        Examples
        --------
        >>> import simtiff
        >>> field = simtiff.FieldMap.uniform([0, 0, 0, 0, 0, 0.5])  # vertical astigmatism
        >>> phase, magnitude = field.coefficients([0.0, 600.5], [-3.0, 600.5])
        >>> phase[:, 5].tolist(), magnitude
        ([0.5, 0.5], None)
        >>> simtiff.psf(simtiff.Optics(), [[0, 0, 0.5], [0, 0, -0.5]], phase, size=21).shape
        (2, 21, 21)
        """
        phase = _numbers("coefficients", coefficients, np.float32, (None,))
        if len(phase) > MAX_MODES:
            raise ShapeError(f"coefficients: has {len(phase)} modes; allowed: at most {MAX_MODES}")
        values = None if magnitude is None else _numbers("magnitude", magnitude, np.float32, (len(phase),))
        return cls(UniformMap(phase, values if values is not None and values.any() else None))

    @classmethod
    def from_arrays(
        cls, phase: ArrayLike, coords: ArrayLike | None = None, magnitude: ArrayLike | None = None
    ) -> FieldMap:
        """Create a map from arrays with the same layout as in a map file.

        Parameters
        ----------
        phase
            (modes, y, x), radians rms; plane i is Noll i + 1.
        coords, magnitude
            (points, 2), x and y in px, and (points, modes), dimensionless: amplitude coefficients at these points,
            with cubic interpolation between them. Default: none.

        Raises
        ------
        ShapeError
            Shapes do not match, or a value is not finite or above 1000.

        Examples
        --------
        >>> import numpy as np
        >>> from simtiff import FieldMap
        >>> tilt = np.zeros((3, 5, 9))
        >>> tilt[1] = 0.25 * np.arange(9)
        >>> FieldMap.from_arrays(tilt).coefficients([4.5], [2], method="linear")[0].tolist()
        [[0.0, 1.125, 0.0]]
        """
        planes = _numbers("phase", phase, np.float32, (None, None, None))
        modes, height, width = planes.shape
        if modes > MAX_MODES:
            raise ShapeError(f"phase: has {modes} modes; allowed: at most {MAX_MODES}")
        points = None
        if coords is not None and magnitude is not None:
            places = _numbers("coords", coords, np.float64, (None, 2), most=math.inf)
            values = _numbers("magnitude", magnitude, np.float64, (len(places), modes))
            points = (places, values) if values.any() else None
        elif coords is not None or magnitude is not None:
            raise ShapeError("coords and magnitude must be given together; got only one of them")
        header = MapHeader("arrays", modes, (height, width), points=0 if points is None else len(points[0]))
        return cls(ArrayMap(header, planes, points))

    def plus(self, phase: Mapping[int, float]) -> FieldMap:
        """Return a map with constant phase coefficients added, for example those of a cylindrical lens.

        Parameters
        ----------
        phase
            Noll index to radians rms.
        """
        if not phase:
            return self
        field = copy(self)
        field._added = np.zeros(max(phase), np.float32)
        for noll, radians in phase.items():
            field._added[noll - 1] = radians
        field.modes = max(self.modes, len(field._added))
        return field

    def coefficients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        method: Method = "cubic",
        extrapolate: Literal["nearest"] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the pupil's coefficients at positions of the map.

        Within half a pixel of the edge, outside the outermost pixel centres, edge values are used. The coefficients
        at a position do not depend on the other positions in the call, nor on earlier calls. Thread-safe.

        Parameters
        ----------
        x, y
            (n,) positions in px of the map; integers are pixel centres.
        method
            Interpolation between the map's pixels: cubic spline (M. Unser, A. Aldroubi & M. Eden, IEEE
            Trans. Signal Process. 41, 821, 1993), linear, or nearest pixel.
        extrapolate
            ``"nearest"``: positions outside the map get the nearest edge value.

        Returns
        -------
        phase : ndarray
            (n, modes) float32, radians rms.
        magnitude : ndarray or None
            (n, modes) float32, dimensionless; None if the map has no amplitude coefficients or all are zero.

        Raises
        ------
        DataError
            A position is outside the map and `extrapolate` is None, or the map's file is damaged.
        ConfigError
            Unknown `method`.
        ShapeError
            x and y are not 1-D, of equal length and finite, or outside the field that the map was opened for.
        """
        if method not in METHODS:
            raise ConfigError(f"zernike.interpolation_method: unknown method {method!r}; allowed: {', '.join(METHODS)}")
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if xs.ndim != 1 or xs.shape != ys.shape:
            raise ShapeError(f"x and y have shapes {xs.shape} and {ys.shape}; allowed: 1-D of equal length")
        if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
            raise ShapeError("x and y hold NaN or infinity; allowed: finite positions")
        height, width = self.shape
        if xs.size and not self._is_uniform:
            if extrapolate is None:
                self._refuse_outside(xs, "x", width)
                self._refuse_outside(ys, "y", height)
            xs, ys = np.clip(xs, 0, width - 1), np.clip(ys, 0, height - 1)
            self._refuse_beyond_part(xs, "x", *self._part.x)
            self._refuse_beyond_part(ys, "y", *self._part.y)
        phase, magnitude = self._source.coefficients(xs, ys, method, self._part)
        if self._factor != 1:
            phase *= self._factor
            if phase.size and np.abs(phase).max() > MAX_COEFFICIENT:
                text = Text(
                    "{name}: up to {found:g} radians at this wavelength; allowed: up to {most:g}",
                    name=self.name,
                    found=float(np.abs(phase).max()),
                    most=MAX_COEFFICIENT,
                )
                raise DataError(text)
        if self._added.size:
            missing = ((0, 0), (0, self.modes - phase.shape[1]))
            phase = np.pad(phase, missing)
            phase[:, : len(self._added)] += self._added
            magnitude = None if magnitude is None else np.pad(magnitude, missing)
        return phase, magnitude

    def expect_many_calls(self) -> None:
        """Optimize the memory layout for many calls with few positions each; values do not change."""
        if isinstance(self._source, GridMap):
            self._source.asked_often = True

    def planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield the complete phase planes one by one, (y, x) float32, radians rms, unchecked (may contain NaN).

        `DataError` if the file is damaged.
        """
        return (plane if self._factor == 1 else plane * self._factor for plane in self._source.planes())

    def check(self, keep: Method | None = None, *, method: Method = "cubic") -> None:
        """Read the whole map, if that has not been done before, and check the values that a method needs.

        Parameters
        ----------
        keep
            Check for this method, and keep in memory what `coefficients` needs for it; default: keep nothing.
        method
            A cubic spline needs the whole map; linear and nearest need the field that the map was opened for.

        Raises
        ------
        DataError
            The map's file is damaged, or has NaN, infinite or implausibly large values that are needed.
        """
        self._source.check(self._part, keep or method, keep=keep is not None)

    def held_bytes(self, *, several: bool = False) -> float:
        """Return the maximum memory of the map, in bytes; `several`: if it is opened for several fields."""
        return self._source.held_bytes(self._part, several=several)

    def _refuse_outside(self, values: NDArray[np.float64], axis: str, length: int) -> None:
        low, high = float(values.min()), float(values.max())
        if low < -0.5 or high >= length - 0.5:
            raise DataError(outside_message(self.name, axis, low, high, length))

    def _refuse_beyond_part(self, values: NDArray[np.float64], axis: str, first: int, last: int) -> None:
        low, high = float(values.min()), float(values.max())
        if low < first or high > last:
            raise ShapeError(
                f"{self.name}: positions range from {axis} = {low:g} to {high:g} px; "
                f"allowed: {first} to {last}, the field that the map was opened for"
            )


def _sides(size: float | tuple[float, float]) -> tuple[float, float]:
    """Return (width, height); a single number is the side of a square."""
    return size if isinstance(size, tuple) else (size, size)


def outside_message(name: str, axis: str, low: float, high: float, length: float, first: float = 0) -> str:
    """Return the error message for a field that is larger than the map, with remedies."""
    return Text(
        "{name}: the field extends from {axis} = {low:g} to {high:g} px of the map, but the map covers only {first:g} "
        "to {last:g}; allowed: a smaller emitters.area_px, another zernike.crop_offset, or "
        'zernike.extrapolate: "nearest" (edge values outside the map)',
        name=name,
        axis=axis,
        low=low,
        high=high,
        first=first - 0.5,
        last=first + length - 0.5,
    )


def _numbers(
    name: str, values: ArrayLike, dtype: type, shape: tuple[int | None, ...], most: float = MAX_COEFFICIENT
) -> NDArray[Any]:
    """Return `values` as an array; `ShapeError` for a wrong shape, an empty array, or values that are not allowed."""
    try:
        array: NDArray[Any] = np.array(values, dtype, order="C")
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name}: is not a numeric array ({error})") from error
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or not array.size:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ShapeError(f"{name}: has shape {array.shape}; allowed: ({wanted})")
    if not (np.isfinite(array).all() and np.abs(array).max() <= most):
        raise ShapeError(f"{name}: has NaN, infinite values or values above {most:g}")
    return array
