"""Exports of jobs: written without rendering the movie again, verified like all files, not part of a job's identity."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from batch_helpers import config, movie_bytes, status, stray_files
from simtiff.batch.events import Started
from simtiff.batch.run import run_batch
from simtiff.batch.verify import verify_batch
from simtiff.config.exports import EXPORT_NAMES, names_in_job
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError
from simtiff.movie.estimate import export_bytes
from simtiff.movie.events import Message, MovieMade

if TYPE_CHECKING:
    from pathlib import Path

A, B = "job_0000_num_emitters_20", "job_0001_num_emitters_40"
ALL = f"export={json.dumps(EXPORT_NAMES)}"
FILES = {
    *("thunderstorm.csv", "thunderstorm_camera.txt", "picasso_locs.hdf5", "picasso_locs.yaml", "decode.h5"),
    *("picasso_locs_camera.txt", "decode_camera.yaml", "challenge.csv", "localizations.parquet"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    run_batch(config(), output_dir=output, max_workers=1, progress=False)
    return output


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "out")


def rerun(output: Path, *overrides: str) -> tuple[list[str], list[str], list[str]]:
    """Run the batch again; return the jobs started, the jobs with a new movie, and the messages."""
    events: list[Any] = []
    summary = run_batch(config(), output_dir=output, overrides=overrides, max_workers=1, progress=events.append)
    assert summary.failed == 0, summary.errors
    started = [event.job for event in events if isinstance(event, Started)]
    movies = [event.job for event in events if isinstance(event, MovieMade)]
    return started, movies, [event.text for event in events if isinstance(event, Message)]


def test_finished_jobs_get_exports_without_a_new_movie(output: Path) -> None:
    before = movie_bytes(output)
    started, movies, said = rerun(output, ALL)
    assert (started, movies, movie_bytes(output)) == ([A, B], [], before)
    assert f"{A}: only plots and exports are written: thunderstorm.csv was not requested before" in said
    for job in (A, B):
        names = {path.name for path in (output / job).iterdir()}
        assert names == {"emitters.h5", "simulation.ome.tiff", "job.json"} | FILES
        content = json.loads((output / job / "job.json").read_text())
        assert set(content["files"]) == names - {"job.json"}
        assert "export" not in content["settings"]
    assert verify_batch(output).exit_code == 0
    assert rerun(output, ALL)[0] == []
    assert rerun(output)[0] == []  # not requested any more
    assert stray_files(output) == []


def test_only_the_export_that_is_gone_or_damaged_is_made_again(output: Path) -> None:
    rerun(output, ALL)
    folder = output / A
    times = {name: (folder / name).stat().st_mtime_ns for name in FILES}
    (folder / "decode_camera.yaml").unlink()
    assert [rerun(output, ALL)[at] for at in (0, 1)] == [[A], []]
    changed = {name for name in FILES if (folder / name).stat().st_mtime_ns != times[name]}
    assert changed == {"decode.h5", "decode_camera.yaml"}

    good = (folder / "challenge.csv").read_bytes()
    (folder / "challenge.csv").write_bytes(good.replace(b"1", b"2", 1))
    (found, _) = verify_batch(output, mark=True).jobs
    assert not found.is_good
    assert found.wrong_files == {"challenge.csv"}
    assert [rerun(output, ALL)[at] for at in (0, 1)] == [[A], []]
    assert (folder / "challenge.csv").read_bytes() == good
    assert verify_batch(output).exit_code == 0


def test_an_export_that_failed_costs_no_movie(tmp_path: Path) -> None:
    (tmp_path / A / "challenge.csv").mkdir(parents=True)
    first = run_batch(config(), output_dir=tmp_path, overrides=[ALL], progress=False)
    assert (first.completed, first.failed) == (1, 1)
    assert f"{tmp_path / A / 'challenge.csv'}: is a folder" in first.errors[A]
    before = movie_bytes(tmp_path)
    (tmp_path / A / "challenge.csv").rmdir()
    assert [rerun(tmp_path, ALL)[at] for at in (0, 1)] == [[A], []]
    assert movie_bytes(tmp_path) == before
    assert verify_batch(tmp_path).exit_code == 0


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name))
    with pytest.raises(ConfigError, match="export: parquet needs pyarrow; install it"):
        run_batch(config(), output_dir=tmp_path / "out", overrides=['export=["parquet"]'], progress=False)
    assert not (tmp_path / "out").exists()


def test_exports_of_a_job_that_is_made_again_go_with_its_movie(output: Path) -> None:
    rerun(output, ALL)
    run_batch(config(), output_dir=output, overrides=["emitters.seed=8"], overwrite=True, progress=False)
    assert {path.name for path in (output / A).iterdir()} == {"emitters.h5", "simulation.ome.tiff", "job.json"}
    assert set(status(output)["jobs"][A]["files"]) == {"emitters.h5", "simulation.ome.tiff"}


def test_the_estimate_counts_exports() -> None:
    base = {"zmap_path": "builtin:oil", "emitters": {"num_emitters": 10_000, "frames": 1000, "area_px": 64}}
    job = load_job_config({**base, "export": ["thunderstorm"], "tiff": {"roi_size": 64}})
    assert 100 * 35_000 < export_bytes(job) < 200 * 35_000
    assert export_bytes(load_job_config(base)) == 0


def test_names_in_a_job() -> None:
    assert set(names_in_job(EXPORT_NAMES)) == FILES
    assert names_in_job(["parquet", "parquet"]) == ["localizations.parquet"]


@pytest.mark.parametrize(
    ("value", "key"), [(["picaso"], "export[0]"), ("picasso", "export"), ([3], "export[0]"), (None, "export")]
)
def test_wrong_exports_are_named_with_what_is_allowed(value: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_job_config({"zmap_path": "builtin:oil", "export": value})
    (line,) = [line for line in str(error.value).splitlines() if line.strip().startswith(key)]
    assert "allowed: a list of any of thunderstorm, picasso, decode, smlm-challenge, parquet" in line
