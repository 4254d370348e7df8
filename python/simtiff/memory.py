"""A bound on the memory that reading a damaged file can take, in processes that are simtiff's own.

A wrong length in a file can make the HDF5 library take memory until the system stops the process, or another one. With
a bound it gets an error instead.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_own = False
_readers = 0
_before = (0, 0)


def bound_reading() -> None:
    """Bound what files may take from now on; the process must have no other work that needs memory of its own."""
    global _own  # noqa: PLW0603
    _own = resource is not None and hasattr(resource, "RLIMIT_AS") and os.path.exists("/proc/self/statm")  # noqa: PTH110


@contextmanager
def bounded(spare_bytes: int) -> Iterator[None]:
    """Let this process have so much more memory than it has, in the block, if `bound_reading` was called."""
    if not _own:
        yield
        return
    _enter(spare_bytes)
    try:
        yield
    finally:
        _leave()


def _enter(spare_bytes: int) -> None:
    global _readers, _before  # noqa: PLW0603
    with _lock, open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123
        used = int(statm.read().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if not _readers:
            _before = (soft, hard)
        _readers += 1
        # Enough for all that read at the same time, and never more than there was before.
        wanted = used + spare_bytes if _readers == 1 else max(used + spare_bytes, soft)
        if all(limit == resource.RLIM_INFINITY or wanted < limit for limit in _before):
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _leave() -> None:
    global _readers  # noqa: PLW0603
    with _lock:
        _readers -= 1
        if not _readers:
            resource.setrlimit(resource.RLIMIT_AS, _before)
