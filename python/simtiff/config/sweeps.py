"""The jobs of a batch: every combination of its variables, every sample; and what is wrong with these."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from simtiff.config._keys import find_field, value_adapter
from simtiff.config.identity import Job, sample_seed, with_noise_seed, with_seeds
from simtiff.config.messages import (
    Key,
    Problem,
    model_of,
    overlap,
    problems_of,
    problems_of_value,
    raise_problems,
    show,
    show_key,
)
from simtiff.config.names import LONGEST_NAME, sample_name, shorten, value_name
from simtiff.config.settings import MAX_JOBS, BatchConfig, JobConfig, SampleConfigs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pydantic.fields import FieldInfo


_SINGLE_JOB = "single_job"


def expand_jobs(batch: BatchConfig) -> list[Job]:
    """Return the jobs of a batch: all combinations of its variables, the last key fastest, times its samples.

    Without variables and samples it is one job, ``single_job``. The same config always gives the same jobs in
    the same order.

    Raises
    ------
    ConfigError
        With all errors of the variables, or all combinations whose values are invalid only together.
    """
    problems = variable_problems(
        JobConfig, batch.variables, batch.sample_configs.model_dump() if batch.sample_configs else None
    )
    if problems:
        raise_problems(batch.source, problems)
    jobs: list[Job] = []
    for name, config in combinations(batch.base_config, batch.variables, problems):
        jobs += (
            _samples(batch.sample_configs, name, config) if batch.sample_configs else [Job(name or _SINGLE_JOB, config)]
        )
    if problems:
        raise_problems(batch.source, problems)
    return jobs


def with_own_seeds(batch: BatchConfig, jobs: Iterable[Job], zmap_digest: Callable[[str], str]) -> list[Job]:
    """Return the jobs of a batch with the seeds that they are rendered with.

    Parameters
    ----------
    batch, jobs
        The batch, and its jobs from `expand_jobs`.
    zmap_digest
        Returns the hash of a map's content by its path.
    """
    if not batch.variables:
        return [replace(job, config=with_noise_seed(job.config)) for job in jobs]
    return [with_seeds(job, zmap_digest(job.config.zmap_path), batch.seeds) for job in jobs]


def _samples(samples: SampleConfigs, name: str, config: JobConfig) -> Iterator[Job]:
    for sample_id in range(1, samples.num_samples + 1):
        sample = sample_name(samples.sample_naming, sample_id)
        full_name = shorten(f"{name}_{sample}", LONGEST_NAME) if name else sample
        changes: dict[str, Any] = {"seed": sample_seed(config.emitters.seed, sample_id)}
        if samples.frames_per_sample is not None:
            changes["frames"] = samples.frames_per_sample
        emitters = config.emitters.model_copy(update=changes)
        yield Job(full_name, config.model_copy(update={"emitters": emitters}))


def variable_problems(
    model: type[BaseModel], variables: Mapping[str, Any], samples: Mapping[str, Any] | None
) -> list[Problem]:
    """Return all problems of a batch's variables: paths, lists, every value once, the number of jobs.

    Parameters
    ----------
    model
        The model of a job's config.
    variables
        Dotted key to list of values, as read.
    samples
        ``sample_configs`` as read, or None.
    """
    problems: list[Problem] = []
    for key, values in variables.items():
        problems += one_variable_problems(model, key, values)
    samples = samples if isinstance(samples, Mapping) else {}
    if samples.get("frames_per_sample") is not None and "emitters.frames" in variables:
        message = "sample_configs.frames_per_sample sets the frames too; allowed: only one of the two"
        problems.append(Problem("variables.emitters.frames", message))
    return problems + _count_problems(variables, samples)


def one_variable_problems(model: type[BaseModel], key: str, values: Any) -> list[Problem]:
    """Return the problems of one variable: its path, its list, every value once."""
    path = f"variables.{show_key(key)}"
    inside = key.removeprefix("base_config.")
    field = find_field(model, inside)
    if isinstance(field, str):
        return [Problem(path, field)]
    if inside != key:
        return [Problem(path, f'paths start inside base_config: use "{inside}"')]
    if (section := model_of(field.annotation)) is not None:
        keys = ", ".join(f"{key}.{name}" for name in section.model_fields)
        return [Problem(path, f"is a section, not a value; valid keys are {keys}")]
    if not isinstance(values, list | tuple):
        return [Problem(path, f"{show(values)} is not a list; allowed: a list of values")]
    if not values:
        return [Problem(path, "the list of values is empty; allowed: at least one value")]
    return _value_problems(path, field, values)


def whole_values(model: type[BaseModel], key: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of a variable without problems, with 3 for 3.0 where an integer is meant."""
    field = find_field(model, key)
    if isinstance(field, str):
        raise TypeError(field)
    adapter = value_adapter(field)
    return [
        checked if isinstance(value, float) and isinstance(checked := adapter.validate_python(value), int) else value
        for value in values
    ]


def _value_problems(path: str, field: FieldInfo, values: Sequence[Any]) -> list[Problem]:
    adapter = value_adapter(field)
    problems = []
    for index, value in enumerate(values):
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            problems += problems_of_value(error, field, f"{path}[{index}]")
    return problems


def _count_problems(variables: Mapping[str, Any], samples: Mapping[str, Any]) -> list[Problem]:
    number = samples.get("num_samples", 1)
    per_combination = number if isinstance(number, int | float) and 1 <= number <= MAX_JOBS else 1
    lengths = [len(values) for values in variables.values() if isinstance(values, list | tuple) and values]
    count = math.prod(lengths) * int(per_combination)
    if count <= MAX_JOBS:
        return []
    return [Problem("variables", f"make {count:,} jobs; allowed: at most {MAX_JOBS:,}")]


def combinations(
    base: JobConfig, variables: Mapping[str, Sequence[Any]], problems: list[Problem], wrong: Collection[Key] = ()
) -> Iterator[tuple[str, JobConfig]]:
    """Yield name and config of each combination, the last key fastest; one of no variables has no name.

    Parameters
    ----------
    base
        Settings of all.
    variables
        Dotted key to values, each of them checked by itself.
    problems
        Gets what does not go together, each once, with the first combination that has it.
    wrong
        Keys that are known to be wrong: what they do not go together with says nothing.
    """
    keys = list(variables)
    builder = _Builder(base, keys)
    count = math.prod(len(values) for values in variables.values())
    digits = max(4, len(str(count - 1)))
    seen: set[str] = set()
    for index, values in enumerate(itertools.product(*variables.values())):
        name = _name(index, digits, keys, values) if keys else ""
        try:
            config = builder.build(values)
        except ValidationError as error:
            for problem, about in problems_of(error, JobConfig):
                if (text := str(problem)) not in seen and not overlap(about, wrong):
                    seen.add(text)
                    problems.append(Problem(f"variables, {name}", text))
        else:
            yield name, config


def _name(index: int, digits: int, keys: Sequence[str], values: Sequence[Any]) -> str:
    parts = [f"job_{index:0{digits}d}"]
    for key, value in zip(keys, values, strict=True):
        shown = value.replace("\\", "/").rpartition("/")[2] if key == "zmap_path" else value
        parts.append(f"{key.rpartition('.')[2]}_{value_name(shown)}")
    return shorten("_".join(parts), LONGEST_NAME)


class _Builder:
    """Builds the configs of combinations; each section is checked once per combination of its own values."""

    def __init__(self, base: JobConfig, keys: Sequence[str]) -> None:
        self._base = base
        self._sections: dict[str, list[tuple[int, list[str]]]] = {}
        for position, key in enumerate(keys):
            section, *rest = key.split(".")
            self._sections.setdefault(section, []).append((position, rest))
        self._checked: dict[tuple[str, str], BaseModel] = {}

    def build(self, values: Sequence[Any]) -> JobConfig:
        """Return the config with one combination of values; `ValidationError` if they do not go together."""
        fields: dict[str, Any] = {name: getattr(self._base, name) for name in JobConfig.model_fields}
        for section, places in self._sections.items():
            if not places[0][1]:
                fields[section] = values[places[0][0]]
                continue
            key = (section, json.dumps([values[position] for position, _ in places]))
            if key not in self._checked:
                self._checked[key] = self._section(section, places, values)
            fields[section] = self._checked[key]
        return JobConfig.model_validate(fields)

    def _section(self, section: str, places: Sequence[tuple[int, list[str]]], values: Sequence[Any]) -> BaseModel:
        base: BaseModel = getattr(self._base, section)
        raw = base.model_dump()
        for position, path in places:
            inner = raw
            for part in path[:-1]:
                inner = inner[part]
            inner[path[-1]] = values[position]
        return type(base).model_validate(raw)
