"""Lists of molecules and records: read, checked, sorted, handed out."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from simtiff import localizations
from simtiff.config.settings import JobConfig
from simtiff.emitters import lists
from simtiff.emitters.density import all_emitters, emitters_on, expected_records, with_number
from simtiff.emitters.given import given_table, open_given, unused_keys, with_frames
from simtiff.emitters.sources import Piece, iter_truth
from simtiff.emitters.tables import Blinks, Emitters, Records
from simtiff.errors import DataError
from simtiff.localizations.table import Localizations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINETICS = {"kind": "kinetics", "states": {"on": {"dark": 0.3, "bleached": 0.05}, "dark": {"on": 0.1}}}
PAINT = {"kind": "paint", "on_frames": 2, "off_frames": 10}
KINDS: dict[str, dict[str, Any]] = {
    "once": {"kind": "once"},
    "kinetics": KINETICS,
    "paint": PAINT,
    "always": {"kind": "always"},
}


def job(**emitters: Any) -> JobConfig:
    optical = {"pixel_size_nm": [100, 120]}
    return JobConfig(zmap_path="builtin:oil", emitters={"area_px": 64, **emitters}, optical=optical)


def rows(count: int = 2000, frames: int = 40, **columns: Any) -> dict[str, Any]:
    """Return unsorted records with each id at most once per frame."""
    rng = np.random.default_rng(3)
    return {
        "frame": rng.integers(0, frames, count),
        "x_px": rng.uniform(0, 63, count),
        "y_px": rng.uniform(0, 63, count),
        "z_um": rng.uniform(-0.5, 0.5, count),
        "photons": rng.uniform(1, 2000, count),
        "id": rng.permutation(count),
    } | columns


def molecules(count: int = 500) -> dict[str, Any]:
    return {name: column for name, column in rows(count).items() if name in {"x_px", "y_px", "z_um", "photons"}}


def written(folder: Path, text: str, name: str = "list.csv") -> JobConfig:
    (folder / name).write_text(text)
    return job(positions_path=str(folder / name))


def records_of(table: Any) -> Records:
    records = given_table(table, job()).records
    assert records is not None
    return records


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__slots__)


def test_records_come_by_frame_then_id_and_as_they_are() -> None:
    table = rows()
    found = records_of(table)
    order = np.lexsort((table["id"], table["frame"]))
    assert np.array_equal(found.frame_ix, table["frame"][order])
    assert np.array_equal(found.id, table["id"][order])
    assert np.array_equal(found.phot, table["photons"][order].astype(np.float32))
    expected = np.stack([table[name][order] for name in ("x_px", "y_px", "z_um")], axis=1)
    assert np.array_equal(found.xyz, expected.astype(np.float32))


def test_neither_memory_nor_blocks_change_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A list in temporary files, sorted in small blocks; and one that is already sorted."""
    table, path = rows(), tmp_path / "list.csv"
    expected = records_of(table)
    localizations.write(table, path, "csv")
    monkeypatch.setattr(lists, "KEPT_ROWS", 100)
    monkeypatch.setattr(lists, "BLOCK_ROWS", 64)
    for given in (given_table(table, job()), open_given(job(positions_path=str(path)))):
        assert given is not None
        assert isinstance(given.records.xyz, np.memmap)
        assert same(given.records, expected)
    order = np.lexsort((table["id"], table["frame"]))
    assert same(records_of({name: column[order] for name, column in table.items()}), expected)


def test_rows_without_ids_light_or_height() -> None:
    table = rows(10, frames=1, photons=np.arange(10.0))
    del table["id"], table["z_um"]
    found = records_of(table)
    assert found.id.tolist() == list(range(1, 10))  # the row number; no record without photons
    assert not found.xyz[:, 2].any()


BAD = {
    "NaN": ("frame,x_px,y_px,photons\n0,1,2,3\n0,1,nan,3\n", "line 3, column y_px: is NaN"),
    "frames below 0": ("frame,x_px,y_px,photons\n-1,1,2,3\n", "line 2, column frame: is before the first frame"),
    "too many photons": ("frame,x_px,y_px,photons\n0,1,2,3\n0,1,2,1e10\n", r"row 1 .*column photons: 1e\+?10.* 1e\+09"),
    "too few photons": ("x_px,y_px,photons\n1,2,-3\n", "row 0 .*column photons: -3; allowed: 0 to"),
    "an id twice": ("frame,x_px,y_px,photons,id\n2,1,2,3,7\n1,1,2,3,7\n2,1,2,3,7\n", "row 2 .*column id: 7; .*frame 2"),
    "nanometres as px": ("x_px,y_px\n1e8,2\n", "row 0 .*column x_px"),
    "nanometres as um": ("x_px,y_px,z_um\n1,2,1500\n", "row 0 .*column z_um: 1500"),
    "late frames": ("frame,x_px,y_px,photons\n10000000,1,2,3\n", "row 0 .*column frame"),
    "no rows": ("x_px,y_px\n", "has no rows"),
    "an empty file": ("", "is empty"),
    "no photons": ("frame,x_px,y_px\n0,1,2\n", "has frames, but no photons; allowed: both"),
    "no y": ("frame,x_px,photons\n0,1,2\n", "no column y_px"),
    "other units": ('"frame","x [inch]","y [nm]","intensity [photon]"\n1,1,2,3\n', r"x \[inch\]: the unit is inch"),
    "no numbers": ("x_px,y_px\n1,a\n", "line 2, column y_px: is 'a'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lists_are_one_error_that_names_file_row_and_column(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(DataError, match=message) as error:
        open_given(written(tmp_path, text))
    assert str(tmp_path / "list.csv") in str(error.value)


def test_pixels_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "locs.hdf5"
    table = rows(sigma_x_px=np.ones(2000), sigma_y_px=np.ones(2000))
    localizations.write(table, path, "picasso", pixel_size_nm=130)
    with pytest.raises(DataError, match=r"locs.hdf5: has a pixel size of \[130.0, 130.0\] nm, but .* \[100.0, 120.0\]"):
        open_given(job(positions_path=str(path)))


def test_frames_are_those_of_the_config_else_of_the_list(tmp_path: Path) -> None:
    config = written(tmp_path, "frame,x_px,y_px,photons\n3,1,2,3\n17,1,2,3\n")
    assert with_frames(config).emitters.frames == 18
    path = config.emitters.positions_path
    assert with_frames(job(positions_path=path, frames=30)).emitters.frames == 30
    with pytest.raises(DataError, match=r"list.csv: row 1 .*column frame: 17; allowed: up to 9, .*emitters.frames"):
        open_given(job(positions_path=path, frames=10))


def test_a_number_or_a_density_does_not_go_with_a_list() -> None:
    for other in ({"num_emitters": 3}, {"density_per_um2": 0.1}):
        with pytest.raises(ValueError, match="allowed: one of them"):
            job(positions_path="a.csv", **other)


def test_what_a_list_comes_to(tmp_path: Path) -> None:
    """Emitters, emitters on at a time, and records, as `validate` reports them."""
    localizations.write(rows(id=np.arange(2000) // 4, frame=np.arange(2000) % 4 + 5), tmp_path / "records.csv", "csv")
    localizations.write(molecules(), tmp_path / "molecules.csv", "csv")
    fiducials = {"count": 3, "photons": 9}
    of_records = with_frames(job(positions_path=str(tmp_path / "records.csv"), fiducials=fiducials, z_um=[0, 1]))
    assert all_emitters(of_records) == 500 + 3
    assert emitters_on(of_records) == 2000 / 9 + 3
    assert expected_records(of_records, 9) == 2000 + 27
    assert expected_records(of_records, 1) == 500 + 3  # the fullest frame
    assert unused_keys(of_records) == ["z_um"]
    always = job(positions_path=str(tmp_path / "molecules.csv"), blinking=KINDS["always"], margin_px=5, intensity_mu=9)
    assert all_emitters(always) == emitters_on(always) == 500
    assert expected_records(always, 10) == 5000
    assert unused_keys(always) == ["margin_px", "intensity_mu"]


def pieces_of(kind: str, table: Any, block_records: int = 1 << 18, **emitters: Any) -> list[Piece]:
    config = job(frames=50, blinking=KINDS[kind], **emitters)
    given = given_table(table, config)
    return list(iter_truth(with_number(config, given.summary), block_records, given))


@pytest.mark.parametrize("kind", KINDS)
def test_molecules_are_where_the_list_says_each_once(kind: str) -> None:
    table = molecules()
    parts: list[Any] = [piece.emitters for piece in pieces_of(kind, table) if len(piece.emitters)]
    found = type(parts[0]).concatenate(parts)
    expected = np.stack([table[name] for name in ("x_px", "y_px", "z_um")], axis=1).astype(np.float32)
    assert np.array_equal(found.id, np.arange(500))
    assert np.array_equal(found.xyz, expected)  # the id is the row
    if kind != "paint":
        photons = dict(zip(map(tuple, expected.tolist()), table["photons"].astype(np.float32), strict=True))
        assert [photons[tuple(place)] for place in found.xyz.tolist()] == found.intensity.tolist()


def test_an_order_of_the_list_is_no_order_of_time() -> None:
    """The on-times of molecules are not in the order of a list sorted along x."""
    table = {"x_px": np.sort(rows()["x_px"]), "y_px": np.zeros(2000)}
    parts = [piece.emitters for piece in pieces_of("once", table) if len(piece.emitters)]
    found = Emitters.concatenate([part for part in parts if isinstance(part, Emitters)])
    assert abs(np.corrcoef(found.t0, found.xyz[:, 0])[0, 1]) < 0.1


def test_what_a_list_does_not_say_is_drawn_by_the_config() -> None:
    table = {name: column for name, column in molecules().items() if name in {"x_px", "y_px"}}
    parts = [piece.emitters for piece in pieces_of("always", table, z_um=[0.2, 0.6], intensity_mu=700)]
    found = Emitters.concatenate([part for part in parts if isinstance(part, Emitters)])
    assert found.xyz[:, 2].min() >= np.float32(0.2)
    assert found.xyz[:, 2].max() <= np.float32(0.6)
    assert found.xyz[:, 2].std() == pytest.approx(0.4 / 12**0.5, rel=0.1)
    assert found.intensity.mean() == pytest.approx(700, rel=0.1)


@pytest.mark.parametrize("kind", [*KINDS, "records"])
def test_pieces_do_not_change_what_a_list_gives(kind: str) -> None:
    """With fiducials, whose ids come after all others."""
    table = rows(frames=50) if kind == "records" else molecules()
    fiducials = {"count": 2, "photons": 5000}
    name = "once" if kind == "records" else kind
    found = []
    for block in (1, 300, 1 << 18):
        pieces = pieces_of(name, table, block, fiducials=fiducials)
        blinks = [piece.blinks for piece in pieces if piece.blinks is not None]
        found.append((Records.concatenate([piece.records for piece in pieces]), Blinks.concatenate(blinks or [NONE])))
    assert all(same(one, other) for parts in zip(*found, strict=True) for one in parts for other in parts[:1])
    records = found[0][0]
    assert np.array_equal(np.lexsort((records.id, records.frame_ix)), np.arange(len(records)))
    last = 2000 if kind == "records" else 500
    assert np.count_nonzero(records.id >= last) == 2 * 50


NONE = Blinks(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.uint8), np.empty(0, np.float32))


def test_tables_of_pandas_are_as_good() -> None:
    assert same(records_of(pd.DataFrame(rows())), records_of(rows()))
    with pytest.raises(DataError, match="emitters: column colour; allowed: frame, x_px"):
        given_table(rows(colour=np.ones(2000)), job())


def test_memory_does_not_grow_with_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except 8 bytes per id while ids are counted; a record itself has 28."""
    monkeypatch.setattr(lists, "KEPT_ROWS", 1 << 14)
    monkeypatch.setattr(lists, "BLOCK_ROWS", 1 << 14)

    def peak(pieces: int) -> int:
        def chunks() -> Iterator[Localizations]:
            for piece in range(pieces):
                frame = np.random.default_rng(piece).integers(0, 1000, 1 << 14)
                ids = np.arange(len(frame)) + piece * len(frame)
                zero = np.zeros(len(frame))
                yield Localizations(zero, zero, frame=frame, photons=zero + 1, id=ids)

        tracemalloc.start()
        try:
            given = lists.read_list(lists.Table("rows", ("frame", "x_px", "y_px", "photons", "id"), chunks), (64, 64))
            assert len(given.records) == pieces << 14
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40) - peak(8) < 20 * (32 << 14)
