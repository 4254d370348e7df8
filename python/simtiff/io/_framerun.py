"""The frames of an uncompressed movie: one contiguous block of an open file, with every frame's offset known."""

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
    """Writes frames at their offsets, from any thread and in any order, inside a ``with`` block.

    Threads do not wait for each other: if another thread is writing, it writes these frames as well. When all calls
    have returned, all frames have been written.

    Parameters
    ----------
    fd : int
        The open file.
    offset : int
        Offset of the first frame in the file.
    frame_bytes : int
        Bytes per frame.
    done : int
        Number of frames already written.
    crc : int
        CRC-32 of the file up to the end of these frames.
    check : callable
        Called with index and frames before they are written; raises if they do not fit the movie.

    Attributes
    ----------
    done, crc : int
        Current values, as of the last call of `advance`.
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
        # After an error, a thread that is still rendering must not write to a file that reuses this descriptor.
        with self._writing:
            self._fd = -1

    def write(self, first: int, frames: NDArray[Any], crc: int | None = None) -> None:
        """Write frames (k, y, x), from frame `first` of the movie on; `crc` is the CRC-32 of their bytes.

        Raises
        ------
        ShapeError
            The frames do not fit the movie.
        OSError
            The disk is full, or the ``with`` block has ended.
        """
        self._check(first, frames)
        frames = np.ascontiguousarray(frames)
        self._waiting.append((first, frames))
        # Check again after releasing the lock: another thread may have queued frames in the meantime.
        while self._waiting and self._writing.acquire(blocking=False):
            try:
                self._write_waiting()
            finally:
                self._writing.release()
        self._sums[first] = (len(frames), crc32(frames.data.cast("B")) if crc is None else crc)

    def advance(self, done: int) -> None:
        """Add the frames up to `done` to the count and the CRC; `ShapeError` if one of them was not written."""
        while self.done < done:
            if self.done not in self._sums:
                raise ShapeError(f"frame {self.done} of the movie is missing")
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
    """Ask the system to start writing this part of a file to disk now, while frames are rendered."""
    if hasattr(os, "posix_fadvise"):
        # Linux starts writeback of dirty pages. It would drop clean pages from the cache, but there are none here.
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)
