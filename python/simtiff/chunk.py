"""What a movie needs to render some of its frames: their emitters, with coefficients, and their records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_MAX_GAP_ROWS = 2048  # reading this many rows for nothing costs less than another read
_MAX_RUN_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class Chunk:
    """Truth of a range of frames.

    Attributes
    ----------
    xyz : (k, 3) float32
        The emitters that are on in these frames, ordered by id: x and y in px of the field, z in um.
    phase : (k, modes) float32
        Their phase coefficients, radians rms.
    magnitude : (k, modes) float32 or None
        Their magnitude coefficients; None where all are zero.
    emitter_ix : (m,) int64
        Emitter of each record, a row of `xyz`; records are ordered by frame, then id.
    frame_ix : (m,) int32
        Frame of each record, counted from the movie's first.
    photons : (m,) float32
        Photons of each record.
    """

    xyz: NDArray[np.float32]
    phase: NDArray[np.float32]
    magnitude: NDArray[np.float32] | None
    emitter_ix: NDArray[np.int64]
    frame_ix: NDArray[np.int32]
    photons: NDArray[np.float32]


def distinct(
    values: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values in order, the row of each value among them, and where each occurs first."""
    if not values.size:
        return values, values.copy(), values.copy()
    low, span = int(values.min()), int(values.max()) - int(values.min()) + 1
    if span <= 8 * values.size + 1024:  # a table is much faster than sorting
        shifted = values - low
        there = np.zeros(span, np.bool_)
        there[shifted] = True
        sorted_values = np.flatnonzero(there) + low
        inverse = (np.cumsum(there) - 1)[shifted]
    else:
        sorted_values, inverse = np.unique(values, return_inverse=True)
    first = np.empty(len(sorted_values), np.int64)
    first[inverse[::-1]] = np.arange(values.size - 1, -1, -1)  # of several writes the last one stays
    return sorted_values, inverse, first


def gather(
    rows: NDArray[np.int64], read: Callable[[int, int], NDArray[np.float32]], columns: int
) -> NDArray[np.float32]:
    """Return some rows of a dataset, reading stretches of rows that lie close together in one go.

    Emitters of a chunk are mostly neighbours, since ids follow the time of birth; a few that live long lie
    far off.
    """
    wanted = np.unique(rows)
    found = np.empty((len(wanted), columns), np.float32)
    starts = np.flatnonzero(np.diff(wanted, prepend=-_MAX_GAP_ROWS - 2) > _MAX_GAP_ROWS)
    for begin, end in pairwise([*starts.tolist(), len(wanted)]):
        done = begin
        while done < end:
            low = int(wanted[done])
            upto = min(end, int(np.searchsorted(wanted, low + _MAX_RUN_ROWS)))
            block = read(low, int(wanted[upto - 1]) + 1)
            found[done:upto] = block[wanted[done:upto] - low]
            done = upto
    return found if len(wanted) == len(rows) and np.array_equal(wanted, rows) else found[np.searchsorted(wanted, rows)]
