"""The table of localizations, common to all formats: NumPy columns with fixed units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from simtiff.errors import DataError, ShapeError
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

COLUMNS = (
    "frame",
    "x_px",
    "y_px",
    "z_um",
    "photons",
    "id",
    "sigma_x_px",
    "sigma_y_px",
    "sigma_z_um",
    "sigma_photons",
    "background",
)
"""All columns, in the order in which they are shown and written; `x_px` and `y_px` are always present."""

_WHOLE = frozenset({"frame", "id"})
# Bounds may be infinite, and fitters may omit an estimate; all other columns must be finite.
_MAY_BE_UNKNOWN = frozenset({"sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons", "background"})
_MAX_WHOLE = 2.0**53


@dataclass(frozen=True, slots=True)
class Localizations:
    """Localizations, or molecules if `frame` and `photons` are None; one per row.

    Attributes
    ----------
    x_px, y_px : (n,) float64
        Position in px; the centre of pixel (0, 0) is at 0.
    frame : (n,) int64, optional
        Frame, from 0.
    z_um : (n,) float64, optional
        Height in um.
    photons : (n,) float64, optional
        Photons that reach the camera in this frame.
    id : (n,) int64, optional
        The emitter, or a row number, depending on the file.
    sigma_x_px, sigma_y_px, sigma_z_um, sigma_photons : (n,) float64, optional
        Standard deviation (in a truth: its Cramér-Rao bound) of these columns; may be infinite or NaN.
    background : (n,) float64, optional
        Background photons per pixel at the emitter; may be NaN.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    frame: NDArray[np.int64] | None = None
    z_um: NDArray[np.float64] | None = None
    photons: NDArray[np.float64] | None = None
    id: NDArray[np.int64] | None = None
    sigma_x_px: NDArray[np.float64] | None = None
    sigma_y_px: NDArray[np.float64] | None = None
    sigma_z_um: NDArray[np.float64] | None = None
    sigma_photons: NDArray[np.float64] | None = None
    background: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x_px)

    def __getitem__(self, rows: Any) -> Self:
        """Return some rows: a slice, a mask, or an index array."""
        return type(self)(**{name: values[rows] for name, values in self.as_dict().items()})

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are present."""
        return tuple(name for name in COLUMNS if getattr(self, name) is not None)

    def as_dict(self) -> dict[str, NDArray[Any]]:
        """Return the columns that are present by name, in the order of `COLUMNS`."""
        return {name: getattr(self, name) for name in self.columns}

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts; there must be at least one, and all must have the same columns."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].columns})

    @classmethod
    def of(cls, table: Any, what: str = "table") -> Localizations:
        """Convert a pandas DataFrame, a mapping of arrays, or a `Localizations` table to `Localizations`.

        Raises
        ------
        DataError
            A column is missing, unknown, or not numeric; `what` names the table in messages.
        ShapeError
            Columns are not one-dimensional and of equal length.
        """
        if isinstance(table, Localizations):
            given: dict[str, Any] = table.as_dict()
        elif isinstance(table, Mapping) or hasattr(table, "columns"):
            given = {str(name): table[name] for name in table}
        else:
            kind = type(table).__name__
            text = Text("{name}: is {found}; allowed: a pandas table or a mapping of arrays", name=what, found=kind)
            raise DataError(text)
        unknown = [name for name in given if name not in COLUMNS]
        missing = [name for name in ("x_px", "y_px") if name not in given]
        if unknown or missing:
            problem = Text("no column {name}", name=missing[0]) if missing else Text("column {name}", name=unknown[0])
            text = Text("{table}: {problem}; allowed: {names}", table=what, problem=problem, names=", ".join(COLUMNS))
            raise DataError(text)
        arrays = {name: np.asarray(values) for name, values in given.items() if values is not None}
        for name, values in arrays.items():
            if values.ndim != 1 or len(values) != len(arrays["x_px"]):
                want = f"({len(arrays['x_px'])},)"
                text = Text(
                    "{table}: column {name} has shape {found}; allowed: {shape}",
                    table=what,
                    name=name,
                    found=values.shape,
                    shape=want,
                )
                raise ShapeError(text)
            if values.dtype.kind not in "iuf":
                text = Text("{name}: holds {found}; allowed: real numbers", name=name, found=values.dtype)
                raise DataError(joined([what, text], ": "))
        return cls.checked(arrays, Origin(what, {}, lambda row: Text("row {row}", row=row)))

    @classmethod
    def checked(cls, columns: Mapping[str, NDArray[Any]], origin: Origin) -> Localizations:
        """Return numeric columns as a table; `DataError` names the first invalid row.

        Positions, frames, photons and ids must be finite, and frames and ids whole numbers.
        """
        made: dict[str, NDArray[Any]] = {}
        for name, values in columns.items():
            if values.dtype.kind == "f" and name not in _MAY_BE_UNKNOWN:
                origin.refuse(name, ~np.isfinite(values), Text("is NaN or infinite; allowed: a finite number"))
            if name not in _WHOLE:
                made[name] = np.ascontiguousarray(values, np.float64)
                continue
            if values.dtype.kind == "f":
                whole = (values == np.rint(values)) & (np.abs(values) < _MAX_WHOLE)
                origin.refuse(name, ~whole, Text("is not a whole number; allowed: whole numbers"))
            made[name] = np.ascontiguousarray(values, np.int64)
        if "frame" in made:
            text = Text("is before the first frame; allowed: {first} and up", first=origin.first_frame)
            origin.refuse("frame", made["frame"] < 0, text)
        return cls(**made)


@dataclass(frozen=True)
class Origin:
    """Origin of rows, for messages.

    Attributes
    ----------
    path : str
        The file.
    names : mapping
        Column names in the file, by their names in the table; columns not listed have the same name.
    row : callable
        Describes a row, given its index.
    first_frame : int
        Number of the first frame in the file.
    """

    path: str
    names: Mapping[str, str]
    row: Callable[[int], str]
    first_frame: int = 0

    def refuse(self, column: str, bad: NDArray[np.bool_], problem: Text) -> None:
        """Raise a `DataError` that names the first row for which `bad` is true, if there is one."""
        if bad.any():
            text = Text(
                "{path}: {row}, column {name}: {problem}",
                path=self.path,
                row=self.row(int(np.argmax(bad))),
                name=self.names.get(column, column),
                problem=problem,
            )
            raise DataError(text)


assert {field.name for field in fields(Localizations)} == set(COLUMNS)  # noqa: S101 - one list, two orders
