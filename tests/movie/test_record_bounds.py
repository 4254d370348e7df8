"""`records/crlb` in emitters.h5: its values, independent of how the file is made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from batch_helpers import assert_same_results, batch, write_config
from simtiff import Camera, Renderer, Scene
from simtiff.aberrations.maps import open_field
from simtiff.batch.pipeline import run_pipeline
from simtiff.batch.run import run_batch
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError
from simtiff.movie.truth import write_truth

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES, FIELD, SIDE, SIZE = 12, 48, 32, 11
CROP = (9, 5)
BACKGROUND, READ_NOISE = 7.0, 1.6
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # settings, and the same for `Renderer`
    "scalar": (
        {"psf": {"phase_noll": {"6": 0.7}, "blur_nm": [20, 40]}},
        {"blur_nm": (20, 40)},
    ),
    "vectorial": (
        {
            "psf": {"model": "vectorial", "phase_noll": {"6": 0.7}},
            "optical": {"n_sample": 1.33, "focal_depth_um": 0.8},
            "emitters": {"z_um": [0.2, 1.0]},
        },
        {"model": "vectorial"},
    ),
    "gaussian": (
        {"psf": {"model": "gaussian", "depth_nm": 400, "astigmatism_nm": 200}},
        {"model": "gaussian", "depth_nm": 400, "astigmatism_nm": 200},
    ),
}


def job(model: str = "scalar", crlb: Any = True, **changes: Any) -> JobConfig:
    settings: dict[str, Any] = {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 240, "frames": FRAMES, "area_px": FIELD, "z_range_um": 0.5},
        "psf": {"size_px": SIZE},
        "tiff": {
            "roi_size": SIDE,
            "crop_offset": list(CROP),
            "noise_params": {"background": BACKGROUND, "readout_noise": READ_NOISE},
        },
        "truth": {"crlb": crlb},
    }
    if model == "gaussian":
        del settings["zmap_path"]
    for part in (MODELS[model][0], changes):
        for section, values in part.items():
            settings[section] = settings.get(section, {}) | values
    return load_job_config(settings)


def written(path: Path, config: JobConfig, **options: int) -> NDArray[np.float32]:
    write_truth(path, config, open_field(config), **options)
    return bounds_of(path)


def bounds_of(path: Path) -> NDArray[np.float32]:
    with h5py.File(path) as file:
        found = file["records/crlb"]
        assert found.dtype == np.float32
        assert found.attrs["unit"] == b"px, px, um, photons, photons per pixel"
        return found[()]


def truth_of(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return the records' field positions, photons and frames, and the coefficients of their emitters."""
    with h5py.File(path) as file:
        records = file["records"]
        rows = np.searchsorted(file["emitters/id"][()], records["id"][()])
        phase = file["zernike_coeffs/phase"][()][rows]
        return records["xyz"][()].astype(float), records["phot"][()], records["frame_ix"][()], phase


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("crlb", [True, "joint"])
def test_each_record_is_bound_by_the_pixels_of_its_frame(tmp_path: Path, model: str, crlb: Any) -> None:
    config = job(model, crlb)
    found = written(tmp_path / "emitters.h5", config)
    xyz, photons, frame_ix, phase = truth_of(tmp_path / "emitters.h5")
    assert found.shape == (len(xyz), 5)
    assert len(xyz) > 200
    optics = simtiff.Optics(**config.optical.model_dump())
    options = MODELS[model][1]
    coefficients = {} if model == "gaussian" else {"phase": phase}
    in_frame = xyz - [*CROP, 0]
    expected = Renderer(optics, size=SIZE, **options).record_bounds(
        Scene.from_arrays(in_frame, photons, frame_ix=frame_ix, **coefficients),
        np.full(FRAMES, BACKGROUND),
        (SIDE, SIDE),
        Camera(background=BACKGROUND, read_noise=READ_NOISE).detector,
        joint=crlb == "joint",
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # records whose stamps are within the frame, and records whose stamps miss it
    middle = np.floor(in_frame[:, :2] + 0.5)
    half = SIZE // 2
    inside = ((middle >= half) & (middle < SIDE - half)).all(axis=1)
    outside = ((middle < -half) | (middle >= SIDE + half)).any(axis=1)
    assert inside.sum() > 20
    assert outside.sum() > 5
    assert np.isinf(found[outside]).all()
    assert np.isfinite(found[inside]).all()
    shift = np.c_[middle, np.zeros(len(xyz))]
    alone = simtiff.crlb(
        optics, in_frame - shift, photons, BACKGROUND, size=SIZE, read_noise=READ_NOISE, **coefficients, **options
    )
    if crlb is True:
        np.testing.assert_allclose(found[inside], alone[inside], rtol=1e-5)
        partly = ~inside & ~outside
        assert (found[partly] >= 0.999 * alone[partly]).all()
        assert (found[partly, 3] > 1.01 * alone[partly, 3]).any()
    else:
        crowded = found[inside, 0] / alone[inside, 0]
        assert crowded.max() > 1.2


@pytest.mark.parametrize("crlb", [True, "joint"])
def test_pieces_do_not_show_in_bounds(tmp_path: Path, crlb: Any) -> None:
    whole = written(tmp_path / "whole.h5", job(crlb=crlb))
    for block in (1, 37, 500):
        np.testing.assert_array_equal(written(tmp_path / "part.h5", job(crlb=crlb), block_records=block), whole)
    before = simtiff.threads()
    try:
        simtiff.set_threads(3)
        np.testing.assert_array_equal(written(tmp_path / "part.h5", job(crlb=crlb)), whole)
    finally:
        simtiff.set_threads(before)
    # files of other software get their bounds in chunks of frames
    with h5py.File(tmp_path / "whole.h5") as file:
        records = {name: file[f"records/{name}"][()] for name in ("xyz", "phot", "frame_ix", "id")}
    for chunk in (1, 5, 100):
        config = job(crlb=crlb, memory_optimization={"chunk_size": chunk})
        for given in (records, tmp_path / "whole.h5"):
            files = simtiff.Simulation(config, emitters=given).write(tmp_path / "given")
            np.testing.assert_allclose(bounds_of(files["emitters.h5"]), whole, rtol=1e-5)


def test_bounds_belong_to_the_config_that_the_file_has(tmp_path: Path) -> None:
    """Skipped stages neither omit bounds nor leave outdated ones."""
    path = tmp_path / "emitters.h5"
    run_pipeline(job(), tmp_path)
    first = bounds_of(path)
    assert_equal = np.testing.assert_array_equal
    assert_equal(first, written(tmp_path / "fresh.h5", job()))
    brighter = {"noise_params": {"background": 90.0, "readout_noise": READ_NOISE}}
    for skipped in ("skip_emitters", "skip_zernike"):
        for config in (
            job(crlb="joint"),
            job(tiff=brighter),
            job(crlb=True, optical={"NA": 1.2}),
            job(memory_optimization={"chunk_size": 3}),
        ):
            run_pipeline(config, tmp_path, **{skipped: True}, skip_tiff=True)
            np.testing.assert_allclose(bounds_of(path), written(tmp_path / "fresh.h5", config), rtol=1e-5)
        for config in (job(crlb=False, tiff=brighter), job(crlb=False)):
            run_pipeline(config, tmp_path, **{skipped: True}, skip_tiff=True)
            with h5py.File(path) as file:
                assert "crlb" not in file["records"]
        run_pipeline(job(), tmp_path, **{skipped: True})
        assert_equal(bounds_of(path), first)


def test_the_smallest_file_gets_bounds_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    count = 60
    xyz = np.c_[rng.uniform(8, 40, (count, 2)), rng.uniform(-0.4, 0.4, count)].astype(np.float32)
    records = {
        "xyz": xyz,
        "phot": rng.uniform(300, 3000, count).astype(np.float32),
        "frame_ix": rng.integers(0, FRAMES, count),
    }
    with h5py.File(tmp_path / "emitters.h5", "w") as file:
        for name, values in records.items():
            file[f"records/{name}"] = values
    for crlb in (True, "joint"):
        expected = simtiff.Simulation(job(crlb=crlb), emitters=records).write(tmp_path / "given")
        run_pipeline(job(crlb=crlb), tmp_path, skip_emitters=True, skip_tiff=True)
        with h5py.File(tmp_path / "emitters.h5") as file, h5py.File(expected["emitters.h5"]) as other:
            rows = {xyz.tobytes(): row for xyz, row in zip(other["records/xyz"], other["records/crlb"], strict=True)}
            for place, bound in zip(file["records/xyz"], file["records/crlb"], strict=True):
                np.testing.assert_allclose(bound, rows[place.tobytes()], rtol=1e-5)


def test_sweeps_have_the_bounds_of_their_jobs(tmp_path: Path) -> None:
    base = json.loads(job(crlb=False).model_dump_json())
    variables = {"truth.crlb": [False, True, "joint"], "tiff.noise_params.background": [2, 50]}
    path = write_config(tmp_path, batch(base, variables=variables))
    output = tmp_path / "out"
    assert cli.main(["batch", str(path), f"--output-dir={output}", "--quiet", "--max-workers=1"]) == 0
    folders = sorted(folder for folder in output.iterdir() if folder.is_dir())
    assert len(folders) == 6
    means = {}
    for folder in folders:
        with h5py.File(folder / "emitters.h5") as file:
            config = JobConfig.model_validate_json(file.attrs["config"])
            key = config.truth.crlb, config.tiff.noise_params.background
            assert ("crlb" in file["records"]) == (key[0] is not False)
        if key[0] is not False:
            found = bounds_of(folder / "emitters.h5")
            np.testing.assert_array_equal(found, written(tmp_path / "fresh.h5", config))
            means[key] = found[np.isfinite(found).all(axis=1)].mean(axis=0)
    assert (means[True, 50] > means[True, 2]).all()
    assert (means["joint", 2][:2] > means[True, 2][:2]).all()
    # and again, bit-identical with other workers and other chunks
    again = tmp_path / "again"
    words = [f"--output-dir={again}", "--quiet", "--max-workers=2", "--set=memory_optimization.chunk_size=5"]
    assert cli.main(["batch", str(path), *words]) == 0
    assert_same_results(output, again)


def test_what_cannot_be_bound_is_said(tmp_path: Path) -> None:
    for wrong in ("Joint", 1, None, "true"):
        with pytest.raises(ConfigError, match=r'truth\.crlb: .*; allowed: true, false or "joint"'):
            job(crlb=wrong)
    dense = job("gaussian", emitters={"num_emitters": 20_000})
    together = job("gaussian", "joint", emitters={"num_emitters": 20_000})
    message = r'at most 250 emitters.*truth\.crlb: "joint"; psf\.size_px'
    path = tmp_path / "emitters.h5"
    with pytest.raises(ConfigError, match=message):
        written(path, together)
    assert list(tmp_path.iterdir()) == []
    summary = run_batch(
        {"base_config": json.loads(together.model_dump_json())}, output_dir=tmp_path / "out", progress=False
    )
    assert (summary.completed, summary.failed) == (0, 1)
    # an existing file does not change
    run_pipeline(dense, tmp_path, skip_tiff=True)
    before = path.read_bytes()
    for skipped in ("skip_emitters", "skip_zernike"):
        with pytest.raises(ConfigError, match=message):
            run_pipeline(together, tmp_path, **{skipped: True}, skip_tiff=True)
        assert path.read_bytes() == before


@pytest.mark.parametrize("crlb", [True, "joint"])
def test_bounds_are_those_of_the_job_s_own_camera_and_light(tmp_path: Path, crlb: Any) -> None:
    rng = np.random.default_rng(5)
    shape = (SIDE + 9, SIDE + 12)
    maps = {"quantum_efficiency": rng.uniform(0.4, 0.9, shape), "variance_adu2": rng.gamma(4, 3, shape)}
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        for name, values in maps.items():
            file[name] = values
    text = json.loads(job(crlb=crlb).model_dump_json())
    text["tiff"].pop("noise_params")
    light = {"photons": [5, 40], "decay_frames": 9, "structure": {"amplitude": 0.3, "length_px": 6}}
    text |= {
        "camera": {"maps_path": str(tmp_path / "maps.h5"), "maps_offset": [2, 3], "e_per_adu": 0.5, "dark_e": 0.2},
        "background": light,
        "illumination": {"fwhm_um": 4},
    }
    config = load_job_config(text)
    path = tmp_path / "emitters.h5"
    found = written(path, config)
    xyz, photons, frame_ix, phase = truth_of(path)
    with h5py.File(path) as file:
        image, factor = file["background/image"][()], file["background/factor"][()]
    assert image.max() > 1.5 * image.min()
    rows, columns = slice(CROP[1] + 3, CROP[1] + 3 + SIDE), slice(CROP[0] + 2, CROP[0] + 2 + SIDE)
    camera = Camera(e_per_adu=0.5, dark_e=0.2, maps={name: values[rows, columns] for name, values in maps.items()})
    scene = Scene.from_arrays(xyz - [*CROP, 0], photons, phase, frame_ix=frame_ix)
    scene = replace(scene, background=image, background_factor=factor)
    renderer = Renderer(simtiff.Optics(**config.optical.model_dump()), size=SIZE, **MODELS["scalar"][1])
    none = np.zeros(FRAMES)
    expected = renderer.record_bounds(scene, none, (SIDE, SIDE), camera.detector, joint=crlb == "joint")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(written(path, config, block_records=37), found)
    files = simtiff.Simulation(config, emitters=path).write(tmp_path / "given")
    np.testing.assert_allclose(bounds_of(files["emitters.h5"]), found, rtol=1e-5)
