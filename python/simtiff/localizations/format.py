"""The seam of formats: what a format of localizations is, and what each needs to be read and written.

Another format is one file with a `Format`, and its line in `simtiff.localizations.registry`.
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
"""Size of a pixel in nm, along x and y."""

PIXEL_SIZE = "pixel_size_nm"
"""What pandas tables carry as an attribute: the size of a pixel along x and y."""


@dataclass(frozen=True)
class Head:
    """What a file shows of itself, by which formats are told apart.

    Attributes
    ----------
    start : bytes
        Its first bytes.
    fields : tuple of str
        The names in its first line, where it is text.
    nodes : frozenset of str
        What an HDF5 file holds, to a depth of two names.
    """

    start: bytes
    fields: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class View:
    """What a table does not say of the movie that it belongs to.

    Attributes
    ----------
    pixel_size_nm : (float, float), optional
        Size of a pixel along x and y.
    size_px : (int, int), optional
        Width and height of the frames.
    frames : int, optional
        Number of frames.
    """

    pixel_size_nm: PixelSize | None = None
    size_px: tuple[int, int] | None = None
    frames: int | None = None

    def need_pixel_size(self, path: Path) -> PixelSize:
        """Return the size of a pixel; `ConfigError` if it is not known."""
        return need_pixel_size(path, self.pixel_size_nm)


class Source(Protocol):
    """A file of localizations that is open for reading."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that its tables have, in the order of `table.COLUMNS`."""

    @property
    def pixel_size_nm(self) -> PixelSize | None:
        """Size of a pixel, where the file or the reader's caller says it."""

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield its tables in the order of the file, each of at most so many rows; an empty one if it has no rows."""


class Format(ABC):
    """A kind of file of localizations.

    Attributes
    ----------
    name : str
        What users call it.
    suffix : str
        How names of such files end.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def recognizes(self, head: Head) -> bool:
        """Return whether a file is of this kind."""

    @abstractmethod
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> AbstractContextManager[Source]:
        """Open a file for reading.

        Parameters
        ----------
        path
            The file.
        pixel_size_nm
            Size of a pixel, which is needed where positions are in nm and the file does not say it.

        Raises
        ------
        ConfigError
            The size of a pixel is needed, or a library is missing.
        DataError
            The file is damaged, or is not of this kind, or says another size of a pixel.
        """


class WrittenFormat(Format):
    """A kind of file of localizations that this program writes, too.

    Attributes
    ----------
    needs : tuple of str
        Columns without which no such file can be written.
    """

    needs: ClassVar[tuple[str, ...]] = ("x_px", "y_px")

    @abstractmethod
    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:
        """Write tables that all have these columns; the file is whole, or not there.

        Columns that the format has no place for are left out.
        """


@dataclass(frozen=True)
class Column:
    """How a column of a file and one of a table go together: file = (table + offset) * per.

    Attributes
    ----------
    field : str
        Its name in the file.
    name : str
        Its name in the table.
    per : float
        Units of the file in a unit of the table: 1000 for nm and um, the size of a pixel for nm and px.
    offset : float
        What the file adds first: 0.5 px for a corner of the image at 0, 1 for frames from 1.
    """

    field: str
    name: str
    per: float = 1.0
    offset: float = 0.0

    def from_file(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the file as the table has them."""
        if self.per == 1 and self.offset == 0:
            return values
        return values / self.per - self.offset if self.per != 1 else values - self.offset

    def to_file(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of a table as the file has them."""
        if self.name in {"frame", "id"}:
            return values + int(self.offset)
        return (values + self.offset) * self.per


def assembled(
    columns: Sequence[Column], values: Mapping[str, NDArray[Any]], path: str, row: Callable[[int], str]
) -> Localizations:
    """Return the table that columns of a file make; `DataError` names the first row that cannot be one.

    Parameters
    ----------
    columns
        What is taken.
    values
        The columns of the file by field.
    path
        The file, for messages.
    row
        Turns the number of a row into words.
    """
    names = {column.name: column.field for column in columns}
    first = next((int(column.offset) for column in columns if column.name == "frame"), 0)
    made = {}
    for column in columns:
        given = values[column.field]
        made[column.name] = column.from_file(given.astype(np.int64) if given.dtype.kind == "u" else given)
    return Localizations.checked(made, Origin(path, names, row, first))


def as_pixel_size(given: float | Sequence[float] | None) -> PixelSize | None:
    """Return a size of pixels as (x, y); `ConfigError` if it is none."""
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
    """Return the size of a pixel; `ConfigError` if it is not known."""
    if pixel_size_nm is None:
        text = Text("{path}: lengths are in nm; pixel_size_nm is needed: a number or [x, y]", path=path)
        raise ConfigError(text)
    return pixel_size_nm


def agreed_pixel_size(path: Path, stated: PixelSize | None, given: PixelSize | None) -> PixelSize | None:
    """Return the size of a pixel that a file states, else the given one; `DataError` if both are known and differ."""
    if stated is None or given is None:
        return given if stated is None else stated
    if not np.allclose(stated, given, rtol=1e-5, atol=0):  # of a file that keeps it as float32
        text = Text(
            "{path}: has pixels of {stated} nm, but pixel_size_nm is {given}",
            path=path,
            stated=list(stated),
            given=list(given),
        )
        raise DataError(text)
    return given


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of columns in the order of `table.COLUMNS`."""
    known = set(names)
    return tuple(name for name in COLUMNS if name in known)


def file_row(start: int) -> Callable[[int], str]:
    """Return how rows of a binary file are named, of a chunk that begins at row `start`, counted from 0."""
    return lambda row: Text("row {row}", row=start + row)
