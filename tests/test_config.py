"""The config: keys and defaults, the guide's examples as they stand, and every error in one block."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simtiff.config import (
    BatchConfig,
    JobConfig,
    json_schema,
    load_any_config,
    load_batch_config,
    load_job_config,
    parse_config_text,
)
from simtiff.errors import ConfigError
from simtiff.jobs import expand_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

GUIDE = Path(__file__).parent / "data" / "guide_examples"
CONFIGS = Path(__file__).parents[1] / "configs"
GUIDE_BLOCKS = (
    "quick_start",
    "sample_mode",
    "variable_mode",
    "sample_configs",
    "emitter_density",
    "noise_levels",
    "intensities",
)


def batch(base: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    return {"base_config": {"zmap_path": "builtin:oil", **(base or {})}, **keys}


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


def guide_block(name: str) -> str:
    return (GUIDE / f"{name}.json").read_text(encoding="utf-8")


def test_defaults_are_the_documented_ones() -> None:
    config = load_job_config({"zmap_path": "builtin:oil"})
    assert config.model_dump(mode="json") == {
        "zmap_path": "builtin:oil",
        "emitters": {
            "num_emitters": 1000,
            "frames": 10,
            "area_px": 1200.0,
            "intensity_mu": 2000.0,
            "intensity_sigma": 400.0,
            "lifetime_avg": 2.5,
            "z_range_um": 1.0,
            "seed": 42,
            "no_plot": True,
        },
        "zernike": {
            "interpolation_method": "cubic",
            "crop_size": None,
            "crop_offset": [0, 0],
            "extrapolate": None,
            "num_plot": 10,
            "no_plot": True,
        },
        "optical": {
            "wavelength_nm": 660.0,
            "NA": 1.4,
            "n_immersion": 1.518,
            "pixel_size_nm_x": 101.11,
            "pixel_size_nm_y": 98.83,
        },
        "psf": {"model": "scalar", "size_px": 41, "defocus": "exact", "pixel_integration": True},
        "tiff": {
            "filename": "simulation.ome.tiff",
            "roi_size": 1200,
            "crop_offset": [0, 0],
            "use_direct_rendering": True,
            "hr_size": 6144,
            "add_noise": True,
            "noise_params": {"background": 100.0, "readout_noise": 10.0, "shot_noise": True},
            "dtype": "uint16",
            "compression": "none",
        },
        "memory_optimization": {"chunk_size": 10, "enable_gc": True, "gc_frequency": 5},
    }
    whole = load_batch_config(batch())
    assert (whole.base_output_dir, whole.max_workers) == ("batch_output", None)
    assert (whole.variables, whole.sample_configs) == ({}, None)


def test_guide_examples_are_copied_verbatim(shared: Path) -> None:
    text = (shared / "guide.zh.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert blocks == [guide_block(name) for name in GUIDE_BLOCKS]


def test_guide_quick_start_makes_the_documented_jobs(tmp_path: Path) -> None:
    path = tmp_path / "my_batch_config.json"
    path.write_text(guide_block("quick_start"), encoding="utf-8")
    config = load_batch_config(path)
    assert (config.base_output_dir, config.max_workers) == ("my_batch_output", 4)
    assert config.base_config.zmap_path == "/path/to/your/patches.h5"
    assert config.base_config.emitters.intensity_mu == 10000
    ids = [job.id for job in expand_jobs(config)]
    assert len(ids) == 9
    assert ids[:3] == [
        "job_0000_num_emitters_500_background_50",
        "job_0001_num_emitters_500_background_100",
        "job_0002_num_emitters_500_background_200",
    ]


def test_guide_sample_mode_loads_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "samples.json"
    path.write_text(guide_block("sample_mode"), encoding="utf-8")
    config = load_batch_config(path)
    assert config.base_config.zmap_path == str(tmp_path / "必需：zmap文件路径")
    assert config.max_workers == 4
    jobs = expand_jobs(config)
    assert [job.id for job in jobs] == [f"sample_{i:03d}" for i in range(1, 6)]
    assert {job.config.emitters.frames for job in jobs} == {200}


def test_guide_variable_template_is_refused_where_its_first_placeholder_stands() -> None:
    # Its values are placeholders (值1) that the reader is meant to replace, not JSON5.
    with pytest.raises(ConfigError, match=r'template\.json: line 16, column 15: unexpected "值"'):
        parse_config_text(guide_block("variable_mode"), "template.json")


@pytest.mark.parametrize(
    ("name", "count"),
    [("sample_configs", 45), ("emitter_density", 15), ("noise_levels", 20), ("intensities", 16)],
)
def test_guide_fragments_load_in_the_quick_start_config(name: str, count: int) -> None:
    config = parse_config_text(guide_block("quick_start"), "quick start")
    config |= parse_config_text("{" + guide_block(name) + "}", name)
    assert len(expand_jobs(load_batch_config(config))) == count


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_example_configs_load_and_fit_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), json_schema())
    assert expand_jobs(load_any_config(path))


def test_schema_is_a_schema_and_refuses_what_the_program_refuses() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.validate(parse_config_text(guide_block("quick_start"), ""), schema)
    assert validator.is_valid(batch({"emitters": {"a_note": 1, "description": "x"}}, version=2))
    for wrong in (
        batch({"emitters": {"frames": 0}}),
        batch({"emitters": {"frmaes": 1}}),
        batch({"psf": {"size_px": 4}}),
        batch(variables={"emitters.frames": []}),
        batch(variables={"emitters.frames": ["5"]}),
        batch(variables={"frames": [5]}),
        {"base_config": {}},
    ):
        assert not validator.is_valid(wrong), wrong
    frames = schema["$defs"]["EmitterConfig"]["properties"]["frames"]
    assert (frames["default"], frames["minimum"]) == (10, 1)
    assert frames["description"]


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("emitters", "frames", "5", '"5" is a string; allowed: an integer from 1 to 10,000,000'),
        ("emitters", "frames", 0, "0 is too small; allowed: an integer from 1"),
        ("emitters", "frames", 5.0, "5.0 is not an integer"),
        ("emitters", "frames", True, "true is a boolean"),
        ("emitters", "frames", None, "null is null; allowed: an integer"),
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
        ("optical", "NA", 1.6, "1.6 is larger than the index n_immersion 1.518"),
        ("optical", "NA", 0, "0 is too small"),
        ("optical", "wavelength_nm", 0.66, "0.66 is too small; allowed: a number from 100 to 5,000"),
        ("optical", "pixel_size_nm_x", -100, "-100 is too small"),
        ("psf", "model", "vectorial", 'allowed: "scalar"'),
        ("psf", "size_px", 40, "40 is even; allowed: an odd number from 3 to 511"),
        ("psf", "size_px", 1, "1 is too small; allowed: an odd integer from 3 to 511"),
        ("tiff", "filename", "../a.tif", "leaves its folder"),
        ("tiff", "filename", "/a.tif", "leaves its folder"),
        ("tiff", "filename", "a\\b.tif", "leaves its folder"),
        ("tiff", "filename", "..", "leaves its folder"),
        ("tiff", "filename", "con.tif", "Windows reserves"),
        ("tiff", "filename", "a:b.tif", "cannot have on every system"),
        ("tiff", "filename", "a\nb.tif", "cannot have on every system"),
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
def test_wrong_value_is_named_with_its_key_and_what_is_allowed(
    section: str, key: str, value: Any, words: str
) -> None:
    message = error_of(batch({section: {key: value}}))
    assert message.startswith("config: 1 error in the config\n")
    assert f"  base_config.{section}.{key}" in message
    assert words in message


@pytest.mark.parametrize("path", ["", " ", "a\0b", "\ud800", 5, None, "builtin:water"])
def test_zmap_path_must_be_a_path(path: Any) -> None:
    assert "base_config.zmap_path: " in error_of(batch({"zmap_path": path}))


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
        ({"zmap_path": "builtin:oil"}, 'put the settings of a job under "base_config"'),
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
        ({"base_config.emitters.frames": [1]}, 'paths start inside base_config: use "emitters.frames"'),
        ({"psf": [{"size_px": 3}]}, "is a section, not a value; valid keys are psf.model"),
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
    assert "optical.NA: 1.5 is larger than the index n_immersion 1.45" in lines[1]


@pytest.mark.parametrize(
    ("naming", "words"),
    [
        ("../{sample_id}", "leaves its folder"),
        ("a/{sample_id}", "leaves its folder"),
        ("{sample_id}.", "must not begin or end"),
        ("con", "Windows reserves"),
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
    ("text", "words"),
    [
        ("", "is empty"),
        ('{\n "a": 1\n "b": 2}', "line 3, column 2: unexpected"),
        ('{"a": 1', "line 1, column 8: unexpected end of input"),
        ("[1]", "must be one object { ... }, not a list"),
        ("null", "must be one object { ... }, not null"),
        ('{"a": {"b": 1, "b": 2}}', "a.b: the key is there more than once"),
        ("{a: {b: 1, b: 2}} // JSON5", "a.b: the key is there more than once"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested more than 32 levels deep"),
        ('{"a": ' + "1" * 5000 + "}", "a number of thousands of digits"),
        ('{"a": 1} trailing', "line 1, column"),
    ],
)
def test_text_that_is_no_config_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^f\.json: ") as caught:
        parse_config_text(text, "f.json")
    assert words in str(caught.value)


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\x89HDF\r\n\xff\xfe")
    for path, words in (
        (tmp_path / "missing.json", "no such config file"),
        (tmp_path, "is a directory"),
        (tmp_path / "binary.json", "is not UTF-8 text"),
        ("a\0b.json", "cannot be read"),
        ("/dev/zero", "is larger than"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_batch_config(path)


def test_notes_are_free_everywhere_and_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = batch(
        {"emitters": {"seed": 1, "seed_note": ["any", "thing"], "description": {"x": 1}, "version": 1}},
        description="text",
        version=2.5,
        variables={"emitters.seed": [1], "sweep_note": "why"},
        **{"$schema": "simtiff.schema.json"},
    )
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(config).encode())
    loaded = load_batch_config(path)
    assert loaded.description == "text"
    assert list(loaded.variables) == ["emitters.seed"]


def test_zmap_path_is_relative_to_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, here = tmp_path / "configs", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    path = folder / "config.json"
    path.write_text(json.dumps(batch({"zmap_path": "maps/a.h5"})), encoding="utf-8")
    assert load_batch_config(path).base_config.zmap_path == str(folder / "maps/a.h5")
    assert load_batch_config(path, ["zmap_path=b.h5"]).base_config.zmap_path == str(here / "b.h5")
    assert load_job_config(path, zmap_path="c.h5").zmap_path == str(here / "c.h5")
    assert load_job_config({"zmap_path": "d.h5"}).zmap_path == str(here / "d.h5")
    swept = load_batch_config(path, ['variables.zmap_path=["e.h5", "builtin:oil"]'])
    assert [job.config.zmap_path for job in expand_jobs(swept)] == [str(here / "e.h5"), "builtin:oil"]


def test_overrides_replace_values() -> None:
    config = load_batch_config(
        batch(variables={"emitters.seed": [1, 2]}),
        [
            "emitters.frames=3",
            "base_config.tiff.dtype=float32",
            "tiff.noise_params.background=2.5",
            "zernike.crop_offset=[3, 4]",
            "max_workers=2",
            "base_output_dir=here",
            "variables.emitters.seed=[7,8,9]",
            "sample_configs.num_samples=2",
            "description=a = b",
            "tiff.filename='a.tif'",
        ],
    )
    base = config.base_config
    assert (base.emitters.frames, base.tiff.dtype, base.tiff.noise_params.background) == (3, "float32", 2.5)
    assert (base.zernike.crop_offset, config.max_workers, config.base_output_dir) == ((3, 4), 2, "here")
    assert (config.variables["emitters.seed"], config.description) == ((7, 8, 9), "a = b")
    assert len(expand_jobs(config)) == 6
    assert base.tiff.filename == "a.tif"
    assert load_batch_config(batch(), ["base_output_dir=2024"]).base_output_dir == "2024"


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


def test_job_config_from_dict_file_batch_or_object(tmp_path: Path) -> None:
    job = load_job_config({"zmap_path": "builtin:oil", "emitters": {"frames": 3}})
    assert load_job_config(job) is job
    assert load_job_config(job, ["emitters.frames=4"]).emitters.frames == 4
    assert load_job_config(batch({"emitters": {"frames": 3}})) == job
    assert load_job_config({}, zmap_path="builtin:oil") == load_job_config({}, needs_zmap=False)
    numbers = {"frames": np.int64(3), "area_px": np.float32(100)}
    assert load_job_config({"zmap_path": Path("/a/b.h5"), "emitters": numbers}).emitters.area_px == 100
    with pytest.raises(ConfigError, match=r"emitters\.frames: 0 is too small"):
        load_job_config({"zmap_path": "builtin:oil", "emitters": {"frames": 0}})
    with pytest.raises(ConfigError, match="must be the path of a file or a dict, not list"):
        load_job_config([1])  # type: ignore[arg-type]


def test_models_are_frozen_and_round_trip_through_json() -> None:
    job = load_job_config({"zmap_path": "builtin:oil", "zernike": {"crop_offset": [1, 2]}})
    with pytest.raises(ValidationError):
        job.emitters.frames = 3  # type: ignore[misc]
    assert load_job_config(json.loads(job.model_dump_json())) == job
    whole = load_batch_config(batch(variables={"emitters.seed": [1, 2]}, sample_configs={"num_samples": 2}))
    assert load_batch_config(whole.model_dump(mode="json")) == whole
    assert load_batch_config(whole, ["max_workers=3"]).max_workers == 3
    with pytest.raises(ConfigError, match="the list of values is empty"):
        expand_jobs(BatchConfig(base_config=job, variables={"emitters.seed": ()}))


@pytest.mark.parametrize("roi_size", [1, 40, 96, 20000])
def test_samples_per_pixel_are_checked_only_where_they_are_used(roi_size: int) -> None:
    tiff = {"roi_size": roi_size, "use_direct_rendering": False}
    samples = round(6144 / roi_size)
    if 1 <= samples <= 64:
        assert not load_job_config({"zmap_path": "builtin:oil", "tiff": tiff}).tiff.use_direct_rendering
    else:
        assert f"base_config.tiff.hr_size: 6144 is {samples} samples" in error_of(batch({"tiff": tiff}))
    load_job_config({"zmap_path": "builtin:oil", "tiff": tiff | {"use_direct_rendering": True}})


def test_a_frame_may_reach_beyond_the_field() -> None:
    config = {"zmap_path": "builtin:oil", "emitters": {"area_px": 64.5}, "tiff": {"crop_offset": [-10, 60]}}
    assert load_job_config(config).tiff.crop_offset == (-10, 60)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
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


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="{}[]\",:/*\\n1e-.+ '", max_size=40))
def test_no_text_causes_anything_but_a_config_error(text: str) -> None:
    message = error_or_none(lambda: parse_config_text(text, "f.json"))
    assert message is None or message.startswith("f.json: ")


def test_a_large_config_is_read_quickly() -> None:
    values = list(range(20_000))
    begin = time.perf_counter()
    config = load_batch_config(parse_config_text(json.dumps(batch(variables={"emitters.seed": values})), "f"))
    assert len(expand_jobs(config)) == 20_000
    assert time.perf_counter() - begin < 20
