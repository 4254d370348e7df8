"""A job's identity: what its hash covers, and the seeds that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from simtiff.config import identity
from simtiff.config.identity import job_hash
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.config.settings import EmitterConfig, JobConfig
from simtiff.config.sweeps import expand_jobs, with_own_seeds

if TYPE_CHECKING:
    import pytest

JOB = {"zmap_path": "builtin:oil"}


def hash_of(digest: str = "digest", **changes: Any) -> str:
    return job_hash(load_job_config(JOB | changes), digest)


def test_hash_covers_what_determines_the_movie(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = hash_of()
    assert len(plain) == 64
    assert plain == hash_of(emitters={"area_px": 1200, "frames": 10.0})
    assert plain == hash_of(emitters={"no_plot": False}, zernike={"no_plot": False, "num_plot": 3})
    assert plain == hash_of(memory_optimization={"chunk_size": 3}, zmap_path="/moved/map.h5")
    assert plain == hash_of(noise_seed=42)  # the value of emitters.seed
    changes: list[dict[str, Any]] = [
        {"emitters": {"seed": 43}},
        {"emitters": {"frames": 11}},
        {"emitters": {"seed": 43}, "noise_seed": 42},
        {"noise_seed": 43},
        {"tiff": {"dtype": "float32"}},
        {"tiff": {"noise_params": {"background": 101}}},
        {"tiff": {"crop_offset": [0, 1]}},
        {"psf": {"size_px": 43}},
        {"zernike": {"extrapolate": "nearest"}},
    ]
    hashes = [hash_of(**change) for change in changes]
    assert len({plain, *hashes}) == 1 + len(changes)
    assert hash_of("other digest") != plain
    monkeypatch.setattr(identity, "DATA_VERSION", identity.DATA_VERSION + 1)
    assert hash_of() != plain


def test_a_new_setting_with_a_default_changes_no_hash() -> None:
    class NewEmitters(EmitterConfig):
        colour: str = "red"
        range_um: tuple[float, float] | None = Field(None, strict=False)

    class NewJob(JobConfig):
        emitters: NewEmitters = Field(default_factory=NewEmitters)  # type: ignore[assignment]
        mirror: bool = False

    for values in (JOB, JOB | {"emitters": {"seed": 3}, "noise_seed": 7, "psf": {"size_px": 21}}):
        assert job_hash(NewJob.model_validate(values), "d") == job_hash(JobConfig.model_validate(values), "d")
    for values in ({"mirror": True}, {"emitters": {"colour": "blue"}}, {"emitters": {"range_um": [0.0, 1.0]}}):
        new = NewJob.model_validate(JOB | values)
        assert job_hash(new, "d") != job_hash(JobConfig.model_validate(JOB), "d")


def jobs_of(digest: str = "d", **batch: Any) -> list[JobConfig]:
    config = load_batch_config({"base_config": JOB} | batch)
    return [job.config for job in with_own_seeds(config, expand_jobs(config), lambda *_: digest)]


SWEEP = {"tiff.noise_params.background": [10, 20], "emitters.intensity_mu": [1000, 2000, 3000]}


def test_each_combination_has_its_own_noise_and_the_emitters_of_all() -> None:
    jobs = jobs_of(variables=SWEEP)
    assert {job.emitters.seed for job in jobs} == {42}
    noise = [job.noise_seed for job in jobs]
    assert len({42, *noise}) == 7
    assert all(seed is not None and 0 <= seed < 2**53 for seed in noise)
    assert noise == [job.noise_seed for job in jobs_of(variables=SWEEP)]
    other = jobs_of(variables=SWEEP, base_config=JOB | {"emitters": {"seed": 43}})
    assert not {job.noise_seed for job in other} & set(noise)
    assert not {job.noise_seed for job in jobs_of("another map", variables=SWEEP)} & set(noise)


def test_noise_does_not_depend_on_how_a_sweep_names_its_jobs() -> None:
    """An added axis at its old value, or another order of values and keys: the same job has the same hash."""
    base = JOB | {"emitters": {"lifetime_avg": 4.0}}
    hashes = [job_hash(job, "d") for job in jobs_of(variables=SWEEP, base_config=base)]
    turned = {key: values[::-1] for key, values in reversed(SWEEP.items())}
    for variables in (
        turned,
        SWEEP | {"psf.size_px": [41]},  # the default
        {"emitters.lifetime_avg": [4.0]} | SWEEP,
        SWEEP | {"emitters.no_plot": [False]},  # has no effect on the movie
        SWEEP | {"emitters.lifetime_avg": [5.0, 4.0]},  # more jobs, these among them
    ):
        others = [job_hash(job, "d") for job in jobs_of(variables=variables, base_config=base)]
        assert set(hashes) <= set(others)


def test_seeds_are_shared_or_not_as_asked() -> None:
    shared = jobs_of(variables=SWEEP, seeds={"noise": "shared"})
    assert {(job.emitters.seed, job.noise_seed) for job in shared} == {(42, 42)}
    own = jobs_of(variables=SWEEP, seeds={"emitters": "independent"})
    assert len({42, *(job.emitters.seed for job in own)}) == 7
    assert len({job.noise_seed for job in own} | {job.emitters.seed for job in own}) == 12
    mixed = jobs_of(variables=SWEEP, seeds={"emitters": "independent", "noise": "shared"})
    assert [job.emitters.seed for job in mixed] == [job.emitters.seed for job in own]
    assert {job.noise_seed for job in mixed} == {42}
    given = jobs_of(variables=SWEEP, base_config=JOB | {"noise_seed": 5})
    assert {job.noise_seed for job in given} == {5}
    swept = jobs_of(variables={"noise_seed": [1, 2, None]})
    assert [job.noise_seed for job in swept][:2] == [1, 2]
    assert swept[2].noise_seed not in {None, 42}


def test_single_jobs_and_samples_have_the_noise_of_their_seed() -> None:
    (single,) = jobs_of()
    assert single.noise_seed == single.emitters.seed == 42
    samples = jobs_of(sample_configs={"num_samples": 3})
    assert [job.noise_seed for job in samples] == [job.emitters.seed for job in samples]
    both = jobs_of(sample_configs={"num_samples": 3}, variables=SWEEP)
    assert len({job.noise_seed for job in both}) == 18
    assert len({job.emitters.seed for job in both}) == 3
