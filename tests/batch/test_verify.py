"""``simtiff verify``: good jobs pass, every kind of damage is found, and the suggested fix works."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import pytest

from batch_helpers import config
from simtiff.batch.lock import FolderLock
from simtiff.batch.run import run_batch
from simtiff.batch.verify import Checked, Verification, sample_frames, verify_batch
from simtiff.cli import process as cli
from simtiff.errors import BatchError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtiff.movie.events import Event

A, B = "job_0000_num_emitters_20", "job_0001_num_emitters_40"
MOVIE, TRUTH = "simulation.ome.tiff", "emitters.h5"

NEEDS_POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="links need rights on Windows, and pipes have no paths"
)
MAKE_PIPE = getattr(os, "mkfifo", Path.touch)  # tests with it are skipped without mkfifo


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    run_batch(config(frames=7), output_dir=output, max_workers=1, progress=False)
    return output


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    """Return a copy to damage."""
    return shutil.copytree(made, tmp_path / "out")


def change_status(output: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = output / "batch_status.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def snapshot(output: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in output.rglob("*")}


def test_a_good_batch(made: Path) -> None:
    before = snapshot(made)
    events: list[Event] = []
    found = verify_batch(made, watch=events.append)
    assert found.exit_code == 0
    checks = [event.check for event in events if isinstance(event, Checked)]
    assert [(job.job_id, job.files, job.frames, job.problems, job.notes) for job in checks] == [
        (A, 2, 3, [], []),
        (B, 2, 3, [], []),
    ]
    assert "2 finished jobs: 2 ok, 0 wrong" in str(found)
    assert snapshot(made) == before
    assert [job.frames for job in verify_batch(made, 100).jobs] == [7, 7]
    assert [job.frames for job in verify_batch(made, 0).jobs] == [0, 0]


@pytest.mark.parametrize("tiff", [{"compression": "zlib"}, {"dtype": "float32"}, {"add_noise": False, "roi_size": 1}])
def test_every_kind_of_movie_can_be_compared(tmp_path: Path, tiff: dict[str, Any]) -> None:
    content = config(variables={})
    content["base_config"]["tiff"] |= tiff
    run_batch(content, output_dir=tmp_path, progress=False)
    assert [(job.frames, job.problems) for job in verify_batch(tmp_path).jobs] == [(3, [])]


def cut(output: Path) -> None:
    os.truncate(output / A / MOVIE, 100)


def folder_for_a_file(output: Path) -> None:
    (output / A / MOVIE).unlink()
    (output / A / MOVIE).mkdir()


def other_pixels(output: Path) -> None:
    """Change a pixel and update all records, as if the renderer had made an error."""
    flip(output / A / MOVIE, 20_000)
    believe(output, MOVIE)


def believe(output: Path, name: str) -> None:
    """Update status and job.json to the current content of a file."""
    content = (output / A / name).read_bytes()
    info = {"size": len(content), "crc32": zlib.crc32(content)}
    change_status(output, lambda status: status["jobs"][A]["files"].update({name: info}))
    path = output / A / "job.json"
    job = json.loads(path.read_text())
    job["files"][name] = info
    path.write_text(json.dumps(job))


def other_config(output: Path) -> None:
    with h5py.File(output / A / TRUTH, "r+") as file:
        file.attrs["config"] = file.attrs["config"].replace(b'"wavelength_nm":660.0', b'"wavelength_nm":661.0')
    believe(output, TRUTH)


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a damage: something else in place of a file or of a job's folder (``""``)."""

    def damage(output: Path) -> None:
        path = output / A / name
        path.unlink() if name else shutil.rmtree(path)
        make(output / A / name if name else output / A)

    return damage


def elsewhere(output: Path) -> None:
    """Move a job's folder away, put a link in its place, and cut the movie."""
    (output / A).rename(output.parent / "moved")
    (output / A).symlink_to(output.parent / "moved")
    cut(output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "problem", "cure"),
    [
        (in_place_of("", Path.touch), "job_0000_num_emitters_20 is not a folder", "remove"),
        pytest.param(
            in_place_of("", MAKE_PIPE), "job_0000_num_emitters_20 is not a folder", "remove", marks=NEEDS_POSIX
        ),
        pytest.param(
            in_place_of("", lambda path: path.symlink_to("nowhere")),
            "is a link that does not point to a folder",
            "remove",
            marks=NEEDS_POSIX,
        ),
        pytest.param(
            in_place_of("", lambda path: path.symlink_to(path)),
            "is a link that does not point to a folder",
            "remove",
            marks=NEEDS_POSIX,
        ),
        pytest.param(in_place_of(MOVIE, MAKE_PIPE), "is not a file", "remove", marks=NEEDS_POSIX),
        pytest.param(
            in_place_of(MOVIE, lambda path: path.symlink_to("/dev/zero")), "is not a file", "remove", marks=NEEDS_POSIX
        ),
        pytest.param(
            in_place_of(TRUTH, lambda path: path.symlink_to(path)),
            "emitters.h5 cannot be read",
            "remove",
            marks=NEEDS_POSIX,
        ),
        pytest.param(
            in_place_of(TRUTH, lambda path: path.symlink_to("nowhere")),
            "emitters.h5 is missing",
            "run simtiff batch",
            marks=NEEDS_POSIX,
        ),
        pytest.param(elsewhere, "its folder is a link", "remove", marks=NEEDS_POSIX),
        (lambda output: (output / A / MOVIE).unlink(), "simulation.ome.tiff is missing", "run simtiff batch"),
        (lambda output: shutil.rmtree(output / A), "emitters.h5 is missing", "run simtiff batch"),
        (cut, "has 100 bytes, expected", "run simtiff batch"),
        (lambda output: flip(output / A / MOVIE, 20_000), "has changed since it was written", "remove"),
        (lambda output: flip(output / A / TRUTH, 5000), "emitters.h5 has changed", "remove"),
        (folder_for_a_file, "is not a file", "remove"),
        (other_pixels, "these frames differ", "remove"),
        (other_config, "belongs to another config", "remove"),
        (
            lambda output: change_status(output, lambda status: status["jobs"][A].update(files={})),
            "lists no files",
            "run simtiff batch",
        ),
        (
            lambda output: (output / A / ".x.tiff.ab.partial").touch(),
            "temporary files of a killed run",
            "run simtiff batch",
        ),
        (lambda output: (output / A / "job.json").unlink(), "job.json is missing", "run simtiff batch"),
        (lambda output: (output / A / "job.json").write_text("{"), "job.json: damaged", "remove"),
    ],
)
def test_what_is_wrong_is_found_and_the_cure_works(
    output: Path, made: Path, damage: Callable[[Path], object], problem: str, cure: str
) -> None:
    damage(output)
    found = verify_batch(output, 7)
    assert found.exit_code == 1
    assert [job.is_good for job in found.jobs] == [False, True]
    assert any(problem in what and cure in todo for what, todo in found.jobs[0].problems)

    for _, todo in found.jobs[0].problems:  # follow the advice
        if "remove " in todo:
            inside = (output / A).iterdir() if (output / A).is_dir() else ()
            path = next(path for path in (output / A, *inside) if f"remove {path}, " in todo)
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert run_batch(config(frames=7), output_dir=output, progress=False).errors == {}
    assert verify_batch(output, 7).exit_code == 0
    assert (output / A / MOVIE).read_bytes() == (made / A / MOVIE).read_bytes()


def damage_plot(output: Path) -> None:
    flip(output / A / "zernike_coefficients.png", 100)


def swapped_bytes(output: Path) -> None:
    flip(output / A / MOVIE, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "made_again"),
    [
        (swapped_bytes, True),
        (other_pixels, True),
        (lambda output: flip(output / A / TRUTH, 5000), True),
        (cut, True),
        (damage_plot, False),
        (lambda output: (output / A / "job.json").write_text("{"), False),
        (lambda output: (output / A / ".x.tiff.ab.partial").touch(), False),
    ],
)
def test_what_is_marked_is_mended(tmp_path: Path, damage: Callable[[Path], object], made_again: bool) -> None:
    output, content = tmp_path / "out", config(frames=4)
    content["base_config"]["zernike"] = {"no_plot": False}
    run_batch(content, output_dir=output, max_workers=1, progress=False)
    before = (output / A / MOVIE).read_bytes(), (output / B / MOVIE).stat().st_mtime_ns
    made = (output / A / MOVIE).stat().st_mtime_ns
    damage(output)
    assert cli.main(["verify", str(output), "--mark", "--frames=7"]) == 1
    assert run_batch(content, output_dir=output, progress=False).exit_code == 0
    assert verify_batch(output).exit_code == 0
    assert ((output / A / MOVIE).read_bytes(), (output / B / MOVIE).stat().st_mtime_ns) == before
    assert ((output / A / MOVIE).stat().st_mtime_ns != made) == made_again


def test_marking_says_what_failed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swapped_bytes(output)
    assert cli.main(["verify", str(output), "--mark"]) == 1
    assert "marked: rerun simtiff batch with its config to repair them" in capsys.readouterr().out
    content = json.loads((output / "batch_status.json").read_text())
    assert content["completed_jobs"] == [B]
    assert "simulation.ome.tiff has changed" in content["failed_jobs"][0]["error"]
    with FolderLock(output), pytest.raises(BatchError, match="another simtiff is using this folder"):
        verify_batch(output, mark=True)


def test_what_is_strange_but_not_wrong(output: Path) -> None:
    (output / A / "my notes.txt").touch()
    (output / "my folder").mkdir()
    found = verify_batch(output)
    assert found.exit_code == 0
    assert found.jobs[0].notes == ["not part of this job: my notes.txt"]
    assert "not part of this batch: my folder" in str(found)


def test_another_data_version_cannot_be_compared(output: Path) -> None:
    flip(output / B / MOVIE, 20_000)
    change_status(output, lambda status: [job.update(data_version=0) for job in status["jobs"].values()])
    first, second = verify_batch(output).jobs
    assert (first.is_good, first.files, first.frames) == (True, 2, 0)
    assert "not compared: made with data version 0" in first.notes[0]
    assert not second.is_good  # checksums still count


def test_jobs_that_are_not_finished(output: Path) -> None:
    (output / B / "job.json").unlink()
    change_status(output, lambda status: status["jobs"][B].update(state="running", files={}))
    found = verify_batch(output)
    assert found.exit_code == 1
    assert [job.job_id for job in found.jobs] == [A]
    assert "1 job not finished (1 interrupted): rerun simtiff batch to finish them" in str(found)


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="output folder of a batch"):
        verify_batch(tmp_path)
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert cli.main(["verify", str(tmp_path / "none")]) == 2
    (tmp_path / "batch_status.json").write_text("{")
    assert cli.main(["verify", str(tmp_path)]) == 2


def test_the_command(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(output), "--frames=1"]) == 0
    assert f"ok    {A}: 2 files, 1 frame rerendered, identical\n" in capsys.readouterr().out
    cut(output)
    assert cli.main(["verify", str(output)]) == 1
    shown = capsys.readouterr()
    assert f"WRONG {A}\n      simulation.ome.tiff has 100 bytes" in shown.out
    assert "        -> rerun simtiff batch" in shown.out
    assert shown.err == ""
    assert cli.main(["verify", str(output), "--frames=x"]) == 2


def test_sampled_frames() -> None:
    assert sample_frames("a", 5, 9) == [0, 1, 2, 3, 4]
    picked = sample_frames("a", 3000, 3)
    assert picked == sample_frames("a", 3000, 3) != sample_frames("b", 3000, 3)
    assert [frame // 1000 for frame in picked] == [0, 1, 2]
    assert sample_frames("a", 10, 0) == []


def test_nothing_finished_yet(tmp_path: Path) -> None:
    found = Verification(tmp_path, (), {"a": "pending", "b": "running"}, (), running=True)
    assert "2 jobs not finished (1 pending, 1 running): a batch is running" in str(found)
