"""The ground-truth CSV of the SMLM challenge: nm from the corner of the image, frames from 1.

FD-DeepLoc writes the same format with ``xnm`` instead of ``xnano``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from simtiff.errors import DataError
from simtiff.language import Text
from simtiff.localizations._csv import CsvSource, header, write_csv
from simtiff.localizations.format import Column, Head, PixelSize, View, WrittenFormat, need_pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simtiff.localizations.table import Localizations

_CORNER_PX = 0.5


class Challenge(WrittenFormat):
    """SMLM challenge activations (CSV)."""

    name = "smlm-challenge"
    suffix = ".csv"
    needs = ("frame", "x_px", "y_px", "z_um", "photons", "id")

    def recognizes(self, head: Head) -> bool:
        """Look for ``xnano`` or ``xnm``."""
        return not {"xnano", "xnm"}.isdisjoint(head.fields)

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[CsvSource]:
        """Open a file; see `Format.open`."""
        fields = header(path)
        nano = "nm" if "xnm" in fields else "nano"
        columns = _columns(need_pixel_size(path, pixel_size_nm), nano)
        for column in columns:
            if column.field not in fields:
                text = Text(
                    "{path}: line 1: no column {name}; the header has {names}",
                    path=path,
                    name=column.field,
                    names=", ".join(fields),
                )
                raise DataError(text)
        yield CsvSource(path, fields, columns, pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:  # noqa: ARG002
        """Write the columns of the challenge; ``Ground-truth`` is the emitter's id."""
        made = _columns(view.need_pixel_size(path), "nano")
        write_csv(
            path,
            [column.field for column in made],
            chunks,
            lambda chunk: [column.to_file(getattr(chunk, column.name)) for column in made],
        )


def _columns(px: PixelSize, nano: str) -> tuple[Column, ...]:
    return (
        Column("Ground-truth", "id"),
        Column("frame", "frame", offset=1),
        Column(f"x{nano}", "x_px", px[0], _CORNER_PX),
        Column(f"y{nano}", "y_px", px[1], _CORNER_PX),
        Column(f"z{nano}", "z_um", 1000),
        Column("intensity", "photons"),
    )
