"""Global heaps of HDF5 files: sound ones are read, damaged ones are refused instead of hanging the process."""

from __future__ import annotations

import os
import random
import struct
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from fuzzing import CASES, bounded, memory_limited
from simtiff.aberrations.info import map_info
from simtiff.aberrations.maps import check_map
from simtiff.errors import DataError
from simtiff.io import _heaps as heap
from simtiff.io._heaps import check_heaps
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Return a map with attributes as h5py writes them by default: texts of variable length."""
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.ones((4, 9, 9))
        file["z_maps/phase"].attrs.update(unit="milliwaves", index="Noll")
        file["z_maps"].attrs.update(comment="x" * 20_000, operator="Zoë")
        file["z_maps"].attrs["notes"] = ["one", "two", "three"]
        del file["z_maps"].attrs["notes"]
        file.attrs["wavelength"] = "660"
    return path


def heaps(data: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(b"GCOL", at)]


def outcome(path: Path, data: bytes, turn: int = 0, kind: str = "map") -> str:
    path.write_bytes(data)
    os.utime(path, ns=(turn, turn))
    try:
        with bounded(), memory_limited():
            if kind == "map":
                check_map(path)
            else:
                TruthFile(path).close()
    except DataError:
        return "refused"
    return "read"


def test_heaps_are_found_wherever_a_file_is_cut_into_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_BLOCK_BYTES", 16)
    chance = random.Random(3)
    for length in range(70):
        data = b"".join(chance.choices([b"GCOL\x01", b"GCO", b"G", b"\x01"], [4, 1, 1, 1], k=length))
        (tmp_path / "file").write_bytes(data)
        with (tmp_path / "file").open("rb") as file:
            assert heap._places(file) == [at for at in range(len(data)) if data.startswith(b"GCOL\x01", at)]


def test_texts_of_variable_length_are_read(texts: Path) -> None:
    info = map_info(texts)
    assert (info.unit, info.wavelength_nm) == ("milliwaves", 660.0)
    assert heaps(texts.read_bytes())


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("lengths", [4, 8])
def test_other_layouts_are_read(tmp_path: Path, userblock: int, lengths: int) -> None:
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(8, lengths)
    plist.set_userblock(userblock)
    path = tmp_path / "map.h5"
    with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fcpl=plist)) as file:
        file["z_maps/phase"] = np.ones((4, 9, 9))
        file["z_maps/phase"].attrs.update(unit="milliwaves")
    assert map_info(path).unit == "milliwaves"
    data = path.read_bytes()
    (place,) = heaps(data)
    assert outcome(path, data[: place + 16] + bytes(16) + data[place + 32 :]) == "refused"


@pytest.mark.parametrize(
    "header",
    [
        (0, 0),  # free space without length
        (0, 8),  # shorter than its own header
        (1, 2**64 - 16),  # back to the heap's begin
        (1, 2**64 - 32),
        (0, 2**64 - 16),
        (1, 5000),  # beyond the heap
        (0, 2**40),
    ],
)
def test_objects_that_lead_astray_are_refused(texts: Path, header: tuple[int, int]) -> None:
    index, length = header
    data = texts.read_bytes()
    for place in heaps(data):
        bad = bytearray(data)
        bad[place + 16 : place + 32] = struct.pack("<HH4xQ", index, 1, length)
        texts.write_bytes(bad)
        with pytest.raises(DataError, match=f"the file is damaged .its global heap at byte {place}") as caught:
            check_map(texts)
        assert str(texts) in str(caught.value)


def test_a_virtual_dataset_with_a_damaged_heap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((1, 4, 4), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "phase", (1, 4, 4))
        file.create_virtual_dataset("z_maps/phase", layout)
    data = path.read_bytes()
    (place,) = heaps(data)
    assert outcome(path, data[: place + 16] + bytes(16) + data[place + 32 :]) == "refused"


def test_many_heaps_in_each_other_are_refused_soon(texts: Path) -> None:
    heap = b"GCOL\x01\0\0\0" + struct.pack("<Q", 1 << 20)
    texts.write_bytes(texts.read_bytes() + heap * (1 << 17))
    with pytest.raises(DataError, match="damaged"), bounded():
        check_heaps(texts)


def test_a_signature_among_pixels_is_no_heap(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.ones((4, 9, 9))
        file["pixels"] = np.frombuffer(b"GCOL\x01abcdefghijk" * 100, "u1")
    check_map(path)


@pytest.mark.parametrize("kind", ["map", "truth"])
def test_mutated_heaps_never_hang(texts: Path, tmp_path: Path, kind: str) -> None:
    """The audit's way to files that hung: wild bytes in and around the heaps."""
    if kind == "truth":
        with h5py.File(texts, "w") as file:
            file.attrs["config"] = '{"zmap_path": "builtin:oil", "emitters": {"frames": 2}}'
            file["records/phot"], file["records/frame_ix"] = np.ones(3), np.arange(3) // 2
            file["records/xyz"], file["zernike_coeffs/phase"] = np.ones((3, 3)), np.ones((3, 4))
        TruthFile(texts).close()
    whole = texts.read_bytes()
    chance, path = random.Random(5), tmp_path / "mutated.h5"
    outcomes = []
    for turn in range(3 * CASES):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 4])):
            place = chance.choice(heaps(whole)) + chance.randrange(200)
            if chance.random() < 0.2:
                place = chance.randrange(2048)
            if chance.random() < 0.5:
                data[place] = chance.choice([0, 1, 255, chance.randrange(256)])
            else:
                wild = chance.choice([0, 1, 8, 16, 2**31, 2**63, 2**64 - 1])
                data[place : place + 8] = wild.to_bytes(8, "little")
        outcomes.append(outcome(path, bytes(data), turn, kind))
    assert {"read", "refused"} == set(outcomes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["nm", "rad"], "holds 2 values; allowed: one text or number"),
        (np.zeros(3), "holds 3 values"),
        (h5py.Empty("f4"), "holds 0 values"),
        (np.zeros((), [("a", "f4")]), "allowed: one text or number"),
    ],
)
def test_attributes_that_are_no_text_or_number_are_refused(texts: Path, value: Any, message: str) -> None:
    with h5py.File(texts, "r+") as file:
        file["z_maps/phase"].attrs["unit"] = value
    with pytest.raises(DataError, match=rf"map\.h5: attribute unit of /z_maps/phase: .*{message}"):
        check_map(texts)
