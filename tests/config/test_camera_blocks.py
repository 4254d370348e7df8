"""The sections camera, background and illumination: defaults, presets, rejected values, the job's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fuzzing import run
from simtiff.config import identity
from simtiff.config.identity import changed_settings, job_hash, setting_changes
from simtiff.config.inputs import changed_files, joined_digest
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.config.settings import JobConfig
from simtiff.config.sweeps import expand_jobs
from simtiff.errors import ConfigError

JOB: dict[str, Any] = {"zmap_path": "builtin:oil"}
STRUCTURE = {"amplitude": 0.3, "length_px": 40}


def job(**blocks: Any) -> JobConfig:
    return load_job_config(JOB | blocks)


def hash_of(**blocks: Any) -> str:
    return job_hash(job(**blocks), "d")


def jobs_of(base: dict[str, Any], **variables: Any) -> list[JobConfig]:
    named = {key.replace("__", "."): values for key, values in variables.items()}
    return [each.config for each in expand_jobs(load_batch_config({"base_config": JOB | base, "variables": named}))]


def test_defaults_are_the_documented_ones() -> None:
    config = job(camera={}, background={}, illumination={"fwhm_um": 20})
    assert config.model_dump(mode="json", include={"camera", "background", "illumination"}) == {
        "camera": {
            "preset": None,
            "quantum_efficiency": 1.0,
            "em_gain": None,
            "read_noise_e": 1.6,
            "e_per_adu": 1.0,
            "offset_adu": 100.0,
            "bit_depth": 16,
            "full_well_e": None,
            "register_full_well_e": None,
            "dark_e": 0.0,
            "shot_noise": True,
            "exposure_ms": None,
            "maps_path": None,
            "maps_offset": [0, 0],
        },
        "background": {"photons": 100.0, "structure": None, "image_path": None, "decay_frames": None},
        "illumination": {"fwhm_um": 20.0, "centre_px": None},
    }


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"camera": 3}, "camera: 3 is an integer; allowed: an object with the keys preset, .* or null"),
        (
            {"camera": {"preset": "kodak"}},
            'camera.preset: "kodak" is not a preset; allowed: evolve_delta_512, prime_95b',
        ),
        ({"camera": {"quantum_efficiency": 0}}, "camera.quantum_efficiency: 0 is too small; allowed: .* above 0 up to"),
        ({"camera": {"quantum_efficiency": 95}}, "camera.quantum_efficiency: 95 is too large"),
        ({"camera": {"em_gain": 0.5}}, "camera.em_gain: 0.5 is not allowed; allowed: null, 0 or 1 "),
        (
            {"camera": {"em_gain": -1}},
            "camera.em_gain: -1 is too small; allowed: null, 0, or a number from 1 to 10,000",
        ),
        ({"camera": {"read_noise_e": -1}}, "camera.read_noise_e: -1 is too small"),
        ({"camera": {"e_per_adu": 0}}, "camera.e_per_adu: 0 is too small"),
        ({"camera": {"e_per_adu": 1e-7}}, "camera.e_per_adu: .* is too small; allowed: a number from"),
        (
            {"camera": {"offset_adu": 65536}},
            "camera.offset_adu: 65536 is too large; allowed: a number from 0 to 65,535",
        ),
        ({"camera": {"bit_depth": 7}}, "camera.bit_depth: 7 is too small; allowed: an integer from 8 to 16"),
        ({"camera": {"bit_depth": 12.5}}, "camera.bit_depth: 12.5 is not an integer"),
        ({"camera": {"offset_adu": 4095, "bit_depth": 12}}, "camera.offset_adu: 4095.0 leaves no range .* end at 4095"),
        ({"camera": {"full_well_e": 0.9}}, "camera.full_well_e: 0.9 is too small; allowed: a number from 1 to"),
        ({"camera": {"em_gain": 5, "register_full_well_e": 0.9}}, "camera.register_full_well_e: 0.9 is too small"),
        ({"camera": {"register_full_well_e": 9}}, "camera.register_full_well_e: needs an EM register, but .* is null"),
        ({"camera": {"em_gain": 1, "register_full_well_e": 9}}, "needs an EM register, but camera.em_gain is 1.0"),
        ({"camera": {"dark_e": 1e7}}, "camera.dark_e: .* is too large; allowed: a number from 0 to 1,000,000"),
        ({"camera": {"dark_e": -0.1}}, "camera.dark_e: -0.1 is too small"),
        ({"camera": {"shot_noise": 1}}, "camera.shot_noise: 1 is an integer; allowed: true or false"),
        ({"camera": {"exposure_ms": 0}}, "camera.exposure_ms: 0 is too small"),
        ({"camera": {"maps_path": ""}}, 'camera.maps_path: "" is not a path'),
        ({"camera": {"maps_path": "~/maps.h5"}}, "camera.maps_path: .* begins with ~"),
        ({"camera": {"maps_path": "m", "maps_offset": [0, -1]}}, r"camera.maps_offset\[1\]: -1 is too small"),
        ({"camera": {"maps_offset": [1, 2]}}, r"camera.maps_offset: \[1, 2\] needs camera.maps_path"),
        ({"camera": {"gain": 2}}, "camera.gain: unknown key; did you mean"),
        ({"background": {"photons": -1}}, "background.photons: -1 is too small; allowed: a number from 0 to"),
        ({"background": {"photons": [2, 1]}}, "background.photons: .* has the higher value first; allowed: .low, high"),
        ({"background": {"photons": [1, 2, 3]}}, "background.photons"),
        ({"background": {"structure": {"amplitude": 1}}}, "background.structure.length_px: required key is missing"),
        ({"background": {"structure": STRUCTURE | {"amplitude": 11}}}, "structure.amplitude: 11 is too large"),
        ({"background": {"structure": STRUCTURE | {"length_px": 0.1}}}, "structure.length_px: 0.1 is too small"),
        ({"background": {"image_path": 3}}, "background.image_path: 3 is an integer; allowed: a string or null"),
        ({"background": {"decay_frames": 0}}, "background.decay_frames: 0 is too small"),
        ({"illumination": {}}, "illumination.fwhm_um: required key is missing; allowed: a number above 0"),
        ({"illumination": {"fwhm_um": 0}}, "illumination.fwhm_um: 0 is too small"),
        ({"illumination": {"fwhm_um": 9, "centre_px": [1]}}, r"illumination.centre_px\[1\]: required value is missing"),
        (
            {"camera": {}, "tiff": {"noise_params": {"background": 3, "readout_noise": 10}}},
            "tiff.noise_params.readout_noise: cannot be combined with a camera; use camera.read_noise_e instead",
        ),
        (
            {"camera": {}, "tiff": {"noise_params": {"shot_noise": False}}},
            "tiff.noise_params.shot_noise: cannot be combined with a camera; use camera.shot_noise instead",
        ),
        (
            {"background": {}, "tiff": {"noise_params": {"background": 100}}},
            "tiff.noise_params.background: cannot be combined with a background section; use background.photons",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(blocks: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        job(**blocks)
    assert "1 error in the config" in str(error.value)


def test_a_register_is_there_from_a_gain_above_1_on() -> None:
    gains = {gain: job(camera={"em_gain": gain}).camera for gain in (None, 0, 1, 1.5, 300)}
    assert [camera is not None and camera.has_register for camera in gains.values()] == [False] * 3 + [True] * 2


@pytest.mark.parametrize("name", CAMERA_PRESETS)
def test_a_preset_gives_the_numbers_that_the_block_does_not(name: str) -> None:
    numbers = CAMERA_PRESETS[name].settings
    config = job(camera={"preset": name, "read_noise_e": 2.5, "em_gain": None})
    camera = config.camera
    assert camera is not None
    assert camera.model_dump() == job(camera={**numbers, "read_noise_e": 2.5, "em_gain": None}).camera.model_dump() | {  # type: ignore[union-attr]
        "preset": name
    }
    assert config.model_dump(exclude_unset=True)["camera"] == {"preset": name, "read_noise_e": 2.5, "em_gain": None}
    stored = JobConfig.model_validate_json(config.model_dump_json())
    assert stored.camera == camera
    # The same numbers give the same job, from a preset or not.
    assert job_hash(stored, "d") == hash_of(camera={**numbers, "read_noise_e": 2.5, "em_gain": None})


def test_presets_and_their_numbers_can_be_swept() -> None:
    emccd = CAMERA_PRESETS["evolve_delta_512"].settings
    cameras = [config.camera for config in jobs_of({}, camera__preset=["evolve_delta_512", "prime_95b", None])]
    assert [camera and camera.em_gain for camera in cameras] == [emccd["em_gain"], None, None]
    assert [camera and camera.e_per_adu for camera in cameras] == [45.0, 1.22, 1.0]
    swept = jobs_of({"camera": {"preset": "evolve_delta_512"}}, camera__em_gain=[100, None])
    assert [(each.camera and each.camera.em_gain, each.camera and each.camera.dark_e) for each in swept] == [
        (100.0, emccd["dark_e"]),
        (None, emccd["dark_e"]),
    ]
    other = load_job_config(job(camera={"preset": "evolve_delta_512"}), ["camera.preset=prime_95b"]).camera
    assert other is not None
    assert (other.em_gain, other.full_well_e) == (None, 80_000)


def test_a_variable_makes_a_block_takes_one_away_or_is_one() -> None:
    gains = [config.camera and config.camera.em_gain for config in jobs_of({}, camera__em_gain=[100, 200])]
    assert gains == [100, 200]
    blocks = jobs_of(
        {"background": {"decay_frames": 9}}, background=[None, {"photons": [1, 2], "structure": STRUCTURE}]
    )
    assert blocks[0].background is None
    assert (
        blocks[1].background
        == job(background={"decay_frames": 9, "photons": [1, 2], "structure": STRUCTURE}).background
    )
    amplitudes = jobs_of({"background": {"structure": STRUCTURE}}, background__structure__amplitude=[0, 2.5])
    assert [each.background.structure.amplitude for each in amplitudes] == [0, 2.5]  # type: ignore[union-attr]
    lost = [each.background for each in jobs_of({"background": {}}, background__structure=[None, STRUCTURE])]
    assert [each is not None and each.structure is not None for each in lost] == [False, True]


def test_set_reaches_every_key(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    sets = ["camera.em_gain=300", "camera.maps_offset=[3,4]", "camera.maps_path=m.h5", "illumination.fwhm_um=9"]
    config = load_job_config(path, [*sets, "background.structure={amplitude: 1, length_px: 7}"])
    assert (config.camera, config.background, config.illumination) == (
        job(camera={"em_gain": 300, "maps_offset": [3, 4], "maps_path": str(Path.cwd() / "m.h5")}).camera,
        job(background={"structure": {"amplitude": 1, "length_px": 7}}).background,
        job(illumination={"fwhm_um": 9}).illumination,
    )
    assert load_job_config(config, ["camera=null"]).camera is None


def test_paths_are_relative_to_the_file_and_on_the_command_line_to_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "batch.json"
    base = JOB | {"camera": {"maps_path": "maps.h5"}, "background": {"image_path": "sky.tif"}}
    variables = {"camera": [{"maps_path": "a.h5"}], "psf.size_px,background.image_path": [[15, "b.tif"]]}
    path.write_text(json.dumps({"base_config": base, "variables": variables}))
    whole = load_batch_config(path)
    assert whole.base_config.camera is not None
    assert whole.base_config.camera.maps_path == str(tmp_path / "maps.h5")
    (config,) = (each.config for each in expand_jobs(whole))
    assert config.camera is not None
    assert config.background is not None
    assert (config.camera.maps_path, config.background.image_path) == (
        str(tmp_path / "a.h5"),
        str(tmp_path / "b.tif"),
    )
    here = load_batch_config(path, ['variables.camera=[{maps_path: "c.h5"}]', 'background={image_path: "d.tif"}'])
    assert here.base_config.background is not None
    assert here.base_config.background.image_path == str(Path.cwd() / "d.tif")
    assert here.variables["camera"] == ({"maps_path": str(Path.cwd() / "c.h5")},)


def test_old_jobs_keep_their_hash_and_blocks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two hashes were computed before these sections existed."""
    monkeypatch.setattr(identity, "DATA_VERSION", 4)
    assert hash_of() == "b3b6f6fcc6e4572078fd1d224fee9ecd12853b827eaaf1d5cf95071e56967e5b"
    assert (
        hash_of(emitters={"area_px": 64, "frames": 5}, tiff={"roi_size": 48})
        == "35d8b29eb37eab2ab75a3c7bfc75cd6d30b94d7389ad6d69f04b5964398381b1"
    )
    different: list[dict[str, Any]] = [
        {},
        {"camera": {}},
        {"background": {}},
        {"camera": {}, "background": {}},
        {"background": {"structure": STRUCTURE}},
        {"illumination": {"fwhm_um": 9}},
        {"camera": {"em_gain": 300}},
        {"camera": {"maps_path": "m", "maps_offset": [0, 1]}},
    ]
    assert len({hash_of(**blocks) for blocks in different}) == len(different)
    assert hash_of(camera={"read_noise_e": 1.6}) == hash_of(camera={}) == hash_of(camera={"exposure_ms": 30})
    assert hash_of(background={"photons": [7, 7]}) == hash_of(background={"photons": 7})
    assert hash_of(camera={"maps_path": "a.h5"}) == hash_of(camera={})  # the file's content counts, not its path


def test_a_plan_names_the_blocks_that_changed() -> None:
    with_camera = job(camera={"em_gain": 300})
    changes = setting_changes(changed_settings(job()), with_camera)
    assert changes == {"camera": (None, True), "camera.em_gain": (None, 300.0)}
    assert setting_changes(changed_settings(with_camera), job()) == {
        "camera": (True, None),
        "camera.em_gain": (300.0, None),
    }


def test_a_digest_tells_which_file_changed() -> None:
    before = joined_digest("m", {"camera.maps_path": "1", "background.image_path": "2"})
    assert joined_digest("m", {}) == "m"
    assert changed_files(before, before) == []
    assert changed_files(before, joined_digest("n", {"camera.maps_path": "1", "background.image_path": "3"})) == [
        "zmap_path",
        "background.image_path",
    ]
    assert changed_files("m", before) == changed_files(before, "m") == []  # only in one of them: another config


def test_a_full_dump_is_the_same_job() -> None:
    config = job(camera={"preset": "prime_95b"}, background={"photons": [1, 2]}, illumination={"fwhm_um": 9})
    dump = config.model_dump(mode="json")
    assert dump["tiff"]["noise_params"] == {}
    again = load_job_config(dump)
    assert (again, job_hash(again, "d")) == (config, job_hash(config, "d"))


def test_another_config_gives_blocks_in_place_of_those_that_a_truth_carries() -> None:
    stored = JobConfig.model_validate_json(job(tiff={"noise_params": {"readout_noise": 3}}).model_dump_json())
    mixed = load_job_config({"camera": {}, "background": {}}, needs_zmap=False, otherwise=stored)
    assert mixed.camera is not None
    emccd = JobConfig.model_validate_json(job(camera={"preset": "evolve_delta_512"}).model_dump_json())
    kept = load_job_config({"camera": {"em_gain": 50}}, needs_zmap=False, otherwise=emccd).camera
    other = load_job_config({"camera": {"preset": "prime_95b"}}, needs_zmap=False, otherwise=emccd).camera
    assert kept is not None
    assert other is not None
    assert (kept.em_gain, kept.e_per_adu) == (50, 45)
    assert (other.em_gain, other.e_per_adu) == (None, 1.22)


def test_the_command_lists_presets_and_prints_one_that_loads(tmp_path: Path) -> None:
    code, out, _ = run("camera")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["preset", *CAMERA_PRESETS]
    for name, preset in CAMERA_PRESETS.items():
        code, out, _ = run("camera", name)
        assert code == 0
        block = json.loads(out)
        assert preset.source in block["camera"]["_note"]
        assert job_hash(load_job_config(JOB | block), "d") == hash_of(camera={"preset": name})
    code, out, err = run("camera", "kodak")
    assert (code, out) == (2, "")
    assert all(name in err for name in CAMERA_PRESETS)
