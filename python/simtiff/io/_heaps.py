"""Global heaps of HDF5 files, checked before HDF5 sees them: in a damaged one it can go round for ever.

Texts of variable length, h5py's default for attributes, lie in such heaps, and so does what a virtual dataset is made
of. A heap is a block that begins with ``GCOL``, one after the other filled with objects whose lengths lead from each to
the next (HDF5 File Format Specification, III.E). HDF5 follows these lengths without a look at where they lead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from simtiff.errors import DataError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

_SUPERBLOCK = b"\x89HDF\r\n\x1a\n"
_SIGNATURE = b"GCOL\x01"
_HEADER_BYTES = 16  # of a heap and of an object, for lengths of 2, 4 and 8 bytes
_SMALLEST_BYTES = 4096
_MOST_OBJECTS = 1 << 16
_BLOCK_BYTES = 1 << 18

_sound: set[tuple[str, int, int]] = set()


def check_heaps(path: Path) -> None:
    """Look for all global heaps of a file and raise `DataError` if one cannot be what HDF5 has written.

    The file is read once from end to end; what was good is not read again while it does not change.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        key = (str(path.absolute()), found.st_mtime_ns, found.st_size)
        if key in _sound:
            return
        length_bytes = _length_bytes(file, found.st_size)
        # Heaps do not overlap, so all their objects together cannot be more than fit into the file.
        left = found.st_size // _HEADER_BYTES + 1
        for place in _places(file):
            left -= _objects(file, place, found.st_size, length_bytes, left)
            if left < 0:
                raise DataError(f"{path}: the file is damaged (its global heap at byte {place})")
    _sound.add(key)


def _length_bytes(file: BufferedReader, file_bytes: int) -> int:
    """Return how many bytes a length has in this file, as its superblock says; 8, if it has none."""
    base = 0
    while base < file_bytes:
        file.seek(base)
        head = file.read(16)
        if head.startswith(_SUPERBLOCK) and len(head) == 16:
            return head[14] if head[8] < 2 else head[10]
        base = 2 * base or 512
    return 8


def _places(file: BufferedReader) -> list[int]:
    places = []
    file.seek(0)
    # One block of memory that stays in a core's cache: new memory for each would take longer than all else.
    block = bytearray(_BLOCK_BYTES)
    start, kept = 0, 0
    while count := file.readinto(memoryview(block)[kept:]):
        end = kept + count
        at = block.find(_SIGNATURE, 0, end)
        while at >= 0:
            places.append(start + at)
            at = block.find(_SIGNATURE, at + 1, end)
        kept = min(end, len(_SIGNATURE) - 1)
        start += end - kept
        block[:kept] = block[end - kept : end]
    return places


def _objects(file: BufferedReader, place: int, file_bytes: int, length_bytes: int, most: int) -> int:
    """Return the number of objects of the heap at `place`, more than `most` if it is none that can be read."""
    wrong = most + 1
    file.seek(place + 8)
    size = int.from_bytes(file.read(length_bytes), "little")
    if not _SMALLEST_BYTES <= size <= file_bytes - place:
        return 0  # no heap, or one that HDF5 itself refuses
    if length_bytes not in {2, 4, 8}:
        return wrong
    at, end, count = place + _HEADER_BYTES, place + size, 0
    while end - at >= _HEADER_BYTES:
        file.seek(at)
        header = file.read(8 + length_bytes)
        length = int.from_bytes(header[8:], "little")
        is_free = header[:2] == b"\0\0"
        need = length if is_free else _HEADER_BYTES + (length + 7) // 8 * 8
        count += 1
        if need < _HEADER_BYTES or need > end - at or count > min(most, _MOST_OBJECTS):
            return wrong
        at += need
    return count
