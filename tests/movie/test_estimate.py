"""Estimates of disk and memory against actual use by batches, and errors when it does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from batch_helpers import config, stray_files
from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.maps import map_under
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch import room
from simtiff.batch.room import Estimate, available_memory, control_group_room, estimate_batch
from simtiff.batch.run import run_batch
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.errors import BatchError
from simtiff.io.system import cores
from simtiff.movie.estimate import (
    check_disk,
    movie_bytes,
    picture_bytes,
    show_bytes,
    truth_bytes,
    worker_bytes,
)
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.movie.events import Event

SMALL = {"zmap_path": "builtin:oil", "tiff": {"roi_size": 64}, "emitters": {"area_px": 64}, "psf": {"size_px": 3}}
MEASURE = """
import json, sys
from pathlib import Path
from simtiff.config.loading import load_job_config
from simtiff.movie.job import run_job
from simtiff.batch._task import peak_memory
files = run_job(load_job_config(json.loads(sys.argv[1]), sys.argv[3:]), Path(sys.argv[2]))
print(json.dumps([files["emitters.h5"].size, files["simulation.ome.tiff"].size, peak_memory()]))
"""
MEASURE_ALL = """
import json, sys
from pathlib import Path
from simtiff.config.settings import JobConfig
from simtiff.movie.job import run_job
from simtiff.batch._task import peak_memory
found = []
for text in sys.argv[2:]:
    run_job(JobConfig.model_validate_json(text), Path(sys.argv[1]))
    found.append(peak_memory())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["tiff.dtype=float32", "tiff.roi_size=600", "memory_optimization.chunk_size=4", "emitters.frames=20"],
        ["emitters.num_emitters=100000", "emitters.frames=50"],
        ["emitters.num_emitters=3000", "emitters.frames=300", "emitters.lifetime_avg=100"],
        ["tiff.compression=zlib", "tiff.roi_size=300"],
        ["tiff.roi_size=4", "emitters.frames=2000", "emitters.num_emitters=10"],
        ["psf.size_px=511", "emitters.frames=10"],
        ["psf.size_px=511", "emitters.frames=10", "emitters.num_emitters=5000"],
        ["psf.size_px=255", "emitters.z_range_um=0", "emitters.frames=5"],
        ["psf.size_px=41", "tiff.use_direct_rendering=false", "tiff.hr_size=4096"],
        ["psf.size_px=255", "tiff.use_direct_rendering=false", "tiff.hr_size=1024", "emitters.frames=2"],
        ["psf.size_px=511", "tiff.use_direct_rendering=false", "tiff.hr_size=512", "emitters.frames=2"],
        ["emitters.no_plot=false", "zernike.no_plot=false"],
        ["emitters.no_plot=false", "emitters.num_emitters=300000", "emitters.frames=50", "emitters.area_px=500"],
        ["emitters.no_plot=false", "emitters.num_emitters=300", "emitters.frames=60000", "tiff.roi_size=4"],
    ],
)
def test_estimates_are_bounds_and_not_far_off(tmp_path: Path, changes: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(SMALL), str(tmp_path), *changes], capture_output=True, check=True
    )
    truth, movie, memory = json.loads(done.stdout)
    pictures = sum(path.stat().st_size for path in tmp_path.glob("*.png"))
    job = load_job_config(SMALL, changes)
    field = map_under(job)
    fixed = 70_000 + 200 * job.emitters.frames
    assert truth <= truth_bytes(job, field) <= 2.1 * truth + fixed
    assert movie <= movie_bytes(job) <= (2 if job.tiff.compression == "zlib" else 1.3) * movie + fixed
    if memory is not None:
        assert memory * 0.9 <= worker_bytes(job, field, cores()) <= 2 * memory
    assert pictures <= picture_bytes(job) <= 3 * pictures + 500_000  # pictures of few points are small


def test_maps_count(shared: Path) -> None:
    path = str(shared / "zmap" / "measured_patches_256.h5")
    job = load_job_config(SMALL | {"zmap_path": path, "emitters": {"area_px": 256}})
    assert worker_bytes(job, map_under(job)) - worker_bytes(job, FieldMap.open("builtin:oil")) > 4 * 21 * 256**2


def test_several_fields_of_a_map_count(tmp_path: Path) -> None:
    """After the second field, the whole map is kept in memory."""
    path = tmp_path / "map.h5"
    synthesize(path, size=1000)
    jobs = [
        load_job_config(SMALL | {"zmap_path": str(path)}, [f"zernike.crop_offset=[{x}, 100]", "emitters.area_px=200"])
        for x in (0, 700, 300)
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE_ALL, str(tmp_path), *(job.model_dump_json() for job in jobs)],
        capture_output=True,
        check=True,
    )
    first, second, third = json.loads(done.stdout)
    if first is None:
        pytest.skip("this system does not say how much memory a process had")
    whole = 4 * 18 * 1000**2  # three modes are zero
    assert second - first > whole / 2
    for memory, job, several in ((first, jobs[0], False), (second, jobs[1], True), (third, jobs[2], True)):
        assert memory * 0.9 <= worker_bytes(job, map_under(job), cores(), several=several) <= 2 * memory
    alone = estimate_batch(tmp_path, [("a", jobs[0]), ("b", jobs[0])], 1).memory
    assert estimate_batch(tmp_path, [("a", jobs[0]), ("b", jobs[1])], 1).memory - alone > whole


def free_disk(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    """Pretend that every disk has so many free bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))


def ask(output: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Run a batch and return its estimates and notes."""
    heard: tuple[list[str], list[str]] = ([], [])

    def hear(event: Event) -> None:
        if isinstance(event, Estimate):
            heard[0].append(str(event))
        elif isinstance(event, Message) and not event.job:
            heard[1].append(event.text)

    run_batch(config(), output_dir=output, max_workers=2, progress=hear, **options)
    return heard


def test_one_line_before_a_batch_with_something_to_do(tmp_path: Path) -> None:
    (line,), _ = ask(tmp_path)
    assert line.startswith("estimate: ")
    assert " on disk (" in line
    assert "of memory for 2 workers" in line
    assert ask(tmp_path) == ([], ["plan: 2 done"])


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    free_disk(monkeypatch, 200e3)
    with pytest.raises(BatchError, match=r"needs up to 3\d\d kB on disk, but only 200 kB are free(?s:.*)--force"):
        ask(output)
    assert not output.exists()
    _, notes = ask(output, force=True)
    assert any("200 kB are free" in note for note in notes)
    # Only unfinished work counts, and replaced files free space.
    free_disk(monkeypatch, 1.0)
    assert ask(output) == ([], ["plan: 2 done"])
    free_disk(monkeypatch, 250e3)
    ask(output, resume=False)
    assert stray_files(output) == []


def test_a_memory_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 120e6)
    with pytest.raises(BatchError, match=r"2 workers need about 16. MB, 120 MB are available; --max-workers=1 fits"):
        ask(tmp_path)
    monkeypatch.setattr(room, "available_memory", lambda: 10e6)
    with pytest.raises(BatchError, match=r"chunk_size or tiff\.roi_size"):
        ask(tmp_path)
    assert ask(tmp_path, force=True)[1]
    crowded = load_job_config(SMALL, ["emitters.num_emitters=10000000"])
    (problem,) = estimate_batch(tmp_path, [("a", crowded)], 1).problems()[-1:]
    assert problem.startswith("memory: 1 worker needs about ")
    assert problem.endswith("a smaller memory_optimization.chunk_size or emitters.num_emitters needs less")
    monkeypatch.setattr(room, "available_memory", lambda: None)
    job = load_job_config(SMALL)
    unknown = estimate_batch(tmp_path, [("a", job)], 1)
    assert unknown.problems() == []
    assert "available" not in str(unknown)


def test_the_advice_names_what_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_disk(monkeypatch, 10e6)
    monkeypatch.setattr(room, "available_memory", lambda: None)
    movies, emitters = "movies (emitters.frames, tiff.roi_size)", "emitters (emitters.num_emitters)"
    for changes, named in (
        (["emitters.frames=10000"], {movies}),
        (["emitters.num_emitters=1000000"], {emitters}),
        (["emitters.num_emitters=1000000", "emitters.frames=100000"], {movies, emitters}),
    ):
        job = load_job_config(SMALL, changes)
        (problem,) = estimate_batch(tmp_path, [("a", job)], 1).problems()
        assert {part for part in (movies, emitters) if part in problem} == named
        with pytest.raises(BatchError) as caught:
            check_disk(job, tmp_path, truth=map_under(job))
        assert str(caught.value) == problem


def test_single_movies_are_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(SMALL))
    run = ["run", "--zmap=builtin:oil", f"--config={path}", f"--output-dir={tmp_path / 'out'}"]
    stream = ["stream", f"--h5={tmp_path / 'out' / 'emitters.h5'}", f"--output={tmp_path / 'again.tiff'}"]
    assert cli.main(run) == 0
    free_disk(monkeypatch, 100.0)
    (tmp_path / "out" / "simulation.ome.tiff").unlink()
    for words in (run, stream):
        capsys.readouterr()
        assert cli.main(words) == 2
        assert "100 bytes are free" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["emitters.h5"]
    assert not (tmp_path / "again.tiff").exists()


def test_available_memory() -> None:
    memory = available_memory()
    assert memory is None or 1e6 < memory < 1e15


def test_limits_of_control_groups(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for root, line, limit, usage in [
        (tmp_path / "2", "0::/a/b", "memory.max", "memory.current"),
        (tmp_path / "1" / "memory", "3:cpu,memory:/a/b", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ]:
        own.write_text(f"5:pids:/x\n{line}\ngarbage\n")
        for folder, most, used in [(root / "a" / "b", "max", "5"), (root / "a", "100", "30"), (root, "x", "1")]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / limit).write_text(f"{most}\n")
            (folder / usage).write_text(f"{used}\n")
        (root / "a" / "memory.stat").write_text("inactive_file 10\n")
        top = root if root.name == "2" else root.parent
        assert 80.0 in control_group_room(top, own)
    assert control_group_room(tmp_path, tmp_path / "none") == []


def test_bytes_in_words() -> None:
    assert [show_bytes(size) for size in (0, 999, 86_400_000, 2.5e15)] == [
        "0 bytes",
        "999 bytes",
        "86.4 MB",
        "2,500 TB",
    ]
