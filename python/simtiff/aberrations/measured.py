"""Measured maps: one shared object per file and process, which reads the file only once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.aberrations._scattered import read_magnitude
from simtiff.aberrations.grid import KEPT_BYTES, GridMap, Window
from simtiff.aberrations.mapfile import read_header, read_planes
from simtiff.errors import DataError
from simtiff.io.hdf5 import open_hdf5
from simtiff.io.locks import ProcessLock
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

_HASH_BLOCK = 1 << 20


class MeasuredMap(GridMap):
    """A map from an HDF5 file; see `measured_map` for the shared object.

    Parameters
    ----------
    path
        The file.
    kept_bytes
        A larger map is never cached as a whole.

    Raises
    ------
    DataError
        The file is missing or not an aberration map; later, its planes are damaged or it has changed.
    """

    _digest: str | None = None

    def __init__(self, path: str, kept_bytes: int = KEPT_BYTES) -> None:
        self.identity = _identity(path)
        with open_hdf5(path) as file:
            header = read_header(path, file)
            points = read_magnitude(file, header)
        super().__init__(header, points, kept_bytes)

    def read(self, window: Window) -> Iterator[NDArray[np.float32]]:
        """Yield planes of the file; see `GridMap.read`."""
        self._refuse_change()
        with open_hdf5(self.header.path) as file:
            yield from read_planes(file, self.header, *window.slices)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.header.path, self.identity)

    @property
    def digest(self) -> str:
        """SHA-256 of the file's content as hex digits; `DataError` if it cannot be read."""
        if self._digest is None:
            self._digest = self._hash()
        return self._digest

    def _hash(self) -> str:
        self._refuse_change()
        digest = hashlib.sha256()
        try:
            with Path(self.header.path).open("rb") as file:
                while block := file.read(_HASH_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{self.header.path}: cannot be read ({error.strerror})") from error
        return digest.hexdigest()

    def _refuse_change(self) -> None:
        if _identity(self.header.path) != self.identity:
            raise DataError(f"{self.header.path}: has changed since it was opened; open it again")


_maps: dict[str, MeasuredMap] = {}  # ordered by last use, most recent last
_maps_lock = ProcessLock()


def measured_map(path: str) -> MeasuredMap:
    """Return this process's object for a map's file; a new one if the file has changed.

    Only one map is cached at a time, since large ones take 100 MB and more: requesting another map frees it.
    """
    identity = _identity(path)
    with _maps_lock:
        last, found = next(reversed(_maps.values()), None), _maps.pop(path, None)
        if last is not None and last is not found:
            last.release()
        if found is None or found.identity != identity:
            del last
            found = None  # free its memory before reading the new one
            found = MeasuredMap(path)
        _maps[path] = found
        return found


def _opened_again(path: str, identity: tuple[str, int, int]) -> MeasuredMap:
    """Return this process's object for a file, for unpickling."""
    found = measured_map(path if str(Path(path).absolute()) == identity[0] else identity[0])
    if found.identity != identity:
        raise DataError(f"{path}: has changed since it was opened; open it again")
    return found


def _identity(path: str) -> tuple[str, int, int]:
    """Return path, modification time and size, to detect changes of a file without reading it."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - a str may hold what Path refuses
    except (OSError, ValueError) as error:
        text = Text("{path}: file not found or not readable ({reason})", path=path, reason=error)
        raise DataError(text) from error
    return str(Path(path).absolute()), stat.st_mtime_ns, stat.st_size
