"""Thread locks that are free in a forked child."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock for the threads of one process, used in a ``with`` block.

    A fork copies locks that other threads hold, but not the threads that would release them. So each process has its
    own lock. The guarded data must be consistent at any time, since a fork may happen in the middle of a block.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.Lock()).acquire()  # setdefault is atomic

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()

    def __reduce__(self) -> tuple[type[ProcessLock], tuple[()]]:
        return ProcessLock, ()
