"""The movie of `simtiff demo`, and the configs of `simtiff init`: valid, runnable, and the same in both languages."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import simtiff
from simtiff.cli.start import KINDS
from simtiff.config.text import parse_config_text
from simtiff.emitters import tracks
from simtiff.training import Frames

if TYPE_CHECKING:
    from pathlib import Path

    from cli_helpers import Command

DEMO_FILES = ["demo.json", "emitters.h5", "preview.png", "simulation.ome.tiff"]
SMALL = ["tiff.roi_size=24", "psf.size_px=9"]
FEW = {kind: [*SMALL, "emitters.frames=2", "emitters.area_px=40"] for kind in KINDS} | {"tracking": SMALL}
FEW["sweep"] = [*FEW["sweep"], "variables.background.photons=[10]"]


def settings(path: Path) -> dict[str, Any]:
    """Return a config without its description."""
    content = parse_config_text(path.read_text(encoding="utf-8"), str(path))
    content.pop("description", None)
    return content


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_demo_makes_a_movie_and_says_where(command: Command, tmp_path: Path) -> None:
    text = command("demo")
    folder = tmp_path / "simtiff_demo"
    assert sorted(path.name for path in folder.iterdir()) == DEMO_FILES
    assert all(f"  {name} " in text for name in DEMO_FILES)
    assert "made in simtiff_demo:" in text
    simulation = simtiff.Simulation(folder / "demo.json")
    assert np.array_equal(tifffile.imread(folder / "simulation.ome.tiff"), simulation.frames(0, simulation.shape[0]))
    assert (folder / "preview.png").read_bytes().startswith(b"\x89PNG")
    commands = re.findall(r"^  simtiff (.*?)  ", text, flags=re.MULTILINE)
    assert len(commands) == 2
    for line in commands:  # the suggested commands work
        command(*line.split())


def test_the_demo_replaces_its_own_files_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("demo", "--output-dir=there")
    (tmp_path / "there" / "mine.txt").write_text("mine")
    before = contents(tmp_path / "there")
    monkeypatch.setenv("SIMTIFF_LANG", "zh")
    command("demo", "--output-dir=there")
    after = contents(tmp_path / "there")
    assert after.pop("demo.json") != before.pop("demo.json")  # in the language of the user
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in ("mine.txt", "simulation.ome.tiff"))


@pytest.mark.parametrize("name", DEMO_FILES)
def test_the_demo_refuses_to_replace_other_files(command: Command, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "simtiff_demo"
    folder.mkdir()
    (folder / name).write_text("precious")
    message = command("demo", code=2)
    assert f"simtiff_demo/{name}: exists and was not made by simtiff demo; choose another folder" in message
    assert message.count("\n") == 1
    assert contents(folder) == {name: b"precious"}


def test_the_demo_keeps_a_config_of_its_own_that_was_changed(command: Command, tmp_path: Path) -> None:
    command("demo")
    config = tmp_path / "simtiff_demo" / "demo.json"
    config.write_text(config.read_text().replace('"frames": 20', '"frames": 30'))
    before = contents(config.parent)
    assert "demo.json: exists and was not made by simtiff demo" in command("demo", code=2)
    assert contents(config.parent) == before


@pytest.mark.parametrize(
    ("folder", "words"),
    [("file", "file: "), ("~/demo", "begins with ~"), ("demo.", "must not end with a space or a dot")],
)
def test_folders_that_the_demo_cannot_have(command: Command, tmp_path: Path, folder: str, words: str) -> None:
    (tmp_path / "file").touch()
    assert words in command("demo", f"--output-dir={folder}", code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_config_is_valid_and_runs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, language: str
) -> None:
    monkeypatch.setenv("SIMTIFF_LANG", language)
    text = command("init", "study", f"--kind={kind}")
    written = {"study.json"} | ({"study_tracks.csv"} if kind == "tracking" else set())
    assert {path.name for path in tmp_path.iterdir()} == written <= set(text.split())
    for line in re.findall(r"^  simtiff (.*?)  ", text, flags=re.MULTILINE):
        overrides = [f"--set={override}" for override in FEW[kind]] if line.startswith("batch") else []
        printed = command(*line.split(), *overrides)
        assert not re.search("^(note|提示)", printed, flags=re.MULTILINE)
    jobs = 2 if kind == "sweep" else 1
    movies = [tifffile.imread(path) for path in (tmp_path / "study_output").glob("*/simulation.ome.tiff")]
    assert [movie.shape for movie in movies] == [(100 if kind == "tracking" else 2, 24, 24)] * jobs


@pytest.mark.parametrize("kind", KINDS)
def test_configs_say_the_same_in_both_languages(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    texts = []
    for language in ("en", "zh"):
        monkeypatch.setenv("SIMTIFF_LANG", language)
        (tmp_path / language).mkdir()
        command("init", f"{language}/study", f"--kind={kind}")
        texts.append((tmp_path / language / "study.json").read_text(encoding="utf-8"))
    english, chinese = texts
    assert settings(tmp_path / "en" / "study.json") == settings(tmp_path / "zh" / "study.json")
    assert english.isascii()
    assert "$" not in english + chinese
    assert code_lines(english) == code_lines(chinese)


def code_lines(text: str) -> list[tuple[str, str]]:
    """Return the lines that are more than a comment, without its words and those of a description."""
    lines = [re.sub('"description".*', "", line).partition("//")[:2] for line in text.splitlines()]
    return [(code, mark) for code, mark in lines if code.strip()]


def test_a_config_s_paths_are_those_of_its_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    text = command("init", "sub/my study", "--kind=tracking")
    assert "simtiff validate 'sub/my study.json'" in text
    assert "valid; 1 job, 100 frames" in command("validate", "sub/my study.json")
    assert settings(tmp_path / "sub" / "my study.json")["base_output_dir"] == "my study_output"


def test_a_training_config_makes_batches(command: Command, tmp_path: Path) -> None:
    """As the comment in it says."""
    command("init", "train.json", "--kind=training")
    call = re.search(r"Frames\(.*?\)\)", (tmp_path / "train.json").read_text())
    assert call is not None
    frames = eval(call[0].removesuffix(")") + ")", {"Frames": Frames})
    batch = frames.batch(0)
    assert batch.frames.shape == (32, 1, 64, 64)
    assert batch.mask.any(axis=1).all()


def test_example_tracks_diffuse_in_the_field() -> None:
    header, *rows = tracks.example_tracks().splitlines()
    assert header == "frame,id,x_nm,y_nm,z_nm,photons"
    frame, track, x, y, *_ = np.array([row.split(",") for row in rows], float).T
    side_nm = tracks.PIXEL_NM * tracks.SIDE_PX
    assert min(x.min(), y.min()) >= 0
    assert max(x.max(), y.max()) <= side_nm
    assert (frame.min(), frame.max()) == (0, tracks.FRAMES - 1)
    order = np.lexsort((frame, track))
    same = np.diff(track[order]) == 0
    assert (np.diff(frame[order])[same] == 1).all()  # no gaps
    steps_um = np.concatenate([np.diff(axis[order])[same] for axis in (x, y)]) / 1e3
    expected = np.sqrt(2 * tracks.DIFFUSION_UM2_PER_S * tracks.INTERVAL_MS / 1e3)
    assert steps_um.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * len(steps_um)))
    assert steps_um.mean() == pytest.approx(0, abs=4 * expected / np.sqrt(len(steps_um)))


def test_nothing_is_replaced_by_a_new_config(command: Command, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("mine")
    (tmp_path / "run_tracks.csv").write_text("mine")
    if sys.platform != "win32":  # where links need rights
        (tmp_path / "link.json").symlink_to("nowhere")
        assert "link.json: exists; choose another name" in command("init", "link", code=2)
        (tmp_path / "link.json").unlink()
    for name, there in (("study", "study.json"), ("study.json", "study.json")):
        assert f"{there}: exists; choose another name" in command("init", name, code=2)
    assert "run_tracks.csv: exists" in command("init", "run", "--kind=tracking", code=2)
    assert (tmp_path / "study.json").read_text() == (tmp_path / "run_tracks.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run_tracks.csv", "study.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["study", "--kind=storm"],
            '--kind: "storm" is not allowed; allowed: dstorm, paint, tracking, sweep, training',
        ),
        (["study", "--kind=demo"], '--kind: "demo" is not allowed'),
        (["study.txt"], "NAME: study.txt must end in .json or .json5"),
        (["none/study"], "NAME: none/study.json: folder none does not exist"),
        (["a:b"], 'NAME: "a:b" has a character that some systems do not allow in names'),
        (["nul"], 'NAME: "nul" is a device name that Windows reserves'),
        ([".."], 'NAME: ".." must not begin or end with a space or a dot'),
        ([""], 'NAME: "" is empty'),
        (["-"], 'NAME: "-" must not begin with a hyphen'),
        ([], "usage: simtiff init NAME [--kind=KIND]"),
    ],
)
def test_names_and_kinds_that_are_refused(command: Command, tmp_path: Path, words: list[str], message: str) -> None:
    assert message in command("init", *words, code=2)
    assert not list(tmp_path.iterdir())
