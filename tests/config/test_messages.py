"""Invalid configs: all errors in one block, with key path and allowed values, and never another exception."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from batch_helpers import batch
from fuzzing import json_values
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.config.settings import BatchConfig, JobConfig
from simtiff.config.sweeps import expand_jobs
from simtiff.config.text import parse_config_text
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def error_of(config: Any, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        expand_jobs(load_batch_config(config, overrides))
    return str(caught.value)


def error_or_none(action: Callable[[], object]) -> str | None:
    try:
        action()
    except ConfigError as error:
        return str(error).encode().decode()
    return None


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("emitters", "frames", "5", '"5" is a string; allowed: an integer from 1 to 10,000,000'),
        ("emitters", "frames", 0, "0 is too small; allowed: an integer from 1"),
        ("emitters", "frames", 3.5, "3.5 is not an integer"),
        ("emitters", "frames", True, "true is a boolean"),
        ("emitters", "frames", None, "null is not allowed; allowed: an integer from 1"),
        ("emitters", "frames", 10**30, "is too large"),
        ("emitters", "num_emitters", -1, "-1 is too small; allowed: an integer from 0"),
        ("emitters", "num_emitters", 10**10, "is too large"),
        ("emitters", "area_px", False, "false is a boolean; allowed: a number"),
        ("emitters", "area_px", 10**400, "allowed: a number from 1 to 65,536"),
        ("emitters", "intensity_mu", float("nan"), "NaN is not a finite number"),
        ("emitters", "intensity_mu", float("inf"), "Infinity is not a finite number"),
        ("emitters", "intensity_sigma", -0.5, "-0.5 is too small"),
        ("emitters", "lifetime_avg", 0, "0 is too small; allowed: a number above 0 up to"),
        ("emitters", "no_plot", "true", '"true" is a string; allowed: true or false'),
        ("emitters", "no_plot", 1, "1 is an integer; allowed: true or false"),
        ("zernike", "interpolation_method", "spline", 'allowed: one of "cubic", "linear", "nearest"'),
        ("zernike", "crop_size", 0, "0 is too small; allowed: an integer from 1 to 1,000,000 or null"),
        ("zernike", "crop_offset", [0], "allowed: a list of 2 integers"),
        ("zernike", "crop_offset", [0, -1], "-1 is too small"),
        ("zernike", "crop_offset", 3, "3 is an integer; allowed: a list of 2 integers"),
        ("zernike", "extrapolate", True, 'true is not allowed; allowed: "nearest" or null'),
        ("optical", "NA", 1.6, "1.6 is larger than the refractive index n_immersion 1.518"),
        ("optical", "NA", 0, "0 is too small"),
        ("optical", "wavelength_nm", 0.66, "0.66 is too small; allowed: a number from 100 to 5,000"),
        ("optical", "pixel_size_nm_x", -100, "-100 is too small"),
        ("psf", "model", "tabulated", 'allowed: one of "scalar", "vectorial", "gaussian"'),
        ("psf", "size_px", 40, "40 is even; allowed: an odd number from 3 to 511"),
        ("psf", "size_px", 1, "1 is too small; allowed: an odd integer from 3 to 511"),
        ("psf", "size_px", 513, "513 is too large"),
        ("psf", "size_px", 40.0, "40 is even"),
        ("psf", "blur_nm", None, "null is not allowed; allowed: a number from 0 to 100,000, or a list [x, y] of two"),
        ("psf", "sigma_nm", [None, 1], "null is not allowed; allowed: a number from 1 to 100,000, or a list"),
        ("psf", "phase_noll", {"6": None}, "null is not allowed; allowed: a number from -1,000 to 1,000"),
        ("zernike", "crop_size", 2.5, "2.5 is not an integer; allowed: an integer from 1 to 1,000,000 or null"),
        ("zernike", "crop_offset", [0, 0.5], "0.5 is not an integer"),
        (
            "emitters",
            "z_range_um",
            1000,
            "out of focus to be computed; allowed with these optics: up to about 4",
        ),
        ("tiff", "filename", "../a.tif", "leaves its folder"),
        ("tiff", "filename", "/a.tif", "leaves its folder"),
        ("tiff", "filename", "a\\b.tif", "leaves its folder"),
        ("tiff", "filename", "..", "leaves its folder"),
        ("tiff", "filename", "con.tif", "that Windows reserves"),
        ("tiff", "filename", "a:b.tif", "some systems do not allow"),
        ("tiff", "filename", "a\nb.tif", "some systems do not allow"),
        ("tiff", "filename", ".a.tif", "must not begin"),
        ("tiff", "filename", "a" * 200 + ".tif", "is longer than 100 bytes"),
        ("tiff", "filename", "movie.png", "must end in .tif or .tiff"),
        ("tiff", "roi_size", 0, "0 is too small; allowed: an integer from 1 to 65,536"),
        ("tiff", "dtype", "uint8", 'allowed: one of "uint16", "float32"'),
        ("tiff", "crop_offset", [1200, 0], "outside the field of view of 1200 px"),
        ("tiff", "noise_params", [100], "[100] is a list; allowed: an object with the keys background"),
        ("memory_optimization", "chunk_size", 0, "0 is too small"),
    ],
)
def test_wrong_value_is_named_with_its_key_and_what_is_allowed(section: str, key: str, value: Any, words: str) -> None:
    message = error_of(batch({section: {key: value}}))
    assert message.startswith("config: 1 error in the config\n")
    assert f"  base_config.{section}.{key}" in message
    assert words in message


def test_stamp_beyond_what_can_be_integrated_is_named() -> None:
    optical = {"pixel_size_nm_x": 6500, "pixel_size_nm_y": 6500}
    message = error_of(batch({"optical": optical, "psf": {"size_px": 101}}))
    assert "base_config.psf.size_px: a stamp of 101 px of 6500 nm is too large" in message
    largest = int(message.rpartition("up to ")[2].removesuffix(" px"))
    load_batch_config(batch({"optical": optical, "psf": {"size_px": largest}, "emitters": {"z_range_um": 0}}))


@pytest.mark.parametrize(
    ("optical", "z_um", "line"),
    [
        ({"focal_depth_um": 500}, [0, 1], "optical.focal_depth_um: 500 um is too deep to be computed"),
        ({"focal_depth_um": 500, "n_sample": 1.33}, [0, 1], "optical.focal_depth_um: 500 um is too deep"),
        ({"n_sample": 1.33}, [500, 600], "emitters.z_um: 600 um is too far out of focus"),
        ({"n_sample": 1.33}, [-1, 1], "emitters.z_um: puts emitters at z = -1 um, inside the coverslip"),
        ({"n_sample": 1.33}, None, "emitters.z_range_um: puts emitters at z = -1 um, inside the coverslip"),
    ],
)
def test_depths_that_cannot_be_are_named_alone(optical: dict[str, Any], z_um: list[float] | None, line: str) -> None:
    message = error_of(batch({"psf": {"model": "vectorial"}, "optical": optical, "emitters": {"z_um": z_um}}))
    assert message.startswith(f"config: 1 error in the config\n  base_config.{line}")


@pytest.mark.parametrize("defocus", ["exact", "paraxial"])
@pytest.mark.parametrize("sampling", [{}, {"use_direct_rendering": False, "hr_size": 4800}])
def test_defocus_beyond_what_can_be_integrated_is_named(defocus: str, sampling: dict[str, Any]) -> None:
    base = {"emitters": {"z_range_um": 900}, "psf": {"defocus": defocus}, "tiff": sampling}
    message = error_of(batch(base))
    assert "base_config.emitters.z_range_um: 900 um is too far out of focus" in message
    deepest = float(message.rpartition("up to about ")[2].removesuffix(" um"))
    assert 10 < deepest < 100
    config = load_batch_config(batch(base | {"emitters": {"z_range_um": 0.99 * deepest}})).base_config
    assert error_of(batch(base | {"emitters": {"z_range_um": 1.02 * deepest}}))
    # Allowed values can be computed; there is as much reserve again for aberrations, but no more.
    optics, psf = simtiff.Optics(**config.optical.model_dump()), config.psf
    simtiff.psf(optics, [[0, 0, 1.01 * deepest]], size=psf.size_px, defocus=defocus)
    with pytest.raises(ConfigError, match="quadrature rows"):
        simtiff.psf(optics, [[0, 0, 2.2 * deepest]], size=psf.size_px, defocus=defocus)


@pytest.mark.parametrize("path", ["", " ", "a\0b", "\ud800", 5, None, "builtin:water"])
def test_zmap_path_must_be_a_path(path: Any) -> None:
    assert "base_config.zmap_path: " in error_of(batch({"zmap_path": path}))


def test_paths_are_not_expanded_and_names_fit_every_system() -> None:
    for path in ("~", "~/maps/a.h5", "~me/a.h5"):
        words = f'"{path}" begins with ~, which is not expanded; write the full path'
        assert f"base_config.zmap_path: {words}" in error_of(batch({"zmap_path": path}))
        assert f"base_config.zmap_path: {words}" in error_of(batch(), (f"zmap_path={path}",))
        assert f"variables.zmap_path[0]: {words}" in error_of(batch(variables={"zmap_path": [path]}))
        assert f"base_output_dir: {words}" in error_of(batch(base_output_dir=path))
    for path in ("out ", "a/out.", "a /out. /"):
        assert "must not end with a space or a dot" in error_of(batch(base_output_dir=path))
    for path in (".", "..", "../..", "/", "a./out", "./~out"):
        assert load_batch_config(batch(base_output_dir=path)).base_output_dir == path


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (batch({"emiters": {}}), 'base_config.emiters: unknown key; did you mean "emitters"?'),
        (
            batch({"emitters": {"num_emiters": 3}}),
            'base_config.emitters.num_emiters: unknown key; did you mean "num_emitters"?',
        ),
        (batch({"optical": {"na": 1.4}}), 'base_config.optical.na: unknown key; did you mean "NA"?'),
        (
            batch({"num_emitters": 3}),
            'base_config.num_emitters: unknown key; it belongs at "base_config.emitters.num_emitters"',
        ),
        (batch({"psf": {"qqq": 3}}), "valid keys are model, size_px, defocus, pixel_integration"),
        (batch(max_worker=3), 'max_worker: unknown key; did you mean "max_workers"?'),
        (batch(max_workers=0), "max_workers: 0 is too small; allowed: an integer from 1 to 1,024 or null"),
        (batch(base_output_dir=""), "base_output_dir: "),
        (batch(variables=[1]), "variables: [1] is a list; allowed: an object"),
        (
            batch(sample_configs=3),
            "sample_configs: 3 is an integer; allowed: an object with the keys num_samples",
        ),
        (batch(sample_configs={}), "sample_configs.num_samples: required key is missing"),
        ({}, "base_config: required key is missing"),
        ({"base_config": {}}, "base_config.zmap_path: required key is missing; allowed: a string"),
        ({"base_config": 3}, "base_config: 3 is an integer; allowed: an object"),
        ({"emitters": {}, "max_workers": 2}, 'put the settings of a job under "base_config"'),
    ],
)
def test_wrong_structure_is_named(config: dict[str, Any], line: str) -> None:
    assert line in error_of(config)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"emitters.frames": []}, "variables.emitters.frames: the list of values is empty"),
        ({"emitters.frames": 5}, "variables.emitters.frames: 5 is not a list"),
        ({"emitters.frames": "abc"}, 'variables.emitters.frames: "abc" is not a list'),
        ({"emitters.frames": [1, "5"]}, 'variables.emitters.frames[1]: "5" is a string; allowed: an integer'),
        ({"emitters.num_emitters.x": [1]}, "an integer from 0 to 1,000,000,000, not an object with keys"),
        ({"emitters.frmes": [1]}, 'unknown key in emitters; did you mean "frames"?'),
        ({"frames": [1]}, 'unknown key; it belongs at "emitters.frames"'),
        ({"tif.roi_size": [1]}, 'variables.tif.roi_size: unknown key; did you mean "tiff"?'),
        ({"base_config.emitters.frames": [1]}, 'keys are relative to base_config; use "emitters.frames"'),
        ({"psf": [3]}, "variables.psf[0]: 3 is not an object; allowed: an object with the keys model, size_px"),
        ({"psf": [{"size": 3}]}, 'variables.psf[0].size: unknown key in psf; did you mean "size_px"?'),
        ({"psf": [{}, {"size_px": 4}]}, "variables.psf[1].size_px: 4 is even"),
        (
            {"tiff": [{"noise_params": {"background": -1}}]},
            "variables.tiff[0].noise_params.background: -1 is too small",
        ),
        (
            {"emitters.frames,emitters.sed": [[1, 2]]},
            'variables.emitters.frames,emitters.sed: "emitters.sed": unknown key',
        ),
        ({"emitters.frames,emitters.frames": [[1, 2]]}, "names a key twice"),
        ({"emitters.frames,emitters.seed": [1]}, "[0]: 1 is not a list of 2 values"),
        ({"emitters.frames,emitters.seed": [[1, 2], [1]]}, "[1]: [1] is not a list of 2 values"),
        ({"emitters.frames,emitters.seed": [[0, 2]]}, "variables.emitters.frames,emitters.seed[0][0]: 0 is too small"),
        ({"psf.size_px": [3], "psf": [{"size_px": 5}]}, 'variables.psf: sets psf.size_px, and so does "psf.size_px"'),
        (
            {"psf.phase_noll.6": [1e9]},
            "variables.psf.phase_noll.6[0]: 1000000000.0 is too large; allowed: a number from",
        ),
        ({"psf.phase_noll.06": [1]}, 'variables.psf.phase_noll.06: "06" is not a Noll index'),
        ({"psf.phase_noll.6": [1], "psf.phase_noll": [{}]}, 'sets psf.phase_noll, and so does "psf.phase_noll.6"'),
        ({"psf": [{"phase_noll": {}}], "psf.phase_noll.6": [1]}, 'sets psf.phase_noll.6, and so does "psf"'),
        ({"": [1]}, "valid keys are zmap_path, emitters"),
        ({"emitters.": [1]}, "unknown key in emitters"),
        (
            {"tiff.filename": ["a.tif", "../b.tif"]},
            'variables.tiff.filename[1]: "../b.tif" leaves its folder',
        ),
        ({"emitters.seed": list(range(400)), "tiff.roi_size": list(range(1, 400))}, "make 159,600 jobs"),
    ],
)
def test_wrong_variables_are_named(variables: dict[str, Any], line: str) -> None:
    message = error_of(batch(variables=variables))
    assert line in message
    assert message.count("\n") == 1


def test_all_errors_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    wrong = batch({"emitters": {"frames": 0, "sed": 1}, "tiff": {"dtype": "u2"}}, max_workers="all")
    wrong |= {"variables": {"emitters.area_px": [], "x.y": [1]}, "sample_configs": {"num_samples": 0}}
    path.write_text(json.dumps(wrong), encoding="utf-8")
    lines = error_of(path).splitlines()
    assert lines[0] == f"{path}: 7 errors in the config"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "max_workers",
        "base_config.emitters.frames",
        "base_config.emitters.sed",
        "base_config.tiff.dtype",
        "sample_configs.num_samples",
        "variables.emitters.area_px",
        "variables.x.y",
    ]


def test_what_does_not_go_together_is_reported_with_the_rest() -> None:
    base: dict[str, Any] = {
        "optical": {"NA": 1.6, "wavelength_nm": 0.6, "pixel_size_nm_x": 6500},
        "tiff": {"hr_size": 3, "use_direct_rendering": False, "crop_offset": [0, 1200], "dtype": "u2"},
        "psf": {"size_px": 511},
    }
    samples = {"num_samples": 3, "sample_naming": "one", "frames_per_sample": 0}
    variables = {"emitters.frmes": [1], "psf.defocus": ["none"]}
    lines = error_of(batch(base, sample_configs=samples, variables=variables)).splitlines()
    assert lines[0] == "config: 9 errors in the config"
    paths = {line.split(":")[0].strip(): line for line in lines[1:]}
    assert "1.6 is larger than the refractive index" in paths["base_config.optical.NA"]
    assert "allowed with use_direct_rendering false: from 601" in paths["base_config.tiff.hr_size"]
    assert "outside the field of view" in paths["base_config.tiff.crop_offset"]
    assert "gives all 3 samples the same name" in paths["sample_configs.sample_naming"]
    # The stamp is checked only if wavelength and aperture are valid.
    assert "base_config.psf.size_px" not in paths
    base["optical"] = {"pixel_size_nm_x": 6500}
    message = error_of(batch(base, sample_configs=samples))
    assert "base_config.psf.size_px: a stamp of 511 px of 6500 nm is too large" in message


def test_variables_that_do_not_go_together_are_reported_with_the_rest() -> None:
    variables = {"optical.NA": [1.4, 1.6], "emitters.frames": [0], "tiff.roi_size": [64]}
    message = error_of(batch({"emitters": {"sed": 1}}, variables=variables))
    assert "3 errors" in message
    assert "variables, job_0001_NA_1.6_roi_size_64: optical.NA: 1.6 is larger than the refractive index" in message
    # A value that is invalid by itself causes no further errors.
    assert "1 error" in error_of(batch({"optical": {"n_immersion": "oil"}}, variables={"optical.NA": [1.4, 1.6]}))
    assert "1 error" in error_of(batch({"optical": {"NA": 1.5}}, variables={"optical.n_immersion": ["oil", 1.6]}))
    # A variable replaces a wrong value.
    message = error_of(batch({"optical": {"NA": "high"}}, variables={"optical.NA": [1.4, 1.6]}))
    assert "2 errors" in message
    assert "job_0001_NA_1.6: optical.NA: 1.6" in message


def test_a_value_wrong_in_every_combination_is_reported_once() -> None:
    message = error_of(batch(variables={"emitters.seed": list(range(50)), "emitters.frames": [1, 0, 2]}))
    assert message.splitlines()[1:] == [
        "  variables.emitters.frames[1]: 0 is too small; allowed: an integer from 1 to 10,000,000"
    ]


def test_combination_that_is_wrong_only_together_is_reported_once() -> None:
    variables = {"emitters.seed": [1, 2], "optical.NA": [1.4, 1.5], "optical.n_immersion": [1.45, 1.518]}
    lines = error_of(batch(variables=variables)).splitlines()
    assert len(lines) == 2
    assert "job_0002_seed_1_NA_1.5_n_immersion_1.45" in lines[1]
    assert "optical.NA: 1.5 is larger than the refractive index n_immersion 1.45" in lines[1]


@pytest.mark.parametrize(
    ("naming", "words"),
    [
        ("../{sample_id}", "leaves its folder"),
        ("a/{sample_id}", "leaves its folder"),
        ("{sample_id}.", "must not begin or end"),
        ("con", "that Windows reserves"),
        ("", "is empty"),
        ("sample", "gives all 3 samples the same name"),
        ("{sample_id.__class__}", "allows only the field {sample_id}"),
        ("{sample_id[0]}", "allows only the field {sample_id}"),
        ("{sample_id!r}", "allows only the field {sample_id}"),
        ("{0}", "allows only the field {sample_id}"),
        ("{}", "allows only the field {sample_id}"),
        ("{sample_id:>10}", "allows only an integer format"),
        ("{sample_id:{sample_id}}", "allows only an integer format"),
        ("{sample_id:999999999d}", "allows only an integer format"),
        ("{sample_id", "is not a valid pattern"),
    ],
)
def test_sample_naming_is_data_and_stays_in_the_folder(naming: str, words: str) -> None:
    message = error_of(batch(sample_configs={"num_samples": 3, "sample_naming": naming}))
    assert "sample_configs.sample_naming: " in message
    assert words in message


def test_frames_have_one_owner() -> None:
    samples = {"num_samples": 2, "frames_per_sample": 5}
    message = error_of(batch(variables={"emitters.frames": [1]}, sample_configs=samples))
    assert "sample_configs.frames_per_sample sets the frames too" in message
    message = error_of(batch(sample_configs=samples), ("emitters.frames=3",))
    assert "use --set sample_configs.frames_per_sample=N" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"emitters": {"frames": np.True_}}, "emitters.frames: true is a boolean; allowed: an integer"),
        ({"emitters": {"frames": np.array([1, 2])}}, "emitters.frames: [1, 2] is a list; allowed: an integer"),
        ({"emitters": {"frames": np.float64(1.5)}}, "emitters.frames: 1.5 is not an integer"),
        ({"emitters": {"frames": np.datetime64("2020-01-01")}}, "is of type numpy.datetime64; allowed: an integer"),
        ({"emitters": {"frames": np.ma.masked}}, "MaskedConstant; allowed: an integer"),
        ({"emitters": {"area_px": 1j}}, "is of type complex; allowed: a number"),
        ({"tiff": {"add_noise": np.int8(1)}}, "tiff.add_noise: 1 is an integer; allowed: true or false"),
        ({"tiff": {"crop_offset": np.array([1, 2, 3])}}, "tiff.crop_offset: [1, 2, 3] is a list; allowed: a list of 2"),
        ({"tiff": {"crop_offset": np.array([1, 2.5])}}, "tiff.crop_offset[1]: 2.5 is not an integer"),
        ({"tiff": {1: 2}}, "tiff: the key 1 is an integer; allowed: strings"),
    ],
)
def test_values_from_python_that_are_not_allowed_are_named_for_what_they_are(changes: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_job_config({"zmap_path": "builtin:oil"} | changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ('{\n "a": 1\n "b": 2}', "line 3, column 2: unexpected"),
        ('{"a": 1', "line 1, column 8: unexpected end of input"),
        ("[1]", "must be one object { ... }, not a list"),
        ("null", "must be one object { ... }, not null"),
        ('{"a": {"b": 1, "b": 2}}', "a.b: the key appears more than once"),
        ("{a: {b: 1, b: 2}} // JSON5", "a.b: the key appears more than once"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested more than 32 levels deep"),
        ('{"a": ' + "1" * 5000 + "}", "Exceeds the limit"),
        ('{"a": 1} trailing', "line 1, column"),
    ],
)
def test_text_that_is_no_config_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^f\.json: ") as caught:
        parse_config_text(text, "f.json")
    assert words in str(caught.value)


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\x89HDF\r\n\xff\xfe")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate((16 << 20) + 1)
    special: list[tuple[Path | str, str]] = []
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.json")
        special = [
            (tmp_path / "pipe.json", "is a pipe without a writer"),
            ("/dev/zero", "is a device, not a file"),
        ]
    for path, words in (
        *special,
        (tmp_path / "missing.json", "no such config file"),
        (tmp_path, "is a directory"),
        (tmp_path / "binary.json", "is not UTF-8 text .*; save it as UTF-8"),
        ("a\0b.json", "cannot be read"),
        (tmp_path / "large.json", "is larger than"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_batch_config(path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("emitters.frames", "--set emitters.frames: must be KEY=VALUE"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("emitters.frmes=3", '--set emitters.frmes: unknown key in emitters; did you mean "frames"?'),
        ("emitters.frames.x=3", "not an object with keys"),
        ("emitters.frames=many", 'base_config.emitters.frames: "many" is a string'),
        ("emitters.seed=3", 'use --set "variables.emitters.seed=[...]"'),
        ("emitters=3", "base_config.emitters: 3 is an integer"),
    ],
)
def test_wrong_overrides_are_named(override: str, words: str) -> None:
    assert words in error_of(batch(variables={"emitters.seed": [1, 2]}), (override,))


@pytest.mark.parametrize("roi_size", [1, 40, 96, 4096, 8192, 12288, 20001])
def test_samples_per_pixel_are_checked_only_where_they_are_used(roi_size: int) -> None:
    tiff = {"roi_size": roi_size, "use_direct_rendering": False}
    samples = {1: 64, 40: 64, 96: 64, 4096: 2, 8192: 1}.get(roi_size)
    if samples:
        assert load_job_config({"zmap_path": "builtin:oil", "tiff": tiff}).tiff.samples_per_pixel == samples
    else:
        message = error_of(batch({"tiff": tiff}))
        assert "base_config.tiff.hr_size: 6144 is less than one sample" in message
        least = int(message.rpartition("from ")[2])
        load_job_config({"zmap_path": "builtin:oil", "tiff": tiff | {"hr_size": least}})
        assert f"from {least}" in error_of(batch({"tiff": tiff | {"hr_size": least - 1}}))
    direct = load_job_config({"zmap_path": "builtin:oil", "tiff": tiff | {"use_direct_rendering": True}})
    assert direct.tiff.samples_per_pixel is None


keys = st.sampled_from(
    [
        *(f"base_config.{name}" for name in JobConfig.model_fields),
        *BatchConfig.model_fields,
        "base_config.emitters.frames",
        "base_config.tiff.noise_params",
        "base_config.tiff.crop_offset",
        "variables.emitters.frames",
        "variables.tiff.crop_offset",
        "variables.zmap_path",
        "sample_configs.sample_naming",
        "sample_configs.num_samples",
    ]
)


@given(st.lists(st.tuples(keys, json_values), max_size=4))
def test_no_value_anywhere_causes_anything_but_jobs_or_a_config_error(
    changes: list[tuple[str, Any]],
) -> None:
    config = batch(variables={"emitters.frames": [1]}, sample_configs={"num_samples": 2})
    for path, value in changes:
        *sections, last = path.split(".", 2 if path.startswith("base_config") else 1)
        target = config
        for section in sections:
            target = target.get(section) if isinstance(target.get(section), dict) else {}
        target[last] = value
    message = error_or_none(lambda: expand_jobs(load_batch_config(config)))
    assert message is None or message.startswith("config: ")


@given(st.text(max_size=60) | st.text(alphabet="{}[]\",:/*\\n1e-.+ '", max_size=40))
def test_no_text_causes_anything_but_a_config_error(text: str) -> None:
    message = error_or_none(lambda: parse_config_text(text, "f.json"))
    assert message is None or message.startswith("f.json: ")
