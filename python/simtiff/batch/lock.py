"""Locks of an output folder: one batch at a time, or the shards of one batch.

A lock is a file, ``.simtiff.lock`` (for shard 2 of 3: ``.simtiff-2-of-3.lock``), that contains its holder and the time
it was acquired. On one machine the kernel's file lock decides: the holder and its workers keep the file locked, so the
lock is released when the last of them exits, even if they are killed. Between machines that share the folder, and on
file systems without locks (NFS without a lock service), the age of the file decides: the holder renews its time
regularly, and a file that was not renewed for two minutes, by the clock of the file server, is stale.

The file is also a fence for workers on other machines: its ``token`` belongs to one run, and jobs of a run that has
ended stop at their next event (`simtiff.batch.fence`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import stat
import threading
import time
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

from simtiff.batch.fence import Fence, lock_content
from simtiff.batch.shards import Shard, lock_name, shards_in
from simtiff.errors import BatchError, in_words
from simtiff.io.files import has_locks, partial_path, try_lock
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RENEW_SECONDS = 20.0
STALE_SECONDS = 120.0
_PATIENCE_SECONDS = 5.0
_DOOR_SECONDS = 600.0
_SILENT_SECONDS = 2.0
DOOR_NAME = ".simtiff-status.lock"
_in_use: weakref.WeakSet[_Lock] = weakref.WeakSet()
_SETTLE_SECONDS = 0.3
# Do not block on a pipe, do not follow links. Windows has neither flag.
_FLAGS = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class _Lock:
    """A lock file, held during a ``with`` block.

    Parameters
    ----------
    path : Path
        The file.
    patience : float
        How long to wait for a running holder, in seconds.
    waiting : callable
        Called once if the wait takes longer than two seconds.

    Attributes
    ----------
    fd : int
        Descriptor of the locked file; a process that inherits it also holds the lock.
    held : bool
        Whether the lock is held.
    taken_over : str
        The previous holder, if it exited without releasing the lock; else empty.
    token : str
        Identifies this acquisition of the lock.
    """

    def __init__(self, path: Path, patience: float = 0.0, waiting: Callable[[], object] = lambda: None) -> None:
        self.path = path
        self.fd = -1
        self.taken_over = ""
        self.held = False
        self.token = secrets.token_hex(8)
        self._patience = patience
        self._waiting = waiting
        self._more: dict[str, Any] = {}
        self._released = threading.Event()

    def __enter__(self) -> Self:
        _in_use.add(self)
        try:
            self._acquire()
            self._refuse_others()
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

    def __exit__(self, *_: object) -> None:
        self._release()

    def note(self, **values: Any) -> None:
        """Add values to the file, for other processes to read; OSError if that fails."""
        self._more |= values
        self._write()

    def check(self) -> None:
        """Create the lock file and the folder again if they were removed.

        Raises
        ------
        BatchError
            Another simtiff has locked the folder in the meantime.
        OSError
            The lock file cannot be created now.
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
            os.dup2(fd, self.fd, inheritable=False)  # later workers inherit this number
            os.close(fd)
        if not self.held:
            text = Text(
                "{folder}: the lock {name} was removed while this batch was running, and another simtiff has locked "
                "the folder; stopping",
                folder=self.path.parent,
                name=self.path.name,
            )
            raise BatchError(text)
        self._write()

    def _refuse_others(self) -> None:
        """Raise `BatchError` if the holder of another lock excludes this one."""

    def _acquire(self) -> None:
        begin = time.monotonic()
        deadline = begin + max(self._patience, _PATIENCE_SECONDS)
        said = False
        while True:
            self.fd = os.open(self.path, _FLAGS | os.O_CREAT, 0o666)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                raise BatchError(Text("{path}: is not a regular file; remove it", path=self.path))
            held = not try_lock(self.fd)
            holder = _read(self.fd)
            seconds = None if held else self._seconds_left(holder)
            if not held and seconds is None and self._is_current():
                if (other := self._take()) is None:
                    break
                held, holder = True, other
            # The workers of a killed batch hold the lock for a moment, until they exit.
            if (held or seconds is not None) and (
                time.monotonic() > deadline or (not self._patience and (seconds is not None or _is_alive(holder)))
            ):
                _refuse(self.path, holder, seconds or None)
            os.close(self.fd)
            self.fd = -1
            if not said and time.monotonic() > begin + _SILENT_SECONDS:
                said = True
                self._waiting()
            time.sleep(0.05)
        self.taken_over = _name(holder) if holder else ""

    def _take(self) -> dict[str, Any] | None:
        """Record this process as the holder; return the content of the file if another process won, else None."""
        self.held = True
        self._write()
        if not has_locks(self.fd):
            time.sleep(_SETTLE_SECONDS)  # if two processes acquire it at the same moment, the last writer wins
            other = _read(self.fd) if self._is_current() else {}
            self.held = other.get("token") == self.token
            return None if self.held else other
        return None

    def _seconds_left(self, holder: dict[str, Any]) -> float | None:
        """Return how many seconds a holder without a kernel lock is still valid, 0 for no limit; None if it is not."""
        if not holder:
            return None
        if _is_here(holder):
            # A running holder gets here only on file systems without locks.
            return 0.0 if _is_alive(holder) and holder.get("pid") != os.getpid() else None
        age = self._age()
        return STALE_SECONDS - age if age < STALE_SECONDS else None

    def _write(self) -> None:
        content = {"host": socket.gethostname(), "pid": os.getpid(), "start": _start_of(os.getpid())}
        content["since"] = datetime.now(UTC).isoformat(timespec="seconds")
        content |= {"token": self.token, **self._more}
        os.lseek(self.fd, 0, os.SEEK_SET)
        data = json.dumps(content).encode()
        os.write(self.fd, data)  # overwrite, so that no reader sees an empty file
        os.ftruncate(self.fd, len(data))
        os.fsync(self.fd)

    def _release(self) -> None:
        self._released.set()
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            ours = self.held and self._is_current(fd)
            if os.name == "nt":  # an open file cannot be removed there
                os.close(fd)
            if ours:
                self.path.unlink()
        if os.name != "nt":
            os.close(fd)

    def _age(self) -> float:
        """Return the seconds since the lock was renewed, by the clock of its file system."""
        probe = partial_path(self.path)
        probe.touch()
        try:
            return probe.stat().st_mtime - os.fstat(self.fd).st_mtime
        finally:
            probe.unlink()

    def _is_current(self, fd: int | None = None) -> bool:
        """Return whether the open file is still the lock file (a holder removes it on release)."""
        try:
            there, mine = self.path.stat(), os.fstat(self.fd if fd is None else fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _renew(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _leave_to_parent() -> None:
    """Close the locks in a forked process, such as a worker of a caller's pool, which may outlive the batch."""
    for lock in list(_in_use):
        fd, lock.fd, lock.held = lock.fd, -1, False
        if fd >= 0:
            os.close(fd)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class FolderLock(_Lock):
    """The lock of an output folder, or of one shard in it, held during a ``with`` block.

    A run of the whole batch excludes shards, and shards I/N exclude shards with another N.

    Parameters
    ----------
    folder : Path
        The folder; must exist.
    shard : Shard, optional
        The shard; default: the whole batch.

    Raises
    ------
    BatchError
        Another running process holds it (the message gives host, pid and time), or the folder is not writable.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        super().__init__(folder / lock_name(shard))
        self.shard = shard

    @contextlib.contextmanager
    def door(self, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Let one shard at a time access the shared files; a run of the whole batch does not wait."""
        path = self.path.with_name(DOOR_NAME)
        if self.shard is None:
            path.unlink(missing_ok=True)  # of a shard that was killed, for none is at work now
            yield
            return
        with _Lock(path, _DOOR_SECONDS, waiting):
            yield

    def settled(self, jobs: str) -> list[Shard]:
        """Return the other running shards that have recorded the digest of their jobs, as each does when it begins.

        Parameters
        ----------
        jobs : str
            Digest of all jobs of the config.

        Raises
        ------
        BatchError
            A running shard has other jobs.
        """
        settled = []
        for holder in holders(self.path.parent):
            if holder.shard in {None, self.shard} or "jobs" not in holder.content:
                continue
            if holder.content["jobs"] != jobs:
                text = Text(
                    "{folder}: shard {shard} is running here with another config ({holder}); use the same config and "
                    "simtiff for all shards, or wait for it",
                    folder=self.path.parent,
                    shard=holder.shard,
                    holder=_name(holder.content),
                )
                raise BatchError(text)
            settled.append(holder.shard)
        return [shard for shard in settled if shard is not None]

    def stop_workers(self) -> None:
        """Ask jobs on workers that this process cannot kill to stop at their next event; see `Fence`."""
        with contextlib.suppress(OSError):
            self.note(stop=True)

    def fence(self) -> Fence:
        """Return the fence for the workers of this run."""
        return Fence(str(self.path), self.token)

    def _refuse_others(self) -> None:
        for holder in holders(self.path.parent):
            if holder.shard == self.shard:
                continue
            if self.shard is None or holder.shard is None or holder.shard.count != self.shard.count:
                _refuse(self.path, holder.content, shard=holder.shard)


@dataclass(frozen=True)
class Holder:
    """A running holder of a lock: its shard, None for a run of the whole batch, and the content of its file."""

    shard: Shard | None
    content: dict[str, Any]


def holders(folder: Path) -> list[Holder]:
    """Return the runs that are active in a folder; nothing is changed."""
    shards = (None, *shards_in(folder, ".lock"))
    return [Holder(shard, content) for shard in shards if (content := _living(folder / lock_name(shard))) is not None]


def is_at_work(folder: Path, shard: Shard) -> bool:
    """Return whether a shard is running in a folder; nothing is changed."""
    return _living(folder / lock_name(shard)) is not None


def is_locked(folder: Path) -> bool:
    """Return whether a batch, or a shard of one, is running in a folder; nothing is changed."""
    return bool(holders(folder))


def _living(path: Path) -> dict[str, Any] | None:
    """Return the content of a lock file if its holder is running, else None."""
    try:
        fd = os.open(path, os.O_RDONLY | (_FLAGS & ~os.O_RDWR))
    except FileNotFoundError:
        return None
    except OSError as error:
        return None if error.errno in {errno.ELOOP, errno.ENXIO} else {}  # a link or a socket is not a lock
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        locked = not try_lock(fd)
        holder = _read(fd)
        if locked:
            return holder
        if _is_here(holder):
            alive = not has_locks(fd) and _is_alive(holder)
        else:
            alive = bool(holder) and time.time() - os.fstat(fd).st_mtime < STALE_SECONDS
        return holder if alive else None
    finally:
        os.close(fd)


def _read(fd: int) -> dict[str, Any]:
    os.lseek(fd, 0, os.SEEK_SET)
    return lock_content(os.read(fd, 4096))


def _name(holder: dict[str, Any]) -> str:
    host, pid, since = (holder.get(key, "?") for key in ("host", "pid", "since"))
    return Text("host {host}, pid {pid}, since {since}", host=host, pid=pid, since=since)


def _refuse(
    path: Path, holder: dict[str, Any], seconds: float | None = None, *, shard: Shard | None = None
) -> NoReturn:
    text = Text(
        "{folder}: another simtiff is using this folder ({holder}); wait for it or choose another folder",
        folder=path.parent,
        holder=Text("shard {shard}, {holder}", shard=shard, holder=_name(holder)) if shard else _name(holder),
    )
    if seconds is not None:
        text = Text(
            "{problem}; if that process no longer exists, try again in {seconds:.0f} s", problem=text, seconds=seconds
        )
    raise BatchError(text)


def _is_here(holder: dict[str, Any]) -> bool:
    """Return whether the holder is on this host and its pid can be checked; on Windows it cannot."""
    return os.name == "posix" and holder.get("host") == socket.gethostname()


def _is_alive(holder: dict[str, Any]) -> bool:
    """Return whether the holder is running, or is on another host; the start time excludes a reused pid."""
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
    """Return the start time of a process in clock ticks since boot; None without /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]
