"""Jobs: every combination once, valid and stable names, and hashes of everything that determines a movie."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_helpers import batch
from simtiff.config.identity import Job, changed_settings, job_hash, sample_seed, split_settings
from simtiff.config.loading import load_batch_config
from simtiff.config.names import name_problem, sample_naming_problem, shorten, value_name
from simtiff.config.sweeps import expand_jobs
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "emitters.num_emitters": st.integers(0, 10**9),
    "emitters.frames": st.integers(1, 10**7),
    "emitters.intensity_mu": st.floats(0, 1e9),
    "emitters.no_plot": st.booleans(),
    "zernike.crop_size": st.none() | st.integers(1, 1000),
    "zernike.crop_offset": st.lists(st.integers(0, 1000), min_size=2, max_size=2),
    "tiff.noise_params.background": st.floats(0, 1e9),
    "tiff.filename": st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
    .map(lambda text: f"{text}.tif")
    .filter(lambda name: name_problem(name) is None),
}


def expand(base: dict[str, Any] | None = None, **keys: Any) -> list[Job]:
    return expand_jobs(load_batch_config(batch(base, **keys)))


@st.composite
def variables(draw: st.DrawFn) -> dict[str, list[Any]]:
    chosen = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=1, max_size=4))
    return {key: draw(st.lists(VALUES[key], min_size=1, max_size=3)) for key in chosen}


@given(variables(), st.integers(0, 3))
def test_every_combination_and_sample_is_one_job_with_a_safe_unique_name(
    swept: dict[str, list[Any]], num_samples: int
) -> None:
    samples = {"sample_configs": {"num_samples": num_samples}} if num_samples else {}
    jobs = expand(variables=swept, **samples)
    assert len(jobs) == math.prod(map(len, swept.values())) * max(num_samples, 1)
    assert len({job.id.lower() for job in jobs}) == len(jobs)
    assert [name_problem(job.id) for job in jobs] == [None] * len(jobs)
    assert all(job.id.isascii() for job in jobs)
    assert [job.id for job in jobs] == [job.id for job in expand(variables=swept, **samples)]


@given(variables())
def test_the_last_key_runs_fastest(swept: dict[str, list[Any]]) -> None:
    jobs = expand(variables=swept)
    period = 1
    for key in reversed(swept):
        values = swept[key]
        for index, job in enumerate(jobs):
            wanted = values[(index // period) % len(values)]
            value: Any = job.config
            for part in key.split("."):
                value = getattr(value, part)
            assert value == (tuple(wanted) if isinstance(wanted, list) else wanted)
        period *= len(values)


def test_without_variables_and_samples_it_is_one_job() -> None:
    (job,) = expand()
    assert job.id == "single_job"
    assert [job.id for job in expand(variables={}, sample_configs=None)] == ["single_job"]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("emitters.num_emitters", 500, "job_0000_num_emitters_500"),
        ("emitters.area_px", 1200.0, "job_0000_area_px_1200.0"),
        ("emitters.intensity_mu", 1e-07, "job_0000_intensity_mu_1e-07"),
        ("emitters.no_plot", True, "job_0000_no_plot_true"),
        ("zernike.crop_size", None, "job_0000_crop_size_null"),
        ("tiff.crop_offset", [-3, 5], "job_0000_crop_offset_-3-5"),
        ("tiff.filename", "电影 1.tif", "job_0000_filename_1.tif"),
        ("zmap_path", "/some/folder/oil map.h5", "job_0000_zmap_path_oil_map.h5"),
        ("zmap_path", "builtin:oil", "job_0000_zmap_path_builtin_oil"),
    ],
)
def test_names_of_jobs(key: str, value: Any, name: str) -> None:
    assert [job.id for job in expand(variables={key: [value]})] == [name]


def test_long_names_are_cut_and_marked_with_a_hash() -> None:
    names = ["a" * 60 + end + ".tif" for end in "xy"]
    swept = {"tiff.filename": names, "emitters.intensity_mu": [1 / 3], "emitters.intensity_sigma": [1 / 7]}
    swept |= {"emitters.lifetime_avg": [1 / 7], "optical.pixel_size_nm_x": [1000 / 7]}
    first, second = (job.id for job in expand(variables=swept))
    assert len(first) <= 100
    assert first != second
    assert value_name(names[0]) != value_name(names[1])
    assert len(value_name(names[0])) == 32
    assert shorten("short", 10) == "short"


def test_long_names_are_cut_by_bytes() -> None:
    """File names may have 255 bytes, and characters of many scripts take three."""
    assert shorten("样" * 3, 9) == "样" * 3
    for longest in range(30, 60):
        short = shorten("样" * 40, longest)
        assert len(short.encode()) <= longest
        assert short.startswith("样" * 6)
    naming = "样" * 26 + "{sample_id:03d}"
    swept = {"emitters.lifetime_avg": [1 / 7], "optical.pixel_size_nm_x": [1000 / 7]}
    jobs = expand(variables=swept, sample_configs={"num_samples": 3, "sample_naming": naming})
    assert len({job.id for job in jobs}) == 3
    assert all(len(job.id.encode()) <= 100 for job in jobs)


@pytest.mark.parametrize("naming", ["batch_status.json", "Batch_Status.JSON", ".simtiff.lock"])
def test_samples_are_not_named_like_the_batch_s_own_files(naming: str) -> None:
    with pytest.raises(ConfigError, match=r"sample_naming.*is the name of one of the batch's own files"):
        expand(sample_configs={"num_samples": 1, "sample_naming": naming})


def test_numbers_of_jobs_widen_so_that_names_sort() -> None:
    jobs = expand(variables={"emitters.seed": list(range(10_001))})
    assert jobs[-1].id == "job_10000_seed_10000"
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)


def test_samples_have_unrelated_seeds_and_their_own_frames() -> None:
    jobs = expand(sample_configs={"num_samples": 5, "frames_per_sample": 7, "sample_naming": "s{sample_id:03d}"})
    assert [job.id for job in jobs] == ["s001", "s002", "s003", "s004", "s005"]
    assert {job.config.emitters.frames for job in jobs} == {7}
    seeds = [job.config.emitters.seed for job in jobs]
    assert seeds == [sample_seed(42, i) for i in range(1, 6)]
    assert len(set(seeds)) == 5
    assert all(0 <= seed < 2**53 for seed in seeds)
    neighbours = {sample_seed(seed, sample_id) for seed in range(40, 44) for sample_id in range(50)}
    assert len(neighbours) == 200


def test_the_seeds_of_samples_never_change() -> None:
    # Existing movies depend on these numbers.
    assert [sample_seed(42, i) for i in (1, 2)] == [7645688246095274, 5772288796860012]


def test_variables_times_samples() -> None:
    jobs = expand(
        variables={"emitters.num_emitters": [500, 1000], "emitters.seed": [1, 2]},
        sample_configs={"num_samples": 2},
    )
    assert jobs[0].id == "job_0000_num_emitters_500_seed_1_sample_001"
    assert jobs[7].id == "job_0003_num_emitters_1000_seed_2_sample_002"
    assert len({job.config.emitters.seed for job in jobs}) == 4


def test_sections_as_values_are_merged() -> None:
    oil, water = {"NA": 1.4, "n_immersion": 1.518}, {"NA": 1.2, "n_immersion": 1.33, "a_note": "Olympus"}
    jobs = expand({"optical": {"wavelength_nm": 600}}, variables={"optical": [oil, water], "emitters.seed": [1, 2.0]})
    assert [job.id for job in jobs][1:3] == [
        "job_0001_NA_1.4_n_immersion_1.518_seed_2",
        "job_0002_NA_1.2_n_immersion_1.33_seed_1",
    ]
    optics = [job.config.optical for job in jobs]
    assert [(each.NA, each.n_immersion, each.wavelength_nm) for each in optics[1:3]] == [
        (1.4, 1.518, 600.0),
        (1.2, 1.33, 600.0),
    ]
    nested = expand(variables={"tiff": [{}, {"noise_params": {"background": 5}, "dtype": "float32"}]})
    assert [job.config.tiff.noise_params.background for job in nested] == [100.0, 5.0]
    assert nested[0].id == "job_0000"
    assert nested[1].id == "job_0001_background_5_dtype_float32"


def test_keys_that_go_together() -> None:
    jobs = expand(
        variables={"emitters.num_emitters, emitters.frames": [[100, 10], [200, 20.0]], "psf.size_px": [21, 31]}
    )
    assert [job.id for job in jobs][1:3] == [
        "job_0001_num_emitters_100_frames_10_size_px_31",
        "job_0002_num_emitters_200_frames_20_size_px_21",
    ]
    assert [(job.config.emitters.num_emitters, job.config.emitters.frames) for job in jobs] == [
        (100, 10),
        (100, 10),
        (200, 20),
        (200, 20),
    ]


def test_maps_of_linked_variables_are_relative_to_the_config(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    variables = {"zmap_path,zernike.crop_offset": [["a.h5", [0, 0]], ["b.h5", [5, 7]]]}
    path.write_text(json.dumps({"base_config": {"zmap_path": "builtin:oil"}, "variables": variables}))
    jobs = expand_jobs(load_batch_config(path))
    assert [job.config.zmap_path for job in jobs] == [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    assert jobs[1].config.zernike.crop_offset == (5, 7)
    assert jobs[1].id == "job_0001_zmap_path_b.h5_crop_offset_5-7"


def test_split_settings_shows_what_jobs_share_and_what_differs() -> None:
    jobs = expand(variables={"emitters.num_emitters": [1000, 5], "tiff.noise_params.background": [50, 100]})
    shared, varied = split_settings(jobs)
    assert varied[1] == {"emitters.num_emitters": 1000, "tiff.noise_params.background": 100.0}
    assert shared["emitters.frames"] == 10
    assert split_settings(expand())[1] == [{}]


def test_entries_of_an_object_are_swept_and_replaced_one_by_one() -> None:
    base = {"psf": {"phase_noll": {"6": 0.5, "11": 0.1}}}
    jobs = expand(base, variables={"psf.phase_noll.6": [0.8, -0.4], "psf.phase_noll.7": [0, 0.2]})
    assert jobs[1].id == "job_0001_phase_noll_6_0.8_phase_noll_7_0.2"
    assert jobs[1].config.psf.phase_noll == {"6": 0.8, "11": 0.1, "7": 0.2}
    assert changed_settings(jobs[2].config)["psf.phase_noll"] == {"6": -0.4, "11": 0.1, "7": 0.0}

    whole = expand(base, variables={"psf.phase_noll": [{"6": 0.8}, {}, {"7": 0.3}]})
    assert [job.config.psf.phase_noll for job in whole] == [{"6": 0.8}, {}, {"7": 0.3}]
    assert split_settings(whole)[1] == [{"psf.phase_noll": job.config.psf.phase_noll} for job in whole]
    assert "psf.phase_noll" not in changed_settings(whole[1].config)

    config = batch(base, variables={"emitters.seed": [1, 2]})
    assert load_batch_config(config, ["psf.phase_noll.6=0.8"]).base_config.psf.phase_noll == {"6": 0.8, "11": 0.1}
    varied = batch(base, variables={"psf.phase_noll": [{"7": 0.3}]})
    with pytest.raises(ConfigError, match=r'use --set "variables.psf.phase_noll=\[...\]"'):
        load_batch_config(varied, ["psf.phase_noll.6=0.8"])


def test_a_gaussian_without_a_map_gives_none_to_other_models() -> None:
    gaussian = {"base_config": {"psf": {"model": "gaussian"}}}
    jobs = expand_jobs(load_batch_config(gaussian | {"variables": {"psf.sigma_nm": [130, [140, 150]]}}))
    assert not any(job.config.has_zmap or "zmap_path" in job.config.model_dump() for job in jobs)
    models = {"psf.model": ["gaussian", "scalar"]}
    with pytest.raises(ConfigError, match="job_0001_model_scalar: zmap_path: required key is missing"):
        expand_jobs(load_batch_config(gaussian | {"variables": models}))
    with pytest.raises(ConfigError, match="zmap_path: required key is missing"):
        load_batch_config(load_batch_config(gaussian), ["psf.model=scalar"])
    linked = {"psf.model,zmap_path": [["gaussian", "builtin:oil"], ["scalar", "builtin:oil"]]}
    gaussian_job, scalar_job = expand_jobs(load_batch_config(gaussian | {"variables": linked}))
    assert (gaussian_job.config.has_zmap, scalar_job.config.has_zmap) == (False, True)
    assert split_settings([*jobs, scalar_job])[1][-1]["zmap_path"] == "builtin:oil"


@given(st.text(max_size=30))
def test_names_taken_for_safe_are_safe(name: str) -> None:
    if name_problem(name) is None:
        assert name
        assert not set(name) & set('<>:"/\\|?*\0')
        assert name == name.strip(" .")
        name.encode()


@given(st.text(alphabet="{}sample_id:03d!r.x/", max_size=30))
def test_sample_namings_taken_for_safe_can_be_used(naming: str) -> None:
    if sample_naming_problem(naming) is None:
        assert name_problem(naming.format(sample_id=1)) is None


def test_a_job_says_its_number_and_its_variables() -> None:
    (only,) = expand()
    assert (only.id, only.number, only.variables) == ("single_job", 0, {})
    swept = {"emitters.num_emitters,emitters.frames": [[2, 3], [4, 5]], "psf": [{"size_px": 7}]}
    jobs = expand(variables=swept, sample_configs={"num_samples": 2})
    assert [job.number for job in jobs] == [0, 1, 2, 3]
    assert jobs[3].variables == {"emitters.num_emitters": 4, "emitters.frames": 5, "psf.size_px": 7, "sample_id": 2}


def sizes(job: Job) -> tuple[float, float]:
    return job.config.optical.pixel_size_nm_x, job.config.optical.pixel_size_nm_y


def test_pixel_sizes_are_the_same_however_they_are_given() -> None:
    """Both ways give the same job: identity, settings and config."""
    plain = {"pixel_size_nm_x": 65, "pixel_size_nm_y": 70}
    one_way, other_way = (expand({"optical": optical})[0] for optical in (plain, {"pixel_size_nm": [65, 70.0]}))
    assert one_way.config == other_way.config
    assert job_hash(one_way.config, "d") == job_hash(other_way.config, "d")
    assert changed_settings(other_way.config) == {"optical.pixel_size_nm_x": 65.0, "optical.pixel_size_nm_y": 70.0}
    assert sizes(expand({"optical": {"pixel_size_nm": 65}})[0]) == (65, 65)
    default = {"pixel_size_nm": [101.11, 98.83]}
    assert changed_settings(expand({"optical": default})[0].config) == {}


def test_pixel_sizes_can_be_swept_and_replaced() -> None:
    base = {"optical": {"pixel_size_nm_x": 90, "pixel_size_nm_y": 80, "NA": 1.2}}
    jobs = expand(base, variables={"optical.pixel_size_nm": [65, [70, 75], None]})
    assert [sizes(job) for job in jobs] == [(65, 65), (70, 75), (90, 80)]
    assert [job.id.partition("nm_")[2] for job in jobs] == ["65", "70-75", "null"]
    assert {job.config.optical.NA for job in jobs} == {1.2}
    both = {"optical": {"pixel_size_nm": 100}}
    assert sizes(expand(both, variables={"optical.pixel_size_nm_x": [65]})[0]) == (65, 100)
    sections = [{"pixel_size_nm": 65}, {"pixel_size_nm_y": 70}]
    assert [sizes(job) for job in expand(both, variables={"optical": sections})] == [(65, 65), (100, 70)]

    def replaced(optical: dict[str, Any], *overrides: str) -> tuple[float, float]:
        return sizes(expand_jobs(load_batch_config(batch({"optical": optical}), overrides))[0])

    assert replaced(base["optical"], "optical.pixel_size_nm=65") == (65, 65)
    assert replaced({"pixel_size_nm": [65, 70]}, "optical.pixel_size_nm_y=75") == (65, 75)
    assert replaced({"pixel_size_nm": 65}, "optical.pixel_size_nm_y=75") == (65, 75)
    assert replaced({}, "optical.pixel_size_nm=65", "optical.pixel_size_nm_y=75") == (65, 75)
    loaded = load_batch_config(batch(both))
    assert sizes(expand_jobs(load_batch_config(loaded, ["optical.pixel_size_nm=65"]))[0]) == (65, 65)


@pytest.mark.parametrize(
    ("base", "variables", "overrides", "words"),
    [
        (
            {"pixel_size_nm": 65, "pixel_size_nm_x": 65},
            {},
            (),
            "base_config.optical.pixel_size_nm: cannot be combined with optical.pixel_size_nm_x; allowed: either",
        ),
        (
            {},
            {"optical.pixel_size_nm": [65], "optical.pixel_size_nm_y": [70]},
            (),
            "optical.pixel_size_nm: cannot be combined with optical.pixel_size_nm_y",
        ),
        ({}, {"optical": [{"pixel_size_nm": 65, "pixel_size_nm_x": 1}]}, (), "combined with optical.pixel_size_nm_x"),
        ({"pixel_size_nm": [65]}, {}, (), "optical.pixel_size_nm[1]: required value is missing"),
        ({"pixel_size_nm": [65, 0]}, {}, (), "optical.pixel_size_nm[1]: 0 is too small; allowed: a number from 1"),
        ({"pixel_size_nm": "65"}, {}, (), 'optical.pixel_size_nm: "65" is a string; allowed: a number from 1 to'),
        ({}, {"optical.pixel_size_nm": [65, True]}, (), "variables.optical.pixel_size_nm[1]: true is a boolean"),
        (
            {},
            {"optical.pixel_size_nm": [65, 70]},
            ("optical.pixel_size_nm_x=60",),
            '"variables" sets this key for each job; use --set "variables.optical.pixel_size_nm=[...]"',
        ),
    ],
)
def test_wrong_pixel_sizes_are_named(base: Any, variables: Any, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_jobs(load_batch_config(batch({"optical": base}, variables=variables), overrides))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2
