"""A worker process: takes jobs as JSON lines on stdin, answers with JSON lines on stdout, lives for many.

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
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from simtiff.batch.signals import open_closed_streams

_REPORT_SECONDS = 0.1
_MAX_DETAILS = 20_000


class _Reporter:
    """Sends what a job reports to the batch; progress not more often than anybody can read."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._due = 0.0
        self._stage = ""
        self._stage_begin = 0.0
        self._stage_first = 0
        self._stage_done = 0

    def begin_job(self) -> None:
        """Forget the last job; its first stage begins now."""
        self._stage, self._stage_begin, self._stage_first, self._stage_done = "", time.perf_counter(), 0, 0
        _reset_peak_memory()

    def end_stage(self) -> None:
        """Say how long the stage took that ends now, and how much memory the job has used so far."""
        now = time.perf_counter()
        if self._stage:
            self.send(
                "stage_done",
                stage=self._stage,
                seconds=round(now - self._stage_begin, 6),
                frames=self._stage_done - self._stage_first,
                peak_memory_bytes=peak_memory(),
            )
            self._stage_begin = now
        self._stage = ""

    def send(self, event: str, **data: Any) -> None:
        try:
            self._out.write(json.dumps({"event": event, **data}) + "\n")
            self._out.flush()
        except OSError:  # nobody listens any more
            os._exit(1)

    def stage(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        new = name != self._stage
        if new:
            self.end_stage()
            # A movie that goes on where a killed run was says so with its first report.
            self._stage, self._stage_first = name, done if name == "frames" else 0
        self._stage_done = done
        if now >= self._due or new:
            self._due = now + _REPORT_SECONDS
            self.send("stage", name=name, done=done, total=total)

    def log(self, message: str) -> None:
        self.send("log", message=message)


def main() -> None:
    """Run jobs until stdin ends; started by the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # until all is imported
    commands, out = _take_streams()
    settings = json.loads(commands.readline() or "null")
    if settings is None:
        return
    reporter = _Reporter(out)
    try:
        from simtiff.imaging.rendering import set_threads
        from simtiff.movie import job as pipeline  # what a job needs is imported now, while nothing waits for it
        from simtiff.movie.frames import Buffers
    except (ImportError, MemoryError, SystemError) as error:
        reporter.send("broken", error=describe(error))
        os._exit(1)
    set_threads(settings["threads"])
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands, jobs), daemon=True).start()
    buffers = Buffers()
    gc.freeze()  # what is imported stays: collections between chunks need not look at it again
    gc.enable()
    reporter.send("ready")
    if settings["prepare"] is not None:
        _prepare(settings["prepare"])
    while True:
        _run(json.loads(jobs.get()), pipeline, buffers, reporter)


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


def _run(command: dict[str, Any], pipeline: Any, buffers: Any, reporter: _Reporter) -> None:
    from simtiff.config.settings import JobConfig

    begin = time.perf_counter()
    reporter.begin_job()
    try:
        config = JobConfig.model_validate_json(command["config"])
        directory = Path(command["directory"])
        if command["plots_only"]:
            files = pipeline.draw_plots(config, directory, reporter)
        else:
            files = pipeline.run_job(
                config,
                directory,
                reporter,
                resume_key=command["resume_key"],
                replaced=tuple(command["replaced"]),
                buffers=buffers,
                whole=lambda made: reporter.send("whole", files=_sizes(made)),
            )
        reporter.end_stage()
    except Exception as error:
        reporter.send(
            "failed",
            error=describe(error),
            details="".join(traceback.format_exception(error))[-_MAX_DETAILS:],
            seconds=time.perf_counter() - begin,
            peak_memory_bytes=peak_memory(),
        )
        return
    reporter.send(
        "done",
        files=_sizes(files),
        seconds=time.perf_counter() - begin,
        peak_memory_bytes=peak_memory(),
    )


def _sizes(files: dict[str, Any]) -> dict[str, list[int]]:
    return {name: [info.size, info.crc32] for name, info in files.items()}


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


def describe(error: BaseException) -> str:
    """Return what went wrong in words for a user."""
    from simtiff.errors import SimtiffError, not_loaded
    from simtiff.io.files import describe_os_error

    if isinstance(error, SimtiffError):
        return str(error)
    if isinstance(error, OSError):
        return describe_os_error(error)
    if isinstance(error, MemoryError):
        return (
            "out of memory; use fewer workers (--max-workers), a smaller memory_optimization.chunk_size or "
            f"tiff.roi_size, or fewer emitters ({error})"
        )
    if isinstance(error, ImportError | SystemError):
        return not_loaded(error)
    return f"{type(error).__name__}: {error}"
