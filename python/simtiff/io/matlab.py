"""MATLAB files (``-v7.3``): HDF5 with MATLAB's attributes and the axes of every array reversed.

MATLAB stores arrays in column-major order, so an array that is H x W x modes there has the shape (modes, W, H) here.
A vector is 1 x n or n x 1, a number 1 x 1, a string an array of UTF-16 codes. An empty array is a dataset that holds
its shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

_HEADER = b"MATLAB 7.3 MAT-file"
_OLD_HEADER = b"MATLAB 5.0 MAT-file"
_MOST_AXES = 32


def is_matlab(node: h5py.Dataset | h5py.Group) -> bool:
    """Return whether MATLAB saved an object, judged by its attribute or by the first bytes of its file."""
    return "MATLAB_class" in node.attrs or (node.file.userblock_size > 0 and _begins_with(node.file.filename, _HEADER))


def is_old_matlab(path: str | Path) -> bool:
    """Return whether a file is in MATLAB's old format, which is not HDF5."""
    return _begins_with(path, _OLD_HEADER)


def _begins_with(path: str | Path, header: bytes) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


def matlab_class(node: h5py.Dataset | h5py.Group) -> str:
    """Return the MATLAB class of an object, such as ``double``; an empty string if it has none."""
    name = node.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def is_nothing(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset is MATLAB's empty ``[]`` or ``''``, which means that the value is missing."""
    return not any(empty_shape(dataset) or (1,))


def empty_shape(dataset: h5py.Dataset) -> tuple[int, ...] | None:
    """Return the shape of an empty array in MATLAB's order; None if the array is not empty."""
    if not dataset.attrs.get("MATLAB_empty", 0) or not 1 <= dataset.size <= _MOST_AXES:
        return None
    return tuple(int(length) for length in np.ravel(dataset[...]))


def text_of(codes: NDArray[np.unsignedinteger]) -> str:
    """Return a string from the UTF-16 codes that MATLAB stores; `UnicodeDecodeError` if they are invalid."""
    return codes.reshape(-1, order="F").astype("<u2").tobytes().decode("utf-16-le")
