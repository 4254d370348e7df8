"""What happens while movies are made, for whoever watches: a display, a log, the status, the caller's own code.

An event is a small frozen object, and who watches is a callable that takes one. `simtiff.batch.events` has those of a
batch, which are events like these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from simtiff.language import Text

if TYPE_CHECKING:
    from simtiff.io.files import FileInfo


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind : str
        Its name in JSON.
    job : str
        Id of the job that it happened to; empty where there is but one job, and for a batch as a whole.
    """

    kind: ClassVar[str]
    job: str = field(default="", kw_only=True)


Watch = Callable[[Event], object]
"""What is called with each event, at once and in the thread that works; what it raises ends the work."""


def ignore(event: Event) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` are through: frames of ``truth`` and ``frames``, ``plots``, ``exports``, or ``jobs``."""

    kind = "progress"
    stage: str
    done: int
    total: int


STAGES: Mapping[str, Text] = {
    "truth": Text("emitters"),
    "frames": Text("frames"),
    "plots": Text("plots"),
    "exports": Text("exports"),
    "jobs": Text("jobs"),
}
"""The stages of `Progress` as they are shown."""


@dataclass(frozen=True)
class Message(Event):
    """One line that is worth keeping; a `warning` says that something is wrong and the work goes on.

    Its `text` is English; one that is marked (`simtiff.language.Text`) is shown in the language of the command.
    """

    kind = "message"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class MovieMade(Event):
    """Truth and movie are whole, and only plots and exports are left to make; `files` has the two by name."""

    kind = "movie"
    files: Mapping[str, FileInfo]
