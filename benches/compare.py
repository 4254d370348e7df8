"""Compare simtiff with plain NumPy in one run, and print a Markdown table.

Usage:
  compare.py [--quick] [--json=FILE] [--only=NAME]... [--dir=DIR]
  compare.py --help

Options:
  --quick      Shorter movies and fewer runs.
  --json=FILE  Also write the figures to a file.
  --only=NAME  Measure only this part: psf, models, camera, cameras, frame, quickstart, profile, growth, scaling,
               memory, truth, fixed, zmap, training.
  --dir=DIR    Folder for temporary files [default: the system's].

A ratio is how many times better simtiff is. Single-threaded figures use one core, for the baseline and simtiff alike.
Each measurement runs in a separate process.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docopt import docopt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = Path(__file__).parent
SIMTIFF = [sys.executable, "-m", "simtiff"]
SIDE, MODES = 1200, 21
PHOTONS = 10_000.0  # per emitter and frame, as in the guide's quick start


@dataclass(frozen=True)
class Row:
    """A row of the table; `ratio` is None if there is nothing to compare with."""

    quantity: str
    simtiff: str
    other: str = ""
    ratio: float | None = None


class Bench:
    """What all measurements share: the folder for files, the time budget, and processes on given cores."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.budget_s = 0.5 if quick else 1.5
        self._maps: list[str] = []
        self.cores = (
            sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
        )

    def task(self, name: str, /, *, cores: int | None = 1, simd: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Run a function of tasks.py in a separate process and return its figures."""
        command = [sys.executable, str(HERE / "tasks.py"), name, json.dumps(arguments)]
        return json.loads(self.output(command, cores=cores, simd=simd))

    def output(self, command: Sequence[str], *, cores: int | None = 1, simd: str | None = None) -> str:
        """Run a command on `cores` cores (None: all) and return its output."""
        environment = os.environ | ({"SIMTIFF_SIMD": simd} if simd else {})
        with self._limited_to(cores):
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)[:200]}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        return done.stdout

    def wall_s(self, command: Sequence[str], *, runs: int, cores: int | None = 1) -> float:
        """Return the median wall time of a whole process, in seconds."""
        times = []
        for _ in range(runs):
            begin = time.perf_counter()
            self.output(command, cores=cores)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    @contextlib.contextmanager
    def _limited_to(self, cores: int | None) -> Iterator[None]:
        if cores is None or not hasattr(os, "sched_setaffinity"):
            yield
            return
        os.sched_setaffinity(0, self.cores[-cores:])
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.cores)

    @property
    def zmap(self) -> str:
        """The path of a 21 x 1200 x 1200 map, made once."""
        if not self._maps:
            path = self.folder / "zmap.h5"
            self.output([*SIMTIFF, "zmap", "synth", str(path), f"--size={SIDE}"], cores=None)
            self._maps.append(str(path))
        return self._maps[0]

    def quick_start(self, frames: int = 50, **emitters: Any) -> dict[str, Any]:
        """Return the config of the guide's quick start."""
        defaults = {"num_emitters": 1000, "area_px": SIDE, "intensity_mu": PHOTONS, "intensity_sigma": 2000.0}
        defaults |= {"lifetime_avg": 2.5, "z_range_um": 1.0, "seed": 42}
        pixel = {"pixel_size_nm_x": 101.11, "pixel_size_nm_y": 98.83}
        noise = {"background": 100, "readout_noise": 10, "shot_noise": True}
        return {
            "zmap_path": self.zmap,
            "emitters": defaults | {"frames": frames} | emitters,
            "optical": {"wavelength_nm": 660, "NA": 1.4, "n_immersion": 1.518} | pixel,
            "psf": {"size_px": 41},
            "tiff": {"roi_size": SIDE, "add_noise": True, "noise_params": noise},
            "memory_optimization": {"chunk_size": 10},
        }

    def write(self, name: str, config: dict[str, Any]) -> str:
        """Write a config to a file and return its path."""
        path = self.folder / name
        path.write_text(json.dumps(config))
        return str(path)

    def empty(self, name: str, folder: Path | None = None) -> str:
        """Return the path of a folder that does not exist, removing it if it does."""
        path = (folder or self.folder) / name
        shutil.rmtree(path, ignore_errors=True)
        return str(path)

    @contextlib.contextmanager
    def in_memory(self) -> Iterator[Path]:
        """Yield a folder in memory, so that the disk does not limit the speed; without one, the usual folder."""
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
        if memory.is_dir() and shutil.disk_usage(memory).free > 6e9:
            with tempfile.TemporaryDirectory(prefix="simtiff-bench-", dir=memory) as folder:
                yield Path(folder)
        else:
            yield self.folder


def _levels(bench: Bench) -> list[tuple[str, str | None]]:
    level = bench.task("environment")["simd"]
    return [(level, None), ("avx2", "avx2")] if level == "avx512" else [(level, None)]


def psf(bench: Bench) -> Iterator[Row]:
    """Measure PSFs alone."""
    error = bench.task("psf_error", count=10 if bench.quick else 30)
    numpy = bench.task("psf_baseline", budget_s=bench.budget_s)["psfs_per_s"]
    for name, simd in _levels(bench):
        rate = bench.task("psf", simd=simd, budget_s=bench.budget_s)["psfs_per_s"]
        quantity = f"PSFs, 31 x 31 px, 21 modes, integrated over pixels, {name}"
        yield Row(quantity, f"{rate:,.0f} /s", f"{numpy:,.0f} /s (128 x 128 FFT)", rate / numpy)
    yield Row("their largest error, of the stamp's peak", f"{error['largest']:.1e} (mean {error['mean']:.1e})")


def models(bench: Bench) -> Iterator[Row]:
    """Measure every PSF model, derivatives and bounds relative to the scalar stamp, in one process."""
    times = bench.task("models", budget_s=bench.budget_s)
    scalar = times["scalar"]
    for name, here in times.items():
        many = f"{here:.2f} us, {1e6 / here:,.0f} /s"
        yield Row(f"PSF models, 31 px, 21 modes: {name}", many, f"{here / scalar:.2f} times the scalar's time")


def camera(bench: Bench) -> Iterator[Row]:
    """Measure the camera alone."""
    scenes = [("flat frame", 0.0), ("20,000 emitters, 2,000 photons each", 2000.0)]
    if not bench.quick:
        scenes.append((f"20,000 emitters, {PHOTONS:,.0f} photons each", PHOTONS))
    for scene, photons in scenes:
        numpy = bench.task("camera_baseline", budget_s=bench.budget_s, photons=photons)["mpx_per_s"]
        for name, simd in _levels(bench):
            rate = bench.task("camera", simd=simd, budget_s=bench.budget_s, photons=photons)["mpx_per_s"]
            quantity = f"camera, background 100, {scene}, {name}"
            yield Row(quantity, f"{rate:.0f} Mpx/s", f"{numpy:.1f} Mpx/s (poisson + normal)", rate / numpy)


def cameras(bench: Bench) -> Iterator[Row]:
    """Measure several kinds of camera, in one process."""
    for scene, photons in (("flat frame", 0.0), ("20,000 emitters, 2,000 photons each", 2000.0)):
        rates = bench.task("cameras", budget_s=bench.budget_s / 2, photons=photons)
        for name, rate in rates.items():
            numpy = rates.get(f"NumPy, {name.partition(' ')[0].rstrip(',')}")
            if not name.startswith("NumPy"):
                other = () if numpy is None else (f"{numpy:.1f} Mpx/s (NumPy)", rate / numpy)
                yield Row(f"camera, {scene}: {name}", f"{rate:.0f} Mpx/s", *other)


def frame(bench: Bench) -> Iterator[Row]:
    """Measure one dense frame, and a chunk of frames in which emitters stay on as in a movie."""
    measured = 100 if bench.quick else 400
    ours = bench.task("frame", budget_s=bench.budget_s, count=20_000, photons=PHOTONS)
    numpy = bench.task("frame_baseline", budget_s=bench.budget_s, count=20_000, photons=PHOTONS, measured=measured)
    other = f"{numpy['seconds']:.1f} s (scaled from {measured} emitters)"
    quantity = "frame of 1200 x 1200 px, 20,000 emitters, stamps 31 px: render and camera"
    yield Row(quantity, f"{ours['seconds'] * 1e3:.0f} ms", other, numpy["seconds"] / ours["seconds"])
    emitters = 20_000 * numpy["emitter_s"]
    yield Row("render alone", f"{ours['render_s'] * 1e3:.0f} ms", f"{emitters:.1f} s", emitters / ours["render_s"])

    # Emitters switch on in one of 24 frames, and are on in 1 + 2.5 of them on average.
    config = bench.quick_start(10, num_emitters=20_000 * 24 * 2 // 7) | {"psf": {"size_px": 31}}
    ours = bench.task("chunk", budget_s=bench.budget_s, config=config)
    seconds = ours["records"] * numpy["emitter_s"] + 10 * numpy["noise_s"]
    shown = f"{ours['records'] / 10:,.0f} emitters in each, {ours['emitters']:,.0f} in total"
    quantity = f"10 frames of a movie in one chunk, {shown}: render and camera"
    yield Row(quantity, f"{ours['seconds'] * 1e3:.0f} ms", f"{seconds:.0f} s (scaled)", seconds / ours["seconds"])


def quickstart(bench: Bench) -> Iterator[Row]:
    """Measure the guide's quick start (1,000 emitters, 50 frames) from config to files."""
    config, runs = bench.quick_start(), 4 if bench.quick else 8
    output = str(bench.folder / "numpy.ome.tiff")
    measured = 10 if bench.quick else 50
    script = [sys.executable, str(HERE / "baseline.py")]
    arguments = json.dumps({"zmap": bench.zmap, "output": output, "config": config, "frames": measured})
    begin = time.perf_counter()
    parts = json.loads(bench.output([*script, arguments]))
    whole = time.perf_counter() - begin + parts["frames_s"] * (50 / measured - 1)
    numpy = parts["frames_s"] * 50 / measured
    scaled = f", scaled from {measured} frames" if measured < 50 else ""
    disk = bench.task("write_tifffile", path=output, frames=50, runs=runs)
    Path(output).unlink()

    ours = bench.task("job", config=config, directory=bench.empty("job"), runs=runs)["seconds"]
    name = "quick start (1,000 emitters, 50 frames, 1200 x 1200 px) to files"
    yield Row(f"{name}: in a running batch, one core", f"{ours:.2f} s", f"{numpy:.1f} s (NumPy{scaled})", numpy / ours)
    yield Row(
        "the same",
        f"{ours:.2f} s",
        f"{disk['written_s']:.2f} s (tifffile, the same number of bytes)",
        disk["written_s"] / ours,
    )
    yield Row("the same", f"{ours:.2f} s", f"{disk['synced_s']:.2f} s (tifffile and fsync)", disk["synced_s"] / ours)
    bare = bench.task("stream", config=config)["seconds"]
    yield Row("its frames alone, not written, one core", f"{bare:.2f} s")

    job, both = bench.write("job.json", config), bench.write("batch.json", {"base_config": config})
    commands = {
        "simtiff run": [*SIMTIFF, "run", f"--zmap={bench.zmap}", f"--config={job}", "--output-dir"],
        "simtiff batch": [*SIMTIFF, "batch", both, "--no-resume", "--output-dir"],
    }
    runs = 2 if bench.quick else 3
    for cores, where in ((1, "one core"), (None, "all cores")):
        for command, words in commands.items():
            seconds = bench.wall_s([*words, bench.empty("whole")], runs=runs, cores=cores)
            quantity = f"quick start, whole process ({command}), {where}"
            yield Row(quantity, f"{seconds:.2f} s", f"{whole:.1f} s (NumPy, one core{scaled})", whole / seconds)


def scaling(bench: Bench) -> Iterator[Row]:
    """Measure two cores against one."""
    if len(bench.cores) < 2:
        yield Row("two cores against one", "not measured: there is one core")
        return
    runs = 4 if bench.quick else 6
    one, two = (bench.task("stream", cores=n, config=bench.quick_start())["seconds"] for n in (1, 2))
    yield Row(
        "quick start, frames alone: two cores against one", f"{1e3 * two:.0f} ms", f"{1e3 * one:.0f} ms", one / two
    )
    jobs = [
        ("quick start", 50, 1000),
        ("20,000 emitters, 50 frames", 50, 20_000),
        ("10,000 emitters, 500 frames", 500, 10_000),
    ]
    frames = 25 if bench.quick else 100
    samples = {"num_samples": 8, "frames_per_sample": frames}
    with bench.in_memory() as folder:
        where = "disk" if folder == bench.folder else "files in memory"
        for name, length, emitters in jobs:
            config, count = bench.quick_start(length, num_emitters=emitters), runs if length == 50 else 3
            one, two = (
                bench.task("job", cores=n, config=config, directory=bench.empty("job", folder), runs=count)["seconds"]
                for n in (1, 2)
            )
            quantity = f"{name}, one job, {where}: two cores against one"
            yield Row(quantity, f"{two:.2f} s", f"{one:.2f} s", one / two)
        for name, emitters in (("20", 20 * frames), ("400", 400 * frames)):
            config = {"base_config": bench.quick_start(num_emitters=emitters), "sample_configs": samples}
            # Twice: a virtual machine is slow to hand out memory that has not been used recently.
            one, two = (
                min(
                    bench.task("batch", cores=n, config=config, directory=bench.empty("batch", folder), workers=n)[
                        "seconds"
                    ]
                    for _ in range(2)
                )
                for n in (1, 2)
            )
            quantity = (
                f"batch of 8 jobs, {frames} frames, {name} emitters a frame, {where}: two workers on two cores "
                "against one on one"
            )
            yield Row(quantity, f"{two:.2f} s", f"{one:.2f} s", one / two)
        bench.empty("job", folder)
        bench.empty("batch", folder)


def memory(bench: Bench) -> Iterator[Row]:
    """Measure the peak memory of a worker, for a short and a long movie."""
    many = 1000 if bench.quick else 5000
    peaks = {}
    for frames in (50, many):
        needed = 2.2 * frames * SIDE * SIDE
        if shutil.disk_usage(bench.folder).free < needed:
            yield Row(f"peak memory, {frames:,} frames", f"not measured: needs {needed / 1e9:.0f} GB of disk")
            return
        config = bench.quick_start(frames, num_emitters=20 * frames)
        peaks[frames] = bench.task("job", config=config, directory=bench.empty("job"), runs=1)["peak_mb"]
    bench.empty("job")
    few, last = peaks.values()
    yield Row(
        f"peak memory of a worker, 1200 x 1200 px, chunks of 10: {many:,} frames (and 50)",
        f"{last:.0f} MB",
        f"{few:.0f} MB",
        few / last,
    )


def truth(bench: Bench) -> Iterator[Row]:
    """Measure writing the truth of a long, dense movie."""
    quantity = "truth of 5,000 frames with 10,000 emitters each"
    free = shutil.disk_usage(bench.folder).free
    if bench.quick or free < 8e9:
        why = "--quick" if bench.quick else f"needs 8 GB of disk, {free / 1e9:.0f} are free"
        yield Row(quantity, f"not measured: {why}")
        return
    # An emitter is on in 1 + 2.5 frames on average, and switches on in one of 5,014.
    config = bench.quick_start(5000, num_emitters=10_000 * 5014 * 2 // 7)
    path = bench.folder / "truth.h5"
    made = bench.task("truth", config=config, path=str(path))
    path.unlink()
    figures = f"{made['seconds']:.0f} s, {made['peak_mb']:.0f} MB of memory"
    yield Row(quantity, f"{figures} ({made['records'] / 1e6:.0f} million records, {made['bytes'] / 1e9:.1f} GB)")


def fixed(bench: Bench) -> Iterator[Row]:
    """Measure the fixed cost of a job and of a command."""
    base = bench.quick_start(1, num_emitters=10, area_px=64)
    base |= {"zmap_path": "builtin:oil", "tiff": base["tiff"] | {"roi_size": 64}}
    jobs = 50 if bench.quick else 200
    one, all_ = (
        bench.task(
            "batch",
            config={"base_config": base, "sample_configs": {"num_samples": n}},
            directory=bench.empty("batch"),
            workers=1,
        )["seconds"]
        for n in (1, jobs)
    )
    per_job = 1e3 * (all_ - one) / (jobs - 1)
    yield Row(f"job of 64 x 64 px, 1 frame, in a batch of {jobs}, one worker, one core", f"{per_job:.1f} ms")
    yield Row("batch of one such job, from the call", f"{one:.2f} s")
    yield Row("simtiff --help", f"{bench.wall_s([*SIMTIFF, '--help'], runs=5):.2f} s")


def zmap(bench: Bench) -> Iterator[Row]:
    """Measure interpolating the aberrations at many emitters."""
    ours = bench.task("zmap", path=bench.zmap, count=100_000)
    scipy = bench.task("zmap_baseline", path=bench.zmap, count=100_000)["first_s"]
    other = f"{scipy:.2f} s (map_coordinates)"
    quantity = "21 coefficients of 100,000 emitters from a map of 1200 x 1200 px"
    yield Row(f"{quantity}, first job", f"{ours['first_s']:.2f} s", other, scipy / ours["first_s"])
    yield Row("the next job with that map", f"{ours['next_s']:.3f} s", other, scipy / ours["next_s"])
    file, builtin = (
        bench.task("crops", path=path, frames=100 if bench.quick else 1000)["frames_per_s"]
        for path in (bench.zmap, "builtin:oil")
    )
    quantity = "frames of 64 x 64 px, each on a different crop of that map"
    yield Row(quantity, f"{file:,.0f}/s", f"{builtin:,.0f}/s (the built-in map)", file / builtin)


def training(bench: Bench) -> Iterator[Row]:
    """Measure training batches on two cores: random crops of that map, with their targets."""
    what = "training frames of 64 x 64 px, targets included, two cores"
    for on, model in ((15, "scalar"), (5, "scalar"), (15, "vectorial")):
        ours = bench.task("training", cores=2, zmap=bench.zmap, on=on, model=model, budget_s=bench.budget_s)
        numpy = bench.task("training_baseline", cores=2, psfs=ours["psfs"], budget_s=bench.budget_s)["frames_per_s"]
        rate = ours["frames_per_s"]
        quantity = f"{what}: {model}, {on} emitters on in a crop ({ours['psfs']:.0f} PSFs a frame)"
        yield Row(quantity, f"{rate:,.0f}/s", f"{numpy:,.0f}/s (splines of one PSF, NumPy)", rate / numpy)
        if model == "scalar" and on == 15:
            first = ours["first_s"]
    yield Row("the first batch of 64, with that map from its file", f"{first:.2f} s")
    count = 2000 if bench.quick else 10_000
    held = bench.task("training_memory", cores=2, zmap=bench.zmap, batches=count)
    quantity = f"memory after {count:,} batches of 4 crops (and {count // 10:,})"
    early, late = held["early_mb"], held["late_mb"]
    yield Row(quantity, f"{late:.0f} MB", f"{early:.0f} MB", early / late)


def growth(bench: Bench) -> Iterator[Row]:
    """Measure how the cost of a PSF and of a frame grows."""

    def cost(**what: Any) -> float:
        return 1e6 / bench.task("psf", budget_s=bench.budget_s / 2, **what)["psfs_per_s"]

    usual = cost()
    cases = [("stamp 15 px", {"size": 15}), ("stamp 51 px", {"size": 51}), ("stamp 101 px", {"size": 101})]
    cases += [("no modes", {"modes": 0}), ("66 modes", {"modes": 66})]
    cases += [("in focus", {"z_um": 0.0}), ("z to 3 um", {"z_um": 3.0})]
    for name, what in cases:
        here = cost(**what)
        yield Row(f"a PSF: {name}", f"{here:.2f} us", f"{usual:.2f} us (31 px, 21 modes, z to 1 um)", usual / here)
    some, more = (
        bench.task("frame", budget_s=bench.budget_s, count=count, photons=PHOTONS)["seconds"] * 1e3
        for count in (2000, 20_000)
    )
    name = "a frame of 1200 x 1200 px: 20,000 emitters (and 2,000)"
    yield Row(name, f"{more:.1f} ms", f"{some:.1f} ms", some / more)
    few, many = (
        bench.task("job", config=bench.quick_start(n, num_emitters=20 * n), directory=bench.empty("job"), runs=4)
        for n in (50, 200)
    )
    name = "a job of 20 emitters a frame: 200 frames (and 50)"
    yield Row(name, f"{many['seconds']:.2f} s", f"{few['seconds']:.2f} s", few["seconds"] / many["seconds"])
    bench.empty("job")


def profile(bench: Bench) -> Iterator[Row]:
    """Measure where the time of the quick start goes, on one core."""
    folder = Path(bench.empty("profile"))
    folder.mkdir()
    parts = bench.task("profile", config=bench.quick_start(), directory=str(folder))
    for name, milliseconds in parts.items():
        share = 100 * milliseconds / sum(parts.values())
        yield Row(f"quick start: {name}", f"{milliseconds:.1f} ms", f"{share:.0f} % of the sum")
    bench.empty("profile")


_ALL = (psf, models, camera, cameras, frame, quickstart, profile, growth, scaling, memory, truth, fixed, zmap, training)
PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {part.__name__: part for part in _ALL}


def machine(bench: Bench) -> str:
    """Return CPU, cores, instruction set and versions in one line."""
    found = bench.task("environment")
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    level = found.pop("simd")
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"{cpu}, {len(bench.cores)} cores, {level}; {versions}"


def main() -> None:
    """Measure and print."""
    arguments = docopt(__doc__)
    unknown = set(arguments["--only"]) - set(PARTS)
    if unknown:
        sys.exit(f"--only: {', '.join(sorted(unknown))}: unknown; allowed: {', '.join(PARTS)}")
    chosen = arguments["--only"] or list(PARTS)
    parent = None if arguments["--dir"] == "the system's" else arguments["--dir"]
    rows: list[Row] = []
    begin = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="simtiff-bench-", dir=parent) as folder:
        bench = Bench(Path(folder), quick=arguments["--quick"])
        about = machine(bench)
        say("| quantity | simtiff | compared with | ratio |\n|---|---|---|---|")
        for name in chosen:
            for row in PARTS[name](bench):
                rows.append(row)
                ratio = "" if row.ratio is None else f"{row.ratio:.{0 if row.ratio >= 10 else 2}f}"
                say(f"| {row.quantity} | {row.simtiff} | {row.other} | {ratio} |")
    say(f"\n{about}. Took {time.monotonic() - begin:.0f} s.")
    if arguments["--json"]:
        figures = {"machine": about, "quick": arguments["--quick"], "rows": [asdict(row) for row in rows]}
        Path(arguments["--json"]).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
