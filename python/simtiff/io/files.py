"""Atomic file writing: hidden partial files, fsync, rename, checksums.

A file is written as ``.NAME.*.partial`` in its final folder, flushed to disk, and renamed. Its writer holds a lock
on it. So a partial file that is not locked was left behind by a process that crashed, and can be removed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import secrets
import stat
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader

try:
    import fcntl
except ImportError:  # Windows has no flock, but open files cannot be removed there, which has the same effect
    fcntl = None  # type: ignore[assignment]

PARTIAL_SUFFIX = ".partial"
JOURNAL_SUFFIX = ".journal"
_LONGEST_IN_HIDDEN = 99  # two tokens and suffixes add up to 44: 143 in all, the limit of eCryptfs (others: 255)
_BLOCK_BYTES = 1 << 22
_waiting_folders: ContextVar[set[Path] | None] = ContextVar("_waiting_folders", default=None)


@dataclass(frozen=True)
class FileInfo:
    """Size in bytes and CRC-32 of a finished file, as stored in the status."""

    size: int
    crc32: int


@functools.cache
def version() -> str:
    """Return the version of simtiff."""
    from importlib import metadata

    try:
        return metadata.version("simtiff")
    except metadata.PackageNotFoundError:  # a source tree that is on the path but not installed
        return "0+unknown"


def software() -> str:
    """Return name and version, as stored in files."""
    return f"simtiff {version()}"


def partial_path(path: Path, token: str | None = None) -> Path:
    """Return the name of the hidden partial file of `path`; unique unless `token` is given."""
    return path.with_name(f"{hidden_prefix(path.name)}{token or secrets.token_hex(6)}{PARTIAL_SUFFIX}")


def hidden_prefix(name: str) -> str:
    """Return the common prefix of the names of a file's partial file and journal.

    A long name is truncated and marked with a hash, so that these names (and that of the journal's own partial file)
    stay within the limits of file systems.
    """
    data = name.encode(errors="surrogateescape")
    if len(data) > _LONGEST_IN_HIDDEN:
        digest = hashlib.sha256(data).hexdigest()[:12]
        name = f"{data[: _LONGEST_IN_HIDDEN - 13].decode(errors='ignore')}-{digest}"
    return f".{name}."


def try_lock(fd: int) -> bool:
    """Take an exclusive lock on an open file without waiting; True also if the file system does not support locks.

    The lock belongs to the open file and is released when the last process that holds it exits, even by a crash.
    """
    return _flock(fd) is not False


def has_locks(fd: int) -> bool:
    """Say whether the file system of an open file has locks; NFS without a lock service, for one, has not."""
    return _flock(fd) is not None


def _flock(fd: int) -> bool | None:
    """Try to take the lock of an open file, and say whether it is held now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power failure."""
    waiting = _waiting_folders.get()
    if waiting is not None:
        waiting.add(folder)
        return
    if os.name == "nt":  # Windows opens no folders; NTFS keeps a journal of its entries
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:  # some network file systems do not support fsync on folders
        pass
    finally:
        os.close(fd)


@contextlib.contextmanager
def folders_synced_once() -> Iterator[None]:
    """Postpone `sync_folder` to the end of the block, where each folder is synced once."""
    waiting: set[Path] = set()
    token = _waiting_folders.set(waiting)
    try:
        yield
    finally:
        _waiting_folders.reset(token)
    for folder in waiting:
        sync_folder(folder)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a partial file for `path`; it is renamed to `path` if the block succeeds, else removed."""
    refuse_special(path)
    partial = partial_path(path)
    try:
        with partial.open("xb") as file:
            try_lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.filename is None or Path(error.filename) == partial):
            error.filename, error.filename2 = str(path), None  # the name that the caller used
        raise
    sync_folder(path.parent)


def refuse_special(path: Path) -> None:
    """Raise `FileExistsError` if a path exists and is not a regular file, for example a folder or a device.

    Links are followed for this check; a link to a file is replaced by the new file.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # does not exist, or is a broken link
        return
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, f"exists and is {_kind(mode)}, not a file; choose another name", str(path))


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def remove_old(path: Path) -> None:
    """Remove a file that will be replaced, if it exists; raises if it is not a regular file."""
    refuse_special(path)
    path.unlink(missing_ok=True)


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise `ConfigError` if an output file is also an input file."""
    read: dict[tuple[int, int], str] = {}
    for name in inputs:
        with contextlib.suppress(OSError):  # missing files and built-in maps cannot be overwritten
            found = Path(name).stat()
            read[found.st_dev, found.st_ino] = str(name)
    for path in outputs if read else ():
        with contextlib.suppress(OSError):
            found = path.stat()
            if (source := read.get((found.st_dev, found.st_ino))) is not None:
                text = Text(
                    "{path}: would be overwritten, but is an input ({source}); choose another output folder",
                    path=path,
                    source=source,
                )
                raise ConfigError(text)


def read_regular(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Return the content of a small file, at most `most_bytes` + 1 bytes; raises `OSError` like `open_regular`."""
    with open_regular(path) as file:
        return file.read(most_bytes + 1)


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading.

    Raises
    ------
    OSError
        The file cannot be read, or is a pipe, a device or similar, which might never end.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return open(fd, "rb")  # noqa: PTH123 - a descriptor, for the caller to close
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    raise OSError(errno.EINVAL, f"is {_kind(mode)}, not a file", str(path))


def target_problem(path: Path) -> str | None:
    """Return why no file can be written at `path`, or None if there is no obvious problem."""
    if path.is_dir():
        return Text("is a folder; give the name of a file in an existing folder")
    if path.exists() and not path.is_file():
        return Text("is a pipe, a device or similar; give the name of a file")
    if not path.parent.is_dir():
        return Text("folder {path} does not exist; give the name of a file in an existing folder", path=path.parent)
    return None


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file atomically: readers see either the old content or the new."""
    with replacing(path) as file:
        file.write(data)


def crc32(data: bytes | memoryview, value: int = 0) -> int:
    """Return the CRC-32 of bytes, continued from `value`; same as `zlib.crc32`, but several times faster."""
    import numpy as np

    from simtiff._core import crc32

    return crc32(np.frombuffer(data, np.uint8), value) if len(data) else value


def checksum(path: Path) -> FileInfo:
    """Return size and CRC-32 of a file."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            crc = crc32(block, crc)
    return FileInfo(size, crc)


def remove_partials(
    folder: Path, *, of: str | None = None, keep: Path | None = None, keep_journaled: bool | str = False
) -> list[Path]:
    """Remove partial files of crashed writers from a folder and return the removed paths.

    Parameters
    ----------
    folder : Path
        A job's folder; may be missing.
    of : str, optional
        Final name of the file whose partial files are removed; default: all files.
    keep : Path, optional
        Partial file to keep, with its journal. Files that a running process is writing are always kept.
    keep_journaled : bool or str
        Keep movies that have a journal and can be resumed (see `simtiff.io.tiff`); a str: only the movie of this name.
    """
    prefix = "." if of is None else hidden_prefix(of)
    removed: list[Path] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.startswith(prefix))
    except (FileNotFoundError, NotADirectoryError):
        return removed
    journaled = {path.with_suffix(PARTIAL_SUFFIX) for path in paths if path.suffix == JOURNAL_SUFFIX}
    for path in paths:
        partial = path.with_suffix(PARTIAL_SUFFIX)
        if path.suffix not in {PARTIAL_SUFFIX, JOURNAL_SUFFIX} or partial == keep:
            continue
        kept = keep_journaled is True or (keep_journaled and path.name.startswith(hidden_prefix(keep_journaled)))
        if kept and partial in journaled and partial in paths:
            continue
        with contextlib.suppress(OSError):
            if _is_abandoned(path):
                path.unlink()
                removed.append(path)
    return removed


def _is_abandoned(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        return try_lock(fd)
    finally:
        os.close(fd)
