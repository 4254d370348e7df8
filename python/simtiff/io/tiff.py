"""OME-TIFF movies, written chunk by chunk; they appear under their final name only when complete.

Uncompressed movies have one simple layout (tifffile's for contiguous series): the first page with the
OME-XML, all frames in one contiguous block, then the other pages. Every frame's offset is known in advance, so the
layout is written first and filled directly from the caller's buffers (`FrameRun`). This makes long movies resumable:
a journal beside the partial file records how many frames are safely on disk.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tifffile

from simtiff.errors import ConfigError, ShapeError
from simtiff.io._framerun import FrameRun
from simtiff.io.files import (
    JOURNAL_SUFFIX,
    PARTIAL_SUFFIX,
    FileInfo,
    checksum,
    crc32,
    partial_path,
    refuse_special,
    remove_partials,
    software,
    sync_folder,
    try_lock,
    write_whole,
)
from simtiff.io.omexml import ome_xml

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from simtiff.io.omexml import Acquisition

COMPRESSIONS = ("none", "zlib")
DTYPES = ("uint16", "float32")
JOURNAL_SECONDS = 5.0
"""A movie is flushed to disk and its journal updated this often; movies that take less time have no journal."""

_ZLIB_LEVEL = 1  # camera noise hardly compresses: level 6 takes 8 times as long and saves 1 %
_STRIP_BYTES = 1 << 18
_CLASSIC_LIMIT_BYTES = (1 << 32) - (1 << 20)
_PAGE_BYTES = 320  # upper estimate for a page without description
_UUID_NAMESPACE = uuid.UUID("b0fd2a8b-0a57-5c0e-9e52-3a6ad4f41d1f")

Frames = Iterable["NDArray[Any]"]
HandOver = Callable[[int, "NDArray[Any]", "int | None"], object]
"""Takes the index of the first frame, frames (k, y, x), and the CRC-32 of their bytes if known."""


class Source(Protocol):
    """A source of frames."""

    def stream(self) -> Iterator[NDArray[Any]]:
        """Yield all frames in order, in chunks; a chunk's memory may be reused for the next one."""

    def hand_over(self, to: HandOver, first: int) -> Iterator[int]:
        """Pass all frames from `first` on to a function, in any order and from any thread.

        Yields
        ------
        int
            From time to time, the number of leading frames of the movie that are complete; finally all of them.
        """


def needs_bigtiff(shape: tuple[int, int, int], dtype: DTypeLike) -> bool:
    """Return whether a movie of this shape may exceed 4 GB, the limit of classic TIFF."""
    frames, height, width = shape
    strips = max(1, height * width * np.dtype(dtype).itemsize // (1 << 17))
    pages_bytes = frames * (_PAGE_BYTES + 16 * strips)
    return frames * height * width * np.dtype(dtype).itemsize + pages_bytes > _CLASSIC_LIMIT_BYTES


def write_movie(
    path: Path,
    frames: Frames | Source,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size_um: tuple[float, float],
    compression: str = "none",
    identity: str = "",
    acquisition: Acquisition | None = None,
    bigtiff: bool | None = None,
    resume_key: str | None = None,
    journal_seconds: float | None = None,
    threads: int = 1,
) -> FileInfo:
    """Write a movie as OME-TIFF (axes TYX) and return the size and checksum of the file.

    The bytes depend only on the arguments and simtiff's version: there is no date and no random UUID.

    Parameters
    ----------
    path : Path
        Final name. Until the movie is complete and on disk, only a hidden partial file exists.
    frames : iterable of array, shape (k, Y, X), or Source
        The frames in order, in chunks of any length; or a source that can start at any frame.
    shape : tuple of int
        (T, Y, X) of the whole movie.
    dtype : dtype
        uint16 or float32.
    pixel_size_um : tuple of float
        Pixel size along x and y in micrometres.
    compression : {"none", "zlib"}
    identity : str
        What identifies this movie (its config); the file's UUID is derived from it.
    acquisition : Acquisition, optional
        Acquisition settings for the OME-XML.
    bigtiff : bool, optional
        Default: True if the file may exceed 4 GB.
    resume_key : str, optional
        Everything that determines the frames (a job's hash). If given, keep a journal, and resume an interrupted
        call with the same path, key, layout and simtiff version. Needs a `Source`; compressed movies start over.
    journal_seconds : float, optional
        How often the movie is flushed to disk and its journal updated; default: `JOURNAL_SECONDS`.
    threads : int
        Threads for compression.

    Raises
    ------
    ShapeError
        Wrong shape, dtype or number of frames.
    ConfigError
        Unknown compression or dtype.
    OSError
        The disk is full, the folder is not writable, etc.; the partial file is removed.
    """
    dtype = np.dtype(dtype)
    if compression not in COMPRESSIONS:
        allowed = ", ".join(COMPRESSIONS)
        raise ConfigError(f"compression: got {compression!r}, allowed are {allowed}")
    if dtype.name not in DTYPES:
        raise ConfigError(f"dtype: got {dtype.name!r}, allowed are {', '.join(DTYPES)}")
    if len(shape) != 3 or min(shape) < 1:
        raise ShapeError(f"a movie needs a shape (T, Y, X) of positive numbers, got {shape}")
    if bigtiff is None:
        bigtiff = needs_bigtiff(shape, dtype)
    file_uuid = str(uuid.uuid5(_UUID_NAMESPACE, identity))
    layout = _Layout(shape, dtype, pixel_size_um, ome_xml(shape, dtype, pixel_size_um, file_uuid, acquisition), bigtiff)
    token = None
    again = hasattr(frames, "hand_over")
    source: Source = frames if again else _Chunks(frames)  # type: ignore[assignment, arg-type]
    if resume_key is not None and compression == "none" and again:
        token = uuid.uuid5(_UUID_NAMESPACE, f"{resume_key} {identity} {layout.key}").hex[:12]
    partial = _Partial(path, token, JOURNAL_SECONDS if journal_seconds is None else journal_seconds)
    try:
        remove_partials(path.parent, of=path.name, keep=partial.path)
        if compression == "none":
            info = _write_plain(partial, layout, source, resume=token is not None)
        else:
            info = _write_compressed(partial, layout, source.stream(), threads)
        partial.finish()
    except BaseException as error:
        partial.discard()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # errors of writes to an open file carry no name
        raise
    return info


class _Layout:
    """What tifffile writes around the frames, for both compressed and uncompressed movies."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        pixel_size_um: tuple[float, float],
        description: bytes,
        bigtiff: bool,
    ) -> None:
        size_x, size_y = (float(f"{size:.12g}") for size in pixel_size_um)
        self.shape = shape
        self.dtype = dtype
        self.bigtiff = bigtiff
        self.arguments: dict[str, Any] = {
            "shape": shape,
            "dtype": dtype,
            "photometric": "minisblack",
            "software": software(),
            "resolution": (1e4 / size_x, 1e4 / size_y),
            "resolutionunit": "CENTIMETER",
            "description": description,
            "metadata": None,  # the description has it all
        }
        # A partial movie with another header is not resumed.
        self.key = f"{dtype.str} {bigtiff} {software()} {description.decode()}"

    def check(self, first: int, frames: NDArray[Any]) -> None:
        """Raise `ShapeError` unless these frames fit the movie from frame `first` on."""
        total, height, width = self.shape
        if frames.ndim != 3 or frames.shape[1:] != (height, width) or frames.dtype != self.dtype:
            raise ShapeError(
                f"frames must be {self.dtype.name} of shape (k, {height}, {width}), "
                f"got {frames.dtype.name} of shape {frames.shape}"
            )
        if not 0 <= first <= total - len(frames):
            raise ShapeError(f"the movie has {total} frames, got more")

    def check_done(self, done: int) -> None:
        """Raise `ShapeError` unless `done` is the number of frames of the movie."""
        if done != self.shape[0]:
            raise ShapeError(f"the movie has {self.shape[0]} frames, got {done}")

    def checked(self, chunks: Frames) -> Iterator[NDArray[Any]]:
        """Yield the chunks, checking each; raise if they are not exactly the frames of the movie."""
        done = 0
        for chunk in chunks:
            self.check(done, chunk)
            done += len(chunk)
            yield np.ascontiguousarray(chunk)
        self.check_done(done)


class _Chunks:
    """An iterable of chunks as a `Source` of all frames."""

    def __init__(self, chunks: Frames) -> None:
        self._chunks = chunks

    def stream(self) -> Iterator[NDArray[Any]]:
        yield from self._chunks

    def hand_over(self, to: HandOver, first: int) -> Iterator[int]:
        for chunk in self._chunks:
            to(first, chunk, None)
            first += len(chunk)
            yield first


class _Partial:
    """The hidden partial file of a movie, open and locked, with its journal."""

    def __init__(self, path: Path, token: str | None, journal_seconds: float) -> None:
        refuse_special(path)
        self.final = path
        self._open(token)
        if not try_lock(self.fd):  # a worker that was given up, perhaps on a machine out of reach, still writes there
            os.close(self.fd)
            self._open(None)
            try_lock(self.fd)
        self.journal = self.path.with_name(self.path.name.removesuffix(PARTIAL_SUFFIX) + JOURNAL_SUFFIX)
        self._journal_seconds = journal_seconds
        self._journal_due = time.monotonic() + journal_seconds

    def _open(self, token: str | None) -> None:
        self.path = partial_path(self.final, token)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self.fd = os.open(self.path, flags, 0o666)

    def resume(self) -> tuple[int, int, int] | None:
        """Return frames done, CRC-32 so far and offset of the frames of an interrupted write; None if in doubt."""
        try:
            state = json.loads(self.journal.read_bytes())
            done, crc, offset, size = (state[key] for key in ("frames", "crc32", "offset", "size"))
            sure = all(type(value) is int and value >= 0 for value in (done, crc, offset, size))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (done, crc, offset) if sure and os.fstat(self.fd).st_size == size else None

    def note(self, frames: int, crc: int, offset: int) -> None:
        """Flush the file to disk, then update the journal; at most every few seconds."""
        if time.monotonic() < self._journal_due:
            return
        os.fsync(self.fd)
        state = {"frames": frames, "crc32": crc, "offset": offset, "size": os.fstat(self.fd).st_size}
        write_whole(self.journal, json.dumps(state).encode())
        self._journal_due = time.monotonic() + self._journal_seconds

    def finish(self) -> None:
        os.fsync(self.fd)
        if os.name == "nt":  # Windows renames no open files
            self._close()
        self.path.replace(self.final)
        self._close()  # hold the lock until the file has its final name
        self.journal.unlink(missing_ok=True)
        sync_folder(self.final.parent)

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._close()
        for path in (self.journal, self.path):
            with contextlib.suppress(OSError):
                path.unlink()


def _write_plain(partial: _Partial, layout: _Layout, source: Source, *, resume: bool) -> FileInfo:
    state = partial.resume() if resume else None
    if state is None:
        partial.journal.unlink(missing_ok=True)
        with tifffile.TiffWriter(partial.path, bigtiff=layout.bigtiff, ome=False) as tiff:
            place = tiff.write(None, returnoffset=True, **layout.arguments)
        if place is None:
            raise AssertionError("tifffile did not lay the frames out in one run")
        done, offset = 0, place[0]
        crc = crc32(_read(partial.fd, 0, offset))
    else:
        done, crc, offset = state
    _, height, width = layout.shape
    frame_bytes = height * width * layout.dtype.itemsize
    with FrameRun(partial.fd, offset, frame_bytes, done, crc, layout.check) as run:
        for stop in source.hand_over(run.write, done):
            run.advance(stop)
            if resume:
                partial.note(run.done, run.crc, offset)
        layout.check_done(run.done)
    tail = offset + run.done * frame_bytes
    size = os.fstat(partial.fd).st_size
    return FileInfo(size, crc32(_read(partial.fd, tail, size - tail), run.crc))


def _write_compressed(partial: _Partial, layout: _Layout, frames: Frames, threads: int) -> FileInfo:
    _, height, width = layout.shape
    rows = max(1, min(height, _STRIP_BYTES // (width * layout.dtype.itemsize)))
    arguments = layout.arguments | {"compression": "zlib", "rowsperstrip": rows}
    with (
        ThreadPoolExecutor(threads) as pool,
        tifffile.TiffWriter(partial.path, bigtiff=layout.bigtiff, ome=False) as tiff,
    ):
        chunks = layout.checked(frames)
        tiff.write(_strips(chunks, rows, pool), **arguments)
        for _ in chunks:  # tifffile stops at the last strip it needs; extra frames are still an error
            pass
    return checksum(partial.path)


def _strips(chunks: Iterable[NDArray[Any]], rows: int, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    # Compress all strips of a chunk before requesting the next chunk, which reuses the buffer.
    for chunk in chunks:
        strips = [frame[row : row + rows] for frame in chunk for row in range(0, len(frame), rows)]
        yield from pool.map(lambda strip: zlib.compress(strip, _ZLIB_LEVEL), strips)


def _read(fd: int, offset: int, size: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    blocks = []
    while size > 0 and (block := os.read(fd, size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


@contextlib.contextmanager
def tifffile_silenced() -> Iterator[None]:
    """Silence tifffile's log in the block; the exception has the message already."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
