"""How much disk and memory a batch will take, before it starts; what cannot fit is refused.

Sizes on disk follow from the config: an uncompressed movie exactly, ``emitters.h5`` from the expected number
of records. Memory is the sum of what a worker holds at its peak; the constants were measured.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simtiff.aberrations.synthetic import BUILTIN, DEFAULT_MODES
from simtiff.config.identity import TRUTH_NAME, job_files
from simtiff.errors import BatchError
from simtiff.io.files import JOURNAL_SUFFIX, PARTIAL_SUFFIX
from simtiff.movie import frames_are_large
from simtiff.workspace import transform_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simtiff.config.settings import JobConfig

_PAGE_BYTES = 320  # of a TIFF page without its pixels
_STRIP_BYTES = 1 << 17
_FILE_BYTES = 1 << 16  # of the parts of both files that do not grow
_EMITTER_BYTES = 40
_RECORD_BYTES = 28
# Measured: a worker after its first small job, and what a map with magnitudes adds; while truth is made, an emitter of
# a slab and a record of a block, both bounded, and the part of that which stays with the process.
_WORKER_BYTES, _MAGNITUDES_BYTES = 75e6, 45e6
_SLAB_EMITTERS, _SLAB_EMITTER_BYTES = 1 << 18, 400
_BLOCK_RECORDS, _BLOCK_RECORD_BYTES = 1 << 18, 100
_KEPT = 0.5
_CHUNK_RECORD_BYTES = 130
_RUN_ROWS, _RUN_COPIES = 1 << 18, 2  # coefficients read in one go
_STAMP_BLOCK_BYTES, _STAMP_BLOCK = 4 << 20, 64  # stamps rendered at a time: so many bytes, but not fewer than that
# Plots: matplotlib and its figures, a record that is drawn, a frame of the timeline; a picture on the disk.
_PLOT_BYTES, _PLOT_RECORD_BYTES, _PLOT_FRAME_BYTES, _PICTURE_BYTES = 60e6, 100, 6600, 4e5
_MAX_PLOT_RECORDS = 2_000_000
_MAP_MARGIN_PX = 65  # of the spline, on both sides together


@dataclass(frozen=True)
class MapSize:
    """What a map means for sizes: modes, its pixels (None: computed on the fly), and whether it has magnitudes."""

    modes: int
    shape: tuple[int, int] | None = None
    magnitudes: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a batch needs and what there is, in bytes.

    Attributes
    ----------
    disk, disk_free : float
        Files to be written, and the space they may take: free, and freed by the files that they replace.
    memory : float
        Of all workers together at their peak.
    memory_available : float or None
        None where the system does not say.
    workers, most_workers : int
        Workers asked for, and how many fit into the memory.
    folder : Path
        Output folder.
    truth : float
        The part of `disk` that is truth.
    memory_key : str
        The key that the memory of the largest job depends on most.
    """

    disk: float
    disk_free: float
    memory: float
    memory_available: float | None
    workers: int
    most_workers: int
    folder: Path
    truth: float
    memory_key: str

    def __str__(self) -> str:
        plural = "s" * (self.workers != 1)
        memory = f" ({show_bytes(self.memory_available)} available)" if self.memory_available is not None else ""
        return (
            f"estimate: {show_bytes(self.disk)} on disk ({show_bytes(self.disk_free)} free), "
            f"{show_bytes(self.memory)} of memory for {self.workers} worker{plural}{memory}"
        )

    def problems(self) -> list[str]:
        """Return what cannot fit, with what to change; empty if all fits."""
        found = []
        if self.disk > self.disk_free:
            found.append(disk_problem(self.disk, self.disk_free, self.folder, self.truth))
        if self.memory_available is not None and self.memory > self.memory_available:
            if self.most_workers:
                cure = f"--max-workers={self.most_workers} fits"
            else:
                cure = f"a smaller memory_optimization.chunk_size or {self.memory_key} needs less"
            workers = "1 worker needs" if self.workers == 1 else f"{self.workers} workers need"
            found.append(
                f"memory: {workers} about {show_bytes(self.memory)}, "
                f"{show_bytes(self.memory_available)} are available; {cure}"
            )
        return found

    def check(self) -> None:
        """Raise `BatchError` if something cannot fit."""
        if problems := self.problems():
            raise BatchError("\n".join([*problems, "(--force starts all the same)"]))


def disk_problem(needed: float, free: float, folder: Path, truth: float) -> str:
    """Return the message for files, `truth` bytes of them truth, that do not fit on a disk."""
    movies = needed - truth
    cures = []
    if movies > free or movies >= truth:
        cures.append("fewer or smaller movies (emitters.frames, tiff.roi_size)")
    if truth > free or truth > movies:
        cures.append("fewer emitters (emitters.num_emitters)")
    return (
        f"{folder}: needs up to {show_bytes(needed)} on disk, {show_bytes(free)} are free; free some space, choose "
        f"another output folder, or make {' and '.join(cures)}"
    )


def estimate_batch(
    folder: Path, todo: Sequence[tuple[str, JobConfig]], sizes: dict[str, MapSize], workers: int, threads: int = 1
) -> Estimate:
    """Return what the jobs that are still to do need.

    Parameters
    ----------
    folder : Path
        Output folder; it exists.
    todo : sequence of (job id, config)
        The jobs.
    sizes : dict
        The maps' sizes by `zmap_path`.
    workers : int
        Worker processes at work together.
    threads : int
        Threads of each.
    """
    movies, truth, replaced = 0.0, 0.0, 0.0
    memory: list[float] = []
    for job_id, config in todo:
        size = sizes[config.zmap_path]
        movies += movie_bytes(config) + picture_bytes(config)
        truth += truth_bytes(config, size)
        replaced += _replaced_bytes(folder / job_id, config)
        memory.append(worker_bytes(config, size, threads))
    largest = todo[memory.index(max(memory))][1]
    memory.sort(reverse=True)
    available = available_memory()
    fitting = 0
    if available is not None:
        fitting = sum(sum(memory[: count + 1]) <= available for count in range(min(workers, len(memory))))
    return Estimate(
        disk=movies + truth,
        disk_free=free_disk(folder) + replaced,
        memory=sum(memory[:workers]),
        memory_available=available,
        workers=workers,
        most_workers=fitting,
        folder=folder,
        truth=truth,
        memory_key=_memory_key(largest, sizes[largest.zmap_path]),
    )


def _memory_key(config: JobConfig, size: MapSize) -> str:
    """Return the key to make smaller for less memory: that of what takes more than half of it."""
    if transform_bytes(config, size.modes, 1) > worker_bytes(config, size) / 2:
        return "psf.size_px" if config.tiff.use_direct_rendering else "tiff.hr_size"
    dark = config.model_copy(update={"emitters": config.emitters.model_copy(update={"num_emitters": 0})})
    return "emitters.num_emitters" if worker_bytes(dark, size) < worker_bytes(config, size) / 2 else "tiff.roi_size"


def free_disk(folder: Path) -> float:
    """Return the free bytes of the file system of a folder, or of the nearest one above that exists."""
    for path in (folder, *folder.absolute().parents):
        try:
            return float(shutil.disk_usage(path).free)
        except FileNotFoundError:
            continue
        except OSError:
            break
    return math.inf


def check_disk(config: JobConfig, folder: Path, *, truth: MapSize | None = None, replaces: Path | None = None) -> None:
    """Raise `BatchError` if one movie (and its truth, where the size of its map is given) cannot fit.

    Parameters
    ----------
    config : JobConfig
        The job.
    folder : Path
        Folder of the files.
    truth : MapSize, optional
        With it, ``emitters.h5`` is written, too.
    replaces : Path, optional
        A file that goes before the movie comes.
    """
    of_truth = truth_bytes(config, truth) if truth is not None else 0.0
    needed = movie_bytes(config) + of_truth
    free = free_disk(folder) + (_size(replaces) if replaces is not None else 0)
    if needed > free and config.tiff.compression == "none":
        raise BatchError(disk_problem(needed, free, folder, of_truth))


def movie_bytes(config: JobConfig) -> float:
    """Return the size of a job's movie in bytes; of a compressed one, what it can at most take."""
    frame = config.tiff.roi_size**2 * pixel_bytes(config)
    strips = 1 + frame // _STRIP_BYTES
    return float(config.emitters.frames * (frame + _PAGE_BYTES + 16 * strips) + _FILE_BYTES)


def pixel_bytes(config: JobConfig) -> int:
    """Return the bytes of a pixel of the movie."""
    return 2 if config.tiff.dtype == "uint16" else 4


def truth_bytes(config: JobConfig, size: MapSize) -> float:
    """Return the expected size of a job's ``emitters.h5`` in bytes."""
    emitters, records = config.emitters.num_emitters, expected_records(config, config.emitters.frames)
    coefficients = 4 * size.modes * (1 + size.magnitudes)
    most = emitters * min(config.emitters.lifetime_avg + 1, config.emitters.frames)
    chunk_rows = min(1 << 16, max(64, 1 << int(most).bit_length()))  # the last chunk is stored whole
    return (
        emitters * (_EMITTER_BYTES + coefficients)
        + (records + chunk_rows) * _RECORD_BYTES
        + 8.0 * (config.emitters.frames + 1)
        + _FILE_BYTES
    )


def expected_records(config: JobConfig, frames: int) -> float:
    """Return how many records `frames` frames in the middle of the movie have: an upper mean."""
    emitters = config.emitters
    births = emitters.frames - 1 + 6 * emitters.lifetime_avg
    # An emitter that is on for a time T touches T + 1 frames on average.
    in_a_frame = min(1.0, (1 + emitters.lifetime_avg) / births)
    return emitters.num_emitters * in_a_frame * min(frames, emitters.frames)


def worker_bytes(config: JobConfig, size: MapSize, threads: int = 1) -> float:
    """Return the memory that a worker with so many threads needs for a job at its peak, in bytes."""
    emitters, tiff = config.emitters, config.tiff
    area = 0.0
    if size.shape is not None:
        height, width = (min(length, emitters.area_px + _MAP_MARGIN_PX) for length in size.shape)
        area = 4.0 * height * width
    records = expected_records(config, emitters.frames)
    truth: float = min(emitters.num_emitters, _SLAB_EMITTERS) * _SLAB_EMITTER_BYTES
    truth += min(records, _BLOCK_RECORDS) * _BLOCK_RECORD_BYTES

    chunk = min(config.memory_optimization.chunk_size, emitters.frames)
    compressed = tiff.compression != "none"
    large = frames_are_large((tiff.roi_size, tiff.roi_size), tiff.dtype)
    buffers = 1 if chunk == emitters.frames or (large and not compressed) else 2
    pixels = chunk * tiff.roi_size**2
    chunk_records = expected_records(config, chunk)
    seen = min(chunk_records, emitters.num_emitters)
    coefficients = 4 * size.modes * (1 + size.magnitudes)
    frames = pixels * buffers * pixel_bytes(config)
    movie: float = frames + pixels * compressed * pixel_bytes(config)
    # Either all stamps of a chunk at a time, or its frames of photons and a block of stamps.
    stamp = 4.0 * config.psf.size_px**2
    movie += min(stamp * seen, 4 * pixels + max(_STAMP_BLOCK_BYTES, _STAMP_BLOCK * stamp))
    movie += transform_bytes(config, size.modes, threads)
    movie += chunk_records * _CHUNK_RECORD_BYTES + seen * coefficients
    movie += min(emitters.num_emitters, _RUN_ROWS) * coefficients * _RUN_COPIES
    # Truth is made before the movie; while the map is read, a few planes exist twice.
    fixed = _WORKER_BYTES + size.magnitudes * _MAGNITUDES_BYTES + area * (size.modes + 4)
    if picture_bytes(config):
        fixed += _PLOT_BYTES
        movie = max(movie, _plot_bytes(config, coefficients))
    # A worker keeps the memory of frames while it makes the next job's truth.
    return fixed + max(truth + frames, _KEPT * truth + movie)


def _plot_bytes(config: JobConfig, coefficients: int) -> float:
    """Return the memory that the truth of the frames takes that plots show: of the first records, some millions."""
    records = expected_records(config, config.emitters.frames)
    drawn = min(records, _MAX_PLOT_RECORDS)
    frames = config.emitters.frames * drawn / max(records, 1.0)
    seen = min(drawn, config.emitters.num_emitters)
    return drawn * _PLOT_RECORD_BYTES + 2 * seen * coefficients + frames * _PLOT_FRAME_BYTES


def picture_bytes(config: JobConfig) -> float:
    """Return what the plots of a job take on the disk at most, in bytes."""
    return _PICTURE_BYTES * (len(job_files(config)) - 2)


def map_size(zmap_path: str) -> MapSize:
    """Return what sizes need to know of a map; `DataError` if it cannot be read."""
    if zmap_path == BUILTIN:
        return MapSize(DEFAULT_MODES)
    from simtiff.aberrations.mapfile import MAGNITUDE, read_header
    from simtiff.io.hdf5 import find_dataset, open_hdf5

    with open_hdf5(zmap_path) as file:
        header = read_header(zmap_path, file)
        magnitudes = header.points > 0 and find_dataset(file, MAGNITUDE) is not None
    return MapSize(header.modes, header.shape, magnitudes)


def map_sizes(zmap_paths: Iterable[str]) -> dict[str, MapSize]:
    """Return the sizes of some maps by path."""
    return {path: map_size(path) for path in dict.fromkeys(zmap_paths)}


def available_memory() -> float | None:
    """Return the memory in bytes that new processes can take; None where the system does not say.

    The least of what the kernel calls available and what the limits of the control groups leave (those of a
    container or a cluster's job).
    """
    found = []
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(float(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError, IndexError):
        pass
    found += _control_group_room()
    return min(found) if found else None


def _control_group_room(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[float]:
    """Return what the memory limits of this process's control groups leave, for both versions of these."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    room = []
    for line in lines:
        _, controllers, name = line.split(":", 2) if line.count(":") >= 2 else ("", "", "/")
        if controllers and "memory" not in controllers.split(","):
            continue
        top, limit, usage = (
            (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else (root, "memory.max", "memory.current")
        )
        folder = top / name.lstrip("/")
        for group in (folder, *folder.parents):
            if group != top and top not in group.parents:
                break
            try:
                most, used = ((group / file).read_text().strip() for file in (limit, usage))
                if most != "max":
                    room.append(max(0.0, float(most) - float(used) + _cache(group)))
            except (OSError, ValueError):
                continue
    return room


def _cache(group: Path) -> float:
    """Return what the kernel would give back first: file pages that nobody used lately."""
    try:
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return float(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0.0


def _replaced_bytes(folder: Path, config: JobConfig) -> int:
    """Return the size of the files in a job's folder that go before, or when, the job writes its own."""
    try:
        paths = [
            path
            for path in folder.iterdir()
            if path.name in {TRUTH_NAME, config.tiff.filename} or path.suffix in {PARTIAL_SUFFIX, JOURNAL_SUFFIX}
        ]
    except OSError:
        return 0
    return sum(map(_size, paths))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def show_bytes(size: float) -> str:
    """Return a number of bytes in words: ``86.4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 1000 else f"{size:,.0f} TB"
