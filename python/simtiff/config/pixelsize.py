"""The two ways to give the size of a pixel: one key for both axes, or one for each.

A checked config has only the keys for each axis, so the same sizes are the same job in whichever way they were given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BOTH = "pixel_size_nm"
EACH = ("pixel_size_nm_x", "pixel_size_nm_y")
"""Keys inside of ``optical``."""


def drop_replaced(optical: dict[str, Any], by: Mapping[str, Any]) -> None:
    """Take the keys of each axis out of raw values of ``optical``, in place, if new ones give both sizes at once."""
    if by.get(BOTH) is not None:
        for key in EACH:
            optical.pop(key, None)


def split(optical: dict[str, Any]) -> None:
    """Give raw values of ``optical`` a key for each axis in place of that for both, so that one can be replaced."""
    size = optical.get(BOTH)
    sizes = size if isinstance(size, list) else [size, size]
    if size is not None and len(sizes) == len(EACH):
        del optical[BOTH]
        optical |= dict(zip(EACH, sizes, strict=True))
