"""Base class of config sections: strict frozen models, free-text keys, relations between values."""

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
    """Return whether a key is a note for the reader, not a setting."""
    return isinstance(key, str) and (key in _FREE_KEYS or key.endswith("_note"))


def allow_free_keys(schema: dict[str, Any]) -> None:
    """Allow free-text keys in a JSON schema."""
    schema["patternProperties"] = NOTES


class Section(BaseModel):
    """Base class of config sections: frozen, strict types, no unknown keys, no NaN."""

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
    """A conflict between values.

    Attributes
    ----------
    keys : tuple of str
        Dotted keys of these values; the first is the one to report.
    message : str
        The problem with its value.
    """

    keys: tuple[str, ...]
    message: str


def checked_relations(model: _Model, relations: Iterable[Relation]) -> _Model:
    """Return the model if there are no conflicts; for pydantic validators, raise an error with all of them."""
    if found := tuple(relations):
        text = "; ".join(relation.message for relation in found)
        raise PydanticCustomError("relations", "{text}", {"text": text, "relations": found})
    return model


def checked_text(message: str | None, value: str) -> str:
    """Return the value if `message` is None; for pydantic validators, raise an error with the message if not."""
    if message is not None:
        raise PydanticCustomError(
            "text", "{message}", {"message": Text("{value} {problem}", value=show(value), problem=message)}
        )
    return value
