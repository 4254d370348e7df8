"""Checks of the arrays that users pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from simtiff.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    T = TypeVar("T", bound=np.generic)


def output(out: NDArray[T] | None, shape: tuple[int, ...], dtype: type[T] | np.dtype[T]) -> NDArray[T]:
    """Return ``out`` if it can be filled in place, or a new array where it is None.

    Raises
    ------
    ShapeError
        If ``out`` is not a writable C-contiguous array of exactly this shape and dtype.
    """
    dtype = np.dtype(dtype)
    if out is None:
        try:
            return np.empty(shape, dtype)
        except ValueError as error:
            raise ShapeError(f"an array of shape {shape} is too large: {error}") from None
    if not isinstance(out, np.ndarray):
        raise ShapeError(f"out is a {type(out).__name__}; expected a NumPy array")
    if out.shape != shape or out.dtype != dtype:
        raise ShapeError(f"out is {out.dtype} {out.shape}; expected {dtype} {shape}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ShapeError("out is not a writable, aligned, C-contiguous array")
    return out


def numbers(name: str, values: ArrayLike, dtype: type[T], ndim: int | tuple[int, ...]) -> NDArray[T]:
    """Return ``values`` as a C-contiguous array of ``dtype`` with one of the allowed numbers of dimensions."""
    array = np.asarray(values)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.dtype.kind not in "buif":
        raise ShapeError(f"{name} has dtype {array.dtype}; expected real numbers")
    if array.ndim not in allowed:
        words = " or ".join(str(n) for n in allowed)
        raise ShapeError(f"{name} has {array.ndim} dimensions, shape {array.shape}; expected {words}")
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["C", "A"])


def indices(name: str, values: ArrayLike, count: int | None, below: int) -> NDArray[np.uint32]:
    """Return ``values``, ``count`` integers from 0 to ``below`` - 1, as uint32."""
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or (count is not None and len(array) != count):
        raise ShapeError(f"{name} has shape {array.shape}; expected ({'n' if count is None else count},)")
    if array.dtype.kind not in "ui" and array.size:
        raise ShapeError(f"{name} has dtype {array.dtype}; expected integers")
    if array.size and not (0 <= array.min() and array.max() < below):
        raise ShapeError(f"{name} goes from {array.min()} to {array.max()}; expected 0 to {below - 1}")
    return np.require(array, np.uint32, ["C", "A"])
