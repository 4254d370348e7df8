"""Jobs on workers that the batch did not start: of a `concurrent.futures.Executor` or a dask cluster."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from simtiff.batch._task import Task, run_task
from simtiff.batch.events import Broken, Done, Failed, Halted, from_json, to_json
from simtiff.batch.fence import Fence, UnsharedFolderError
from simtiff.config.identity import DATA_VERSION
from simtiff.errors import BatchError
from simtiff.imaging import rendering
from simtiff.io.files import version
from simtiff.language import Text
from simtiff.movie.events import Progress
from simtiff.movie.frames import Buffers

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtiff.movie.events import Event

_PROGRESS_SECONDS = 1.0
_of_thread = threading.local()


def errand(task: Task, fence: Fence, threads: int | None) -> str:
    """Return a job for `run_errand` as JSON that any version of simtiff can read.

    Parameters
    ----------
    task : Task
        The job.
    fence : Fence
        The fence of its run.
    threads : int, optional
        Threads per job; default: the setting of the worker process.
    """
    values = {
        "task": task.to_json(),
        "fence": (fence.path, fence.token),
        "version": version(),
        "data_version": DATA_VERSION,
        "threads": threads,
        "caller": (socket.gethostname(), os.getpid()),
    }
    return json.dumps(values)


def run_errand(text: str, report: Callable[[str], None] | None = None, threads: int | None = None) -> list[str]:
    """Run a job on a worker and return its events, one line of JSON each.

    Parameters
    ----------
    text : str
        The job, from `errand`.
    report : callable, optional
        Called with lines while the job runs, about once a second; those lines are not in the result.
    threads : int, optional
        Threads per job; default: set by the batch. Ignored if the worker runs in the process of the batch.
    """
    values = json.loads(text)
    lines: list[str] = []
    due = time.monotonic() + _PROGRESS_SECONDS

    def tell(event: Event) -> None:
        nonlocal due
        if isinstance(event, Progress) and report is None:
            return  # the events arrive only at the end
        lines.append(to_json(event))
        if report is not None and not isinstance(event, Done | Failed) and time.monotonic() >= due:
            due = time.monotonic() + _PROGRESS_SECONDS
            for line in lines:
                report(line)
            lines.clear()

    if (problem := _version_problem(values["version"], values["data_version"])) is not None:
        return [to_json(Broken(problem))]
    task, fence = Task.from_json(values["task"]), Fence(*values["fence"])
    threads = threads or values["threads"]
    if threads is not None and values["caller"] != [socket.gethostname(), os.getpid()]:
        rendering.set_threads(threads)
    try:
        fence.check()
        run_task(task, tell, every=_PROGRESS_SECONDS, buffers=_buffers(), check=fence.check)
    except UnsharedFolderError:
        text = Text(
            "{folder}: not found on {host}, where a worker runs; all workers must share the output folder",
            folder=os.path.dirname(fence.path),  # noqa: PTH120 - a path on the batch's machine
            host=socket.gethostname(),
        )
        return [to_json(Broken(text))]
    except KeyboardInterrupt:  # also the `StoppedError` of the fence
        lines.append(to_json(Halted(job=task.job)))
    return lines


def events_of(lines: list[str]) -> list[Event]:
    """Return the events of `run_errand`; `BatchError` if the worker cannot run jobs."""
    events = [from_json(line) for line in lines]
    for event in events:
        if isinstance(event, Broken):
            raise BatchError(event.error)
    return events


def _buffers() -> Buffers:
    """Return the buffers of this thread, reused from job to job."""
    if not hasattr(_of_thread, "buffers"):
        _of_thread.buffers = Buffers()
    buffers: Buffers = _of_thread.buffers
    return buffers


def _version_problem(wanted: str, data_version: int) -> str | None:
    """Return an error text if the batch and this worker run different versions of simtiff, else None."""
    if (wanted, data_version) == (version(), DATA_VERSION):
        return None
    return Text(
        "the worker on {host} has simtiff {there} (data version {there_data}), the batch has {here} ({here_data}); "
        "install the same simtiff on all machines",
        host=socket.gethostname(),
        there=version(),
        there_data=DATA_VERSION,
        here=wanted,
        here_data=data_version,
    )
