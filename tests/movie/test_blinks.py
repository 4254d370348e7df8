"""Blinking molecules, fiducials and drift in a job: truth in file and memory, and the resulting pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.config.settings import JobConfig
from simtiff.emitters.drift import drift_of
from simtiff.emitters.tables import Molecules, Sites
from simtiff.errors import DataError
from simtiff.movie.estimate import truth_bytes
from simtiff.movie.frames import Movie
from simtiff.movie.job import run_job
from simtiff.movie.truth import MemoryTruth, replace_coefficients, write_truth
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path

STATES = {"on": {"dark": 0.5, "bleached": 0.02}, "dark": {"on": 0.1}}
DYE = {"kind": "kinetics", "states": STATES}
PAINT = {"kind": "paint", "on_frames": 3, "off_frames": 20}
FIDUCIALS = {"count": 2, "photons": 4000}
DRIFT = {"velocity_nm": [3, -2, 0.5], "walk_nm": [4, 4, 0]}


def job(drift: dict[str, Any] | None = None, **emitters: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "zmap_path": "builtin:oil",
            "emitters": {"num_emitters": 60, "frames": 24, "area_px": 40.0, **emitters},
            "psf": {"size_px": 15},
            "tiff": {"roi_size": 40},
            "drift": drift,
        }
    )


CASES = {
    "kinetics": job(blinking=DYE, fiducials=FIDUCIALS),
    "paint, drift": job(DRIFT, blinking=PAINT, fiducials=FIDUCIALS),
    "once, drift": job(DRIFT, num_emitters=200, fiducials=FIDUCIALS, margin_px=6),
    "kinetics, drift, margin": job(DRIFT, blinking=DYE, margin_px=6),
    "always, drift": job(DRIFT, blinking={"kind": "always"}, num_emitters=20),
}


def scenes(truth: MemoryTruth | TruthFile, size: int) -> list[bytes]:
    """Return the records, with position and coefficients, chunk by chunk."""
    found = []
    for start in range(0, 24, size):
        scene = truth.scene(start, min(start + size, 24))
        rows = scene.emitter_ix
        parts = (scene.xyz[rows], scene.phase[rows], scene.frame_ix.astype(np.int64) + start, scene.photons)
        found += list(zip(*([row.tobytes() for row in part] for part in parts), strict=True))
    return found


@pytest.mark.parametrize("name", CASES)
def test_file_and_memory_hold_the_same(tmp_path: Path, name: str) -> None:
    config = CASES[name]
    memory = MemoryTruth(config, open_field(config))
    size = write_truth(tmp_path / "t.h5", config, open_field(config), block_records=50)
    assert (size.emitters, size.records) == (len(memory.emitters), len(memory.records))
    with h5py.File(tmp_path / "t.h5") as file:
        tables: dict[str, Any] = {"emitters": memory.emitters, "records": memory.records}
        if memory.blinks is not None:
            tables["blinks"] = memory.blinks
            assert file["blinks/state"].attrs["names"].decode() in {"on, dark, bleached", "bound, free"}
        assert ("blinks" in file) == (memory.blinks is not None)
        for group, table in tables.items():
            assert set(file[group]) - {"frame_start"} == set(table.__slots__)
            for column in table.__slots__:
                stored = file[f"{group}/{column}"]
                assert stored.dtype == getattr(table, column).dtype
                np.testing.assert_array_equal(stored, getattr(table, column))
                assert stored.attrs["unit"]
        drift = drift_of(config)
        assert ("drift" in file) == (drift is not None)
        if drift is not None:
            np.testing.assert_array_equal(file["drift/xyz"], drift)
            assert file["drift/xyz"].attrs["unit"].decode() == "px, px, um"
        if config.emitters.fiducials is not None:
            assert file["emitters/id"].attrs["first_fiducial"] == size.emitters - 2
    with TruthFile(tmp_path / "t.h5") as file:
        whole = scenes(memory, 24)
        assert len(whole) == size.records
        assert scenes(file, 24) == scenes(file, 7) == scenes(memory, 1) == whole


@pytest.mark.parametrize("name", CASES)
def test_chunks_change_no_pixel(tmp_path: Path, name: str) -> None:
    config = CASES[name]
    write_truth(tmp_path / "t.h5", config, open_field(config))
    memory = Movie(config, MemoryTruth(config, open_field(config)))
    whole = np.empty(memory.shape, np.float32)
    memory.expected_into(0, 24, whole)
    with TruthFile(tmp_path / "t.h5") as truth:
        for size in (1, 5):
            parts = [np.empty((min(size, 24 - start), 40, 40), np.float32) for start in range(0, 24, size)]
            for start, part in zip(range(0, 24, size), parts, strict=True):
                Movie(config, truth).expected_into(start, start + len(part), part)
            assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert whole.any()


def test_records_drift_and_coefficients_do_not(tmp_path: Path) -> None:
    far = {"velocity_nm": [400, 0, 10]}  # 4 px in each frame
    config = job(far, blinking={"kind": "always"}, num_emitters=20, intensity_sigma=0)
    memory, field = MemoryTruth(config, open_field(config)), open_field(config)
    still = np.tile(memory.emitters.xyz, (24, 1))
    drift = drift_of(config)
    assert drift is not None
    np.testing.assert_allclose(memory.records.xyz, still + drift[memory.records.frame_ix], rtol=1e-6)
    phase, _ = field_coefficients(config, field, memory.emitters.xyz)
    write_truth(tmp_path / "t.h5", config, field)
    replace_coefficients(tmp_path / "t.h5", config, field)  # also for a file without coefficients
    with TruthFile(tmp_path / "t.h5") as file:
        for truth in (memory, file):
            scene = truth.scene(20, 21)
            order = np.argsort(scene.xyz[:, 1])
            np.testing.assert_array_equal(scene.phase[order], phase[np.argsort(memory.emitters.xyz[:, 1])])
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        assert "drift" in file
        del file["zernike_coeffs"]
    with TruthFile(tmp_path / "t.h5", coefficients="computed") as truth:
        assert scenes(truth, 5) == scenes(memory, 24)
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        del file["drift/xyz"]
        file["drift/xyz"] = np.zeros((3, 3))
    with TruthFile(tmp_path / "t.h5", coefficients="computed") as truth, pytest.raises(DataError, match="drift/xyz"):
        truth.drift()


def test_drift_is_found_in_the_pixels() -> None:
    """The centroid of a fiducial moves as in the truth."""
    config = job(
        {"velocity_nm": [20, 35, 0], "walk_nm": [15, 15, 0]}, num_emitters=0, fiducials={"count": 1, "photons": 1e5}
    )
    config = config.model_copy(update={"psf": config.psf.model_copy(update={"model": "gaussian"})})
    sim = simtiff.Simulation(config)
    light = sim.expected(0, 24).astype(float)
    y, x = np.mgrid[:40, :40]
    total = light.sum(axis=(1, 2))
    found = np.stack([(light * axis).sum(axis=(1, 2)) / total for axis in (x, y)], axis=1)
    assert sim.drift is not None
    np.testing.assert_allclose(found - found[0], sim.drift[:, :2], atol=0.02)
    assert np.abs(sim.drift[-1, :2]).min() > 3


def test_margins_light_the_field_with_coefficients_of_its_rim(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.random.default_rng(0).normal(0, 0.1, (5, 40, 40))  # as large as the field
    config = JobConfig.model_validate(
        job(num_emitters=400, blinking={"kind": "always"}, margin_px=7).model_dump() | {"zmap_path": str(path)}
    )
    truth = MemoryTruth(config, open_field(config))
    xyz = truth.emitters.xyz
    outside = (np.abs(xyz[:, :2] - 19.5) > 20).any(axis=1)
    assert outside.sum() == round(400 * (54**2 / 40**2 - 1))
    rim = xyz.copy()
    rim[:, :2] = np.clip(xyz[:, :2], -0.5, np.float32(39.49999))
    expected = open_field(config).coefficients(rim[:, 0].astype(float), rim[:, 1].astype(float))[0]
    np.testing.assert_allclose(truth.phase, expected, atol=1e-4)
    rim_light = [simtiff.Simulation(each).expected(0, 1)[0, 0].sum() for each in (config, without_margin(config))]
    assert rim_light[0] > 1.3 * rim_light[1]


def without_margin(config: JobConfig) -> JobConfig:
    return config.model_copy(update={"emitters": config.emitters.model_copy(update={"margin_px": 0.0})})


def test_simulation_says_when_emitters_are_on() -> None:
    sim = simtiff.Simulation(CASES["paint, drift"])
    assert isinstance(sim.emitters, Sites)
    assert sim.blinks is not None
    assert repr(sim).startswith("Simulation(62 emitters")
    assert isinstance(simtiff.Simulation(CASES["kinetics"]).emitters, Molecules)
    assert simtiff.Simulation(CASES["once, drift"]).blinks is None
    given = simtiff.Simulation(job(), emitters={"xyz": [[1, 2, 0]], "phot": [9], "frame_ix": [0]})
    assert given.drift is None
    with pytest.raises(DataError, match="blinks"):
        _ = given.blinks


def test_tracks_are_rendered_where_each_record_says(tmp_path: Path) -> None:
    """Records of a moving id have the coefficients at each position, for any chunk size."""
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.random.default_rng(0).normal(0, 0.3, (6, 40, 40))
    config = JobConfig.model_validate(job(frames=6).model_dump() | {"zmap_path": str(path)})
    xyz = np.array([[10, 10, 0], [12, 11, 0], [12, 11, 0], [30, 25, 0.2], [20.5, 20, 0], [20.5, 20, 0]])
    light = {"xyz": xyz, "phot": np.full(6, 1000), "frame_ix": np.arange(6), "id": [3, 3, 3, 3, 5, 5]}
    sim = simtiff.Simulation(config, emitters=light)
    whole = sim.expected(0, 6)
    assert np.concatenate([sim.expected(k, k + 1) for k in range(6)]).tobytes() == whole.tobytes()
    alone = {**light, "id": np.arange(6)}
    np.testing.assert_array_equal(simtiff.Simulation(config, emitters=alone).expected(0, 6), whole)
    phase, _ = field_coefficients(config, open_field(config), xyz.astype(np.float32))
    assert not np.allclose(phase[0], phase[3])
    optics = simtiff.Optics(**config.optical.model_dump())
    frames = {"frame_ix": light["frame_ix"], "n_frames": 6}
    obvious = simtiff.render(optics, xyz, light["phot"], (40, 40), phase, size=15, **frames)
    np.testing.assert_allclose(whole, obvious, atol=1e-3)


@pytest.mark.parametrize("crlb", [True, "joint"])
def test_bounds_are_those_of_drifted_records(tmp_path: Path, crlb: Any) -> None:
    config = CASES["paint, drift"].model_copy(update={"truth": simtiff.config.blocks.TruthConfig(crlb=crlb)})
    write_truth(tmp_path / "t.h5", config, open_field(config), block_records=40)
    with h5py.File(tmp_path / "t.h5") as file:
        made = file["records/crlb"][:]
    replace_coefficients(tmp_path / "t.h5", config, open_field(config))  # bounds of scenes read from the file
    with h5py.File(tmp_path / "t.h5") as file:
        np.testing.assert_allclose(file["records/crlb"], made, rtol=1e-5)
        assert "blinks" in file


def test_a_job_is_whole_and_verified(tmp_path: Path) -> None:
    from simtiff.batch.verify import verify_batch

    config = {
        "base_output_dir": str(tmp_path / "out"),
        "base_config": CASES["kinetics, drift, margin"].model_dump(mode="json", exclude_unset=True),
        "variables": {
            "emitters.blinking.states.on.bleached": [0.02, 0.2],
            "emitters.blinking.brightness": [{"on": 1.0}, {"on": 0.5}],
        },
    }
    summary = simtiff.run_batch(config)
    assert summary.exit_code == 0
    found = verify_batch(tmp_path / "out")
    assert found.exit_code == 0
    assert len(found.jobs) == 4
    assert all(check.frames == 3 for check in found.jobs)
    records = []
    for folder in sorted((tmp_path / "out").glob("job_*")):
        with h5py.File(folder / "emitters.h5") as file:
            records.append(file["records/phot"][:])
    np.testing.assert_allclose(records[0], 2 * records[1], rtol=1e-6)
    assert len(records[2]) < 0.9 * len(records[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_pictures_are_drawn(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    emitters = CASES[name].emitters.model_copy(update={"no_plot": False})
    files = run_job(CASES[name].model_copy(update={"emitters": emitters}), tmp_path)
    assert {"emitter_positions.png", "blinking_timeline.png"} <= set(files)


@pytest.mark.parametrize("blinking", [DYE, PAINT, {"kind": "always"}], ids=lambda blinking: blinking["kind"])
def test_size_of_the_truth_is_told_before(tmp_path: Path, blinking: dict[str, Any]) -> None:
    config = job(DRIFT, blinking=blinking, num_emitters=5000, frames=60, fiducials=FIDUCIALS)
    field = open_field(config)
    write_truth(tmp_path / "t.h5", config, field)
    size = (tmp_path / "t.h5").stat().st_size
    assert 0.99 * size < truth_bytes(config, field) < 2 * size  # the last chunks may be all but empty
