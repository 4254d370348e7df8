"""Batches killed at random moments and resumed: same pixels and truth in the end. `make soak` kills more often."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from batch_helpers import (
    assert_same_results,
    command,
    config,
    kill,
    movie_bytes,
    partials,
    running,
    slow_config,
    status,
    stray_files,
    tree,
    wait_for,
    workers,
    write_config,
)
from simtiff.batch.run import run_batch
from simtiff.batch.status import BatchStatus
from simtiff.io.files import checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KILLS = int(os.environ.get("SIMTIFF_KILLS", "4"))
SEED = int(os.environ.get("SIMTIFF_SEED", "1"))
WAYS = ("tree", "batch", "worker", "SIGTERM", "SIGINT")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX's"),
]


@pytest.fixture
def as_if_long_and_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make workers handle short, small movies like long, large ones.

    They keep the journal all the time, and write frames of 28 px one by one, those of 24 px chunk by chunk.
    """
    folder = tmp_path / "startup"
    folder.mkdir()
    lines = ["import simtiff.movie.frames, simtiff.io.tiff", "simtiff.io.tiff.JOURNAL_SECONDS = 0.05"]
    lines += ["assert simtiff.movie.frames._LARGE_FRAME_BYTES", "simtiff.movie.frames._LARGE_FRAME_BYTES = 2 * 26 * 26"]
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )


def study(tmp_path: Path) -> Path:
    """Return the config of a batch that takes a few seconds, mostly in its jobs."""
    content = config(frames=600, variables={"emitters.seed": [1, 2], "tiff.roi_size": [24, 28]})
    content["base_config"]["memory_optimization"] = {"chunk_size": 2, "gc_frequency": 1}
    content["base_config"]["zernike"] = {"no_plot": False}
    return write_config(tmp_path, content)


def strike(process: subprocess.Popen[str], output: Path, way: str, chance: random.Random) -> None:
    """Kill a running batch in one of the ways and check that all its processes have exited."""
    if way in {"SIGTERM", "SIGINT"}:  # before that, Python would be interrupted while it starts, not simtiff
        wait_for(lambda: has_begun(process, output) or process.poll() is not None, "the batch to begin")
    family = tree(process.pid)
    match way:
        case "tree":
            for victim in chance.sample(family, len(family)):
                kill(victim)
        case "batch" if family:
            kill(family[0])
        case "worker" if len(family) > 1:
            kill(chance.choice(family[1:]))  # the batch continues with a new worker
        case "SIGTERM":
            process.send_signal(signal.SIGTERM)
        case "SIGINT":
            with contextlib.suppress(ProcessLookupError):  # it has just exited
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    if way in {"SIGTERM", "SIGINT"}:
        assert process.returncode in {130, 0}, stderr  # 0: it had just finished
    wait_for(lambda: not any(alive(child) for child in family), "all processes to end")


def has_begun(process: subprocess.Popen[str], output: Path) -> bool:
    """Return whether the lock is this batch's, not one left by an earlier, killed batch."""
    try:
        return f'"pid": {process.pid},' in (output / ".simtiff.lock").read_text()
    except FileNotFoundError:
        return False


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def plots(output: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in output.glob("*/*.png")}


def assert_nothing_lies(output: Path, expected: dict[str, bytes]) -> None:
    """Check that files under their final names are complete, and that jobs completed in the status are complete."""
    for job_id, data in movie_bytes(output).items():
        assert data == expected[job_id]
    if (record := BatchStatus.load(output)) is not None:
        for job_id in record.ids("completed"):
            for name, info in record.jobs[job_id].files.items():
                assert checksum(output / job_id / name) == info


@pytest.mark.usefixtures("as_if_long_and_large")
def test_killed_at_random_moments_a_batch_comes_to_the_same_end(tmp_path: Path) -> None:
    path, whole, output = study(tmp_path), tmp_path / "whole", tmp_path / "out"
    begin = time.monotonic()
    subprocess.run(command(path, whole, "--max-workers=2"), check=True, capture_output=True)
    seconds = time.monotonic() - begin
    expected = movie_bytes(whole)
    chance = random.Random(SEED)
    ways = ["worker"] + [way for _ in range(KILLS // len(WAYS) + 1) for way in chance.sample(WAYS, len(WAYS))]
    done, continued = 0, 0
    while done < KILLS:
        finished = output.exists() and len(movie_bytes(output)) == len(expected)
        with running(command(path, output, "--max-workers=2", *["--no-resume"] * finished)) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.02, 1.1) * seconds)
            if process.poll() is None:
                strike(process, output, ways[done], chance)
                done += 1
        if output.exists():
            assert_nothing_lies(output, expected)
            continued += len(list(output.glob("*/.*.journal")))
    ended = subprocess.run(command(path, output, "--max-workers=2"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert stray_files(output) == []
    assert_same_results(output, whole)
    assert movie_bytes(output) == expected
    assert plots(output) == plots(whole)
    assert len(plots(output)) == len(expected)
    assert status(output)["completed_jobs"] == status(whole)["completed_jobs"]
    assert status(output)["failed_jobs"] == []
    verified = subprocess.run(
        [sys.executable, "-m", "simtiff", "verify", str(output)], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout
    print(f"{done} kills, {continued} movies continued inside a job")  # noqa: T201 - for `make soak`


STATUS_WRITER = """
import os, random, signal, sys, time
from pathlib import Path
from simtiff.batch.status import BatchStatus, JobRecord

folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
status = BatchStatus(folder, {f"job_{i:04}": JobRecord(hash="x" * 64) for i in range(300)})
status.save(force=True)
kill = torn = 0
while kill < kills or (torn == 0 and kill < 50 * kills):
    kill += 1
    begun, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"!")
        for count in range(10**9):
            status.update("job_0000", state="completed", frames=kill * 10**6 + count)
            status.save(force=True)
    os.read(begun, 1)
    os.close(begun)
    os.close(tell)
    time.sleep(chance.uniform(0.001, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = BatchStatus.load(folder)
    assert loaded is not None and len(loaded.jobs) == 300
    torn += any(name.suffix == ".partial" for name in folder.iterdir())
print(torn)
"""


def test_killed_while_the_status_is_written_it_stays_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-c", STATUS_WRITER, str(tmp_path), str(10 * KILLS), str(SEED)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # some kills hit while files were written
    assert run_batch(config(), output_dir=tmp_path, progress=False).completed == 2
    assert stray_files(tmp_path) == []


@contextlib.contextmanager
def on_a_terminal(words: list[str], screen: bytearray) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in its own terminal; afterwards it has exited and the terminal is restored."""
    import pty
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)

    def read() -> None:
        with contextlib.suppress(OSError):  # the process has exited
            while data := os.read(master, 4096):
                screen.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(words, stderr=slave, stdout=slave, env=environment, start_new_session=True)
    try:
        yield process
        assert termios.tcgetattr(slave) == before
    finally:
        for child in tree(process.pid):
            kill(child)
        process.wait()
        os.close(slave)
        reader.join(30)
        os.close(master)


def cursor_is_visible(screen: bytearray) -> bool:
    return screen.rfind(b"\x1b[?25h") > screen.rfind(b"\x1b[?25l") >= 0


def test_an_interrupt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    screen = bytearray()
    words = command(path, output, "--max-workers=1", settings=("memory_optimization.chunk_size=1",))
    with on_a_terminal(words, screen) as process:
        wait_for(lambda: partials(output), "a movie")
        children = tree(process.pid)[1:]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
        wait_for(lambda: not any(alive(child) for child in children), "the workers to end")
    assert cursor_is_visible(screen)


@pytest.mark.parametrize("gap", [0.0, 0.004, 0.02, 0.05])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_more_signals_do_not_tear_what_the_first_began(tmp_path: Path, number: int, gap: float) -> None:
    """`timeout -s INT` sends two signals, and a user may press Ctrl-C many times."""
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    screen = bytearray()
    words = command(path, output, "--max-workers=2", settings=("memory_optimization.chunk_size=1",))
    with on_a_terminal(words, screen) as process:
        wait_for(lambda: len(partials(output)) == 2, "two movies")
        for _ in range(10):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(gap)
        assert process.wait(30) == 130
    assert cursor_is_visible(screen)
    assert b"Traceback" not in screen
    assert b"(interrupted)" in screen
    assert b"rerun to resume" in screen
    states = [record["state"] for record in status(output)["jobs"].values()]
    # a worker may get a signal to the group before the batch does
    assert set(states) <= {"interrupted", "pending", "failed"}
    assert stray_files(output) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_the_start_are_no_traceback(tmp_path: Path, number: int) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    screen = bytearray()
    with on_a_terminal(command(path, output, "--max-workers=2"), screen) as process:
        wait_for((output / ".simtiff.lock").exists, "the batch to begin")
        for _ in range(20):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            time.sleep(0.003)
        assert process.wait(30) == 130
    assert b"Traceback" not in screen
    assert b"Exception" not in screen
    assert not output.exists() or stray_files(output) == []


@pytest.mark.parametrize("way", ["worker", "idle worker"])
def test_a_dead_worker_is_replaced(tmp_path: Path, way: str) -> None:
    path, output = study(tmp_path), tmp_path / "out"
    with running(command(path, output, "--max-workers=1")) as process:
        ready: Callable[[], object] = {
            "worker": lambda: partials(output),
            "idle worker": lambda: workers(process),  # it is still starting
        }[way]
        wait_for(ready, way, process)
        kill(workers(process)[0])
        stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stdout + stderr
    failed = status(output)["failed_jobs"]
    assert len(failed) == (1 if way == "worker" else 0)
    assert process.returncode == len(failed)
    assert len(status(output)["completed_jobs"]) == 4 - len(failed)
    assert stray_files(output) == []
