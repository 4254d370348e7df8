"""Base classes of localization formats, and helpers to read and write them.

To add a format, put a subclass of `Format` in a new module, and add it to `simtiff.localizations.registry`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from simtiff.errors import ConfigError, DataError
from simtiff.language import Text
from simtiff.localizations.table import COLUMNS, Localizations, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

PixelSize = tuple[float, float]
"""Pixel size in nm, along x and y."""

PIXEL_SIZE = "pixel_size_nm"
"""Attribute of pandas tables for the pixel size along x and y."""


@dataclass(frozen=True)
class Head:
    """The start of a file, used to detect its format.

    Attributes
    ----------
    start : bytes
        Its first bytes.
    fields : tuple of str
        The names in its first line, if it is text.
    nodes : frozenset of str
        Objects of an HDF5 file, down to two levels.
    """

    start: bytes
    fields: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class View:
    """Properties of the movie that are not in the table.

    Attributes
    ----------
    pixel_size_nm : (float, float), optional
        Pixel size along x and y.
    size_px : (int, int), optional
        Width and height of the frames.
    frames : int, optional
        Number of frames.
    """

    pixel_size_nm: PixelSize | None = None
    size_px: tuple[int, int] | None = None
    frames: int | None = None

    def need_pixel_size(self, path: Path) -> PixelSize:
        """Return the pixel size; `ConfigError` if it is unknown."""
        return need_pixel_size(path, self.pixel_size_nm)


class Source(Protocol):
    """A localization file, open for reading."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of its tables, in the order of `table.COLUMNS`."""

    @property
    def pixel_size_nm(self) -> PixelSize | None:
        """Pixel size, if the file contains it or the caller gave it."""

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows, in the order of the file; one empty table if it has no rows."""


class Format(ABC):
    """A localization file format.

    Attributes
    ----------
    name : str
        Name of the format for users.
    suffix : str
        File name suffix.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def recognizes(self, head: Head) -> bool:
        """Return whether a file has this format."""

    @abstractmethod
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> AbstractContextManager[Source]:
        """Open a file for reading.

        Parameters
        ----------
        path
            The file.
        pixel_size_nm
            Pixel size; needed if positions are in nm and the file does not contain it.

        Raises
        ------
        ConfigError
            The pixel size is needed, or a library is missing.
        DataError
            The file is damaged, does not have this format, or has a different pixel size.
        """


class WrittenFormat(Format):
    """A localization file format that can also be written.

    Attributes
    ----------
    needs : tuple of str
        Columns required for writing.
    """

    needs: ClassVar[tuple[str, ...]] = ("x_px", "y_px")

    @abstractmethod
    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:
        """Write tables that all have these columns; the file is written atomically.

        Columns that the format does not support are omitted.
        """


@dataclass(frozen=True)
class Column:
    """Conversion between a column of a file and of a table: file = (table + offset) * per.

    Attributes
    ----------
    field : str
        Name in the file.
    name : str
        Name in the table.
    per : float
        File units per table unit: 1000 for nm and um, the pixel size for nm and px.
    offset : float
        Offset, added first: 0.5 px if the corner of the image is at 0, 1 if frames count from 1.
    """

    field: str
    name: str
    per: float = 1.0
    offset: float = 0.0

    def from_file(self, values: NDArray[Any]) -> NDArray[Any]:
        """Convert values from the file to the table."""
        if self.per == 1 and self.offset == 0:
            return values
        return values / self.per - self.offset if self.per != 1 else values - self.offset

    def to_file(self, values: NDArray[Any]) -> NDArray[Any]:
        """Convert values from the table to the file."""
        if self.name in {"frame", "id"}:
            return values + int(self.offset)
        return (values + self.offset) * self.per


def assembled(
    columns: Sequence[Column], values: Mapping[str, NDArray[Any]], path: str, row: Callable[[int], str]
) -> Localizations:
    """Return a table from columns of a file; `DataError` names the first invalid row.

    Parameters
    ----------
    columns
        The columns to use.
    values
        The columns of the file by field.
    path
        The file, for messages.
    row
        Describes a row, given its index, for messages.
    """
    names = {column.name: column.field for column in columns}
    first = next((int(column.offset) for column in columns if column.name == "frame"), 0)
    made = {}
    for column in columns:
        given = values[column.field]
        made[column.name] = column.from_file(given.astype(np.int64) if given.dtype.kind == "u" else given)
    return Localizations.checked(made, Origin(path, names, row, first))


def as_pixel_size(given: float | Sequence[float] | None) -> PixelSize | None:
    """Return a pixel size as (x, y); `ConfigError` if it is invalid."""
    if given is None:
        return None
    try:
        sizes = (float(given), float(given)) if isinstance(given, int | float) else tuple(map(float, given))
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) != 2 or not all(0 < size < math.inf for size in sizes):
        text = Text("pixel_size_nm: {found!r}; allowed: a number of nm above 0, or [x, y]", found=f"{given}")
        raise ConfigError(text)
    return sizes[0], sizes[1]


def need_pixel_size(path: Path, pixel_size_nm: PixelSize | None) -> PixelSize:
    """Return the pixel size; `ConfigError` if it is unknown."""
    if pixel_size_nm is None:
        text = Text("{path}: lengths are in nm, which needs pixel_size_nm: a number or [x, y]", path=path)
        raise ConfigError(text)
    return pixel_size_nm


def agreed_pixel_size(path: Path, stated: PixelSize | None, given: PixelSize | None) -> PixelSize | None:
    """Return the pixel size from a file, else the given one; `DataError` if both are known and differ."""
    if stated is None or given is None:
        return given if stated is None else stated
    if not np.allclose(stated, given, rtol=1e-5, atol=0):  # files may store it as float32
        text = Text(
            "{path}: has a pixel size of {stated} nm, but pixel_size_nm is {given}",
            path=path,
            stated=list(stated),
            given=list(given),
        )
        raise DataError(text)
    return given


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return column names in the order of `table.COLUMNS`."""
    known = set(names)
    return tuple(name for name in COLUMNS if name in known)


def file_row(start: int) -> Callable[[int], str]:
    """Return a function that describes rows of a binary file, for a chunk that begins at row `start` (from 0)."""
    return lambda row: Text("row {row}", row=start + row)
