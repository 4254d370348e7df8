"""Events of a batch and its workers, and their JSON form for a worker's pipe and for the log."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from simtiff.io.files import FileInfo
from simtiff.language import Text, unpacked
from simtiff.movie.events import Event, Message, MovieMade, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Begun(Event):
    """A batch starts its jobs.

    Attributes
    ----------
    simtiff, host, pid, output_dir : str, str, int, str
        Version, host name, process id and output folder.
    jobs, to_do : int
        Number of jobs in the config, and number of jobs to run.
    workers : int
        Number of workers.
    """

    kind = "begin"
    simtiff: str
    host: str
    pid: int
    output_dir: str
    jobs: int
    to_do: int
    workers: int


@dataclass(frozen=True)
class Started(Event):
    """A worker has started a job; its pid is None if not known yet."""

    kind = "started"
    worker_pid: int | None


@dataclass(frozen=True)
class StageEnded(Event):
    """A stage of a job has ended.

    Attributes
    ----------
    stage : str
        ``truth``, ``frames``, ``plots`` or ``exports``.
    seconds : float
        Duration of the stage.
    frames : int
        Frames done in this stage; fewer than the movie has if an earlier run was resumed.
    peak_memory_bytes : int or None
        Peak memory of the worker so far; None if the system does not report it.
    """

    kind = "stage"
    stage: str
    seconds: float
    frames: int
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Done(Event):
    """A job has finished; `files` are its files by name, the other attributes are as in `StageEnded`."""

    kind = "done"
    seconds: float
    frames: int
    peak_memory_bytes: int | None
    files: Mapping[str, FileInfo]


@dataclass(frozen=True)
class Failed(Event):
    """A job failed; `traceback` is for debugging."""

    kind = "failed"
    seconds: float
    frames: int
    peak_memory_bytes: int | None
    error: str
    traceback: str | None = None


@dataclass(frozen=True)
class Gone(Event):
    """At the end of the batch, files of a job that was `Done` are missing: the job counts as failed."""

    kind = "failed"
    frames: int
    error: str


@dataclass(frozen=True)
class Ended(Event):
    """The batch has ended, with or without errors; jobs are counted as in `BatchSummary`."""

    kind = "end"
    completed: int
    failed: int
    skipped: int
    interrupted: bool


@dataclass(frozen=True)
class Ready(Event):
    """A worker process has started."""

    kind = "ready"


@dataclass(frozen=True)
class Broken(Event):
    """A worker process cannot start."""

    kind = "broken"
    error: str


@dataclass(frozen=True)
class Halted(Event):
    """A job stopped, because its run has ended."""

    kind = "halted"


@dataclass(frozen=True)
class Exited(Event):
    """A worker process has exited, expectedly or not."""

    kind = "exited"
    returncode: int


@dataclass(frozen=True)
class Signalled(Event):
    """The batch received a signal to stop."""

    kind = "signal"


_FROM_WORKERS: dict[str, type[Event]] = {
    each.kind: each for each in (Ready, Broken, Started, Progress, Message, StageEnded, MovieMade, Done, Failed, Halted)
}


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as plain values: ``event`` (its kind), ``job`` if it has one, and its attributes; in English."""
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    if not event.job:
        del values["job"]
    if "files" in values:
        values["files"] = {name: vars(info) for name, info in values["files"].items()}
    return {"event": event.kind, **values}


def to_json(event: Event) -> str:
    """Return an event for a worker's pipe: `as_json`, and the parts of its texts, so that they can be translated."""
    values = as_json(event)
    marked = {name: value.packed() for name, value in values.items() if isinstance(value, Text)}
    return json.dumps(values | {"marked": marked} if marked else values)


def from_json(text: str) -> Event:
    """Return the event that a worker sent; ValueError if the line is incomplete."""
    values = json.loads(text)
    values |= {name: unpacked(packed) for name, packed in values.pop("marked", {}).items()}
    if "files" in values:
        values["files"] = {name: FileInfo(**info) for name, info in values["files"].items()}
    return _FROM_WORKERS[values.pop("event")](**values)
