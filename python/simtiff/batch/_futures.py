"""Jobs on any `concurrent.futures.Executor`: process pools of the standard library and loky, ``mpi4py.futures``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from queue import Empty
from typing import TYPE_CHECKING

from simtiff.batch._executor import Executor
from simtiff.batch._remote import errand, events_of, run_errand
from simtiff.batch.events import Failed, Signalled, Started
from simtiff.errors import BatchError, in_words
from simtiff.io.system import cores
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtiff.batch._task import Task
    from simtiff.batch.fence import Fence
    from simtiff.movie.events import Event

_LOOK_SECONDS = 0.5
_STOP_SECONDS = 30.0
_SIGNAL_SECONDS = 0.2


class Futures(Executor):
    """Runs jobs on a `concurrent.futures.Executor` that the caller provides.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        It is not shut down.
    fence : Fence
        The fence of this run.
    most : int, optional
        Maximum number of jobs at a time; default: the executor's number of workers if known, else of CPUs.
    """

    def __init__(self, executor: concurrent.futures.Executor, fence: Fence, most: int | None = None) -> None:
        super().__init__()
        self._executor = executor
        self._fence = fence
        self._limit = most
        own = getattr(executor, "_max_workers", None) or getattr(executor, "num_workers", None)
        own = own if isinstance(own, int) and own > 0 else None
        self.workers = min(most or own or cores(), own or most or cores())
        self._threads = max(1, cores() // self.workers)
        self._tasks: dict[concurrent.futures.Future[list[str]], Task] = {}
        self._started: set[str] = set()
        self._events: list[Event] = []
        self._signalled = False

    def expect(self, jobs: int) -> None:
        """Do nothing: the executor starts its workers itself."""

    def room(self) -> int:
        """Return how many more jobs to submit: two per worker, so that no worker is idle."""
        return (self._limit or 2 * self.workers) - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Submit a job to the executor."""
        try:
            future = self._executor.submit(run_errand, errand(task, self._fence, self._threads))
        except (RuntimeError, OSError) as error:  # shut down, or broken
            if self._was_signalled():
                self._events.append(Signalled())
                return
            raise _broken(error) from error
        self._tasks[future] = task
        future.add_done_callback(self.news.put)

    def next(self, timeout: float) -> Event | None:
        """Wait for an event; apart from `Started`, the events of a job arrive when it ends."""
        if not self._events:
            try:
                news = self.news.get(timeout=min(timeout, _LOOK_SECONDS))
            except Empty:
                self._look()
            else:
                if isinstance(news, tuple):
                    return Signalled()
                self._events += self._ended(news)
        return self._events.pop(0) if self._events else None

    def close(self, request_stop: Callable[[], None]) -> None:
        """Cancel queued jobs, ask running ones to stop at their next event, and wait for them."""
        for future in list(self._tasks):
            if future.cancel():
                del self._tasks[future]
        if self._tasks:
            request_stop()
            concurrent.futures.wait(self._tasks, timeout=_STOP_SECONDS)
            self._tasks.clear()

    def _look(self) -> None:
        """Report jobs that have started running."""
        for future, task in self._tasks.items():
            if task.job not in self._started and future.running():
                self._started.add(task.job)
                self._events.append(Started(None, job=task.job))

    def _ended(self, future: concurrent.futures.Future[list[str]]) -> list[Event]:
        if (task := self._tasks.pop(future, None)) is None:
            return []
        try:
            lines = future.result()
        except concurrent.futures.BrokenExecutor as error:
            self._tasks[future] = task  # counts as interrupted
            if self._was_signalled():  # Ctrl-C in a terminal also stops the executor's workers
                return [Signalled()]
            raise _broken(error) from error
        except concurrent.futures.CancelledError:
            return [Failed(0.0, task.frames, None, Text("the executor cancelled the job"), job=task.job)]
        except BaseException as error:
            details = None if error.__cause__ is None else str(error.__cause__)  # the traceback in the worker
            return [Failed(0.0, task.frames, None, in_words(error), details, job=task.job)]
        return [event for event in events_of(lines) if not (isinstance(event, Started) and task.job in self._started)]

    def _was_signalled(self) -> bool:
        """Return whether a signal to stop has arrived, or arrives within a moment."""
        if not self._signalled:
            time.sleep(_SIGNAL_SECONDS)
        with contextlib.suppress(Empty):
            while not self._signalled:
                self._signalled = isinstance(self.news.get(block=False), tuple)
        return self._signalled


def _broken(error: BaseException) -> BatchError:
    return BatchError(
        Text(
            "the executor accepts no more jobs ({reason}); finished jobs are kept; rerun with a new executor to resume",
            reason=in_words(error) if isinstance(error, Exception) else type(error).__name__,
        )
    )
