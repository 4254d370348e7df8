"""Jobs on disk: log and progress, skipped stages, movies from only a truth file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

from simtiff.batch.lock import FolderLock
from simtiff.batch.pipeline import run_pipeline
from simtiff.batch.status import BatchStatus, JobRecord
from simtiff.config.blocks import MemoryConfig
from simtiff.config.loading import load_job_config
from simtiff.errors import BatchError, ConfigError, DataError
from simtiff.movie.events import Message, Progress
from simtiff.movie.job import run_job, stream_movie

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.config.settings import JobConfig
    from simtiff.movie.events import Event

MOVIE = "simulation.ome.tiff"
DATASETS = ("emitters/xyz", "emitters/t0", "records/phot", "records/frame_start", "zernike_coeffs/phase")


def job(frames: int = 6, **sections: dict[str, Any]) -> JobConfig:
    content: dict[str, dict[str, Any]] = {
        "emitters": {"num_emitters": 50, "frames": frames, "area_px": 32},
        "tiff": {"roi_size": 32},
        "psf": {"size_px": 15},
    }
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section
    return load_job_config({"zmap_path": "builtin:oil"} | content)


class Recorder:
    """Collects the events of a job."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self.stages.append((event.stage, event.done, event.total))
            case Message():
                self.lines.append(event.text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_job_reports_its_stages(tmp_path: Path) -> None:
    report = Recorder()
    files = run_job(job(), tmp_path / "job", report)
    assert names(tmp_path / "job") == sorted(files) == ["emitters.h5", MOVIE]
    assert [line.split(":")[0] for line in report.lines] == [
        "emitters made",
        "coefficients computed",
        "TIFF written",
    ]
    assert report.lines[-1].startswith(f"TIFF written: 6 frames, {files[MOVIE].size / 1000:.3g} kB (")
    frames = [(done, total) for name, done, total in report.stages if name == "frames"]
    assert frames == [(0, 6), (6, 6)]


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"compression": "zlib"}, {"add_noise": False}])
def test_a_truth_file_alone_gives_the_same_bytes(tmp_path: Path, options: dict[str, Any]) -> None:
    run_job(job(tiff=options), tmp_path)
    for chunk_size in (1, 4, None):
        stream_movie(tmp_path / "emitters.h5", tmp_path / "streamed.tiff", chunk_size=chunk_size)
        assert (tmp_path / "streamed.tiff").read_bytes() == (tmp_path / MOVIE).read_bytes()
    assert names(tmp_path) == ["emitters.h5", MOVIE, "streamed.tiff"]


def test_a_movie_of_one_frame_is_read_as_a_plane(tmp_path: Path) -> None:
    run_job(job(frames=1), tmp_path)
    assert tifffile.imread(tmp_path / MOVIE).shape == (32, 32)


def test_streaming_with_another_config(tmp_path: Path) -> None:
    run_job(job(), tmp_path)
    brighter = job(frames=99, tiff={"noise_params": {"background": 900}})
    stream_movie(tmp_path / "emitters.h5", tmp_path / "bright.tiff", brighter)
    bright = tifffile.imread(tmp_path / "bright.tiff")
    assert bright.shape == (6, 32, 32)  # the file has the number of frames
    assert np.median(bright) == pytest.approx(900, rel=0.05)


def test_streaming_refuses_what_cannot_be(tmp_path: Path) -> None:
    run_job(job(), tmp_path)
    h5 = tmp_path / "emitters.h5"
    for source, output, options, error, message in [
        (tmp_path / "none.h5", tmp_path / "x.tiff", {}, DataError, "none.h5"),
        (h5, tmp_path, {}, ConfigError, "is a folder"),
        (h5, tmp_path / "none" / "x.tiff", {}, ConfigError, "does not exist; give"),
        (h5, tmp_path / "x.tiff", {"chunk_size": 0}, ConfigError, "chunk-size"),
    ]:
        with pytest.raises(error, match=message):
            stream_movie(source, output, **options)
    assert names(tmp_path) == ["emitters.h5", MOVIE]


def test_an_emitter_that_cannot_be_computed_is_looked_for_in_its_file(tmp_path: Path) -> None:
    run_pipeline(job(), tmp_path)
    with h5py.File(tmp_path / "emitters.h5", "r+") as file:
        file["zernike_coeffs/phase"][:, 8] = 900
    with pytest.raises(DataError, match=r"emitters.h5: frames 0 to 5: .* quadrature rows would be needed"):
        stream_movie(tmp_path / "emitters.h5", tmp_path / "movie.tiff")
    assert names(tmp_path) == ["emitters.h5", MOVIE]


def test_stages_can_be_skipped(tmp_path: Path) -> None:
    config = job()
    files = run_pipeline(config, tmp_path, skip_tiff=True)
    assert [path.name for path in files] == names(tmp_path) == ["emitters.h5"]
    run_pipeline(config, tmp_path)
    whole = (tmp_path / MOVIE).read_bytes()
    for skip in (
        {"skip_emitters": True},
        {"skip_zernike": True},
        {"skip_emitters": True, "skip_zernike": True},
    ):
        (tmp_path / MOVIE).unlink()
        truth = (tmp_path / "emitters.h5").stat().st_ino
        run_pipeline(config, tmp_path, **skip)
        assert (tmp_path / MOVIE).read_bytes() == whole
        assert ((tmp_path / "emitters.h5").stat().st_ino == truth) == ("skip_zernike" in skip)
    assert names(tmp_path) == ["emitters.h5", MOVIE]


def test_no_movie_of_an_earlier_truth_stays(tmp_path: Path) -> None:
    """A movie is removed with its truth, also under another name, unless all of the truth is kept."""
    run_pipeline(job(), tmp_path)
    run_pipeline(job(emitters={"no_plot": False}), tmp_path, skip_tiff=True, skip_zernike=True)
    assert (tmp_path / MOVIE).exists()
    for changed, skip in (
        (job(emitters={"seed": 7}), {}),
        (job(emitters={"seed": 7}, tiff={"filename": "b.tif"}), {"skip_emitters": True}),
        (job(emitters={"seed": 7}, tiff={"filename": "c.tif", "add_noise": False}), {"skip_zernike": True}),
    ):
        report = Recorder()
        old = next(path.name for path in tmp_path.glob("*.tif*"))
        run_pipeline(changed, tmp_path, report, skip_tiff=True, **skip)
        assert not list(tmp_path.glob("*.tif*"))
        assert report.lines[0] == f"{old} removed: it belonged to an earlier emitters.h5"
        run_pipeline(changed, tmp_path, skip_zernike=True)
    report = Recorder()
    run_pipeline(job(), tmp_path, report)
    assert report.lines[0].startswith("c.tif removed")
    assert [path.name for path in tmp_path.glob("*.tif*")] == [MOVIE]


def test_kept_truth_carries_the_settings_of_its_movie(tmp_path: Path) -> None:
    run_pipeline(job(), tmp_path)
    h5 = tmp_path / "emitters.h5"
    with h5py.File(h5) as file:
        before = {name: file[name][()] for name in DATASETS}
        attributes = dict(file.attrs)
    changed = job(tiff={"noise_params": {"background": 7}}, optical={"NA": 1.2}).model_copy(
        update={"zmap_path": str(tmp_path / "another.h5")}
    )
    run_pipeline(changed, tmp_path, skip_zernike=True)
    assert names(tmp_path) == ["emitters.h5", MOVIE]
    with h5py.File(h5) as file:
        assert all(np.array_equal(file[name][()], values) for name, values in before.items())
        stored = json.loads(file.attrs["config"])
        assert stored["optical"]["NA"] == 1.2
        assert stored["zmap_path"] == "builtin:oil"  # source of the coefficients
        assert {**file.attrs, "config": ""} == {**attributes, "config": ""}
    stream_movie(h5, tmp_path / "streamed.tiff")
    assert (tmp_path / "streamed.tiff").read_bytes() == (tmp_path / MOVIE).read_bytes()
    inode = h5.stat().st_ino
    run_pipeline(
        changed.model_copy(update={"memory_optimization": MemoryConfig(chunk_size=2)}), tmp_path, skip_zernike=True
    )
    assert h5.stat().st_ino == inode


def test_a_job_s_folder_is_not_for_a_single_movie(tmp_path: Path) -> None:
    BatchStatus(tmp_path, {"job": JobRecord(hash="x")}).save()
    (tmp_path / "job").mkdir()
    with pytest.raises(ConfigError, match=f"is the folder of job job of the batch in {tmp_path}"):
        run_pipeline(job(), tmp_path / "other" / ".." / "job")
    assert names(tmp_path / "job") == []
    run_pipeline(job(), tmp_path / "other")


def test_coefficients_are_computed_anew_for_kept_emitters(tmp_path: Path) -> None:
    run_pipeline(job(), tmp_path)
    before = (tmp_path / MOVIE).read_bytes()
    moved = job(zernike={"crop_offset": [400, 0], "extrapolate": "nearest"})
    run_pipeline(moved, tmp_path, skip_emitters=True)
    after = (tmp_path / MOVIE).read_bytes()
    run_job(moved, tmp_path / "fresh")
    assert after == (tmp_path / "fresh" / MOVIE).read_bytes() != before


@pytest.mark.parametrize("skip", ["skip_emitters", "skip_zernike"])
def test_skipping_needs_files_that_fit(tmp_path: Path, skip: str) -> None:
    with pytest.raises(DataError, match=f"file not found, but --{skip.replace('_', '-')} needs it"):
        run_pipeline(job(), tmp_path, **{skip: True})
    assert names(tmp_path) == []
    run_job(job(), tmp_path)
    before = (tmp_path / MOVIE).read_bytes()
    with pytest.raises(DataError, match=r"emitters\.seed \(made with 42, now 43\)"):
        run_pipeline(job(emitters={"seed": 43}), tmp_path, **{skip: True})
    with pytest.raises(DataError, match=r"contains 6 frames, emitters\.frames is 7"):
        run_pipeline(job(frames=7), tmp_path, **{skip: True})
    if skip == "skip_zernike":
        with pytest.raises(DataError, match=r"zernike\.interpolation_method"):
            run_pipeline(job(zernike={"interpolation_method": "linear"}), tmp_path, **{skip: True})
    assert (tmp_path / MOVIE).read_bytes() == before


def test_one_pipeline_at_a_time_in_a_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(BatchError, match="another simtiff is using this folder"):
        run_pipeline(job(), tmp_path)
    assert names(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from simtiff.config.settings import JobConfig
from simtiff.io import tiff
from simtiff.movie.events import Progress
from simtiff.movie.job import run_job

def killer(event):
    if event == Progress("frames", 12, 20):
        os._exit(9)

tiff.JOURNAL_SECONDS = 0.0
run_job(JobConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), killer, resume_key="key")
"""


@pytest.mark.parametrize("size", [32, 400])  # frames passed chunk by chunk, and one by one
def test_a_long_movie_goes_on_inside_the_job(tmp_path: Path, size: int) -> None:
    """Frames flushed to disk before a job was killed are not rendered again."""
    config = job(frames=20, memory_optimization={"chunk_size": 2}, tiff={"roi_size": size})
    run_job(config, tmp_path / "whole")
    words = [sys.executable, "-c", KILLED, config.model_dump_json(), str(tmp_path / "job")]
    assert subprocess.run(words, check=False).returncode == 9
    report = Recorder()
    run_job(config, tmp_path / "job", report, resume_key="key")
    assert any(line.startswith("movie resumes at frame 1") for line in report.lines)
    assert (tmp_path / "job" / MOVIE).read_bytes() == (tmp_path / "whole" / MOVIE).read_bytes()
    assert names(tmp_path / "job") == ["emitters.h5", MOVIE]


def test_plots_when_asked_for(tmp_path: Path) -> None:
    plots = job(emitters={"no_plot": False}, zernike={"no_plot": False})
    report = Recorder()
    files = run_job(plots, tmp_path, report)
    pictures = ["blinking_timeline.png", "emitter_positions.png", "zernike_coefficients.png"]
    assert sorted(files) == names(tmp_path) == sorted([*pictures, "emitters.h5", MOVIE])
    assert report.lines[-1].startswith("plots drawn: ")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
