"""The truth file ``emitters.h5``, read as localizations (its records) or as molecules (its emitters).

The bounds of records are read as ``sigma_...``, if the file has them.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from simtiff.errors import DataError
from simtiff.io.hdf5 import find_dataset, need_dataset, open_hdf5, stated
from simtiff.io.rows import Rows, check_numbers, read_rows
from simtiff.language import Text
from simtiff.localizations.format import Format, Head, PixelSize, agreed_pixel_size, file_row, in_order
from simtiff.localizations.table import Localizations, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

_PLACES = ("x_px", "y_px", "z_um")
# Columns of records/crlb; the fifth, for the background, has no column in the table.
_BOUNDS = ("sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "xyz": _PLACES,
    "crlb": _BOUNDS,
    "phot": ("photons",),
    "frame_ix": ("frame",),
    "id": ("id",),
}
_WIDTHS = {"xyz": 3, "crlb": 5}


class _Truth(Format):
    """Base class of both formats."""

    suffix = ".h5"
    group: ClassVar[Literal["records", "emitters"]]

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[_TruthSource]:
        """Open a file; see `Format.open`."""
        with open_hdf5(path) as file:
            yield _TruthSource(path, file, self.group, agreed_pixel_size(path, _stated_size(file), pixel_size_nm))


class TruthRecords(_Truth):
    """The records of ``emitters.h5``: one row per emitter and frame in which it emits."""

    name = "simtiff"
    group = "records"

    def recognizes(self, head: Head) -> bool:
        """Look for records with photons."""
        return "records/phot" in head.nodes


class TruthEmitters(_Truth):
    """The emitters of ``emitters.h5``: one row per emitter, without frames and photons."""

    name = "simtiff-emitters"
    group = "emitters"

    def recognizes(self, head: Head) -> bool:
        """Look for emitters in a file without records."""
        return "emitters/xyz" in head.nodes and "records/phot" not in head.nodes


def _stated_size(file: h5py.File) -> PixelSize | None:
    """Return the pixel size from the config in a file, if it has one."""
    try:
        optical = json.loads(stated(file, (), "config") or "{}")["optical"]
        both = optical.get("pixel_size_nm")
        sizes = [optical["pixel_size_nm_x"], optical["pixel_size_nm_y"]] if both is None else np.broadcast_to(both, 2)
        return float(sizes[0]), float(sizes[1])
    except (LookupError, TypeError, ValueError):  # written by other software
        return None


class _TruthSource:
    def __init__(self, path: Path, file: h5py.File, group: str, pixel_size_nm: PixelSize | None) -> None:
        self.pixel_size_nm = pixel_size_nm
        self._path = str(path)
        fields = list(_COLUMNS) if group == "records" else ["xyz", "id"]
        self._sets = {field: rows for field in fields if (rows := _rows(file, group, field)) is not None}
        self._emitters: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None
        if group == "records":
            for field in ("phot", "frame_ix"):
                if field not in self._sets:
                    need_dataset(file, f"records/{field}")
            if "xyz" not in self._sets:
                self._emitters = self._positions(file)
        elif "xyz" not in self._sets:
            need_dataset(file, "emitters/xyz")
        lengths = {f"{group}/{field}": len(rows) for field, rows in self._sets.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(Text("{path}: lengths disagree: {lengths}; allowed: one length", path=path, lengths=shown))
        self._count = next(iter(lengths.values()))
        there = [field for field in fields if field in self._sets or field == "xyz"]
        self._names = {name: f"{group}/{field}" for field in there for name in _COLUMNS[field]}
        self.columns = in_order(self._names)

    def _positions(self, file: h5py.File) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return positions and ids of emitters, ordered by id, for records without positions."""
        if "id" not in self._sets:
            need_dataset(file, "records/id", Text(" if records have no xyz"))
        xyz = check_numbers(need_dataset(file, "emitters/xyz"), (None, 3), Text("one row per emitter"))
        ids = _rows(file, "emitters", "id")
        number = np.arange(len(xyz)) if ids is None else read_rows(ids, 0, len(ids), np.int64)
        order = np.argsort(number, kind="stable")
        return read_rows(xyz, 0, len(xyz), np.float64)[order], number[order]

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows each, at least one; see `Source`."""
        for start in range(0, max(1, self._count), rows):
            stop = min(start + rows, self._count)
            made: dict[str, NDArray[Any]] = {}
            for field, dataset in self._sets.items():
                kind = np.int64 if field in {"frame_ix", "id"} else np.float64
                block = read_rows(dataset, start, stop, kind, finite=field != "crlb")
                made |= _named(field, block)
            if self._emitters is not None:
                made |= _named("xyz", self._places_of(made["id"]))
            yield Localizations.checked(made, Origin(self._path, self._names, file_row(start)))

    def _places_of(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self._emitters is not None  # noqa: S101 - for the type checker
        xyz, known = self._emitters
        at = np.minimum(np.searchsorted(known, ids), max(0, len(known) - 1))
        strange = ids[known[at] != ids] if len(known) else ids
        if strange.size:
            text = Text(
                "{path}: records/id: {id} is not an emitter; allowed: ids in emitters/id",
                path=self._path,
                id=strange[0],
            )
            raise DataError(text)
        return xyz[at]


def _rows(file: h5py.File, group: str, field: str) -> Rows | None:
    """Return a dataset of a group, with its shape checked; None if it does not exist."""
    dataset = find_dataset(file, f"{group}/{field}")
    if dataset is None:
        return None
    width = _WIDTHS.get(field)
    meaning = Text("one-dimensional") if width is None else Text("one row per record")
    return check_numbers(dataset, (None,) if width is None else (None, width), meaning)


def _named(field: str, block: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the columns of a block by their table names."""
    return {name: block[:, at] if block.ndim > 1 else block for at, name in enumerate(_COLUMNS[field])}
