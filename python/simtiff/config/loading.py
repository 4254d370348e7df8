"""Load and check the config of a batch or a job; the settings themselves are in `settings`."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from simtiff.config._keys import absolute_values, apply_overrides, find_field, linked_keys, value_adapter
from simtiff.config.blocks import BUILTIN_ZMAPS, REPLACED_BY, drop_other_numbers
from simtiff.config.inputs import absolute_path, absolute_paths
from simtiff.config.messages import (
    Key,
    Problem,
    is_optional,
    model_of,
    overlap,
    problems_of,
    raise_problems,
    section_paths,
    value_paths,
)
from simtiff.config.pixelsize import drop_replaced
from simtiff.config.section import NOTES, is_note
from simtiff.config.settings import MAX_JOBS, BatchConfig, JobConfig
from simtiff.config.sweeps import combinations, one_variable_problems, variable_problems
from simtiff.config.text import parse_config_text, plain, read_config_file
from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_Model = TypeVar("_Model", bound=BaseModel)

# Stand-ins for required values that are missing or wrong, so that the other values can still be checked.
_STAND_INS: dict[str, Any] = {"base_config": {"zmap_path": "builtin:oil"}, "zmap_path": "builtin:oil", "num_samples": 1}


def load_batch_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | BatchConfig, overrides: Sequence[str] = ()
) -> BatchConfig:
    """Load and check the config of a batch, or of a single job as a batch of one job.

    Parameters
    ----------
    config
        A file (JSON, or JSON5 with comments; also a pipe, or ``-`` for stdin), or its content as a dict. The config
        of a single job has the keys of a job at the top level, and no batch keys.
    overrides
        ``KEY=VALUE`` strings that replace values. Keys refer to base_config (``emitters.frames=3``)
        or to the top level (``max_workers=2``, ``variables.emitters.frames=[5,10]``).

    Returns
    -------
    BatchConfig
        The config, with absolute paths of input files. Relative paths refer to the config file, or to the current
        directory if `config` is a dict or a pipe.

    Raises
    ------
    ConfigError
        The config has errors; the message lists all of them.
    """
    if isinstance(config, BatchConfig):
        if not overrides:
            return config
        raw = config.model_dump(mode="json", exclude_unset=True)
        return _check_batch(raw, config.source, Path.cwd(), overrides, of_job=not config.prefix)
    raw, source, folder = _read(config)
    if "base_config" in raw or not any(key in raw for key in JobConfig.model_fields):
        return _check_batch(raw, source, folder, overrides)
    if any(key in raw for key in BatchConfig.model_fields if not is_note(key)):
        raise_problems(
            source,
            [Problem("base_config", Text('required key is missing: put the settings of a job under "base_config"'))],
        )
    return _check_batch({"base_config": raw}, source, folder, overrides, of_job=True)


def load_job_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | JobConfig,
    overrides: Sequence[str] = (),
    *,
    zmap_path: str | os.PathLike[str] | None = None,
    needs_zmap: bool = True,
    otherwise: JobConfig | None = None,
) -> JobConfig:
    """Load and check one job's config.

    Parameters
    ----------
    config
        A file or a dict with the keys of a job at the top level, or a batch's config, of which base_config is used.
    overrides
        ``KEY=VALUE`` strings that replace values, such as ``emitters.frames=3``.
    zmap_path
        Replaces the config's ``zmap_path`` (which may then be missing); relative to the current directory.
    needs_zmap
        False if the coefficients may be known already: ``zmap_path`` may then be missing, and ``has_zmap`` of the
        config is False.
    otherwise
        Values for settings that the config does not set; default: the normal defaults.

    Raises
    ------
    ConfigError
        The config has errors; the message lists all of them.
    """
    if isinstance(config, JobConfig):
        if not overrides and zmap_path is None:
            return config
        config = config.model_dump(mode="json", exclude_unset=True)
    raw, source, folder = _read(config)
    target = raw.get("base_config", raw)
    if otherwise is not None and isinstance(target, dict):
        values = otherwise.model_dump(mode="json")
        if isinstance(optical := target.get("optical"), dict):
            drop_replaced(values["optical"], optical)
        _drop_replaced_blocks(values, target)
        _fill_up(target, values, JobConfig)
    if zmap_path is not None and isinstance(target, dict):
        target["zmap_path"] = absolute_path(os.fspath(zmap_path), Path.cwd())
    has_zmap = needs_zmap or not isinstance(target, dict) or "zmap_path" in target
    if not has_zmap:
        target["zmap_path"] = BUILTIN_ZMAPS[0]
    if "base_config" in raw:
        keys = [override.strip().removeprefix("base_config.") for override in overrides]
        if isinstance(target, dict):
            problems = apply_overrides(target, keys, batch=BatchConfig, job=JobConfig, bare=True)
            if problems:
                raise_problems(source, problems)
        return _marked(_check_batch(raw, source, folder, ()).base_config, has_zmap=has_zmap)
    problems = apply_overrides(raw, overrides, batch=BatchConfig, job=JobConfig, bare=True)
    raw = absolute_paths("", raw, folder)
    checked = _check(JobConfig, raw)
    problems += checked.problems
    if problems or checked.config is None:
        raise_problems(source, problems)
    return _marked(checked.config, has_zmap=has_zmap)


def _marked(config: JobConfig, *, has_zmap: bool) -> JobConfig:
    """Return the config; if its map is only a stand-in, the map does not count as set."""
    if not has_zmap:
        config.model_fields_set.discard("zmap_path")
    return config


def _drop_replaced_blocks(values: dict[str, Any], by: dict[str, Any]) -> None:
    """Remove values from a raw job config, in place, that sections of another config replace."""
    for block, keys in REPLACED_BY.items():
        if isinstance(by.get(block), dict):
            for key in keys:
                values["tiff"]["noise_params"].pop(key, None)
    if isinstance(given := by.get("emitters"), dict):
        drop_other_numbers(values["emitters"], given)
    if isinstance(camera := by.get("camera"), dict) and camera.get("preset") is not None:
        values["camera"] = None


def _fill_up(target: dict[str, Any], otherwise: dict[str, Any], model: type[BaseModel]) -> None:
    """Add values that are missing from a raw config, in place."""
    for key, value in otherwise.items():
        given = target.setdefault(key, value)
        inner = model_of(model.model_fields[key].annotation)
        if given is not value and isinstance(given, dict) and isinstance(value, dict) and inner is not None:
            _fill_up(given, value, inner)


def _read(config: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[dict[str, Any], str, Path]:
    """Return the raw config, its name for messages, and the folder for relative paths."""
    if isinstance(config, Mapping):
        problems: list[Problem] = []
        raw = plain(config, "config", problems)
        if problems:
            raise_problems("config", problems)
        return raw, "config", Path.cwd()
    if isinstance(config, str | os.PathLike):
        file = read_config_file(config)
        return parse_config_text(file.text, file.source), file.source, file.folder
    raise ConfigError(f"a config must be the path of a file or a dict, not {type(config).__name__}")


def _check_batch(
    raw: dict[str, Any], source: str, folder: Path, overrides: Sequence[str], *, of_job: bool = False
) -> BatchConfig:
    """Check a batch; `of_job`: the file has only a job's keys, and messages name them without ``base_config``."""
    problems = apply_overrides(raw, overrides, batch=BatchConfig, job=JobConfig, bare=False)
    base = raw.get("base_config")
    if isinstance(base, dict):
        base = raw["base_config"] = absolute_paths("", base, folder)
    if of_job and isinstance(base, dict):
        problems += _check(JobConfig, base).problems
        if problems:
            raise_problems(source, problems)
    variables = raw.get("variables")
    if isinstance(variables, dict):
        variables = {key: values for key, values in variables.items() if not is_note(key)}
        variables = {key: absolute_values(key, values, folder) for key, values in variables.items()}
        found = variable_problems(JobConfig, variables, raw.get("sample_configs"))
        right = {key: values for key, values in variables.items() if not one_variable_problems(JobConfig, key, values)}
        raw["variables"] = right
    else:
        found, variables, right = [], {}, {}
    checked = _check(BatchConfig, raw)
    problems += checked.problems + found
    batch = checked.config
    if problems or batch is None:
        if batch is not None and math.prod(map(len, right.values())) <= MAX_JOBS:
            wrong = {key[1:] for key in checked.wrong if key[:1] == ("base_config",)} - _keys(right)
            wrong |= _keys(variables.keys() - right.keys())
            for _ in combinations(batch.base_config, right, problems, wrong):
                pass
        raise_problems(source, problems)
    batch._source = source
    batch._prefix = "" if of_job else "base_config."
    return batch


def _keys(variables: Iterable[str]) -> set[Key]:
    return {tuple(key.split(".")) for variable in variables for key in linked_keys(variable)}


@dataclass(frozen=True)
class _Checked(Generic[_Model]):
    """A checked config.

    Attributes
    ----------
    config : _Model or None
        The config; if there are problems, a config of the valid values, if possible.
    problems : list of Problem
        All problems.
    wrong : set of tuple
        Keys of the problems.
    """

    config: _Model | None
    problems: list[Problem]
    wrong: set[Key]


def _check(model: type[_Model], raw: dict[str, Any]) -> _Checked[_Model]:
    """Check a raw config; relations between keys are checked only if each of their values is valid by itself."""
    problems: list[Problem] = []
    wrong: set[Key] = set()
    while True:
        try:
            return _Checked(model.model_validate(raw), problems, wrong)
        except ValidationError as error:
            found = problems_of(error, model)
        raw = copy.deepcopy(raw) if not wrong else raw
        problems += [problem for problem, keys in found if not overlap(keys, wrong)]
        more = {key for _, keys in found for key in keys}
        wrong |= more
        if not sum(_take_out(raw, key) for key in more):
            return _Checked(None, problems, wrong)


def _take_out(raw: dict[str, Any], key: Key) -> bool:
    """Remove a value, or replace it by a stand-in if it is required; return whether anything changed."""
    if not key:
        return False
    *sections, last = key
    for section in sections:
        inner = raw.get(section)
        if not isinstance(inner, dict):
            return False
        raw = inner
    before: object = raw.pop(last, None)
    if last in _STAND_INS:
        raw[last] = copy.deepcopy(_STAND_INS[last])
        return bool(before != raw[last])
    return before is not None


def _section_schema(name: str, field: FieldInfo | str) -> dict[str, Any]:
    """Return the schema of a variable's value for a section; null is allowed if the section is optional."""
    schema = {"$ref": f"#/$defs/{name}"}
    return {"anyOf": [schema, {"type": "null"}]} if is_optional(getattr(field, "annotation", None)) else schema


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of configs, for editors; it covers batches and single jobs (without base_config)."""
    schema = BatchConfig.model_json_schema()
    definitions = schema.pop("$defs")
    definitions |= JobConfig.model_json_schema()["$defs"]
    definitions["JobConfig"] = {k: v for k, v in JobConfig.model_json_schema().items() if k != "$defs"}
    properties: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    for path in value_paths(JobConfig):
        field = find_field(JobConfig, path)
        if isinstance(field, str):
            raise TypeError(field)
        items = value_adapter(JobConfig, path).json_schema()
        properties[path] = {
            "type": "array",
            "minItems": 1,
            "items": items,
            "description": field.description,
        }
        if isinstance(each := items.get("additionalProperties"), dict):
            entries[rf"^{re.escape(path)}\.[^.]+$"] = {"type": "array", "minItems": 1, "items": each}
    for path in section_paths(JobConfig):
        field = find_field(JobConfig, path)
        section = model_of(getattr(field, "annotation", None))
        properties[path] = {
            "type": "array",
            "minItems": 1,
            "items": _section_schema(section.__name__, field) if section else {},
            "description": "Coupled settings of this section.",
        }
    together = {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2}}
    schema["properties"]["variables"] |= {
        "properties": properties,
        "additionalProperties": False,
        "patternProperties": NOTES | entries | {",": together},
    }
    definitions["BatchConfig"] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "simtiff config",
        "type": "object",
        "if": {"required": ["base_config"]},
        "then": {"$ref": "#/$defs/BatchConfig"},
        "else": {"$ref": "#/$defs/JobConfig"},
        "$defs": definitions,
    }
