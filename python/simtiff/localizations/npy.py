"""Molecule positions as a NumPy array: ``.npy`` of shape (n, 2) or (n, 3), columns x px, y px and z um."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import DataError
from simtiff.io.files import replacing
from simtiff.language import Text
from simtiff.localizations.format import Column, Head, PixelSize, View, WrittenFormat, assembled, file_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.localizations.table import Localizations

_COLUMNS = (Column("0", "x_px"), Column("1", "y_px"), Column("2", "z_um"))


class Npy(WrittenFormat):
    """Positions only, as written by `numpy.save`."""

    name = "npy"
    suffix = ".npy"

    def recognizes(self, head: Head) -> bool:
        """Look for the magic bytes."""
        return head.start.startswith(np.lib.format.MAGIC_PREFIX)

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[_NpySource]:
        """Open a file; see `Format.open`."""
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy parses the header as Python, which may raise anything
            text = Text("{path}: not a readable .npy file, or truncated ({reason})", path=path, reason=error)
            raise DataError(text) from error
        if array.ndim != 2 or array.shape[1] not in {2, 3} or array.dtype.kind not in "iuf":
            text = Text(
                "{path}: is {found}; allowed: real numbers of shape (n, 2) or (n, 3): x px, y px, z um",
                path=path,
                found=Text("{dtype} of shape {shape}", dtype=array.dtype, shape=array.shape),
            )
            raise DataError(text)
        yield _NpySource(path, array, pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:  # noqa: ARG002
        """Write positions; `DataError` if the table has frames or photons, which the format cannot store."""
        lost = [name for name in ("frame", "photons") if name in columns]
        if lost:
            text = Text(
                "{path}: .npy files have only positions, but the table has {names}", path=path, names=", ".join(lost)
            )
            raise DataError(text)
        names = ["x_px", "y_px", *(["z_um"] if "z_um" in columns else [])]
        rows = 0
        with replacing(path) as file:
            file.write(_header(rows, len(names)))
            for chunk in chunks:
                file.write(np.column_stack([getattr(chunk, name) for name in names]).astype("<f8").tobytes())
                rows += len(chunk)
            file.seek(0)
            file.write(_header(rows, len(names)))


def _header(rows: int, columns: int) -> bytes:
    """Return the file header; its length does not depend on the number of rows."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    return np.lib.format.magic(1, 0) + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


class _NpySource:
    def __init__(self, path: Path, array: NDArray[Any], pixel_size_nm: PixelSize | None) -> None:
        self.pixel_size_nm = pixel_size_nm
        self._path, self._array, self._taken = str(path), array, _COLUMNS[: array.shape[1]]
        self.columns = tuple(column.name for column in self._taken)

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows each, at least one; see `Source`."""
        for start in range(0, max(1, len(self._array)), rows):
            block = np.asarray(self._array[start : start + rows])
            values = {column.field: block[:, at] for at, column in enumerate(self._taken)}
            yield assembled(self._taken, values, self._path, file_row(start))
