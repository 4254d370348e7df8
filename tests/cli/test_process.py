"""The command as a process: closed streams, names that are not UTF-8, little memory, full disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from batch_helpers import TINY_JOB
from simtiff.aberrations.synthetic import synthesize
from simtiff.cli import process as cli

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-", ">&-"])
@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_closed_streams_stop_nothing_and_no_output_gets_into_files(tmp_path: Path, job_file: Path, closed: str) -> None:
    """If stderr is closed, the next opened file would get its descriptor."""
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps({"base_config": TINY_JOB}))
    simtiff_ = f"{sys.executable} -m simtiff"
    for words in (
        f"{simtiff_} batch {batch} --output-dir={tmp_path / 'b'} --log-file={tmp_path / 'log'} {closed}",
        f"{simtiff_} run --zmap=builtin:oil --config={job_file} --output-dir={tmp_path / 'r'} {closed}",
    ):
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert cli.main(["verify", str(tmp_path / "b")]) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert (events[0], events[-1]) == ("begin", "end")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["emitters.h5", "simulation.ome.tiff"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files need not be UTF-8 there")
def test_names_that_are_not_utf8(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff\xfe"))
    folder.mkdir()
    synthesize(folder / "map.h5", size=70)
    (folder / "good.json").write_text(json.dumps({"base_config": TINY_JOB}))
    (folder / "bad.json").write_text(json.dumps({"base_config": TINY_JOB | {"zmap_path": "map.h5"}}))
    output = f"--output-dir={folder / 'out'}"
    assert cli.main(["batch", str(folder / "good.json"), output, f"--log-file={folder / 'log'}"]) == 0
    for command in ("status", "verify"):
        assert cli.main([command, str(folder / "out")]) == 0
    for words in (["batch", str(folder / "bad.json"), output], ["run", f"--zmap={folder / 'map.h5'}", output]):
        capsysbinary.readouterr()
        assert cli.main(words) == 2
        err = capsysbinary.readouterr().err
        assert b"zmap_path" in err
        assert b"is not UTF-8" in err


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory")
@pytest.mark.parametrize("megabytes", [60, 120, 200, 300, 450, 700])
def test_too_little_memory_to_start_is_said_in_words(tmp_path: Path, job_file: Path, megabytes: int) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20}, {megabytes << 20}))\n"
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps({"base_config": TINY_JOB}))
    for words in (
        ["run", "--zmap=builtin:oil", f"--config={job_file}", f"--output-dir={tmp_path / 'r'}"],
        ["batch", str(batch), f"--output-dir={tmp_path / 'b'}", "--max-workers=1"],
    ):
        code = f"import sys; from simtiff.cli.process import main\n{limit}sys.exit(main({words!r}))"
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=100
        )
        assert done.returncode in {0, 1, 2}, done.stderr
        assert "internal error" not in done.stderr
        if done.returncode:
            assert "simtiff: " in done.stderr or "failed jobs" in done.stdout


_GREEDY = """
import sys, threading
import numpy as np
from simtiff.__main__ import command

def take() -> None:
    while True:
        try:
            np.empty(6 << 30, np.uint8)  # never touched: uses address space, but no memory
        except MemoryError:
            sys.stderr.write("starved ")

threading.Thread(target=take, daemon=True).start()
command()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited in Linux's way")
def test_reading_a_map_starves_no_other_thread(tmp_path: Path) -> None:
    synthesize(tmp_path / "map.h5", size=300)
    words = [sys.executable, "-c", _GREEDY, "zmap", "info", str(tmp_path / "map.h5")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert "300 x 300 px" in done.stdout


def schema_to(stdout: IO[bytes]) -> tuple[int, str]:
    """Print a long text to a stream; return the exit code and stderr."""
    words = [sys.executable, "-m", "simtiff", "schema"]
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def test_closed_stdout_is_no_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        assert schema_to(stdout) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_under_stdout_is_one_message() -> None:
    with Path("/dev/full").open("wb") as stdout:
        assert schema_to(stdout) == (1, "simtiff: No space left on device\n")
