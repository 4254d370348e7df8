"""Parquet with Locan's column names; each column's unit is in the metadata of its field.

Lengths are in nm with the centre of pixel (0, 0) at 0, and frames count from 0. Needs pyarrow (optional dependencies
``tables``).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import ConfigError, DataError
from simtiff.io.files import replacing, software
from simtiff.language import Text
from simtiff.localizations.format import (
    Column,
    Head,
    PixelSize,
    View,
    WrittenFormat,
    agreed_pixel_size,
    as_pixel_size,
    assembled,
    file_row,
    in_order,
    need_pixel_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simtiff.localizations.table import Localizations

# Locan's names (from its list of properties), our names, and the kind of quantity.
_NAMES = {
    "original_index": ("id", None),
    "frame": ("frame", None),
    "position_x": ("x_px", "x"),
    "position_y": ("y_px", "y"),
    "position_z": ("z_um", "z"),
    "intensity": ("photons", "photons"),
    "local_background": ("background", "photons"),
    "uncertainty_x": ("sigma_x_px", "x"),
    "uncertainty_y": ("sigma_y_px", "y"),
    "uncertainty_z": ("sigma_z_um", "z"),
}
_UNITS = {"x": ("nm", "um", "px"), "y": ("nm", "um", "px"), "z": ("nm", "um"), "photons": ("photons",)}
_UNIT_KEY, _SIZE_KEY = b"unit", b"pixel_size_nm"


class Parquet(WrittenFormat):
    """Parquet with Locan's column names."""

    name = "parquet"
    suffix = ".parquet"

    def recognizes(self, head: Head) -> bool:
        """Look for the magic bytes."""
        return head.start.startswith(b"PAR1")

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[_ParquetSource]:
        """Open a file; see `Format.open`."""
        pyarrow = _pyarrow()
        try:
            file = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            text = Text("{path}: not a readable Parquet file, or truncated ({reason})", path=path, reason=error)
            raise DataError(text) from error
        with file:
            yield _ParquetSource(path, file, pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:
        """Write lengths in nm."""
        pyarrow = _pyarrow()
        px = view.need_pixel_size(path)
        units = {"x": "nm", "y": "nm", "z": "nm", "photons": "photons"}
        taken, fields = [], []
        for field, (name, kind) in _NAMES.items():
            if name not in columns:
                continue
            taken.append(Column(field, name, 1.0 if kind is None else _per(kind, units[kind], px)))
            metadata = {} if kind is None else {_UNIT_KEY: units[kind].encode()}
            fields.append(pyarrow.field(field, pyarrow.int64() if kind is None else pyarrow.float64(), False, metadata))
        schema = pyarrow.schema(fields, {_SIZE_KEY: json.dumps(list(px)).encode(), b"software": software().encode()})
        with replacing(path) as file, pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
            for chunk in chunks:
                arrays = [pyarrow.array(column.to_file(getattr(chunk, column.name))) for column in taken]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow, which is not installed: pip install pyarrow") from error
    return pyarrow


def _per(kind: str, unit: str, px: PixelSize | None) -> float:
    """Return the number of file units per table unit."""
    if kind == "photons" or unit == "px":
        return 1.0
    in_nm = 1000.0 if px is None else {"x": px[0], "y": px[1], "z": 1000.0}[kind]
    return in_nm if unit == "nm" else in_nm / 1000


class _ParquetSource:
    def __init__(self, path: Path, file: Any, pixel_size_nm: PixelSize | None) -> None:
        self._path, self._file = str(path), file
        schema = file.schema_arrow
        stated = (schema.metadata or {}).get(_SIZE_KEY)
        try:
            size = as_pixel_size(None if stated is None else json.loads(stated))
        except ValueError as error:
            text = Text("{path}: metadata pixel_size_nm: {found}; allowed: [x, y] in nm", path=path, found=stated)
            raise DataError(text) from error
        self.pixel_size_nm = agreed_pixel_size(path, size, pixel_size_nm)
        self._taken = []
        for field, (name, kind) in _NAMES.items():
            if field not in schema.names:
                if name in {"x_px", "y_px"}:
                    names = ", ".join(schema.names)
                    text = Text("{path}: no column {name}; it has {names}", path=path, name=field, names=names)
                    raise DataError(text)
                continue
            per = 1.0
            if kind is not None:
                unit = (schema.field(field).metadata or {}).get(_UNIT_KEY, b"").decode(errors="replace")
                if unit not in _UNITS[kind]:
                    text = Text(
                        "{path}: column {name}: the unit (metadata of the field) is {unit}; allowed: {units}",
                        path=path,
                        name=field,
                        unit=unit or Text("missing"),
                        units=", ".join(_UNITS[kind]),
                    )
                    raise DataError(text)
                if kind in {"x", "y"} and unit != "px":
                    need_pixel_size(path, self.pixel_size_nm)
                per = _per(kind, unit, self.pixel_size_nm)
            self._taken.append(Column(field, name, per))
        self.columns = in_order([column.name for column in self._taken])

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows each, at least one; see `Source`."""
        fields = [column.field for column in self._taken]
        start = 0
        for batch in self._batches(rows, fields):
            values = {}
            for field in fields:
                column = batch.column(field)
                array = column.to_numpy(zero_copy_only=False)
                if array.dtype.kind not in "iuf":
                    text = Text(
                        "{path}: column {name}: has type {found}; allowed: real numbers",
                        path=self._path,
                        name=field,
                        found=column.type,
                    )
                    raise DataError(text)
                values[field] = array
            yield assembled(self._taken, values, self._path, file_row(start))
            start += len(batch)
        if start == 0:
            empty = {field: np.zeros(0, np.int64) for field in fields}
            yield assembled(self._taken, empty, self._path, file_row(0))

    def _batches(self, rows: int, fields: list[str]) -> Iterator[Any]:
        pyarrow = _pyarrow()
        try:
            yield from self._file.iter_batches(rows, columns=fields, use_threads=False)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            text = Text("{path}: cannot be read; the file is damaged ({reason})", path=self._path, reason=error)
            raise DataError(text) from error
