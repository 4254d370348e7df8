"""Progress of a running batch on stderr: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

from simtiff.batch.events import Begun, Done, Ended, Failed, Gone, Started
from simtiff.batch.room import Estimate
from simtiff.batch.text import duration, percent
from simtiff.language import Text, plural, shown, tr
from simtiff.movie.events import STAGES, Event, Message, Progress, ignore

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from simtiff.movie.events import Watch

_PROGRESS_SECONDS = 30.0
_LEAST_FOR_BARS = 60  # columns; on narrower terminals the names need the space


class Lines:
    """Prints one line for each job that ends, and messages.

    Parameters
    ----------
    stream : text file
        Default: stderr.
    verbose : bool
        Print the stages of the jobs and the tracebacks of failures, too.
    """

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._total = 0
        self._finished = 0
        self._worked = 0
        self._begin = 0.0
        self._progress_due = 0.0
        self._ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Begun():
                self._start(event)
            case Estimate():
                self._print(str(event))
            case Message() if self._verbose or event.warning or not event.job:
                text = shown(event.text)
                self._print(f"{event.job}: {text}" if event.job else text)
            case Progress(stage="frames") if event.done < event.total and time.monotonic() >= self._progress_due:
                self._progress_due = time.monotonic() + _PROGRESS_SECONDS
                share = percent(event.done, event.total)
                self._print(
                    tr(
                        "{job}: frames {done}/{total} ({share})",
                        job=event.job,
                        done=event.done,
                        total=event.total,
                        share=share,
                    )
                )
            case Done():
                self._end(event.job, tr("✓ job {job} done ({time})", job=event.job, time=duration(event.seconds)))
            case Failed() | Gone():
                self._end(event.job, tr("✗ job {job} failed: {error}", job=event.job, error=event.error))
                if self._verbose and isinstance(event, Failed) and event.traceback:
                    self._print(event.traceback.rstrip())

    def _start(self, event: Begun) -> None:
        total, todo, workers = event.jobs, event.to_do, event.workers
        self._total, self._finished, self._worked = total, total - todo, 0
        self._ended.clear()
        self._begin = time.monotonic()
        self._progress_due = self._begin + _PROGRESS_SECONDS
        what = Text("nothing to do")
        if workers:
            what = Text(
                "{to_do} to do with {workers}", to_do=todo, workers=plural("{n} worker", "{n} workers", workers)
            )
        jobs = plural("{n} job", "{n} jobs", total)
        self._print(tr("{jobs}, {done} already done, {what}", jobs=jobs, done=total - todo, what=what))

    def _end(self, job: str, text: str) -> None:
        """Print how a job ended, and the progress of the batch."""
        if job in self._ended:  # reported as done, but its files were removed later
            self._print(text)
            return
        self._ended.add(job)
        self._finished += 1
        self._worked += 1
        progress = self._progress()
        self._print(tr("{ended}; {progress}", ended=text, progress=progress) if progress else text)

    def _progress(self) -> str:
        """Return the progress of the batch, for the line of a job that ended."""
        left = (time.monotonic() - self._begin) / self._worked * (self._total - self._finished)
        share = percent(self._finished, self._total)
        text = tr("progress: {done}/{total} ({share})", done=self._finished, total=self._total, share=share)
        if self._finished >= self._total:
            return text
        return tr("{progress}, about {time} left", progress=text, time=duration(left))

    def _print(self, message: str) -> None:
        print(message, file=self._stream, flush=True)


class Problems(Lines):
    """Prints only failed jobs and warnings."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Failed() | Gone() | Message(warning=True):
                super().__call__(event)

    def _progress(self) -> str:
        return ""


class Terminal(Lines):
    """Prints the same lines above a live display of finished jobs, frames of running jobs and time left."""

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.table import Column
        from rich.text import Text as RichText

        class NameColumn(ProgressColumn):
            """A name, cut off with an ellipsis if it does not fit."""

            def render(self, task: Task) -> RichText:
                return RichText(task.description, no_wrap=True, overflow="ellipsis")

        super().__init__(stream, verbose=verbose)
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._display: RichProgress = RichProgress(
            # If the width is not sufficient, the bar and the name are cut, never a stage or a number.
            NameColumn(),
            TextColumn("{task.fields[stage]}", table_column=Column(no_wrap=True)),
            *([BarColumn(bar_width=20)] if self._console.width >= _LEAST_FOR_BARS else []),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TaskProgressColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._all_jobs: TaskID | None = None
        self._bars: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Started():
                self._bars[event.job] = self._display.add_task(event.job, total=None, stage=tr("starting"))
            case Progress():
                self._move(event)
                return  # shown as a bar, not as a line
            case Done() | Failed() | Gone():
                self._remove(event.job)
            case Ended():
                self._display.stop()
        super().__call__(event)

    def _start(self, event: Begun) -> None:
        super()._start(event)
        done = event.jobs - event.to_do
        self._all_jobs = self._display.add_task(tr("jobs"), total=event.jobs, completed=done, stage="")
        self._display.start()

    def _move(self, event: Progress) -> None:
        if (bar := self._bars.get(event.job)) is None:
            return
        stage = shown(STAGES.get(event.stage, event.stage))
        self._display.update(bar, stage=stage, completed=event.done, total=event.total)
        if event.stage == "frames" and event.total:
            self._shares[event.job] = event.done / event.total
            self._show_share()

    def _show_share(self) -> None:
        """Update the bar of all jobs; running jobs count by their fraction, so that the time left is known early."""
        if self._all_jobs is not None:
            self._display.update(self._all_jobs, completed=self._finished + sum(self._shares.values()))

    def _remove(self, job: str) -> None:
        self._shares.pop(job, None)
        if (bar := self._bars.pop(job, None)) is not None:
            self._display.remove_task(bar)

    def _progress(self) -> str:
        self._show_share()
        return ""  # the live display shows it

    def _print(self, message: str) -> None:
        self._console.print(message, markup=False)


def display(stream: IO[str] | None = None, *, verbose: bool = False, quiet: bool = False) -> Watch:
    """Return the display for stderr: live on a terminal, plain lines elsewhere, none if stderr is closed.

    With `quiet` only failures and warnings are shown.
    """
    stream = stream or sys.stderr
    if stream is None:
        return ignore
    if quiet:
        return Problems(stream, verbose=verbose)
    if stream.isatty():
        return Terminal(stream, verbose=verbose)
    return Lines(stream, verbose=verbose)
