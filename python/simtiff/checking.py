"""Check a whole config: each value by itself, and what goes together of those that are right."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from simtiff.config_errors import Key, Problem, problems_of

if TYPE_CHECKING:
    from collections.abc import Collection

Model = TypeVar("Model", bound=BaseModel)

# Required values, for the check of the others where these are missing or wrong.
_STAND_INS: dict[str, Any] = {"base_config": {"zmap_path": "builtin:oil"}, "zmap_path": "builtin:oil", "num_samples": 1}


@dataclass(frozen=True)
class Checked(Generic[Model]):
    """A checked config.

    Attributes
    ----------
    config : Model or None
        The config; if there are problems, that of the values that are right, if it can be made.
    problems : list of Problem
        All that is wrong.
    wrong : set of tuple
        Keys that the problems are about.
    """

    config: Model | None
    problems: list[Problem]
    wrong: set[Key]


def check(model: type[Model], raw: dict[str, Any]) -> Checked[Model]:
    """Check a raw config; a relation between keys counts only where each of their values is right by itself."""
    problems: list[Problem] = []
    wrong: set[Key] = set()
    while True:
        try:
            return Checked(model.model_validate(raw), problems, wrong)
        except ValidationError as error:
            found = problems_of(error, model)
        raw = copy.deepcopy(raw) if not wrong else raw
        problems += [problem for problem, keys in found if not overlap(keys, wrong)]
        more = {key for _, keys in found for key in keys}
        wrong |= more
        if not sum(_take_out(raw, key) for key in more):
            return Checked(None, problems, wrong)


def overlap(keys: Collection[Key], wrong: Collection[Key]) -> bool:
    """Return whether one of the keys is, is inside of, or contains one of the wrong ones."""
    return any(key[: len(other)] == other[: len(key)] for key in keys for other in wrong)


def _take_out(raw: dict[str, Any], key: Key) -> bool:
    """Remove a value, or put another in its place if it is required; return whether that changed anything."""
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
