"""The machine-readable log of a batch: JSON lines, appended.

`logging.FileHandler` is not used: it does not refuse a file that is not a log, cut off a line that a crash left
incomplete, or let the batch continue when the disk is full.
"""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Self

from simtiff.batch.events import as_json
from simtiff.errors import BatchError, in_words, os_reason
from simtiff.language import Text
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.movie.events import Event, Watch

_KINDS = {"begin", "started", "stage", "done", "failed", "end"}
_START = b'{"time": "'
_LONGEST_LINE = 1 << 20  # much longer than any traceback


class JobLog:
    """Writes the events of a batch to a log file.

    Every line has ``time`` (ISO 8601, UTC) and ``event``: ``begin`` and ``end`` of the batch, ``started``,
    ``stage``, ``done`` and ``failed`` of a job (with ``job``). A stage has ``stage``, ``seconds``, ``frames``
    and ``peak_memory_bytes``; a failure has ``error`` and ``traceback``.

    Parameters
    ----------
    path : Path
        The file.
    show : callable
        Called with a warning if the file cannot be written any more (disk full); logging then stops.

    Raises
    ------
    BatchError
        The file cannot be written, or is not a log.
    """

    def __init__(self, path: Path, show: Watch) -> None:
        self.path = path
        self._show = show
        self._file: IO[bytes] | None = None
        try:
            self._file = self._opened()
        except OSError as error:
            text = Text(
                "--log-file: {path}: cannot be written ({reason}); choose a file in an existing, writable folder",
                path=path,
                reason=os_reason(error),
            )
            raise BatchError(text) from error

    def _opened(self) -> IO[bytes]:
        """Open the file; refuse anything but a log, a new file or a character device such as a terminal."""
        mode = self.path.stat().st_mode if self.path.exists() else stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode)):
            raise BatchError(Text("--log-file: {path}: is not a regular file; choose another name", path=self.path))
        # Each line is one write in append mode, so lines of concurrent batches do not mix.
        file: IO[bytes] = self.path.open("a+b" if stat.S_ISREG(mode) else "ab", buffering=0)
        try:
            if stat.S_ISREG(mode):
                self._cut_unfinished_line(file)
        except BaseException:
            file.close()
            raise
        return file

    def _cut_unfinished_line(self, file: IO[bytes]) -> None:
        """Cut off an incomplete last line left by a crash; refuse a file that is not a log."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        is_log = file.read(len(_START)).startswith(_START)
        begin = file.seek(max(0, size - _LONGEST_LINE))
        end = file.read(size - begin).rfind(b"\n") + 1
        if size and not (is_log and (end or not begin)):
            text = Text("--log-file: {path}: exists and is not a simtiff log; choose another name", path=self.path)
            raise BatchError(text)
        if begin + end != size:
            file.truncate(begin + end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def watch(self, event: Event) -> None:
        """Append a line for an event if its kind is logged."""
        if self._file is None or event.kind not in _KINDS:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"time": time, **as_json(event)}
        values.pop("files", None)  # they are in the status file
        rest = (json.dumps(values, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._close()
            text = Text(
                "--log-file: {path}: {reason}; continuing without a log", path=self.path, reason=in_words(error)
            )
            self._show(Message(text, warning=True))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
