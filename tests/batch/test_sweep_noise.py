"""The jobs of a sweep have independent camera noise, reproduced by other ways to make the same movie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import tifffile

import simtiff
from simtiff.config.loading import load_job_config
from simtiff.movie.job import stream_movie

if TYPE_CHECKING:
    from pathlib import Path

DARK = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 3, "frames": 4, "area_px": 40, "intensity_mu": 10},
    "tiff": {"roi_size": 40},
    "psf": {"size_px": 7},
}


def movies(folder: Path, **batch: Any) -> dict[str, np.ndarray]:
    summary = simtiff.run_batch({"base_config": DARK} | batch, output_dir=folder, max_workers=1, progress=False)
    assert summary.exit_code == 0
    return {path.parent.name: tifffile.imread(path) for path in sorted(folder.glob("*/*.ome.tiff"))}


def test_no_two_jobs_of_a_sweep_share_their_noise(tmp_path: Path) -> None:
    sweep = {"emitters.intensity_mu": [10, 11, 12, 13, 14], "optical.wavelength_nm": [600, 620, 640, 660]}
    pixels = np.array([movie.ravel() for movie in movies(tmp_path, variables=sweep).values()], float)
    assert len(pixels) == 20
    correlation = np.corrcoef(pixels)[np.triu_indices(20, 1)] * np.sqrt(pixels.shape[1])
    assert np.abs(correlation).max() < 4.5  # of 190 pairs of unrelated movies
    assert 0.8 < correlation.std() < 1.2


def test_a_sweep_may_share_its_noise(tmp_path: Path) -> None:
    sweep = {"variables": {"emitters.intensity_mu": [10, 11]}, "seeds": {"noise": "shared"}}
    first, second = movies(tmp_path, **sweep).values()
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.99


def test_stream_and_simulation_give_the_batch_s_pixels(tmp_path: Path) -> None:
    made = movies(tmp_path, variables={"tiff.noise_params.background": [5, 6]})
    seeds = set()
    for job_id, movie in made.items():
        truth = tmp_path / job_id / "emitters.h5"
        with h5py.File(truth) as file:
            config = load_job_config(dict(simtiff_config(file)))
            assert file.attrs["noise_seed"] == config.noise_seed != file.attrs["seed"]
            assert file.attrs["data_version"] == 4
            seeds.add(config.noise_seed)
        np.testing.assert_array_equal(simtiff.Simulation(config).frames(0, 4), movie)
        stream_movie(truth, tmp_path / "again.tiff")
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tiff"), movie)
    assert len(seeds) == 2


def simtiff_config(file: h5py.File) -> Any:
    import json

    return json.loads(file.attrs["config"])
