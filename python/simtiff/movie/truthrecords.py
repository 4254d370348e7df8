"""The records of a truth file in the order of frames: the rows of each frame, and reading only these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import DataError
from simtiff.io.hdf5 import reading
from simtiff.io.rows import Rows, read_rows
from simtiff.language import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FRAMES = 10**7
SCAN_ROWS = 1 << 20
# Beyond any microscope; larger values are garbage and would make rendering take forever.
LIMITS = {"x and y": 1e7, "z": 1001.0, "photons": 1e15, "coefficients": 1e3}


@dataclass(frozen=True)
class RecordRows:
    """Some records: row numbers in the file (for coefficients stored per record), and the existing columns."""

    rows: NDArray[np.int64]
    xyz: NDArray[np.float32] | None
    phot: NDArray[np.float32]
    frame_ix: NDArray[np.int32]
    id: NDArray[np.int64] | None


class FileRecords:
    """The group ``records`` of a truth file.

    Parameters
    ----------
    path
        The file, for messages.
    columns
        The datasets by name, at least ``phot`` and ``frame_ix``.
    stated
        Number of frames in the stored config, if any.
    wanted
        Number of frames to use if the file contains none and its records fit.

    Attributes
    ----------
    columns : dict
        The datasets.
    frame_start : (frames + 1,) int64
        The first record of each frame and, at the end, the number of records.
    n_frames : int
        Number of frames.
    states_frames : bool
        Whether the file contains the number of frames.

    Raises
    ------
    DataError
        If frames are invalid or inconsistent.
    """

    def __init__(self, path: str, columns: dict[str, Rows], stated: int | None, wanted: int | None) -> None:
        self.path, self.columns = path, columns
        self._sorted: RecordRows | None = None
        self.states_frames = stated is not None or "frame_start" in columns
        self.frame_start = self._read_index(stated, wanted)
        self.n_frames = len(self.frame_start) - 1

    @property
    def in_order(self) -> bool:
        """Whether the file has its records ordered by frame."""
        return self._sorted is None

    @property
    def count(self) -> int:
        """Number of records."""
        return int(self.frame_start[-1])

    def rows_of(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the rows in the file of the records of frames ``start..stop - 1``."""
        low, high = self._span(start, stop)
        return np.arange(low, high) if self._sorted is None else self._sorted.rows[low:high]

    def of_frames(self, start: int, stop: int) -> RecordRows:
        """Return the records of frames ``start..stop - 1``; `DataError` if the file is inconsistent."""
        records = self.read(*self._span(start, stop))
        self._check_frames(records, start, stop)
        return records

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        low, high = (int(self.frame_start[min(max(frame, 0), self.n_frames)]) for frame in (start, stop))
        return low, max(low, high)

    def read(self, low: int, high: int) -> RecordRows:
        """Return records ``low..high - 1`` in the order of frames."""
        if self._sorted is not None:
            return _take(self._sorted, slice(low, high))
        columns = self.columns
        phot = read_rows(columns["phot"], low, high, np.float32)
        if phot.size and (phot.min() < 0 or phot.max() > LIMITS["photons"]):
            text = Text(
                "{path}: records/phot: ranges from {low:g} to {high:g}; allowed: 0 to {most:g} photons",
                path=self.path,
                low=float(phot.min()),
                high=float(phot.max()),
                most=LIMITS["photons"],
            )
            raise DataError(text)
        return RecordRows(
            rows=np.arange(low, high),
            xyz=positions(self.path, columns["xyz"], low, high) if "xyz" in columns else None,
            phot=phot,
            frame_ix=read_rows(columns["frame_ix"], low, high, np.int32),
            id=read_rows(columns["id"], low, high, np.int64) if "id" in columns else None,
        )

    def _check_frames(self, records: RecordRows, start: int, stop: int) -> None:
        frames = np.arange(max(start, 0), min(stop, self.n_frames))
        if not frames.size:
            return
        counts = np.diff(self.frame_start[frames[0] : frames[-1] + 2])
        if not np.array_equal(records.frame_ix, np.repeat(frames, counts)):
            raise DataError(
                f"{self.path}: records/frame_ix: does not agree with records/frame_start "
                f"in frames {start} to {stop - 1}"
            )

    def _read_index(self, stated: int | None, wanted: int | None) -> NDArray[np.int64]:
        """Return the first record of each frame and, at the end, the number of records."""
        count = len(self.columns["frame_ix"])
        if "frame_start" in self.columns:
            rows = self.columns["frame_start"]
            if not 2 <= len(rows) <= MAX_FRAMES + 1:
                raise DataError(f"{self.path}: records/frame_start: has {len(rows)} rows; allowed: frames + 1")
            index = read_rows(rows, 0, len(rows), np.int64)
            if index[0] != 0 or index[-1] != count or (np.diff(index) < 0).any():
                raise DataError(f"{self.path}: records/frame_start: does not increase from 0 to the {count} records")
        else:
            index = self._scan_frames(count)
        if not self.states_frames and wanted is not None and wanted >= len(index) - 1:
            stated = wanted
        if stated is not None and stated != len(index) - 1:
            if "frame_start" in self.columns or stated < len(index) - 1:
                text = Text(
                    "{path}: records: belong to {frames} frames, but the file's config has {stored}",
                    path=self.path,
                    frames=len(index) - 1,
                    stored=stated,
                )
                raise DataError(text)
            index = np.concatenate([index, np.full(stated + 1 - len(index), count, np.int64)])
        return index

    def _scan_frames(self, count: int) -> NDArray[np.int64]:
        """Count the records of each frame; sort them in memory if they are not in the order of frames."""
        counts = np.zeros(1, np.int64)
        last, ordered = 0, True
        for start in range(0, count, SCAN_ROWS):
            frames = read_rows(self.columns["frame_ix"], start, min(start + SCAN_ROWS, count), np.int64)
            if frames.min() < 0 or frames.max() >= MAX_FRAMES:
                text = Text(
                    "{path}: records/frame_ix: ranges from {low} to {high}; allowed: 0 to {most}",
                    path=self.path,
                    low=frames.min(),
                    high=frames.max(),
                    most=MAX_FRAMES - 1,
                )
                raise DataError(text)
            ordered = ordered and bool(frames[0] >= last and (np.diff(frames) >= 0).all())
            last = int(frames[-1])
            more = np.bincount(frames)
            if len(more) > len(counts):
                counts = np.concatenate([counts, np.zeros(len(more) - len(counts), np.int64)])
            counts[: len(more)] += more
        if not ordered:
            with reading(self.path, "records (sorting them, since records/frame_ix is not sorted)"):
                every = self.read(0, count)
                order = np.argsort(every.frame_ix, kind="stable")
                self._sorted = _take(every, order)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def positions(path: str, rows: Rows, low: int, high: int) -> NDArray[np.float32]:
    """Return some rows of a dataset of positions; `DataError` if they are out of range."""
    xyz: NDArray[np.float32] = read_rows(rows, low, high, np.float32)
    for what, shown, part in (("x and y", Text("x and y"), xyz[:, :2]), ("z", "z", xyz[:, 2])):
        if part.size and np.abs(part).max() > LIMITS[what]:
            text = Text(
                "{path}: {name}: {what} up to {found:g}; allowed: up to {most:g} {unit}",
                path=path,
                name=str(rows.dataset.name).lstrip("/"),
                what=shown,
                found=float(np.abs(part).max()),
                most=LIMITS[what],
                unit="um" if what == "z" else "px",
            )
            raise DataError(text)
    return xyz


def _take(records: RecordRows, rows: Any) -> RecordRows:
    return RecordRows(
        rows=records.rows[rows],
        xyz=None if records.xyz is None else records.xyz[rows],
        phot=records.phot[rows],
        frame_ix=records.frame_ix[rows],
        id=None if records.id is None else records.id[rows],
    )
