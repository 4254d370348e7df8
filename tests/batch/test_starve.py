"""Too little disk, memory, descriptors, permissions: jobs fail with the reason, others continue, a rerun completes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from batch_helpers import (
    FAST,
    SLOW,
    command,
    config,
    partials,
    running,
    slow_config,
    status,
    stray_files,
    wait_for,
    write_config,
)
from simtiff.batch.run import run_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are set in Linux's ways"),
]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a few megabytes; skip if that is not allowed."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "simtiff-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def limited(path: Path, output: Path, limits: dict[str, int], *options: str) -> subprocess.CompletedProcess[str]:
    """Run a batch with limits on its processes."""
    sets = "".join(f"resource.setrlimit(resource.{name}, ({value}, {value})); " for name, value in limits.items())
    code = f"import resource, sys; {sets}from simtiff.cli.process import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, *command(path, output, *options)[3:]]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def movies(sizes: list[int]) -> dict[str, Any]:
    """Return jobs whose movies have frames of these sizes; only the first may be large."""
    return config(frames=10, variables={"tiff.roi_size": sizes})


def test_a_full_disk(tmp_path: Path) -> None:
    path = write_config(tmp_path, movies([64, 400, 65]))  # 80 kB, 3.2 MB, 80 kB
    with small_disk(tmp_path / "disk", "1m") as disk:
        output = disk / "out"
        refused = subprocess.run(command(path, output), capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "--force" in refused.stderr
        assert not output.exists()
        # One at a time: a job that runs beside the large one would also find the disk full.
        words = command(path, output, "--force", "--max-workers=1")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert f"No space left on device: {output}/job_0001_roi_size_400/simulation.ome.tiff" in done.stdout
        assert status(output)["completed_jobs"] == ["job_0000_roi_size_64", "job_0002_roi_size_65"]
        assert stray_files(output) == []
        remount(disk, "size=50m")
        summary = run_batch(path, output_dir=output, progress=False)
        assert (summary.completed, summary.skipped, summary.exit_code) == (1, 2, 0)


def test_no_space_even_for_the_status(tmp_path: Path) -> None:
    path = write_config(tmp_path, config())
    with small_disk(tmp_path / "disk", "64k") as disk:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        words = command(path, disk / "out", "--force", f"--log-file={disk / 'log'}")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode in {1, 2}
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in disk.iterdir()] == ["filler"]  # no folder, no lock, no log
        (disk / "filler").unlink()
        remount(disk, "size=50m")
        assert run_batch(path, output_dir=disk / "out", progress=False).exit_code == 0


def test_a_single_run_leaves_nothing_on_a_disk_that_was_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        words = ["run", "--zmap=builtin:oil", f"--output-dir={disk / 'out' / 'deep'}", "--skip-tiff"]
        done = subprocess.run([sys.executable, "-m", "simtiff", *words], capture_output=True, text=True, check=False)
        assert done.returncode in {1, 2}
        assert "No space left on device" in done.stderr
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_status_that_cannot_be_saved_in_the_end(tmp_path: Path) -> None:
    """The jobs ran, but the status cannot be saved: exit code 1, not 2."""
    path, output = write_config(tmp_path, config(frames=600, variables={})), tmp_path / "out"
    with running(command(path, output, settings=SLOW)) as process:
        wait_for(lambda: partials(output), "a movie", process)
        (output / "batch_status.json").unlink()
        (output / "batch_status.json").mkdir()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stdout + stderr
    assert "batch_status.json: cannot be saved (exists and is a folder, not a file" in stderr
    assert "the next run will redo the jobs that this run finished" in stderr
    assert stray_files(output) == []
    (output / "batch_status.json").rmdir()
    assert run_batch(path, output_dir=output, overrides=FAST, progress=False).exit_code == 0


def test_a_disk_that_may_only_be_read(tmp_path: Path) -> None:
    path = write_config(tmp_path, config())
    with small_disk(tmp_path / "disk", "20m") as disk:
        (disk / "old").mkdir()
        remount(disk, "ro")
        for output in (disk / "new", disk / "old"):
            done = subprocess.run(command(path, output), capture_output=True, text=True, check=False)
            assert done.returncode == 2, done.stderr
            assert "Read-only file system" in done.stderr
            assert "Traceback" not in done.stderr


def test_the_output_folder_removed_while_jobs_run(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with running(command(path, output, "--max-workers=2", settings=(*SLOW, "emitters.frames=1500"))) as process:
        wait_for(lambda: len(partials(output)) == 2, "two movies", process)
        while output.exists():  # jobs may create folders again in the meantime
            shutil.rmtree(output, ignore_errors=True)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1, stderr
        assert "Traceback" not in stderr
    failed = {failure["job_id"]: failure["error"] for failure in status(output)["failed_jobs"]}
    assert {"job_0000_seed_1", "job_0001_seed_2"} <= failed.keys()
    assert all("No such file" in error or "missing" in error for error in failed.values())
    assert stray_files(output) == []
    settings = (*FAST, "emitters.frames=1500")
    assert run_batch(path, output_dir=output, overrides=settings, progress=False).exit_code == 0
    assert len(status(output)["completed_jobs"]) == 3


@pytest.mark.parametrize("files", [5, 8, 12, 16, 20, 24])
def test_too_many_open_files(tmp_path: Path, files: int) -> None:
    path, output = write_config(tmp_path, config()), tmp_path / "out"
    done = limited(path, output, {"RLIMIT_NOFILE": files}, "--max-workers=2")
    shown = done.stdout + done.stderr
    assert done.returncode in {0, 1, 2}, shown
    assert "internal error" not in shown
    if done.returncode and "simtiff" in shown:  # with too few, Python itself cannot start
        assert "oo many open files" in shown
        assert "Traceback" not in shown
    if output.exists():
        assert stray_files(output) == []
    assert run_batch(path, output_dir=output, progress=False).exit_code == 0


def test_a_job_that_needs_more_memory_than_there_is(tmp_path: Path) -> None:
    large = movies([64, 8192, 65])
    large["base_config"]["emitters"]["frames"] = 40
    large["base_config"]["memory_optimization"] = {"chunk_size": 40}  # all frames at a time: more than 5 GB
    path, output = write_config(tmp_path, large), tmp_path / "out"
    done = limited(path, output, {"RLIMIT_AS": 3 << 30}, "--max-workers=1", "--force")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert status(output)["completed_jobs"] == ["job_0000_roi_size_64", "job_0002_roi_size_65"]
    (failure,) = status(output)["failed_jobs"]
    assert failure["job_id"] == "job_0001_roi_size_8192"
    assert "memory" in failure["error"]
    assert stray_files(output) == []
    # the same job in smaller chunks
    small = (*FAST[1:], "memory_optimization.chunk_size=1", "emitters.frames=1")
    assert run_batch(path, output_dir=output, overrides=small, overwrite=True, progress=False).exit_code == 0
