"""Blinking: distributions at fixed seeds, and records against a slow list of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid
from scipy.linalg import expm

from simtiff.config.blocks import EmitterConfig
from simtiff.emitters.chain import chain_of, equilibrium
from simtiff.emitters.sources import iter_truth
from simtiff.emitters.tables import Blinks, Molecules, Records

DYE = {"on": {"dark": 0.4, "bleached": 0.1}, "dark": {"on": 0.05, "gone": 0.005}}


def config(blinking: dict[str, Any], **values: Any) -> EmitterConfig:
    return EmitterConfig.model_validate(
        {"num_emitters": 20_000, "frames": 400, "area_px": 64.0, "blinking": blinking, **values}
    )


def truth(cfg: EmitterConfig) -> tuple[Records, Blinks]:
    pieces = list(iter_truth(cfg))
    blinks = [piece.blinks for piece in pieces if piece.blinks is not None]
    return Records.concatenate([piece.records for piece in pieces]), Blinks.concatenate(blinks)


def kinetics(states: dict[str, dict[str, float]], **more: Any) -> dict[str, Any]:
    return {"kind": "kinetics", "states": states, **more}


def gaps(blinks: Blinks) -> np.ndarray:
    order = np.lexsort((blinks.t0, blinks.emitter))
    emitter, t0, end = (column[order] for column in (blinks.emitter, blinks.t0, blinks.t0 + blinks.on_time))
    return (t0[1:] - end[:-1])[emitter[1:] == emitter[:-1]]


def exact(cfg: EmitterConfig, time: float) -> np.ndarray:
    """Return the probability of each state at a time, by the matrix exponential."""
    chain = chain_of(cfg.blinking)
    flow = np.array(chain.rates)
    return np.array(chain.start) @ expm((flow - np.diag(flow.sum(axis=1))) * time)


def test_times_on_and_off_of_paint_are_exponential() -> None:
    cfg = config({"kind": "paint", "on_frames": 4, "off_frames": 30}, num_emitters=2000, frames=3000)
    records, blinks = truth(cfg)
    begun = blinks[blinks.t0 >= 0]
    early = begun.t0 < 2500  # these end long before the movie does
    assert stats.kstest(begun.on_time[early][::7], stats.expon(scale=4).cdf).pvalue > 1e-3
    off = gaps(blinks[blinks.t0 < 2500])  # the next blink is seen, up to 500 frames later
    assert stats.kstest(off[::7], stats.truncexpon(2500 / 30, scale=30).cdf).pvalue > 1e-3
    lit = np.bincount(records.frame_ix, minlength=3000).mean() / 2000
    assert chain_of(cfg.blinking).mean_in_frame(3000) == pytest.approx(lit, rel=0.01)
    on = (np.minimum(blinks.t0 + blinks.on_time, 3000) - np.maximum(blinks.t0, 0)).sum() / (2000 * 3000)
    assert on == pytest.approx(4 / 34, rel=0.01)  # the duty cycle


def test_first_frames_are_as_bright_as_the_rest() -> None:
    for blinking in (
        {"kind": "paint", "on_frames": 4, "off_frames": 30},
        kinetics({"on": {"dark": 0.3, "triplet": 0.2}, "dark": {"on": 0.02}, "triplet": {"on": 1.0}}),
    ):
        cfg = config(blinking, intensity_mu=1, intensity_sigma=0, num_emitters=40_000, frames=200)
        records, blinks = truth(cfg)
        light = np.bincount(records.frame_ix, records.phot, minlength=200)
        mean = 40_000 * chain_of(cfg.blinking).mean_bright(200)
        spread = np.sqrt(mean)  # molecules are on or off independently
        assert np.abs(light - mean).max() < 4.5 * spread
        assert np.abs(light[:3].mean() - mean) < 4 * spread
        assert light.mean() == pytest.approx(mean, rel=0.01)
        # A blink that is on at time 0 is twice as long, on average: its past is as long as its future.
        first = blinks[blinks.t0 < 0]
        assert len(first) == pytest.approx(mean, abs=4 * spread)
        mean_on = {"paint": 4.0}.get(cfg.blinking.kind, 2.0)
        assert stats.kstest(-first.t0, stats.expon(scale=mean_on).cdf).pvalue > 1e-3
        assert stats.kstest(first.t0 + first.on_time, stats.expon(scale=mean_on).cdf).pvalue > 1e-3


def test_blinks_before_bleaching_are_geometric() -> None:
    """Of dyes that go dark at a rate of 0.4 and bleach at 0.1, a fifth bleaches at each blink."""
    states = {"on": {"dark": 0.4, "bleached": 0.1}, "dark": {"on": 0.5}}
    cfg = config(kinetics(states, start="on"), frames=600)
    _, blinks = truth(cfg)
    counts = np.bincount(np.bincount(blinks.emitter, minlength=20_000))[1:]
    assert counts.sum() == 20_000  # all start in a bright state, and all are bleached by the end
    law = stats.geom(0.2)
    last = int(np.flatnonzero(20_000 * law.pmf(np.arange(1, len(counts) + 1)) >= 10)[-1])
    observed = np.append(counts[:last], counts[last:].sum())
    expected = 20_000 * np.append(law.pmf(np.arange(1, last + 1)), law.sf(last))
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("start", [None, "dark", {"on": 0.25, "dark": 0.75}])
def test_occupation_over_time_is_that_of_the_matrix_exponential(start: Any) -> None:
    cfg = config(kinetics(DYE, start=start), num_emitters=50_000, frames=120)
    _, blinks = truth(cfg)
    for time in (0.0, 0.5, 3.0, 20.0, 119.0):
        on = np.count_nonzero((blinks.t0 <= time) & (blinks.t0 + blinks.on_time > time)) / 50_000
        expected = exact(cfg, time)[0]
        assert abs(on - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / 50_000), time


def test_means_over_the_movie_are_those_of_the_matrix_exponential() -> None:
    cfg = config(kinetics(DYE))
    chain = chain_of(cfg.blinking)
    times = np.linspace(0, 300, 3001)
    whole = np.array([exact(cfg, time) for time in times])
    mean = trapezoid(whole, times, axis=0) / 300
    np.testing.assert_allclose(chain.occupation(300), mean, rtol=1e-4)
    _, blinks = truth(cfg)
    assert len(blinks) == pytest.approx(20_000 * chain.blinks(400), rel=0.02)
    # In the steady state, without the two absorbing states.
    np.testing.assert_allclose(chain.start, [0.05 / 0.45, 0.4 / 0.45, 0, 0], rtol=1e-12)
    stiff = np.array([[0, 3e-6, 0], [2e3, 0, 1e-4], [0.5, 4.0, 0]])
    flow = stiff - np.diag(stiff.sum(axis=1))
    parts = np.array(equilibrium(stiff.tolist()))
    assert np.abs(parts @ flow).max() < 1e-12
    assert parts.sum() == pytest.approx(1)


def test_fast_blinking_adds_up_within_a_frame() -> None:
    """Rates of 5 per frame: the photons of a frame against a slow list of all events."""
    states = {"on": {"dark": 5.0, "dim": 2.0}, "dark": {"on": 5.0}, "dim": {"dark": 6.0}}
    cfg = config(kinetics(states, brightness={"on": 1.0, "dim": 0.3}), num_emitters=60, frames=50)
    pieces = list(iter_truth(cfg))
    molecules = [piece.emitters for piece in pieces if isinstance(piece.emitters, Molecules) and len(piece.emitters)]
    intensity = np.concatenate([part.intensity for part in molecules])
    records, blinks = truth(cfg)
    assert len(blinks) > 60 * 50 * 2
    np.testing.assert_allclose(blinks.intensity, intensity[blinks.emitter] * np.array([1, 0, 0.3])[blinks.state], 1e-6)
    light = np.zeros((50, 60))
    for emitter, t0, on_time, photons in zip(blinks.emitter, blinks.t0, blinks.on_time, blinks.intensity, strict=True):
        for frame in range(50):
            light[frame, emitter] += photons * max(0.0, min(t0 + on_time, frame + 1) - max(t0, frame))
    found = np.zeros((50, 60))
    found[records.frame_ix, records.id] = records.phot
    np.testing.assert_allclose(found, light, rtol=2e-6, atol=1e-4)
    assert np.count_nonzero(light) == len(records)
    # And on average: each state emits its fraction of the photons.
    on, dark, dim = equilibrium(chain_of(cfg.blinking).rates)
    assert light.sum() / (50 * intensity.sum()) == pytest.approx(on + 0.3 * dim, rel=0.03)
    assert on + dark + dim == pytest.approx(1)


def test_photons_are_per_binding_or_per_molecule() -> None:
    law = {"photon_distribution": "gamma", "intensity_mu": 900, "intensity_sigma": 300}
    _, bindings = truth(config({"kind": "paint", "on_frames": 2, "off_frames": 20}, num_emitters=500, **law))
    assert stats.kstest(bindings.intensity, stats.gamma(9, scale=100).cdf).pvalue > 1e-3
    assert len(np.unique(bindings.intensity)) > 0.99 * len(bindings)
    _, blinks = truth(config(kinetics({"on": {"dark": 0.5}, "dark": {"on": 0.1}}), num_emitters=500, **law))
    of_each = {i: set(blinks.intensity[blinks.emitter == i].tolist()) for i in range(0, 500, 25)}
    assert all(len(values) == 1 for values in of_each.values())
    assert len(set.union(*of_each.values())) == len(of_each)


def test_a_bright_state_that_is_never_left_shines_to_the_end() -> None:
    cfg = config(kinetics({"dark": {"lit": 0.1}}, brightness={"lit": 1}, start="dark"), frames=200)
    records, blinks = truth(cfg)
    assert stats.kstest(blinks.t0, stats.truncexpon(20, scale=10).cdf).pvalue > 1e-3
    np.testing.assert_allclose(blinks.t0 + blinks.on_time, 200)
    last = records.frame_ix == 199
    assert np.count_nonzero(last) == np.count_nonzero(blinks.t0 < 200)


def test_values_are_stable() -> None:
    """Guard the data version: raise it if the numbers change for an unchanged config."""
    _, blinks = truth(config(kinetics(DYE), num_emitters=3, frames=60))
    assert blinks.emitter.tolist() == [2, 0, 1, 0, 2, 0]
    np.testing.assert_allclose(blinks.t0[:3], [6.292636639969467, 7.276488766031846, 11.800541565841328], rtol=1e-12)
    np.testing.assert_allclose(blinks.intensity[:3], [2162.8313, 1902.2268, 1285.3752], rtol=1e-6)
