"""What a user sees of the single-movie commands, on stderr: log lines, and on a terminal how far it is."""

from __future__ import annotations

import sys
import time

_SECONDS = 0.2
_CLEAR = "\r\x1b[K"


class TerminalReport:
    """The report of one job: lines worth keeping, and on a terminal one line that counts frames."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._due = 0.0
        self._name = ""

    def stage(self, name: str, done: int, total: int) -> None:
        """Show how far a stage is; on a terminal only."""
        now = time.monotonic()
        if not self._is_terminal or (now < self._due and name == self._name and done < total):
            return
        self._due, self._name = now + _SECONDS, name
        share = done / total if total else 1.0
        self._write(f"{_CLEAR}{name}: {done}/{total} ({share:.1%})" if done < total else _CLEAR)

    def log(self, message: str) -> None:
        """Print one line."""
        self._write(f"{_CLEAR if self._is_terminal else ''}{message}\n")

    def close(self) -> None:
        """Take the counting line away."""
        if self._is_terminal:
            self._write(_CLEAR)

    @staticmethod
    def _write(text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
