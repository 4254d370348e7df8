"""The jobs of a batch: all combinations of its variables, times the samples; and the checks of these."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from simtiff.config._keys import find_field, linked_keys, value_adapter
from simtiff.config.blocks import drop_other_numbers
from simtiff.config.identity import Job, sample_seed, with_noise_seed, with_seeds
from simtiff.config.inputs import INPUT_FILES
from simtiff.config.messages import (
    Key,
    Problem,
    describe,
    is_optional,
    model_of,
    overlap,
    problems_of,
    problems_of_value,
    raise_problems,
    show,
    show_key,
)
from simtiff.config.names import LONGEST_NAME, sample_name, shorten, value_name
from simtiff.config.pixelsize import drop_replaced
from simtiff.config.section import is_note
from simtiff.config.settings import MAX_JOBS, BatchConfig, JobConfig, SampleConfigs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


_SINGLE_JOB = "single_job"


def expand_jobs(batch: BatchConfig) -> list[Job]:
    """Return the jobs of a batch: all combinations of its variables, the last key fastest, times its samples.

    Without variables and samples there is one job, ``single_job``. The same config always gives the same jobs in
    the same order.

    Raises
    ------
    ConfigError
        Variables are invalid, alone or in combination; the message lists all errors.
    """
    problems = variable_problems(
        JobConfig, batch.variables, batch.sample_configs.model_dump() if batch.sample_configs else None
    )
    if problems:
        raise_problems(batch.source, problems)
    jobs: list[Job] = []
    for name, settings, config in combinations(batch.base_config, batch.variables, problems):
        if batch.sample_configs:
            jobs += _samples(batch.sample_configs, name, settings, config)
        else:
            jobs.append(Job(name or _SINGLE_JOB, config, variables=settings))
    if problems:
        raise_problems(batch.source, problems)
    return [replace(job, number=number) for number, job in enumerate(jobs)]


def with_own_seeds(batch: BatchConfig, jobs: Sequence[Job], digest_of: Callable[[JobConfig], str]) -> list[Job]:
    """Return the jobs of a batch with their final seeds.

    Parameters
    ----------
    batch, jobs
        The batch, and its jobs from `expand_jobs`.
    digest_of
        Returns the digest of a job's input files.
    """
    if not batch.variables:
        return [replace(job, config=with_noise_seed(job.config)) for job in jobs]
    digests = (digest_of(job.config) for job in jobs)
    return [with_seeds(job, digest, batch.seeds) for job, digest in zip(jobs, digests, strict=True)]


def _samples(samples: SampleConfigs, name: str, settings: Mapping[str, Any], config: JobConfig) -> Iterator[Job]:
    for sample_id in range(1, samples.num_samples + 1):
        sample = sample_name(samples.sample_naming, sample_id)
        full_name = shorten(f"{name}_{sample}", LONGEST_NAME) if name else sample
        changes: dict[str, Any] = {"seed": sample_seed(config.emitters.seed, sample_id)}
        if samples.frames_per_sample is not None:
            changes["frames"] = samples.frames_per_sample
        emitters = config.emitters.model_copy(update=changes)
        config_of_sample = config.model_copy(update={"emitters": emitters})
        yield Job(full_name, config_of_sample, variables={**settings, "sample_id": sample_id})


def settings_of(model: type[BaseModel], key: str, value: Any) -> dict[str, Any]:
    """Return the settings of one value of a variable, dotted keys to plain values, in the order of the file.

    A value for a section sets the keys that it contains; a value for linked keys is a list with one entry per key.
    """
    keys = linked_keys(key)
    if len(keys) > 1:
        return {name: item for part, each in zip(keys, value, strict=True) for name, item in _within(model, part, each)}
    return dict(_within(model, key, value))


def _within(model: type[BaseModel], key: str, value: Any) -> Iterator[tuple[str, Any]]:
    field = find_field(model, key)
    if isinstance(field, str):
        raise TypeError(field)
    if model_of(field.annotation) is None:
        checked = value_adapter(model, key).validate_python(value) if isinstance(value, float) else value
        yield key, checked if isinstance(checked, int) else value  # 3 for 3.0 if the setting is an integer
        return
    if value is None:  # a section that is absent
        yield key, None
        return
    for name, item in value.items():
        if not is_note(name):
            yield from _within(model, f"{key}.{name}", item)


def variable_problems(
    model: type[BaseModel], variables: Mapping[str, Any], samples: Mapping[str, Any] | None
) -> list[Problem]:
    """Return all problems of a batch's variables: keys, lists, each value, keys set twice, the number of jobs.

    Parameters
    ----------
    model
        The model of a job's config.
    variables
        Raw variables: dotted key, section key, or keys joined by commas, to list of values.
    samples
        Raw ``sample_configs``, or None.
    """
    problems: list[Problem] = []
    set_by: dict[str, str] = {}
    for key, values in variables.items():
        found = one_variable_problems(model, key, values)
        problems += found
        names = [] if found else [name for value in values for name in settings_of(model, key, value)]
        for name in dict.fromkeys(names):
            other = next((by for known, by in set_by.items() if by != key and _is_in(known, name)), None)
            set_by[name] = key
            if other is not None:
                message = f'sets {name}, and so does "{other}"; allowed: one variable for each key'
                problems.append(Problem(f"variables.{show_key(key)}", message))
    samples = samples if isinstance(samples, Mapping) else {}
    if samples.get("frames_per_sample") is not None and "emitters.frames" in set_by:
        message = "sample_configs.frames_per_sample sets the frames too; allowed: only one of the two"
        problems.append(Problem(f"variables.{set_by['emitters.frames']}", message))
    return problems + _count_problems(variables, samples)


def _is_in(one: str, other: str) -> bool:
    """Return whether two keys are equal, or one is an entry of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def one_variable_problems(model: type[BaseModel], key: str, values: Any) -> list[Problem]:
    """Return the problems of one variable: its keys, its list, each value."""
    path = f"variables.{show_key(key)}"
    keys = linked_keys(key)
    for part in keys:
        inside = part.removeprefix("base_config.")
        field = find_field(model, inside)
        if isinstance(field, str):
            return [Problem(path, field if len(keys) == 1 else f'"{show_key(part)}": {field}')]
        if inside != part:
            return [Problem(path, f'keys are relative to base_config; use "{inside}"')]
    if len(set(keys)) < len(keys):
        return [Problem(path, "names a key twice; allowed: each key once")]
    if not isinstance(values, list | tuple):
        return [Problem(path, f"{show(values)} is not a list; allowed: a list of values")]
    if not values:
        return [Problem(path, "the list of values is empty; allowed: at least one value")]
    problems: list[Problem] = []
    for index, value in enumerate(values):
        where = f"{path}[{index}]"
        if len(keys) == 1:
            problems += _value_problems(model, where, key, value)
        elif not isinstance(value, list | tuple) or len(value) != len(keys):
            message = f"{show(value)} is not a list of {len(keys)} values, one for each of the keys joined by commas"
            problems.append(Problem(where, message))
        else:
            for place, (part, each) in enumerate(zip(keys, value, strict=True)):
                problems += _value_problems(model, f"{where}[{place}]", part, each)
    return problems


def _value_problems(model: type[BaseModel], path: str, key: str, value: Any) -> list[Problem]:
    """Return the problems of one value at `path`, for a setting or a section."""
    field = find_field(model, key)
    if isinstance(field, str):
        return [Problem(path, field)]
    if model_of(field.annotation) is not None:
        if value is None and is_optional(field.annotation):
            return []
        if not isinstance(value, Mapping):
            return [Problem(path, f"{show(value)} is not an object; allowed: {describe(field)}, any of them")]
        parts = [(name, item) for name, item in value.items() if not is_note(name)]
        return [
            problem
            for name, item in parts
            for problem in _value_problems(model, f"{path}.{show_key(name)}", f"{key}.{name}", item)
        ]
    try:
        value_adapter(model, key).validate_python(value)
    except ValidationError as error:
        return problems_of_value(error, field, path)
    return []


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
) -> Iterator[tuple[str, dict[str, Any], JobConfig]]:
    """Yield name, settings and config of each combination, the last key fastest; without variables, the name is empty.

    Parameters
    ----------
    base
        Settings of all combinations.
    variables
        Dotted key to values, which have been checked individually.
    problems
        Receives conflicts between values, each once, with the first combination that has it.
    wrong
        Keys that are known to be invalid; conflicts with them are not reported.
    """
    axes = [[settings_of(JobConfig, key, value) for value in values] for key, values in variables.items()]
    builder = _Builder(base)
    digits = max(4, len(str(math.prod(map(len, axes)) - 1)))
    seen: set[str] = set()
    for index, parts in enumerate(itertools.product(*axes)):
        settings = {key: value for part in parts for key, value in part.items()}
        name = _name(index, digits, settings) if axes else ""
        try:
            config = builder.build(settings)
        except ValidationError as error:
            for problem, about in problems_of(error, JobConfig):
                if (text := str(problem)) not in seen and not overlap(about, wrong):
                    seen.add(text)
                    problems.append(Problem(f"variables, {name}", problem.text))
        else:
            yield name, settings, config


def _name(index: int, digits: int, settings: Mapping[str, Any]) -> str:
    parts = [f"job_{index:0{digits}d}"]
    for key, value in settings.items():
        is_path = key in INPUT_FILES and isinstance(value, str)
        shown = value.replace("\\", "/").rpartition("/")[2] if is_path else value
        *_, of, last = key.rsplit(".", 2) if "." in key else ("", key)
        parts.append(f"{of}_{last}_{value_name(shown)}" if last.isdecimal() else f"{last}_{value_name(shown)}")
    return shorten("_".join(parts), LONGEST_NAME)


class _Builder:
    """Builds the configs of combinations; checks each section only once per combination of its values."""

    def __init__(self, base: JobConfig) -> None:
        self._base = base
        self._checked: dict[tuple[str, str], BaseModel | dict[str, Any]] = {}

    def build(self, settings: Mapping[str, Any]) -> JobConfig:
        """Return the config with one combination's settings; `ValidationError` if they conflict."""
        fields: dict[str, Any] = {name: getattr(self._base, name) for name in JobConfig.model_fields}
        if "zmap_path" not in self._base.model_fields_set:  # a Gaussian has none; another model needs one
            del fields["zmap_path"]
        sections: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            section, _, rest = key.partition(".")
            if rest:
                sections.setdefault(section, {})[rest] = value
            else:
                fields[section] = value
        for section, changes in sections.items():
            known = (section, json.dumps(changes))
            if known not in self._checked:
                self._checked[known] = self._section(section, changes)
            fields[section] = self._checked[known]
        return JobConfig.model_validate(fields)

    def _section(self, section: str, changes: Mapping[str, Any]) -> BaseModel | dict[str, Any]:
        base: BaseModel | None = getattr(self._base, section)
        model = type(base) if base is not None else model_of(JobConfig.model_fields[section].annotation)
        raw = {} if base is None else base.model_dump(exclude_unset=True)  # defaults stay unset
        drop_replaced(raw, changes)
        drop_other_numbers(raw, changes)
        for key, value in changes.items():
            *path, last = key.split(".")
            inner = raw
            for part in path:
                if inner.get(part) is None:
                    inner[part] = {}
                inner = inner[part]
            inner[last] = value
        if model is None:
            raise TypeError(section)
        try:
            return model.model_validate(raw)
        except ValidationError:  # reported with its key when the whole config is checked
            return raw
