"""Checks of array arguments."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from simtiff.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    T = TypeVar("T", bound=np.generic)


def output(out: NDArray[T] | None, shape: tuple[int, ...], dtype: type[T] | np.dtype[T]) -> NDArray[T]:
    """Return ``out`` if it can be filled in place, or a new array if it is None.

    Raises
    ------
    ShapeError
        ``out`` is not a writable C-contiguous array of exactly this shape and dtype.
    """
    dtype = np.dtype(dtype)
    if out is None:
        try:
            return np.empty(shape, dtype)
        except (ValueError, MemoryError, OverflowError) as error:
            raise ShapeError(f"an array of shape {shape} cannot be allocated: {error}") from None
    if not isinstance(out, np.ndarray):
        raise ShapeError(f"out is a {type(out).__name__}; expected a NumPy array")
    if out.shape != shape or out.dtype != dtype:
        raise ShapeError(f"out is {out.dtype} {out.shape}; expected {dtype} {shape}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ShapeError("out is not a writable, aligned, C-contiguous array")
    return out


def asarray(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return ``values`` as an array of any dtype."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise ShapeError(f"{name} is not an array: {error}") from None


def whole_numbers(name: str, values: object, count: int) -> tuple[int, ...]:
    """Return ``count`` non-negative whole numbers as Python integers."""
    found = tuple(values) if isinstance(values, (tuple, list, np.ndarray)) else ()
    if len(found) != count or not all(is_whole(n) and 0 <= n < 2**63 for n in found):
        raise ShapeError(f"{name} is {shown(values)}; expected {count} whole numbers, at least 0")
    return tuple(int(n) for n in found)


def is_whole(value: object) -> bool:
    """Return whether a value is a Python or NumPy integer, and not a boolean."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Return a value as text of limited length, for messages."""
    try:
        text = repr(value)
    except Exception:  # repr of very long integers fails, and that of a user's object may raise anything
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else f"{text[:76]} ..."


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Raise `ShapeError` for arrays that overlap or are in use by another thread; the core checks before computing."""
    try:
        yield
    except TypeError as error:
        raise ShapeError(f"out overlaps another array, or is in use by another thread ({error})") from None


def numbers(name: str, values: ArrayLike, dtype: type[T], ndim: int | tuple[int, ...]) -> NDArray[T]:
    """Return ``values`` as a C-contiguous array of ``dtype`` with an allowed number of dimensions."""
    array = asarray(name, values)
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
    array = asarray(name, values)
    if array.ndim != 1 or (count is not None and len(array) != count):
        raise ShapeError(f"{name} has shape {array.shape}; expected ({'n' if count is None else count},)")
    if array.dtype.kind not in "ui" and array.size:
        raise ShapeError(f"{name} has dtype {array.dtype}; expected integers")
    if array.size and not (0 <= array.min() and array.max() < below):
        raise ShapeError(f"{name} ranges from {array.min()} to {array.max()}; expected 0 to {below - 1}")
    return np.require(array, np.uint32, ["C", "A"])
