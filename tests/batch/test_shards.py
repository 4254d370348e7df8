"""Shards: parts of a batch that run at the same time in a shared folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_helpers import (
    FAST,
    SLOW,
    assert_same_results,
    command,
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
from simtiff.batch.clean import clean_folder
from simtiff.batch.events import Done, Failed
from simtiff.batch.lock import FolderLock
from simtiff.batch.overview import Overview
from simtiff.batch.shards import Shard
from simtiff.batch.status import BatchStatus
from simtiff.batch.table import JobTable
from simtiff.batch.verify import verify_batch
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SIX = config(variables={"emitters.num_emitters": [5, 10, 15, 20, 25, 30]})
JOBS = [f"job_{number:04d}_num_emitters_{5 * (number + 1)}" for number in range(6)]
NO_LOCKS = "import errno, fcntl\ndef none(*_): raise OSError(errno.ENOLCK, 'No locks available')\nfcntl.flock = none\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an unsharded run of `SIX`."""
    output = tmp_path_factory.mktemp("whole")
    assert run_batch(SIX, max_workers=1, output_dir=output, progress=False).completed == len(JOBS)
    return output


def run_shard(content: dict[str, Any], output: Path, shard: str, **options: Any) -> Any:
    return run_batch(content, max_workers=1, output_dir=output, progress=False, shard=shard, **options)


@given(st.integers(1, 50), st.integers(0, 10_000))
def test_each_job_belongs_to_one_shard(count: int, number: int) -> None:
    (owner,) = [index for index in range(1, count + 1) if Shard(index, count).has(number)]
    assert number % count == owner - 1


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/200000", "1.0/3", "１/３"])
def test_what_is_no_shard_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--shard: .* is not allowed; allowed: I/N"):
        run_shard(SIX, tmp_path / "out", text)
    assert not (tmp_path / "out").exists()


def test_shards_one_after_another_make_the_whole(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for index in (2, 3, 1):
        summary = run_shard(SIX, output, f"{index}/3")
        assert (summary.total, summary.completed, summary.exit_code) == (2, 2, 0)
        overview = Overview(output)
        assert list(overview.status.jobs) == JOBS  # also those of other shards
    assert_same_results(output, whole)
    assert sorted(path.name for path in output.iterdir()) == ["batch_status.json", *JOBS]
    here, there = status(output)["jobs"], status(whole)["jobs"]
    assert [here[job]["files"]["simulation.ome.tiff"] for job in JOBS] == [
        there[job]["files"]["simulation.ome.tiff"] for job in JOBS
    ]
    assert [json.loads((output / job / "job.json").read_text())["number"] for job in JOBS] == list(range(6))
    assert run_shard(SIX, output, "1/2").skipped == 3
    assert run_batch(SIX, output_dir=output, progress=False).skipped == 6


def test_a_shard_sees_what_is_its_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_shard(SIX, output, "2/3")
    overview = Overview(output)
    assert [job for job, state in overview.states.items() if state == "completed"] == [JOBS[1], JOBS[4]]
    assert [job for job, state in overview.states.items() if state == "pending"] == [JOBS[0], JOBS[2], JOBS[3], JOBS[5]]
    assert len(JobTable.of(output).rows) == 6
    assert [check.job_id for check in verify_batch(output).jobs] == [JOBS[1], JOBS[4]]
    assert verify_batch(output).strays == ()


def test_a_growing_study_keeps_its_jobs_in_shards(whole: Path, tmp_path: Path) -> None:
    """The first shard renames folders for all shards."""
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    movies = {path.parent.name: path.stat().st_ino for path in output.glob("*/simulation.ome.tiff")}
    more = config(variables={"emitters.num_emitters": [2, 5, 10, 15, 20, 25, 30]})
    completed = [run_shard(more, output, f"{index}/3").completed for index in (1, 2, 3)]
    assert completed == [1, 0, 0]
    new = {path.parent.name: path.stat().st_ino for path in output.glob("*/simulation.ome.tiff")}
    assert new.keys() == {"job_0000_num_emitters_2", *(f"job_{n + 1:04d}{job[8:]}" for n, job in enumerate(JOBS))}
    assert set(movies.values()) < set(new.values())


def test_shards_replace_nothing_unasked(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    other = config(frames=5, variables=SIX["variables"])
    before = (output / "batch_status.json").read_bytes()
    with pytest.raises(BatchError, match="6 finished jobs would be replaced"):
        run_shard(other, output, "2/3")
    assert (output / "batch_status.json").read_bytes() == before
    summary = run_shard(other, output, "2/3", overwrite=True)
    assert (summary.completed, summary.skipped) == (2, 0)
    assert run_shard(other, output, "1/3", overwrite=True).completed == 2


def test_a_shard_that_was_refused_counts_as_none(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock lives for a moment after it let the next one in, which is then the first and plans for all."""
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    other = config(frames=5, variables=SIX["variables"])
    release, refusals = FolderLock._release, list[str]()

    def next_one_first(lock: Any) -> None:
        if isinstance(lock, FolderLock) and lock.shard == Shard(1, 7):
            with pytest.raises(BatchError, match="6 finished jobs would be replaced") as error:
                run_shard(other, output, "7/7")  # of which none is its own
            refusals.append(str(error.value))
        release(lock)

    monkeypatch.setattr(FolderLock, "_release", next_one_first)
    with pytest.raises(BatchError, match="6 finished jobs would be replaced"):
        run_shard(other, output, "1/7")
    assert len(refusals) == 1


def test_an_index_that_was_removed_is_made_again_with_the_jobs_of_all(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_shard(SIX, output, "1/3")

    def remove(event: Any) -> None:
        if isinstance(event, Done):
            (output / "batch_status.json").unlink(missing_ok=True)

    run_batch(SIX, 1, output_dir=output, shard="2/3", progress=remove)
    overview = Overview(output)
    done = {job for job, state in overview.states.items() if state == "completed"}
    assert done == {JOBS[n] for n in (0, 1, 3, 4)}
    assert not overview.status.foreign  # which simtiff clean would remove


def test_a_shard_that_ends_while_the_status_is_read_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    (output / JOBS[1] / "emitters.h5").mkdir(parents=True)  # in the way
    before: list[bytes] = []

    def keep(event: Any) -> None:
        if isinstance(event, Failed):
            before.append((output / "batch_status.json").read_bytes())

    run_batch(SIX, 1, output_dir=output, shard="2/3", progress=keep)
    load = BatchStatus.load

    def load_first(folder: Path, *name: str) -> BatchStatus | None:
        if not before:
            return load(folder, *name)
        after = (output / "batch_status.json").read_bytes()
        (output / "batch_status.json").write_bytes(before.pop())
        try:
            return load(folder, *name)
        finally:
            (output / "batch_status.json").write_bytes(after)

    monkeypatch.setattr(BatchStatus, "load", load_first)
    assert Overview(output).states[JOBS[1]] == "failed"
    assert not before


@pytest.mark.parametrize("shard", [None, "2/3"])
def test_what_a_shard_left_that_was_killed_at_the_shared_status_goes(shard: str | None, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".simtiff-status.lock").write_text('{"host": "gone", "pid": 1}')
    os.utime(output / ".simtiff-status.lock", (0, 0))
    (output / ".batch_status.json.0123456789ab.partial").write_text("{")
    run_batch(SIX, 1, output_dir=output, progress=False, shard=shard)
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("resume", [True, False])
def test_a_shard_leaves_failed_jobs_of_others_to_them(resume: bool, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for job in JOBS[:3]:
        (output / job / "emitters.h5").mkdir(parents=True)  # in the way
    assert run_batch(SIX, max_workers=1, output_dir=output, progress=False).failed == 3
    for job in JOBS[:3]:
        (output / job / "emitters.h5").rmdir()
    assert run_shard(SIX, output, "1/3", retry_failed=resume, resume=resume).failed == 0
    states = Overview(output).states
    assert [job for job, state in states.items() if state == "failed"] == JOBS[1:3]
    assert [run_shard(SIX, output, f"{index}/3", retry_failed=True).completed for index in (2, 3)] == [1, 1]
    assert set(Overview(output).states.values()) == {"completed"}


@pytest.mark.parametrize(
    ("holder", "shard", "refused"),
    [("1/3", "1/3", True), ("1/3", None, True), (None, "1/3", True), ("1/3", "1/2", True), ("1/3", "2/3", False)],
)
def test_who_may_work_beside_whom(holder: str | None, shard: str | None, refused: bool, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with FolderLock(output, None if holder is None else Shard.of(holder)):
        if refused:
            with pytest.raises(BatchError, match="another simtiff is using this folder"):
                run_batch(SIX, max_workers=1, output_dir=output, progress=False, shard=shard)
            assert [path.name for path in output.iterdir()] == [
                ".simtiff.lock" if holder is None else ".simtiff-1-of-3.lock"
            ]
        else:
            assert run_batch(SIX, max_workers=1, output_dir=output, progress=False, shard=shard).completed == 2
            assert Overview(output).shards == [holder]
            with pytest.raises(BatchError, match="another simtiff is using this folder"):
                verify_batch(output, mark=True)
            with pytest.raises(BatchError, match="another simtiff is using this folder"):
                clean_folder(output, remove=True)


@pytest.fixture
def no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable file locks in this process and its children, as on NFS without a lock service."""
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "sitecustomize.py").write_text(NO_LOCKS)
    paths = [str(tmp_path / "startup"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    fcntl = pytest.importorskip("fcntl", reason="this system has no flock at all")

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)


@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_three_at_once_one_killed_and_started_again(
    locks: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not locks:
        request.getfixturevalue("no_locks")
    slow = slow_config()
    slow["base_config"]["emitters"]["frames"] = 15_000
    path, output, whole = write_config(tmp_path, slow), tmp_path / "out", tmp_path / "whole"
    words = [command(path, output, "--max-workers=1", f"--shard={index}/3", settings=SLOW) for index in (1, 2, 3)]
    processes = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in words]
    try:
        wait_for(lambda: len(partials(output)) == 3, "three movies that are being written")
        assert Overview(output).shards == ["1/3", "2/3", "3/3"]
        twice = subprocess.run(words[1], capture_output=True, text=True, check=False)
        assert (twice.returncode, "another simtiff is using this folder" in twice.stderr) == (2, True)
        unsharded = command(path, output, settings=SLOW)
        whole_run = subprocess.run(unsharded, capture_output=True, text=True, check=False)
        assert (whole_run.returncode, "(shard 1/3, host" in whole_run.stderr) == (2, True)
        (tmp_path / "older").mkdir()
        older = write_config(tmp_path / "older", slow | {"variables": {"emitters.seed": [1, 2, 9]}})
        for child in tree(processes[1].pid):
            kill(child)
        processes[1].wait()
        wait_for(lambda: Overview(output).shards == ["1/3", "3/3"], "the end of the last worker")
        assert Overview(output).as_dict()["counts"]["interrupted"] == 1
        old = command(older, output, "--max-workers=1", "--shard=2/3", settings=FAST)
        refused = subprocess.run(old, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "is running here with another config" in refused.stderr
        again = command(path, output, "--max-workers=1", "--shard=2/3", settings=FAST)
        resumed = subprocess.run(again, capture_output=True, text=True, check=False)
        assert (resumed.returncode, resumed.stdout.splitlines()[0]) == (0, "1 job: 1 completed, 0 failed, 0 skipped")
        for process in (processes[0], processes[2]):
            assert process.wait(60) == 0
    finally:
        for process in processes:
            for child in tree(process.pid):
                kill(child)
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
    assert [job["state"] for job in status(output)["jobs"].values()] == ["completed"] * 3
    left = {path.name for path in output.iterdir() if path.name.startswith(".")}
    assert left == set()
    run_batch(slow, 2, output_dir=whole, progress=False, overrides=FAST)
    assert_same_results(output, whole)
    assert verify_batch(output).exit_code == 0


DOOR = """import sys, time
from pathlib import Path
from simtiff.batch.lock import FolderLock
from simtiff.batch.shards import Shard
from simtiff.batch.status import BatchStatus
with FolderLock(Path(sys.argv[1]), Shard.of(sys.argv[2])) as lock:
    print(flush=True)
    sys.stdin.readline()
    with lock.door():
        (Path(sys.argv[1]) / "inside").touch(exist_ok=False)
        time.sleep(0.02)
        (Path(sys.argv[1]) / "inside").unlink()
"""


@pytest.mark.slow
def test_shards_wait_for_each_other_without_file_locks(no_locks: None, tmp_path: Path) -> None:
    words = [sys.executable, "-c", DOOR, str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen([*words, f"{n}/5"], text=True, **pipes) for n in range(1, 6)]
    try:
        for process in processes:
            process.stdout.readline()  # type: ignore[union-attr]
        for process in processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert ends == [("", 0)] * 5
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_shard_left_is_taken_over_by_a_whole_run(tmp_path: Path) -> None:
    slow, output = slow_config(), tmp_path / "out"
    path = write_config(tmp_path, slow)
    with running(command(path, output, "--max-workers=1", "--shard=1/3", settings=SLOW)) as process:
        wait_for(lambda: partials(output), "a movie that is being written", process)
        for child in [psutil.Process(process.pid), *tree(process.pid)]:
            kill(child)
        process.wait()
    assert {path.name for path in output.iterdir() if path.name.startswith(".simtiff")} == {
        ".simtiff-1-of-3.lock",
        ".simtiff-1-of-3.json",
    }
    wait_for(lambda: not Overview(output).running, "the end of the last worker")
    assert Overview(output).as_dict()["counts"] == {
        "pending": 2,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "interrupted": 1,
    }
    assert run_batch(slow, 2, output_dir=output, progress=False, overrides=FAST).completed == 3
    assert sorted(path.name for path in output.iterdir()) == ["batch_status.json", *list(status(output)["jobs"])]


def test_a_dry_run_shows_the_shard_s_own_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from simtiff.cli.process import main

    path = write_config(tmp_path, SIX)
    words = ["batch", str(path), f"--output-dir={tmp_path / 'out'}", "--dry-run", "--json", "--shard=2/3"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [job["job"] for job in plan["jobs"]] == [JOBS[1], JOBS[4]]
    assert plan["counts"]["new"] == 2
