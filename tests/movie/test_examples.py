"""The worked examples: frames match camera and photons, and molecules have the right blinking, drift and positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import expon, kstest

import simtiff
from simtiff.config.loading import load_batch_config
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.config.sweeps import expand_jobs
from simtiff.emitters.tables import Blinks, Sites

if TYPE_CHECKING:
    from simtiff.config.settings import JobConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def job_of(name: str) -> JobConfig:
    (job,) = expand_jobs(load_batch_config(CONFIGS / name))
    return job.config


def deviation(frames: np.ndarray, photons: np.ndarray, preset: str) -> np.ndarray:
    """Return the deviation of pixels from their expected values, in standard deviations of photon transfer."""
    numbers = CAMERA_PRESETS[preset].settings
    gain, excess = numbers.get("em_gain", 1.0) / numbers["e_per_adu"], 2 if "em_gain" in numbers else 1
    signal = (numbers["quantum_efficiency"] * photons + numbers.get("dark_e", 0.0)) * gain
    variance = excess * gain * signal + (numbers["read_noise_e"] / numbers["e_per_adu"]) ** 2 + 1 / 12
    return (frames - numbers["offset_adu"] - signal) / np.sqrt(variance)


def on_at(blinks: Blinks, times: np.ndarray) -> np.ndarray:
    """Return the number of emitters on at each of some times."""
    begun = np.searchsorted(np.sort(blinks.t0), times, side="right")
    return np.asarray(begun - np.searchsorted(np.sort(blinks.t0 + blinks.on_time), times, side="right"))


def test_dstorm_with_an_emccd_has_structure_under_a_beam() -> None:
    job = job_of("dstorm_emccd.json")
    simulation = simtiff.Simulation(job)
    background = simulation.background
    assert background is not None
    frames, light = simulation.frames(0, 200), simulation.expected(0, 200)
    assert frames.shape == (200, 128, 128)
    np.testing.assert_allclose(background.factor, np.exp(-np.arange(200) / 150), rtol=1e-12)
    off = deviation(frames, light + background.image * background.factor[:, None, None], "evolve_delta_512")
    assert off.mean() == pytest.approx(0, abs=4 / np.sqrt(off.size))
    assert off.var() == pytest.approx(1, abs=0.01)
    # The beam: mean of its centre against the corners; the structure changes it slightly.
    image = background.image
    corners = np.concatenate(
        [image[y, x].ravel() for y in (np.s_[:20], np.s_[-20:]) for x in (np.s_[:20], np.s_[-20:])]
    )
    assert image[54:74, 54:74].mean() > 2.5 * corners.mean()
    # A record has at most its emitter's photons at the peak of the beam.
    records, emitters = simulation.records, simulation.emitters
    assert not isinstance(emitters, Sites)
    brightest = emitters.intensity[records.id]
    assert (records.phot <= brightest * 1.0001).all()
    beam = np.exp(-4 * np.log(2) * ((records.xyz[:, :2] - 63.5) ** 2).sum(axis=1) * 0.1**2 / 12**2)
    assert np.max(records.phot / (brightest * beam)) == pytest.approx(1, abs=1e-5)  # on throughout a frame


def test_dstorm_blinks_and_bleaches_at_its_rates() -> None:
    simulation = simtiff.Simulation(job_of("dstorm_emccd.json"))
    blinks = simulation.blinks
    assert blinks is not None
    begun = blinks[blinks.t0 >= 0]
    assert kstest(begun.on_time, expon(scale=1 / 0.4).cdf).pvalue > 0.01
    # on, dark, bleached; starts in the steady state of the first two.
    rates = np.array([[-0.4, 0.35, 0.05], [0.02, -0.02, 0], [0, 0, 0]])
    times = np.arange(0, 200, 5)
    start = np.array([0.02, 0.35, 0]) / 0.37
    law = np.array([start @ expm(rates * time) for time in times])[:, 0]
    count = len(simulation.emitters)
    found = on_at(blinks, times)
    assert np.abs((found - count * law) / np.sqrt(count * law * (1 - law))).max() < 4
    assert law[-1] < 0.75 * law[0]


@pytest.mark.parametrize("with_maps", [False, True])
def test_paint_with_an_scmos_sees_a_background_that_changes(tmp_path: Path, with_maps: bool) -> None:
    job = job_of("paint_scmos.json")
    camera = job.camera
    assert camera is not None
    if with_maps:  # as in the comment of the config
        random = np.random.default_rng(3)
        offset, noise = random.normal(100, 2, (96, 128)), random.lognormal(0.4, 0.4, (96, 128))
        with h5py.File(tmp_path / "maps.h5", "w") as file:
            file["offset_adu"], file["read_noise_e"] = offset, noise
        camera = camera.model_copy(update={"maps_path": str(tmp_path / "maps.h5")})
        job = job.model_copy(update={"camera": camera})
    simulation = simtiff.Simulation(job)
    background = simulation.background
    assert background is not None
    frames, light = simulation.frames(0, 200), simulation.expected(0, 200)
    assert frames.shape == (200, 96, 128)
    assert np.ptp(background.image) == 0
    drawn = background.image[0, 0] * background.factor
    assert ((drawn >= 15) & (drawn <= 25)).all()
    assert drawn.std() == pytest.approx(10 / np.sqrt(12), rel=0.1)
    photons = light + background.image * background.factor[:, None, None]
    if not with_maps:
        off = deviation(frames, photons, "prime_95b")
    else:
        signal = 0.88 / 1.22 * photons
        off = (frames - offset - signal) / np.sqrt(signal / 1.22 + (noise / 1.22) ** 2 + 1 / 12)
    assert off.mean() == pytest.approx(0, abs=4 / np.sqrt(off.size))
    assert off.var() == pytest.approx(1, abs=0.012)


def test_paint_binds_at_its_density_and_its_fiducials_show_the_drift(tmp_path: Path) -> None:
    job = job_of("paint_scmos.json")
    simulation = simtiff.Simulation(job)
    files = simulation.write(tmp_path)
    with simtiff.open_truth(files["emitters.h5"]) as truth:
        blinks, places = truth.blinks(), truth.emitters()["xyz"]
    with h5py.File(files["emitters.h5"]) as stored:
        drift, marks = stored["drift/xyz"][:], stored["emitters/id"].attrs["first_fiducial"]
    assert blinks is not None
    begun = blinks["t0"] >= 0
    assert kstest(blinks["on_time"][begun], expon(scale=6).cdf).pvalue > 0.01
    area_um2 = 128 * 96 * 0.11**2
    on = on_at(Blinks(**blinks), np.arange(200)).mean() / area_um2
    assert on == pytest.approx(0.25, abs=4 * np.sqrt(0.25 / area_um2 * 2 * 6 / 200))
    assert len(places) - marks == 5

    assert np.all(drift[0] == 0)
    steps = np.diff(drift, axis=0) * [110, 110, 1000]
    np.testing.assert_allclose(steps.mean(axis=0), [1, -0.5, 0.2], atol=4 * 3 / np.sqrt(199))
    np.testing.assert_allclose(steps.std(axis=0), [3, 3, 1], rtol=0.2)
    # Centroid of each fiducial, as a microscopist would track it; nearby binding events sometimes disturb it.
    frames = simulation.frames(0, 200).astype(float)
    found = []
    for x, y in np.rint(places[marks:, :2]).astype(int):
        rows, columns = np.arange(max(0, y - 9), min(96, y + 10)), np.arange(max(0, x - 9), min(128, x + 10))
        cut = frames[:, rows[:, None], columns]
        cut = np.maximum(cut - np.quantile(cut, 0.6, axis=(1, 2), keepdims=True), 0)
        mass = cut.sum(axis=(1, 2))
        found.append([(cut.sum(axis=1) @ columns) / mass, (cut.sum(axis=2) @ rows) / mass])
    path = np.array(found)
    moved = np.median(path - np.median(path - drift[:, :2].T, axis=2, keepdims=True), axis=0)
    error_nm = 110 * (moved - drift[:, :2].T)
    assert np.ptp(drift[:, :2], axis=0).max() * 110 > 100
    assert np.sqrt((error_nm**2).mean()) < 10


def test_own_molecules_lie_where_the_list_says_and_go_to_other_programs(tmp_path: Path) -> None:
    simulation = simtiff.Simulation(job_of("own_molecules.json"))
    places = np.loadtxt(CONFIGS / "own_molecules.csv", delimiter=",", skiprows=1)
    files = simulation.write(tmp_path)
    with simtiff.open_truth(files["emitters.h5"]) as truth:
        np.testing.assert_allclose(truth.emitters()["xyz"], places / [100, 100, 1000], rtol=1e-6, atol=1e-6)
        blinks, records = truth.blinks(), truth.records(as_pandas=True)
    assert blinks is not None
    begun = blinks["t0"] >= 0
    assert kstest(blinks["on_time"][begun], expon(scale=2).cdf).pvalue > 0.01
    on, share = on_at(Blinks(**blinks), np.arange(0, 400, 20)), 0.01 / 0.51
    assert on.mean() == pytest.approx(320 * share, abs=4 * np.sqrt(320 * share * 2 / 20))
    for name, photons in (("picasso_locs.hdf5", 0.95), ("thunderstorm.csv", 1.0)):
        found = simtiff.localizations.read(tmp_path / name, pixel_size_nm=100)
        assert len(found) == len(records)  # all are within the frame
        np.testing.assert_allclose(found.x_px, records.x_px, atol=1e-4)
        np.testing.assert_allclose(found.photons, records.photons * photons, rtol=1e-5)
