"""Batches on a dask cluster: `simtiff batch --scheduler`, and failures of a cluster."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batch_helpers import (
    SLOW,
    assert_same_results,
    command,
    config,
    partials,
    running,
    slow_config,
    status,
    wait_for,
    write_config,
)
from simtiff import BatchError, run_batch
from simtiff.batch.overview import Overview
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

distributed = pytest.importorskip("distributed", reason="dask is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # dask's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LOCAL = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "silence_logs": 50}
FOUR = config(variables={"emitters.num_emitters": [10, 20, 30, 40]})


@contextmanager
def client_of(**options: Any) -> Iterator[Any]:
    with (
        distributed.LocalCluster(**LOCAL, **options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, **LOCAL) as cluster:
        yield cluster


def test_the_command_runs_jobs_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    """Each worker process has two threads, and dask runs a job in each."""
    path, output, local = write_config(tmp_path, FOUR), tmp_path / "out", tmp_path / "local"
    words = command(path, output, f"--scheduler={cluster.scheduler_address}")
    first = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "4 jobs: 4 completed, 0 failed, 0 skipped")
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "4 jobs: 0 completed, 0 failed, 4 skipped")
    run_batch(FOUR, 1, output_dir=local, progress=False)
    assert_same_results(output, local)


def test_progress_is_seen_and_sigterm_leaves_the_cluster_clean(cluster: Any, tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    words = command(path, output, f"--scheduler={cluster.scheduler_address}", settings=SLOW)
    with running(words) as process:
        jobs = wait_for(lambda: seen(output), "progress in the status", process)
        assert all(record["state"] == "running" for record in jobs)
        process.terminate()
        assert process.wait(60) == 130
    assert "running" not in {record["state"] for record in status(output)["jobs"].values()}
    wait_for(lambda: not any(tasks(cluster).values()), "an idle cluster")
    assert not list(output.glob(".*"))


def seen(output: Path) -> list[dict[str, Any]]:
    if not (output / "batch_status.json").exists():
        return []
    return [record for record in status(output)["jobs"].values() if record.get("frames_done")]


def tasks(cluster: Any) -> dict[str, int]:
    return {address: len(worker.processing) for address, worker in cluster.scheduler.workers.items()}


def test_a_shard_runs_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    with distributed.Client(cluster, set_as_default=False) as client:
        summary = run_batch(FOUR, output_dir=tmp_path / "out", progress=False, executor=client, shard="2/2")
    assert (summary.total, summary.completed) == (2, 2)
    assert Overview(tmp_path / "out").as_dict()["counts"]["pending"] == 2


def test_a_worker_opens_a_map_once(tmp_path: Path) -> None:
    zmap = tmp_path / "zmap.h5"
    subprocess.run([sys.executable, "-m", "simtiff", "zmap", "synth", str(zmap), "--size=64"], check=True)
    content = config(variables={"emitters.num_emitters": [10, 20, 30]})
    content["base_config"]["zmap_path"] = str(zmap)

    def count_from_now() -> None:
        from simtiff.aberrations.measured import MeasuredMap

        open_map, MeasuredMap.count = MeasuredMap.__init__, 0

        def counted(self: Any, *arguments: Any) -> None:
            MeasuredMap.count += 1
            open_map(self, *arguments)

        MeasuredMap.__init__ = counted

    def count() -> int:
        from simtiff.aberrations.measured import MeasuredMap

        return MeasuredMap.count

    with client_of(n_workers=1, threads_per_worker=1) as client:
        client.run(count_from_now)
        assert run_batch(content, output_dir=tmp_path / "one", progress=False, executor=client).completed == 3
        assert list(client.run(count).values()) == [1]


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(n_workers=1, threads_per_worker=1) as client:
        monkeypatch.setattr("simtiff.batch._dask.version", lambda: "9.9.9")
        with pytest.raises(BatchError, match=r"the worker tcp://.* has simtiff .*, the batch has 9\.9\.9 .*; install"):
            run_batch(FOUR, output_dir=tmp_path / "out", progress=False, executor=client)
        monkeypatch.undo()
        monkeypatch.setattr("simtiff.batch._remote.version", lambda: "9.9.9")  # a worker that joined later
        with pytest.raises(BatchError, match=r"the worker on .* has simtiff .*, the batch has 9\.9\.9 .*; install"):
            run_batch(FOUR, output_dir=tmp_path / "out", progress=False, executor=client)
    assert not list((tmp_path / "out").glob("*/*.tiff"))


def test_workers_that_do_not_share_the_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simtiff.batch.fence import Fence

    output = tmp_path / "out"
    monkeypatch.setattr(
        "simtiff.batch.lock.FolderLock.fence", lambda lock: Fence("/elsewhere/.simtiff.lock", lock.token)
    )
    with (
        client_of(n_workers=1, threads_per_worker=1) as client,
        pytest.raises(BatchError, match=r"/elsewhere: not found on .*; all workers must share the output folder"),
    ):
        run_batch(FOUR, output_dir=output, progress=False, executor=client)


def test_a_scheduler_that_goes_away_ends_the_batch_in_words(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **LOCAL) as cluster:
        words = command(path, output, f"--scheduler={cluster.scheduler_address}", settings=SLOW)
        with running(words) as process:
            wait_for(lambda: partials(output), "a movie that is being written", process)
            cluster.close()
            _, stderr = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "the connection to the cluster was lost" in stderr
    assert "Traceback" not in stderr
    assert "running" not in {record.get("state", "pending") for record in status(output)["jobs"].values()}


@pytest.mark.parametrize(
    ("address", "words"),
    [("tcp://127.0.0.1:9", "no dask scheduler answers at tcp://127.0.0.1:9"), ("nonsense", "--scheduler: ")],
)
def test_an_address_without_a_scheduler_is_refused(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simtiff.batch.cluster import connected

    monkeypatch.setattr("simtiff.batch.cluster._CONNECT_SECONDS", 1)
    with pytest.raises((BatchError, ConfigError), match=words), connected(address):
        pass


def test_what_is_no_executor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"executor: got str, allowed: a concurrent\.futures\.Executor or"):
        run_batch(FOUR, output_dir=tmp_path / "out", progress=False, executor="tcp://127.0.0.1:8786")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == []
