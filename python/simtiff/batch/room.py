"""Estimate the disk space and memory of a batch, and refuse a batch that does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simtiff.aberrations.maps import map_under
from simtiff.config.identity import TRUTH_NAME
from simtiff.errors import BatchError
from simtiff.io.files import JOURNAL_SUFFIX, PARTIAL_SUFFIX
from simtiff.io.system import OWN, ROOT, control_groups
from simtiff.language import Text, joined, plural, tr
from simtiff.movie.estimate import (
    disk_problem,
    export_bytes,
    file_size,
    free_disk,
    movie_bytes,
    picture_bytes,
    show_bytes,
    transform_bytes,
    truth_bytes,
    worker_bytes,
)
from simtiff.movie.events import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.config.settings import JobConfig


@dataclass(frozen=True)
class Estimate(Event):
    """Required and available disk space and memory of a batch, in bytes.

    Attributes
    ----------
    disk, disk_free : float
        Size of the files to be written, and the available space: free, or freed by replaced files.
    memory : float
        Peak memory of all workers together.
    memory_available : float or None
        None if the system does not report it.
    workers, most_workers : int
        Number of workers requested, and number that fit into memory.
    folder : Path
        Output folder.
    truth : float
        The share of the truth files in `disk`.
    memory_key : str
        The key with the largest effect on the memory of the largest job.
    """

    kind = "estimate"
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
        text = tr(
            "estimate: {disk} on disk ({free} free), {memory} of memory for {workers}",
            disk=show_bytes(self.disk),
            free=show_bytes(self.disk_free),
            memory=show_bytes(self.memory),
            workers=plural("{n} worker", "{n} workers", self.workers),
        )
        if self.memory_available is None:
            return text
        return tr("{estimate} ({memory} available)", estimate=text, memory=show_bytes(self.memory_available))

    def problems(self) -> list[str]:
        """Return what does not fit, with what to change; empty if everything fits."""
        found = []
        if self.disk > self.disk_free:
            found.append(disk_problem(self.disk, self.disk_free, self.folder, self.truth))
        if self.memory_available is not None and self.memory > self.memory_available:
            if self.most_workers:
                cure = Text("--max-workers={workers} fits", workers=self.most_workers)
            else:
                cure = Text("a smaller memory_optimization.chunk_size or {key} needs less", key=self.memory_key)
            text = plural(
                "memory: {n} worker needs about {needed}, {given} are available; {cure}",
                "memory: {n} workers need about {needed}, {given} are available; {cure}",
                self.workers,
                needed=show_bytes(self.memory),
                given=show_bytes(self.memory_available),
                cure=cure,
            )
            found.append(text)
        return found

    def check(self) -> None:
        """Raise `BatchError` if something does not fit."""
        if problems := self.problems():
            raise BatchError(joined([*problems, Text("(--force starts anyway)")]))


def estimate_batch(
    folder: Path,
    todo: Sequence[tuple[str, JobConfig]],
    workers: int,
    threads: int = 1,
    *,
    elsewhere: bool = False,
) -> Estimate:
    """Return the estimate for the jobs to run.

    Parameters
    ----------
    folder : Path
        Output folder; must exist.
    todo : sequence of (job id, config)
        The jobs.
    workers : int
        Number of workers.
    threads : int
        Threads per worker.
    elsewhere : bool
        Whether the workers run on other machines, whose memory is not known.
    """
    movies, truth, replaced = 0.0, 0.0, 0.0
    memory: list[float] = []
    fields: dict[str, set[tuple[object, ...]]] = {}
    for _, config in todo:
        fields.setdefault(config.zmap_path, set()).add(_field(config))
    for job_id, config in todo:
        field = map_under(config)
        movies += movie_bytes(config) + picture_bytes(config) + export_bytes(config)
        truth += truth_bytes(config, field)
        replaced += _replaced_bytes(folder / job_id, config)
        memory.append(worker_bytes(config, field, threads, several=len(fields[config.zmap_path]) > 1))
    largest = todo[memory.index(max(memory))][1]
    memory.sort(reverse=True)
    available = None if elsewhere else available_memory()
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
        memory_key=_memory_key(largest, map_under(largest)),
    )


def _field(config: JobConfig) -> tuple[object, ...]:
    """Return the settings that determine which part of a job's map is kept in memory, and in which form."""
    return config.emitters.area_px, config.zernike.crop_offset, config.zernike.interpolation_method == "cubic"


def _memory_key(config: JobConfig, field: FieldMap) -> str:
    """Return the key to reduce for less memory: the one responsible for more than half of it."""
    if transform_bytes(config, field.modes, 1) > worker_bytes(config, field) / 2:
        return "psf.size_px" if config.tiff.use_direct_rendering else "tiff.hr_size"
    none = config.emitters.model_copy(update={"num_emitters": 0, "density_per_um2": None})
    dark = config.model_copy(update={"emitters": none})
    return "emitters.num_emitters" if worker_bytes(dark, field) < worker_bytes(config, field) / 2 else "tiff.roi_size"


def available_memory() -> float | None:
    """Return the memory in bytes available to new processes; None if the system does not report it.

    The minimum of the kernel's available memory and of what the limits of control groups leave (containers, jobs of
    a cluster).
    """
    found = []
    try:  # on Linux
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(float(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError, IndexError):
        pass
    found += control_group_room()
    return min(found) if found else None


def control_group_room(root: Path = ROOT, own: Path = OWN) -> list[float]:
    """Return the memory left by the limits of this process's control groups (version 1 and 2)."""
    room = []
    for group, version in control_groups("memory", root, own):
        limit, usage = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
        )
        try:
            most, used = ((group / file).read_text().strip() for file in (limit, usage))
            if most != "max":
                room.append(max(0.0, float(most) - float(used) + _cache(group)))
        except (OSError, ValueError):
            continue
    return room


def _cache(group: Path) -> float:
    """Return the inactive file cache, which the kernel reclaims first."""
    try:
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return float(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0.0


def _replaced_bytes(folder: Path, config: JobConfig) -> int:
    """Return the size of the files in a job's folder that the job removes or replaces."""
    try:
        paths = [
            path
            for path in folder.iterdir()
            if path.name in {TRUTH_NAME, config.tiff.filename} or path.suffix in {PARTIAL_SUFFIX, JOURNAL_SUFFIX}
        ]
    except OSError:
        return 0
    return sum(map(file_size, paths))
