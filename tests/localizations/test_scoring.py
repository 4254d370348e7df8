"""Scores of localizations, on cases worked by hand, against the slow obvious assignment, and on known noise."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from simtiff import ConfigError, DataError
from simtiff.localizations import Localizations, read, score, write
from simtiff.localizations.matching import Points, match

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PX = (100.0, 120.0)


def columns(*rows: tuple[float, ...], names: str = "frame x_px y_px z_um photons") -> dict[str, NDArray[Any]]:
    return dict(zip(names.split(), np.array(rows, float).T, strict=True))


def test_a_case_worked_by_hand() -> None:
    truth = columns((0, 0, 0, 0, 1000), (0, 10, 0, 0.1, 500), (1, 5, 5, 0, 800))
    truth |= {"sigma_x_px": np.array([0.25, 0.5, 1]), "sigma_z_um": np.array([np.inf, 0.02, 1])}
    # the first is off by 50 nm in x, the second by 60 nm in y and 40 nm in z; the third frame has no emitter
    found = columns((2, 5, 5, 0, 9), (0, 10, 0.5, 0.14, 530), (0, 0.5, 0, 0, 900))
    result = score(truth, found, pixel_size_nm=PX)
    metrics = result.metrics
    assert (metrics.truth, metrics.found, metrics.matched) == (3, 3, 2)
    assert (metrics.jaccard, metrics.precision, metrics.recall) == (2 / 4, 2 / 3, 2 / 3)
    expected = {
        "rmse_lateral_nm": math.sqrt((50**2 + 60**2) / 2),
        "rmse_axial_nm": math.sqrt(40**2 / 2),
        "bias_x_nm": 25,
        "bias_y_nm": 30,
        "bias_z_nm": 20,
        "bias_photons": (30 - 100) / 2,
        "error_over_bound_x": math.sqrt((0.5 / 0.25) ** 2 / 2),
        "error_over_bound_z": 0.04 / 0.02,  # infinite bounds are excluded
        "efficiency_lateral": 100 - math.sqrt(50**2 + 3050),
        "efficiency_axial": 100 - math.sqrt(50**2 + 0.25 * 800),
    }
    for name, value in expected.items():
        assert getattr(metrics, name) == pytest.approx(value), name
    assert metrics.error_over_bound_y is None
    assert metrics.efficiency == pytest.approx((expected["efficiency_lateral"] + expected["efficiency_axial"]) / 2)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["metrics"]["matched"] == 2
    assert [sum(each[name] for each in plain["by_field"]) for name in ("truth", "found", "matched")] == [3, 3, 2]
    assert plain["by_photons"][0]["ranges"]["photons"][0] == 500


@pytest.mark.parametrize(
    ("true", "seen", "pairs"),
    [
        ([0, 240], [230, 470], [(0, 0), (1, 1)]),  # two pairs, although pairing the nearest two gives only one
        ([0, 100], [110, 10], [(0, 1), (1, 0)]),  # of two assignments with two pairs, the shorter one
        ([0, 100], [60], [(1, 0)]),
        ([0], [250], [(0, 0)]),
        ([0], [250.001], []),
        ([0, 300], [], []),
        ([7], [7], [(0, 0)]),
    ],
)
def test_as_many_pairs_as_can_be_and_the_nearest_of_these(
    true: list[float], seen: list[float], pairs: list[tuple[int, int]]
) -> None:
    def points(x: list[float]) -> Points:
        return Points(np.full(len(x), 3), np.column_stack([x, np.zeros(len(x))]), None)

    rows, others = match(points(true), points(seen), 250, 500)
    assert sorted(zip(rows.tolist(), others.tolist(), strict=True)) == pairs


def test_both_distances_count_and_the_axial_one_only_where_both_have_z() -> None:
    truth = columns((0, 0, 0, 0, 1), (1, 0, 0, 0, 1))
    found = columns((0, 2, 0, 0.5, 1), (1, 2, 0, 0.5001, 1))
    assert score(truth, found, pixel_size_nm=100).metrics.matched == 1
    assert score(truth, found, dz_nm=501, pixel_size_nm=100).metrics.matched == 2
    assert score(truth, found, radius_nm=199, pixel_size_nm=100).metrics.matched == 0
    flat = {name: values for name, values in found.items() if name != "z_um"}
    result = score(truth, flat, pixel_size_nm=100)
    assert result.metrics.matched == 2
    assert result.metrics.rmse_axial_nm is None
    assert result.metrics.efficiency == result.metrics.efficiency_lateral == pytest.approx(100 - 200)
    assert [each.metrics.found for each in result.by_z] == [None]  # the localizations have no z
    assert result.by_z[0].metrics.recall == 1


def scattered(rng: np.random.Generator, rows: int, frames: int, side_px: float) -> Localizations:
    return Localizations(
        frame=rng.integers(0, frames, rows),
        x_px=rng.uniform(0, side_px, rows),
        y_px=rng.uniform(0, side_px, rows),
        z_um=rng.uniform(-0.5, 0.5, rows),
        photons=rng.exponential(1000, rows),
    )


def test_the_assignment_is_that_of_the_dense_solver() -> None:
    rng = np.random.default_rng(1)
    truth, found = (scattered(rng, 9000, 300, 16) for _ in range(2))  # dense enough for long chains
    pairs, total = 0, 0.0
    assert truth.frame is not None
    assert found.frame is not None
    assert truth.z_um is not None
    assert found.z_um is not None
    for frame in range(300):
        some, other = truth[truth.frame == frame], found[found.frame == frame]
        dx, dy = np.subtract.outer(some.x_px, other.x_px) * 100, np.subtract.outer(some.y_px, other.y_px) * 100
        dz = np.subtract.outer(some.z_um, other.z_um) * 1000
        allowed = (np.hypot(dx, dy) <= 250) & (np.abs(dz) <= 500)
        cost = np.where(allowed, dx**2 + dy**2 + dz**2, 1e9)
        rows, columns_ = linear_sum_assignment(cost)
        chosen = cost[rows, columns_][allowed[rows, columns_]]
        pairs, total = pairs + len(chosen), total + chosen.sum()
    metrics = score(truth, found, pixel_size_nm=100).metrics
    assert metrics.matched == pairs
    assert metrics.rmse_lateral_nm is not None
    assert metrics.rmse_axial_nm is not None
    assert (metrics.rmse_lateral_nm**2 + metrics.rmse_axial_nm**2) * pairs == pytest.approx(total, rel=1e-9)


def test_known_noise_misses_and_ghosts_are_found_everywhere() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    truth = scattered(rng, n, 4000, 64)
    assert truth.z_um is not None
    assert truth.photons is not None
    sigma = np.full(n, 0.1)
    truth = Localizations(**truth.as_dict() | {"sigma_x_px": sigma, "sigma_y_px": sigma, "sigma_z_um": 0.3 * sigma})
    moved = truth.as_dict() | {
        "x_px": truth.x_px + rng.normal(0.05, 0.1, n),
        "y_px": truth.y_px + rng.normal(0, 0.1, n),
        "z_um": truth.z_um + rng.normal(0, 0.03, n),
        "photons": truth.photons * 0.9,
    }
    seen = Localizations(**moved)[rng.permutation(n)[: n * 9 // 10]]
    ghosts = scattered(rng, 1000, 4000, 64)
    names = ghosts.columns
    both = {name: np.concatenate([getattr(seen, name), getattr(ghosts, name)]) for name in names}
    result = score(truth, both, pixel_size_nm=100)
    metrics = result.metrics
    assert metrics.recall == pytest.approx(0.9, abs=0.002)
    assert metrics.precision == pytest.approx(18 / 19, abs=0.002)
    assert metrics.bias_x_nm == pytest.approx(5, abs=0.5)
    assert metrics.bias_photons == pytest.approx(-100, rel=0.1)
    assert metrics.error_over_bound_x == pytest.approx(math.sqrt(1.25), abs=0.05)
    assert metrics.error_over_bound_z == pytest.approx(1, abs=0.08)  # a few false positives match missed emitters
    for bins in (result.by_field, result.by_z, result.by_photons, result.by_density):
        assert sum(each.metrics.truth for each in bins) == n
        assert sum(each.metrics.matched for each in bins) == metrics.matched
        assert sum(each.metrics.found or 0 for each in bins) == len(both["frame"])
        for each in bins:
            assert each.metrics.recall == pytest.approx(0.9, abs=0.03)
    assert len(result.by_field) == 16
    assert len(result.by_z) == len(result.by_photons) == 6


def test_density_counts_the_others_within_a_micrometre() -> None:
    truth = columns((0, 0, 0, 0, 1), (0, 9, 0, 0, 1), (0, 30, 0, 0, 1), (1, 1, 0, 0, 1))
    result = score(truth, truth, pixel_size_nm=100)
    assert result.metrics.jaccard == 1
    assert result.metrics.efficiency == 100
    assert [each.metrics.truth for each in result.by_density] == [2, 2]
    assert result.by_density[1].ranges["density_per_um2"] == pytest.approx((0.5 / math.pi, 1 / math.pi))


def test_empty_tables_and_bad_arguments() -> None:
    none = columns((0, 0, 0, 0, 1)) | {}
    none = {name: values[:0] for name, values in none.items()}
    one = columns((0, 0, 0, 0, 1))
    missed, ghost, nothing = (
        score(*both, pixel_size_nm=100).metrics for both in [(one, none), (none, one), (none, none)]
    )
    assert (missed.recall, missed.precision, missed.jaccard, missed.rmse_lateral_nm) == (0, None, 0, None)
    assert (ghost.recall, ghost.precision, ghost.jaccard) == (None, 0, 0)
    assert (nothing.jaccard, nothing.efficiency) == (None, None)
    with pytest.raises(ConfigError, match="dz_nm: far; allowed: a number of nm above 0"):
        score(one, one, dz_nm="far", pixel_size_nm=100)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="radius_nm: 0; allowed: a number of nm above 0"):
        score(one, one, 0, pixel_size_nm=100)
    with pytest.raises(DataError, match="found: required column frame is missing"):
        score(one, {"x_px": [0], "y_px": [0]}, pixel_size_nm=100)
    with pytest.raises(DataError, match="truth: row 0, column x_px: is NaN"):
        score(one | {"x_px": np.array([np.nan])}, one, pixel_size_nm=100)


def test_tables_that_were_read_know_their_pixels(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    table = {
        "frame": [0, 0, 1],
        "x_px": [4.0, 9, 5],
        "y_px": [3.0, 8, 5],
        "z_um": [0.0, 0, 0],
        "photons": [500.0, 400, 300],
    }
    write(table, tmp_path / "a.h5", "decode", pixel_size_nm=(100, 120))
    truth = read(tmp_path / "a.h5")
    moved = truth.assign(x_px=truth["x_px"] + 0.5)
    found = score(truth, moved)
    assert found.metrics.bias_x_nm == pytest.approx(50)
    moved.attrs["pixel_size_nm"] = (100.0, 100.0)
    with pytest.raises(ConfigError, match="the pixel sizes of the two tables are"):
        score(truth, moved)
    with pytest.raises(ConfigError, match="pixel_size_nm is needed"):
        score(table, table)
