"""Measure batches as they run on a cluster, on this machine, and print a Markdown table.

Usage:
  cluster.py [--only=NAME]... [--jobs=N] [--many=N] [--frames=N] [--movies=N] [--rounds=N]
             [--dir=DIR]
  cluster.py --help

Options:
  --only=NAME  Measure only this part: dask, shards, plan, memory, frames, study.
  --jobs=N     Jobs of 64 x 64 px and 1 frame, for dask, shards and memory [default: 500].
  --many=N     Jobs of the plan and of the large batch [default: 10000].
  --frames=N   Frames of 512 x 512 px of each of two movies, on one core [default: 1000].
  --movies=N   Movies of the study, each of 1,000 such frames [default: 20].
  --rounds=N   How often things are compared, one after the other; figures are medians [default: 3].
  --dir=DIR    Folder for temporary files [default: the system's].

Every batch is a run of the command simtiff, with all that belongs to it: its start, the check of the config, the jobs,
the status. CPU seconds are those of all its processes; on a machine that does other work, too, they say more than wall
time. The dask cluster (a LocalCluster) is started before the clock, and has run some jobs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from docopt import docopt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIMTIFF = [sys.executable, "-m", "simtiff"]
WORKERS, SHARDS = 2, 3
SIDE, ON = 512, 500
PARTS = ("dask", "shards", "plan", "memory", "frames", "study")


@dataclass(frozen=True)
class Cost:
    """What commands that ran at the same time took, in seconds of the clock and of CPUs."""

    wall_s: float
    cpu_s: float


class Bench:
    """The folder for files, and how often things are compared."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self._made = 0

    def output(self) -> Path:
        """Return the path of a new folder."""
        self._made += 1
        return self.folder / f"out{self._made}"

    def config(self, content: dict[str, Any]) -> Path:
        """Write a config and return its path."""
        self._made += 1
        path = self.folder / f"config{self._made}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def tiny(self, jobs: int) -> Path:
        """Return the config of jobs of 64 x 64 px, 1 frame."""
        base = {
            "zmap_path": "builtin:oil",
            "emitters": {"num_emitters": 20, "frames": 1, "area_px": 64},
            "tiff": {"roi_size": 64},
        }
        return self.config({"base_config": base, "variables": {"emitters.seed": list(range(1, jobs + 1))}})


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command of simtiff."""
    return subprocess.Popen([*SIMTIFF, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603


def ended(process: subprocess.Popen[bytes]) -> float:
    """Wait for a command and return its CPU seconds, with those of its own workers."""
    errors = process.stderr.read() if process.stderr is not None else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stderr is not None:
        process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {errors.decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def run(*commands: Sequence[str]) -> Cost:
    """Run commands at the same time."""
    begin = time.perf_counter()
    processes = [start(words) for words in commands]
    cpu_s = sum(ended(process) for process in processes)
    return Cost(time.perf_counter() - begin, cpu_s)


def batch(config: Path, output: Path, *options: str) -> list[str]:
    """Return the words of a batch."""
    return ["batch", str(config), f"--output-dir={output}", "--quiet", "--force", *options]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median of values with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


@contextmanager
def dask_cluster() -> Iterator[tuple[str, psutil.Process]]:
    """Start a cluster; give its address and the process that has it."""
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        f"    with LocalCluster(n_workers={WORKERS}, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        input()\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.py"
        path.write_text(code, encoding="utf-8")
        words = [sys.executable, str(path)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            if process.stdout is None or process.stdin is None:
                raise RuntimeError("no pipes")
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
            process.stdin.write("\n")
            process.stdin.flush()


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its descendants so far."""
    return sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])


def dask(bench: Bench, jobs: int) -> Iterator[str]:
    """Compare dask with worker processes."""
    config, local, remote, cluster_s = bench.tiny(jobs), [], [], []
    with dask_cluster() as (address, process):
        run(batch(bench.tiny(20), bench.output(), f"--scheduler={address}"))
        for _ in range(bench.rounds):
            local.append(run(batch(config, bench.output(), f"--max-workers={WORKERS}")))
            before = cpu_of(process)
            remote.append(run(batch(config, bench.output(), f"--scheduler={address}")))
            cluster_s.append(cpu_of(process) - before)
    per_job = 1000 / jobs
    more = [(there.wall_s - here.wall_s) * per_job for here, there in zip(local, remote, strict=True)]
    yield f"| {jobs} jobs, {WORKERS} worker processes: ms a job | {spread([each.wall_s * per_job for each in local])} |"
    yield f"| the same on dask, {WORKERS} workers: ms a job | {spread([each.wall_s * per_job for each in remote])} |"
    yield f"| dask: more ms a job, target 10 | {spread(more)} |"
    cpu = [each.cpu_s * per_job for each in local]
    yield f"| worker processes: CPU ms a job | {spread(cpu)} |"
    cpu = [(each.cpu_s + more_s) * per_job for each, more_s in zip(remote, cluster_s, strict=True)]
    yield f"| dask: CPU ms a job, scheduler and workers | {spread(cpu)} |"


def shards(bench: Bench, jobs: int) -> Iterator[str]:
    """Compare shards at once with one run."""
    config, whole, parts = bench.tiny(jobs), [], []
    for _ in range(bench.rounds):
        whole.append(run(batch(config, bench.output(), f"--max-workers={SHARDS}")))
        output = bench.output()
        words = [batch(config, output, "--max-workers=1", f"--shard={index + 1}/{SHARDS}") for index in range(SHARDS)]
        parts.append(run(*words))
    pairs = list(zip(whole, parts, strict=True))
    yield f"| {jobs} jobs, one run with {SHARDS} workers: CPU seconds | {spread([each.cpu_s for each in whole])} |"
    yield f"| the same as {SHARDS} shards at once: CPU seconds | {spread([each.cpu_s for each in parts])} |"
    yield f"| shards: CPU seconds, ratio, target 1.1 | {spread([b.cpu_s / a.cpu_s for a, b in pairs])} |"
    yield f"| shards: wall time, ratio, target 1.1 | {spread([b.wall_s / a.wall_s for a, b in pairs])} |"


def plan(bench: Bench, many: int) -> Iterator[str]:
    """Measure the plan of many jobs, none of which is done."""
    config = bench.tiny(many)
    words = ["batch", str(config), f"--output-dir={bench.output()}", "--dry-run", "--json"]
    costs = [run(words) for _ in range(bench.rounds)]
    wall = [each.wall_s for each in costs]
    yield f"| plan of {many:,} jobs (`--dry-run --json`): seconds, target 5 | {spread(wall)} |"
    yield f"| its CPU seconds | {spread([each.cpu_s for each in costs])} |"


def held_mb(config: Path, output: Path, jobs: int) -> tuple[float, float, float, float]:
    """Run a batch; return the MB of its own process after a tenth of the jobs, at the end, and at most; seconds."""
    begin = time.perf_counter()
    process = start(batch(config, output, f"--max-workers={WORKERS}"))
    own, early, late, peak = psutil.Process(process.pid), 0.0, 0.0, 0.0
    while process.returncode is None:
        try:
            held = own.memory_info().rss / 1e6
        except psutil.Error:
            held = 0.0
        if not held or own.status() == psutil.STATUS_ZOMBIE:
            break
        late, peak = held, max(peak, held)
        if not early and output.is_dir() and sum(1 for _ in output.iterdir()) > jobs / 10:
            early = held
        time.sleep(0.2)
    ended(process)
    return early, late, peak, time.perf_counter() - begin


def memory(bench: Bench, jobs: int, many: int) -> Iterator[str]:
    """Measure the memory of the process of a batch, with fewer and more jobs."""
    output = bench.output()
    for count, folder in ((jobs, bench.output()), (many, output)):
        early, late, peak, seconds = held_mb(bench.tiny(count), folder, count)
        held = f"{early:.0f} MB, {late:.0f} MB, {peak:.0f} MB"
        yield f"| {count:,} jobs: memory of the batch's own process after a tenth, at the end, at most | {held} |"
        yield f"| {count:,} jobs: wall time | {seconds:.0f} s |"
    words = ["batch", str(bench.tiny(many)), f"--output-dir={output}", "--dry-run", "--json"]
    costs = [run(words) for _ in range(bench.rounds)]
    yield f"| plan of {many:,} finished jobs: seconds | {spread([each.wall_s for each in costs])} |"


def movies(bench: Bench, count: int, frames: int) -> Path:
    """Return the config of movies of 512 x 512 px with 500 emitters on in each frame."""
    from simtiff.config.loading import load_job_config

    emitters: dict[str, Any] = {"frames": frames, "area_px": SIDE}
    job: dict[str, Any] = {"zmap_path": "builtin:oil", "emitters": emitters, "tiff": {"roi_size": SIDE}}
    optical = load_job_config(job).optical
    emitters["density_per_um2"] = ON / (SIDE**2 * optical.pixel_size_nm_x * optical.pixel_size_nm_y * 1e-6)
    return bench.config({"base_config": job, "variables": {"emitters.seed": list(range(1, count + 1))}})


def bytes_of(output: Path, frames: int) -> dict[str, float]:
    """Return the bytes a frame of the files of a batch, by name, and remove them."""
    sizes: dict[str, list[int]] = {}
    for path in output.glob("job_*/*"):
        sizes.setdefault(path.name, []).append(path.stat().st_size)
        path.unlink()
    return {name: sum(each) / len(each) / frames for name, each in sorted(sizes.items())}


def frames(bench: Bench, count: int) -> Iterator[str]:
    """Measure movies on one core, to the disk."""
    config = movies(bench, 2, count)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    costs, sizes = [], {}
    try:
        for _ in range(bench.rounds):
            output = bench.output()
            costs.append(run(batch(config, output, "--max-workers=1")))
            sizes = bytes_of(output, count)
    finally:
        os.sched_setaffinity(0, cores)
    what = f"2 movies of {count:,} frames, {SIDE} x {SIDE} px, {ON} emitters on, one core"
    yield f"| {what}: frames a second | {spread([2 * count / each.wall_s for each in costs], 0)} |"
    yield f"| frames a CPU second | {spread([2 * count / each.cpu_s for each in costs], 0)} |"
    for name, size in sizes.items():
        yield f"| bytes a frame of {name} | {size:,.0f} |"


def study(bench: Bench, count: int) -> Iterator[str]:
    """Measure a study of large movies as two shards at once, one worker each."""
    config, output = movies(bench, count, 1000), bench.output()
    cost = run(*(batch(config, output, "--max-workers=1", f"--shard={index}/2") for index in (1, 2)))
    made = len(list(output.glob("job_*/job.json")))
    size = sum(path.stat().st_size for path in output.glob("job_*/*")) / 1e9
    yield f"| study as 2 shards at once: movies, frames, GB | {made}, {made * 1000:,}, {size:.1f} |"
    yield f"| wall time, CPU seconds | {cost.wall_s:.0f} s, {cost.cpu_s:.0f} s |"
    begin = time.perf_counter()
    run(["verify", str(output)])
    yield f"| simtiff verify of it | {time.perf_counter() - begin:.0f} s |"


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    arguments = docopt(__doc__)
    only = arguments["--only"] or PARTS
    if wrong := set(only) - set(PARTS):
        raise SystemExit(f"--only: {', '.join(wrong)} is not allowed; allowed: {', '.join(PARTS)}")
    jobs, many, count, large = (int(arguments[name]) for name in ("--jobs", "--many", "--frames", "--movies"))
    given = arguments["--dir"]
    folder = None if given == "the system's" else given
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        bench = Bench(Path(temporary), int(arguments["--rounds"]))
        parts = {
            "dask": lambda: dask(bench, jobs),
            "shards": lambda: shards(bench, jobs),
            "plan": lambda: plan(bench, many),
            "memory": lambda: memory(bench, jobs, many),
            "frames": lambda: frames(bench, count),
            "study": lambda: study(bench, large),
        }
        show(f"{os.cpu_count()} CPUs\n\n| what | median (least to greatest) |\n|---|---|")
        for name in PARTS:
            if name in only:
                for line in parts[name]():
                    show(line)


if __name__ == "__main__":
    main()
