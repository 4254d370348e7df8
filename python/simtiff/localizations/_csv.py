"""Read and write numeric CSV files, fast and in bounded memory; errors give the line number."""

from __future__ import annotations

import csv
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import DataError, printable
from simtiff.io.files import replacing
from simtiff.language import Text, joined
from simtiff.localizations.format import Column, PixelSize, assembled, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.localizations.table import Localizations

_MAX_LINE = 1 << 16


def fields_of(line: str) -> tuple[str, ...]:
    """Return the names in the first line of a file, without quotes; names cannot contain commas."""
    return tuple(name.strip() for name in line.replace('"', "").strip().split(","))


def header(path: Path) -> tuple[str, ...]:
    """Return the names in the first line of a file; `DataError` if it is empty or not text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(_MAX_LINE)
    except UnicodeDecodeError as error:
        raise DataError(Text("{path}: is not a text file; a CSV file is needed", path=path)) from error
    if not line.strip():
        raise DataError(Text("{path}: is empty; a header line with column names is needed", path=path))
    return fields_of(line)


class CsvSource:
    """A CSV file with a header, open for reading.

    Parameters
    ----------
    path
        The file.
    fields
        The names in its header.
    columns
        The columns to read; several may use the same field.
    pixel_size_nm
        Pixel size, if known.
    """

    def __init__(
        self, path: Path, fields: Sequence[str], columns: Sequence[Column], pixel_size_nm: PixelSize | None
    ) -> None:
        self.pixel_size_nm = pixel_size_nm
        self.columns = in_order([column.name for column in columns])
        self._path, self._fields, self._taken = path, list(fields), columns
        twice = next((column.field for column in columns if self._fields.count(column.field) > 1), None)
        if twice is not None:
            raise DataError(Text("{path}: line 1: duplicate column {name}", path=path, name=twice))

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows each, at least one; see `Source`."""
        with self._path.open(encoding="utf-8", errors="replace") as file:
            first = 1 + len(list(islice(file, 1)))
            lines = list(islice(file, rows))
            while True:
                yield self._table(lines, first)
                first += len(lines)
                lines = list(islice(file, rows))
                if not lines:
                    return

    def _table(self, lines: list[str], first: int) -> Localizations:
        """Return the table of some lines; `first` is the number of the first line."""
        numbers = [number for number, line in enumerate(lines, first) if not line.isspace()]
        if len(numbers) < len(lines):
            lines = [line for line in lines if not line.isspace()]
        fields = list(dict.fromkeys(column.field for column in self._taken))
        values = self._parsed(lines, [self._fields.index(field) for field in fields], numbers)
        by_field = dict(zip(fields, values.T, strict=True))
        return assembled(self._taken, by_field, str(self._path), lambda row: Text("line {line}", line=numbers[row]))

    def _parsed(self, lines: list[str], places: list[int], numbers: list[int]) -> NDArray[np.float64]:
        """Return the values of some columns; `DataError` for the first line without valid values."""
        if not lines:
            return np.zeros((0, len(places)))
        commas = len(self._fields) - 1
        for number, line in zip(numbers, lines, strict=True):
            if line.count(",") != commas and (found := len(_cells(line))) != commas + 1:
                text = Text(
                    "{path}: line {line}: has {found} columns, but the header has {wanted}; is the line truncated, "
                    "or does it have decimal commas?",
                    path=self._path,
                    line=number,
                    found=found,
                    wanted=commas + 1,
                )
                raise DataError(text)
        try:
            return np.loadtxt(lines, delimiter=",", comments=None, quotechar='"', usecols=places, ndmin=2)
        except ValueError as error:
            raise self._unreadable(lines, places, numbers, error) from error

    def _unreadable(self, lines: list[str], places: list[int], numbers: list[int], error: ValueError) -> DataError:
        """Return an error that names the first cell that is not a number."""
        for number, line in zip(numbers, lines, strict=True):
            cells = _cells(line)
            for place in places:
                if not _is_number(cells[place]):
                    text = Text(
                        "{path}: line {line}, column {name}: is {found}; allowed: a number, with a decimal point",
                        path=self._path,
                        line=number,
                        name=self._fields[place],
                        found=f"{printable(cells[place].strip())!r:.60}",
                    )
                    return DataError(text)
        text = Text("{path}: lines {first} to {last}", path=self._path, first=numbers[0], last=numbers[-1])
        return DataError(joined([text, str(error)], ": "))


def _cells(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def _is_number(cell: str) -> bool:
    if not cell.strip():
        return False
    try:
        np.loadtxt([cell], delimiter=",", comments=None)
    except ValueError:
        return False
    return True


def write_csv(
    path: Path,
    fields: Sequence[str],
    chunks: Iterable[Localizations],
    values: Callable[[Localizations], Sequence[NDArray[Any]]],
    quote: str = "",
) -> None:
    """Write a CSV file atomically.

    Numbers are written with enough digits to be read back exactly: as float32 if a whole column fits, else as float64.

    Parameters
    ----------
    path
        The file.
    fields
        Names of the columns.
    chunks
        The rows.
    values
        Returns the columns of the file for a chunk.
    quote
        Quote character around each name.
    """
    with replacing(path) as file:
        file.write((",".join(f"{quote}{field}{quote}" for field in fields) + "\n").encode())
        for chunk in chunks:
            columns = list(values(chunk))
            line = ",".join(map(_pattern, columns)) + "\n"
            file.write("".join(map(line.__mod__, zip(*(column.tolist() for column in columns), strict=True))).encode())


def _pattern(values: NDArray[Any]) -> str:
    """Return the shortest format that preserves all values: 9 digits for float32 values."""
    if values.dtype.kind != "f":
        return "%d"
    with np.errstate(over="ignore"):
        single = np.array_equal(values, values.astype(np.float32), equal_nan=True)
    return "%.9g" if single else "%r"
