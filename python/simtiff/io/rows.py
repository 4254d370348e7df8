"""Numeric HDF5 datasets, checked and read row by row, in any order of the stored axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import DataError
from simtiff.io.hdf5 import check_stored, reading
from simtiff.io.matlab import empty_shape, is_matlab
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """A numeric dataset whose type, shape and stored size have been checked, read by rows.

    Axes are in the documented order, also for MATLAB files, which reverse them. A vector is one-dimensional, also if
    it is stored as a column or a row.

    Attributes
    ----------
    dataset : h5py.Dataset
        The dataset.
    shape : tuple of int
        The shape in the documented order.
    reversed : bool
        Whether the stored axes are in MATLAB's order.
    """

    dataset: h5py.Dataset
    shape: tuple[int, ...]
    reversed: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def as_meant(self) -> bool:
        """Whether the dataset is stored in the documented shape."""
        return self.dataset.shape == self.shape and not (self.reversed and len(self.shape) > 1)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        stored = self.dataset.shape
        if 0 in self.shape:
            return np.zeros((len(range(*rows.indices(self.shape[0]))), *self.shape[1:]), self.dataset.dtype)
        if len(self.shape) < len(stored):
            place: tuple[int | slice, ...] = (rows, 0) if stored[0] == self.shape[0] else (0, rows)
            return np.asarray(self.dataset[place])
        return np.asarray(self.dataset[..., rows].T if self.reversed else self.dataset[rows])


def check_numbers(dataset: h5py.Dataset, shape: tuple[int | None, ...], meaning: str) -> Rows:
    """Check dtype, shape and stored size of a dataset without reading its data, and return its rows.

    Parameters
    ----------
    dataset
        The dataset.
    shape
        The allowed shape; None for an axis of any length. For a single axis, a column or a row is also allowed.
    meaning
        The axes in words, for the message, e.g. ``"(modes, y, x)"``.
    """
    path, name = dataset.file.filename, str(dataset.name).lstrip("/")
    with reading(path, name):
        if dataset.dtype.kind not in "iuf" or dataset.dtype.subdtype is not None:
            text = Text("{name}: holds {found}; allowed: real numbers", name=name, found=dataset.dtype)
            raise DataError(joined([path, text], ": "))
        reverse = is_matlab(dataset)
        found = dataset.shape
        if found is not None and reverse:
            found = empty_shape(dataset) or found[::-1]
        if found is not None and len(shape) == 1 and len(found) == 2 and 1 in found:
            found = (found[0] if found[1] == 1 else found[1],)
        fits = (
            found is not None
            and len(found) == len(shape)
            and all(want is None or want == have for want, have in zip(shape, found, strict=True))
        )
        if not fits:
            parts = [Text("any") if want is None else str(want) for want in shape]
            text = Text(
                "{path}: {name}: has shape {found}; allowed: {wanted}, that is {meaning}",
                path=path,
                name=name,
                found=Text("{shape} in MATLAB's order", shape=found) if reverse else found,
                wanted=Text("({lengths})", lengths=joined(parts, ", ")),
                meaning=meaning,
            )
            raise DataError(text)
        check_stored(dataset)
        return Rows(dataset, found, reverse)


def read_rows(
    rows: Rows,
    start: int,
    stop: int,
    dtype: Any,
    *,
    finite: bool = True,
) -> NDArray[Any]:
    """Read rows ``start:stop`` as `dtype`; `DataError` names the first row that is NaN, too large or not an integer."""
    dataset = rows.dataset
    path, name = dataset.file.filename, str(dataset.name).lstrip("/")
    with reading(path, name), np.errstate(all="ignore"):
        values = rows[start:stop]
        target = np.dtype(dtype)

        def refuse(good: NDArray[np.bool_], problem: Callable[[object], Text]) -> None:
            if not good.all():
                row = int(np.argwhere(~good)[0][0])
                text = Text("{name}: row {row} {problem}", name=name, row=start + row, problem=problem(values[row]))
                raise DataError(joined([path, text], ": "))

        if finite and values.dtype.kind == "f":
            good = np.isfinite(values)
            if target.kind in "iu":
                good &= np.abs(values) < 2.0**53
            refuse(good, lambda _: Text("is NaN, infinite or too large; allowed: finite numbers"))
        if target.kind in "iu" and values.dtype.kind == "f":
            refuse(values == np.rint(values), lambda value: Text("is {value}; allowed: whole numbers", value=value))
            values = values.astype(np.int64)
        if target.kind in "iu" and values.dtype != target and values.size:
            limits = np.iinfo(target)
            if int(values.min()) < limits.min or int(values.max()) > limits.max:
                low, high = int(limits.min), int(limits.max)
                text = Text("{name}: numbers too large; allowed: {low} to {high}", name=name, low=low, high=high)
                raise DataError(joined([path, text], ": "))
        converted = np.ascontiguousarray(values, dtype=target)
        if finite and target.kind == "f":
            refuse(np.isfinite(converted), lambda _: Text("is too large for {dtype}", dtype=target))
        return converted
