"""Plain CSV: column names include units, ``x_px, y_px, z_um`` or ``x_nm, y_nm, z_nm``.

Frames count from 0, and the centre of pixel (0, 0) is at 0 in both units: x_nm = x_px * pixel size.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from simtiff.errors import DataError
from simtiff.language import Text
from simtiff.localizations._csv import CsvSource, header, write_csv
from simtiff.localizations.format import Column, Head, PixelSize, View, WrittenFormat, need_pixel_size
from simtiff.localizations.table import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from simtiff.localizations.table import Localizations

# Columns in nm, with the table's column and the axis of the pixel size; None: the table uses um.
_IN_NM: dict[str, tuple[str, int | None]] = {
    "x_nm": ("x_px", 0),
    "y_nm": ("y_px", 1),
    "z_nm": ("z_um", None),
    "sigma_x_nm": ("sigma_x_px", 0),
    "sigma_y_nm": ("sigma_y_px", 1),
    "sigma_z_nm": ("sigma_z_um", None),
}


class PlainCsv(WrittenFormat):
    """CSV with the columns of the table; lengths may also be in nm."""

    name = "csv"
    suffix = ".csv"

    def recognizes(self, head: Head) -> bool:
        """Look for ``x_px`` or ``x_nm``."""
        return not {"x_px", "x_nm", "y_px", "y_nm"}.isdisjoint(head.fields)

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[CsvSource]:
        """Open a file; see `Format.open`. Unknown columns are errors, since they may be misspelt."""
        fields = header(path)
        yield CsvSource(path, fields, _columns(path, fields, pixel_size_nm), pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:  # noqa: ARG002
        """Write all columns of the table unchanged."""
        write_csv(path, columns, chunks, lambda chunk: list(chunk.as_dict().values()))


def _columns(path: Path, fields: Sequence[str], pixel_size_nm: PixelSize | None) -> list[Column]:
    """Return the conversions of a file's columns; `DataError` if one is unknown, missing or given in two units."""
    columns: list[Column] = []
    for field in fields:
        if field in COLUMNS:
            columns.append(Column(field, field))
        elif field in _IN_NM:
            name, axis = _IN_NM[field]
            per = 1000.0 if axis is None else need_pixel_size(path, pixel_size_nm)[axis]
            columns.append(Column(field, name, per))
        else:
            allowed = ", ".join([*COLUMNS, *_IN_NM])
            text = Text("{path}: line 1: column {name}; allowed: {names}", path=path, name=field, names=allowed)
            raise DataError(text)
    names = [column.name for column in columns]
    for name in ("x_px", "y_px"):
        if name not in names:
            text = Text(
                "{path}: line 1: no column {name}; the header has {names}",
                path=path,
                name=f"{name} or {name.replace('px', 'nm')}",
                names=", ".join(fields),
            )
            raise DataError(text)
    twice = next((column.field for column in columns if names.count(column.name) > 1), None)
    if twice is not None:
        raise DataError(Text("{path}: line 1: duplicate column {name}", path=path, name=twice))
    return columns
