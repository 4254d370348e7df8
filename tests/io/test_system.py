"""The number of CPUs, which sets the default numbers of threads and workers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_helpers import TINY_JOB
from simtiff import run_batch
from simtiff.batch.events import Begun
from simtiff.io.system import cores

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.movie.events import Event

MANY = 64


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to have many CPUs, so that another limit applies."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: MANY)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


def set_quota(group: Path, version: int, quota: int | None, period: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (group / "cpu.max").write_text(f"{'max' if quota is None else quota} {period}\n")
    else:
        (group / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else quota}\n")
        (group / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.usefixtures("many_cpus")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quotas=st.lists(st.none() | st.integers(1000, 10_000_000), max_size=3),
    period=st.sampled_from([10_000, 100_000, 1_000_000]),
    layout=st.sampled_from(["1", "1 with cpuacct", "2", "both"]),
)
def test_cores_follow_the_least_quota_on_the_way_up(
    tmp_path_factory: pytest.TempPathFactory, quotas: list[int | None], period: int, layout: str
) -> None:
    root = tmp_path_factory.mktemp("cgroup")
    own = root / "own"
    controllers, top = {
        "1": ("3:cpu", root / "cpu"),
        "1 with cpuacct": ("3:cpu,cpuacct", root / "cpu"),
        "2": ("0:", root),
        "both": ("0:", root / "unified"),
    }[layout]
    name = "/".join("abc"[: len(quotas)])
    own.write_text(f"7:cpuset:/elsewhere\n{controllers}:/{name}\ngarbage\n")
    version = 1 if layout.startswith("1") else 2
    top.mkdir(exist_ok=True)
    for depth, quota in enumerate(quotas, 1):
        set_quota(top.joinpath(*name.split("/")[:depth]), version, quota, period)
    expected = [MANY, *(math.ceil(quota / period) for quota in quotas if quota is not None)]
    assert cores(root, own) == min(expected)


@pytest.mark.usefixtures("many_cpus")
def test_a_container_finds_its_quota_at_the_root(tmp_path: Path) -> None:
    """A container sees its own group at the root, whatever its name on the host."""
    (own := tmp_path / "own").write_text("4:cpu,cpuacct:/docker/0123\n0::/../other\n")
    set_quota(tmp_path / "cpu", 1, 250_000, 100_000)
    assert cores(tmp_path, own) == 3
    assert cores(tmp_path, tmp_path / "none") == MANY


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("100", MANY), ("0", MANY), ("x", MANY), ("", MANY)])
def test_cores_follow_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
    assert cores(tmp_path, tmp_path / "none") == expected


@pytest.mark.parametrize(
    ("environment", "first", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "1"}, "", "1"),
        ({"SLURM_CPUS_PER_TASK": "1", "RAYON_NUM_THREADS": "3"}, "", "3"),
        ({"SLURM_CPUS_PER_TASK": "1", "RAYON_NUM_THREADS": "3"}, "simtiff.set_threads(2);", "2"),
        ({"SLURM_CPUS_PER_TASK": "1"}, "simtiff.set_threads(2); simtiff.set_threads(0);", "1"),
    ],
)
def test_threads_follow_cores_unless_they_are_set(environment: dict[str, str], first: str, expected: str) -> None:
    words = [sys.executable, "-c", f"import simtiff; {first} print(simtiff.threads())"]
    run = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == expected


def test_workers_follow_cores_unless_they_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    batch = {"base_config": TINY_JOB, "variables": {"emitters.seed": [1, 2]}}
    for name, asked, expected in [("default", None, 1), ("asked", 2, 2)]:
        events: list[Event] = []
        run_batch(batch, asked, output_dir=tmp_path / name, progress=events.append)
        assert [event.workers for event in events if isinstance(event, Begun)] == [expected]
