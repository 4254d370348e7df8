"""One job as a task: the message to a worker, and how the worker runs it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.batch.events import Done, Failed, StageEnded, Started
from simtiff.batch.jobfile import describe
from simtiff.batch.status import JobRecord, now
from simtiff.config.identity import Job
from simtiff.config.settings import JobConfig
from simtiff.errors import in_words
from simtiff.io.files import FileInfo
from simtiff.movie import job as pipeline
from simtiff.movie.events import Event, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simtiff.movie.events import Watch
    from simtiff.movie.frames import Buffers

_MOST_OF_TRACEBACK = 20_000


@dataclass(frozen=True)
class Task:
    """One job for a worker, as plain values.

    Attributes
    ----------
    job, number, variables : str, int, dict
        Id, index in the batch, and the values of the varied parameters.
    config : str
        The job's config as JSON.
    directory : str
        Absolute path of the job's folder.
    replaced : tuple of str
        Files of earlier runs, removed before the job starts.
    added_only : bool
        Write only plots and exports; the movie and the truth are kept.
    record : dict
        The job's entry in the status (`JobRecord`).
    """

    job: str
    number: int
    variables: Mapping[str, Any]
    config: str
    directory: str
    replaced: tuple[str, ...]
    added_only: bool
    record: Mapping[str, Any]

    @property
    def frames(self) -> int:
        """Frames of the job's movie."""
        frames: int = self.record["frames"]
        return frames

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task from a line of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"replaced": tuple(values["replaced"])})


class Reporter:
    """Reports a job's events, and its progress at most every `every` seconds.

    Parameters
    ----------
    tell : callable
        Called with each event.
    job : str
        Id of the job.
    every : float
        Minimum time between two progress events, in seconds.
    """

    def __init__(self, tell: Watch, job: str, every: float) -> None:
        self._tell = tell
        self._job = job
        self._every = every
        self._due = 0.0
        self._stage: Progress | None = None
        self._stage_begin = time.perf_counter()
        self._stage_first = 0

    def watch(self, event: Event) -> None:
        """Report an event of the job; progress only when it is due or a stage begins."""
        event = replace(event, job=self._job)
        if not isinstance(event, Progress):
            self._tell(event)
            return
        now = time.monotonic()
        begins = self._stage is None or event.stage != self._stage.stage
        if begins:
            self.end_stage()
            # The first event of a resumed movie counts the frames of the earlier run.
            self._stage_first = event.done if event.stage == "frames" else 0
        self._stage = event
        if now >= self._due or begins:
            self._due = now + self._every
            self._tell(event)

    def end_stage(self) -> None:
        """Report the duration of the stage that ends now, and the peak memory of the job so far."""
        if (stage := self._stage) is None:
            return
        now = time.perf_counter()
        seconds, frames = round(now - self._stage_begin, 6), stage.done - self._stage_first
        self._tell(StageEnded(stage.stage, seconds, frames, peak_memory(), job=self._job))
        self._stage, self._stage_begin = None, now


def run_task(
    task: Task, tell: Watch, *, every: float, buffers: Buffers, check: Callable[[], None] = lambda: None
) -> None:
    """Run a job and report its events; a failure is reported, not raised.

    Parameters
    ----------
    task : Task
        The job.
    tell : callable
        Called with each event: `Started` first, `Done` or `Failed` last.
    every : float
        Minimum time between two progress events, in seconds.
    buffers : Buffers
        Buffers reused from job to job.
    check : callable, optional
        Called at each event. An exception that is not an `Exception` stops the job without `Failed`.
    """
    begin = time.perf_counter()
    _reset_peak_memory()
    reporter = Reporter(tell, task.job, every)

    def watch(event: Event) -> None:
        check()
        reporter.watch(event)

    tell(Started(os.getpid(), job=task.job))
    started = now()
    try:
        check()
        made = _make(task, watch, buffers)
        reporter.end_stage()
        before = JobRecord(**task.record)
        files = {name: FileInfo(**info) for name, info in task.record["files"].items()} | made
        record = replace(
            before,
            state="completed",
            files=files,
            started=before.started or started,
            finished=before.finished if before.state == "completed" else now(),
            seconds=before.seconds + time.perf_counter() - begin,
        )
        job = Job(task.job, JobConfig.model_validate_json(task.config), task.number, task.variables)
        describe(job, record, Path(task.directory)).write(Path(task.directory))
    except Exception as error:
        details = "".join(traceback.format_exception(error))[-_MOST_OF_TRACEBACK:]
        seconds = time.perf_counter() - begin
        tell(Failed(seconds, task.frames, peak_memory(), in_words(error), details, job=task.job))
        return
    tell(Done(time.perf_counter() - begin, task.frames, peak_memory(), made, job=task.job))


def _make(task: Task, watch: Watch, buffers: Buffers) -> dict[str, FileInfo]:
    """Write a job's files and return them by name."""
    config = JobConfig.model_validate_json(task.config)
    directory = Path(task.directory)
    if task.added_only:
        files = {name: FileInfo(**info) for name, info in task.record["files"].items()}
        return pipeline.add_files(config, directory, watch, files)
    key = task.record["hash"]
    return pipeline.run_job(config, directory, watch, resume_key=key, replaced=task.replaced, buffers=buffers)


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes; None where the system does not report it.

    On Linux since the job started, elsewhere since the process started.
    """
    # Not ru_maxrss on Linux: there it includes the memory of the parent process.
    with (
        contextlib.suppress(OSError, ValueError, StopIteration),
        Path("/proc/self/status").open(encoding="ascii") as file,
    ):
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None


def _reset_peak_memory() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
