"""The log of a batch for machines: JSON lines, one object each, appended."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from simtiff.errors import BatchError
from simtiff.io.files import describe_os_error

if TYPE_CHECKING:
    from pathlib import Path


_START = b'{"time": "'
_BLOCK_BYTES = 1 << 16


class JobLog:
    """A log file, or nothing.

    Every line has ``time`` (ISO 8601, UTC) and ``event``: ``begin`` and ``end`` of the batch, ``started``,
    ``stage``, ``done`` and ``failed`` of a job (with ``job``). A stage has ``stage``, ``seconds``, ``frames``
    and ``peak_memory_bytes``; a failure ``error`` and ``traceback``.

    Parameters
    ----------
    path : Path or None
        The file; None: nothing is written.

    Raises
    ------
    BatchError
        The file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._made = False
        self._fd = -1
        if path is None:
            return
        self._made = not os.path.lexists(path)
        try:
            # One write per line to a file opened for appending: lines of several batches do not mix.
            is_file = not path.exists() or self._check_kind(path.stat().st_mode)
            flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
            self._fd = os.open(path, flags | (os.O_RDWR if is_file else os.O_WRONLY), 0o666)
            if is_file:
                self._check_content()
        except OSError as error:
            self._close()
            raise BatchError(
                f"--log-file: {path}: cannot be written ({error.strerror or error}); "
                "a file in an existing, writable folder is needed"
            ) from error

    def _check_kind(self, mode: int) -> bool:
        """Say whether it is a file; refuse all else but what takes characters, such as a terminal."""
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode)):
            raise BatchError(f"--log-file: {self.path}: is no regular file; choose another name")
        return stat.S_ISREG(mode)

    def _check_content(self) -> None:
        """Refuse a file that is something else; cut off a line that a crash has left unfinished."""
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if not size:
            return
        os.lseek(self._fd, 0, os.SEEK_SET)
        if not os.read(self._fd, len(_START)).startswith(_START):
            self._close()
            raise BatchError(f"--log-file: {self.path}: exists and is no log of simtiff; choose another name")
        whole, end = 0, size
        while end and not whole:
            begin = max(0, end - _BLOCK_BYTES)
            os.lseek(self._fd, begin, os.SEEK_SET)
            newline = os.read(self._fd, end - begin).rfind(b"\n")
            whole, end = begin + newline + 1 if newline >= 0 else 0, begin
        if whole != size:
            os.ftruncate(self._fd, whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._made and self.path is not None and self._fd >= 0 and not os.fstat(self._fd).st_size:
                self.path.unlink()  # the batch did not come to its first line
        self._close()

    def write(self, event: str, **data: Any) -> str | None:
        """Append a line; return why that failed, once, or None. What comes after a failure is dropped."""
        if self._fd < 0:
            return None
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **data}, ensure_ascii=False) + "\n"
        try:
            rest = line.encode(errors="backslashreplace")
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._close()
            return f"--log-file: {self.path}: {describe_os_error(error)}; going on without it"
        return None

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
