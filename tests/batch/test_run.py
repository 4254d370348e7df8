"""Batches in worker processes: byte-identical results for any number of workers, isolated failures."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from batch_helpers import (
    FAST,
    SLOW,
    assert_same_results,
    command,
    config,
    kill,
    movie_bytes,
    open_files,
    partials,
    running,
    slow_config,
    status,
    stray_files,
    wait_for,
    workers,
    write_config,
)
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch.display import Lines
from simtiff.batch.events import Begun, Done, Ended, Failed, StageEnded, Started
from simtiff.batch.lock import FolderLock
from simtiff.batch.run import run_batch
from simtiff.errors import BatchError, ConfigError, DataError
from simtiff.movie.events import Message, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.movie.events import Event

E = TypeVar("E", bound="Event")


def of(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference")
    summary = run_batch(config(), output_dir=output, max_workers=1, progress=False)
    assert (summary.total, summary.completed, summary.exit_code) == (2, 2, 0)
    return output


def test_files_of_a_batch(reference: Path) -> None:
    jobs = ["job_0000_num_emitters_20", "job_0001_num_emitters_40"]
    assert sorted(path.name for path in reference.iterdir()) == ["batch_status.json", *jobs]
    for job in jobs:
        names = sorted(path.name for path in (reference / job).iterdir())
        assert names == ["emitters.h5", "job.json", "simulation.ome.tiff"]
    assert status(reference)["completed_jobs"] == jobs
    for name, info in status(reference)["jobs"][jobs[0]]["files"].items():
        assert info["size"] == (reference / jobs[0] / name).stat().st_size


@pytest.mark.parametrize(("workers", "chunk_size"), [(2, 1), (2, 3), (1, 100)])
def test_bytes_do_not_depend_on_workers_or_chunks(
    reference: Path, tmp_path: Path, workers: int, chunk_size: int
) -> None:
    overrides = [f"memory_optimization.chunk_size={chunk_size}"]
    run_batch(config(), output_dir=tmp_path, max_workers=workers, overrides=overrides, progress=False)
    assert movie_bytes(tmp_path) == movie_bytes(reference)
    assert_same_results(tmp_path, reference)


@pytest.mark.slow
def test_a_failing_job_leaves_the_others_running(tmp_path: Path) -> None:
    (tmp_path / "job_0000_num_emitters_20").write_text("a file where the job's folder should be")
    events: list[Event] = []
    summary = run_batch(config(), output_dir=tmp_path, max_workers=2, progress=events.append)
    assert (summary.completed, summary.failed, summary.exit_code) == (1, 1, 1)
    assert "File exists" in summary.errors["job_0000_num_emitters_20"]
    assert "job_0000_num_emitters_20: File exists" in str(summary)
    assert "success rate: 50.0%" in str(summary)
    failure = status(tmp_path)["failed_jobs"][0]
    assert failure["job_id"] == "job_0000_num_emitters_20"
    assert "File exists" in failure["error"]
    assert failure["timestamp"]
    (failed,) = of(events, Failed)
    assert failed.job == "job_0000_num_emitters_20"
    assert failed.error == failure["error"]
    assert "Traceback" in str(failed.traceback)

    (tmp_path / "job_0000_num_emitters_20").unlink()
    retried = run_batch(config(), output_dir=tmp_path, retry_failed=True, progress=False)
    assert (retried.completed, retried.skipped, retried.exit_code) == (1, 1, 0)
    assert status(tmp_path)["failed_jobs"] == []


def test_progress_tells_everything(tmp_path: Path) -> None:
    events: list[Event] = []
    run_batch(config(), output_dir=tmp_path, max_workers=1, progress=events.append)
    assert [(begun.jobs, begun.to_do, begun.workers) for begun in of(events, Begun)] == [(2, 2, 1)]
    job = "job_0000_num_emitters_20"
    logs = " | ".join(message.text for message in of(events, Message) if message.job == job)
    for part in ("emitters made: 20 emitters", "coefficients computed: 21 modes", "TIFF written: 4 frames"):
        assert part in logs
    assert [event.job for event in of(events, Started)] == [job, "job_0001_num_emitters_40"]
    progress = {(event.job, event.stage, event.total) for event in of(events, Progress)}
    assert progress == {(done.job, stage, 4) for done in of(events, Done) for stage in ("truth", "frames")}
    assert [(event.stage, event.frames) for event in of(events, StageEnded)] == [("truth", 4), ("frames", 4)] * 2
    assert [event.job for event in of(events, Done)] == [job, "job_0001_num_emitters_40"]
    for event in of(events, Done):
        files = status(tmp_path)["jobs"][event.job]["files"]
        assert {name: {"size": info.size, "crc32": info.crc32} for name, info in event.files.items()} == files
    assert events[-1] == Ended(completed=2, failed=0, skipped=0, interrupted=False)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.slow
def test_a_killed_worker_fails_its_job_only(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with running(command(path, output, "--max-workers=1", settings=SLOW)) as process:
        wait_for(lambda: partials(output), "the first job's movie", process)
        kill(workers(process)[0])
        wait_for(lambda: status(output)["failed_jobs"], "the failure in the status", process)
        wait_for(lambda: partials(output), "the second job's movie", process)
        assert "job_0001" in str(partials(output)[0])
        failure = status(output)["failed_jobs"][0]
        assert failure["job_id"].startswith("job_0000")
        assert "SIGKILL" in failure["error"]


@pytest.mark.slow
def test_a_batch_of_many_jobs_leaves_nothing_behind(tmp_path: Path) -> None:
    many = config(frames=1, variables={"emitters.seed": list(range(60))})
    before = threading.active_count(), open_files()
    summary = run_batch(many, output_dir=tmp_path, max_workers=2, progress=False)
    assert summary.completed == 60
    assert len(status(tmp_path)["completed_jobs"]) == 60
    assert stray_files(tmp_path) == []
    wait_for(lambda: (threading.active_count(), open_files()) == before, "threads and descriptors to go")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_stop_cleanly_and_soon(tmp_path: Path, number: int) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with running(command(path, output, "--max-workers=2", f"--log-file={tmp_path / 'log'}", settings=SLOW)) as process:
        wait_for(lambda: len(partials(output)) == 2, "two movies", process)
        children = workers(process)
        assert len(children) == 2
        begin = time.monotonic()
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
        assert time.monotonic() - begin < 2
        assert process.returncode == 130, stderr
        assert not any(child.is_running() for child in children)
        assert "rerun to resume: simtiff batch" in stderr
        assert "3 left (interrupted)" in stdout
        assert "Traceback" not in stderr
    last = log_lines(tmp_path / "log")[-1]
    assert (last["event"], last["completed"], last["interrupted"]) == ("end", 0, True)
    assert stray_files(output) == []
    states = [record["state"] for record in status(output)["jobs"].values()]
    assert states == ["interrupted", "interrupted", "pending"]
    summary = run_batch(path, output_dir=output, max_workers=2, overrides=FAST, progress=False)
    assert summary.completed == 3


def test_a_second_batch_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with running(command(path, output, "--max-workers=1", settings=SLOW)) as process:
        wait_for(lambda: partials(output), "the first batch at work", process)
        begin = time.monotonic()
        message = f"host {socket.gethostname()}, pid {process.pid}, since 20"
        with pytest.raises(BatchError, match=message):
            run_batch(path, output_dir=output, progress=False)
        assert time.monotonic() - begin < 2
        assert process.poll() is None
        assert partials(output)


@pytest.mark.slow
def test_locks_of_dead_processes_are_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / ".simtiff.lock"
    here = socket.gethostname()
    events: list[Event] = []
    lock.write_text(json.dumps({"host": here, "pid": 2**22 - 1, "start": "1", "since": "yesterday"}))
    run_batch(config(), output_dir=tmp_path, progress=events.append)
    assert any("since yesterday" in note.text for note in of(events, Message))
    assert not lock.exists()

    elsewhere = json.dumps({"host": "another-host", "pid": 1, "since": "today"})
    lock.write_text(elsewhere)
    with pytest.raises(BatchError, match=r"host another-host, pid 1, since today.*try again in 1[12]. s"):
        run_batch(config(), output_dir=tmp_path, progress=False)
    assert lock.read_text() == elsewhere
    os.utime(lock, (time.time() - 300,) * 2)
    assert run_batch(config(), output_dir=tmp_path, progress=False).skipped == 2
    assert not lock.exists()

    lock.write_bytes(b"\xff garbage")
    assert run_batch(config(), output_dir=tmp_path, progress=False).skipped == 2


def test_wrong_inputs_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    output = tmp_path / "out"
    broken = tmp_path / "map.h5"
    broken.write_bytes(b"no HDF5")
    wrong_map = config()
    wrong_map["base_config"]["zmap_path"] = str(broken)
    for wrong, options, error, message in [
        (wrong_map, {}, DataError, "map.h5"),
        (config(base_output_dir=""), {}, ConfigError, "base_output_dir"),
        (config(), {"max_workers": 0}, ConfigError, "max_workers"),
        (config(), {"resume": False, "retry_failed": True}, ConfigError, "choose one"),
        (config(), {"overrides": ["emitters.frames=0"]}, ConfigError, "frames"),
    ]:
        with pytest.raises(error, match=message):
            run_batch(wrong, output_dir=output, progress=False, **options)
        assert not output.exists()


def test_wrong_maps_are_listed_like_errors_of_the_config(tmp_path: Path) -> None:
    synthesize(tmp_path / "small.h5", size=48)
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    content = config(variables={"zmap_path": ["builtin:oil", "none.h5", "small.h5"], "emitters.area_px": [40, 64]})
    path = write_config(tmp_path, content)
    with pytest.raises(DataError) as caught:
        run_batch(path, 1, True, output_dir=tmp_path / "out", progress=False)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 2 errors in the inputs"
    assert lines[1].startswith(f"  variables.zmap_path[1]: {tmp_path / 'none.h5'}: ")
    assert lines[2].startswith(
        f"  variables.zmap_path[2], job_0005_zmap_path_small.h5_area_px_64: {tmp_path / 'small.h5'}"
    )
    assert all(line.startswith("  ") for line in lines[1:])
    content = config()
    content["base_config"]["zmap_path"] = "broken.h5"
    path = write_config(tmp_path, content)
    with pytest.raises(DataError) as caught:
        run_batch(path, output_dir=tmp_path / "out", progress=False)
    assert str(caught.value).startswith(
        f"{path}: 1 error in the inputs\n  base_config.zmap_path: {tmp_path}/broken.h5: "
    )
    assert not (tmp_path / "out").exists()


def test_workers_and_resume_may_be_given_by_position(tmp_path: Path) -> None:
    events: list[Event] = []
    content = config(base_output_dir=str(tmp_path / "out"))
    assert run_batch(content, 1, True, progress=False).completed == 2
    assert run_batch(content, 1, False, progress=events.append).completed == 2
    assert [(begun.jobs, begun.to_do, begun.workers) for begun in of(events, Begun)] == [(2, 2, 1)]
    with pytest.raises(ConfigError, match='output_dir: "~/out" begins with ~'):
        run_batch(content, output_dir="~/out", progress=False)


def test_an_unwritable_output_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BatchError, match="cannot be created"):
        run_batch(config(), output_dir=file / "out", progress=False)
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # only POSIX has modes of folders; root is not bound by them
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(BatchError, match="cannot be written"):
            run_batch(config(), output_dir=tmp_path / "locked", progress=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_full_disk_fails_what_does_not_fit(tmp_path: Path) -> None:
    """A limit on the file size simulates a full disk: writes fail half-way with a system error."""
    path = write_config(tmp_path, config(variables={"emitters.frames": [1, 50, 2]}))
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    run = "from simtiff.cli.process import main; sys.exit(main(sys.argv[1:]))"
    output = tmp_path / "out"
    words = [sys.executable, "-c", limited + run, *command(path, output)[3:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    movie = output / "job_0001_frames_50" / "simulation.ome.tiff"
    assert f"File too large: {movie}" in done.stdout
    assert "Traceback" not in done.stderr
    assert status(output)["completed_jobs"] == ["job_0000_frames_1", "job_0002_frames_2"]
    assert not movie.exists()
    assert stray_files(output) == []
    assert run_batch(path, output_dir=output, progress=False).completed == 1


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = (
        f"import simtiff; print(simtiff.run_batch({config()!r}, output_dir={str(tmp_path / 'out')!r}, "
        "progress=False).completed)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


@pytest.mark.slow
def test_the_folder_removed_in_mid_run(tmp_path: Path) -> None:
    """Missing files are reported, and a rerun restores them."""
    import shutil

    output = tmp_path / "out"
    shown = io.StringIO()

    lines = Lines(shown)

    def remove(event: Event) -> None:
        lines(event)
        if isinstance(event, Done) and event.job.startswith("job_0000"):
            shutil.rmtree(output)

    log = tmp_path / "log"
    summary = run_batch(config(), output_dir=output, max_workers=1, progress=remove, log_file=log)
    assert summary.exit_code == 1
    assert "missing" in summary.errors["job_0000_num_emitters_20"]
    assert max(map(float, re.findall(r"([0-9.]+)%", shown.getvalue()))) == 100
    failed = [line for line in log_lines(log) if line["event"] == "failed"]
    assert [(line["job"], "missing" in line["error"]) for line in failed] == [("job_0000_num_emitters_20", True)]
    assert run_batch(config(), output_dir=output, progress=False).exit_code == 0
    assert len(status(output)["completed_jobs"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("removed", ["lock", "folder"])
def test_a_lock_that_somebody_removed_is_made_again(tmp_path: Path, removed: str) -> None:
    import shutil

    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    lock = output / ".simtiff.lock"
    with running(command(path, output, "--max-workers=1", settings=SLOW)) as process:
        wait_for(lambda: partials(output), "a movie", process)
        if removed == "lock":
            lock.unlink()
        else:
            while partials(output):
                shutil.rmtree(output, ignore_errors=True)
        wait_for(lambda: lock.exists() and f'"pid": {process.pid}' in lock.read_text(), "the lock", process)
        with pytest.raises(BatchError, match=f"another simtiff is using this folder .*pid {process.pid}"):
            run_batch(path, output_dir=output, progress=False)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert stray_files(output) == []


def test_a_batch_stops_if_another_took_its_folder(tmp_path: Path) -> None:
    path, output, other = write_config(tmp_path, slow_config()), tmp_path / "out", tmp_path / "other"
    other.mkdir()
    with FolderLock(other), running(command(path, output, "--max-workers=1", settings=SLOW)) as process:
        wait_for(lambda: partials(output), "a movie", process)
        (other / ".simtiff.lock").replace(output / ".simtiff.lock")
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == 2, stdout + stderr
        assert "another simtiff has locked the folder; stopping" in stderr
        before = (output / "batch_status.json").read_bytes()
        assert (output / ".simtiff.lock").exists()
        with pytest.raises(BatchError, match=f"another simtiff is using this folder .*pid {os.getpid()}"):
            run_batch(path, output_dir=output, progress=False)
    assert (output / "batch_status.json").read_bytes() == before


def log_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_tells_stages_times_memory_and_errors(tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "out" / "log.jsonl"
    a, b = "job_0000_num_emitters_20", "job_0001_num_emitters_40"
    output.mkdir()
    (output / b).write_text("a file where the job's folder should be")
    run_batch(config(), output_dir=output, max_workers=1, progress=False, log_file=log)
    lines = log_lines(log)
    assert [(line["event"], line.get("job"), line.get("stage")) for line in lines] == [
        ("begin", None, None),
        ("started", a, None),
        ("stage", a, "truth"),
        ("stage", a, "frames"),
        ("done", a, None),
        ("started", b, None),
        ("failed", b, None),
        ("end", None, None),
    ]
    truth, frames, done = lines[2:5]
    assert truth["frames"] == frames["frames"] == done["frames"] == 4
    assert 0 < truth["seconds"] + frames["seconds"] <= done["seconds"] < 60
    assert all(20e6 < line["peak_memory_bytes"] < 1e10 for line in (truth, frames, done))
    assert "File exists" in lines[6]["error"]
    assert lines[6]["traceback"].startswith("Traceback")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line["time"]) for line in lines)
    assert (lines[-1]["completed"], lines[-1]["failed"], lines[-1]["interrupted"]) == (1, 1, False)

    with log.open("a") as file:
        file.write('{"time": "cut off by a cra')
    (output / b).unlink()
    run_batch(config(), output_dir=output, max_workers=1, progress=False, log_file=log)
    every = log_lines(log)  # without the incomplete line
    assert every[: len(lines)] == lines
    more = [line["event"] for line in every[len(lines) :]]
    assert more == ["begin", "started", "stage", "stage", "done", "end"]


def test_a_log_that_cannot_be_written_is_refused_before_the_start(tmp_path: Path) -> None:
    output = tmp_path / "out"
    precious = tmp_path / "precious.json"
    precious.write_text("{}")
    endless = tmp_path / "endless.json"
    endless.write_text('{"time": "' + "x" * (2 << 20))
    for path, message in [
        (tmp_path / "none" / "log", "cannot be written"),
        (tmp_path, "cannot be written"),
        (precious, "is not a simtiff log"),
        (endless, "is not a simtiff log"),
    ]:
        with pytest.raises(BatchError, match=message):
            run_batch(config(), output_dir=output, progress=False, log_file=path)
        assert not output.exists()
    assert precious.read_text() == "{}"
    assert endless.stat().st_size > 2 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")
def test_a_full_disk_under_the_log_ends_the_log_alone(tmp_path: Path) -> None:
    events: list[Event] = []
    assert run_batch(config(), output_dir=tmp_path, progress=events.append, log_file="/dev/full").completed == 2
    assert len([note for note in of(events, Message) if "continuing without a log" in note.text]) == 1
