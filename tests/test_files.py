"""Checksums of written files."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from simtiff.files import crc32


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_checksum_in_pieces_is_that_of_zlib(pieces: list[bytes]) -> None:
    value = 0
    for piece in pieces:
        value = crc32(memoryview(piece), value)
    assert value == zlib.crc32(b"".join(pieces))
