"""Number and photons of emitters from a config: distributions at fixed seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from simtiff.config.settings import JobConfig
from simtiff.emitters.density import all_emitters, emitters_on, expected_blinks, expected_records, with_number
from simtiff.emitters.sources import iter_truth, sample_truth
from simtiff.movie.estimate import show_emitters, unused_note

KINDS: dict[str, dict[str, Any]] = {
    "once": {"kind": "once"},
    "always": {"kind": "always"},
    "paint": {"kind": "paint", "on_frames": 5, "off_frames": 100},
    "kinetics": {
        "kind": "kinetics",
        "states": {"on": {"dark": 0.3, "bleached": 0.05}, "dark": {"on": 0.04, "gone": 0.01}},
    },
    "in the dark at first": {
        "kind": "kinetics",
        "states": {"on": {"dark": 0.3}, "dark": {"on": 0.01}},
        "start": "dark",
    },
}
AREA_UM2 = 64**2 * 0.1 * 0.12


def job(**emitters: Any) -> JobConfig:
    values = {"frames": 200, "area_px": 64, **emitters}
    optical = {"pixel_size_nm_x": 100, "pixel_size_nm_y": 120}
    return JobConfig.model_validate({"zmap_path": "builtin:oil", "emitters": values, "optical": optical})


@pytest.mark.parametrize("margin", [0, 20])
@pytest.mark.parametrize("name", KINDS)
def test_density_is_the_mean_of_emitters_on(name: str, margin: int) -> None:
    config = job(density_per_um2=8.0, blinking=KINDS[name], lifetime_avg=3.0, margin_px=margin, intensity_sigma=0)
    cfg = with_number(config)
    on = np.zeros(200)
    records = blinks = emitters = 0
    for piece in iter_truth(cfg):
        found = piece.blinks if piece.blinks is not None else piece.emitters
        if hasattr(found, "t0"):
            first, last = np.clip(found.t0, 0, 200), np.clip(found.t0 + found.on_time, 0, 200)
            on += [(np.minimum(last, k + 1) - np.maximum(first, k)).clip(0).sum() for k in range(200)]
        blinks += len(piece.blinks) if piece.blinks is not None else 0
        emitters += len(piece.emitters)
        records += len(piece.records)
    area = AREA_UM2 * (1 + margin / 32) ** 2
    assert on.mean() / area == pytest.approx(8.0, rel=0.03)
    assert emitters_on(config) == pytest.approx(8.0 * area, rel=0.01)
    assert all_emitters(config) == emitters
    assert expected_records(config, 200) == pytest.approx(records, rel=0.03)
    assert expected_blinks(config) == pytest.approx(blinks, rel=0.03)


def test_estimates_count_fiducials_and_say_where_numbers_come_from() -> None:
    config = job(density_per_um2=1, blinking=KINDS["always"], fiducials={"count": 40, "photons": 1000})
    assert all_emitters(config) == round(AREA_UM2) + 40
    assert emitters_on(config) == expected_records(config, 1) == round(AREA_UM2) + 40
    line = show_emitters([config])
    assert "89 in the whole movie (emitters.density_per_um2, emitters.fiducials)" in line
    assert "89 on at a time, 89 records in a frame" in line
    note = unused_note([job(blinking=KINDS["paint"] | {"start": "on"}, lifetime_avg=3)])
    assert note is not None
    assert "emitters.lifetime_avg (with emitters.blinking.kind paint)" in note
    assert "emitters.blinking.start (with emitters.blinking.kind paint)" in note
    assert unused_note([job(), job(blinking=KINDS["kinetics"])]) is None
    assert "intensity_sigma" in str(unused_note([job(photon_distribution="exponential", intensity_sigma=3)]))


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("normal", stats.norm(1000, 250)),
        ("gamma", stats.gamma(16, scale=62.5)),
        ("lognormal", stats.lognorm(np.sqrt(np.log(1.0625)), scale=1000 / np.sqrt(1.0625))),
        ("exponential", stats.expon(scale=1000)),
    ],
)
def test_photons_follow_their_law(name: str, law: Any) -> None:
    light = {"intensity_mu": 1000, "intensity_sigma": 250, "photon_distribution": name}
    emitters, _ = sample_truth(job(num_emitters=30_000, **light).emitters)
    assert stats.kstest(emitters.intensity, law.cdf).pvalue > 1e-3
    # Another photon distribution changes neither positions nor on-times.
    others, _ = sample_truth(job(num_emitters=30_000).emitters)
    assert emitters.xyz.tobytes() == others.xyz.tobytes()
    assert emitters.on_time.tobytes() == others.on_time.tobytes()
    # A spread far above the mean: gamma distributions with a shape far below 1.
    light = {"intensity_mu": 10, "intensity_sigma": 40, "photon_distribution": name}
    wide, _ = sample_truth(job(num_emitters=30_000, **light).emitters)
    laws = {
        "gamma": stats.gamma(1 / 16, scale=160),
        "lognormal": stats.lognorm(np.sqrt(np.log(17)), scale=10 / np.sqrt(17)),
        "exponential": stats.expon(scale=10),
    }
    assert wide.intensity.min() >= 0
    if name in laws:
        above = wide.intensity[wide.intensity > 1e-6].astype(float)
        least = laws[name].cdf(1e-6)
        assert stats.kstest(above, lambda x: (laws[name].cdf(x) - least) / (1 - least)).pvalue > 1e-3
