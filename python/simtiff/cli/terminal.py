"""Output of a command: results on stdout, progress of a single movie on stderr, exit codes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from simtiff.language import shown
from simtiff.movie.events import STAGES, Message, Progress

if TYPE_CHECKING:
    from simtiff.movie.events import Event

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_SECONDS = 0.2
_CLEAR = "\r\x1b[K"


def print_text(text: str) -> None:
    """Print a result to stdout, unless stdout is closed."""
    if sys.stdout is not None:
        sys.stdout.write(text + "\n")


class CountingLine:
    """Prints messages, and on a terminal a last line that counts frames; for a ``with`` block."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._due = 0.0
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Message():
                self.clear()
                self._write(f"{shown(event.text)}\n")
            case Progress() if self._is_terminal:
                self._count(event.stage, event.done, event.total)

    def clear(self) -> None:
        """Erase the counting line."""
        if self._is_terminal:
            self._write(_CLEAR)

    def _count(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._due and stage == self._stage and done < total:
            return
        self._due, self._stage = now + _SECONDS, stage
        share = done / total if total else 1.0
        name = shown(STAGES.get(stage, stage))
        self._write(f"{_CLEAR}{name}: {done}/{total} ({share:.1%})" if done < total else _CLEAR)

    @staticmethod
    def _write(text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
