"""What a user sees of a running batch, on stderr: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_STAGE_SECONDS = 30.0
_STAGES = {"truth": "emitters", "frames": "frames"}


class Progress:
    """Told what happens in a batch, from the thread that runs it; this one shows nothing."""

    def begin(self, total: int, skipped: int, workers: int) -> None:
        """Hear that there are `total` jobs, `skipped` of which are not run."""

    def note(self, message: str) -> None:
        """Hear something about the batch as a whole."""

    def estimated(self, message: str) -> None:
        """Hear how much disk and memory the batch needs, before it begins."""

    def started(self, job_id: str) -> None:
        """Hear that a worker took a job."""

    def stage(self, job_id: str, name: str, done: int, total: int) -> None:
        """Hear how far a running job is."""

    def log(self, job_id: str, message: str) -> None:
        """Hear what a running job says that is worth keeping."""

    def done(self, job_id: str, seconds: float) -> None:
        """Hear that a job is finished."""

    def failed(self, job_id: str, error: str, details: str = "") -> None:
        """Hear why a job failed; `details` is for those who look for the cause in the program."""

    def end(self) -> None:
        """Hear that the batch is over, well or not."""


class Lines(Progress):
    """One line for everything worth keeping.

    Parameters
    ----------
    stream : text file
        Default: stderr.
    verbose : bool
        Also the tracebacks of failed jobs.
    """

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._total = 0
        self._finished = 0
        self._worked = 0
        self._begin = 0.0
        self._stage_due = 0.0
        self._ended: set[str] = set()

    def begin(self, total: int, skipped: int, workers: int) -> None:
        """Say how much there is to do."""
        self._total, self._finished, self._worked = total, skipped, 0
        self._ended.clear()
        self._begin = time.monotonic()
        self._stage_due = self._begin + _STAGE_SECONDS
        todo = f"{total - skipped} to do with {workers} worker{'s' * (workers != 1)}" if workers else "nothing to do"
        self._print(f"{total} job{'s' * (total != 1)}, {skipped} done before, {todo}")

    def note(self, message: str) -> None:
        """Print it."""
        self._print(message)

    def estimated(self, message: str) -> None:
        """Print it."""
        self._print(message)

    def stage(self, job_id: str, name: str, done: int, total: int) -> None:
        """Print it now and then, so that long movies give signs of life."""
        if name == "frames" and done < total and (now := time.monotonic()) >= self._stage_due:
            self._stage_due = now + _STAGE_SECONDS
            self._print(f"{job_id}: frames {done}/{total} ({done / total:.1%})")

    def log(self, job_id: str, message: str) -> None:
        """Print it."""
        self._print(f"{job_id}: {message}")

    def done(self, job_id: str, seconds: float) -> None:
        """Print the job and how far the batch is."""
        self._print(f"✓ job {job_id} done ({seconds:.1f} s)")
        self._count(job_id)

    def failed(self, job_id: str, error: str, details: str = "") -> None:
        """Print the job, why it failed, and how far the batch is."""
        self._print(f"✗ job {job_id} failed: {error}")
        if self._verbose and details:
            self._print(details.rstrip())
        self._count(job_id)

    def _count(self, job_id: str) -> None:
        if job_id in self._ended:  # done, but then its files were gone
            return
        self._ended.add(job_id)
        self._finished += 1
        self._worked += 1
        share = self._finished / self._total if self._total else 1.0
        left = (time.monotonic() - self._begin) / self._worked * (self._total - self._finished)
        tail = f", about {duration(left)} left" if self._finished < self._total else ""
        self._show_count(f"progress: {self._finished}/{self._total} ({share:.1%}){tail}")

    def _show_count(self, text: str) -> None:
        self._print(text)

    def _print(self, message: str) -> None:
        print(message, file=self._stream, flush=True)


class Terminal(Lines):
    """The same lines above a live display: jobs done, frames of the running jobs, time left."""

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TaskProgressColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.table import Column
        from rich.text import Text

        class NameColumn(ProgressColumn):
            """A name that ends in an ellipsis where there is not enough room."""

            def render(self, task: Task) -> Text:
                return Text(task.description, no_wrap=True, overflow="ellipsis")

        super().__init__(stream, verbose=verbose)
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._display: RichProgress = RichProgress(
            # Where there is not enough room, the bar and the name give way, never a number.
            NameColumn(),
            BarColumn(bar_width=20),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TaskProgressColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._jobs: TaskID | None = None
        self._running: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}

    def begin(self, total: int, skipped: int, workers: int) -> None:
        """Say how much there is to do and start the display."""
        super().begin(total, skipped, workers)
        self._jobs = self._display.add_task("jobs", total=total, completed=skipped)
        self._display.start()

    def started(self, job_id: str) -> None:
        """Give the job a bar of its own."""
        self._running[job_id] = self._display.add_task(f"{job_id}: starting", total=None)

    def stage(self, job_id: str, name: str, done: int, total: int) -> None:
        """Move the job's bar."""
        if (task := self._running.get(job_id)) is not None:
            text = f"{job_id}: {_STAGES.get(name, name)}"
            self._display.update(task, description=text, completed=done, total=total)
            if name == "frames" and total:
                self._shares[job_id] = done / total
                self._show_share()

    def done(self, job_id: str, seconds: float) -> None:
        """Print the job and take its bar away."""
        self._remove(job_id)
        super().done(job_id, seconds)

    def failed(self, job_id: str, error: str, details: str = "") -> None:
        """Print the job and take its bar away."""
        self._remove(job_id)
        super().failed(job_id, error, details)

    def end(self) -> None:
        """Stop the display and leave the terminal as it was."""
        self._display.stop()

    def _show_share(self) -> None:
        """Move the bar of all jobs; parts of running jobs count, so that the time left is known early."""
        if self._jobs is not None:
            self._display.update(self._jobs, completed=self._finished + sum(self._shares.values()))

    def _remove(self, job_id: str) -> None:
        self._shares.pop(job_id, None)
        if (task := self._running.pop(job_id, None)) is not None:
            self._display.remove_task(task)

    def _show_count(self, text: str) -> None:  # noqa: ARG002 - the display counts by itself
        self._show_share()

    def _print(self, message: str) -> None:
        self._console.print(message, markup=False)


def console(stream: IO[str] | None = None, *, verbose: bool = False) -> Progress:
    """Return what fits where stderr goes: a live display on a terminal, else plain lines; nothing if it is closed."""
    stream = stream or sys.stderr
    if stream is None:
        return Progress()
    if stream.isatty():
        return Terminal(stream, verbose=verbose)
    return Lines(stream, verbose=verbose)


def duration(seconds: float) -> str:
    """Return a time in words of the right size: ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class BatchSummary:
    """What came of a batch; as text, what ``simtiff batch`` prints at its end.

    Attributes
    ----------
    total : int
        Jobs of the config.
    completed, failed : int
        Jobs that were finished, or failed, in this run.
    skipped : int
        Jobs that were not run: done before, or (with ``retry_failed``) not among the failed ones.
    interrupted : bool
        Whether a signal ended the run before all jobs were through.
    seconds : float
        Time of this run.
    errors : dict
        Why jobs failed, by id.
    output_dir : Path
        Folder of the results.
    """

    total: int
    completed: int
    skipped: int
    failed: int
    interrupted: bool
    seconds: float
    output_dir: Path
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 all done, 1 a job failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0

    @property
    def left(self) -> int:
        """Jobs that the run did not come to."""
        return self.total - self.completed - self.skipped - self.failed

    def __str__(self) -> str:
        tried = self.completed + self.failed
        jobs = "1 job" if self.total == 1 else f"{self.total} jobs"
        left = f", {self.left} left" if self.left else ""
        left += " (interrupted)" if self.interrupted else ""
        lines = [
            f"{jobs}: {self.completed} completed, {self.failed} failed, {self.skipped} skipped{left}",
            f"success rate: {self.completed / tried:.1%}" if tried else "success rate: no job was run",
            f"time: {duration(self.seconds)}",
        ]
        if self.errors:
            lines.append("failed jobs:")
            for job_id, error in self.errors.items():
                first, *more = error.splitlines() or [""]
                lines.append(f"  {job_id}: {first}")
                lines += [f"    {line}" for line in more]
            lines.append("run the same command again to try them once more (--retry-failed: them alone)")
        lines.append(f"results: {self.output_dir}")
        return "\n".join(lines)
