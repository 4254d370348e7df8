"""A worker process: reads jobs as JSON lines from stdin and writes events as JSON lines to stdout.

When stdin closes, the batch has exited, even if it was killed, and the worker exits at once. The worker ignores Ctrl-C;
the batch handles it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import threading
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING

from simtiff.batch.events import Broken, Ready, to_json
from simtiff.batch.signals import open_closed_streams
from simtiff.errors import in_words

if TYPE_CHECKING:
    from simtiff.movie.events import Event, Watch

_PROGRESS_SECONDS = 0.1


def main() -> None:
    """Run jobs until stdin closes; started by the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # faster imports
    commands, out = _take_streams()
    settings = json.loads(commands.readline() or "null")
    if settings is None:
        return
    tell = _writer(out)
    try:
        from simtiff.batch._task import Task, run_task  # import before the first job arrives
        from simtiff.imaging.rendering import set_threads
        from simtiff.movie.frames import Buffers
    except (ImportError, MemoryError, SystemError) as error:
        tell(Broken(in_words(error)))
        os._exit(1)
    set_threads(settings["threads"])
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands, jobs), daemon=True).start()
    buffers = Buffers()
    gc.freeze()  # imported objects are permanent, so the garbage collector can skip them
    gc.enable()
    tell(Ready())
    if settings["prepare"] is not None:
        _prepare(settings["prepare"])
    while True:
        run_task(Task.from_json(jobs.get()), tell, every=_PROGRESS_SECONDS, buffers=buffers)


def _prepare(config_json: str) -> None:
    """Open a job's map before the job arrives; the job itself reports errors in it."""
    import numpy as np

    from simtiff.aberrations.maps import field_coefficients, open_field
    from simtiff.config.settings import JobConfig

    with contextlib.suppress(Exception):
        config = JobConfig.model_validate_json(config_json)
        field_coefficients(config, open_field(config), np.zeros((1, 2), np.float32))


def _take_streams() -> tuple[IO[str], IO[str]]:
    """Return the pipe to the batch; redirect stdin and stdout, so that no other code can use it."""
    open_closed_streams()
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return commands, out


def _writer(out: IO[str]) -> Watch:
    """Return a function that sends events to the batch, and exits if the batch has exited."""

    def tell(event: Event) -> None:
        try:
            out.write(to_json(event) + "\n")
            out.flush()
        except OSError:
            os._exit(1)

    return tell


def _listen(commands: IO[str], jobs: SimpleQueue[str]) -> None:
    for line in commands:
        jobs.put(line)
    os._exit(0)
