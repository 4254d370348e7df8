"""Events while movies are made, for displays, logs, the status file and the caller's own code.

An event is a small frozen object, and a watcher is a callable that accepts one. `simtiff.batch.events` has the events
of a batch.
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
        Name of the event in JSON.
    job : str
        Id of the job; empty for a single job, and for a batch as a whole.
    """

    kind: ClassVar[str]
    job: str = field(default="", kw_only=True)


Watch = Callable[[Event], object]
"""Callable that receives each event, immediately and in the working thread; an exception ends the work."""


def ignore(event: Event) -> None:
    """Ignore the event."""


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` are finished: frames of ``truth`` and ``frames``, ``plots``, ``exports``, or ``jobs``."""

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
"""Displayed names of the stages of `Progress`."""


@dataclass(frozen=True)
class Message(Event):
    """A line for the log; a `warning` reports a problem that does not stop the work.

    Its `text` is English; a marked text (`simtiff.language.Text`) is shown in the language of the command.
    """

    kind = "message"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class MovieMade(Event):
    """Truth and movie are complete, only plots and exports are left; `files` has the paths of both by name."""

    kind = "movie"
    files: Mapping[str, FileInfo]
