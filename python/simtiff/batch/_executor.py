"""The interface between a batch and the executor that runs its jobs.

Implementations: worker processes on this machine (`simtiff.batch._pool`), any `concurrent.futures.Executor`
(`simtiff.batch._futures`) and a dask cluster (`simtiff.batch._dask`). All of them pass the same contract test
(tests/batch/test_executors.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtiff.batch._task import Task
    from simtiff.movie.events import Event


class Executor(ABC):
    """Runs the jobs of one batch and reports their events.

    For each submitted job, `next` returns `Started`, then the events of the job, then `Done` or `Failed`, each with the
    job's id. If a worker is lost and another one reruns its job, `Started` is returned again.

    Attributes
    ----------
    workers : int
        Number of jobs that run at a time, as currently known.
    on_this_machine : bool
        Whether the workers use the memory of this machine.
    news : SimpleQueue
        Queue of events in the executor's own form; `Signalled` is put here, too.
    """

    workers: int
    on_this_machine = True

    def __init__(self) -> None:
        self.news: SimpleQueue[Any] = SimpleQueue()

    @abstractmethod
    def expect(self, jobs: int) -> None:
        """Announce how many jobs are still to be submitted; with 0, idle workers may exit."""

    @abstractmethod
    def room(self) -> int:
        """Return how many more jobs can be submitted now."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Run a job as soon as a worker is free."""

    @abstractmethod
    def next(self, timeout: float) -> Event | None:
        """Wait for an event; None if there was none in `timeout` seconds.

        Raises
        ------
        BatchError
            No worker can run jobs.
        """

    @abstractmethod
    def close(self, request_stop: Callable[[], None]) -> None:
        """Stop all jobs and wait until they have stopped.

        Parameters
        ----------
        request_stop : callable
            Called if running jobs cannot be killed: it makes them stop at their next event.
        """
