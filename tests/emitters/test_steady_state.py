"""The first and the last frame are like all others: emitters on, their remaining on-times, and their photons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simtiff.config.blocks import EmitterConfig
from simtiff.emitters.sampling import birth_range
from simtiff.emitters.sources import sample_truth

SEEDS = 200


@pytest.mark.parametrize(("lifetime", "frames"), [(0.1, 6), (0.3, 12), (2.5, 12), (20.0, 30), (20.0, 5), (50.0, 1)])
def test_every_frame_is_equally_bright(lifetime: float, frames: int) -> None:
    """Movies of many mean on-times, and movies shorter than one."""
    births, per_lifetime = 300.0, np.array([birth_range(EmitterConfig(frames=frames, lifetime_avg=lifetime))])
    span = float(np.diff(per_lifetime)[0, 0])
    number = round(births * span / lifetime) if lifetime > 1 else round(births * span)
    light, left, on_times, starts = np.zeros((SEEDS, frames)), [], [], []
    for seed in range(SEEDS):
        config = EmitterConfig(
            num_emitters=number, frames=frames, lifetime_avg=lifetime, intensity_mu=1.0, intensity_sigma=0.0, seed=seed
        )
        emitters, records = sample_truth(config)
        light[seed] = np.bincount(records.frame_ix, records.phot, frames)
        alive = (emitters.t0 <= 0) & (emitters.t0 + emitters.on_time > 0)
        left.append((emitters.t0 + emitters.on_time)[alive])
        on_times.append(emitters.on_time)
        starts.append(emitters.t0)
    expected = number / span * lifetime
    error = light.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    assert (np.abs(light.mean(axis=0) - expected) < 4.5 * error).all()
    # The remaining on-time of emitters that are on when the movie begins is exponential, too.
    assert stats.kstest(np.concatenate(left), stats.expon(scale=lifetime).cdf).pvalue > 1e-4
    assert np.mean([len(part) for part in left]) == pytest.approx(expected, rel=0.02)
    assert stats.kstest(np.concatenate(on_times), stats.expon(scale=lifetime).cdf).pvalue > 1e-4
    t0 = np.concatenate(starts)
    after = t0[t0 > -2 * lifetime]
    assert stats.kstest(after, stats.uniform(-2 * lifetime, span - lifetime).cdf).pvalue > 1e-4
