"""Truth: distributions of emitters, records against a slow obvious version, slabs, seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simtiff.config.blocks import EmitterConfig
from simtiff.emitters.places import FIELD
from simtiff.emitters.sampling import (
    MAX_SLAB_EMITTERS,
    MAX_SLABS,
    birth_range,
    slab_counts,
    slab_edges,
)
from simtiff.emitters.sources import iter_truth, sample_truth
from simtiff.emitters.tables import Emitters, Records


def config(**values: Any) -> EmitterConfig:
    return EmitterConfig.model_validate(values)


def obvious_records(emitters: Emitters, frames: int) -> list[tuple[int, int, np.float32]]:
    records = []
    for k in range(frames):
        for i in range(len(emitters)):
            t0, t1 = emitters.t0[i], emitters.t0[i] + emitters.on_time[i]
            photons = np.float32(emitters.intensity[i] * (min(t1, k + 1) - max(t0, k)))
            if min(t1, k + 1) > max(t0, k) and photons > 0:
                records.append((k, int(emitters.id[i]), photons))
    return records


def as_list(records: Records) -> list[tuple[int, int, np.float32]]:
    return list(zip(records.frame_ix.tolist(), records.id.tolist(), records.phot, strict=True))


def check_truth(cfg: EmitterConfig, emitters: Emitters, records: Records) -> None:
    low, high = birth_range(cfg)
    assert len(emitters) == cfg.num_emitters
    np.testing.assert_array_equal(emitters.id, np.arange(cfg.num_emitters))
    assert (np.diff(emitters.t0) >= 0).all()
    assert ((emitters.t0 >= low) & (emitters.t0 <= high)).all()
    assert (emitters.on_time >= 0).all()
    assert (emitters.intensity >= 0).all()
    assert ((emitters.xyz[:, :2] >= -0.5) & (emitters.xyz[:, :2].astype(float) < cfg.area_px - 0.5)).all()
    assert (np.abs(emitters.xyz[:, 2]) <= np.float32(cfg.z_range_um)).all()
    np.testing.assert_array_equal(records.xyz, emitters.xyz[records.id])
    for table, dtypes in [(emitters, "f4 f4 f8 f8 i8"), (records, "f4 f4 i4 i8")]:
        columns = [getattr(table, name) for name in table.__slots__]
        assert [column.dtype for column in columns] == [np.dtype(dtype) for dtype in dtypes.split()]


def test_emitters_follow_their_laws() -> None:
    light = {"intensity_mu": 1000, "intensity_sigma": 250, "lifetime_avg": 3.5}
    cfg = config(num_emitters=50_000, frames=300, area_px=64.0, **light)
    emitters, records = sample_truth(cfg)
    check_truth(cfg, emitters, records)
    _, high = birth_range(cfg)
    start = -2 * cfg.lifetime_avg  # of the steady state
    laws = {
        "x": (emitters.xyz[:, 0], stats.uniform(-0.5, 64)),
        "y": (emitters.xyz[:, 1], stats.uniform(-0.5, 64)),
        "z": (emitters.xyz[:, 2], stats.uniform(-1, 2)),
        "intensity": (emitters.intensity, stats.norm(1000, 250)),
        "on time": (emitters.on_time, stats.expon(scale=3.5)),
        "t0": (emitters.t0[emitters.t0 > start], stats.uniform(start, high - start)),
    }
    for name, (values, law) in laws.items():
        assert stats.kstest(values, law.cdf).pvalue > 1e-3, name
    columns = np.column_stack([emitters.xyz, emitters.intensity, emitters.on_time])
    correlation = np.corrcoef(columns.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)


def test_intensities_are_cut_at_zero() -> None:
    emitters, records = sample_truth(config(num_emitters=20_000, intensity_mu=100, intensity_sigma=100))
    dark = np.count_nonzero(emitters.intensity == 0) / len(emitters)
    assert dark == pytest.approx(stats.norm.cdf(-1), abs=0.01)
    assert not np.isin(np.flatnonzero(emitters.intensity == 0), records.id).any()
    assert (records.phot > 0).all()


def test_no_photon_is_lost_between_frames() -> None:
    cfg = config(num_emitters=5000, frames=200, lifetime_avg=6.0)
    emitters, records = sample_truth(cfg)
    emitted = np.bincount(records.id, records.phot.astype(float), minlength=len(emitters))
    whole = (emitters.t0 >= 0) & (emitters.t0 + emitters.on_time <= cfg.frames)
    assert whole.sum() > 3000
    expected = emitters.intensity * emitters.on_time
    np.testing.assert_allclose(emitted[whole], expected[whole], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("lifetime", [0.05, 2.5, 70.0])
def test_records_are_those_of_the_obvious_loop(lifetime: float) -> None:
    cfg = config(num_emitters=600, frames=150, lifetime_avg=lifetime)
    emitters, records = sample_truth(cfg, block_records=300)  # several blocks per slab
    assert as_list(records) == obvious_records(emitters, cfg.frames)


def test_truth_does_not_depend_on_blocks() -> None:
    cfg = config(num_emitters=3000, frames=400)
    emitters, records = sample_truth(cfg)
    pieces = list(iter_truth(cfg, block_records=1))
    assert len(pieces) >= cfg.frames
    again = Records.concatenate([piece.records for piece in pieces])
    for name in Records.__slots__:
        assert getattr(records, name).tobytes() == getattr(again, name).tobytes()
    np.testing.assert_array_equal(emitters.t0, np.concatenate([piece.emitters.t0 for piece in pieces]))


def test_pieces_hold_whole_frames_in_order() -> None:
    cfg = config(num_emitters=4000, frames=300)
    pieces = [piece.records.frame_ix for piece in iter_truth(cfg, block_records=500) if len(piece.records)]
    assert len(pieces) > 5
    assert all(before[-1] < after[0] for before, after in pairwise(pieces))


@pytest.mark.parametrize(
    ("values", "longest"),
    [
        ({"num_emitters": 10**7, "frames": 1}, MAX_SLAB_EMITTERS),
        ({"num_emitters": 10**9, "frames": 10**7}, MAX_SLAB_EMITTERS),
        ({"num_emitters": 3, "frames": 10**7, "lifetime_avg": 1e7}, 3),
    ],
)
def test_slabs_are_neither_too_many_nor_too_full(values: dict[str, Any], longest: int) -> None:
    cfg = config(**values)
    edges = slab_edges(cfg, cfg.num_emitters)
    assert (np.diff(edges) > 0).all()
    assert (edges[0], edges[-1]) == birth_range(cfg)
    assert len(edges) - 1 <= MAX_SLABS + cfg.num_emitters / MAX_SLAB_EMITTERS * 2 + 2
    assert np.diff(edges).max() / (edges[-1] - edges[0]) * cfg.num_emitters <= longest


def test_slab_counts_are_multinomial() -> None:
    edges = [-7.5, 0.0, 64.0, 128.0, 131.0]
    share = np.diff(edges) / (edges[-1] - edges[0])
    draws = np.array([slab_counts(400, edges, seed, FIELD) for seed in range(2000)])
    assert (draws.sum(axis=1) == 400).all()
    np.testing.assert_allclose(draws.mean(axis=0), 400 * share, atol=5 * 10 / np.sqrt(2000))
    covariance = 400 * (np.diag(share) - np.outer(share, share))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.15 * covariance.max())


def test_seeds_give_unrelated_and_repeatable_truth() -> None:
    truths = [sample_truth(config(num_emitters=2000, seed=seed))[0] for seed in (1, 2, 3, 1, 2**63 - 1)]
    assert truths[0].xyz.tobytes() == truths[3].xyz.tobytes()
    columns = np.array([np.concatenate([t.xyz[:, 0], t.intensity, t.on_time]) for t in truths])
    for a, b in [(0, 1), (0, 2), (1, 2), (0, 4)]:
        later = truths[a].t0[truths[a].t0 > -5]  # two mean on-times before the movie, the steady state begins
        assert not np.isin(later, truths[b].t0).any()
        parts = np.split(columns[a], 3), np.split(columns[b], 3)
        assert all(abs(np.corrcoef(p, q)[0, 1]) < 0.1 for p, q in zip(*parts, strict=True))


def test_values_are_stable() -> None:
    """Guard the data version: raise it if the numbers change for an unchanged config."""
    emitters, records = sample_truth(config(num_emitters=3, frames=2))
    t0 = [-1.4062399191075592, 1.7374014269244076, 7.083294866284077]
    np.testing.assert_allclose(emitters.t0, t0, rtol=1e-12)
    np.testing.assert_allclose(emitters.xyz[0], [880.73285, 779.36076, 0.75072074], rtol=1e-6)
    np.testing.assert_allclose(records.phot, [2149.2698, 661.3254], rtol=1e-6)
    assert records.id.tolist() == [0, 1]


DIGEST = """
import hashlib
from simtiff.emitters.sources import sample_truth
from simtiff.config.blocks import EmitterConfig
emitters, records = sample_truth(EmitterConfig(num_emitters=20000, frames=50))
columns = [emitters.xyz, emitters.intensity, emitters.t0, emitters.on_time, records.phot, records.frame_ix, records.id]
print(hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest())
"""


def test_truth_is_the_same_without_numpy_s_vector_instructions() -> None:
    features = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST], env=os.environ | change, capture_output=True, check=True, text=True
        ).stdout
        for change in ({}, {"NPY_DISABLE_CPU_FEATURES": features})
    }
    assert len(digests) == 1


@given(
    num_emitters=st.integers(0, 60),
    frames=st.integers(1, 40),
    area_px=st.floats(1, 65536),
    intensity_mu=st.floats(0, 1e9),
    intensity_sigma=st.floats(0, 1e9),
    lifetime_avg=st.one_of(st.floats(1e-300, 1e-3), st.floats(1e-3, 100), st.floats(100, 1e7)),
    z_range_um=st.floats(0, 1000),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_config_gives_sound_truth(**values: Any) -> None:
    cfg = config(**values)
    emitters, records = sample_truth(cfg)
    check_truth(cfg, emitters, records)
    assert as_list(records) == obvious_records(emitters, cfg.frames)
    assert np.isfinite(records.phot).all()
