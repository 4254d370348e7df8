"""The two ways to specify the pixel size: one key for both axes, or one for each.

A checked config has only the keys for each axis, so both ways give the same job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BOTH = "pixel_size_nm"
EACH = ("pixel_size_nm_x", "pixel_size_nm_y")
"""Keys in ``optical``."""


def drop_replaced(optical: dict[str, Any], by: Mapping[str, Any]) -> None:
    """Remove the keys of each axis from raw values of ``optical``, in place, if new values set both at once."""
    if by.get(BOTH) is not None:
        for key in EACH:
            optical.pop(key, None)


def split(optical: dict[str, Any]) -> None:
    """Replace the key for both axes in raw values of ``optical`` by one for each, so that one can be overridden."""
    size = optical.get(BOTH)
    sizes = size if isinstance(size, list) else [size, size]
    if size is not None and len(sizes) == len(EACH):
        del optical[BOTH]
        optical |= dict(zip(EACH, sizes, strict=True))
