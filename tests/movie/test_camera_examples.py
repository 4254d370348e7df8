"""The example configs of cameras: frames as their camera, background and illumination say, also with maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import simtiff
from simtiff.config.loading import load_batch_config
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.config.sweeps import expand_jobs

if TYPE_CHECKING:
    from simtiff.config.settings import JobConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def job_of(name: str) -> JobConfig:
    (job,) = expand_jobs(load_batch_config(CONFIGS / name))
    return job.config


def deviation(frames: np.ndarray, photons: np.ndarray, preset: str) -> np.ndarray:
    """Return how far pixels are from what their light should give, in standard deviations of photon transfer."""
    numbers = CAMERA_PRESETS[preset].settings
    gain, excess = numbers.get("em_gain", 1.0) / numbers["e_per_adu"], 2 if "em_gain" in numbers else 1
    signal = (numbers["quantum_efficiency"] * photons + numbers.get("dark_e", 0.0)) * gain
    variance = excess * gain * signal + (numbers["read_noise_e"] / numbers["e_per_adu"]) ** 2 + 1 / 12
    return (frames - numbers["offset_adu"] - signal) / np.sqrt(variance)


def test_the_emccd_sees_structure_under_a_beam() -> None:
    job = job_of("emccd.json")
    simulation = simtiff.Simulation(job)
    background = simulation.background
    assert background is not None
    frames, light = simulation.frames(0, 30), simulation.expected(0, 30)
    assert frames.shape == (30, 128, 128)
    off = deviation(frames, light + background.image, "evolve_delta_512")
    assert off.mean() == pytest.approx(0, abs=4 / np.sqrt(off.size))
    assert off.var() == pytest.approx(1, abs=0.01)
    # The beam: the mean over its middle against that over the corners, of which the structure changes some.
    image = background.image
    corners = np.concatenate(
        [image[y, x].ravel() for y in (np.s_[:20], np.s_[-20:]) for x in (np.s_[:20], np.s_[-20:])]
    )
    assert image[54:74, 54:74].mean() > 2.5 * corners.mean()
    assert background.factor.tolist() == [1.0] * 30
    # A record has at most what its emitter gives at the peak of the beam.
    records, emitters = simulation.records, simulation.emitters
    brightest = emitters.intensity[records.id]
    assert (records.phot <= brightest * 1.0001).all()
    beam = np.exp(-4 * np.log(2) * ((records.xyz[:, :2] - 63.5) ** 2).sum(axis=1) * 0.1**2 / 12**2)
    assert np.max(records.phot / (brightest * beam)) == pytest.approx(1, abs=1e-5)  # on for a whole frame


@pytest.mark.parametrize("with_maps", [False, True])
def test_the_scmos_sees_a_background_that_changes_and_bleaches(tmp_path: Path, with_maps: bool) -> None:
    job = job_of("scmos.json")
    camera = job.camera
    assert camera is not None
    if with_maps:  # as the comment in the config says
        random = np.random.default_rng(3)
        offset, noise = random.normal(100, 2, (96, 128)), random.lognormal(0.4, 0.4, (96, 128))
        with h5py.File(tmp_path / "maps.h5", "w") as file:
            file["offset_adu"], file["read_noise_e"] = offset, noise
        camera = camera.model_copy(update={"maps_path": str(tmp_path / "maps.h5")})
        job = job.model_copy(update={"camera": camera})
    simulation = simtiff.Simulation(job)
    background = simulation.background
    assert background is not None
    frames, light = simulation.frames(0, 30), simulation.expected(0, 30)
    assert frames.shape == (30, 96, 128)
    assert np.ptp(background.image) == 0
    drawn = background.image[0, 0] * background.factor / np.exp(-np.arange(30) / 40)
    assert ((drawn >= 15) & (drawn <= 25)).all()
    assert drawn.std() == pytest.approx(10 / np.sqrt(12), rel=0.3)
    photons = light + background.image * background.factor[:, None, None]
    if not with_maps:
        off = deviation(frames, photons, "prime_95b")
    else:
        signal = 0.88 / 1.22 * photons
        off = (frames - offset - signal) / np.sqrt(signal / 1.22 + (noise / 1.22) ** 2 + 1 / 12)
    assert off.mean() == pytest.approx(0, abs=4 / np.sqrt(off.size))
    assert off.var() == pytest.approx(1, abs=0.012)
