"""Coefficients at scattered points of the field, with interpolation between them."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.mapfile import COORDS, MAGNITUDE, MAX_COEFFICIENT, MapHeader
from simtiff.errors import DataError
from simtiff.io.hdf5 import find_dataset, need_dataset
from simtiff.io.rows import check_numbers, read_rows
from simtiff.language import Text

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

_MAX_POSITION_PX = 1e7


class ScatteredCoefficients:
    """Cubic interpolation between scattered points; nearest point outside their convex hull.

    Uses the Clough-Tocher scheme on a Delaunay triangulation (C1-continuous). If there are too few points or they are
    collinear, the nearest point is used everywhere. Duplicate points are merged, with the mean of their values.

    Parameters
    ----------
    coords
        (points, 2), x and y in px.
    values
        (points, modes).
    """

    def __init__(self, coords: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        from scipy.interpolate import CloughTocher2DInterpolator
        from scipy.spatial import KDTree, QhullError

        self.modes = values.shape[1]
        self._points, group, counts = np.unique(coords, axis=0, return_inverse=True, return_counts=True)
        sums = np.zeros((len(self._points), self.modes))
        np.add.at(sums, group.reshape(-1), values)
        self._values = sums / counts[:, None]
        # Skip modes that are zero everywhere.
        self._active = np.flatnonzero(self._values.any(axis=0))
        self._tree = KDTree(self._points)
        self._cubic = None
        if len(self._points) > 3:
            with contextlib.suppress(QhullError), warnings.catch_warnings():  # QhullError: the points are collinear
                # Gradients are estimated iteratively; if that does not converge, they are still smooth enough.
                warnings.simplefilter("ignore")
                self._cubic = CloughTocher2DInterpolator(self._points, self._values[:, self._active])

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return (n, modes) float32 at the positions x, y (n,) in px."""
        result = np.zeros((x.size, self.modes), np.float32)
        if not x.size:
            return result
        places = np.column_stack([x, y])
        if self._cubic is None:
            result[:, self._active] = self._nearest(places)
            return result
        inside = np.asarray(self._cubic(places))
        outside = np.isnan(inside).any(axis=1)
        if outside.any():
            inside[outside] = self._nearest(places[outside])
        result[:, self._active] = inside
        return result

    def _nearest(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        _, index = self._tree.query(places)
        nearest: NDArray[np.float64] = self._values[index][:, self._active]
        return nearest


def read_magnitude(file: h5py.File, header: MapHeader) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return coords (points, 2) and amplitude coefficients (points, modes); None if there are none or all are zero."""
    dataset = find_dataset(file, MAGNITUDE)
    if dataset is None or not header.points:
        return None
    rows = check_numbers(dataset, (header.points, header.modes), Text("(points, modes)"))
    values = read_rows(rows, 0, header.points, np.float64)
    if not values.any():
        return None
    if np.abs(values).max() > MAX_COEFFICIENT:
        row, mode = np.argwhere(np.abs(values) > MAX_COEFFICIENT)[0]
        raise DataError(
            f"{header.path}: {MAGNITUDE}: {values[row, mode]:g} at point {row}, Noll mode {mode + 1}; "
            f"allowed: numbers up to {MAX_COEFFICIENT:g}"
        )
    places = check_numbers(need_dataset(file, COORDS), (header.points, 2), Text("(points, 2), x and y in px"))
    coords = read_rows(places, 0, header.points, np.float64)
    if np.abs(coords).max() > _MAX_POSITION_PX:
        raise DataError(
            f"{header.path}: {COORDS}: up to {np.abs(coords).max():g}; allowed: up to {_MAX_POSITION_PX:g} px"
        )
    return coords, values
