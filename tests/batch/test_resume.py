"""Resuming: after a kill at any point, the next run completes with the same pixels and truth."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import psutil
import pytest

from batch_helpers import (
    SLOW,
    command,
    config,
    kill,
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
from simtiff.batch.overview import Overview
from simtiff.batch.run import run_batch
from simtiff.batch.verify import verify_batch
from simtiff.config.identity import DATA_VERSION
from simtiff.errors import BatchError, DataError
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.movie.events import Event

pytestmark = pytest.mark.slow


class Notes:
    """Collects the messages of a batch, except the counts of the plan."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message) and not event.job and not event.text.startswith("plan: "):
            self.notes.append(event.text)


def modified(output: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/simulation.ome.tiff")}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run_batch(config(), output_dir=tmp_path, max_workers=1, progress=False)
    return tmp_path


def rerun(output: Path, content: dict | None = None, **options: object) -> tuple[list[str], list[str]]:
    """Return the jobs and messages of a second run."""
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


def snapshot(output: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*")}


def test_finished_jobs_are_not_replaced_unasked(finished: Path) -> None:
    before = snapshot(finished)
    with pytest.raises(BatchError) as caught:
        run_batch(config(), output_dir=finished, overrides=["tiff.noise_params.background=5"], progress=False)
    message = str(caught.value)
    assert "2 finished jobs would be replaced" in message
    assert f"{A}, {B}: config changed (tiff.noise_params.background 100.0 -> 5.0)" in message
    assert "--overwrite" in message
    assert "--output-dir" in message
    assert snapshot(finished) == before


def test_changed_configs_are_done_again_when_asked(finished: Path) -> None:
    done, notes = rerun(finished, overrides=["tiff.noise_params.background=5"], overwrite=True)
    assert done == [A, B]
    why = "config changed (tiff.noise_params.background 100.0 -> 5.0)"
    assert notes == [f"{A} is rerun: {why}", f"{B} is rerun: {why}"]


def test_only_what_changed_is_done_again(finished: Path) -> None:
    done, notes = rerun(finished, config(variables={"emitters.num_emitters": [20, 41]}))
    assert done == ["job_0001_num_emitters_41"]
    assert notes == []
    assert status(finished)["completed_jobs"] == [A, "job_0001_num_emitters_41"]
    assert list(status(finished)["foreign"]) == [B]


def test_missing_and_cut_files_are_made_again(finished: Path) -> None:
    (finished / A / "emitters.h5").unlink()
    movie = finished / B / "simulation.ome.tiff"
    os.truncate(movie, movie.stat().st_size - 1)
    before = movie_bytes(finished)
    done, notes = rerun(finished)
    assert done == [A, B]
    assert f"{A} is rerun: emitters.h5 is missing" in notes
    assert any(f"{B} is rerun: simulation.ome.tiff has" in note for note in notes)
    assert movie_bytes(finished)[A] == before[A]
    assert len(movie_bytes(finished)[B]) == len(before[B]) + 1


def test_a_renamed_movie_replaces_the_old_one(finished: Path) -> None:
    run_batch(config(), output_dir=finished, overrides=["tiff.filename=other.tiff"], overwrite=True, progress=False)
    assert sorted(path.name for path in (finished / A).iterdir()) == ["emitters.h5", "job.json", "other.tiff"]


def test_plots_that_were_not_asked_for_before(finished: Path) -> None:
    before = movie_bytes(finished)
    done, notes = rerun(finished, overrides=["zernike.no_plot=false"])
    assert done == []  # the movies are kept
    assert f"{A}: only plots and exports are written: zernike_coefficients.png was not requested before" in notes
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
    assert rerun(finished) == ([], [])  # not requested any more
    assert "zernike_coefficients.png" not in status(finished)["jobs"][B]["files"]


PLOTS = ("emitters.no_plot=false", "zernike.no_plot=false")


def test_a_plot_that_failed_costs_no_movie(tmp_path: Path) -> None:
    (tmp_path / A / "blinking_timeline.png").mkdir(parents=True)
    first = run_batch(config(), output_dir=tmp_path, overrides=PLOTS, progress=False)
    assert (first.completed, first.failed) == (1, 1)
    assert f"exists and is a folder, not a file; choose another name: {tmp_path / A}" in first.errors[A]
    record = status(tmp_path)["jobs"][A]
    assert (record["state"], sorted(record["files"])) == ("failed", ["emitters.h5", "simulation.ome.tiff"])
    before = movie_bytes(tmp_path)
    done, notes = rerun(tmp_path)  # plots are not requested any more: nothing to do
    assert (done, notes, status(tmp_path)["completed_jobs"]) == ([], [], [A, B])
    assert status(tmp_path)["failed_jobs"] == []

    assert run_batch(config(), output_dir=tmp_path, overrides=PLOTS, progress=False).failed == 1
    (tmp_path / A / "blinking_timeline.png").rmdir()
    done, notes = rerun(tmp_path, overrides=PLOTS, retry_failed=False)
    assert done == []
    assert notes == [f"{A}: only plots and exports are written: emitter_positions.png was not requested before"]
    assert movie_bytes(tmp_path) == before
    assert len(status(tmp_path)["jobs"][A]["files"]) == 5


def test_a_failed_plot_is_tried_again_with_retry_failed(tmp_path: Path) -> None:
    (tmp_path / A / "blinking_timeline.png").mkdir(parents=True)
    run_batch(config(), output_dir=tmp_path, overrides=PLOTS, progress=False)
    (tmp_path / A / "blinking_timeline.png").rmdir()
    done, notes = rerun(tmp_path, overrides=PLOTS, retry_failed=True)
    assert done == []
    assert len(notes) == 1
    assert status(tmp_path)["failed_jobs"] == []
    job = status(tmp_path)["jobs"][A]
    assert (job["state"], len(job["files"])) == ("completed", 5)


SLOW_PLOTS = """
import time
from matplotlib.figure import Figure

def save(figure, file, **options):
    file.write(b"half a picture")
    file.flush()
    time.sleep(600)

Figure.savefig = save
"""


def begin_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make processes started from here run some code first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )


@pytest.mark.parametrize("again", [(), PLOTS])
@pytest.mark.parametrize("began", ["whole job", "plots only"])
def test_killed_at_its_plots_a_job_keeps_its_movie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: tuple[str, ...], began: str
) -> None:
    path, output = write_config(tmp_path, config()), tmp_path / "out"
    if began == "plots only":
        run_batch(path, output_dir=output, progress=False)
    with monkeypatch.context() as patch:
        begin_with(SLOW_PLOTS, tmp_path / "startup", patch)
        with running(command(path, output, "--max-workers=1", settings=PLOTS)) as process:
            wait_for(lambda: list(output.glob("*/.*.png.*.partial")), "a picture", process)
            wait_for(lambda: status(output)["jobs"][A].get("files"), "the movie in the status", process)
            for child in [psutil.Process(process.pid), *workers(process)]:
                kill(child)
            process.wait()
    assert len(list(output.glob("*/.*.png.*.partial"))) == 1
    before = modified(output)
    rerun(output, overrides=again)
    assert modified(output)[A] == before[A]
    assert stray_files(output) == []
    assert status(output)["completed_jobs"] == [A, B]
    assert len(list(output.glob("*/*.png"))) == (6 if again else 0)


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return a config and the folder of its killed batch, with the partial movie and journal of one job."""
    content = slow_config() | {"variables": {"emitters.seed": [1]}}
    path, output = write_config(tmp_path, content), tmp_path / "out"
    with monkeypatch.context() as patch:
        begin_with("import simtiff.io.tiff as o\no.JOURNAL_SECONDS = 0.05\n", tmp_path / "startup", patch)
        with running(command(path, output, "--max-workers=1", settings=SLOW)) as process:
            wait_for(lambda: list(output.glob("*/.*.journal")), "a journal", process)
            wait_for(lambda: "running" in (output / "batch_status.json").read_text(), "the status to say so", process)
            for child in [psutil.Process(process.pid), *workers(process)]:
                kill(child)
            process.wait()
    # The movie, its journal, the lock; and the next journal, if the kill came while that was being written.
    assert len(stray_files(output)) in {3, 4}
    return path, output


FRAMES = "emitters.frames=50"


def test_a_movie_of_another_name_is_not_kept_half_written(half: tuple[Path, Path]) -> None:
    path, output = half
    notes = Notes()
    run_batch(path, output_dir=output, overrides=["tiff.filename=other.tif", FRAMES], progress=notes)
    assert stray_files(output) == []
    assert sorted(file.name for file in (output / "job_0000_seed_1").iterdir()) == [
        "emitters.h5",
        "job.json",
        "other.tif",
    ]
    (why,) = (note for note in notes.notes if "is rerun" in note)
    assert "job_0000_seed_1 is rerun: interrupted before; config changed" in why
    assert "emitters.frames 20000 -> 50" in why


@pytest.mark.parametrize("options", [{}, {"resume": False}])
def test_half_written_movies_of_jobs_that_the_config_lost_are_removed(
    half: tuple[Path, Path], options: dict[str, bool]
) -> None:
    path, output = half
    notes = Notes()
    changed = ["variables.emitters.seed=[2]", FRAMES]
    run_batch(path, output_dir=output, overrides=changed, progress=notes, **options)
    assert stray_files(output) == []
    removed = "removed unfinished files of a killed run in job_0000_seed_1; this run does not need them"
    assert removed in notes.notes
    assert status(output)["completed_jobs"] == ["job_0000_seed_2"]


def test_half_written_movies_that_wait_for_another_run_stay(half: tuple[Path, Path]) -> None:
    path, output = half
    summary = run_batch(path, output_dir=output, retry_failed=True, progress=False)
    assert (summary.completed, summary.skipped) == (0, 1)
    assert len(stray_files(output)) == 2


def age(output: Path, *jobs: str) -> None:
    """Mark jobs as made with an older simtiff and data version."""
    content = status(output) | {"simtiff_version": "0.0.9"}
    for job in jobs:
        path = output / job / "job.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_version": 3, "hash": "3" * 64}))
        content["jobs"][job] |= {"data_version": 3, "hash": "3" * 64}
    (output / "batch_status.json").write_text(json.dumps(content))


def test_jobs_of_another_data_version_are_not_replaced_unasked(finished: Path) -> None:
    age(finished, A)
    before = movie_bytes(finished)
    with pytest.raises(BatchError, match=f"{A}: made with data version 3, now {DATA_VERSION}"):
        rerun(finished)
    assert movie_bytes(finished) == before
    assert status(finished)["jobs"][A]["data_version"] == 3
    (finished / A / "emitters.h5").unlink()  # then it is not finished and needs no permission
    done, notes = rerun(finished)
    assert done == [A]
    assert "last written by simtiff 0.0.9" in notes[0]
    assert f"1 of 2 finished jobs have the current data version {DATA_VERSION}" in notes[0]
    age(finished, A, B)
    assert rerun(finished, overwrite=True)[0] == [A, B]
    assert rerun(finished) == ([], [])


def test_many_reasons_are_summed_up(tmp_path: Path) -> None:
    many = config(frames=1, variables={"emitters.seed": list(range(25))})
    run_batch(many, output_dir=tmp_path, progress=False)
    (tmp_path / "job_0024_seed_24" / "emitters.h5").unlink()
    done, notes = rerun(tmp_path, many, overrides=["emitters.num_emitters=3"], overwrite=True)
    assert len(done) == 25
    assert len(notes) == 21
    assert notes[-1] == "... and 5 more jobs are rerun (config changed: 5)"


def test_a_damaged_status_without_job_files_is_refused_and_can_be_left_behind(finished: Path) -> None:
    path = finished / "batch_status.json"
    path.write_bytes(path.read_bytes()[:100])
    for file in finished.glob("*/job.json"):
        file.unlink()
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


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_a_status_is_made_again_from_the_jobs(finished: Path, lost: str) -> None:
    path = finished / "batch_status.json"
    before = json.loads(path.read_text())["jobs"]
    path.unlink() if lost == "missing" else path.write_bytes(path.read_bytes()[:100])
    assert Overview(finished).status.ids("completed") == [A, B]
    assert verify_batch(finished).exit_code == 0
    done, notes = rerun(finished)
    assert done == []
    assert f"batch_status.json is {lost}; rebuilt from the job.json of 2 finished jobs" in notes[0]
    after = status(finished)["jobs"]
    for job in (A, B):
        assert [after[job][key] for key in ("hash", "files", "frames")] == [
            before[job][key] for key in ("hash", "files", "frames")
        ]


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 2}', "null", None])
def test_a_job_file_that_is_damaged_or_lost_is_written_again(finished: Path, damage: str | None) -> None:
    path = finished / A / "job.json"
    before = json.loads(path.read_text())
    path.unlink() if damage is None else path.write_text(damage)
    assert verify_batch(finished).exit_code == 1
    done, notes = rerun(finished)
    assert done == []
    assert [("job.json: damaged" in note) for note in notes] == ([] if damage is None else [True])
    after = json.loads(path.read_text())
    assert {**after, "started": "", "finished": "", "seconds": 0} == {
        **before,
        "started": "",
        "finished": "",
        "seconds": 0,
    }
    assert verify_batch(finished).exit_code == 0
