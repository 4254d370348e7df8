"""The frames of an uncompressed movie: one run of bytes in an open file, every frame's place known from the start."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from simtiff._core import crc32_joined
from simtiff.errors import ShapeError
from simtiff.io.files import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class FrameRun:
    """Writes frames to their places as they come, from any thread and in any order, until the end of a ``with`` block.

    Threads do not wait for each other: one that finds another at writing leaves its frames to that one. What was
    handed over has been written when all calls are back.

    Parameters
    ----------
    fd : int
        The open file.
    offset : int
        Where its frames begin.
    frame_bytes : int
        Size of a frame.
    done : int
        Frames that are there already.
    crc : int
        CRC-32 of the file up to their end.
    check : callable
        Called with index and frames before they are written; raises if these are none of the movie's.

    Attributes
    ----------
    done, crc : int
        The same now, as of the last call of `advance`.
    """

    def __init__(
        self,
        fd: int,
        offset: int,
        frame_bytes: int,
        done: int,
        crc: int,
        check: Callable[[int, NDArray[Any]], object],
    ) -> None:
        self.done = done
        self.crc = crc
        self._fd = fd
        self._offset = offset
        self._frame_bytes = frame_bytes
        self._check = check
        self._waiting: deque[tuple[int, NDArray[Any]]] = deque()
        self._writing = threading.Lock()
        self._sums: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that still renders after an error must not write to what this number stands for later.
        with self._writing:
            self._fd = -1

    def write(self, first: int, frames: NDArray[Any], crc: int | None = None) -> None:
        """Write frames (k, y, x), the first of which is frame `first` of the movie; `crc` is that of their bytes.

        Raises
        ------
        ShapeError
            They are none of the movie's.
        OSError
            The disk is full, or the ``with`` block has ended.
        """
        self._check(first, frames)
        frames = np.ascontiguousarray(frames)
        self._waiting.append((first, frames))
        # Asked again after the lock is free: another thread may have left frames in between.
        while self._waiting and self._writing.acquire(blocking=False):
            try:
                self._write_waiting()
            finally:
                self._writing.release()
        self._sums[first] = (len(frames), crc32(frames.data.cast("B")) if crc is None else crc)

    def advance(self, done: int) -> None:
        """Count the frames up to `done`, all of which have been handed over, or `ShapeError` says which was not."""
        while self.done < done:
            if self.done not in self._sums:
                raise ShapeError(f"frame {self.done} of the movie was not handed over")
            count, crc = self._sums.pop(self.done)
            self.crc = crc32_joined(self.crc, crc, count * self._frame_bytes)
            self.done += count

    def _write_waiting(self) -> None:
        while self._waiting:
            first, frames = self._waiting.popleft()
            place = self._offset + first * self._frame_bytes
            data = frames.data.cast("B")
            _write(self._fd, data, place)
            _start_writeback(self._fd, place, len(data))


def _write(fd: int, data: memoryview, offset: int) -> None:
    if not hasattr(os, "pwrite"):  # on Windows; one thread writes at a time
        os.lseek(fd, offset, os.SEEK_SET)
    while data:
        count = os.pwrite(fd, data, offset) if hasattr(os, "pwrite") else os.write(fd, data)
        data, offset = data[count:], offset + count


def _start_writeback(fd: int, offset: int, size: int) -> None:
    """Ask the system to write this part of a file to the disk now, while frames are rendered, and not at the end."""
    if hasattr(os, "posix_fadvise"):
        # Linux begins to write what is new; it would drop what is on the disk already, but nothing here is.
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)
