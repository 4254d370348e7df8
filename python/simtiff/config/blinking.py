"""The config section ``emitters.blinking``: when emitters are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from simtiff._core import MOST_STATES
from simtiff.config.messages import show
from simtiff.config.section import Relation, Section, checked_relations
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NEEDED: dict[str, tuple[str, ...]] = {"once": (), "always": (), "paint": ("on_frames", "off_frames")}
_OF_KIND = {**_NEEDED, "kinetics": ("states", "brightness", "start")}
_SUM_ERROR = 1e-6
_Rate = Annotated[float, Field(gt=0, le=10_000)]
_Part = Annotated[float, Field(ge=0, le=1000)]


def _state_name(name: str) -> str:
    if not name.strip() or any(sign in name for sign in ".,\0"):
        text = Text("{name} is not a state name; allowed: text without dots and commas", name=show(name))
        raise PydanticCustomError("state", "{message}", {"message": text})
    return name


def _start(value: Any) -> Any:
    right = value is None or isinstance(value, str)
    if isinstance(value, dict):
        right = all(isinstance(key, str) for key in value) and all(
            isinstance(part, int | float) and not isinstance(part, bool) and 0 <= part <= 1 for part in value.values()
        )
    if not right:
        text = Text(
            "{value} is not allowed; allowed: a state, {{state: probability}}, or null (steady state)",
            value=show(value),
        )
        raise PydanticCustomError("start", "{message}", {"message": text})
    return value


_State = Annotated[str, AfterValidator(_state_name)]


class BlinkingConfig(Section):
    """When emitters are on. `kind` selects the model; each model has its own keys.

    Rates are transitions per frame, in continuous time. A state without transitions to other states, such as a
    bleached one, is absorbing.
    """

    kind: Literal["once", "kinetics", "paint", "always"] = Field(
        "once",
        description="once: a single interval with mean lifetime_avg; kinetics: states with transition rates; paint: "
        "binding events of mean on_frames after off_frames, each with its own photon rate; always: in every frame.",
    )
    states: dict[_State, dict[_State, _Rate]] = Field(
        default_factory=dict,
        description='For kinetics: transition rates from each state, for example {"on": {"dark": 0.4, "bleached": '
        '0.02}, "dark": {"on": 0.01}}, per frame; a state without rates is absorbing.',
    )
    brightness: dict[_State, _Part] = Field(
        default_factory=lambda: {"on": 1.0},
        description="For kinetics: fraction of a molecule's photon rate in each bright state.",
        json_schema_extra={"default": {"on": 1.0}},
    )
    start: Annotated[str | dict[str, float] | None, BeforeValidator(_start)] = Field(
        None,
        description="For kinetics: the state at the start of the movie, or the probability of each; null: the steady "
        "state without transitions to absorbing states.",
        json_schema_extra={"x-allowed": Text("a state, {{state: probability}}, or null (steady state)")},
    )
    on_frames: float | None = Field(
        None, ge=1e-4, le=1e9, description="For paint: mean time a site is bound, in frames."
    )
    off_frames: float | None = Field(
        None,
        ge=1e-4,
        le=1e9,
        description="For paint: mean time from the end of a binding event to the next, in frames.",
    )

    @model_validator(mode="after")
    def _values_go_together(self) -> BlinkingConfig:
        return checked_relations(self, self._relations())

    @property
    def names(self) -> tuple[str, ...]:
        """All states of kinetics: first those with rates, then the others in the order in which they appear."""
        reached = [name for rates in self.states.values() for name in rates]
        return tuple(dict.fromkeys([*self.states, *reached]))

    @property
    def absorbing(self) -> frozenset[str]:
        """The absorbing states of kinetics."""
        return frozenset(name for name in self.names if not self.states.get(name))

    @property
    def blinks(self) -> bool:
        """Whether an emitter can be on more than once."""
        return self.kind in {"kinetics", "paint"}

    @property
    def unused(self) -> list[str]:
        """The keys that are set but not used by this kind."""
        return [
            key
            for kind, keys in _OF_KIND.items()
            if kind != self.kind
            for key in keys
            if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True)
        ]

    def _relations(self) -> Iterator[Relation]:
        for key in _NEEDED.get(self.kind, ()):
            if getattr(self, key) is None:
                needed = ", ".join(_NEEDED[self.kind])
                message = Text('required key is missing: kind "{kind}" needs {keys}', kind=self.kind, keys=needed)
                yield Relation((key, "kind"), message)
        if self.kind == "kinetics":
            yield from self._kinetics_relations()

    def _kinetics_relations(self) -> Iterator[Relation]:
        names = self.names
        if not self.states:
            message = Text('required key is missing: kind "kinetics" needs states, such as {{"on": {{"dark": 0.4}}}}')
            yield Relation(("states", "kind"), message)
            return
        if len(names) > MOST_STATES:
            yield Relation(("states",), Text("has {n} states; allowed: up to {most}", n=len(names), most=MOST_STATES))
            return
        own = [name for name, rates in self.states.items() if name in rates]
        if own:
            message = Text("{name} has a rate to itself; allowed: rates to other states", name=show(own[0]))
            yield Relation(("states",), message)
            return
        begins = self.start if isinstance(self.start, dict) else {} if self.start is None else {self.start: 1.0}
        named = {"brightness": self.brightness, "start": begins}
        unknown = [(key, name) for key, values in named.items() for name in values if name not in names]
        for key, name in unknown:
            message = Text("{name} is not a state; allowed: {names}", name=show(name), names=", ".join(names))
            yield Relation((key, "states"), message)
        if unknown:
            return
        bright = {name for name, part in self.brightness.items() if part > 0}
        if not bright:
            yield Relation(("brightness",), Text("is 0 in all states; allowed: above 0 in at least one"))
            return
        if self.start is None:
            transient = {name: self._rates_that_return(name) for name in names if name not in self.absorbing}
            classes = _closed_classes(transient)
            if len(classes) != 1:
                message = Text(
                    "is null, but the transient states have no unique steady state; allowed: a state or "
                    "{{state: probability}}"
                )
                yield Relation(("start", "states"), message)
                return
            begins = dict.fromkeys(classes[0], 1.0)
        elif abs(sum(begins.values()) - 1) > _SUM_ERROR:
            message = Text("probabilities add up to {sum:g}; allowed: 1", sum=sum(begins.values()))
            yield Relation(("start",), message)
            return
        if not bright & _reached(self.states, (name for name, part in begins.items() if part > 0)):
            message = Text("never leads to a bright state, so no emitter would be on; allowed: a state that does")
            yield Relation(("start", "states", "brightness"), message)

    def _rates_that_return(self, name: str) -> dict[str, float]:
        return {other: rate for other, rate in self.states[name].items() if other not in self.absorbing}


def _reached(states: Mapping[str, Mapping[str, float]], begins: Iterable[str]) -> set[str]:
    """Return the given states and all states that can be reached from them."""
    found, ahead = set(), list(begins)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += states.get(name, {})
    return found


def _closed_classes(states: Mapping[str, Mapping[str, float]]) -> list[frozenset[str]]:
    """Return the closed communicating classes: sets of states that lead to each other and to no others."""
    after = {name: _reached(states, [name]) for name in states}
    classes = {frozenset(reached) for reached in after.values() if all(after[name] == reached for name in reached)}
    return sorted(classes, key=sorted)
