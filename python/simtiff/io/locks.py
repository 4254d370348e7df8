"""Locks that a forked child finds open."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock for the threads of one process, in a ``with`` block.

    A fork copies what other threads hold, but not the threads that would give it back; so each process has a lock of
    its own. What it guards has to be fit for use at any time, since a fork may come in the middle of a block.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.Lock()).acquire()  # no other thread comes between in setdefault

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()

    def __reduce__(self) -> tuple[type[ProcessLock], tuple[()]]:
        return ProcessLock, ()
