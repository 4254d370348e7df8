"""Signals that ask a process to stop, and standard streams that may be closed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from simtiff.batch.events import Signalled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from queue import SimpleQueue
    from types import FrameType

_SAME_INTERRUPT_SECONDS = 1.0

_until = float("-inf")


def note_interrupt() -> bool:
    """Record a signal to stop; return False if it closely follows another one."""
    global _until  # noqa: PLW0603
    now = time.monotonic()
    new = now >= _until
    _until = now + _SAME_INTERRUPT_SECONDS
    return new


class Interrupts:
    """Makes SIGTERM, which cluster schedulers send, stop the run as cleanly as Ctrl-C, in a ``with`` block.

    A signal that closely follows another one is ignored (``timeout`` sends two), so that it does not interrupt the
    cleanup.

    Parameters
    ----------
    ends_process : bool
        Whether the process exits after the block; ignored signals then stay ignored.
    """

    def __init__(self, *, ends_process: bool) -> None:
        self._ends_process = ends_process
        self._before: dict[int, Any] = {}
        self._ignored = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._interrupt)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if note_interrupt():
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Ignore further signals during the block."""
        self._ignored = True
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        if not (self._ignored and self._ends_process):
            for number, handler in self._before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Block SIGINT while a worker starts; the worker inherits this, so that only the batch gets Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: workers have their own process group
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_as_news(news: SimpleQueue[Any]) -> Iterator[None]:
    """Put `Signalled` into the queue of an executor at a signal to stop, instead of raising an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        note_interrupt()  # so that one just after the block is ignored
        news.put((Signalled(), None))  # SimpleQueue.put may be called from a handler

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_closed_streams() -> None:
    """Open closed standard streams on the null device, so that no other file gets their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
