"""A job's camera: its section affects the frames, their bounds, the movie's header and the job's hash."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import ome_types
import pytest

import simtiff
from fuzzing import run
from simtiff.config.camera import CameraConfig
from simtiff.config.loading import load_job_config
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.errors import ConfigError, DataError
from simtiff.movie.camera import camera_of
from simtiff.movie.estimate import movie_bytes
from simtiff.movie.simulation import Simulation

if TYPE_CHECKING:
    from pathlib import Path

MOVIE = "simulation.ome.tiff"
JOB: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 60, "frames": 4, "area_px": [64, 48]},
    "tiff": {"roi_size": [40, 24], "crop_offset": [9, 5], "noise_params": {"background": 20}},
    "psf": {"size_px": 15},
}
DARK = {"emitters": JOB["emitters"] | {"num_emitters": 0, "frames": 400}}
SHORT = {"background": 20, "readout_noise": 3}


def with_tiff(**tiff: Any) -> dict[str, Any]:
    return {"tiff": JOB["tiff"] | tiff}


def write_maps(path: Path, shape: tuple[int, int] = (60, 80)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    maps = {
        "offset_adu": random.uniform(90, 110, shape),
        "gain_adu_per_e": random.uniform(1.8, 2.2, shape),
        "variance_adu2": random.uniform(4, 60, shape),
    }
    with h5py.File(path, "w") as file:
        for name, values in maps.items():
            file[name] = values
    return maps


def test_a_camera_takes_every_number_that_the_block_allows() -> None:
    schema = CameraConfig.model_json_schema()["properties"]
    for key, entry in schema.items():
        numbers = next((kind for kind in entry.get("anyOf", [entry]) if "maximum" in kind), {})
        for number in {numbers.get("minimum", 1e-300), numbers["maximum"]} if numbers else ():
            register = {"em_gain": 2} if key == "register_full_well_e" else {}
            block = {key: number} | register
            camera = camera_of(load_job_config(JOB | {"camera": block} | with_tiff(dtype="float32")))
            assert np.isfinite(camera.expose(np.full((1, 9), 5.0))).all(), block


def test_frames_are_what_the_camera_makes_of_the_expected_photons() -> None:
    """An EMCCD, by photon transfer over flat frames: Basden et al., MNRAS 345, 985 (2003)."""
    simulation = Simulation(JOB | DARK | {"camera": {"preset": "evolve_delta_512", "bit_depth": 12}})
    camera = camera_of(simulation.config)
    assert repr(camera) == (
        "Camera(background=20.0, read_noise=74.4, quantum_efficiency=0.9, em_gain=300.0, e_per_adu=45.0, "
        "offset_adu=100.0, bit_depth=12, dark_e=0.002)"
    )
    frames = simulation.frames(0, 400).astype(float)
    gain, electrons = 300 / 45, 20 * 0.9 + 0.002
    variance = 2 * gain**2 * electrons + (74.4 / 45) ** 2 + 1 / 12
    assert frames.mean() == pytest.approx(100 + gain * electrons, abs=5 * np.sqrt(variance / frames.size))
    assert frames.var() == pytest.approx(variance, rel=0.02)
    assert np.array_equal(simulation.frames(3, 7), simulation.frames(0, 400)[3:7])
    bright = Simulation(JOB | with_tiff(noise_params={"background": 1e5}) | {"camera": {"bit_depth": 10}})
    assert (bright.frames(0, 1) == 1023).all()


def test_a_plain_block_is_the_short_form() -> None:
    short = Simulation(JOB | with_tiff(noise_params=SHORT))
    block = Simulation(JOB | {"camera": {"read_noise_e": 3, "offset_adu": 0}, "noise_seed": 42})
    np.testing.assert_array_equal(block.frames(0, 4), short.frames(0, 4))
    assert camera_of(load_job_config(JOB | {"background": {}} | with_tiff(noise_params={}))).background == 0


def test_maps_lie_under_the_field_and_are_cropped_with_the_frame(tmp_path: Path) -> None:
    maps = write_maps(tmp_path / "maps.h5")
    block = {"maps_path": str(tmp_path / "maps.h5"), "maps_offset": [7, 11], "quantum_efficiency": 0.8}
    simulation = Simulation(JOB | DARK | {"camera": block})
    frames = simulation.frames(0, 400).astype(float)
    offset, gain, noise = (values[16:40, 16:56] for values in maps.values())
    variance = gain**2 * 16 + noise + 1 / 12
    far = (frames.mean(0) - offset - 16 * gain) / np.sqrt(variance / 400)
    assert np.abs(far).max() < 5
    assert far.std() == pytest.approx(1, abs=0.1)
    assert (frames.var(0) / variance).mean() == pytest.approx(1, abs=0.01)

    uncovered = Simulation(JOB | {"camera": block | {"maps_offset": [7, 32]}})
    words = r"maps.h5: offset_adu: has 60 px along y, but the frame lies on 37 to 60 \(camera\.maps_path\)$"
    with pytest.raises(DataError, match=words):
        uncovered.frames(0, 1)
    before = Simulation(JOB | {"camera": block | {"maps_offset": [0, 0]}} | with_tiff(crop_offset=[-1, 0]))
    with pytest.raises(DataError, match="the frame lies on -1 to 38"):
        before.frames(0, 1)


def test_pixels_depend_on_neither_chunks_nor_threads(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.h5")
    wells = {"full_well_e": 60, "register_full_well_e": 50_000}
    block = {"preset": "evolve_delta_512", "maps_path": str(tmp_path / "maps.h5"), **wells}
    simulation = Simulation(JOB | {"camera": block})
    whole = simulation.frames(0, 4)
    before = simtiff.threads()
    try:
        simtiff.set_threads(1)
        chunks = [chunk for _, chunk in simulation.stream(chunk_size=1)]
    finally:
        simtiff.set_threads(before)
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_without_noise_frames_are_expected_photons(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.h5")
    block = {"em_gain": 300, "quantum_efficiency": 0.5, "maps_path": str(tmp_path / "maps.h5")}
    simulation = Simulation(JOB | {"camera": block} | with_tiff(add_noise=False, dtype="float32", noise_params={}))
    np.testing.assert_array_equal(simulation.frames(0, 4), simulation.expected(0, 4))


def bounds_of(folder: Path, **blocks: Any) -> np.ndarray:
    simulation = Simulation(JOB | {"truth": {"crlb": True}} | blocks)
    simulation.write(folder)
    with h5py.File(folder / "emitters.h5") as file:
        bounds: np.ndarray = file["records/crlb"][:]
        return bounds


def test_bounds_are_those_of_the_camera(tmp_path: Path) -> None:
    """A QE of one half doubles the variance; so does the excess noise of a high EM gain."""
    quiet = {"read_noise_e": 0, "offset_adu": 100}
    full = bounds_of(tmp_path / "full", camera=quiet)
    half = bounds_of(tmp_path / "half", camera=quiet | {"quantum_efficiency": 0.5})
    register = bounds_of(tmp_path / "register", camera=quiet | {"em_gain": 300})
    good = np.isfinite(full).all(axis=1)
    assert good.sum() > 10
    np.testing.assert_allclose(half[good], np.sqrt(2) * full[good], rtol=1e-3)
    np.testing.assert_allclose(register[good], half[good], rtol=1e-3)
    short = bounds_of(tmp_path / "short", **with_tiff(noise_params=SHORT))
    same = bounds_of(tmp_path / "same", camera={"read_noise_e": 3, "e_per_adu": 0.4})
    np.testing.assert_array_equal(short, same)


def header_of(folder: Path, **blocks: Any) -> tuple[ome_types.OME, int, float]:
    simulation = Simulation(JOB | blocks)
    simulation.write(folder)
    path = folder / MOVIE
    return ome_types.from_tiff(path), path.stat().st_size, movie_bytes(simulation.config)


def test_the_header_says_what_is_known_of_the_camera(tmp_path: Path) -> None:
    numbers = CAMERA_PRESETS["evolve_delta_512"].settings
    ome, size, estimate = header_of(tmp_path / "a", camera={**numbers, "exposure_ms": 30.5, "bit_depth": 14})
    pixels, detector = ome.images[0].pixels, ome.instruments[0].detectors[0]
    settings = pixels.channels[0].detector_settings
    assert settings is not None
    assert (settings.gain, settings.offset) == (pytest.approx(1 / 45), 100)
    assert detector.type is not None
    assert (detector.type.value, detector.amplification_gain) == ("EMCCD", 300)
    assert pixels.significant_bits == 14
    assert [(plane.the_t, plane.exposure_time, plane.exposure_time_unit.value) for plane in pixels.planes] == [
        (frame, 30.5, "ms") for frame in range(4)
    ]
    assert size <= estimate
    write_maps(tmp_path / "maps.h5")
    ome, _, _ = header_of(tmp_path / "b", camera={"maps_path": str(tmp_path / "maps.h5"), "em_gain": 1})
    settings, detector = ome.images[0].pixels.channels[0].detector_settings, ome.instruments[0].detectors[0]
    assert settings is not None
    assert (settings.gain, settings.offset, detector.type, ome.images[0].pixels.planes) == (None, None, None, [])
    ome, _, _ = header_of(tmp_path / "c", camera=numbers, **with_tiff(add_noise=False, noise_params={}))
    settings = ome.images[0].pixels.channels[0].detector_settings
    assert settings is not None
    assert (settings.gain, settings.offset) == (1, 0)


def test_the_header_of_a_job_without_blocks_says_nothing_of_them(tmp_path: Path) -> None:
    ome, _, _ = header_of(tmp_path)
    text = ome.to_xml()
    assert not any(word in text for word in ("camera", "illumination", "Significant", "Plane ", "Amplification"))


def test_validate_says_what_a_user_should_know(tmp_path: Path) -> None:
    def notes(*sets: str) -> str:
        path = tmp_path / "job.json"
        path.write_text(json.dumps(JOB))
        code, out, _ = run("validate", path, *(f"--set={each}" for each in sets))
        assert code == 0
        return out

    assert "camera" not in notes()
    assert "camera" not in notes("camera.em_gain=300")
    assert "note: camera.em_gain is 5: below 10 the gamma distribution" in notes("camera.em_gain=5")
    assert "note: camera.offset_adu is 0: uint16 frames are clipped at 0, so half" in notes("camera.offset_adu=0")
    assert "camera" not in notes("camera.offset_adu=0", "camera.read_noise_e=0")
    assert "camera" not in notes("camera.offset_adu=0", "tiff.dtype=float32")
    assert "note: tiff.add_noise is false: frames are expected photons" in notes("camera={}", "tiff.add_noise=false")


def test_a_batch_knows_the_file_of_maps_by_what_it_holds(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.h5")
    (tmp_path / "copy.h5").write_bytes((tmp_path / "maps.h5").read_bytes())
    path, out = tmp_path / "batch.json", tmp_path / "out"

    def make(name: str, *options: str) -> tuple[int, str, str]:
        path.write_text(json.dumps({"base_config": JOB | {"camera": {"maps_path": name}}}))
        return run("batch", path, f"--output-dir={out}", "--quiet", *options)

    assert make("maps.h5")[0] == 0
    assert "plan: 1 done" in make("copy.h5", "--dry-run")[1]
    assert "3 frames rendered again and the same" in run("verify", out)[1]
    with h5py.File(tmp_path / "maps.h5", "a") as file:
        file["offset_adu"][0, 0] = 50
    code, _, err = make("maps.h5")
    assert code == 2
    assert "content of camera.maps_path changed" in err
    code, text, _ = run("verify", out)
    assert code == 0
    assert "its frames cannot be compared: content of camera.maps_path changed" in text
    assert make("maps.h5", "--overwrite")[0] == 0
    (tmp_path / "maps.h5").unlink()
    code, text, _ = run("verify", out)
    assert code == 0
    assert "its frames cannot be compared: " in text
    code, _, err = make("maps.h5")
    assert code == 2
    assert "base_config.camera.maps_path: " in err
    assert "no such file" in err


def test_a_file_that_is_not_there_is_named_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "batch.json"
    base = JOB | {"background": {"image_path": "none.tif"}} | with_tiff(noise_params={})
    path.write_text(json.dumps({"base_config": base, "variables": {"camera.maps_path": ["no.h5", "maps.h5"]}}))
    write_maps(tmp_path / "maps.h5", (20, 20))
    for words in (["validate", path], ["batch", path, f"--output-dir={tmp_path / 'out'}"]):
        code, _, err = run(*words)
        assert code == 2
        assert "3 errors in the inputs" in err
        assert f"variables.camera.maps_path[0], job_0000_maps_path_no.h5: {tmp_path / 'no.h5'}: no such file" in err
        assert "variables.camera.maps_path[1], job_0001_maps_path_maps.h5: " in err
        assert f"base_config.background.image_path, job_0000_maps_path_no.h5: {tmp_path / 'none.tif'}: no such" in err
        assert not (tmp_path / "out").exists()
    path.write_text(json.dumps({"base_config": JOB, "variables": {"camera": [None, {"maps_path": "no.h5"}]}}))
    code, _, err = run("validate", path)
    assert code == 2
    assert f"variables.camera[1].maps_path, job_0001_maps_path_no.h5: {tmp_path / 'no.h5'}: no such file" in err


def test_no_output_takes_the_place_of_an_input(tmp_path: Path) -> None:
    maps = tmp_path / "out" / "emitters.h5"
    maps.parent.mkdir()
    write_maps(maps)
    config = load_job_config(JOB | {"camera": {"maps_path": str(maps)}})
    with pytest.raises(ConfigError, match=r"emitters\.h5: would be overwritten, but is an input"):
        simtiff.Simulation(config).write(maps.parent)
    path = tmp_path / "job.json"
    movie = tmp_path / "sky.tif"
    movie.write_bytes(b"sky")
    simtiff.Simulation(JOB).write(tmp_path / "other")
    path.write_text(json.dumps(JOB | {"background": {"image_path": "sky.tif"}} | with_tiff(noise_params={})))
    h5 = tmp_path / "other" / "emitters.h5"
    code, _, err = run("stream", f"--h5={h5}", f"--output={movie}", f"--config={path}")
    assert code == 2
    assert "sky.tif: would be overwritten, but is an input" in err
    assert movie.read_bytes() == b"sky"
    path.write_text(config.model_dump_json())
    for words in (["run", f"--config={path}"], ["batch", path]):
        out = maps.parent if words[0] == "run" else tmp_path
        if words[0] == "batch":
            (tmp_path / "single_job").symlink_to(maps.parent)
        code, _, err = run(*words, f"--output-dir={out}")
        assert code == 2, err
        assert "would be overwritten, but is an input" in err
