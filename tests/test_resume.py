"""Going on after the worst: killed anywhere, the next run completes to the same pixels and truth."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from batch_helpers import (
    SLOW,
    command,
    config,
    movie_bytes,
    partials,
    running,
    slow_config,
    status,
    stray_files,
    wait_for,
    workers,
    write_config,
)
from simtiff.batch import run_batch
from simtiff.errors import DataError
from simtiff.jobs import DATA_VERSION
from simtiff.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path


class Notes(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def modified(output: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/simulation.ome.tiff")}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run_batch(config(), output_dir=tmp_path, max_workers=1, progress=False)
    return tmp_path


def rerun(output: Path, content: dict | None = None, **options: object) -> tuple[list[str], list[str]]:
    """Return the jobs that a second run did, and what it said."""
    before = modified(output)
    notes = Notes()
    run_batch(content or config(), output_dir=output, max_workers=1, progress=notes, **options)
    after = modified(output)
    return sorted(job for job in after if after[job] != before.get(job)), notes.notes


A, B = "job_0000_num_emitters_20", "job_0001_num_emitters_40"


def test_finished_jobs_are_skipped(finished: Path) -> None:
    assert rerun(finished) == ([], [])


def test_settings_that_change_no_byte_change_nothing(finished: Path) -> None:
    overrides = ["memory_optimization.chunk_size=2", "max_workers=2"]
    assert rerun(finished, overrides=overrides) == ([], [])


def test_no_resume_runs_everything(finished: Path) -> None:
    assert rerun(finished, resume=False)[0] == [A, B]


def test_changed_configs_are_done_again(finished: Path) -> None:
    done, notes = rerun(finished, overrides=["tiff.noise_params.background=5"])
    assert done == [A, B]
    why = "config changed (tiff.noise_params.background 100.0 -> 5.0)"
    assert notes == [f"{A} is done again: {why}", f"{B} is done again: {why}"]


def test_only_what_changed_is_done_again(finished: Path) -> None:
    done, notes = rerun(finished, config(variables={"emitters.num_emitters": [20, 41]}))
    assert done == ["job_0001_num_emitters_41"]
    assert notes == [f"finished jobs that this config does not have are kept: {B}"]
    assert status(finished)["completed_jobs"] == [A, "job_0001_num_emitters_41", B]


def test_missing_and_cut_files_are_made_again(finished: Path) -> None:
    (finished / A / "emitters.h5").unlink()
    movie = finished / B / "simulation.ome.tiff"
    os.truncate(movie, movie.stat().st_size - 1)
    before = movie_bytes(finished)
    done, notes = rerun(finished)
    assert done == [A, B]
    assert f"{A} is done again: emitters.h5 is missing" in notes
    assert any(f"{B} is done again: simulation.ome.tiff has" in note for note in notes)
    assert movie_bytes(finished)[A] == before[A]
    assert len(movie_bytes(finished)[B]) == len(before[B]) + 1


def test_a_renamed_movie_replaces_the_old_one(finished: Path) -> None:
    run_batch(config(), output_dir=finished, overrides=["tiff.filename=other.tiff"], progress=False)
    assert sorted(path.name for path in (finished / A).iterdir()) == ["emitters.h5", "other.tiff"]


def test_plots_that_were_not_asked_for_before(finished: Path) -> None:
    before = movie_bytes(finished)
    done, notes = rerun(finished, overrides=["zernike.no_plot=false"])
    assert done == []  # the movies stay
    assert f"{A}: plots are drawn, the rest is kept: zernike_coefficients.png was not asked for before" in notes
    for job in (A, B):
        picture = finished / job / "zernike_coefficients.png"
        info = status(finished)["jobs"][job]["files"][picture.name]
        assert info["size"] == picture.stat().st_size
    assert movie_bytes(finished) == before
    asked = {"overrides": ["zernike.no_plot=false"]}
    assert rerun(finished, **asked) == ([], [])
    (finished / A / "zernike_coefficients.png").unlink()
    assert "zernike_coefficients.png is missing" in rerun(finished, **asked)[1][0]
    (finished / B / "zernike_coefficients.png").unlink()
    assert rerun(finished) == ([], [])  # nobody asks for it any more
    assert "zernike_coefficients.png" not in status(finished)["jobs"][B]["files"]


def test_another_version_says_what_stays_and_what_is_done_again(finished: Path) -> None:
    path = finished / "batch_status.json"
    content = json.loads(path.read_text())
    content["simtiff_version"] = "0.0.9"
    content["jobs"][A] |= {"data_version": 0, "hash": "of data version 0"}
    path.write_text(json.dumps(content))
    done, notes = rerun(finished)
    assert done == [A]
    assert "last written by simtiff 0.0.9" in notes[0]
    assert f"1 of 2 finished jobs have data version {DATA_VERSION}" in notes[0]
    assert notes[1:] == [f"{A} is done again: made by data version 0, now it is {DATA_VERSION}"]
    assert rerun(finished) == ([], [])


def test_many_reasons_are_summed_up(tmp_path: Path) -> None:
    many = config(frames=1, variables={"emitters.seed": list(range(25))})
    run_batch(many, output_dir=tmp_path, progress=False)
    (tmp_path / "job_0024_seed_24" / "emitters.h5").unlink()
    done, notes = rerun(tmp_path, many, overrides=["emitters.num_emitters=3"])
    assert len(done) == 25
    assert len(notes) == 21
    assert notes[-1] == "... and 5 more jobs are done again (config changed: 5)"


def test_a_damaged_status_is_refused_and_can_be_left_behind(finished: Path) -> None:
    path = finished / "batch_status.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="--no-resume"):
        run_batch(config(), output_dir=finished, progress=False)
    assert stray_files(finished) == []
    assert rerun(finished, resume=False)[0] == [A, B]


def test_workers_end_with_their_batch(tmp_path: Path) -> None:
    path, output = write_config(tmp_path, slow_config()), tmp_path / "out"
    with running(command(path, output, "--max-workers=2", settings=SLOW)) as process:
        wait_for(lambda: len(partials(output)) == 2, "two movies", process)
        children = workers(process)
        process.kill()
        process.wait()
        wait_for(lambda: not any(child.is_running() for child in children), "the workers to end")
