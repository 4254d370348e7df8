"""The contract of all executors of a batch: worker processes, futures, dask."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import simtiff
from batch_helpers import (
    FAST,
    SLOW,
    assert_same_results,
    config,
    kill,
    partials,
    running,
    slow_config,
    status,
    tree,
    wait_for,
    write_config,
)
from simtiff import BatchError, run_batch
from simtiff.batch.events import Done, Failed, Started
from simtiff.batch.fence import Fence, UnsharedFolderError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


JOBS = 4
MANY = config(variables={"emitters.num_emitters": [10, 20, 30, 40]})
WORKERS = 2


@contextmanager
def process_pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def loky_pool() -> Iterator[Executor]:
    from loky import ProcessPoolExecutor as LokyPool

    pool = LokyPool(WORKERS)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def dask_client() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def no_executor() -> Iterator[None]:
    yield None


EXECUTORS = {
    "worker processes": no_executor,
    "ProcessPoolExecutor": process_pool,
    "loky": loky_pool,
    "dask": dask_client,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the executors' own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "dask":
        pytest.importorskip("distributed", reason="dask is not installed")
    with EXECUTORS[request.param]() as executor:
        yield executor


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of `MANY` with worker processes."""
    output = tmp_path_factory.mktemp("reference")
    assert run_batch(MANY, max_workers=1, output_dir=output, progress=False).completed == JOBS
    return output


def slow_jobs() -> dict[str, Any]:
    """Return jobs that run long enough to be interrupted."""
    slow = slow_config()
    slow["base_config"]["emitters"]["frames"] = 6_000
    return slow


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def process_of(output: Path) -> psutil.Process | None:
    """Return the process that is writing a movie of the batch."""
    for child in children():
        try:
            names = [file.path for file in child.open_files()]
        except psutil.Error:
            continue
        if any(name.startswith(str(output)) and name.endswith(".partial") for name in names):
            return child
    return None


def test_files_and_events_are_the_same(executor: Any, reference: Path, tmp_path: Path) -> None:
    output, events = tmp_path / "out", list[simtiff.batch.events.Event]()
    summary = run_batch(MANY, WORKERS, output_dir=output, progress=events.append, executor=executor)
    assert (summary.completed, summary.failed, summary.exit_code) == (JOBS, 0, 0)
    assert_same_results(output, reference)
    there, here = status(output), status(reference)
    for job, record in there["jobs"].items():
        assert record["state"] == "completed"
        assert record["hash"] == here["jobs"][job]["hash"]
        assert record["files"]["simulation.ome.tiff"] == here["jobs"][job]["files"]["simulation.ome.tiff"]
        kinds = [type(event) for event in events if event.job == job]
        assert kinds[0] is Started
        assert kinds[-1] is Done
        assert kinds.count(Started) == kinds.count(Done) == 1
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in reference.iterdir())

    again = run_batch(MANY, WORKERS, output_dir=output, progress=False, executor=executor)
    assert (again.completed, again.skipped) == (0, JOBS)


def test_one_job_s_failure_leaves_the_others(executor: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "job_0001_num_emitters_20").mkdir(parents=True)
    (output / "job_0001_num_emitters_20" / "emitters.h5").mkdir()  # blocks the truth file
    events = list[simtiff.batch.events.Event]()
    summary = run_batch(MANY, WORKERS, output_dir=output, progress=events.append, executor=executor)
    assert (summary.completed, summary.failed, summary.exit_code) == (JOBS - 1, 1, 1)
    assert "emitters.h5" in summary.errors["job_0001_num_emitters_20"]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.traceback is not None
    assert status(output)["jobs"]["job_0001_num_emitters_20"]["state"] == "failed"

    (output / "job_0001_num_emitters_20" / "emitters.h5").rmdir()
    again = run_batch(MANY, WORKERS, output_dir=output, progress=False, executor=executor, retry_failed=True)
    assert (again.completed, again.skipped) == (1, JOBS - 1)


def test_a_killed_worker_leaves_a_true_status(executor: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["executor"]
    slow, output = slow_jobs(), tmp_path / "out"
    killed = threading.Event()

    def kill_one() -> None:
        kill(wait_for(functools.partial(process_of, output), "a movie that is being written"))
        killed.set()

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        summary = run_batch(slow, WORKERS, output_dir=output, progress=False, executor=executor, overrides=SLOW)
    except BatchError as error:
        problem = str(error)
        assert kind in {"ProcessPoolExecutor", "loky"}  # these accept no more jobs
        assert "the executor accepts no more jobs" in problem
        assert "running" not in str(status(output)["jobs"])
    else:
        if kind == "dask":  # another worker reruns the job
            assert (summary.completed, summary.failed) == (3, 0)
        else:
            assert (summary.completed, summary.failed) == (2, 1)
            assert "killed by SIGKILL" in next(iter(summary.errors.values()))
    thread.join()
    assert killed.is_set()
    rest = run_batch(slow, WORKERS, output_dir=output, progress=False, overrides=FAST)
    assert (rest.failed, rest.interrupted) == (0, False)
    whole = tmp_path / "whole"
    run_batch(slow, WORKERS, output_dir=whole, progress=False, overrides=FAST)
    assert_same_results(output, whole)


def test_an_interrupted_batch_leaves_nothing_running(executor: Any, tmp_path: Path) -> None:
    slow, output = slow_jobs(), tmp_path / "out"

    def interrupt() -> None:
        wait_for(lambda: partials(output), "a movie that is being written")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    summary = run_batch(slow, WORKERS, output_dir=output, progress=False, executor=executor, overrides=SLOW)
    seconds = time.monotonic() - begin
    thread.join()
    assert summary.interrupted
    assert summary.exit_code == 130
    assert seconds < 30
    states = {record.get("state", "pending") for record in status(output)["jobs"].values()}
    assert states <= {"interrupted", "pending", "completed"}
    assert process_of(output) is None
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []

    rest = run_batch(slow, WORKERS, output_dir=output, progress=False, executor=executor, overrides=FAST)
    assert (rest.failed, rest.interrupted) == (0, False)
    whole = tmp_path / "whole"
    run_batch(slow, WORKERS, output_dir=whole, progress=False, overrides=FAST)
    assert_same_results(output, whole)


FORKED = """import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from simtiff import run_batch
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    run_batch(sys.argv[1], output_dir=sys.argv[2], progress=False, executor=pool, overrides=sys.argv[3:])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_workers_of_a_killed_batch_do_not_keep_its_folder(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_jobs()), tmp_path / "out"
    with running([sys.executable, "-W", "ignore", "-c", FORKED, str(path), str(output), *SLOW]) as process:
        wait_for(lambda: len(partials(output)) == WORKERS, "movies that are being written", process)
        orphans = tree(process.pid)[1:]
        process.kill()
        process.wait()
        try:
            assert all(orphan.is_running() for orphan in orphans)
            rest = run_batch(slow_jobs(), WORKERS, output_dir=output, progress=False, overrides=FAST)
        finally:
            for orphan in orphans:
                kill(orphan)
    assert (rest.completed, rest.failed) == (3, 0)
    whole = tmp_path / "whole"
    run_batch(slow_jobs(), WORKERS, output_dir=whole, progress=False, overrides=FAST)
    assert_same_results(output, whole)


def test_an_interrupt_that_ends_the_executor_s_workers_is_no_error(tmp_path: Path) -> None:
    """Ctrl-C in a terminal ends both; then no job that is still to come can be submitted."""

    class Ended(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            self.submit = super().submit  # type: ignore[method-assign]
            self.shutdown()
            return super().submit(print)

    summary = run_batch(MANY, output_dir=tmp_path / "out", progress=False, executor=Ended(WORKERS))
    assert summary.interrupted
    assert {record.get("state", "pending") for record in status(tmp_path / "out")["jobs"].values()} <= {
        "interrupted",
        "pending",
    }


def test_an_executor_that_was_shut_down_is_named(tmp_path: Path) -> None:
    pool = ThreadPoolExecutor(WORKERS)
    pool.shutdown()
    with pytest.raises(BatchError, match="the executor accepts no more jobs"):
        run_batch(MANY, output_dir=tmp_path / "out", progress=False, executor=pool)
    assert not list((tmp_path / "out").glob(".*"))
    with ThreadPoolExecutor(WORKERS) as pool:
        assert (
            run_batch(MANY, max_workers=1, output_dir=tmp_path / "out", progress=False, executor=pool).completed == JOBS
        )


def test_a_worker_waits_for_the_folder_of_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of an earlier run, gone by the time its last job began, says nothing of the next run's."""
    monkeypatch.setattr("simtiff.batch.fence._FENCE_SECONDS", 0.2)
    path = tmp_path / ".simtiff.lock"
    with pytest.raises(UnsharedFolderError):
        Fence(str(path), "first").check()
    timer = threading.Timer(0.2, lambda: path.write_text('{"token": "second"}'))
    timer.start()
    Fence(str(path), "second").check()
    timer.join()


def test_jobs_that_an_executor_cancels_or_cannot_run_have_failed(tmp_path: Path) -> None:
    class Unreliable(Executor):
        """Runs the first job, cancels the second, and cannot run the third."""

        def __init__(self) -> None:
            self.submitted = 0

        def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Any:
            future: Future[Any] = Future()
            self.submitted += 1
            if self.submitted == 1:
                future.set_result(function(*arguments))
            elif self.submitted == 2:
                future.cancel()
            else:
                error = ModuleNotFoundError("No module named 'simtiff'")
                error.__cause__ = RuntimeError("Traceback of the worker")
                future.set_exception(error)
            return future

    three = config(variables={"emitters.num_emitters": [10, 20, 30]})
    summary = run_batch(three, 1, output_dir=tmp_path / "out", progress=False, executor=Unreliable())
    assert summary.completed == 1
    cancelled, missing = summary.errors.values()
    assert cancelled == "the executor cancelled the job"
    assert "No module named 'simtiff'" in missing
