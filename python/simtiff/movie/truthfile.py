"""Read ``emitters.h5``: any range of frames, reading only the data of these frames.

Files of other software are accepted, too; ``records/{xyz, phot, frame_ix}`` are enough. ``emitters/`` may be missing
(records have the positions). Coefficients may be per record instead of per emitter (the number of rows decides) or
missing (they are computed from the config's map). ``records/id``, ``records/frame_start`` and the config may be
missing. Vectors may be columns, whole numbers may be doubles, and MATLAB may have saved the file. Records that are not
ordered by frame are sorted in memory.

An error in a file raises a `DataError` that names file and dataset.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from simtiff.aberrations.mapfile import MAX_MODES
from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.emitters.tables import Blinks, Records
from simtiff.errors import DataError, ShapeError, in_words
from simtiff.imaging.scene import Scene, same_psf
from simtiff.io.hdf5 import find_dataset, need_dataset, open_hdf5, reading, stated
from simtiff.io.rows import Rows, check_numbers, read_rows
from simtiff.language import Text
from simtiff.movie.light import Background, find_background
from simtiff.movie.truthrecords import LIMITS, SCAN_ROWS, FileRecords, RecordRows, positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.config.settings import JobConfig

_COLUMNS: dict[str, dict[str, tuple[int | None, ...]]] = {
    "emitters": {"xyz": (None, 3), "intensity": (None,), "t0": (None,), "on_time": (None,), "id": (None,)},
    "records": {"xyz": (None, 3), "phot": (None,), "frame_ix": (None,), "id": (None,)},
    "blinks": {"emitter": (None,), "t0": (None,), "on_time": (None,), "state": (None,), "intensity": (None,)},
    "drift": {"xyz": (None, 3)},
}
Coefficients = Literal["stored", "computed", "unused"]
"""Use of a file's coefficients: read; read, or computed if missing; or ignored."""

MAX_GAP_ROWS = 2048
"""Reading so many unneeded rows is faster than another read."""

MAX_RUN_ROWS = 1 << 18
"""Rows of coefficients read in one call."""


@dataclass(frozen=True)
class Places:
    """Positions of coefficients: of emitters, or of records if a file has no emitters."""

    count: int
    read: Callable[[int, int], NDArray[np.float32]]


class TruthFile:
    """A truth file, open for reading until `close` or the end of a ``with`` block.

    Parameters
    ----------
    path
        The file.
    config
        Used instead of the config stored in the file, if any.
    coefficients
        ``"stored"``: the file must have coefficients; ``"computed"``: if it has none, they are computed from the
        config's map; ``"unused"``: they are ignored, and scenes are not available.
    file
        The open file, if it is still being written under a temporary name; it stays open.

    Attributes
    ----------
    path : str
        The file.
    stored_config : JobConfig or None
        The config stored in the file.
    n_frames : int
        Number of frames of the movie: from the file, else from the config, else up to the last frame that has records.
    states_frames : bool
        Whether the file contains the number of frames.

    Raises
    ------
    DataError
        If the file is missing, damaged, or not a truth file.
    """

    def __init__(
        self,
        path: str | Path,
        config: JobConfig | None = None,
        *,
        coefficients: Coefficients = "stored",
        file: h5py.File | None = None,
    ) -> None:
        self.path = str(path)
        self._given_config = config
        self._field: FieldMap | None = None
        with ExitStack() as stack:
            self._file = stack.enter_context(open_hdf5(path)) if file is None else file
            self._emitters = self._group("emitters")
            self._records = self._group("records")
            self._blinks, self._drift = self._group("blinks"), self._group("drift")
            self._check_columns()
            self.stored_config = self._read_config()
            stored = None if self.stored_config is None else self.stored_config.emitters.frames
            given = None if config is None else config.emitters
            wanted = None if given is None or "frames" not in given.model_fields_set else given.frames
            self._in_frames = FileRecords(self.path, self._records, stored, wanted)
            self.n_frames, self.states_frames = self._in_frames.n_frames, self._in_frames.states_frames
            self._emitter_ids = self._read_emitter_ids()
            self._phase, self._magnitude = None, None
            if coefficients != "unused":
                self._phase, self._magnitude = self._find_coefficients(computed=coefficients == "computed")
            if self._phase is None and coefficients == "stored":
                need_dataset(self._file, "zernike_coeffs/phase")
            self._per = self._what_coefficients_belong_to()
            self._added = self._phases_to_add()
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._closing.close()

    @property
    def config(self) -> JobConfig:
        """The given config, else the stored one; `DataError` if there is neither."""
        config = self._given_config or self.stored_config
        if config is None:
            text = Text("{path}: contains no config (attribute config); give one with --config", path=self.path)
            raise DataError(text)
        return config

    @property
    def background(self) -> Background | None:
        """The movie's background: the stored one if its settings match the config, else made according to the config.

        None if the config has none; `DataError` if a required image is missing.
        """
        return find_background(self._file, self.n_frames, self.config, self.stored_config)

    @property
    def computes(self) -> bool:
        """Whether the file has no coefficients, so that they are computed from the config's map."""
        return self._phase is None

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""
        records = self._in_frames.of_frames(start, stop)
        if self._per == "emitter":
            return self._scene_of_emitters(records, start)
        return self._scene_of_records(records, start)

    def frames_of_records(self, count: int) -> int:
        """Return how many of the first frames have at most `count` records together."""
        return int(np.searchsorted(self._in_frames.frame_start, count, side="right")) - 1

    def places(self) -> Places:
        """Return the positions of coefficients, without drift, to recompute them."""
        group, name = (self._emitters, "emitters") if "xyz" in self._emitters else (self._records, "records")
        if "xyz" not in group:
            raise DataError(f"{self.path}: no dataset {name}/xyz")
        rows = group["xyz"]
        drift = None if group is self._emitters else self.drift()

        def read(start: int, stop: int) -> NDArray[np.float32]:
            xyz = positions(self.path, rows, start, stop)
            if drift is None:
                return xyz
            frame_ix: NDArray[np.int64] = read_rows(self._records["frame_ix"], start, stop, np.int64)
            return np.asarray(xyz - drift[frame_ix], np.float32)

        return Places(len(rows), read)

    def records(self) -> tuple[NDArray[np.float32] | None, NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
        """Return all records by frame: position (None if only emitters have one), photons, frame and id."""
        every = self._in_frames.read(0, self._in_frames.count)
        return every.xyz, every.phot, every.frame_ix, every.rows if every.id is None else every.id

    def emitter_columns(self, most: int) -> dict[str, NDArray[np.float64]]:
        """Return intensity, t0 and on_time of the first emitters, at most `most`, those that the file has."""
        names = [name for name in ("intensity", "t0", "on_time") if name in self._emitters]
        return {
            name: read_rows(self._emitters[name], 0, min(most, len(self._emitters[name])), np.float64) for name in names
        }

    def blinks(self, most: int) -> Blinks | None:
        """Return the first rows of ``blinks/``, at most `most`; None if there are none."""
        if not self._blinks:
            return None
        types = {"emitter": np.int64, "state": np.uint8, "intensity": np.float32}
        stop = min(most, len(self._blinks["emitter"]))
        columns = {name: read_rows(rows, 0, stop, types.get(name, np.float64)) for name, rows in self._blinks.items()}
        return Blinks(**columns)

    def drift(self) -> NDArray[np.float64] | None:
        """Return the drift of each frame, (frames, 3) in px, px, um; None without drift."""
        rows = self._drift.get("xyz")
        if rows is None:
            return None
        drift: NDArray[np.float64] = read_rows(rows, 0, len(rows), np.float64)
        if len(drift) != self.n_frames:
            text = Text(
                "{path}: drift/xyz: has {rows} rows; allowed: {frames}, one per frame",
                path=self.path,
                rows=len(drift),
                frames=self.n_frames,
            )
            raise DataError(text)
        return drift

    def record_ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the emitter of each record of frames ``start..stop - 1``; the record's row if the file has no ids."""
        records = self._in_frames.of_frames(start, stop)
        return records.rows if records.id is None else records.id

    @property
    def in_order(self) -> bool:
        """Whether the file has its records ordered by frame."""
        return self._in_frames.in_order

    @property
    def record_count(self) -> int:
        """Number of records."""
        return self._in_frames.count

    @property
    def file(self) -> h5py.File:
        """The open HDF5 file, for its other contents."""
        return self._file

    def frame_ranges(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield all frames in ranges (start, stop) of at least one frame and at most `most` records, if possible."""
        start = 0
        while start < self.n_frames:
            stop = max(start + 1, self.frames_of_records(int(self._in_frames.frame_start[start]) + most))
            yield start, stop
            start = stop

    def records_of(self, start: int, stop: int) -> Records:
        """Return the records of frames ``start..stop - 1``; if the file has no ids, they are the row numbers."""
        records = self._in_frames.of_frames(start, stop)
        ids = records.rows if records.id is None else records.id
        xyz = records.xyz
        if xyz is None:
            places = self._emitters["xyz"]
            rows = self._rows_of_emitters(ids)
            xyz = gather(rows, lambda first, last: positions(self.path, places, first, last), 3)
        return Records(xyz, records.phot, records.frame_ix, ids)

    def rows_of(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the rows in the file of the records of frames ``start..stop - 1``, in the order of the scene."""
        return self._in_frames.rows_of(start, stop)

    def copy_into(self, file: h5py.File) -> None:
        """Copy emitters, records, blinks and drift, not the coefficients, to another open file."""
        for name, columns in (("emitters", self._emitters), ("records", self._records)):
            group = file.create_group(name)
            for column, rows in columns.items():
                with reading(self.path, f"{name}/{column}"):
                    if rows.as_meant:
                        self._file.copy(rows.dataset, group, column)
                        continue
                    copy = group.create_dataset(column, rows.shape, rows.dataset.dtype, track_times=False)
                    for start in range(0, len(rows), SCAN_ROWS):
                        copy[start : start + SCAN_ROWS] = rows[start : start + SCAN_ROWS]
        for name in ("blinks", "drift"):
            if name in self._file:
                with reading(self.path, name):
                    self._file.copy(name, file)

    # Opening

    def _group(self, group: str) -> dict[str, Rows]:
        """Return the known columns of a group that the file has."""
        found = {}
        for name, shape in [*_COLUMNS[group].items(), *([("frame_start", (None,))] if group == "records" else [])]:
            dataset = find_dataset(self._file, f"{group}/{name}")
            if dataset is not None:
                meaning = (
                    Text("one row each of x and y (px) and z (um)") if len(shape) == 2 else Text("one-dimensional")
                )
                found[name] = check_numbers(dataset, shape, meaning)
        return found

    def _check_columns(self) -> None:
        for name in ("phot", "frame_ix"):
            if name not in self._records:
                need_dataset(self._file, f"records/{name}")
        if "xyz" not in self._records and "xyz" not in self._emitters:
            need_dataset(self._file, "records/xyz", Text(" if there is no emitters/xyz"))
        if "id" not in self._records and "xyz" not in self._records:
            need_dataset(self._file, "records/id", Text(" if records have no xyz"))
        for name in _COLUMNS["blinks"] if self._blinks else ():
            if name not in self._blinks:
                need_dataset(self._file, f"blinks/{name}", Text(" if there are blinks"))
        groups = (("emitters", self._emitters), ("records", self._records), ("blinks", self._blinks))
        for group, columns in groups:
            lengths = {f"{group}/{name}": len(rows) for name, rows in columns.items() if name != "frame_start"}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
                raise DataError(
                    Text("{path}: lengths disagree: {lengths}; allowed: one length", path=self.path, lengths=shown)
                )

    def _read_config(self) -> JobConfig | None:
        try:
            return _stored_config(self._file)
        except (ValueError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            if self._given_config is not None:  # another program's config, not needed
                return None
            first = str(error).splitlines()[:3]
            text = Text(
                "{path}: attribute config is not a valid config: {reason}", path=self.path, reason=" ".join(first)
            )
            raise DataError(text) from error

    def _is_of_a_gaussian(self) -> bool:
        """Whether the file was made with the Gaussian model, without coefficients, but another model needs them."""
        stored, given = self.stored_config, self._given_config
        return stored is not None and given is not None and stored.psf.model == "gaussian" != given.psf.model

    def _find_coefficients(self, *, computed: bool) -> tuple[Rows | None, Rows | None]:
        """Return phase and amplitude coefficients, if there are any; None for amplitudes that were never written."""
        dataset = find_dataset(self._file, "zernike_coeffs/phase")
        if dataset is None or (computed and self._is_of_a_gaussian()):
            return None, None
        phase = check_numbers(dataset, (None, None), Text("(emitters or records, modes)"))
        if len(phase) and not 1 <= phase.shape[1] <= MAX_MODES:
            raise DataError(f"{self.path}: zernike_coeffs/phase: has {phase.shape[1]} modes; allowed: 1 to {MAX_MODES}")
        magnitude = find_dataset(self._file, "zernike_coeffs/mag")
        if magnitude is None:
            return phase, None
        rows = check_numbers(magnitude, phase.shape, Text("the same as zernike_coeffs/phase"))
        with reading(self.path, "zernike_coeffs/mag"):
            written = magnitude.id.get_storage_size() > 0 or bool(magnitude.fillvalue)
        return phase, rows if written else None

    def _read_emitter_ids(self) -> NDArray[np.int64] | None:
        """Return the emitters' ids, or None if emitter i is row i."""
        rows = self._emitters.get("id")
        if rows is None:
            return None
        count = len(rows)
        for start in range(0, count, SCAN_ROWS):
            stop = min(start + SCAN_ROWS, count)
            if not np.array_equal(read_rows(rows, start, stop, np.int64), np.arange(start, stop)):
                ids: NDArray[np.int64] = read_rows(rows, 0, count, np.int64)
                if len(np.unique(ids)) != count:
                    raise DataError(f"{self.path}: emitters/id: has duplicate ids; allowed: each id once")
                return ids
        return None

    def _emitter_count(self) -> int | None:
        return next((len(rows) for rows in self._emitters.values()), None)

    def _what_coefficients_belong_to(self) -> Literal["emitter", "record", "id"]:
        records, emitters = len(self._records["phot"]), self._emitter_count()
        if self._phase is None:  # coefficients are computed
            drifted = bool(self._drift) and emitters is not None and "id" in self._records
            return "id" if "xyz" in self._records and not drifted else "emitter"
        rows = len(self._phase)
        if emitters is not None and "id" in self._records and rows == emitters:
            return "emitter"
        if rows == records and "xyz" in self._records:
            return "record"
        if emitters is None and "id" in self._records and "xyz" in self._records:
            ids = read_rows(self._records["id"], 0, records, np.int64)
            ids.sort()  # np.unique is much slower
            self._all_ids = ids[np.diff(ids, prepend=ids[:1] - 1) > 0]
            if rows == len(self._all_ids):
                return "id"
        text = Text(
            "{path}: zernike_coeffs/phase: has {rows} rows; allowed: one per emitter or per record "
            "(the file has {emitters} and {records} records)",
            path=self.path,
            rows=rows,
            emitters=Text("no emitters") if emitters is None else Text("{n} emitters", n=emitters),
            records=records,
        )
        raise DataError(text)

    # Reading

    def _scene_of_emitters(self, records: RecordRows, start: int) -> Scene:
        """Make a scene from coefficients per emitter."""
        assert records.id is not None  # noqa: S101 - for the type checker; `_per` ensures it
        first, emitter_ix = same_psf(records.id, records.xyz)
        rows = self._rows_of_emitters(records.id[first])
        still = None
        if "xyz" in self._emitters and (records.xyz is None or self._phase is None):
            places = self._emitters["xyz"]
            still = gather(rows, lambda low, high: positions(self.path, places, low, high), 3)
        xyz = records.xyz[first] if records.xyz is not None else still
        assert xyz is not None  # noqa: S101 - for the type checker; `_check_columns` ensures it
        return self._scene(xyz, rows, emitter_ix, records, start, still)

    def _rows_of_emitters(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of emitters in the file; `DataError` if one is missing."""
        rows = ids
        if self._emitter_ids is not None:
            order = np.argsort(self._emitter_ids)
            at = np.minimum(np.searchsorted(self._emitter_ids, ids, sorter=order), len(order) - 1)
            rows = order[at]
            unknown = ids[self._emitter_ids[rows] != ids]
        else:
            unknown = ids[(ids < 0) | (ids >= (self._emitter_count() or 0))]
        if unknown.size:
            text = Text(
                "{path}: records/id: {id} is not an emitter; allowed: ids in emitters/id", path=self.path, id=unknown[0]
            )
            raise DataError(text)
        return rows

    def _scene_of_records(self, records: RecordRows, start: int) -> Scene:
        """Make a scene from coefficients per record or per distinct id."""
        assert records.xyz is not None  # noqa: S101 - for the type checker; `_per` ensures it
        alone = np.arange(len(records.phot), dtype=np.uint32)
        if records.id is None:
            return self._scene(records.xyz, records.rows, alone, records, start)
        if self._per == "id":
            first, emitter_ix = same_psf(records.id, records.xyz)
            rows = first if self._phase is None else np.searchsorted(self._all_ids, records.id[first])
            return self._scene(records.xyz[first], rows, emitter_ix, records, start)
        every = self._scene(records.xyz, records.rows, alone, records, start)
        first, emitter_ix = same_psf(records.id, every.xyz, every.phase, every.magnitude)
        magnitude = None if every.magnitude is None else every.magnitude[first]
        return Scene(every.xyz[first], every.phase[first], magnitude, emitter_ix, every.frame_ix, every.photons)

    def _scene(
        self,
        xyz: NDArray[np.float32],
        rows: NDArray[np.int64],
        emitter_ix: NDArray[np.uint32],
        records: RecordRows,
        start: int,
        still: NDArray[np.float32] | None = None,
    ) -> Scene:
        """Add the coefficients of `rows`, one per emitter of the scene; `still`: undrifted positions of these."""
        if self._phase is None:
            phase, magnitude = self._computed(xyz if still is None else still)
        else:
            phase = self._with_added(self._coefficients(self._phase, rows))
            magnitude = None if self._magnitude is None else self._coefficients(self._magnitude, rows)
            if magnitude is not None and magnitude.shape != phase.shape:
                magnitude = np.pad(magnitude, ((0, 0), (0, phase.shape[1] - magnitude.shape[1])))
        frame_ix = (records.frame_ix - start).astype(np.uint32)
        return Scene(xyz.astype(np.float64), phase, magnitude, emitter_ix, frame_ix, records.phot)

    def _phases_to_add(self) -> NDArray[np.float32]:
        """Return the phases, from Noll 1 on, that the given config adds to all emitters and the stored one does not."""
        if self._given_config is None:
            return np.zeros(0, np.float32)
        wanted = self._given_config.psf.phase_noll
        stored = self.stored_config.psf.phase_noll if self.stored_config else {}
        differences = {int(key): wanted.get(key, 0.0) - stored.get(key, 0.0) for key in {*wanted, *stored}}
        changes = {noll: radians for noll, radians in differences.items() if radians}
        added = np.zeros(max(changes, default=0), np.float32)
        for noll, radians in changes.items():
            added[noll - 1] = radians
        return added

    def _with_added(self, phase: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._added.size:
            return phase
        more = max(0, len(self._added) - phase.shape[1])
        phase = np.pad(phase, ((0, 0), (0, more)))
        phase[:, : len(self._added)] += self._added
        return phase

    def _computed(self, xyz: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the coefficients of the config's map at positions."""
        if self._field is None:
            self._field = open_field(self.config)
        try:
            return field_coefficients(self.config, self._field, xyz)
        except (DataError, ShapeError) as error:
            text = Text("{path}: coefficients at its positions: {reason}", path=self.path, reason=in_words(error))
            raise DataError(text) from error

    def _coefficients(self, columns: Rows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        values = gather(rows, lambda low, high: read_rows(columns, low, high, np.float32), columns.shape[1])
        if values.size and np.abs(values).max() > LIMITS["coefficients"]:
            raise DataError(
                f"{self.path}: {str(columns.dataset.name).lstrip('/')}: values up to {np.abs(values).max():g}; "
                f"allowed: up to {LIMITS['coefficients']:g}"
            )
        return values


def stored_config(path: str | Path) -> JobConfig | None:
    """Return the config stored in a truth file, None if it has no valid one; `DataError` if it is damaged."""
    with open_hdf5(path) as file:
        try:
            return _stored_config(file)
        except (ValueError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            return None


def _stored_config(file: h5py.File) -> JobConfig | None:
    """Return the config in an open file, or None; raises `ValueError` or `TypeError` if it is not valid."""
    from simtiff.config.settings import JobConfig

    text = stated(file, (), "config")
    return None if text is None else JobConfig.model_validate_json(text)


def gather(
    rows: NDArray[np.int64],
    read: Callable[[int, int], NDArray[np.float32]],
    columns: int,
    max_gap: int = MAX_GAP_ROWS,
    max_run: int = MAX_RUN_ROWS,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    """Return some rows of a dataset, reading runs of nearby rows in one call.

    Emitters of a chunk mostly have nearby ids, since ids follow the order of activation; a few with long on-times do
    not.
    """
    wanted = np.unique(rows)
    found = np.empty((len(wanted), columns), dtype)
    starts = np.flatnonzero(np.diff(wanted, prepend=-max_gap - 2) > max_gap)
    for begin, end in pairwise([*starts.tolist(), len(wanted)]):
        done = begin
        while done < end:
            low = int(wanted[done])
            upto = min(end, int(np.searchsorted(wanted, low + max_run)))
            block = read(low, int(wanted[upto - 1]) + 1)
            found[done:upto] = block[wanted[done:upto] - low]
            done = upto
    return found if len(wanted) == len(rows) and np.array_equal(wanted, rows) else found[np.searchsorted(wanted, rows)]
