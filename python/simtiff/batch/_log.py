"""The log of a batch for machines: JSON lines, one object each, appended.

`logging.FileHandler` could take over opening and appending, and no more: what a log must not do to a file that is
something else, to a line that a crash cut off, or to a batch whose disk is full would all be ours still.
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
_LONGEST_LINE = 1 << 20  # much more than the longest traceback takes


class JobLog:
    """A log file that watches a batch.

    Every line has ``time`` (ISO 8601, UTC) and ``event``: ``begin`` and ``end`` of the batch, ``started``,
    ``stage``, ``done`` and ``failed`` of a job (with ``job``). A stage has ``stage``, ``seconds``, ``frames``
    and ``peak_memory_bytes``; a failure ``error`` and ``traceback``.

    Parameters
    ----------
    path : Path
        The file.
    show : callable
        Told, once, that the file can take no more (a full disk); what happens after that is not logged.

    Raises
    ------
    BatchError
        The file cannot be written, or is something else.
    """

    def __init__(self, path: Path, show: Watch) -> None:
        self.path = path
        self._show = show
        self._file: IO[bytes] | None = None
        try:
            self._file = self._opened()
        except OSError as error:
            text = Text(
                "--log-file: {path}: cannot be written ({reason}); a file in an existing, writable folder is needed",
                path=path,
                reason=os_reason(error),
            )
            raise BatchError(text) from error

    def _opened(self) -> IO[bytes]:
        """Open the file; refuse what is no log, and all else but what takes characters, such as a terminal."""
        mode = self.path.stat().st_mode if self.path.exists() else stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode)):
            raise BatchError(Text("--log-file: {path}: is no regular file; choose another name", path=self.path))
        # One write per line to a file opened for appending: lines of several batches do not mix.
        file: IO[bytes] = self.path.open("a+b" if stat.S_ISREG(mode) else "ab", buffering=0)
        try:
            if stat.S_ISREG(mode):
                self._cut_unfinished_line(file)
        except BaseException:
            file.close()
            raise
        return file

    def _cut_unfinished_line(self, file: IO[bytes]) -> None:
        """Cut off a line that a crash has left unfinished; refuse a file that is no log."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        is_log = file.read(len(_START)).startswith(_START)
        begin = file.seek(max(0, size - _LONGEST_LINE))
        end = file.read(size - begin).rfind(b"\n") + 1
        if size and not (is_log and (end or not begin)):
            text = Text("--log-file: {path}: exists and is no log of simtiff; choose another name", path=self.path)
            raise BatchError(text)
        if begin + end != size:
            file.truncate(begin + end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def watch(self, event: Event) -> None:
        """Append a line for what is logged."""
        if self._file is None or event.kind not in _KINDS:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"time": time, **as_json(event)}
        values.pop("files", None)  # these are in the status
        rest = (json.dumps(values, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._close()
            text = Text("--log-file: {path}: {reason}; going on without it", path=self.path, reason=in_words(error))
            self._show(Message(text, warning=True))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
