"""Dotted key paths into a config, and command-line overrides."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from simtiff.config.blocks import OF_NUMBER, drop_other_numbers
from simtiff.config.inputs import absolute_paths
from simtiff.config.messages import (
    Problem,
    describe,
    entry_of,
    model_of,
    nearest,
    problems_of_value,
    show_key,
    unknown_key,
    value_paths,
)
from simtiff.config.pixelsize import BOTH, EACH, drop_replaced, split
from simtiff.config.text import parse_value, split_override
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_PIXEL_SIZES = tuple(f"optical.{key}" for key in EACH)
_NUMBERS = tuple(f"emitters.{key}" for key in OF_NUMBER)


@functools.lru_cache(maxsize=1024)
def find_field(model: type[BaseModel], path: str) -> FieldInfo | str:
    """Return the field at a dotted path below `model`, or an error message if there is none."""
    parts = path.split(".")
    for depth, part in enumerate(parts):
        field = model.model_fields.get(part)
        if field is None:
            where = ".".join(parts[:depth])
            paths = value_paths(model, f"{where}." if where else "")
            local = unknown_key(part, list(model.model_fields), () if where else paths, where)
            if where or "did you mean" in local or "belongs" in local:
                return local
            match = nearest(path, paths)
            return Text('unknown key; did you mean "{match}"?', match=match) if match else local
        inner = model_of(field.annotation)
        for key in parts[depth + 1 :]:
            if (entry := entry_of(field)) is None:
                break
            if (problem := _wrong_entry(field, key)) is not None:
                return problem
            field, depth = entry, depth + 1  # noqa: PLW2901 - an entry may have entries of its own
        if depth == len(parts) - 1:
            return field
        if inner is None:
            there = ".".join(parts[: depth + 1])
            return Text('"{key}" is {kind}, not an object with keys', key=there, kind=describe(field))
        model = inner
    raise AssertionError("a path has at least one part")


def _setting_of(model: type[BaseModel], path: str) -> str:
    """Return the path of the setting that contains a path, for example ``psf.phase_noll`` for ``psf.phase_noll.6``."""
    parent = path.rpartition(".")[0]
    field = find_field(model, parent) if parent else ""
    return path if isinstance(field, str) or entry_of(field) is None else _setting_of(model, parent)


def _wrong_entry(field: FieldInfo, key: str) -> str | None:
    """Return an error message if an object cannot have this key, else None."""
    adapter = TypeAdapter(get_args(field.annotation)[0], config=_STRICT)
    try:
        adapter.validate_python(key)
    except ValidationError as error:
        return problems_of_value(error, field, "")[0].message
    return None


@functools.lru_cache(maxsize=1024)
def value_adapter(model: type[BaseModel], path: str) -> TypeAdapter[Any]:
    """Return a validator for a plain value at a dotted path below `model`, as strict as the model itself."""
    field = find_field(model, path)
    if isinstance(field, str):
        raise TypeError(field)
    annotated: Any = Annotated
    return TypeAdapter(annotated[(field.annotation, Field(), *field.metadata)], config=_STRICT)


def apply_overrides(
    raw: dict[str, Any], overrides: Sequence[str], *, batch: type[BaseModel], job: type[BaseModel], bare: bool
) -> list[Problem]:
    """Apply ``KEY=VALUE`` overrides to a raw config, in place; return the problems found.

    Keys refer to base_config, or to the top level of a batch. Paths of input files are relative to the current
    directory, like all paths on the command line.
    """
    problems: list[Problem] = []
    variables = raw.get("variables")
    variables = variables if isinstance(variables, dict) else {}
    for override in overrides:
        split = split_override(override)
        if isinstance(split, Problem):
            problems.append(split)
            continue
        key, text = split
        value = parse_value(text)
        shown = f"--set {show_key(key)}"
        first = key.partition(".")[0]
        if key.startswith("variables.") and not bare:
            variables = raw.setdefault("variables", {})
            if isinstance(variables, dict):
                name = key.removeprefix("variables.")
                variables[name] = absolute_values(name, value, Path.cwd())
            continue
        top_level = not bare and first in batch.model_fields
        field = find_field(batch if top_level else job, key)
        if isinstance(field, str):
            problems.append(Problem(shown, field))
            continue
        if field.annotation is str and not isinstance(value, str):
            value = text  # a folder may be called 2024
        inside = key.removeprefix("base_config.") if top_level else key
        also = (f"optical.{BOTH}",) if inside in _PIXEL_SIZES else _NUMBERS if inside in _NUMBERS else ()
        for varied in dict.fromkeys((_setting_of(job, inside), inside, *also)):
            if any(_sets(name, values, varied) for name, values in variables.items()):
                message = f'"variables" sets this key for each job; use --set "variables.{varied}=[...]"'
                problems.append(Problem(shown, message))
                break
        path = key.split(".") if top_level or bare else ["base_config", *key.split(".")]
        _set_value(raw, path, absolute_paths(inside, value, Path.cwd()))
    samples = raw.get("sample_configs")
    if (
        not bare
        and isinstance(samples, dict)
        and samples.get("frames_per_sample") is not None
        and any(o.partition("=")[0].strip() in {"emitters.frames", "base_config.emitters.frames"} for o in overrides)
    ):
        message = "sample_configs.frames_per_sample sets the frames; use --set sample_configs.frames_per_sample=N"
        problems.append(Problem("--set emitters.frames", message))
    return problems


def _sets(variable: str, values: Any, key: str) -> bool:
    """Return whether a raw variable sets a key, either by name or through its values for a section."""
    keys = linked_keys(variable)
    for place, name in enumerate(keys):
        if name == key:
            return True
        for value in values if isinstance(values, list) else ():
            inner = value[place] if len(keys) > 1 and isinstance(value, list) and place < len(value) else value
            path = key.removeprefix(f"{name}.").split(".") if key.startswith(f"{name}.") else [""]
            for part in path:
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner is not None:
                return True
    return False


def _set_value(raw: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = raw.get(part)
        if inner is None:
            inner = raw[part] = {}
        if not isinstance(inner, dict):
            return  # reported when the whole config is checked
        raw = inner
    if ".".join(path[-2:]) in _PIXEL_SIZES:
        split(raw)
    drop_replaced(raw, {path[-1]: value})
    drop_other_numbers(raw, {path[-1]: value})
    raw[path[-1]] = value


def linked_keys(key: str) -> list[str]:
    """Return the keys that a variable sets together: two for ``a.b,a.c``, one for ``a.b``."""
    return [part.strip() for part in key.split(",")]


def absolute_values(key: str, values: Any, folder: Path) -> Any:
    """Return the values of a variable, with paths of input files made absolute."""
    if not isinstance(values, list):
        return values
    keys = linked_keys(key)
    if len(keys) == 1:
        return [absolute_paths(key, value, folder) for value in values]
    return [
        [absolute_paths(part, each, folder) for part, each in zip(keys, value, strict=True)]
        if isinstance(value, list) and len(value) == len(keys)
        else value
        for value in values
    ]
