"""Sample drift relative to the camera: the sum of a steady drift, a random walk and a path from a file.

Drift is constant within a frame and 0 in frame 0. A record's position is that of its emitter plus the drift of its
frame.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import normal
from simtiff.emitters.given import summary_of, z_limits
from simtiff.emitters.places import generator
from simtiff.errors import DataError, os_reason, printable
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.emitters.tables import Records

COLUMNS = ("frame", "x_nm", "y_nm", "z_nm")
"""The columns of a drift file."""

_WALK = 0x77616C6B  # "walk": keeps this randomness apart from that of other purposes with the same seed
_MOST_NM = 1e9


def drift_of(config: JobConfig) -> NDArray[np.float64] | None:
    """Return a job's drift, (frames, 3) in px, px and um; None if it has none.

    The first frames of a longer movie have the same steady drift and random walk as a shorter one.

    Raises
    ------
    DataError
        If the file is damaged, or does not cover all frames.
    """
    drift, frames = config.drift, config.emitters.frames
    if drift is None:
        return None
    nm: NDArray[np.float64] = np.arange(frames)[:, None] * np.array(drift.velocity_nm)
    for axis, step in enumerate(drift.walk_nm):
        if step > 0:
            one, other = (generator(config.emitters.seed, _WALK, 2 * axis + each) for each in range(2))
            steps = one.random(frames - 1)
            normal(steps, other.random(frames - 1))
            nm[1:, axis] += np.cumsum(step * steps)
    if drift.path is not None:
        nm += read_path(drift.path, frames)
    optical = config.optical
    nm /= (optical.pixel_size_nm_x, optical.pixel_size_nm_y, 1000.0)
    return nm


def check_drift(job: JobConfig) -> None:
    """Raise `DataError` if steady drift or a drift file moves emitters to a z at which no PSF can be computed.

    The random walk is not checked. Neither are records from a list, whose z may already follow the drift.
    """
    drift, listed = job.drift, summary_of(job)
    if drift is None or (listed is not None and listed.per_frame is not None):
        return
    frames = job.emitters.frames
    moved = np.arange(frames) * (drift.velocity_nm[2] / 1000)
    if drift.path is not None:
        moved += read_path(drift.path, frames)[:, 2] / 1000
    low, high = z_limits(job)
    low, high = low + float(moved.min()), high + float(moved.max())
    if job.psf.model == "vectorial" and job.optical.has_mismatch and low < 0:
        text = Text(
            "emitters drift down to z = {z:g} um, into the coverslip: optical.n_sample differs from n_immersion, so "
            "z is the height above the coverslip; allowed: 0 or more in all {frames} frames",
            z=low,
            frames=frames,
        )
        raise DataError(text)
    for z_um in (high, low):
        if not job.computes(job.psf.size_px, z_um):
            text = Text(
                "emitters drift to z = {z:g} um within {frames} frames, which is too far out of focus to be "
                "computed; is it in nm per frame?",
                z=z_um,
                frames=frames,
            )
            raise DataError(text)


def drifted(records: Records, drift: NDArray[np.float64] | None) -> Records:
    """Return records shifted by the drift of their frames."""
    if drift is None or not len(records):
        return records
    xyz = (records.xyz + drift[records.frame_ix]).astype(np.float32)
    return type(records)(xyz, records.phot, records.frame_ix, records.id)


def read_path(path: str, frames: int) -> NDArray[np.float64]:
    """Read a drift file and return the drift of each frame relative to frame 0, (frames, 3) in nm.

    Parameters
    ----------
    path
        A CSV file whose first line names the columns ``frame``, ``x_nm``, ``y_nm`` and ``z_nm``, in any order. Frames
        count from 0 and increase. Drift is interpolated linearly between rows.
    frames
        Number of frames of the movie. The first row must be frame 0, the last row the movie's last frame or a later
        one.

    Raises
    ------
    DataError
        The file is missing, damaged or incomplete; names the file, line and column.
    """
    rows = np.array(list(_rows(path)))
    if not len(rows):
        raise DataError(Text("{path}: has no rows; allowed: at least one, for frame 0", path=printable(path)))
    known = rows[:, 0]
    last = frames - 1
    if known[0] != 0 or known[-1] < last:
        text = Text(
            "{path}: column frame: covers {first:g} to {end:g}; allowed: from 0 to {last} (the movie's last frame) "
            "or later",
            path=printable(path),
            first=known[0],
            end=known[-1],
            last=last,
        )
        raise DataError(text)
    frame = np.arange(frames)
    after = np.clip(np.searchsorted(known, frame, side="right"), 1, max(len(known) - 1, 1))
    before, after = after - 1, np.minimum(after, len(known) - 1)
    width = np.maximum(known[after] - known[before], 1)
    part = ((frame - known[before]) / width)[:, None]
    nm: NDArray[np.float64] = rows[before, 1:] + part * (rows[after, 1:] - rows[before, 1:]) - rows[0, 1:]
    return nm


def _rows(path: str) -> Iterator[tuple[float, ...]]:
    """Yield frame, x, y and z of each row of a drift file."""
    shown = printable(path)
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            names = [name.strip() for name in next(lines, [])]
            if sorted(names) != sorted(COLUMNS):
                text = Text(
                    "{path}: line 1: has the columns {found}; allowed: {wanted}",
                    path=shown,
                    found=printable(", ".join(names)) or Text("none (empty file)"),
                    wanted=", ".join(COLUMNS),
                )
                raise DataError(text)
            order = [names.index(name) for name in COLUMNS]
            previous = -1.0
            for cells in lines:
                if not cells:
                    continue
                row = tuple(_number(cells, names, at, shown, lines.line_num) for at in order)
                if row[0] != int(row[0]) or row[0] <= previous:
                    text = Text(
                        "{path}: line {line}, column frame: {value:g}; allowed: increasing whole numbers from 0",
                        path=shown,
                        line=lines.line_num,
                        value=row[0],
                    )
                    raise DataError(text)
                previous = row[0]
                yield row
    except OSError as error:
        raise DataError(Text("{path}: cannot be read ({reason})", path=shown, reason=os_reason(error))) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(Text("{path}: is not a CSV file ({reason})", path=shown, reason=error)) from None


def _number(cells: list[str], names: list[str], at: int, path: str, line: int) -> float:
    cell = cells[at].strip() if at < len(cells) and len(cells) == len(names) else ""
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not abs(value) <= _MOST_NM:
        text = Text(
            "{path}: line {line}, column {column}: {cell}; allowed: numbers up to {most:g}",
            path=path,
            line=line,
            column=names[at],
            cell=printable(cell) if cell else Text("missing, or wrong number of columns in this line"),
            most=_MOST_NM,
        )
        raise DataError(text)
    return value
