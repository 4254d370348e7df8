"""Targets that must not be overwritten, and special files: refused at once and left unchanged."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from batch_helpers import config, stray_files
from fuzzing import run
from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch.run import run_batch
from simtiff.config.loading import load_job_config
from simtiff.errors import BatchError, ConfigError, DataError
from simtiff.io.tiff import write_movie
from simtiff.movie.job import run_job

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are POSIX's"),
]

A = "job_0000_num_emitters_20"
JOB: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 20, "frames": 2, "area_px": 32},
    "tiff": {"roi_size": 32},
    "psf": {"size_px": 15},
}


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # socket names must be short


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": getattr(os, "mkfifo", Path.touch),
    "socket": socket_at,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*words: object, says: str) -> None:
    code, _, err = run(*words)
    assert code == 2, err
    assert says in err
    assert "Traceback" not in err


def test_a_single_run_does_not_overwrite_its_map_or_config(folder: Path) -> None:
    output = folder / "out"
    output.mkdir()
    synthesize(output / "emitters.h5", size=70)
    (folder / "job.json").write_text(json.dumps(JOB))
    refused("run", f"--zmap={output / 'emitters.h5'}", "--config=job.json", "--output-dir=out", says="is an input")
    FieldMap.open(output / "emitters.h5").check()
    movie = json.dumps(JOB | {"tiff": {"roi_size": 32, "filename": "x.tif"}})
    (output / "x.tif").write_text(movie)
    refused("run", "--zmap=builtin:oil", f"--config={output / 'x.tif'}", "--output-dir=out", says="is an input")
    assert (output / "x.tif").read_text() == movie
    assert sorted(path.name for path in output.iterdir()) == ["emitters.h5", "x.tif"]
    job = load_job_config(JOB | {"zmap_path": str(output / "emitters.h5")})
    with pytest.raises(ConfigError, match="would be overwritten"):
        run_job(job, output)
    FieldMap.open(output / "emitters.h5").check()


def test_a_stream_does_not_overwrite_its_config(folder: Path) -> None:
    (folder / "job.tif").write_text(json.dumps(JOB))
    before = (folder / "job.tif").read_bytes()
    refused("stream", "--h5=none.h5", "--config=job.tif", "--output=job.tif", says="is the input itself")
    assert (folder / "job.tif").read_bytes() == before


@pytest.mark.parametrize("name", ["emitters.h5", "simulation.ome.tiff", "emitter_positions.png"])
def test_a_batch_does_not_overwrite_its_map(folder: Path, name: str) -> None:
    content = config(variables={"emitters.num_emitters": [20, 40]})
    content["base_config"]["emitters"]["no_plot"] = False
    content["base_config"]["zmap_path"] = str(folder / "link.h5")
    (folder / "out" / A).mkdir(parents=True)
    synthesize(folder / "out" / A / name, size=70)
    (folder / "link.h5").symlink_to(folder / "out" / A / name)
    with pytest.raises(ConfigError, match=f"{A}/{name}: would be overwritten, but is an input"):
        run_batch(content, output_dir="out", progress=False)
    FieldMap.open(folder / "link.h5").check()
    assert [path.name for path in (folder / "out").iterdir()] == [A]


@pytest.mark.parametrize("name", ["batch_status.json", ".simtiff.lock"])
def test_a_batch_does_not_overwrite_its_config(folder: Path, name: str) -> None:
    (folder / "out").mkdir()
    path = folder / "out" / name
    path.write_text(json.dumps(config()))
    for more in ((), ("--no-resume",)):
        refused("batch", path, "--output-dir=out", *more, says="would be overwritten, but is an input")
    assert path.read_text() == json.dumps(config())


def test_files_of_earlier_runs_that_are_inputs_now_stay(folder: Path) -> None:
    """A job's record may name any file as one to replace."""
    run_batch(config(), output_dir="out", progress=False)
    synthesize(folder / "out" / A / "map.h5", size=70)
    path = folder / "out" / A / "job.json"
    content = json.loads(path.read_text())
    content["files"]["map.h5"] = {"size": (path.parent / "map.h5").stat().st_size, "crc32": 1}
    path.write_text(json.dumps(content))
    again = config()
    again["base_config"]["zmap_path"] = str(folder / "out" / A / "map.h5")
    with pytest.raises(ConfigError, match=r"map\.h5: would be overwritten"):
        run_batch(again, output_dir="out", overwrite=True, progress=False)
    FieldMap.open(folder / "out" / A / "map.h5").check()


@pytest.mark.parametrize("name", ["batch_status.json", ".simtiff.lock", f"{A}/log", f"{A}/simulation.ome.tiff"])
def test_a_log_is_none_of_the_batch_s_own_files(folder: Path, name: str) -> None:
    (folder / "here").symlink_to(folder)
    for log in (folder / "out" / name, folder / "here" / "out" / name):
        with pytest.raises(BatchError, match=r"--log-file: .*: is one of the batch's own files"):
            run_batch(config(), output_dir="out", log_file=log, progress=False)
    assert [path.name for path in folder.iterdir()] == ["here"]


@pytest.mark.parametrize("kind", SPECIAL)
def test_single_outputs_that_are_no_files_are_refused(folder: Path, kind: str) -> None:
    (folder / "job.json").write_text(json.dumps(JOB))
    assert run("run", "--zmap=builtin:oil", "--config=job.json", "--output-dir=good")[0] == 0
    for name in ("x.tif", "x.png", "x.h5"):
        SPECIAL[kind](folder / name)
    before = {name: os.lstat(name) for name in ("x.tif", "x.png", "x.h5")}
    refused("stream", "--h5=good/emitters.h5", "--output=x.tif", says="x.tif")
    refused("preview", "good/simulation.ome.tiff", "--output=x.png", says="x.png")
    refused("zmap", "info", "builtin:oil", "--plot=x.png", says="x.png")
    refused("zmap", "synth", "x.h5", "--size=70", says="x.h5")
    for name in ("emitters.h5", "simulation.ome.tiff"):
        output = folder / f"out {name}"
        output.mkdir()
        SPECIAL[kind](output / name)
        refused(
            "run",
            "--zmap=builtin:oil",
            "--config=job.json",
            f"--output-dir={output}",
            says="not a file; choose another name",
        )
        assert os.path.lexists(output / name)
        assert stray_files(output) == []
    frames = np.zeros((1, 4, 4), np.uint16)
    with pytest.raises(FileExistsError, match=", not a file"):
        write_movie(folder / "x.tif", [frames], frames.shape, frames.dtype, pixel_size_um=(1, 1))
    assert {name: os.lstat(name) for name in before} == before


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", ["emitters.h5", "simulation.ome.tiff"])
def test_outputs_of_jobs_that_are_no_files_fail_the_job(folder: Path, kind: str, name: str) -> None:
    (folder / "out" / A).mkdir(parents=True)
    SPECIAL[kind](folder / "out" / A / name)
    for resume in (True, False):
        summary = run_batch(config(), output_dir="out", resume=resume, progress=False)
        assert (summary.completed, summary.failed) == (1, 1)
        assert "exists and is a" in summary.errors[A]
        assert os.path.lexists(folder / "out" / A / name)
    (folder / "out" / A / name).unlink()
    assert run_batch(config(), output_dir="out", progress=False).exit_code == 0


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_status_that_is_no_file_is_refused_at_once(folder: Path, kind: str) -> None:
    (folder / "c.json").write_text(json.dumps(config()))
    (folder / "out").mkdir()
    SPECIAL[kind](folder / "out" / "batch_status.json")
    for words in (("status", "out"), ("verify", "out"), ("batch", "c.json", "--output-dir=out")):
        refused(*words, says="batch_status.json: cannot be read")
    refused("batch", "c.json", "--output-dir=out", "--no-resume", says="not a file; choose another name")
    assert [path.name for path in (folder / "out").iterdir()] == ["batch_status.json"]


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_lock_that_is_no_file_is_refused_at_once(folder: Path, kind: str) -> None:
    (folder / "c.json").write_text(json.dumps(config()))
    run_batch(config(), output_dir="out", progress=False)
    SPECIAL[kind](folder / "out" / ".simtiff.lock")
    refused("batch", "c.json", "--output-dir=out", says="out")
    assert json.loads(run("status", "out", "--json")[1])["running"] is False
    assert os.path.lexists("out/.simtiff.lock")


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_config_that_is_no_file_is_refused_at_once(folder: Path, kind: str) -> None:
    SPECIAL[kind](folder / "c.json")
    for words in (("batch", "c.json"), ("validate", "c.json"), ("run", "--zmap=builtin:oil", "--config=c.json")):
        refused(*words, says="c.json: the config file cannot be read")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_is_no_file_is_refused_at_once(folder: Path, kind: str) -> None:
    (folder / "c.json").write_text(json.dumps(config()))
    SPECIAL[kind](folder / "log")
    refused("batch", "c.json", "--output-dir=out", "--log-file=log", says="--log-file: log: ")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("kind", SPECIAL)
def test_maps_and_movies_that_are_no_files_are_refused_at_once(folder: Path, kind: str) -> None:
    SPECIAL[kind](folder / "x")
    with pytest.raises(DataError, match="not a file"):
        FieldMap.open(folder / "x").check()
    refused("preview", "x", says="x: no such file")
    refused("stream", "--h5=x", "--output=y.tif", says="not a file")
