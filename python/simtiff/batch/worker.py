"""A worker process: takes jobs as JSON lines on stdin, tells events as JSON lines on stdout, lives for many jobs.

When stdin ends, the batch is gone, however it ended, and the worker ends at once. Interrupts from the
terminal are left to the batch.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from simtiff.batch.events import Broken, Done, Failed, Ready, StageEnded, to_json
from simtiff.batch.signals import open_closed_streams
from simtiff.errors import in_words
from simtiff.io.files import FileInfo
from simtiff.movie.events import Event, Progress

_PROGRESS_SECONDS = 0.1
_MOST_OF_TRACEBACK = 20_000


class _Teller:
    """Tells the batch what happens here; progress not more often than anybody can read."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._due = 0.0
        self._job = ""
        self._stage: Progress | None = None
        self._stage_begin = 0.0
        self._stage_first = 0

    def begin_job(self, job: str) -> None:
        """Forget the last job; the first stage of this one begins now."""
        self._job, self._stage, self._stage_begin = job, None, time.perf_counter()
        _reset_peak_memory()

    def watch(self, event: Event) -> None:
        """Tell an event of the job, and of progress what is worth it."""
        event = replace(event, job=self._job)
        if isinstance(event, Progress):
            self._progress(event)
        else:
            self.tell(event)

    def end_stage(self) -> None:
        """Tell how long the stage took that ends now, and how much memory the job has used so far."""
        if (stage := self._stage) is None:
            return
        now = time.perf_counter()
        seconds, frames = round(now - self._stage_begin, 6), stage.done - self._stage_first
        self.tell(StageEnded(stage.stage, seconds, frames, peak_memory(), job=self._job))
        self._stage, self._stage_begin = None, now

    def tell(self, event: Event) -> None:
        try:
            self._out.write(to_json(event) + "\n")
            self._out.flush()
        except OSError:  # nobody listens any more
            os._exit(1)

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        new = self._stage is None or event.stage != self._stage.stage
        if new:
            self.end_stage()
            # A movie that goes on where a killed run was says so with its first event.
            self._stage_first = event.done if event.stage == "frames" else 0
        self._stage = event
        if now >= self._due or new:
            self._due = now + _PROGRESS_SECONDS
            self.tell(event)


def main() -> None:
    """Run jobs until stdin ends; started by the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # until all is imported
    commands, out = _take_streams()
    settings = json.loads(commands.readline() or "null")
    if settings is None:
        return
    teller = _Teller(out)
    try:
        from simtiff.imaging.rendering import set_threads
        from simtiff.movie import job as pipeline  # what a job needs is imported now, while nothing waits for it
        from simtiff.movie.frames import Buffers
    except (ImportError, MemoryError, SystemError) as error:
        teller.tell(Broken(in_words(error)))
        os._exit(1)
    set_threads(settings["threads"])
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands, jobs), daemon=True).start()
    buffers = Buffers()
    gc.freeze()  # what is imported stays: collections between chunks need not look at it again
    gc.enable()
    teller.tell(Ready())
    if settings["prepare"] is not None:
        _prepare(settings["prepare"])
    while True:
        _run(json.loads(jobs.get()), pipeline, buffers, teller)


def _prepare(config_json: str) -> None:
    """Open a job's map before the job comes; what is wrong with it is for the job to report."""
    import numpy as np

    from simtiff.aberrations.maps import field_coefficients, open_field
    from simtiff.config.settings import JobConfig

    with contextlib.suppress(Exception):
        config = JobConfig.model_validate_json(config_json)
        field_coefficients(config, open_field(config), np.zeros((1, 2), np.float32))


def _take_streams() -> tuple[IO[str], IO[str]]:
    """Return the channel to the batch and keep it from everything else that reads stdin or prints."""
    open_closed_streams()
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return commands, out


def _listen(commands: IO[str], jobs: SimpleQueue[str]) -> None:
    for line in commands:
        jobs.put(line)
    os._exit(0)


def _run(command: dict[str, Any], pipeline: Any, buffers: Any, teller: _Teller) -> None:
    from simtiff.batch.jobfile import describe
    from simtiff.batch.status import JobRecord, now
    from simtiff.config.identity import Job
    from simtiff.config.settings import JobConfig

    begin = time.perf_counter()
    job, frames = command["job"], command["record"]["frames"]
    started = now()
    teller.begin_job(job)
    try:
        config = JobConfig.model_validate_json(command["config"])
        directory = Path(command["directory"])
        record = JobRecord(**{**command["record"], "state": "completed"})
        files = {name: FileInfo(**info) for name, info in command["record"]["files"].items()}
        if command["added_only"]:
            made = pipeline.add_files(config, directory, teller.watch, files)
            files |= made
        else:
            made = files = pipeline.run_job(
                config,
                directory,
                teller.watch,
                resume_key=record.hash,
                replaced=tuple(command["replaced"]),
                buffers=buffers,
            )
        teller.end_stage()
        seconds = record.seconds + time.perf_counter() - begin
        finished = record.finished if command["record"]["state"] == "completed" else now()
        record = replace(record, files=files, started=record.started or started, finished=finished, seconds=seconds)
        describe(Job(job, config, command["number"], command["variables"]), record, directory).write(directory)
    except Exception as error:
        details = "".join(traceback.format_exception(error))[-_MOST_OF_TRACEBACK:]
        seconds = time.perf_counter() - begin
        teller.tell(Failed(seconds, frames, peak_memory(), in_words(error), details, job=job))
        return
    teller.tell(Done(time.perf_counter() - begin, frames, peak_memory(), made, job=job))


def peak_memory() -> int | None:
    """Return the most memory this process has had at a time, in bytes; None where the system does not say.

    On Linux since the last job began (`_reset_peak_memory`), elsewhere since the process began.
    """
    # Not ru_maxrss where it can be had otherwise: on Linux that begins with the memory of the parent.
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
