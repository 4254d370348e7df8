"""Match localizations to emitters: an optimal assignment, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Rows that are matched at a time: the solver's time per row grows with this number.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Points:
    """Positions in frames, ordered by frame.

    Attributes
    ----------
    frame : (n,) int64
        Frame.
    xy_nm : (n, 2) float64
        Lateral position.
    z_nm : (n,) float64, optional
        Height; None if unknown.
    """

    frame: NDArray[np.int64]
    xy_nm: NDArray[np.float64]
    z_nm: NDArray[np.float64] | None


def match(truth: Points, found: Points, radius_nm: float, dz_nm: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of emitters and of localizations that are matched.

    In each frame, match as many pairs as possible of an emitter and a localization within `radius_nm` laterally and, if
    both have a height, `dz_nm` axially. Among these assignments, choose the one with the smallest sum of squared
    distances (in three dimensions if both have a height).
    """
    rows = [_match_block(truth, found, *block, radius_nm, dz_nm) for block in _blocks(truth.frame, found.frame)]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *rows])
    return pairs[:, 0], pairs[:, 1]


def neighbours(truth: Points, places: Points, radius_nm: float) -> NDArray[np.int64]:
    """Return for each position the number of emitters of its frame within a lateral distance."""
    counts = np.zeros(len(places.frame), np.int64)
    for some, other in _blocks(truth.frame, places.frame):
        if some.stop > some.start and other.stop > other.start:
            tree = _tree(truth, some, radius_nm)
            points = _tree(places, other, radius_nm).data
            counts[other] = tree.query_ball_point(points, radius_nm, return_length=True)
    return counts


def _blocks(first: NDArray[np.int64], second: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Yield corresponding row ranges of two tables, each of complete frames and a moderate number of rows."""
    frames = np.union1d(first, second)
    ends = np.stack([np.searchsorted(frame, frames, side="right") for frame in (first, second)])
    total = ends.sum(axis=0)
    at, before = 0, np.zeros(2, np.int64)
    while at < len(frames):
        upto = int(np.searchsorted(total, before.sum() + _BLOCK_ROWS, side="right"))
        upto = max(upto, at + 1)
        after = ends[:, upto - 1]
        yield slice(int(before[0]), int(after[0])), slice(int(before[1]), int(after[1]))
        at, before = upto, after


def _tree(points: Points, rows: slice, radius_nm: float) -> Any:
    """Return a k-d tree of positions in which different frames are far apart."""
    from scipy.spatial import cKDTree

    depth = points.frame[rows] * (4.0 * radius_nm)
    return cKDTree(np.column_stack([points.xy_nm[rows], depth]))


def _match_block(
    truth: Points, found: Points, some: slice, other: slice, radius_nm: float, dz_nm: float
) -> NDArray[np.int64]:
    if some.stop == some.start or other.stop == other.start:
        return np.zeros((0, 2), np.int64)
    near = _tree(truth, some, radius_nm).sparse_distance_matrix(
        _tree(found, other, radius_nm), radius_nm, output_type="ndarray"
    )
    i, j, cost = near["i"].astype(np.int64), near["j"].astype(np.int64), near["v"] ** 2
    if truth.z_nm is not None and found.z_nm is not None:
        dz = truth.z_nm[some][i] - found.z_nm[other][j]
        inside = np.abs(dz) <= dz_nm
        i, j, cost = i[inside], j[inside], (cost + dz**2)[inside]
    pairs = _assign(i, j, cost, some.stop - some.start, other.stop - other.start)
    pairs += np.array([some.start, other.start])
    return pairs


def _assign(i: NDArray[np.int64], j: NDArray[np.int64], cost: NDArray[np.float64], n: int, m: int) -> NDArray[np.int64]:
    """Return the pairs (i, j) of the assignment with the most pairs and, among these, the smallest total cost.

    The solver needs a complete assignment. So each of the n rows gets a dummy column for being unmatched, and each of
    the m columns a dummy row; both cost more than all pairs together. The dummies of a matched pair match each other.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(i):
        return np.zeros((0, 2), np.int64)
    left_out = (cost.max() + 2) * (min(n, m) + 1)
    rows = np.concatenate([i, np.arange(n), n + np.arange(m), n + j])
    columns = np.concatenate([j, m + np.arange(n), np.arange(m), m + i])
    # The solver treats a cost of 0 as no edge; adding 1 to every pair does not change the result.
    costs = np.concatenate([cost + 1, np.full(n + m, left_out), np.ones(len(i))])
    matrix = coo_array((costs, (rows, columns)), shape=(n + m, n + m)).tocsr()
    row, column = min_weight_full_bipartite_matching(matrix)
    real = (row < n) & (column < m)
    return np.column_stack([row[real], column[real]]).astype(np.int64)
