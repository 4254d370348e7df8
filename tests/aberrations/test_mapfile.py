"""Compressed planes: the core decompresses the same values as HDF5."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simtiff import _core
from simtiff.aberrations.mapfile import read_header, read_planes, read_tiles
from simtiff.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

PHASE = np.random.default_rng(3).normal(size=(2, 70, 45)).astype(np.float32)
GZIP: dict[str, Any] = {"chunks": (1, 32, 16), "compression": "gzip"}


def write(path: Path, **layout: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("z_maps/phase", PHASE.shape, layout.pop("dtype", "<f4"), **layout)
        file["z_maps/phase"][:, :64] = PHASE[:, :64]  # the last row of tiles comes later, or never
    return path


@pytest.mark.parametrize("shuffle", [False, True])
def test_tiles_are_what_hdf5_reads(tmp_path: Path, shuffle: bool) -> None:
    path = write(tmp_path / "map.h5", **GZIP, shuffle=shuffle)
    with h5py.File(path, "a") as file:
        assert read_tiles(file["z_maps/phase"], 0) is None  # tiles are missing
        file["z_maps/phase"][...] = PHASE
    with h5py.File(path) as file:
        for index, plane in enumerate(PHASE):
            np.testing.assert_array_equal(read_tiles(file["z_maps/phase"], index), plane)


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"chunks": (1, 32, 16)},
        GZIP | {"chunks": (2, 32, 16)},
        GZIP | {"dtype": "<f8"},
        GZIP | {"dtype": ">f4"},
        GZIP | {"fletcher32": True},
        {"chunks": (1, 32, 16), "compression": "lzf"},
    ],
)
def test_other_layouts_are_left_to_hdf5(tmp_path: Path, layout: dict[str, Any]) -> None:
    path = write(tmp_path / "map.h5", **layout)
    with h5py.File(path) as file:
        assert read_tiles(file["z_maps/phase"], 1) is None
        planes = list(read_planes(file, read_header(path, file)))
        np.testing.assert_array_equal(planes, file["z_maps/phase"][...].astype(np.float32))


def test_damaged_tiles_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "map.h5", **GZIP)
    with h5py.File(path) as file:
        info = file["z_maps/phase"].id.get_chunk_info_by_coord((1, 32, 16))
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset + info.size // 2)
        raw.write(b"\xff" * 20)
    with h5py.File(path) as file, pytest.raises(DataError, match=r"map.h5: z_maps/phase \(mode 2\): cannot be read"):
        list(read_planes(file, read_header(path, file)))


@given(
    st.lists(st.binary(max_size=40) | st.binary(min_size=24, max_size=24).map(zlib.compress), max_size=5),
    st.tuples(*[st.integers(0, 4) | st.just(2**62)] * 2),
    st.booleans(),
    st.tuples(*[st.integers(0, 5) | st.just(2**62)] * 2),
    st.integers(0, 30),
)
def test_anything_is_inflated_or_refused(
    tiles: list[bytes], tile: tuple[int, int], shuffled: bool, shape: tuple[int, int], size: int
) -> None:
    out = np.full(size, np.nan, np.float32)
    try:
        _core.inflate_tiles(tiles, tile, shuffled, shape, out)
    except ValueError:
        return
    assert shape[0] * shape[1] == size
    if size:
        height, width = tile
        unzipped = [zlib.decompress(data) for data in tiles]
        dtype = np.uint8 if shuffled else np.dtype("<f4")
        grid = iter(np.frombuffer(data, dtype) for data in unzipped)
        expected = np.empty((shape[0] + height, shape[1] + width), np.float32)
        for y in range(0, shape[0], height):
            for x in range(0, shape[1], width):
                values = next(grid)
                values = values.reshape(4, -1).T.copy().view("<f4") if shuffled else values
                expected[y : y + height, x : x + width] = values.reshape(height, width)
        assert out.tobytes() == expected[: shape[0], : shape[1]].tobytes()
