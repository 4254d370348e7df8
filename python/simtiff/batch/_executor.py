"""The seam between a batch and what runs its jobs: one interface for all executors.

`simtiff.batch._pool` has worker processes of this machine, `simtiff.batch._futures` any
`concurrent.futures.Executor`, `simtiff.batch._dask` a dask cluster. One contract test holds for all of them
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

    For each job that was submitted, `next` returns `Started`, then the events of the job, then `Done` or `Failed`, each
    with the job's id. If a worker is lost and its job is run again elsewhere, `Started` comes a second time.

    Attributes
    ----------
    workers : int
        Jobs that run at a time, as far as known now.
    on_this_machine : bool
        Whether its workers use the memory of this machine.
    news : SimpleQueue
        What happened, in a form of its own; `Signalled` is put here, too.
    """

    workers: int
    on_this_machine = True

    def __init__(self) -> None:
        self.news: SimpleQueue[Any] = SimpleQueue()

    @abstractmethod
    def expect(self, jobs: int) -> None:
        """Take note of how many jobs are still to be submitted; 0: idle workers may end."""

    @abstractmethod
    def room(self) -> int:
        """Return how many more jobs it takes now."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Run a job as soon as a worker is free."""

    @abstractmethod
    def next(self, timeout: float) -> Event | None:
        """Wait for an event; None if there was none in `timeout` seconds.

        Raises
        ------
        BatchError
            No worker can run jobs any more.
        """

    @abstractmethod
    def close(self, request_stop: Callable[[], None]) -> None:
        """End all jobs, and return when none runs any more.

        Parameters
        ----------
        request_stop : callable
            Called if running jobs cannot be ended otherwise: it lets them stop at their next event.
        """
