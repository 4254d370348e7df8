"""What the system lets this process have: CPUs, and the control groups that bound those and the memory."""

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
    """Return the number of CPUs that this process may use at a time, at least 1.

    The least of its affinity, the CPU quotas of its control groups (those of a container or a cluster's job; part of
    a CPU counts as one) and ``SLURM_CPUS_PER_TASK``. Everything that starts threads or processes by itself asks here.
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
    """Return the number of threads to compute with where nobody set it: ``RAYON_NUM_THREADS``, or `cores`."""
    return _number(os.environ.get("RAYON_NUM_THREADS")) or cores()


def control_groups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[tuple[Path, int]]:
    """Yield the folders of the control groups of this process that a controller may bound, and their version, 1 or 2.

    The process's own group comes first, then those that it lies in. Some of the folders may not be there: a container
    sees its own group at the root, but not always by that name.
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
    """Return the CPUs that a control group has; None where it is not there or has no bound."""
    try:
        if version == 1:
            most, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        else:
            most, period = (group / "cpu.max").read_text().split()
        quota = float(most) / float(period)  # "max" is no number, -1 is no bound
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None


def _number(text: str | None) -> int | None:
    """Return a whole number above 0, or None where there is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and int(text) > 0 else None
