"""Resources of this process: CPUs, and the control groups that limit CPUs and memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of Linux alone; elsewhere there are no such files, and nothing is bounded by them.
ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores(root: Path = ROOT, own: Path = OWN) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    This is the minimum of its CPU affinity, the CPU quotas of its control groups (set by containers and cluster
    schedulers; rounded up) and ``SLURM_CPUS_PER_TASK``. All defaults for threads and worker processes come from here.
    """
    allowed = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for group, version in control_groups("cpu", root, own):
        quota = _quota(group, version)
        if quota is not None:
            allowed.append(math.ceil(quota))
    if (task := _number(os.environ.get("SLURM_CPUS_PER_TASK"))) is not None:
        allowed.append(task)
    return max(1, min(allowed))


def default_threads() -> int:
    """Return the default number of threads: ``RAYON_NUM_THREADS`` if it is set, else `cores`."""
    return _number(os.environ.get("RAYON_NUM_THREADS")) or cores()


def control_groups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's control groups for a controller, and their cgroup version, 1 or 2.

    The process's own group comes first, then its parents. Some of the folders may not exist: a container sees its own
    group at the root, but not always under that name.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2) if line.count(":") >= 2 else ("", "", "/")
        if controllers and controller not in controllers.split(","):
            continue
        unified = root / "unified"  # where both versions are in use
        top = root / controller if controllers else unified if unified.is_dir() else root
        folder = top / name.lstrip("/")
        for group in (folder, *folder.parents):
            if group != top and top not in group.parents:
                break
            yield group, 1 if controllers else 2


def _quota(group: Path, version: int) -> float | None:
    """Return the CPU quota of a control group; None if the group does not exist or has no limit."""
    try:
        if version == 1:
            most, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        else:
            most, period = (group / "cpu.max").read_text().split()
        quota = float(most) / float(period)  # no limit is "max" (not a number) or -1
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None


def _number(text: str | None) -> int | None:
    """Return a text as a positive integer; None if it is not one."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and int(text) > 0 else None
