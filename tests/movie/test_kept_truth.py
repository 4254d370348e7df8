"""Truth reused with other settings: phases are added once, and bounds match the file's config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

import simtiff
from simtiff.aberrations.maps import open_field
from simtiff.batch.pipeline import run_pipeline
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError, DataError
from simtiff.movie.estimate import truth_bytes, worker_bytes
from simtiff.movie.job import run_job, stream_movie
from simtiff.movie.truthfile import stored_config

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

MOVIE, TRUTH = "simulation.ome.tiff", "emitters.h5"
XYZ = np.array([[9.2, 12.1, 0.1], [20.0, 18.3, -0.2], [16.4, 7.7, 0.3]], np.float32)
LIGHT: dict[str, Any] = {"xyz": XYZ, "phot": [900.0, 700.0, 800.0]}


def job(crlb: bool | str = False, background: float = 50, **psf: Any) -> JobConfig:
    content: dict[str, Any] = {
        "emitters": {"num_emitters": 50, "frames": 6, "area_px": 32},
        "tiff": {"roi_size": 32, "noise_params": {"background": background}},
        "psf": {"size_px": 15} | psf,
        "truth": {"crlb": crlb},
    }
    return load_job_config({"zmap_path": "builtin:oil"} | content)


def bounds(path: Path) -> NDArray[np.float32] | None:
    with h5py.File(path) as file:
        return file["records/crlb"][()] if "records/crlb" in file else None


@pytest.mark.parametrize("phase_noll", [{"6": 0.1}, {}, {"6": 0.5, "40": -0.2}])
def test_a_stream_of_other_phases_is_a_job_of_them(tmp_path: Path, phase_noll: dict[str, float]) -> None:
    run_job(job(phase_noll={"6": 0.5}), tmp_path / "made")
    other = tmp_path / "other.json"
    other.write_text(load_job_config(job(phase_noll=phase_noll)).model_dump_json(include={"psf"}))
    options = ["--h5", str(tmp_path / "made" / TRUTH), "--output", str(tmp_path / "other.tif"), "--config", str(other)]
    assert cli.main(["stream", *options]) == 0
    run_job(job(phase_noll=phase_noll), tmp_path / "fresh")
    fresh, streamed = tifffile.imread(tmp_path / "fresh" / MOVIE), tifffile.imread(tmp_path / "other.tif")
    assert (fresh != tifffile.imread(tmp_path / "made" / MOVIE)).any()
    assert np.mean(fresh != streamed) < 1e-3  # from the last bits of coefficients


def test_phases_are_added_to_coefficients_of_a_file_that_says_none(tmp_path: Path) -> None:
    phase = np.zeros((3, 8), np.float32)
    phase[:, 7] = 0.4
    with h5py.File(tmp_path / TRUTH, "w") as file:
        for name, values in (LIGHT | {"frame_ix": [0, 2, 5]}).items():
            file[f"records/{name}"] = values
        file["zernike_coeffs/phase"] = phase
        file["zernike_coeffs/mag"] = phase / 4
    config = job(phase_noll={"11": 0.3})
    frames = simtiff.Simulation(config, emitters=tmp_path / TRUTH).expected(0, 6)
    arguments = (simtiff.Optics(), XYZ, LIGHT["phot"], (32, 32), phase, phase / 4, [0, 2, 5])
    assert np.allclose(frames, simtiff.render(*arguments, n_frames=6, size=15, phase_noll={11: 0.3}), atol=1e-4)
    with pytest.raises(DataError, match=r"does not state whether its coefficients include psf\.phase_noll"):
        run_pipeline(config, tmp_path, skip_zernike=True)
    run_pipeline(job(), tmp_path, skip_zernike=True)


def test_kept_coefficients_are_those_of_the_config(tmp_path: Path) -> None:
    run_pipeline(job(phase_noll={"6": 0.5}), tmp_path)
    with pytest.raises(DataError, match=r"psf\.phase_noll \(made with \{'6': 0.5\}, now \{'6': 0.2\}\)"):
        run_pipeline(job(phase_noll={"6": 0.2}), tmp_path, skip_zernike=True)
    run_pipeline(job(model="gaussian"), tmp_path, skip_zernike=True)
    with pytest.raises(DataError, match=r"psf\.model \(made with gaussian, now vectorial\)"):
        run_pipeline(job(model="vectorial"), tmp_path, skip_zernike=True)
    run_pipeline(job(model="vectorial"), tmp_path, skip_emitters=True)
    run_job(job(model="vectorial"), tmp_path / "fresh")
    assert (tmp_path / MOVIE).read_bytes() == (tmp_path / "fresh" / MOVIE).read_bytes()


def test_a_gaussian_s_truth_has_no_coefficients_for_other_models(tmp_path: Path) -> None:
    run_job(job(model="gaussian"), tmp_path / "gaussian")
    stream_movie(tmp_path / "gaussian" / TRUTH, tmp_path / "scalar.tif", job())
    run_job(job(), tmp_path / "fresh")
    assert (tifffile.imread(tmp_path / "scalar.tif") == tifffile.imread(tmp_path / "fresh" / MOVIE)).all()


@pytest.mark.parametrize("skip", ["skip_emitters", "skip_zernike"])
def test_bounds_are_those_of_the_config(tmp_path: Path, skip: str) -> None:
    run_pipeline(job(crlb=True), tmp_path)
    first = bounds(tmp_path / TRUTH)
    for config in (job(crlb=True, background=90), job(crlb="joint"), job(crlb="joint", blur_nm=80)):
        run_pipeline(config, tmp_path, **{skip: True})
        run_job(config, tmp_path / "fresh")
        found = bounds(tmp_path / TRUTH)
        assert first is not None
        assert found is not None
        assert not np.array_equal(found, first)
        np.testing.assert_array_equal(found, bounds(tmp_path / "fresh" / TRUTH))
    run_pipeline(job(background=90), tmp_path, **{skip: True})
    assert bounds(tmp_path / TRUTH) is None


def test_truth_stays_whole_where_its_bounds_cannot_be_made(tmp_path: Path) -> None:
    crowd = {"emitters": {"num_emitters": 3000, "frames": 2, "area_px": 32}, "tiff": {"roi_size": 32}}
    plain = load_job_config({"zmap_path": "builtin:oil", "psf": {"size_px": 5}} | crowd)
    joint = load_job_config(plain.model_dump() | {"truth": {"crlb": "joint"}})
    run_pipeline(plain, tmp_path)
    before = (tmp_path / TRUTH).read_bytes()
    for skip in ("skip_emitters", "skip_zernike"):
        with pytest.raises(ConfigError, match="joint bound"):
            run_pipeline(joint, tmp_path, **{skip: True})
        assert (tmp_path / TRUTH).read_bytes() == before
        assert stored_config(tmp_path / TRUTH) == plain


def test_bounds_count_in_the_size_of_the_truth(tmp_path: Path) -> None:
    content = {"emitters": {"num_emitters": 30_000, "frames": 40, "area_px": 64}, "tiff": {"roi_size": 64}}
    config = load_job_config({"psf": {"model": "gaussian", "size_px": 5}, "truth": {"crlb": True}} | content)
    run_job(config, tmp_path)
    size = (tmp_path / TRUTH).stat().st_size
    assert size < truth_bytes(config, open_field(config)) < 1.25 * size


def test_a_batch_of_gaussians_needs_no_map(tmp_path: Path) -> None:
    base = {"psf": {"model": "gaussian", "size_px": 7}, "emitters": {"num_emitters": 9, "frames": 2, "area_px": 16}}
    content = {"base_config": base | {"tiff": {"roi_size": 16}}, "variables": {"psf.sigma_nm": [120, [130, 150]]}}
    summary = simtiff.run_batch(content, output_dir=tmp_path / "out", progress=False)
    assert summary.exit_code == 0
    job_folders = sorted(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    for folder in job_folders:
        stream_movie(folder / TRUTH, tmp_path / "again.tif")
        assert (tmp_path / "again.tif").read_bytes() == (folder / MOVIE).read_bytes()
    assert len(job_folders) == 2
    assert cli.main(["verify", str(tmp_path / "out")]) == 0


def test_memory_for_bounds_is_counted() -> None:
    shape = {"model": "vectorial", "size_px": 101}
    config, with_bounds, joint = (job(crlb, **shape) for crlb in (False, True, "joint"))
    plain, alone, together = (worker_bytes(each, open_field(each)) for each in (config, with_bounds, joint))
    assert plain + 10e6 < alone < together  # measured: 27 MB more
