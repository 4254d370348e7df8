"""What a movie needs to render some of its frames: their emitters, with coefficients, and their records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def same_psf(
    ids: NDArray[np.int64], *columns: NDArray[np.float64] | NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group records that share a PSF: those of one emitter, at one position, with the same coefficients.

    Parameters
    ----------
    ids : (m,) int64
        Emitter of each record.
    *columns : array (m, k) or None
        What the PSF depends on, a row for each record: position, coefficients.

    Returns
    -------
    first : (n,) int64
        A record of each group. Groups are ordered by id, then by their values, so that their order in a frame does
        not depend on the frames that they are grouped with.
    group : (m,) int64
        Group of each record.
    """
    given = [column for column in columns if column is not None]
    _, group, first = distinct(ids)
    if all(np.array_equal(column[first][group], column) for column in given):  # every emitter stands still
        return first, group
    # Rows of bytes are ordered as the ids that they begin with: big-endian ranks.
    parts = [np.ascontiguousarray(part).view(np.uint8).reshape(len(ids), -1) for part in (group.astype(">u8"), *given)]
    rows = np.concatenate(parts, axis=1)
    keys = rows.view(np.dtype((np.void, rows.shape[1])))[:, 0]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first, group
