"""DECODE's emitters in HDF5: ``data/{xyz, phot, frame_ix, id, ...}`` and the pixel size in ``meta``.

In DECODE, x is the row and y the column, so the two are swapped here, also in ``px_size``.
Integers are pixel centres, frames count from 0, z is in nm. Photons are those that reach the camera, before its
quantum efficiency. Unknown quantities are empty datasets.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from simtiff.errors import DataError
from simtiff.io.files import software
from simtiff.io.hdf5 import find, find_dataset, need_dataset, open_hdf5, reading, writing_hdf5
from simtiff.io.rows import Rows, check_numbers, read_rows
from simtiff.language import Text
from simtiff.localizations.format import (
    Column,
    Head,
    PixelSize,
    View,
    WrittenFormat,
    agreed_pixel_size,
    assembled,
    file_row,
    in_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.localizations.table import Localizations

_CHUNK_ROWS = 1 << 14
# Datasets with one number per emitter: column name, and type in the file.
_PLAIN = {"phot": ("photons", "<f4"), "frame_ix": ("frame", "<i8"), "id": ("id", "<i8"), "bg": ("background", "<f4")}
_SIGMA_PHOTONS = "phot_sig"
_XYZ = ("y_px", "x_px", "z_um")
_XYZ_SIGMA = ("sigma_y_px", "sigma_x_px", "sigma_z_um")
# DECODE writes these datasets to every file; here they are unknown.
_EMPTY = ("xyz_cr", "phot_cr", "bg_cr", "bg_sig")


class Decode(WrittenFormat):
    """DECODE EmitterSet (HDF5)."""

    name = "decode"
    suffix = ".h5"
    needs = ("frame", "x_px", "y_px", "z_um", "photons")

    def recognizes(self, head: Head) -> bool:
        """Look for ``data/xyz``."""
        return "data/xyz" in head.nodes

    @contextmanager
    def open(self, path: Path, pixel_size_nm: PixelSize | None) -> Iterator[_DecodeSource]:
        """Open a file; see `Format.open`."""
        with open_hdf5(path) as file:
            yield _DecodeSource(path, file, pixel_size_nm)

    def write(self, path: Path, chunks: Iterator[Localizations], columns: tuple[str, ...], view: View) -> None:
        """Write positions in px; rows without an id are numbered, and all have probability 1."""
        px = view.need_pixel_size(path)
        with writing_hdf5(path) as (file, check):
            meta = file.create_group("meta")
            meta.attrs["xy_unit"] = "px"
            meta.attrs["px_size"] = np.array(px[::-1], np.float32)
            file.create_group("decode").attrs["version"] = software()
            data = file.create_group("data")
            sets = {"xyz": _growing(data, "xyz", "<f4", 3), "prob": _growing(data, "prob", "<f4")}
            sets |= {field: _growing(data, field, kind) for field, (_, kind) in _PLAIN.items()}
            if {"sigma_x_px", "sigma_y_px"} <= set(columns):
                sets["xyz_sig"] = _growing(data, "xyz_sig", "<f4", 3)
            if "sigma_photons" in columns:
                sets[_SIGMA_PHOTONS] = _growing(data, _SIGMA_PHOTONS, "<f4")
            done = 0
            for chunk in chunks:
                check()
                values = _values(chunk, done)
                end = done + len(chunk)
                for field, dataset in sets.items():
                    dataset.resize(end, axis=0)
                    dataset[done:end] = values[field]
                done = end
            for field in (*_EMPTY, "xyz_sig", _SIGMA_PHOTONS):
                if field not in sets:
                    data.create_dataset(field, data=h5py.Empty("<f4"))


def _growing(group: h5py.Group, name: str, kind: str, columns: int = 0) -> h5py.Dataset:
    tail = (columns,) if columns else ()
    layout: dict[str, Any] = {"maxshape": (None, *tail), "chunks": (_CHUNK_ROWS, *tail)}
    return group.create_dataset(name, (0, *tail), kind, track_times=False, **layout)


def _values(chunk: Localizations, done: int) -> dict[str, NDArray[Any]]:
    """Return the values of a chunk for all datasets; `done` rows have been written before."""
    unknown = np.full(len(chunk), np.nan)
    table = {"id": np.arange(done, done + len(chunk)), "background": unknown, "sigma_z_um": unknown} | chunk.as_dict()
    values = {field: table[name] for field, (name, _) in _PLAIN.items()}
    values |= {"xyz": _columns(table, _XYZ), "prob": np.ones(len(chunk))}
    if {"sigma_x_px", "sigma_y_px"} <= set(table):
        values["xyz_sig"] = _columns(table, _XYZ_SIGMA)
    if "sigma_photons" in table:
        values[_SIGMA_PHOTONS] = table["sigma_photons"]
    return values


def _columns(table: dict[str, NDArray[Any]], names: tuple[str, str, str]) -> NDArray[np.float64]:
    """Return three columns side by side, the last in nm."""
    return np.column_stack([table[name] for name in names]) * [1, 1, 1000]


class _DecodeSource:
    def __init__(self, path: Path, file: h5py.File, pixel_size_nm: PixelSize | None) -> None:
        self._path = str(path)
        need_dataset(file, "data/xyz")
        unit, stated = _meta(path, file)
        self.pixel_size_nm = agreed_pixel_size(path, stated, pixel_size_nm)
        size = (1.0, 1.0)
        if unit == "nm":
            if self.pixel_size_nm is None:
                text = Text("{path}: positions are in nm, but meta has no attribute px_size", path=path)
                raise DataError(text)
            size = self.pixel_size_nm
        per = {"y_px": size[1], "x_px": size[0], "z_um": 1000.0}
        self._sets: dict[str, Rows] = {}
        for field, width in {"xyz": 3, "xyz_sig": 3, **dict.fromkeys([*_PLAIN, _SIGMA_PHOTONS], 0)}.items():
            dataset = find_dataset(file, f"data/{field}")
            if dataset is None or dataset.shape is None:
                continue
            meaning = Text("one row per emitter") if width else Text("one-dimensional")
            self._sets[field] = check_numbers(dataset, (None, width) if width else (None,), meaning)
        for field in ("xyz", "phot", "frame_ix"):
            if field not in self._sets:
                need_dataset(file, f"data/{field}")
                raise DataError(Text("{path}: data/{name}: is empty, but required", path=path, name=field))
        lengths = {field: len(rows) for field, rows in self._sets.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"data/{field} {length}" for field, length in lengths.items())
            raise DataError(Text("{path}: lengths disagree: {lengths}; allowed: one length", path=path, lengths=shown))
        self._taken = [Column(f"xyz {axis}", name, per[name]) for axis, name in zip("xyz", _XYZ, strict=True)]
        if "xyz_sig" in self._sets:
            names = zip("xyz", _XYZ_SIGMA, _XYZ, strict=True)
            self._taken += [Column(f"xyz_sig {axis}", name, per[of]) for axis, name, of in names]
        known = _PLAIN | {_SIGMA_PHOTONS: ("sigma_photons", "<f4")}
        self._taken += [Column(field, name) for field, (name, _) in known.items() if field in self._sets]
        self.columns = in_order([column.name for column in self._taken])

    def chunks(self, rows: int) -> Iterator[Localizations]:
        """Yield tables of at most `rows` rows each, at least one; see `Source`."""
        count = len(self._sets["xyz"])
        for start in range(0, max(1, count), rows):
            values: dict[str, NDArray[Any]] = {}
            for field, dataset in self._sets.items():
                whole = dataset.dataset.dtype.kind in "iu"
                block = read_rows(
                    dataset, start, min(start + rows, count), np.int64 if whole else np.float64, finite=False
                )
                if field in {"xyz", "xyz_sig"}:
                    values |= {f"{field} {axis}": block[:, at] for at, axis in enumerate("xyz")}
                else:
                    values[field] = block
            yield assembled(self._taken, values, self._path, file_row(start))


def _meta(path: Path, file: h5py.File) -> tuple[str, PixelSize | None]:
    """Return the unit of x and y, and the pixel size along our x and y; `DataError` if there is no unit."""
    node = find(file, "meta")
    attributes: dict[str, Any] = {}
    if node is not None:
        with reading(str(path), "meta"):
            attributes = {name: node.attrs[name] for name in ("xy_unit", "px_size") if name in node.attrs}
    unit = attributes.get("xy_unit")
    if unit not in {"px", "nm"}:
        text = Text(
            "{path}: meta: attribute xy_unit is {unit}; allowed: px, nm", path=path, unit=unit or Text("missing")
        )
        raise DataError(text)
    sizes = np.asarray(attributes.get("px_size", ()))
    if sizes.shape != (2,) or sizes.dtype.kind not in "iuf" or not (sizes > 0).all():
        return unit, None
    return unit, (float(sizes[1]), float(sizes[0]))
