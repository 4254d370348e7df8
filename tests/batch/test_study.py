"""A changing study: no finished job is lost or run twice, even after kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

import simtiff
from batch_helpers import command, kill, running, stray_files, tree, wait_for, write_config
from simtiff.aberrations.maps import digest_of, map_digest
from simtiff.cli import process as cli
from simtiff.config.identity import job_hash
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.config.sweeps import expand_jobs, with_own_seeds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

VALUES = list(range(2, 22))
SIZES = [3, 5, 7]


def study(values: Sequence[int] = VALUES, background: float = 5) -> dict[str, Any]:
    """Return a study with three small jobs for each number of emitters, by default 60."""
    return {
        "base_config": {
            "zmap_path": "builtin:oil",
            "emitters": {"frames": 2, "area_px": 12, "intensity_mu": 900},
            "tiff": {"roi_size": 12, "noise_params": {"background": background}},
        },
        "variables": {"emitters.num_emitters": list(values), "psf.size_px": SIZES},
    }


class Study:
    """A study in a folder, run with the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"
        self.log = folder / "log.jsonl"
        self.frames: dict[str, np.ndarray] = {}

    def words(self, content: dict[str, Any], *options: str) -> list[str]:
        self.log.unlink(missing_ok=True)
        path = write_config(self.folder, content)
        return command(path, self.output, "--max-workers=2", f"--log-file={self.log}", *options)

    def rendered(self) -> int:
        """Return how many jobs the last run began."""
        events = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return sum(event["event"] == "started" for event in events)

    def run(self, content: dict[str, Any], *options: str, code: int = 0) -> str:
        """Run the study; check that it made what no folder had, no more, and that all is true afterwards."""
        missing = len(wanted(content) - self.held().keys())
        done = subprocess.run(self.words(content, *options), capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert self.rendered() == (0 if code else missing)
        self.check()
        if not code:
            assert {self.held()[each] for each in wanted(content)} == {job.id for job in jobs_of(content)}
            assert stray_files(self.output) == []
        return done.stderr

    def kill(self, content: dict[str, Any], *options: str, after: int) -> None:
        """Run the study, and kill all of its processes after some jobs; at most those in work may be lost."""
        before, asked = self.held().keys(), wanted(content)
        with running(self.words(content, *options)) as process:
            wait_for(lambda: self.rendered() > after, "jobs to begin", process)
            for each in tree(process.pid):
                kill(each)
            process.wait()
        self.check()
        assert len(self.held().keys() & (asked - before)) >= self.rendered() - 2
        if "--overwrite" not in options:
            assert before <= self.held().keys()

    def kill_at_rename(self, content: dict[str, Any], number: int) -> None:
        """Run the study with a process that kills itself before it renames the `number`-th folder."""
        before = self.held().keys()
        startup = self.folder / "startup"
        startup.mkdir(exist_ok=True)
        (startup / "sitecustomize.py").write_text(KILLED_AT_RENAME.format(number=number))
        path = os.pathsep.join([str(startup), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        done = subprocess.run(
            self.words(content), capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path}
        )
        assert done.returncode == -signal.SIGKILL
        assert self.held().keys() == before
        self.check()

    def held(self) -> dict[str, str]:
        """Return the folders of finished jobs by their hash."""
        found = {}
        for path in self.output.glob("*/job.json"):
            try:
                content = json.loads(path.read_text())
            except ValueError:
                continue
            sizes = {name: (path.parent / name).stat().st_size for name in content["files"]}
            assert sizes == {name: info["size"] for name, info in content["files"].items()}
            found[content["hash"]] = path.parent.name
        return found

    def movies(self) -> set[str]:
        """Return the checksums of all movies, wherever they are."""
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in self.output.glob("*/*.tiff")}

    def check(self) -> None:
        """Check that each movie and truth are those of the job that the folder's job.json names."""
        for key, name in self.held().items():
            folder = self.output / name
            content = json.loads((folder / "job.json").read_text())
            if not name.startswith("."):
                assert content["name"] == name
            with h5py.File(folder / "emitters.h5") as file:
                config = load_job_config(json.loads(file.attrs["config"]))
            assert job_hash(config, content["zmap"]) == key
            for setting, value in content["variables"].items():
                section, _, last = setting.partition(".")
                assert getattr(getattr(config, section), last) == value
            if key not in self.frames:
                self.frames[key] = simtiff.Simulation(config).frames(1, 2)[0]
            np.testing.assert_array_equal(tifffile.imread(folder / "simulation.ome.tiff", key=1), self.frames[key])


KILLED_AT_RENAME = """
import os, signal, sys
from pathlib import Path

renamed, rename = 0, Path.rename

def counted(self, target):
    global renamed
    if self.is_dir():
        renamed += 1
        if renamed == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = counted
"""


def jobs_of(content: dict[str, Any]) -> list[Any]:
    batch = load_batch_config(content)
    return with_own_seeds(batch, expand_jobs(batch), digest_of)


def wanted(content: dict[str, Any]) -> set[str]:
    return {
        job_hash(job.config, map_digest(job.config.zmap_path, job.config.optical.wavelength_nm))
        for job in jobs_of(content)
    }


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_study_that_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, chance = Study(tmp_path), random.Random(3)
    output, first = mine.output, study()
    mine.kill(first, after=12)
    mine.run(first)
    assert "plan: 60 done" in mine.run(first)

    # A setting changes: finished jobs are replaced only on request, one by one.
    other = study(background=6)
    refused = mine.run(other, code=2)
    assert "60 finished jobs would be replaced" in refused
    assert "config changed (tiff.noise_params.background 5.0 -> 6.0)" in refused
    mine.kill(other, "--overwrite", after=9)
    left = len(wanted(first) & mine.held().keys())
    assert 48 <= left <= 52
    assert f"plan: {left} done" in mine.run(first, "--overwrite")

    # Values are inserted, appended, removed, restored, reordered.
    more = [*VALUES[:9], 30, *VALUES[9:]]
    assert "plan: 27 done, 3 new, 33 to be renamed" in mine.run(study(more))
    assert "plan: 63 done, 6 new" in mine.run(study([*more, 31, 32]))
    fewer = [value for value in more if value not in {5, 6}]
    assert "from other configs" in mine.run(study(fewer))
    mine.run(study([*more, 31, 32]))
    mine.run(study([*more, 31, 32][::-1]))

    # Killed while folders are renamed, at each step.
    for _ in range(3):
        order = chance.sample(more, len(more))
        hidden = chance.randint(1, 50)
        mine.kill_at_rename(study(order), hidden + 1)
        mine.kill_at_rename(study(order), len(mine.held()) - 6 - hidden + chance.randint(1, 50))
        mine.run(study(order))
    orders = [chance.sample([*more, 40 + each], len(more) + 1) for each in range(2)]
    mine.kill_at_rename(study(orders[0]), 70)
    mine.kill(study(orders[1]), after=1)  # with another order, while some have temporary names
    mine.run(study(orders[0]))

    # The index is lost, a job.json is damaged, or both.
    (output / "batch_status.json").unlink()
    assert "is missing; rebuilt from the job.json" in mine.run(study(orders[0]))
    damaged = next(output.glob("*/job.json"))
    damaged.write_text(damaged.read_text()[:50])
    held = len(mine.held())
    done = subprocess.run(mine.words(study(orders[0])), capture_output=True, check=False)
    assert (done.returncode, mine.rendered(), len(mine.held())) == (0, 0, held + 1)
    damaged = output / jobs_of(study(orders[0]))[5].id / "job.json"
    damaged.write_text("")
    (output / "batch_status.json").unlink()
    mine.run(study(orders[0]))  # one job is rerun: nothing identifies it

    # Jobs of other configs are counted separately, and removed on request.
    mine.run(first)
    capsys.readouterr()
    foreign = len(mine.held()) - 60
    assert foreign >= 9
    assert cli.main(["status", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "60/60 jobs completed" in shown
    assert f"{foreign} finished jobs from other configs" in shown
    assert cli.main(["clean", str(output)]) == 0
    assert f"{foreign} finished jobs from earlier configs" in capsys.readouterr().out
    assert len(mine.held()) == 60 + foreign
    # A job that was killed before it had its job.json, and that is not in the config any more, is kept.
    untold = {path.name for path in output.iterdir() if path.is_dir() and not (path / "job.json").exists()}
    assert len(untold) <= 2
    assert cli.main(["clean", str(output), "--yes"]) == 0
    assert {path.name for path in output.iterdir()} == {
        "batch_status.json",
        *untold,
        *(job.id for job in jobs_of(first)),
    }
    told = [path for path in output.glob("*/*") if path.parent.name not in untold]
    assert {path.name for path in told} == {"emitters.h5", "job.json", "simulation.ome.tiff"}
    assert "plan: 60 done" in mine.run(first)
    assert cli.main(["verify", str(output), "--frames=2"]) == 0


def small(values: Sequence[int], **base: Any) -> dict[str, Any]:
    content = study(values)
    content["base_config"] |= base
    content["variables"] = {"emitters.num_emitters": list(values)}
    return content


def test_the_plan_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3, 4, 5]))
    (mine.output / "job_0003_num_emitters_5" / "emitters.h5").unlink()
    before = {path: path.stat().st_mtime_ns for path in mine.output.rglob("*")}
    path = write_config(tmp_path, small([2, 9, 3, 5]))
    words = ["batch", str(path), f"--output-dir={mine.output}", "--dry-run"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "plan: 1 done, 1 new, 1 to be rerun, 1 to be renamed, 1 from other configs" in shown
    assert "job_0002_num_emitters_3: to be renamed: from job_0001_num_emitters_3" in shown
    assert "job_0003_num_emitters_5: to be rerun: emitters.h5 is missing" in shown
    assert "from other configs: job_0002_num_emitters_4" in shown
    assert "--overwrite" not in shown
    assert cli.main([*words, "--set=tiff.roi_size=11"]) == 0
    assert "a run would stop here: it replaces finished jobs only with --overwrite" in capsys.readouterr().out
    assert cli.main([*words, "--set=tiff.roi_size=11", "--overwrite"]) == 0
    assert "--overwrite" not in capsys.readouterr().out
    assert cli.main([*words, "--json", "--set=tiff.roi_size=11"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["counts"] == {
        "done": 0,
        "new": 2,
        "again": 1,
        "replace": 1,
        "rename": 0,
        "plots": 0,
        "left": 0,
        "foreign": 2,
    }
    assert plan["jobs"][0] == {
        "job": "job_0000_num_emitters_2",
        "action": "replace",
        "reason": "config changed",
        "settings": {"tiff.roi_size": [12, 11]},
    }
    assert plan["foreign"] == ["job_0001_num_emitters_3", "job_0002_num_emitters_4"]
    assert {path: path.stat().st_mtime_ns for path in mine.output.rglob("*")} == before
    assert cli.main([*words[:-1], "--json"]) == 2


def test_a_renamed_job_gets_its_plots_without_rendering(tmp_path: Path) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    movie = mine.output / "job_0001_num_emitters_3" / "simulation.ome.tiff"
    made = movie.stat().st_mtime_ns
    done = subprocess.run(
        mine.words(small([3, 2], zernike={"no_plot": False})), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    moved = mine.output / "job_0000_num_emitters_3"
    assert (moved / "simulation.ome.tiff").stat().st_mtime_ns == made
    names = sorted(json.loads((moved / "job.json").read_text())["files"])
    assert names == ["emitters.h5", "simulation.ome.tiff", "zernike_coefficients.png"]
    mine.check()


def test_a_user_s_files_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    third = mine.output / "job_0001_num_emitters_3"
    (third / "notes.txt").write_text("mine")
    target = mine.output / "job_0000_num_emitters_3"
    target.mkdir()
    (target / "more.txt").write_text("mine, too")
    mine.run(small([3]))
    assert [(target / name).read_text() for name in ("notes.txt", "more.txt")] == ["mine", "mine, too"]
    mine.run(small([2]))
    shutil.copytree(target, mine.output / "favourite")
    assert cli.main(["clean", str(mine.output), "--yes"]) == 0
    assert (mine.output / "favourite" / "simulation.ome.tiff").exists()
    assert "folder kept, it contains other files" in capsys.readouterr().out
    assert sorted(path.name for path in target.iterdir()) == ["more.txt", "notes.txt"]


def test_clean_leaves_what_the_config_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also after a run that stopped between two renames."""
    mine = Study(tmp_path)
    mine.run(small([2, 3, 4]))
    before = mine.movies()
    for name in ("job_0000_num_emitters_3", "job_0001_num_emitters_3"):
        (mine.output / name).mkdir(exist_ok=True)
        (mine.output / name / "notes.txt").write_text("mine")
    done = subprocess.run(mine.words(small([3, 2, 4])), capture_output=True, text=True, check=False)
    assert (done.returncode, "blocks renaming" in done.stderr) == (2, True)
    for _ in range(2):
        assert cli.main(["clean", str(mine.output), "--yes"]) == 0
        assert "no finished jobs from earlier configs" in capsys.readouterr().out
        assert mine.movies() == before
        (mine.output / "job_0000_num_emitters_3" / "notes.txt").unlink()
        mine.run(small([3, 2, 4]))
        subprocess.run(mine.words(small([4, 3, 2]), "--retry-failed"), capture_output=True, check=True)
        (mine.output / "job_0000_num_emitters_3" / "notes.txt").touch()
    mine.run(small([4, 3, 2]))
    assert mine.movies() == before


def test_a_movie_that_nothing_tells_of_stays(tmp_path: Path) -> None:
    """The run was killed before it recorded that the movie is complete; another config follows."""
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    status = json.loads((mine.output / "batch_status.json").read_text())
    for name, record in status["jobs"].items():
        (mine.output / name / "job.json").unlink()
        record["state"] = "interrupted"
    (mine.output / "batch_status.json").write_text(json.dumps(status))
    whole, half = (mine.output / name for name in status["jobs"])
    (half / "simulation.ome.tiff").unlink()
    mine.run(small([7, 8]))
    assert sorted(path.name for path in whole.iterdir()) == ["emitters.h5", "simulation.ome.tiff"]
    assert not half.exists()


@pytest.mark.parametrize("change", [{}, {"psf": {"defocus": "paraxial"}}])
def test_without_status_and_job_json_a_movie_is_not_replaced(tmp_path: Path, change: dict[str, Any]) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    before = mine.movies()
    (mine.output / "batch_status.json").unlink()
    (mine.output / "job_0000_num_emitters_2" / "job.json").write_text("{")
    done = subprocess.run(mine.words(small([2], **change)), capture_output=True, text=True, check=False)
    if change:
        assert done.returncode == 2
        assert "psf.defocus exact -> paraxial" in done.stderr
        assert mine.movies() == before
        mine.run(small([2], **change), "--overwrite")
        assert len(mine.movies() & before) == 1
    else:
        assert done.returncode == 0
        assert mine.movies() == before  # rerun, with the same result


def test_a_damaged_truth_does_not_stop_a_renaming(tmp_path: Path) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    second = mine.output / "job_0001_num_emitters_3"
    (second / "job.json").unlink()
    truth = second / "emitters.h5"
    truth.write_bytes(b"x" * truth.stat().st_size)
    assert "1 new, 1 to be renamed" in mine.run(small([3, 2]))


def test_a_folder_without_status_is_not_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Study(tmp_path)
    mine.run(small([2]))
    (mine.output / "batch_status.json").unlink()
    for path in (mine.output, tmp_path):
        assert cli.main(["clean", str(path), "--yes"]) == 2
        assert "so the jobs of the last config are not known" in capsys.readouterr().err
    assert (mine.output / "job_0000_num_emitters_2" / "job.json").exists()


def test_folders_that_users_swapped_are_found(tmp_path: Path) -> None:
    """The time of renaming a folder counts, not that of its files."""
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    one, two, between = (mine.output / name for name in ("job_0000_num_emitters_2", "job_0001_num_emitters_3", "x"))
    one.rename(between)
    two.rename(one)
    between.rename(two)
    assert "plan: 2 to be renamed" in mine.run(small([2, 3]))


def test_a_job_s_folder_is_no_place_for_a_single_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Study(tmp_path)
    mine.run(small([2, 3]))
    mine.run(small([2]))
    folder = mine.output / "job_0001_num_emitters_3"
    (mine.output / "batch_status.json").unlink()
    assert cli.main(["run", "--zmap=builtin:oil", f"--output-dir={folder}"]) == 2
    assert "is the folder of job job_0001_num_emitters_3" in capsys.readouterr().err
