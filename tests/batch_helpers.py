"""What the tests of batches share: small configs, slow ones, and the command as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import psutil
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_SECONDS = 60.0
# Many frames, one at a time, with a garbage collection after each: a job that takes many seconds.
SLOW = ("memory_optimization.chunk_size=1", "memory_optimization.gc_frequency=1")
FAST = ("memory_optimization.chunk_size=500", "memory_optimization.enable_gc=false")

TINY_JOB = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 20, "frames": 3, "area_px": 40},
    "tiff": {"roi_size": 40},
    "psf": {"size_px": 15},
}


def batch(base: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Return a batch config on the built-in map, with settings of its jobs and keys of the top level."""
    return {"base_config": {"zmap_path": "builtin:oil", **(base or {})}, **keys}


def config(frames: int = 4, **changes: Any) -> dict[str, Any]:
    """Return a batch config of small jobs on the built-in map; `changes` are keys of the top level."""
    base = {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 40, "frames": frames, "area_px": 64, "seed": 7},
        "tiff": {"roi_size": 64},
        "psf": {"size_px": 15},
    }
    return {"base_config": base, "variables": {"emitters.num_emitters": [20, 40]}} | changes


def slow_config() -> dict[str, Any]:
    """Return three jobs that are slow with the settings `SLOW`, quick with `FAST`, with the same pixels."""
    slow = config(frames=20_000, variables={"emitters.seed": [1, 2, 3]})
    slow["base_config"]["tiff"]["roi_size"] = slow["base_config"]["emitters"]["area_px"] = 16
    return slow


def write_config(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "batch.json"
    path.write_text(json.dumps(content))
    return path


def command(path: Path, output: Path, *options: str, settings: tuple[str, ...] = ()) -> list[str]:
    sets = [f"--set={setting}" for setting in settings]
    return [sys.executable, "-m", "simtiff", "batch", str(path), f"--output-dir={output}", *options, *sets]


@contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a session of its own; nothing of it outlives the block."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    children = [psutil.Process(process.pid)]
    try:
        yield process
        children = tree(process.pid)
    finally:
        for child in [*children, *tree(process.pid)]:
            kill(child)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they live."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def wait_for(condition: Callable[[], Any], what: str, process: subprocess.Popen[str] | None = None) -> Any:
    """Poll until `condition` gives something true, and return that; `process` must live meanwhile."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.communicate()}")
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def partials(output: Path) -> list[Path]:
    """Return the movies that are being written."""
    return sorted(output.glob("*/.simulation.ome.tiff.*.partial"))


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return tree(process.pid)[1:]


def status(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "batch_status.json").read_text())
    return content


def results(output: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return every array of every job: pixels and truth."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for folder in sorted(path for path in output.iterdir() if path.is_dir()):
        arrays = {"pixels": tifffile.imread(folder / "simulation.ome.tiff")}
        with h5py.File(folder / "emitters.h5") as file:
            file.visititems(
                lambda name, node, arrays=arrays: (
                    arrays.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None
                )
            )
        found[folder.name] = arrays
    return found


def assert_same_results(first: Path, second: Path) -> None:
    one, two = results(first), results(second)
    assert one.keys() == two.keys()
    for job_id, arrays in one.items():
        assert arrays.keys() == two[job_id].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, two[job_id][name], err_msg=f"{job_id} {name}")


def stray_files(output: Path) -> list[str]:
    """Return what should not be left in an output folder: hidden files."""
    return sorted(str(path.relative_to(output)) for path in output.rglob(".*"))


def open_files() -> int:
    """Return how many descriptors this process has open, where that can be seen."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def movie_bytes(output: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in output.glob("*/simulation.ome.tiff")}
