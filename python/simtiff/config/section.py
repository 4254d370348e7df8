"""What all parts of a config are made of: strict frozen models, keys that are free, values that go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from simtiff.config.messages import show
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    _Model = TypeVar("_Model", bound=BaseModel)

NOTES: dict[str, Any] = {r"^(description|version|\$schema)$|_note$": {}}
_FREE_KEYS = frozenset({"description", "version", "$schema"})


def is_note(key: object) -> bool:
    """Return whether a key is free text for the reader, not a setting."""
    return isinstance(key, str) and (key in _FREE_KEYS or key.endswith("_note"))


def allow_free_keys(schema: dict[str, Any]) -> None:
    """Let a JSON schema allow the keys that are free text."""
    schema["patternProperties"] = NOTES


class Section(BaseModel):
    """Base of all parts of a config: frozen, strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, json_schema_extra=allow_free_keys
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_notes(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if key in cls.model_fields or not is_note(key)}
        return data


@dataclass(frozen=True)
class Relation:
    """Values that do not go together.

    Attributes
    ----------
    keys : tuple of str
        Dotted keys of these values; the first is the one to look at.
    message : str
        What is wrong with its value.
    """

    keys: tuple[str, ...]
    message: str


def checked_relations(model: _Model, relations: Iterable[Relation]) -> _Model:
    """Return the model, or raise the error, for a validator of pydantic, that carries all relations."""
    if found := tuple(relations):
        text = "; ".join(relation.message for relation in found)
        raise PydanticCustomError("relations", "{text}", {"text": text, "relations": found})
    return model


def checked_text(message: str | None, value: str) -> str:
    """Return the value, or raise the error, for a validator of pydantic, that says what is wrong with it."""
    if message is not None:
        raise PydanticCustomError(
            "text", "{message}", {"message": Text("{value} {problem}", value=show(value), problem=message)}
        )
    return value
