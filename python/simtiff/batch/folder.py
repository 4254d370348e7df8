"""A batch's output folder: made, locked to one batch at a time, and cleared of what killed runs left.

The lock is a file, ``.simtiff.lock``, that says who holds it and since when. On one machine the kernel
decides: the holder and its workers keep the file locked, so the lock ends when the last of them does,
whatever ends them. Between machines that share the folder the file's age decides: the holder renews it all
the time, and a file that was not renewed for two minutes, by the file server's own clock, belongs to a dead
process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from simtiff.config.identity import TRUTH_NAME
from simtiff.config.names import JOB_FILE, OWN_NAMES
from simtiff.errors import BatchError, in_words
from simtiff.io.files import partial_path, refuse_overwriting, remove_partials, try_lock
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from simtiff.config.identity import Job

NAME = OWN_NAMES[1]
RENEW_SECONDS = 20.0
STALE_SECONDS = 120.0
_PATIENCE_SECONDS = 5.0
# Not to wait for the other end of a pipe, nor to follow a link out of the folder.
_FLAGS = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class FolderLock:
    """Hold the lock of an output folder for the length of a ``with`` block.

    Attributes
    ----------
    fd : int
        Descriptor of the locked file; a process that inherits it keeps the lock, too.
    held : bool
        Whether the lock is held.
    taken_over : str
        Who held the lock and died without freeing it; empty if nobody did.

    Raises
    ------
    BatchError
        Another living process holds it (the message names host, pid and since when), or the folder cannot be
        written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.fd = -1
        self.taken_over = ""
        self.held = False
        self._released = threading.Event()

    def __enter__(self) -> FolderLock:
        try:
            self._acquire()
            threading.Thread(target=self._renew, name="lock", daemon=True).start()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                text = Text(
                    "{folder}: cannot be written ({reason}); choose another output folder or change its permissions",
                    folder=self.path.parent,
                    reason=in_words(error),
                )
                raise BatchError(text) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def check(self) -> None:
        """Make the lock, and the folder, again if somebody removed it.

        Raises
        ------
        BatchError
            Another simtiff has taken the folder meanwhile.
        OSError
            The lock cannot be made again now.
        """
        if self._is_current():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            self.held = False
        else:
            self.held = try_lock(fd)
            os.dup2(fd, self.fd, inheritable=False)  # workers to come inherit this number
            os.close(fd)
        if not self.held:
            text = Text(
                "{folder}: the lock {name} was removed while this batch was running, and another simtiff took the "
                "folder; this one stops",
                folder=self.path.parent,
                name=NAME,
            )
            raise BatchError(text)
        self._write()

    def _acquire(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self.fd = os.open(self.path, _FLAGS | os.O_CREAT, 0o666)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                raise BatchError(Text("{path}: is no regular file; remove it", path=self.path))
            held = not try_lock(self.fd)
            holder = _read(self.fd)
            if not held and self._is_current():
                break
            # The workers of a batch that was killed keep the lock until they notice, within a moment.
            if held and (time.monotonic() > deadline or _is_alive(holder)):
                _refuse(self.path, holder)
            os.close(self.fd)
            self.fd = -1
            time.sleep(0.05)
        self._check_other_hosts(holder)
        self.held = True
        self.taken_over = _name(holder) if holder else ""
        self._write()

    def _write(self) -> None:
        content = {"host": socket.gethostname(), "pid": os.getpid(), "start": _start_of(os.getpid())}
        content["since"] = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        os.write(self.fd, json.dumps(content).encode())
        os.fsync(self.fd)

    def _release(self) -> None:
        self._released.set()
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            if self.held and self._is_current(fd):
                self.path.unlink()
        os.close(fd)

    def _check_other_hosts(self, holder: dict[str, Any]) -> None:
        if not holder:
            return
        if holder.get("host") == socket.gethostname():
            # Reached with a living holder only where the file system has no locks.
            if _is_alive(holder) and holder.get("pid") != os.getpid():
                _refuse(self.path, holder)
            return
        age = self._age()
        if age < STALE_SECONDS:
            _refuse(self.path, holder, STALE_SECONDS - age)

    def _age(self) -> float:
        """Return for how long the lock was not renewed, by the clock of the file system that keeps it."""
        probe = partial_path(self.path)
        probe.touch()
        try:
            return probe.stat().st_mtime - os.fstat(self.fd).st_mtime
        finally:
            probe.unlink()

    def _is_current(self, fd: int | None = None) -> bool:
        """Say whether the open file is still the one under the lock's name (its last holder removed it)."""
        try:
            there, mine = self.path.stat(), os.fstat(self.fd if fd is None else fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _renew(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def is_locked(folder: Path) -> bool:
    """Say whether a batch is at work in a folder now; only looks."""
    try:
        fd = os.open(folder / NAME, os.O_RDONLY | (_FLAGS & ~os.O_RDWR))
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno not in {errno.ELOOP, errno.ENXIO}  # a link or a socket is no lock
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        if not try_lock(fd):
            return True
        holder = _read(fd)
        if holder.get("host") == socket.gethostname():
            return False
        return time.time() - os.fstat(fd).st_mtime < STALE_SECONDS
    finally:
        os.close(fd)


def _read(fd: int) -> dict[str, Any]:
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        content = json.loads(os.read(fd, 4096))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _name(holder: dict[str, Any]) -> str:
    host, pid, since = (holder.get(key, "?") for key in ("host", "pid", "since"))
    return Text("host {host}, pid {pid}, since {since}", host=host, pid=pid, since=since)


def _refuse(path: Path, holder: dict[str, Any], seconds: float | None = None) -> NoReturn:
    text = Text(
        "{folder}: another simtiff works in this folder ({holder}); wait for it or choose another folder",
        folder=path.parent,
        holder=_name(holder),
    )
    if seconds is not None:
        text = Text("{problem}; if that process is dead, try again in {seconds:.0f} s", problem=text, seconds=seconds)
    raise BatchError(text)


def _is_alive(holder: dict[str, Any]) -> bool:
    """Say whether the holder, if it is of this host, still runs (a new process with its pid is another)."""
    pid = holder.get("pid")
    if holder and holder.get("host") != socket.gethostname():
        return True
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return holder.get("start") in {None, _start_of(pid)}


def _start_of(pid: int) -> str | None:
    """Return when a process began, in clock ticks since the start of the machine, where /proc tells."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make the output folder; if an error ends the block, take it away again, as far as it is empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = in_words(error)
        text = Text("{folder}: cannot be made ({reason}); choose another output folder", folder=folder, reason=reason)
        raise BatchError(text) from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def refuse_own_files(
    folder: Path, jobs: Sequence[Job], inputs: Iterable[str], log_file: str | os.PathLike[str] | None
) -> None:
    """Raise an error if one of a batch's own files is an input, or its log."""
    refuse_overwriting((folder / name for name in OWN_NAMES), inputs)
    if log_file is None:
        return
    path, there = Path(os.path.realpath(log_file)), Path(os.path.realpath(folder))
    first, *more = path.relative_to(there).parts if path.is_relative_to(there) else ("",)
    if (not more and first in OWN_NAMES) or first in {job.id for job in jobs}:
        text = Text("--log-file: {path}: is one of the batch's own files; choose another name", path=log_file)
        raise BatchError(text)


def clear_away(folder: Path, job_ids: Iterable[str]) -> list[str]:
    """Remove what killed runs left half-written in some jobs' folders, and return where there was something."""
    return [job_id for job_id in dict.fromkeys(job_ids) if clean(folder / job_id, keep_journaled=False)]


def drop_begun(folder: Path, job_ids: Iterable[str]) -> None:
    """Remove the folders of jobs that no config wants any more, where these got no further than the truth."""
    for job_id in dict.fromkeys(job_ids):
        path = folder / job_id
        if path.is_symlink() or (path / JOB_FILE).exists():
            continue
        with contextlib.suppress(OSError):
            names = {entry.name for entry in path.iterdir()}
            if names <= {TRUTH_NAME}:  # neither a movie, which may be whole, nor a user's files
                (path / TRUTH_NAME).unlink(missing_ok=True)
                path.rmdir()


def clean(folder: Path, *, keep_journaled: bool = True) -> list[Path]:
    """Remove what a dead worker left half-written, but usually not a movie that the next run can continue."""
    with contextlib.suppress(OSError):
        if not folder.is_symlink():  # not a folder that a job has made
            return remove_partials(folder, keep_journaled=keep_journaled)
    return []
