"""Readable config errors: every problem of a config in one block, with key paths and what is allowed."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel

from simtiff.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

LONGEST_VALUE = 60
MOST_PROBLEMS = 40

Key = tuple[str, ...]

_WRONG_TYPES = frozenset(
    {
        "int_type",
        "int_from_float",
        "float_type",
        "string_type",
        "bool_type",
        "model_type",
        "model_attributes_type",
        "dict_type",
        "list_type",
        "tuple_type",
        "too_short",
        "too_long",
        "string_too_short",
    }
)
_TOO_SMALL = frozenset({"greater_than", "greater_than_equal"})
_TOO_LARGE = frozenset({"less_than", "less_than_equal"})


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the key path (empty for the whole file) and the sentence that says what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def raise_problems(source: str, problems: Iterable[Problem]) -> NoReturn:
    """Raise one `ConfigError` that lists all problems, each once and in the order given."""
    raise ConfigError(listing(source, problems, "config"))


def listing(source: str, problems: Iterable[Problem], what: str) -> str:
    """Return one block that lists all problems of what a file names, each once and in the order given."""
    unique = list(dict.fromkeys(problems))
    count = f"{len(unique)} errors" if len(unique) != 1 else "1 error"
    lines = [f"{source}: {count} in the {what}"]
    lines += [f"  {problem}" for problem in unique[:MOST_PROBLEMS]]
    if len(unique) > MOST_PROBLEMS:
        lines.append(f"  ... and {len(unique) - MOST_PROBLEMS} more")
    return "\n".join(lines)


def show(value: Any) -> str:
    """Return a short, printable text of a config value for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=lambda other: f"<{type(other).__name__}>")
    except (ValueError, TypeError):
        text = f"<{type(value).__name__}>"
    return show_key(text)


def show_key(key: object) -> str:
    """Return a key as it is shown in a key path."""
    text = printable(str(key))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def join_path(prefix: str, loc: Sequence[object]) -> str:
    """Return the dotted path of a location: ``("tiff", "crop_offset", 0)`` is ``tiff.crop_offset[0]``."""
    path = prefix
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # which pydantic says of a key itself
            path += ("." if path else "") + show_key(part)
    return path


def nearest(key: str, valid: Iterable[str]) -> str | None:
    """Return the valid key that looks most like `key`, or None where none does."""
    by_lower = {name.lower(): name for name in valid}
    matches = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def unknown_key(key: str, valid: Sequence[str], elsewhere: Iterable[str] = ()) -> str:
    """Return the sentence for an unknown key: the nearest valid one, where it belongs, or all valid ones."""
    for path in elsewhere:
        if path.rpartition(".")[2] == key or path == key:
            return f'unknown key; it belongs at "{path}"'
    match = nearest(key, valid)
    if match is not None:
        return f'unknown key; did you mean "{match}"?'
    return f"unknown key; valid keys are {', '.join(valid)}"


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model a field holds (also where it may be null), or None for a plain value."""
    candidates = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def value_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted path of every plain value in a model, in the order of the fields."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        inner = model_of(field.annotation)
        path = f"{prefix}{name}"
        paths += value_paths(inner, f"{path}.") if inner else [path]
    return paths


def section_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted path of every section in a model, in the order of the fields."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        if (inner := model_of(field.annotation)) is not None:
            paths += [f"{prefix}{name}", *section_paths(inner, f"{prefix}{name}.")]
    return paths


def _bounds(metadata: Iterable[object]) -> str:
    low = high = ""
    for constraint in metadata:
        match constraint:
            case annotated_types.Ge(ge=bound):
                low = f" from {_number(bound)}"
            case annotated_types.Gt(gt=bound):
                low = f" above {_number(bound)}"
            case annotated_types.Le(le=bound):
                high = f" to {_number(bound)}"
            case annotated_types.Lt(lt=bound):
                high = f" below {_number(bound)}"
    return low + (" up" if low.startswith(" above") and high else "") + high


def _number(bound: object) -> str:
    return f"{int(bound):,}" if isinstance(bound, int | float) and bound == int(bound) else str(bound)


def _describe_type(annotation: Any, metadata: Sequence[object]) -> str:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe_type(part, metadata) for part in get_args(annotation))
    if origin is Literal:
        names = [show(value) for value in get_args(annotation)]
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    if origin is tuple:
        parts = get_args(annotation)
        inner = parts[0]
        if hasattr(inner, "__metadata__"):
            return f"a list of {len(parts)} {_describe_plural(inner.__origin__)}{_bounds_of(inner.__metadata__)}"
        return f"a list of {len(parts)} {_describe_plural(inner)}"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"an object with the keys {', '.join(annotation.model_fields)}"
    names_of_types = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    if annotation in names_of_types:
        return names_of_types[annotation] + _bounds(metadata)
    return "an object" if origin is dict or annotation is dict else "a value"


def _describe_plural(annotation: Any) -> str:
    return {int: "integers", float: "numbers"}.get(annotation, "values")


def _bounds_of(metadata: Sequence[object]) -> str:
    flat: list[object] = []
    for item in metadata:
        flat += getattr(item, "metadata", [item])
    return _bounds(flat)


def describe(field: FieldInfo) -> str:
    """Return what a field allows, in words: ``an integer from 1 to 10,000,000``."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(extra.get("x-allowed"), str):
        return str(extra["x-allowed"])
    return _describe_type(field.annotation, field.metadata)


def kind(value: Any) -> str:
    """Return what a value of a config is, in words."""
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", type(None): "null"}
    kinds |= {list: "a list", tuple: "a list", dict: "an object"}
    other = type(value)
    full_name = other.__qualname__ if other.__module__ == "builtins" else f"{other.__module__}.{other.__qualname__}"
    return kinds.get(other, f"of type {full_name}")


def _sentence(error: ErrorDetails, allowed: str) -> str:
    problem, value = error["type"], error["input"]
    tail = f"; allowed: {allowed}" if allowed else ""
    if problem == "missing":
        what = "value" if isinstance(error["loc"][-1], int) else "key"
        return f"required {what} is missing{tail}"
    if problem == "literal_error":
        return f"{show(value)} is not allowed{tail}"
    if problem in {"int_type", "int_from_float"} and isinstance(value, float) and math.isfinite(value):
        return f"{show(value)} is not an integer{tail}"
    if problem in _TOO_SMALL:
        return f"{show(value)} is too small{tail}"
    if problem in _TOO_LARGE:
        return f"{show(value)} is too large{tail}"
    if problem == "finite_number" or (isinstance(value, float) and not math.isfinite(value)):
        return f"{show(value)} is not a finite number{tail}"
    if problem in _WRONG_TYPES and value is None:
        return f"null is not allowed{tail}"
    if problem in _WRONG_TYPES:
        return f"{show(value)} is {kind(value)}{tail}"
    return error["msg"]


def _find_field(model: type[BaseModel], loc: Sequence[object]) -> tuple[type[BaseModel], FieldInfo | None]:
    """Follow a location through the models; return the innermost model and the field reached, if any."""
    field: FieldInfo | None = None
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = model_of(field.annotation) if field else None
        if inner is not None:
            model = inner
    return model, field


def problems_of_value(error: ValidationError, field: FieldInfo, path: str) -> list[Problem]:
    """Return pydantic's errors about one value of a field as problems at `path`."""
    allowed = describe(field)
    return [Problem(join_path(path, item["loc"]), _sentence(item, allowed)) for item in error.errors(include_url=False)]


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[Problem, list[Key]]]:
    """Return pydantic's errors about a value of `model` as problems, each with the keys that it is about."""
    found: list[tuple[Problem, list[Key]]] = []
    for item in error.errors(include_url=False):
        loc = item["loc"]
        key = tuple(map(str, itertools.takewhile(lambda part: isinstance(part, str), loc)))
        if item["type"] == "relations":
            for relation in item["ctx"]["relations"]:
                keys = [(*key, *name.split(".")) for name in relation.keys]
                found.append((Problem(join_path("", keys[0]), relation.message), keys))
            continue
        if item["type"] == "extra_forbidden":
            owner, _ = _find_field(model, loc[:-1])
            message = unknown_key(str(loc[-1]), list(owner.model_fields), value_paths(model))
        else:
            _, field = _find_field(model, loc)
            message = _sentence(item, describe(field) if field else "")
        found.append((Problem(join_path("", loc), message), [key]))
    return found


def overlap(keys: Collection[Key], wrong: Collection[Key]) -> bool:
    """Return whether one of the keys is, is inside of, or contains one of the wrong ones."""
    return any(key[: len(other)] == other[: len(key)] for key in keys for other in wrong)
