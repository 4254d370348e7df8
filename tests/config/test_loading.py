"""Loading a config: keys and defaults, the unchanged examples of the guide, and where values come from."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batch_helpers import batch
from simtiff.config.loading import json_schema, load_batch_config, load_job_config
from simtiff.config.settings import BatchConfig
from simtiff.config.sweeps import expand_jobs
from simtiff.config.text import parse_config_text, plain
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

GUIDE = Path(__file__).parents[1] / "data" / "guide_examples"
CONFIGS = Path(__file__).parents[2] / "configs"
GUIDE_BLOCKS = (
    "quick_start",
    "sample_mode",
    "variable_mode",
    "sample_configs",
    "emitter_density",
    "noise_levels",
    "intensities",
)


def guide_block(name: str) -> str:
    return (GUIDE / f"{name}.json").read_text(encoding="utf-8")


def test_defaults_are_the_documented_ones() -> None:
    config = load_job_config({"zmap_path": "builtin:oil"})
    assert config.model_dump(mode="json") == {
        "zmap_path": "builtin:oil",
        "emitters": {
            "num_emitters": 1000,
            "density_per_um2": None,
            "margin_px": 0.0,
            "frames": 10,
            "area_px": 1200.0,
            "intensity_mu": 2000.0,
            "intensity_sigma": 400.0,
            "photon_distribution": "normal",
            "lifetime_avg": 2.5,
            "z_range_um": 1.0,
            "z_um": None,
            "positions_path": None,
            "blinking": {
                "kind": "once",
                "states": {},
                "brightness": {"on": 1.0},
                "start": None,
                "on_frames": None,
                "off_frames": None,
            },
            "fiducials": None,
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
            "n_sample": None,
            "n_coverslip": None,
            "focal_depth_um": 0.0,
        },
        "psf": {
            "model": "scalar",
            "size_px": 41,
            "defocus": "exact",
            "pixel_integration": True,
            "phase_noll": {},
            "blur_nm": 0.0,
            "sigma_nm": 130.0,
            "depth_nm": None,
            "astigmatism_nm": 0.0,
        },
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
        "camera": None,
        "background": None,
        "illumination": None,
        "drift": None,
        "truth": {"crlb": False},
        "export": [],
        "memory_optimization": {"chunk_size": 10, "enable_gc": True, "gc_frequency": 5},
        "noise_seed": None,
    }
    whole = load_batch_config(batch())
    assert (whole.base_output_dir, whole.max_workers) == ("batch_output", None)
    assert (whole.variables, whole.sample_configs) == ({}, None)
    assert whole.seeds.model_dump() == {"emitters": "shared", "noise": "independent"}


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
    # Its values are placeholders (值1) for the reader to replace, not JSON5.
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
    assert expand_jobs(load_batch_config(path))


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


class LikeAnArray:
    """Like tables and tensors of other libraries: NumPy can convert it to an array."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)


def forms(*makers: Callable[[Any], Any]) -> Callable[[Any], st.SearchStrategy[tuple[Any, Any]]]:
    """Return a strategy for a plain value in one of its forms, together with the plain value itself."""
    return lambda value: st.sampled_from(makers).map(lambda make: (make(value), value))


NUMPY_VALUES = st.one_of(
    st.booleans().flatmap(forms(np.bool_, np.array)),
    st.integers(-100, 100).flatmap(forms(np.int8, np.int64, np.float32, np.array)),
    st.floats(-1e6, 1e6, width=32).flatmap(forms(np.float32, np.float64, np.longdouble, np.array)),
    st.text(max_size=4).flatmap(forms(np.str_)),
    st.lists(st.integers(-100, 100), max_size=4).flatmap(
        forms(tuple, np.array, LikeAnArray, lambda values: np.array(values, object))
    ),
)


@given(NUMPY_VALUES)
def test_values_of_numpy_are_what_they_stand_for(values: tuple[Any, Any]) -> None:
    made, expected = values
    problems: list[Any] = []
    found = plain({np.str_("a"): [made]}, "config", problems)
    assert (found, problems) == ({"a": [expected]}, [])
    assert json.loads(json.dumps(found)) == found
    assert isinstance(found["a"][0], bool) == isinstance(expected, bool)


def test_a_config_of_numpy_values_is_that_of_plain_ones() -> None:
    made = {
        "zmap_path": np.str_("builtin:oil"),
        "emitters": {"frames": np.array(3), "area_px": np.float32(64), "no_plot": np.True_},
        "tiff": {"roi_size": np.uint8(16), "crop_offset": np.array([3, 4]), "add_noise": np.bool_(False)},
    }
    plain_one = {
        "zmap_path": "builtin:oil",
        "emitters": {"frames": 3, "area_px": 64.0, "no_plot": True},
        "tiff": {"roi_size": 16, "crop_offset": [3, 4], "add_noise": False},
    }
    assert load_job_config(made) == load_job_config(plain_one)
    variables = {
        "emitters.num_emitters": np.arange(5, 7),
        "emitters.intensity_mu": np.linspace(1, 2, 3),
        "tiff.add_noise": (np.True_,),
        "emitters.seed,tiff.crop_offset": ((np.int32(1), np.array([0, 2])),),
    }
    jobs = expand_jobs(load_batch_config({"base_config": made, "variables": variables}))
    assert [job.id for job in jobs][:2] == [
        "job_0000_num_emitters_5_intensity_mu_1.0_add_noise_true_seed_1_crop_offset_0-2",
        "job_0001_num_emitters_5_intensity_mu_1.5_add_noise_true_seed_1_crop_offset_0-2",
    ]
    last = dict(jobs[-1].variables)
    assert json.loads(json.dumps(last)) == last
    assert last == {
        "emitters.num_emitters": 6,
        "emitters.intensity_mu": 2.0,
        "tiff.add_noise": True,
        "emitters.seed": 1,
        "tiff.crop_offset": [0, 2],
    }


def test_whole_numbers_may_be_written_as_floats() -> None:
    """JSON has only one number type, and the integers of JSON schema include 3.0."""
    base = {
        "emitters": {"frames": 3.0, "area_px": 64.0},
        "zernike": {"crop_size": 64.0, "crop_offset": [1.0, 2.0]},
        "tiff": {"roi_size": 64.0, "crop_offset": [-3.0, 0]},
        "psf": {"size_px": 15.0},
    }
    variables = {"emitters.seed": [1.0, 2], "emitters.lifetime_avg": [2.0]}
    content = batch(base, max_workers=2.0, variables=variables, sample_configs={"num_samples": 2.0})
    jsonschema.validate(content, json_schema())
    loaded = load_batch_config(content, ["emitters.num_emitters=1e3"])
    job = loaded.base_config
    for value in (job.emitters.num_emitters, job.emitters.frames, job.zernike.crop_size, job.tiff.roi_size):
        assert type(value) is int
    assert (job.emitters.num_emitters, job.zernike.crop_offset, job.tiff.crop_offset) == (1000, (1, 2), (-3, 0))
    first = expand_jobs(loaded)[0]
    assert first.id == "job_0000_seed_1_lifetime_avg_2.0_sample_001"
    whole = json.loads(json.dumps(content).replace(".0", ""))
    assert expand_jobs(load_batch_config(whole, ["emitters.num_emitters=1000"]))[0].config == first.config


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


def test_a_frame_may_reach_beyond_the_field() -> None:
    config = {"zmap_path": "builtin:oil", "emitters": {"area_px": 64.5}, "tiff": {"crop_offset": [-10, 60]}}
    assert load_job_config(config).tiff.crop_offset == (-10, 60)


def test_a_large_config_is_read_quickly() -> None:
    values = list(range(20_000))
    begin = time.perf_counter()
    config = load_batch_config(parse_config_text(json.dumps(batch(variables={"emitters.seed": values})), "f"))
    assert len(expand_jobs(config)) == 20_000
    assert time.perf_counter() - begin < 20
