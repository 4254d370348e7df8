"""Worker processes on this machine: start them, send them jobs, read their events, detect when one exits.

Each worker is a new interpreter. Forks would inherit the memory of the calling program; `multiprocessing` would need
``if __name__ == "__main__"`` in scripts. A worker exits when its stdin closes, and stdin closes when the batch ends,
even if it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from queue import Empty
from typing import TYPE_CHECKING, Any

from simtiff.batch._executor import Executor
from simtiff.batch.events import Broken, Done, Exited, Failed, Ready, from_json
from simtiff.batch.signals import interrupts_held
from simtiff.errors import BatchError
from simtiff.io.system import cores
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from simtiff.batch._task import Task
    from simtiff.movie.events import Event

_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from simtiff.batch.worker import main; main()"
_STARTS_WITHOUT_SUCCESS = 3


class _Worker:
    """One worker process.

    Attributes
    ----------
    ready : bool
        Whether it has started.
    task : Task or None
        The job it is running.
    """

    def __init__(self, threads: int, news: SimpleQueue[Any], keep_open: tuple[int, ...], prepare: str | None) -> None:
        self.ready = False
        self.task: Task | None = None
        environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        options: dict[str, Any] = (
            {"pass_fds": keep_open}
            if os.name == "posix"
            else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        )
        with interrupts_held():
            path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - an entry may be ""
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter with our own code
                [sys.executable, "-P", "-c", _MAIN, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=environment,
                **options,
            )
        self._send(json.dumps({"threads": threads, "prepare": prepare}))
        threading.Thread(target=self._listen, args=(news,), name=f"worker {self._process.pid}", daemon=True).start()

    def run(self, task: Task) -> None:
        """Send a job to the worker; if it has exited, its `Exited` event reports that."""
        self.task = task
        self._send(task.to_json())

    def end(self) -> None:
        """Close the worker's stdin, which makes it exit."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """Kill the worker; files it was writing keep their temporary names."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def wait(self) -> None:
        """Wait until the process has exited."""
        self._process.wait()

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()

    def _listen(self, news: SimpleQueue[Any]) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                with contextlib.suppress(ValueError):  # incomplete line of a killed worker
                    news.put((from_json(line), self))
            stdout.close()
        news.put((Exited(self._process.wait()), self))


class Pool(Executor):
    """The worker processes of a batch: at most one per job, each with an equal share of the CPUs.

    Parameters
    ----------
    most : int
        Maximum number of workers.
    keep_open : tuple of int
        File descriptors that workers inherit (the lock of the output folder).
    prepare : str, optional
        Config of a job as JSON; workers open its map while they wait for their first job.
    """

    def __init__(self, most: int, keep_open: tuple[int, ...] = (), prepare: str | None = None) -> None:
        super().__init__()
        self.workers = most
        self._keep_open = keep_open
        self._prepare = prepare
        self._all: list[_Worker] = []
        self._threads = 1
        self._expected = 0
        self._failed_starts = 0
        self._why_not_started = ""

    def expect(self, jobs: int) -> None:
        """Start the workers at the first call; let idle ones exit when no more jobs follow."""
        first = not self._all and not self._expected
        self._expected = jobs
        if first:
            count = min(self.workers, jobs)
            self._threads = max(1, cores() // max(1, count))
            for _ in range(count):
                self._start(self._prepare)
        if not jobs:
            for worker in self._all:
                if worker.ready and worker.task is None:
                    worker.end()

    def room(self) -> int:
        """Return the number of idle workers."""
        return sum(worker.ready and worker.task is None for worker in self._all)

    def submit(self, task: Task) -> None:
        """Send a job to an idle worker."""
        next(worker for worker in self._all if worker.ready and worker.task is None).run(task)

    def next(self, timeout: float) -> Event | None:
        """Wait for an event of a job; handle starts and exits of workers."""
        try:
            event, worker = self.news.get(timeout=timeout)
        except Empty:
            return None
        if worker is None:
            signalled: Event = event
            return signalled
        match event:
            case Ready():
                worker.ready, self._failed_starts = True, 0
                if not self._expected:
                    worker.end()
            case Broken():
                self._why_not_started = event.error
            case Exited():
                return self._replace(worker, describe_exit(event.returncode))
            case _:
                if isinstance(event, Done | Failed):
                    worker.task = None
                of_job: Event = event
                return of_job
        return None

    def close(self, request_stop: Callable[[], None]) -> None:  # noqa: ARG002
        """Kill all workers and wait until they have exited."""
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            worker.wait()
            worker.end()
        self._all.clear()

    def _start(self, prepare: str | None = None) -> None:
        self._all.append(_Worker(self._threads, self.news, self._keep_open, prepare))

    def _replace(self, worker: _Worker, why: str) -> Event | None:
        """Remove a worker that has exited and start a new one if needed; return the failure of its job."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS_WITHOUT_SUCCESS:
                raise BatchError(Text("workers cannot start: {reason}", reason=self._why_not_started or why))
        self._all.remove(worker)
        worker.end()
        if self._expected > sum(other.task is None for other in self._all):
            self._start()
        task = worker.task
        return None if task is None else Failed(0.0, task.frames, None, why, job=task.job)


def describe_exit(returncode: int) -> str:
    """Return how a worker exited, as text."""
    if returncode >= 0:
        return Text("the worker process exited with code {code}", code=returncode)
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    text = Text("the worker process was killed by {signal}", signal=name)
    if -returncode == getattr(signal, "SIGKILL", None):
        hint = Text("out of memory? Fewer workers or a smaller chunk_size need less")
        text = Text("{what}; {hint}", what=text, hint=hint)
    return text
