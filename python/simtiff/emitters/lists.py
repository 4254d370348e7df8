"""Lists of molecules and of localizations: read in bounded memory, checked and sorted.

A list is a table, or a file of any format that `simtiff.localizations` reads. Rows with frame and photons are records,
used unchanged; rows without a frame are molecules.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.emitters.tables import Records
from simtiff.errors import DataError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from simtiff.localizations import Localizations

KEPT_ROWS = 1 << 22
"""Rows of records kept in memory; longer lists go to anonymous temporary files."""

BLOCK_ROWS = 1 << 20
"""Rows sorted at a time."""

MOST_FRAMES = 10**7
# Larger values are garbage or in other units; the first three are in px, px and um.
_MOST = {"x_px": 1e7, "y_px": 1e7, "z_um": 1000.0, "photons": 1e9}


@dataclass(frozen=True)
class Table:
    """Rows that can be read more than once.

    Attributes
    ----------
    name : str
        The file, or the name of the table.
    columns : tuple of str
        Names of the columns.
    chunks : callable
        Returns all rows, split into several tables.
    """

    name: str
    columns: tuple[str, ...]
    chunks: Callable[[], Iterator[Localizations]]


@dataclass(frozen=True)
class Summary:
    """Summary of a list.

    Attributes
    ----------
    name : str
        The file, or the name of the table.
    emitters : int
        Number of molecules; for records, of distinct ids, or of rows if the list has no ids.
    per_frame : (frames,) int64 or None
        Records in each frame, up to the last frame listed; None for molecules.
    next_id : int
        An id larger than those of all records.
    heights : (float, float) or None
        The lowest and the highest z in um; None if the list has no z.
    has_photons : bool
        Whether the list has photons.
    outside : int
        Rows outside the field.
    rows : int
        Number of all rows.
    """

    name: str
    emitters: int
    per_frame: NDArray[np.int64] | None
    next_id: int
    heights: tuple[float, float] | None
    has_photons: bool
    outside: int
    rows: int


@dataclass(frozen=True)
class Given:
    """Emitters from a list instead of drawn ones: `records`, or molecules.

    Attributes
    ----------
    summary : Summary
        Their summary.
    xyz : (n, 3) float32
        Positions of molecules in px, px, um; z is 0 if the list has none.
    photons : (n,) float32 or None
        Photons per frame of molecules, if the list has them.
    records : Records or None
        All records, by frame, then by id; None for molecules.
    """

    summary: Summary
    xyz: NDArray[np.float32]
    photons: NDArray[np.float32] | None
    records: Records | None = None


def read_list(table: Table, area: tuple[float, float]) -> Given:
    """Read a list.

    Parameters
    ----------
    table
        Its rows.
    area
        Width and height of the field in px.

    Raises
    ------
    DataError
        The list is empty, has frames but no photons, has a value out of range, or has an id twice in a frame; names row
        and column.
    """
    if "frame" in table.columns and "photons" not in table.columns:
        text = Text(
            "{path}: has frames, but no photons; allowed: both (records), or no frames (molecules)", path=table.name
        )
        raise DataError(text)
    with ExitStack() as files:
        return _read(table, area, _RecordReader(files) if "frame" in table.columns else _MoleculeReader())


def _read(table: Table, area: tuple[float, float], read: _RecordReader | _MoleculeReader) -> Given:
    rows, outside, low, high = 0, 0, np.inf, -np.inf
    for chunk in table.chunks():
        _check(table, chunk, rows)
        xyz = _positions(chunk)
        inside = (xyz[:, :2] >= -0.5).all(axis=1) & (xyz[:, :2] < np.asarray(area) - 0.5).all(axis=1)
        outside += len(chunk) - int(np.count_nonzero(inside))
        if len(chunk):
            low, high = min(low, float(xyz[:, 2].min())), max(high, float(xyz[:, 2].max()))
        read.take(chunk, xyz, rows)
        rows += len(chunk)
    if rows == 0:
        raise DataError(Text("{path}: has no rows; allowed: at least one", path=table.name))
    heights = (low, high) if "z_um" in table.columns else None
    return read.given(table, heights, outside, rows)


def _check(table: Table, chunk: Localizations, start: int) -> None:
    """Raise `DataError` for the first value of a chunk that is out of range; `start` is the number of its first row."""
    for name, most in _MOST.items():
        values, least = getattr(chunk, name), 0.0 if name == "photons" else -most
        if values is not None:
            allowed = Text("{low:g} to {high:g}", low=least, high=most)
            refuse_row(table.name, name, values, (values < least) | (values > most), allowed, start)
    if chunk.frame is not None:
        allowed = Text("{low:g} to {high:g}", low=0, high=MOST_FRAMES - 1)
        refuse_row(table.name, "frame", chunk.frame, chunk.frame >= MOST_FRAMES, allowed, start)


def refuse_row(
    name: str, column: str, values: NDArray[Any], bad: NDArray[np.bool_], allowed: str, start: int = 0
) -> None:
    """Raise `DataError` naming the first row for which `bad` is true, if there is one; rows count from `start`."""
    if bad.any():
        at = int(np.argmax(bad))
        text = Text(
            "{path}: row {row} (from 0), column {column}: {value:.10g}; allowed: {allowed}",
            path=name,
            row=start + at,
            column=column,
            value=values[at].item(),
            allowed=allowed,
        )
        raise DataError(text)


def refuse_late(table: Table, frames: int) -> None:
    """Raise `DataError` for the first row after the movie's `frames` frames, if there is one."""
    start = 0
    allowed = Text("up to {last}, the movie's last frame (emitters.frames)", last=frames - 1)
    for chunk in table.chunks():
        if chunk.frame is not None:
            refuse_row(table.name, "frame", chunk.frame, chunk.frame >= frames, allowed, start)
        start += len(chunk)


def _positions(chunk: Localizations) -> NDArray[np.float32]:
    xyz = np.zeros((len(chunk), 3), np.float32)
    xyz[:, 0], xyz[:, 1] = chunk.x_px, chunk.y_px
    if chunk.z_um is not None:
        xyz[:, 2] = chunk.z_um
    return xyz


class _Column:
    """A column of unknown length: in memory, or in a temporary file if it has more than `KEPT_ROWS` rows."""

    def __init__(self, files: ExitStack, dtype: str, tail: tuple[int, ...] = ()) -> None:
        self._files, self._dtype, self._tail = files, np.dtype(dtype), tail
        self._rows = 0
        self._parts: list[NDArray[Any]] = []
        self._file: Any = None

    def append(self, values: NDArray[Any]) -> None:
        self._parts.append(np.ascontiguousarray(values, self._dtype))
        self._rows += len(values)
        if self._rows > KEPT_ROWS:
            if self._file is None:
                self._file = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            for part in self._parts:
                self._file.write(part.tobytes())
            self._parts.clear()

    def whole(self) -> NDArray[Any]:
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else np.empty((0, *self._tail), self._dtype)
        self._file.flush()  # the mapping keeps the file alive
        return np.memmap(self._file, self._dtype, "r+", shape=(self._rows, *self._tail))


def _room(like: NDArray[Any]) -> NDArray[Any]:
    """Return an empty column of the same shape, in memory or in a temporary file like the given one."""
    if not isinstance(like, np.memmap):
        return np.empty_like(like)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, like.dtype, "w+", shape=like.shape)


class _MoleculeReader:
    """Collects rows without frames."""

    def __init__(self) -> None:
        self._xyz: list[NDArray[np.float32]] = []
        self._photons: list[NDArray[np.float32]] = []

    def take(self, chunk: Localizations, xyz: NDArray[np.float32], start: int) -> None:  # noqa: ARG002
        self._xyz.append(xyz)
        if chunk.photons is not None:
            self._photons.append(chunk.photons.astype(np.float32))

    def given(self, table: Table, heights: tuple[float, float] | None, outside: int, rows: int) -> Given:
        photons = np.concatenate(self._photons) if self._photons else None
        summary = Summary(table.name, rows, None, 0, heights, photons is not None, outside, rows)
        return Given(summary, np.concatenate(self._xyz), photons)


class _RecordReader:
    """Collects rows with frame and photons, and sorts them by frame, then by id."""

    def __init__(self, files: ExitStack) -> None:
        self._columns = {
            "frame_ix": _Column(files, "<i4"),
            "id": _Column(files, "<i8"),
            "phot": _Column(files, "<f4"),
            "xyz": _Column(files, "<f4", (3,)),
        }
        self._counts = np.zeros(0, np.int64)
        self._last = (-1, 0)
        self._is_ordered = True

    def take(self, chunk: Localizations, xyz: NDArray[np.float32], start: int) -> None:
        assert chunk.frame is not None  # noqa: S101 - for the type checker
        assert chunk.photons is not None  # noqa: S101
        ids = np.arange(start, start + len(chunk)) if chunk.id is None else chunk.id
        phot = chunk.photons.astype(np.float32)
        lit = phot > 0
        columns: dict[str, NDArray[Any]] = {
            "frame_ix": chunk.frame[lit],
            "id": ids[lit],
            "phot": phot[lit],
            "xyz": xyz[lit],
        }
        for name, values in columns.items():
            self._columns[name].append(values)
        frames, ids = columns["frame_ix"], columns["id"]
        # Frames of rows with 0 photons count, too: they set the length of the movie.
        counts = np.bincount(frames, minlength=int(chunk.frame.max(initial=-1)) + 1)
        if len(counts) > len(self._counts):
            counts[: len(self._counts)] += self._counts
            self._counts = counts
        else:
            self._counts[: len(counts)] += counts
        if len(frames) and self._is_ordered:
            frames, ids = np.append(self._last[0], frames), np.append(self._last[1], ids)
            steps = np.diff(frames)
            self._is_ordered = bool(((steps > 0) | ((steps == 0) & (np.diff(ids) > 0))).all())
            self._last = int(frames[-1]), int(ids[-1])

    def given(self, table: Table, heights: tuple[float, float] | None, outside: int, rows: int) -> Given:
        columns = {name: column.whole() for name, column in self._columns.items()}
        if not self._is_ordered:
            columns = _in_order(columns, self._counts, table)
        ids = columns["id"]
        emitters = len(ids)
        if "id" in table.columns and emitters:
            emitters = 1 + int(np.count_nonzero(np.diff(np.sort(ids))))  # np.unique is much slower
        next_id = int(ids.max(initial=-1)) + 1
        summary = Summary(table.name, emitters, self._counts, max(next_id, 0), heights, True, outside, rows)
        return Given(summary, np.empty((0, 3), np.float32), None, Records(**columns))


def _in_order(columns: dict[str, NDArray[Any]], counts: NDArray[np.int64], table: Table) -> dict[str, NDArray[Any]]:
    """Return columns sorted by frame, then by id; those in files are sorted into files."""
    ordered = {name: _room(column) for name, column in columns.items()}
    begin = np.concatenate([[0], np.cumsum(counts)])
    free = begin[:-1].copy()  # the next free row of each frame
    total = int(begin[-1])
    for start in range(0, total, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, total))
        order = np.argsort(columns["frame_ix"][rows], kind="stable")
        frames, first, many = np.unique(columns["frame_ix"][rows][order], return_index=True, return_counts=True)
        place = np.repeat(free[frames] - first, many) + np.arange(len(order))
        free[frames] += many
        for name, column in columns.items():
            ordered[name][place] = column[rows][order]
    frame = 0
    while frame < len(counts):
        stop = max(frame + 1, int(np.searchsorted(begin, begin[frame] + BLOCK_ROWS, side="right")) - 1)
        rows = slice(int(begin[frame]), int(begin[stop]))
        frames, ids = ordered["frame_ix"][rows], ordered["id"][rows]
        order = np.lexsort((ids, frames))
        frames, ids = frames[order], ids[order]
        twice = (np.diff(frames) == 0) & (np.diff(ids) == 0)
        if twice.any():
            at = int(np.argmax(twice))
            _refuse_twice(table, int(frames[at]), int(ids[at]))
        for column in ordered.values():
            column[rows] = column[rows][order]
        frame = stop
    return ordered


def _refuse_twice(table: Table, frame: int, number: int) -> None:
    """Raise `DataError` for the second row of an id in a frame."""
    start, before = 0, 0
    for chunk in table.chunks():
        assert chunk.frame is not None  # noqa: S101 - for the type checker
        if chunk.id is not None:
            same = (chunk.frame == frame) & (chunk.id == number)
            seen = np.cumsum(same) + before
            allowed = Text("each id once per frame; it occurs in frame {frame} before", frame=frame)
            refuse_row(table.name, "id", chunk.id, same & (seen > 1), allowed, start)
            before = int(seen[-1]) if len(seen) else before
        start += len(chunk)
