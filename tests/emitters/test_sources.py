"""Contract of every source of emitters: whole frames in order, independent of chunking."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simtiff._core import set_threads, threads
from simtiff.config.blocks import EmitterConfig
from simtiff.config.settings import JobConfig
from simtiff.emitters.given import given_table
from simtiff.emitters.sources import (
    BLOCK_RECORDS,
    GivenRecords,
    Piece,
    Source,
    iter_truth,
    open_sources,
    pieces_of,
)
from simtiff.emitters.tables import Blinks, Emitters, Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINETICS = {
    "kind": "kinetics",
    "states": {"on": {"dark": 0.4, "dim": 0.3, "bleached": 0.02}, "dim": {"on": 0.5}, "dark": {"on": 0.05}},
    "brightness": {"on": 1, "dim": 0.25},
}
PAINT = {"kind": "paint", "on_frames": 4, "off_frames": 60}
CASES: dict[str, dict[str, Any]] = {
    "once": {},
    "always": {"num_emitters": 30, "blinking": {"kind": "always"}},
    "paint": {"num_emitters": 300, "blinking": PAINT},
    "kinetics": {"blinking": KINETICS},
    "all kinds of light together, once": {"margin_px": 7.5, "fiducials": {"count": 3, "photons": 900}},
    "all kinds of light together, kinetics": {
        "blinking": KINETICS,
        "margin_px": 7.5,
        "fiducials": {"count": 3, "photons": 900},
    },
    "all kinds of light together, paint": {
        "num_emitters": 300,
        "blinking": PAINT,
        "margin_px": 7.5,
        "fiducials": {"count": 3, "photons": 900},
    },
    "molecules of a table, once": {},
    "molecules of a table, kinetics": {"blinking": KINETICS, "fiducials": {"count": 3, "photons": 900}},
    "records": {},
}
TABLE = np.random.default_rng(5).uniform(0, 60, (2000, 3)).astype(np.float32)
COLUMNS = dict(zip(("x_px", "y_px", "z_um"), TABLE.T.astype(float), strict=True))
MOLECULES = given_table(COLUMNS, JobConfig(zmap_path="builtin:oil", emitters=EmitterConfig(area_px=64.0)))


def sources_of(name: str, cfg: EmitterConfig) -> list[Source]:
    return open_sources(cfg, MOLECULES) if name.startswith("molecules") else open_sources(cfg)


def config(**values: Any) -> EmitterConfig:
    return EmitterConfig.model_validate({"num_emitters": 2000, "frames": 400, "area_px": 64.0, **values})


def truth_of(name: str, **values: Any) -> Callable[[int], Iterator[Piece]]:
    """Return a function that makes the truth of a case for a number of records per block."""
    cfg = config(**CASES[name] | values)
    if name != "records":
        return lambda block: pieces_of(sources_of(name, cfg), cfg, block)
    records = Records.concatenate([piece.records for piece in iter_truth(cfg)])
    return lambda block: pieces_of([GivenRecords(records)], cfg, block)


def joined(pieces: list[Piece]) -> tuple[Records, Blinks | None]:
    blinks = [piece.blinks for piece in pieces if piece.blinks is not None]
    return Records.concatenate([piece.records for piece in pieces]), Blinks.concatenate(blinks) if blinks else None


def columns(table: Any) -> list[bytes]:
    return [getattr(table, field.name).tobytes() for field in dataclasses.fields(table)]


@pytest.mark.parametrize("name", CASES)
def test_pieces_are_whole_frames_in_order(name: str) -> None:
    pieces = list(truth_of(name)(700))
    light = [piece for piece in pieces if piece.stop > piece.start]
    assert len(light) > 5
    assert (light[0].start, light[-1].stop) == (0, 400)
    assert all(before.stop == after.start for before, after in pairwise(light))
    assert all(len(piece.records) == 0 for piece in pieces if piece.stop == piece.start)
    for piece in light:
        records = piece.records
        assert ((records.frame_ix >= piece.start) & (records.frame_ix < piece.stop)).all()
        order = np.lexsort((records.id, records.frame_ix))
        np.testing.assert_array_equal(order, np.arange(len(records)))  # by frame, then by id
        pairs = np.column_stack([records.frame_ix, records.id])
        assert len(np.unique(pairs, axis=0)) == len(records)
        assert (records.phot > 0).all()
    records, blinks = joined(pieces)
    dtypes = [getattr(records, field.name).dtype for field in dataclasses.fields(records)]
    assert dtypes == [np.float32, np.float32, np.int32, np.int64]
    if blinks is not None:
        first = np.maximum(np.floor(blinks.t0), -1)
        np.testing.assert_array_equal(np.lexsort((blinks.t0, blinks.emitter, first)), np.arange(len(blinks)))


@pytest.mark.parametrize("name", CASES)
def test_cutting_the_movie_into_other_pieces_changes_nothing(name: str) -> None:
    make = truth_of(name)
    whole, blinks = joined(list(make(BLOCK_RECORDS)))
    for block in (1, 333):
        other, other_blinks = joined(list(make(block)))
        assert columns(whole) == columns(other)
        assert (blinks is None) == (other_blinks is None)
        if blinks is not None:
            assert columns(blinks) == columns(other_blinks)


def test_the_number_of_threads_changes_nothing() -> None:
    make = truth_of("kinetics", num_emitters=20_000, frames=40)  # several blocks of molecules for each thread
    before = threads()
    try:
        found = []
        for number in (1, 3):
            set_threads(number)
            records, blinks = joined(list(make(20_000)))
            found.append(columns(records) + columns(blinks))
    finally:
        set_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", [name for name in CASES if name != "records"])
def test_every_emitter_comes_once_and_before_its_light(name: str) -> None:
    seen: dict[int, bytes] = {}
    for piece in truth_of(name)(500):
        ids = piece.emitters.id
        assert (np.diff(ids) == 1).all()
        assert not seen.keys() & set(ids.tolist())
        seen |= {int(i): xyz.tobytes() for i, xyz in zip(ids, piece.emitters.xyz, strict=True)}
        places = [xyz.tobytes() for xyz in piece.records.xyz]
        assert places == [seen[i] for i in piece.records.id.tolist()]
    total = sum(source.count for source in sources_of(name, config(**CASES[name])))
    assert sorted(seen) == list(range(total))


@pytest.mark.parametrize("name", CASES)
def test_pieces_stay_small_however_long_the_movie(name: str) -> None:
    block = 2000
    per_frame = 0
    largest = 0
    for piece in truth_of(name, frames=6000)(block):
        largest = max(largest, len(piece.records))
        per_frame = max(per_frame, int(np.bincount(piece.records.frame_ix - piece.start).max(initial=0)))
    assert largest <= 3 * block + per_frame


@pytest.mark.parametrize("name", ["always", "paint", "kinetics", "all kinds of light together, kinetics"])
def test_a_longer_movie_begins_as_a_shorter_one(name: str) -> None:
    """Not for emitters that are on once: their activations are spread over the whole movie."""
    short, blinks = joined(list(truth_of(name)(BLOCK_RECORDS)))
    long, more_blinks = joined(list(truth_of(name, frames=900)(BLOCK_RECORDS)))
    assert columns(long[long.frame_ix < 400]) == columns(short)
    if blinks is not None and more_blinks is not None:
        assert columns(more_blinks[more_blinks.t0 < 400]) == columns(blinks)


def test_molecules_of_a_table_shine_at_their_places_all_through_the_movie() -> None:
    cfg = config(intensity_mu=1, intensity_sigma=0)
    pieces = list(pieces_of(open_sources(cfg, MOLECULES), cfg))
    emitters = [piece.emitters for piece in pieces if isinstance(piece.emitters, Emitters)]
    np.testing.assert_array_equal(np.concatenate([part.xyz for part in emitters]), TABLE)
    records, _ = joined(pieces)
    np.testing.assert_array_equal(records.xyz, TABLE[records.id])
    light = np.bincount(records.frame_ix // 40, records.phot)
    mean = 2000 * 2.5 / (400 - 1 + 6 * 2.5) * 40
    assert np.abs(light - mean).max() < 4 * np.sqrt(2 * mean * 2.5)
    started = np.concatenate([part.t0 for part in emitters])
    assert np.corrcoef(started, np.arange(2000))[0, 1] < 0.1


def test_other_sources_change_no_emitter_of_the_field() -> None:
    for blinking in ({"kind": "once"}, KINETICS, PAINT):
        alone, blinks = joined(list(iter_truth(config(blinking=blinking))))
        more = config(blinking=blinking, margin_px=10, fiducials={"count": 5, "photons": 100})
        together, more_blinks = joined(list(iter_truth(more)))
        assert columns(together[together.id < 2000]) == columns(alone)
        if blinks is not None and more_blinks is not None:
            assert columns(more_blinks[more_blinks.emitter < 2000]) == columns(blinks)


def test_margins_and_fiducials_are_where_they_belong() -> None:
    cfg = config(num_emitters=40_000, frames=1, margin_px=16, fiducials={"count": 500, "photons": 123.5})
    emitters = [piece.emitters for piece in iter_truth(cfg) if len(piece.emitters)]
    x, y = np.concatenate([part.xyz for part in emitters])[np.argsort(np.concatenate([p.id for p in emitters]))].T[:2]
    count = round(40_000 * ((64 + 32) ** 2 / 64**2 - 1))
    assert len(x) == 40_000 + count + 500
    inside = (x >= -0.5) & (x <= 63.5) & (y >= -0.5) & (y <= 63.5)
    np.testing.assert_array_equal(np.flatnonzero(~inside), np.arange(40_000, 40_000 + count))
    assert max(np.abs(x - 31.5).max(), np.abs(y - 31.5).max()) <= 48
    counts, _, _ = np.histogram2d(x[:-500], y[:-500], bins=6, range=[[-16.5, 79.5], [-16.5, 79.5]])
    expected = (40_000 + count) / 36
    assert ((counts - expected) ** 2 / expected).sum() < 80  # chi-squared, 35 degrees of freedom: P(> 80) = 5e-5
    pieces = list(iter_truth(cfg))
    fiducials = [part for part in emitters if isinstance(part, Emitters) and part.id[0] >= 40_000 + count]
    assert np.concatenate([part.on_time for part in fiducials]).tolist() == [1.0] * 500
    records, _ = joined(pieces)
    assert records.phot[records.id >= 40_000 + count].tolist() == [123.5] * 500
