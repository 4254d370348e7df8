"""Configs of every PSF model, from file to pixels; keys that a model does not support are rejected by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

import simtiff
from batch_helpers import write_config
from simtiff.cli import process as cli
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SIDE, FRAMES, SIZE = 32, 4, 15
GAUSSIAN = {"model": "gaussian", "sigma_nm": [110, 140], "depth_nm": 350, "astigmatism_nm": 150}
WATER = {"NA": 1.4, "n_sample": 1.33, "n_coverslip": 1.523, "focal_depth_um": 0.8}
JOBS: dict[str, dict[str, Any]] = {
    "scalar": {"psf": {"phase_noll": {"6": 0.7, "30": -0.2}, "blur_nm": [30, 60]}},
    "vectorial": {"psf": {"model": "vectorial", "phase_noll": {"5": 0.4}}, "optical": {"focal_depth_um": -0.2}},
    "mismatch": {"psf": {"model": "vectorial"}, "optical": WATER, "emitters": {"z_um": [0.2, 1.1]}},
    "gaussian": {"psf": GAUSSIAN | {"blur_nm": 50}},
}
every_job = pytest.mark.parametrize("name", JOBS)


def settings(name: str, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "emitters": {"num_emitters": 40, "frames": FRAMES, "area_px": SIDE, "z_range_um": 0.6},
        "psf": {"size_px": SIZE},
        "tiff": {"roi_size": SIDE, "add_noise": False, "dtype": "float32"},
    }
    if name != "gaussian":
        content["zmap_path"] = "builtin:oil"
    for part in (JOBS[name], changes):
        for section, values in part.items():
            content[section] = content.get(section, {}) | values
    return content


def expected(path: Path, name: str) -> np.ndarray:
    """Return a movie rendered with `simtiff.render` from a truth file and its coefficients."""
    config = load_job_config(settings(name))
    with h5py.File(path) as file:
        records = {column: file[f"records/{column}"][()] for column in ("xyz", "phot", "frame_ix", "id")}
        phase = file["zernike_coeffs/phase"][()][records["id"]]
    psf = {key: value for key, value in JOBS[name]["psf"].items() if key != "phase_noll"}
    return simtiff.render(
        simtiff.Optics(**config.optical.model_dump()),
        records["xyz"],
        records["phot"],
        (SIDE, SIDE),
        **({} if name == "gaussian" else {"phase": phase}),
        frame_ix=records["frame_ix"],
        n_frames=FRAMES,
        size=SIZE,
        **psf,
    )


@every_job
def test_every_command_makes_the_model_s_movie(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, settings(name))
    assert cli.main(["validate", str(path)]) == 0
    assert "error" not in capsys.readouterr().err.lower()
    assert cli.main(["run", f"--config={path}", f"--output-dir={tmp_path / 'run'}"]) == 0
    truth = tmp_path / "run" / "emitters.h5"
    movie = tifffile.imread(tmp_path / "run" / "simulation.ome.tiff")
    np.testing.assert_allclose(movie, expected(truth, name), rtol=1e-5, atol=1e-3)
    simulation = simtiff.Simulation(settings(name))
    np.testing.assert_array_equal(simulation.frames(0, FRAMES), movie)
    assert cli.main(["stream", f"--h5={truth}", f"--output={tmp_path / 's.tif'}", "--chunk-size=3"]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "s.tif"), movie)
    batch = write_config(tmp_path, {"base_config": settings(name), "variables": {"psf.size_px": [9, SIZE]}})
    words = [str(batch), f"--output-dir={tmp_path / 'out'}", "--max-workers=1", "--quiet"]
    assert cli.main(["batch", *words]) == 0
    assert cli.main(["verify", str(tmp_path / "out")]) == 0
    found = [tifffile.imread(folder / "simulation.ome.tiff") for folder in sorted((tmp_path / "out").glob("job_*"))]
    np.testing.assert_array_equal(found[1], movie)
    assert (found[0] != movie).any()
    # and again, from the existing truth
    config = tmp_path / "job.json"
    config.write_text(json.dumps(settings(name)), encoding="utf-8")
    for option in ("--skip-emitters", "--skip-zernike"):
        assert cli.main(["run", f"--config={config}", f"--output-dir={tmp_path / 'run'}", option]) == 0
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "run" / "simulation.ome.tiff"), movie)


def test_a_gaussian_takes_no_notice_of_a_map(tmp_path: Path) -> None:
    plain = simtiff.Simulation(settings("gaussian")).frames(0, FRAMES)
    with_map = settings("gaussian") | {"zmap_path": "builtin:oil"}
    np.testing.assert_array_equal(simtiff.Simulation(with_map).frames(0, FRAMES), plain)
    # a sweep over models that need a map and one that does not
    base = {key: value for key, value in settings("gaussian").items() if key != "psf"} | {"zmap_path": "builtin:oil"}
    sweep = {
        "base_config": base,
        "variables": {"psf.model": ["scalar", "vectorial", "gaussian"], "psf.size_px": [SIZE]},
    }
    summary = simtiff.run_batch(sweep, output_dir=tmp_path, progress=False)
    assert (summary.completed, summary.failed) == (3, 0)
    del base["zmap_path"]
    with pytest.raises(ConfigError, match=r"zmap_path"):
        load_batch_config({"base_config": base})


@pytest.mark.parametrize("name", ["scalar", "vectorial"])
def test_added_phases_are_in_the_truth_once(name: str, tmp_path: Path) -> None:
    simulation = simtiff.Simulation(settings(name))
    files = simulation.write(tmp_path)
    xyz = simulation.emitters.xyz
    plain, _ = simtiff.FieldMap.open("builtin:oil", size=SIDE).coefficients(xyz[:, 0], xyz[:, 1])
    added = {int(noll): radians for noll, radians in JOBS[name]["psf"]["phase_noll"].items()}
    phase = np.pad(plain, ((0, 0), (0, max(0, max(added) - plain.shape[1]))))
    for noll, radians in added.items():
        phase[:, noll - 1] += radians
    path = write_config(tmp_path, settings(name))
    for option in ((), ("--skip-emitters",), ("--skip-emitters",), ("--skip-zernike",)):
        with h5py.File(files["emitters.h5"]) as file:
            np.testing.assert_allclose(file["zernike_coeffs/phase"], phase, rtol=0, atol=1e-6)
        assert cli.main(["run", f"--config={path}", f"--output-dir={tmp_path}", "--skip-tiff", *option]) == 0
    # records of other software, whose coefficients the job computes, get them as well
    records = simulation.records
    given = {"xyz": records.xyz, "phot": records.phot, "frame_ix": records.frame_ix, "id": records.id}
    again = simtiff.Simulation(settings(name), emitters=given)
    np.testing.assert_allclose(again.frames(0, FRAMES), simulation.frames(0, FRAMES), rtol=1e-5, atol=1e-3)


def test_heights_are_those_of_the_config() -> None:
    simulation = simtiff.Simulation(settings("mismatch", emitters={"num_emitters": 3000}))
    z = simulation.emitters.xyz[:, 2]
    assert 0.2 <= z.min() < 0.21
    assert 1.09 < z.max() <= np.float32(1.1)
    counts, _ = np.histogram(z, 6, (0.2, 1.1))
    assert (np.abs(counts - 500) < 100).all()  # five standard deviations
    fixed = simtiff.Simulation(settings("mismatch", emitters={"z_um": [0.5, 0.5]}))
    assert (fixed.emitters.xyz[:, 2] == np.float32(0.5)).all()


@pytest.mark.parametrize(
    ("name", "changes", "key", "message"),
    [
        ("scalar", {"psf": {"model": "vector"}}, "psf.model", '"vector" is not allowed.*gaussian'),
        ("scalar", {"optical": {"n_sample": 1.33}}, "optical.n_sample", 'needs psf.model "vectorial"'),
        ("scalar", {"optical": {"n_coverslip": 1.52}}, "optical.n_coverslip", 'needs psf.model "vectorial"'),
        ("gaussian", {"optical": {"focal_depth_um": 1}}, "optical.focal_depth_um", 'needs psf.model "vectorial"'),
        ("vectorial", {"psf": {"defocus": "paraxial"}}, "psf.defocus", 'needs psf.model "scalar"'),
        ("gaussian", {"psf": {"defocus": "paraxial"}}, "psf.defocus", 'needs psf.model "scalar"'),
        ("scalar", {"psf": {"sigma_nm": 100}}, "psf.sigma_nm", 'needs psf.model "gaussian"'),
        ("vectorial", {"psf": {"depth_nm": 300}}, "psf.depth_nm", 'needs psf.model "gaussian"'),
        ("vectorial", {"psf": {"astigmatism_nm": 10}}, "psf.astigmatism_nm", 'needs psf.model "gaussian"'),
        ("gaussian", {"psf": {"phase_noll": {"6": 1}}}, "psf.phase_noll", "needs a model with a pupil"),
        ("gaussian", {"psf": {"depth_nm": None}}, "psf.astigmatism_nm", "needs psf.depth_nm"),
        ("gaussian", {"psf": {"sigma_nm": [1, 2, 3]}}, "psf.sigma_nm", ""),
        ("scalar", {"psf": {"phase_noll": {"0": 1}}}, "psf.phase_noll", "not a Noll index; allowed: 1 to"),
        ("scalar", {"psf": {"phase_noll": {"6a": 1}}}, "psf.phase_noll", "not a Noll index"),
        ("scalar", {"psf": {"phase_noll": {"6": "much"}}}, "psf.phase_noll", ""),
        ("scalar", {"psf": {"blur_nm": -1}}, "psf.blur_nm", ""),
        ("scalar", {"psf": {"blur_nm": 600}}, "psf.blur_nm", "more than 5 pixels; allowed: up to 494"),
        (
            "mismatch",
            {"optical": {"NA": 1.51, "n_coverslip": 1.5}},
            "optical.NA",
            "larger than the refractive index n_coverslip",
        ),
        ("mismatch", {"optical": {"NA": 1.53}}, "optical.NA", "larger than the refractive index n_immersion"),
        ("mismatch", {"emitters": {"z_um": None}}, "emitters.z_range_um", "inside the coverslip.*emitters.z_um"),
        ("mismatch", {"emitters": {"z_um": [-0.1, 1]}}, "emitters.z_um", "inside the coverslip"),
        ("scalar", {"emitters": {"z_um": [1, 0.5]}}, "emitters.z_um", "higher value first"),
        ("scalar", {"emitters": {"z_um": [0.5]}}, "emitters.z_um", ""),
        ("mismatch", {"emitters": {"z_um": [0, 900]}}, "emitters.z_um", "too far out of focus.*up to about"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_key(
    name: str, changes: dict[str, Any], key: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, {"base_config": settings(name, **changes)})
    with pytest.raises(ConfigError, match=rf"(?s){key}.*{message}"):
        load_job_config(settings(name, **changes))
    assert cli.main(["batch", str(path), f"--output-dir={tmp_path / 'out'}"]) == 2
    words = capsys.readouterr().err
    assert str(path) in words
    assert f"base_config.{key}" in words
    assert not (tmp_path / "out").exists()
