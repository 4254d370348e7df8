"""Files as MATLAB saves them with -v7.3: a user block, MATLAB_class, arrays with their axes reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, *, mark: bool = True, **variables: Any) -> Path:
    """Save variables: arrays in MATLAB's order (numbers 1 x 1), texts, and dicts as structs; `mark`: the user block."""
    with h5py.File(path, "w", userblock_size=512 if mark else 0) as file:
        _fill(file, variables)
    if mark:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def _fill(group: h5py.Group, variables: dict[str, Any]) -> None:
    for name, value in variables.items():
        if isinstance(value, dict):
            inner = group.create_group(name)
            inner.attrs["MATLAB_class"] = np.bytes_("struct")
            _fill(inner, value)
            continue
        kind = "char" if isinstance(value, str) else "logical" if np.asarray(value).dtype == bool else "double"
        codes = np.frombuffer(value.encode("utf-16-le"), "<u2") if isinstance(value, str) else value
        array = np.atleast_2d(np.asarray(codes))
        if array.dtype == bool:
            array = array.astype(np.uint8)
        if array.size:
            dataset = group.create_dataset(name, data=array.T)
        else:
            dataset = group.create_dataset(name, data=np.array(array.shape, np.uint64))
            dataset.attrs["MATLAB_empty"] = np.uint8(1)
        dataset.attrs["MATLAB_class"] = np.bytes_(kind)
        if kind != "double":
            dataset.attrs["MATLAB_int_decode"] = np.int32(2 if kind == "char" else 1)
