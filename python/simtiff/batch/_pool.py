"""The batch's side of its worker processes: start them, give them jobs, hear of them, notice their death.

Workers are new interpreters: not forks, which would begin with the memory of the caller's program, and not
`multiprocessing` children, so a script needs no ``if __name__ == "__main__"`` to run a batch. A worker's stdin is its
life line: it ends with the batch, and the worker with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from simtiff.batch.events import Exited, Signalled, from_json
from simtiff.batch.signals import interrupts_held, note_interrupt
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from simtiff.movie.events import Event

_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from simtiff.batch.worker import main; main()"


News: TypeAlias = "tuple[Event, Worker | None]"
"""Something that happened, and the worker that it happened to."""


class Worker:
    """One worker process.

    Attributes
    ----------
    ready : bool
        Whether it has started up.
    threads : int
        Threads it computes with.
    """

    def __init__(self, threads: int, news: SimpleQueue[News], keep_open: tuple[int, ...], prepare: str | None) -> None:
        self.ready = False
        self.threads = threads
        environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        options: dict[str, Any] = (
            {"pass_fds": keep_open}
            if os.name == "posix"
            else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        )
        with interrupts_held():
            path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is meant, too
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter with our own code
                [sys.executable, "-P", "-c", _MAIN, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=environment,
                **options,
            )
        self.pid = self._process.pid
        self._send({"threads": threads, "prepare": prepare})
        threading.Thread(target=self._listen, args=(news,), name=f"worker {self.pid}", daemon=True).start()

    def run(self, command: dict[str, Any]) -> None:
        """Give the worker a job; one that died meanwhile says so with its `Exited`."""
        self._send(command)

    def end(self) -> None:
        """Let the worker end at once: its stdin is closed."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the worker wherever it is; files it was writing stay hidden."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def wait(self) -> None:
        """Wait until the worker is gone."""
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()

    def _listen(self, news: SimpleQueue[News]) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                with contextlib.suppress(ValueError):  # a line cut off by the worker's death
                    news.put((from_json(line), self))
            stdout.close()
        news.put((Exited(self._process.wait()), self))


class Pool:
    """Worker processes of one batch.

    Parameters
    ----------
    keep_open : tuple of int
        File descriptors that workers inherit (the lock of the output folder).
    """

    def __init__(self, keep_open: tuple[int, ...] = ()) -> None:
        self.news: SimpleQueue[News] = SimpleQueue()
        self.workers: list[Worker] = []
        self._keep_open = keep_open

    def start(self, threads: int, *, prepare: str | None = None) -> None:
        """Start one more worker; `prepare` is the config of a job whose map it is to open meanwhile."""
        self.workers.append(Worker(threads, self.news, self._keep_open, prepare))

    def next(self, timeout: float) -> News | tuple[None, None]:
        """Wait for something to happen; None if nothing did in `timeout` seconds."""
        try:
            return self.news.get(timeout=timeout)
        except Empty:
            return None, None

    def close(self) -> None:
        """End all workers at once, wherever they are, and wait until they are gone."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()
            worker.end()
        self.workers.clear()


def describe_exit(returncode: int) -> str:
    """Return in words how a worker ended."""
    if returncode >= 0:
        return Text("the worker process ended with exit code {code}", code=returncode)
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    text = Text("the worker process was killed by {signal}", signal=name)
    if -returncode == getattr(signal, "SIGKILL", None):
        hint = Text("was the memory used up? Fewer workers or a smaller chunk_size need less")
        text = Text("{what}; {hint}", what=text, hint=hint)
    return text


@contextlib.contextmanager
def signals_as_news(news: SimpleQueue[News]) -> Iterator[None]:
    """Turn signals to stop into news in the block, so that nothing is torn in the middle of a step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        note_interrupt()  # one that comes just after the block is the same wish
        news.put((Signalled(), None))  # SimpleQueue.put may be called from a handler

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
