"""Checksums, long file names and errors of written files."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simtiff.io.files import crc32, partial_path, remove_partials, write_whole

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_checksum_in_pieces_is_that_of_zlib(pieces: list[bytes]) -> None:
    value = 0
    for piece in pieces:
        value = crc32(memoryview(piece), value)
    assert value == zlib.crc32(b"".join(pieces))


def test_names_as_long_as_the_file_system_allows_are_written(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127, "a" * 100, "a" * 99):
        write_whole(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"
        assert len(partial_path(tmp_path / name).name.encode()) < 255 - len("..partial") - 12
    with pytest.raises(OSError, match="too long") as caught:
        write_whole(tmp_path / ("a" * 256), b"")
    assert caught.value.filename == str(tmp_path / ("a" * 256))
    left = partial_path(tmp_path / ("a" * 255))
    left.touch()
    assert remove_partials(tmp_path, of="a" * 254) == []
    assert remove_partials(tmp_path, of="a" * 255) == [left]
    assert len(list(tmp_path.iterdir())) == 4


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "none" / "a.bin"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(target, b"")
    assert caught.value.filename == str(target)
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder") as refused:
        write_whole(tmp_path / "folder", b"")
    assert refused.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
