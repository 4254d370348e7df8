"""Jobs on the workers of a dask cluster (``dask.distributed``)."""

from __future__ import annotations

import contextlib
import itertools
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from simtiff.batch._executor import Executor
from simtiff.batch._remote import errand, events_of, run_errand
from simtiff.batch.events import Failed, Signalled, from_json
from simtiff.config.identity import DATA_VERSION
from simtiff.errors import BatchError, in_words
from simtiff.io.files import version
from simtiff.language import Text
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client, Future

    from simtiff.batch._task import Task
    from simtiff.batch.fence import Fence
    from simtiff.movie.events import Event

_LEAST_SUBMITTED = 64  # an adaptive cluster needs queued jobs to scale up
_COUNT_SECONDS = 5.0
_STOP_SECONDS = 30.0


class Dask(Executor):
    """Runs jobs on a dask cluster; if a worker is lost, another worker reruns its jobs.

    Parameters
    ----------
    client : distributed.Client
        It is not closed.
    fence : Fence
        The fence of this run.
    most : int, optional
        Maximum number of jobs submitted at a time; default: depends on the number of workers.

    Raises
    ------
    BatchError
        A worker has another version of simtiff, or none.
    """

    on_this_machine = False

    def __init__(self, client: Client, fence: Fence, most: int | None = None) -> None:
        super().__init__()
        self._client = client
        self._fence = fence
        self._limit = most
        self._topic = f"simtiff-{fence.token}"
        self._tasks: dict[Future, Task] = {}
        self._numbers = itertools.count()  # a job that is submitted again needs a new key
        self._events: list[Event] = []
        self._results: dict[str, list[str]] = {}
        self._check_versions()
        self.workers = 1
        self._count_due = 0.0
        self._count()
        if not self._client.nthreads():
            self._events.append(Message(Text("the cluster has no workers yet; waiting for them")))
        client.subscribe_topic(self._topic, self._receive)

    def expect(self, jobs: int) -> None:
        """Do nothing: the cluster starts its workers itself."""

    def room(self) -> int:
        """Return how many more jobs to submit: by default at least two per worker, so that none is idle."""
        return (self._limit or max(_LEAST_SUBMITTED, 2 * self.workers)) - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Submit a job to the scheduler."""
        text = errand(task, self._fence, None)
        future = self._client.submit(_run, text, self._topic, key=f"{self._topic}-{next(self._numbers)}", pure=False)
        self._tasks[future] = task
        future.add_done_callback(self._fetch)

    def next(self, timeout: float) -> Event | None:
        """Wait for an event; workers send events about once a second, and the rest at the end of a job."""
        self._count()
        if not self._events:
            try:
                news = self.news.get(timeout=timeout)
            except Empty:
                return None
            match news:
                case str():  # from a running job
                    self._events.append(from_json(news))
                case (Signalled(), _):
                    return Signalled()
                case (future, result):
                    self._events += self._ended(future, result)
        return self._events.pop(0) if self._events else None

    def close(self, request_stop: Callable[[], None]) -> None:
        """Ask all jobs to stop, wait until they have stopped, and cancel the others."""
        futures = list(self._tasks)
        with contextlib.suppress(Exception):  # the scheduler may be gone
            if futures:
                request_stop()
                self._wait()
                self._client.cancel(futures, force=True)
            self._client.unsubscribe_topic(self._topic)
        self._tasks.clear()

    def _wait(self) -> None:
        """Wait until all jobs have stopped; give up without workers or after a time limit."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self._tasks and time.monotonic() < deadline and self._client.nthreads():
            with contextlib.suppress(Empty):
                match self.news.get(timeout=1.0):
                    case (future, list() | BaseException()):
                        self._tasks.pop(future, None)

    def _count(self) -> None:
        """Update the number of worker threads every few seconds; each thread runs one job."""
        if time.monotonic() >= self._count_due:
            self._count_due = time.monotonic() + _COUNT_SECONDS
            with contextlib.suppress(OSError, ValueError):
                threads = sum(self._client.nthreads().values())
                self.workers = max(1, min(threads, self._limit or threads))

    def _check_versions(self) -> None:
        try:
            found: dict[str, Any] = self._client.run(_versions, on_error="return")
        except OSError as error:
            raise _lost(in_words(error)) from error
        for address, there in found.items():
            if isinstance(there, BaseException):
                text = Text(
                    "the worker {address} cannot use simtiff ({reason}); install simtiff {version} there",
                    address=address,
                    reason=f"{type(there).__name__}: {there}",
                    version=version(),
                )
                raise BatchError(text)
            if tuple(there) != _versions():
                text = Text(
                    "the worker {address} has simtiff {there} (data version {there_data}), the batch has {here} "
                    "({here_data}); install the same simtiff on all machines",
                    address=address,
                    there=there[0],
                    there_data=there[1],
                    here=version(),
                    here_data=DATA_VERSION,
                )
                raise BatchError(text)

    def _receive(self, event: tuple[float, Any]) -> None:
        """Take what a worker sends: an event of a running job, or the result of a job just before it ends."""
        match event[1]:
            case str() as line:
                self.news.put(line)
            case key, lines:
                self._results[key] = list(lines)

    def _fetch(self, future: Future) -> None:
        """Get the result of a finished job, in a thread of the client; usually the worker has sent it already."""
        sent = self._results.pop(future.key, None)
        try:
            result: Any = sent if sent and future.status == "finished" else future.result(timeout=_STOP_SECONDS)
        except BaseException as error:
            result = error
        self.news.put((future, result))

    def _ended(self, future: Future, result: list[str] | BaseException) -> list[Event]:
        from distributed import CancelledError, KilledWorker

        if (task := self._tasks.pop(future, None)) is None:
            return []
        match result:
            case list():
                return events_of(result)
            case KilledWorker():
                text = Text("every worker that ran it exited; out of memory?")
                return [Failed(0.0, task.frames, None, text, job=task.job)]
            case CancelledError() | OSError() | TimeoutError():
                self._tasks[future] = task
                raise _lost(in_words(result) if isinstance(result, OSError) else type(result).__name__)
            case ImportError():
                raise BatchError(
                    Text(
                        "a worker cannot use simtiff ({reason}); install simtiff {version} on all machines",
                        reason=str(result),
                        version=version(),
                    )
                )
        return [Failed(0.0, task.frames, None, in_words(result), job=task.job)]


def _lost(reason: str) -> BatchError:
    return BatchError(
        Text("the connection to the cluster was lost ({reason}); rerun the same command to resume", reason=reason)
    )


def _versions() -> tuple[str, int]:
    """Return simtiff's version and data version; also called on the workers."""
    return version(), DATA_VERSION


def _run(text: str, topic: str) -> list[str]:
    """Run a job on a dask worker, with as many threads as the worker has."""
    from distributed import get_worker

    worker = get_worker()
    lines = run_errand(text, lambda line: worker.log_event(topic, line), threads=worker.state.nthreads)
    # Sent along with what the worker tells the scheduler anyway: a third of the cost of fetching the result.
    worker.log_event(topic, (worker.get_current_task(), lines))
    return lines
