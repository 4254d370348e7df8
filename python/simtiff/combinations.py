"""Combinations of a batch's variables: their names, their configs, and what does not go together."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from simtiff.checking import overlap
from simtiff.config_errors import Key, Problem, problems_of
from simtiff.names import LONGEST_NAME, shorten, value_name
from simtiff.settings import JobConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence


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
