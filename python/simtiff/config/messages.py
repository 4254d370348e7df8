"""Error messages for configs: all problems of a config in one block, with key paths and allowed values."""

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
from pydantic.fields import FieldInfo

from simtiff.errors import ConfigError, printable
from simtiff.language import Text, joined, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

LONGEST_VALUE = 60
MOST_PROBLEMS = 40

Key = tuple[str, ...]

_KINDS: dict[type, str] = {
    bool: Text("a boolean"),
    int: Text("an integer"),
    float: Text("a number"),
    str: Text("a string"),
    type(None): "null",
    list: Text("a list"),
    tuple: Text("a list"),
    dict: Text("an object"),
}

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
    """One problem: the key path (empty for the whole file) and the message."""

    path: str
    message: str

    @property
    def text(self) -> str:
        """Key path and message as one text."""
        return joined([self.path, self.message], ": ") if self.path else self.message

    def __str__(self) -> str:
        return str(self.text)


def raise_problems(source: str, problems: Iterable[Problem]) -> NoReturn:
    """Raise a `ConfigError` that lists all problems in order, without duplicates."""
    unique = list(dict.fromkeys(problems))
    head = plural("{source}: {n} error in the config", "{source}: {n} errors in the config", len(unique), source=source)
    raise ConfigError(listing(head, unique))


def listing(head: str, problems: Sequence[Problem]) -> str:
    """Return one block: a headline, and the problems below it."""
    lines = [head, *(joined(["  ", problem.text], "") for problem in problems[:MOST_PROBLEMS])]
    if len(problems) > MOST_PROBLEMS:
        lines.append(Text("  ... and {more} more", more=len(problems) - MOST_PROBLEMS))
    return joined(lines)


def show(value: Any) -> str:
    """Return a config value as short, printable text for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=lambda other: f"<{type(other).__name__}>")
    except (ValueError, TypeError):
        text = f"<{type(value).__name__}>"
    return show_key(text)


def show_key(key: object) -> str:
    """Return a key as printable text for a key path."""
    text = printable(str(key))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def join_path(prefix: str, loc: Sequence[object]) -> str:
    """Return the dotted path of a location: ``("tiff", "crop_offset", 0)`` is ``tiff.crop_offset[0]``."""
    path = prefix
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # pydantic's marker for errors about a key itself
            path += ("." if path else "") + show_key(part)
    return path


def nearest(key: str, valid: Iterable[str]) -> str | None:
    """Return the valid key that is most similar to `key`, or None if none is similar."""
    by_lower = {name.lower(): name for name in valid}
    matches = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def unknown_key(key: str, valid: Sequence[str], elsewhere: Iterable[str] = (), section: str = "") -> str:
    """Return the message for an unknown key: where it belongs, the most similar valid key, or all valid keys."""
    problem = Text("unknown key in {section}", section=section) if section else Text("unknown key")
    for path in elsewhere:
        if path.rpartition(".")[2] == key or path == key:
            return Text('{problem}; it belongs at "{path}"', problem=problem, path=path)
    match = nearest(key, valid)
    if match is not None:
        return Text('{problem}; did you mean "{match}"?', problem=problem, match=match)
    return Text("{problem}; valid keys are {keys}", problem=problem, keys=", ".join(valid))


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field (also of an optional one), or None for a plain value."""
    candidates = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def is_optional(annotation: Any) -> bool:
    """Return whether a field may be null."""
    return type(None) in get_args(annotation)


def entry_of(field: FieldInfo) -> FieldInfo | None:
    """Return the field of a value in a dict such as ``psf.phase_noll``; None for other fields."""
    return FieldInfo.from_annotation(get_args(field.annotation)[1]) if get_origin(field.annotation) is dict else None


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
                low = Text(" from {bound}", bound=_number(bound))
            case annotated_types.Gt(gt=bound):
                low = Text(" above {bound}", bound=_number(bound))
            case annotated_types.Le(le=bound):
                high = Text(" to {bound}", bound=_number(bound))
                if low.startswith(" above"):
                    high = Text(" up to {bound}", bound=_number(bound))
            case annotated_types.Lt(lt=bound):
                high = Text(" below {bound}", bound=_number(bound))
    return joined([low, high], "")


def _number(bound: object) -> str:
    return f"{int(bound):,}" if isinstance(bound, int | float) and bound == int(bound) else str(bound)


def _describe_type(annotation: Any, metadata: Sequence[object]) -> str:
    if hasattr(annotation, "__metadata__"):
        return _describe_type(annotation.__origin__, [*metadata, *annotation.__metadata__])
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        one, other = (_describe_type(part, metadata) for part in get_args(annotation))
        return Text("{one} or {other}", one=one, other=other)
    if origin is Literal:
        names = [show(value) for value in get_args(annotation)]
        return names[0] if len(names) == 1 else Text("one of {names}", names=", ".join(names))
    if origin is tuple:
        parts = get_args(annotation)
        inner = parts[0]
        if hasattr(inner, "__metadata__"):
            numbers, bounds = _describe_plural(inner.__origin__), _bounds_of(inner.__metadata__)
            return joined([Text("a list of {n} {numbers}", n=len(parts), numbers=numbers), bounds], "")
        return Text("a list of {n} {numbers}", n=len(parts), numbers=_describe_plural(inner))
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Text("an object with the keys {keys}", keys=", ".join(annotation.model_fields))
    if annotation is bool:
        return Text("true or false")
    if annotation in (int, float, str):
        return joined([_KINDS[annotation], _bounds(metadata)], "")
    return _KINDS[dict] if origin is dict or annotation is dict else Text("a value")


def _describe_plural(annotation: Any) -> str:
    return {int: Text("integers"), float: Text("numbers")}.get(annotation, Text("values"))


def _bounds_of(metadata: Sequence[object]) -> str:
    flat: list[object] = []
    for item in metadata:
        flat += getattr(item, "metadata", [item])
    return _bounds(flat)


def describe(field: FieldInfo) -> str:
    """Return what a field allows as text: ``an integer from 1 to 10,000,000``."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(allowed := extra.get("x-allowed"), str):
        return allowed
    return _describe_type(field.annotation, field.metadata)


def kind(value: Any) -> str:
    """Return the type of a config value as text."""
    other = type(value)
    name = other.__qualname__ if other.__module__ == "builtins" else f"{other.__module__}.{other.__qualname__}"
    return _KINDS.get(other) or Text("of type {name}", name=name)


def _sentence(error: ErrorDetails, allowed: str) -> str:
    what = _what_is_wrong(error)
    if what is None:
        own = error.get("ctx", {}).get("message")
        return own if isinstance(own, Text) else error["msg"]
    return Text("{problem}; allowed: {allowed}", problem=what, allowed=allowed) if allowed else what


def _what_is_wrong(error: ErrorDetails) -> Text | None:
    """Return the message without the allowed values; None to use pydantic's own message."""
    problem, value = error["type"], error["input"]
    if problem == "missing" and isinstance(error["loc"][-1], int):
        return Text("required value is missing")
    if problem == "missing":
        return Text("required key is missing")
    if problem == "literal_error":
        return Text("{value} is not allowed", value=show(value))
    if problem in {"int_type", "int_from_float"} and isinstance(value, float) and math.isfinite(value):
        return Text("{value} is not an integer", value=show(value))
    if problem in _TOO_SMALL:
        return Text("{value} is too small", value=show(value))
    if problem in _TOO_LARGE:
        return Text("{value} is too large", value=show(value))
    if problem == "finite_number" or (isinstance(value, float) and not math.isfinite(value)):
        return Text("{value} is not a finite number", value=show(value))
    if problem in _WRONG_TYPES and value is None:
        return Text("null is not allowed")
    if problem in _WRONG_TYPES:
        return Text("{value} is {kind}", value=show(value), kind=kind(value))
    return None


def _find_field(model: type[BaseModel], loc: Sequence[object]) -> tuple[type[BaseModel], FieldInfo | None]:
    """Follow a location through the models; return the innermost model and the field reached, if any."""
    field: FieldInfo | None = None
    for part in loc:
        if isinstance(part, int):
            continue
        if field is not None and (entry := entry_of(field)) is not None:
            field = entry
            continue
        field = model.model_fields.get(str(part))
        inner = model_of(field.annotation) if field else None
        if inner is not None:
            model = inner
    return model, field


def problems_of_value(error: ValidationError, field: FieldInfo, path: str) -> list[Problem]:
    """Return pydantic's errors for one value of a field as problems at `path`."""
    allowed = describe(field)
    return [Problem(join_path(path, item["loc"]), _sentence(item, allowed)) for item in error.errors(include_url=False)]


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[Problem, list[Key]]]:
    """Return pydantic's errors for a value of `model` as problems, each with the keys involved."""
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
    """Return whether one of the keys equals, contains, or is inside one of the wrong keys."""
    return any(key[: len(other)] == other[: len(key)] for key in keys for other in wrong)
