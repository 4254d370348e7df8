"""ThunderSTORM's CSV: lengths in the units given in the header, frames from 1, pixel (0, 0) from 0 to 1.

Names and units are those of its results table (``name [unit]``), where users may choose other units, such as ADU or px.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import DataError
from simtiff.language import Text
from simtiff.localizations._csv import CsvSource, header, write_csv
from simtiff.localizations.format import Column, Head, PixelSize, View, WrittenFormat, need_pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.localizations.table import Localizations

# Names in the file, and in the table; if several are present, the first counts.
_X, _Y, _Z, _PHOTONS = "x", "y", "z", "photon"
_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "x": (("x_px", _X),),
    "y": (("y_px", _Y),),
    "z": (("z_um", _Z),),
    "intensity": (("photons", _PHOTONS),),
    "offset": (("background", _PHOTONS),),
    "uncertainty_xy": (("sigma_x_px", _X), ("sigma_y_px", _Y)),
    "uncertainty": (("sigma_x_px", _X), ("sigma_y_px", _Y)),
    "uncertainty_z": (("sigma_z_um", _Z),),
}
_UNITS = {_X: ("nm", "um", "px"), _Y: ("nm", "um", "px"), _Z: ("nm", "um"), _PHOTONS: ("photon",)}
_CORNER_PX = 0.5
_LABEL = re.compile(r"(?P<name>[^\[\]]*?)\s*\[(?P<unit>[^\[\]]*)\]")


class ThunderStorm(WrittenFormat):
    """ThunderSTORM results (CSV)."""

    name = "thunderstorm"
    suffix = ".csv"
    needs = ("frame", "x_px", "y_px")

    def recognizes(self, head: Head) -> bool:
        """Look for x and y with a unit in brackets, such as ``x [nm]``."""
        names = {match["name"] for match in map(_LABEL.fullmatch, head.fields) if match}
        return {"x", "y"} <= names

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[CsvSource]:
        """Open a file; see `Format.open`."""
        fields = header(path)
        yield CsvSource(path, fields, _columns(path, fields, pixel_size_nm), pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:
        """Write lengths in nm; the uncertainty is the root mean square of the uncertainties along x and y."""
        px = view.need_pixel_size(path)
        simple = [column for column in _written(px) if column.name in columns]
        uncertain = {"sigma_x_px", "sigma_y_px"} <= set(columns)

        def values(chunk: Localizations) -> Sequence[NDArray[Any]]:
            made = [column.to_file(getattr(chunk, column.name)) for column in simple]
            if uncertain:
                assert chunk.sigma_x_px is not None  # noqa: S101 - for the type checker
                assert chunk.sigma_y_px is not None  # noqa: S101
                made.append(np.sqrt(((chunk.sigma_x_px * px[0]) ** 2 + (chunk.sigma_y_px * px[1]) ** 2) / 2))
            return made

        fields = [column.field for column in simple] + ["uncertainty_xy [nm]"] * uncertain
        write_csv(path, fields, chunks, values, quote='"')


def _written(px: PixelSize) -> tuple[Column, ...]:
    return (
        Column("id", "id"),
        Column("frame", "frame", offset=1),
        Column("x [nm]", "x_px", px[0], _CORNER_PX),
        Column("y [nm]", "y_px", px[1], _CORNER_PX),
        Column("z [nm]", "z_um", 1000),
        Column("intensity [photon]", "photons"),
        Column("offset [photon]", "background"),
        Column("uncertainty_z [nm]", "sigma_z_um", 1000),
    )


def _columns(path: Path, fields: Sequence[str], pixel_size_nm: PixelSize | None) -> list[Column]:
    """Return the columns to read; `DataError` if a column is missing, or has no unit or an unknown one."""
    units: dict[str, tuple[str, str]] = {}
    for field in fields:
        match = _LABEL.fullmatch(field)
        units.setdefault(match["name"] if match else field, (field, match["unit"].strip() if match else ""))
    for name in ("frame", "x", "y"):
        if name not in units:
            field = name if name == "frame" else f"{name} [nm]"
            names = ", ".join(fields)
            text = Text("{path}: line 1: no column {name}; the header has {names}", path=path, name=field, names=names)
            raise DataError(text)
    columns = [Column(units["frame"][0], "frame", offset=1)]
    if "id" in units:
        columns.append(Column(units["id"][0], "id"))
    for name, targets in _NAMES.items():
        if name not in units:
            continue
        field, unit = units[name]
        for target, kind in targets:
            if unit not in _UNITS[kind]:
                text = Text(
                    "{path}: line 1, column {name}: the unit is {unit}; allowed: {units}",
                    path=path,
                    name=field,
                    unit=unit or Text("missing"),
                    units=", ".join(_UNITS[kind]),
                )
                raise DataError(text)
            if any(column.name == target for column in columns):
                continue
            offset = _CORNER_PX if name in {"x", "y"} else 0.0
            columns.append(Column(field, target, _per(path, kind, unit, pixel_size_nm), offset))
    return columns


def _per(path: Path, kind: str, unit: str, pixel_size_nm: PixelSize | None) -> float:
    """Return the number of file units per table unit."""
    if kind == _Z:
        return 1000.0 if unit == "nm" else 1.0
    if kind == _PHOTONS or unit == "px":
        return 1.0
    size = need_pixel_size(path, pixel_size_nm)[0 if kind == _X else 1]
    return size if unit == "nm" else size / 1000
