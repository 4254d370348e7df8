"""Many jobs and a long movie in constant memory, without leaks. Takes minutes: run by `make soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from batch_helpers import command, config, running, status, stray_files, tree, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SIMTIFF_LOAD" not in os.environ, reason="minutes long; `make soak` runs it"),
]


class Watch:
    """Samples of all processes of a batch: time, memory without shared pages, descriptors, processes."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int, int]] = []

    def follow(self, process: subprocess.Popen[Any]) -> None:
        begin = time.monotonic()
        while process.poll() is None:
            memory, files, count = 0.0, 0, 0
            for child in tree(process.pid):
                try:
                    memory += child.memory_full_info().uss / 1e6
                    files += child.num_fds()
                    count += 1
                except psutil.Error:
                    continue
            self.samples.append((time.monotonic() - begin, memory, files, count))
            time.sleep(0.5)

    def halves(self, column: int) -> tuple[float, float]:
        """Return the median of a column in the second and in the last fifth of the time."""
        values = np.array([sample[column] for sample in self.samples])
        fifth = len(values) // 5
        return float(np.median(values[fifth : 2 * fifth])), float(np.median(values[-fifth - 1 : -1]))

    def figures(self) -> dict[str, Any]:
        early, late = self.halves(1)
        return {
            "seconds": round(self.samples[-1][0], 1),
            "memory_mb_early": round(early),
            "memory_mb_late": round(late),
            "memory_mb_peak": round(max(sample[1] for sample in self.samples)),
            "descriptors_peak": max(sample[2] for sample in self.samples),
            "processes_peak": max(sample[3] for sample in self.samples),
        }


def batch(path: Path, output: Path, *options: str) -> dict[str, Any]:
    temporary = set(Path("/tmp").iterdir())
    watch = Watch()
    with running(command(path, output, "--max-workers=2", *options)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        family: set[psutil.Process] = set(tree(process.pid))
        # Read the progress, so that the batch does not block on a full pipe.
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=stream.read, daemon=True).start()
        watch.follow(process)
        assert process.returncode == 0
        assert not any(child.is_running() for child in family if child.pid != process.pid)
    assert stray_files(output) == []
    assert not [new for new in set(Path("/tmp").iterdir()) - temporary if "simtiff" in new.name]
    return watch.figures()


def report(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}: {json.dumps(figures)}")  # noqa: T201 - the figures are what it is run for


def test_two_thousand_small_jobs(tmp_path: Path) -> None:
    content = config(frames=4, variables={"emitters.seed": list(range(2000))})
    figures = batch(write_config(tmp_path, content), tmp_path / "out")
    assert len(status(tmp_path / "out")["completed_jobs"]) == 2000
    begin = time.monotonic()
    words = command(tmp_path / "batch.json", tmp_path / "out")
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "2000 skipped" in again.stdout.replace(",", "")
    report("2,000 jobs", figures | {"seconds_of_a_rerun": round(time.monotonic() - begin, 1)})
    assert figures["memory_mb_late"] < figures["memory_mb_early"] + 30


def test_twenty_thousand_frames(tmp_path: Path) -> None:
    content = config(frames=20_000)
    content["variables"] = {}
    content["base_config"]["emitters"] |= {"num_emitters": 200_000, "area_px": 256}
    content["base_config"]["tiff"] = {"roi_size": 256}
    figures = batch(write_config(tmp_path, content), tmp_path / "out")
    size = (tmp_path / "out" / "single_job" / "simulation.ome.tiff").stat().st_size
    assert size > 20_000 * 256 * 256 * 2
    report("20,000 frames of 256 x 256", figures | {"movie_mb": round(size / 1e6)})
    assert figures["memory_mb_late"] < figures["memory_mb_early"] + 60
    verified = subprocess.run(
        [sys.executable, "-m", "simtiff", "verify", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout
