"""``simtiff export`` and ``simtiff score``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from simtiff import localizations
from simtiff.cli import process as cli
from simtiff.localizations.scoring import score

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "emitters": {"num_emitters": 120, "frames": 9, "area_px": 60},
    "optical": {"pixel_size_nm": [100, 120]},
    "tiff": {"roi_size": [40, 30], "crop_offset": [5, 3], "noise_params": {"background": 20}},
    "psf": {"model": "gaussian", "depth_nm": 400, "astigmatism_nm": 200, "size_px": 15},
    "camera": {"quantum_efficiency": 0.5},
    "truth": {"crlb": True},
    "export": ["thunderstorm", "picasso"],
}
Command = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made")
    simtiff.Simulation(CONFIG).write(path)
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0) -> str:
        got = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        assert got == code, captured.err
        return captured.err if code else captured.out

    return run


def test_an_export_is_that_of_a_job(folder: Path, tmp_path: Path, command: Command) -> None:
    said = command("export", folder / "emitters.h5", "--format=thunderstorm", "--output=t.csv")
    assert said.split() == ["t.csv", "t_camera.txt"]
    assert (tmp_path / "t.csv").read_bytes() == (folder / "thunderstorm.csv").read_bytes()
    assert (tmp_path / "t_camera.txt").read_bytes() == (folder / "thunderstorm_camera.txt").read_bytes()
    said = command("export", folder / "emitters.h5", "--format=picasso", "--output=p.hdf5")
    assert said.split() == ["p.hdf5", "p.yaml", "p_camera.txt"]


def test_a_config_replaces_that_of_the_file(folder: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"tiff": {"crop_offset": [0, 0], "roi_size": 60}}))
    command("export", folder / "emitters.h5", "--format=parquet", "--output=t.parquet", "--config=other.json")
    table = localizations.read(tmp_path / "t.parquet")
    with simtiff.open_truth(folder / "emitters.h5") as truth:
        xyz = truth.records()["xyz"]
    np.testing.assert_allclose(table[["x_px", "y_px", "z_um"]], xyz, rtol=1e-6, atol=1e-7)
    assert "sigma_x_px" not in table  # the bounds in the file are those of another frame


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format=csv", "--output=t.csv"], '--format: "csv" is not allowed; allowed: thunderstorm, picasso, decode'),
        (["--format=decode", "--output=t.csv"], "--output: t.csv must end in .h5"),
        (["--format=decode", "--output=no/t.h5"], "folder no does not exist"),
        (["--format=decode", "--output={folder}/emitters.h5"], "is the input itself; choose another name"),
        (["--output=t.h5"], "invalid arguments; usage: simtiff export EMITTERS --format=NAME"),
    ],
)
def test_wrong_exports(folder: Path, command: Command, words: list[str], message: str) -> None:
    said = command("export", folder / "emitters.h5", *(word.format(folder=folder) for word in words), code=2)
    assert message in said


def noisy(folder: Path, kind: str, path: Path) -> Path:
    """Write most records, with errors equal to their bounds and a shift of 12 nm along x."""
    rng = np.random.default_rng(2)
    table = localizations.read(folder / "picasso_locs.hdf5")
    table = table[rng.random(len(table)) < 0.8]
    table["x_px"] += 0.12 + rng.normal(0, 1, len(table)) * table.sigma_x_px
    table["y_px"] += rng.normal(0, 1, len(table)) * table.sigma_y_px
    localizations.write(table, path, kind, pixel_size_nm=(100, 120))
    return path


def test_a_score_is_that_of_the_records_in_the_frame(folder: Path, tmp_path: Path, command: Command) -> None:
    found = noisy(folder, "picasso", tmp_path / "f.hdf5")
    content = json.loads(command("score", folder / "emitters.h5", found, "--json", "--radius=120", "--dz=300"))
    assert (content["truth"], content["found"]) == (str(folder / "emitters.h5"), str(found))
    assert content["pixel_size_nm"] == [100, 120]
    assert content["photons"] == "photo-electrons, as Picasso counts them: photons x quantum efficiency"
    metrics = content["metrics"]
    assert metrics["bias_photons"] == pytest.approx(0, abs=1e-3)
    assert metrics["error_over_bound_y"] == pytest.approx(1, abs=0.2)
    truth = localizations.read(folder / "picasso_locs.hdf5")
    same = score(truth, localizations.read(found), 120, 300, pixel_size_nm=(100, 120)).to_dict()
    for name in ("truth", "found", "matched", "jaccard", "rmse_lateral_nm", "bias_x_nm", "efficiency"):
        assert metrics[name] == pytest.approx(same["metrics"][name], rel=1e-4), name
    assert len(content["by_field"]) == 16
    assert len(content["by_photons"]) == 6


def test_photons_of_a_localizer_that_knows_the_efficiency(folder: Path, command: Command) -> None:
    content = json.loads(command("score", folder / "emitters.h5", folder / "thunderstorm.csv", "--json"))
    assert content["photons"] == "photons that reach the camera"
    assert content["metrics"]["bias_photons"] == pytest.approx(0, abs=1e-3)
    assert content["metrics"]["jaccard"] == 1
    content = json.loads(command("score", folder / "emitters.h5", folder / "emitters.h5", "--json"))
    assert content["metrics"]["rmse_lateral_nm"] == 0


def test_a_table_for_people_and_a_page_of_pictures(folder: Path, tmp_path: Path, command: Command) -> None:
    found = noisy(folder, "thunderstorm", tmp_path / "f.csv")
    said = command("score", folder / "emitters.h5", found, "--plot=s.png")
    lines = said.splitlines()
    assert lines[0] == f"{found} against {folder / 'emitters.h5'}, pairs within 250 nm laterally and 500 nm axially"
    assert lines[2].startswith("Jaccard 0.")
    (bias,) = [line for line in lines if line.startswith("bias")]
    assert float(bias.split()[1]) == pytest.approx(12, abs=4)
    for title in ("by z:", "by photons:", "by position in the field:"):
        assert title in lines
    assert "the truth has no CRLB" not in said
    assert lines[-1] == "s.png"
    png = (tmp_path / "s.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    command("score", folder / "emitters.h5", found, "--plot=s.png")
    assert (tmp_path / "s.png").read_bytes() == png


def test_files_of_other_tools_as_truth(folder: Path, tmp_path: Path, command: Command) -> None:
    storm = folder / "thunderstorm.csv"
    for other in ("emitters.h5", "picasso_locs.hdf5"):  # whose size of pixels is that of both
        assert "Jaccard 1.0000" in command("score", storm, folder / other)
    said = command("score", storm, storm, "--pixel-size=100,120")
    assert "Jaccard 1.0000" in said
    assert "photons: as in both files" in said
    assert "the truth has no CRLB" not in said  # the uncertainties of the file are its bounds
    localizations.write({"frame": [0], "x_px": [1.0], "y_px": [2.0]}, tmp_path / "t.csv", "csv")
    said = command("score", tmp_path / "t.csv", storm, "--pixel-size=100,120", "--plot=s.png")
    assert "the truth has no CRLB" in said
    assert "by z:" not in said


def test_nothing_found_and_nothing_to_find(folder: Path, tmp_path: Path, command: Command) -> None:
    empty: dict[str, Any] = {name: np.zeros(0) for name in ("frame", "x_px", "y_px", "z_um", "photons")}
    localizations.write(empty, tmp_path / "none.csv", "csv")
    said = command("score", folder / "emitters.h5", "none.csv", "--plot=s.png")
    assert "localizations: 0, pairs: 0" in said
    content = json.loads(command("score", "none.csv", "none.csv", "--pixel-size=100", "--json"))
    assert content["metrics"]["jaccard"] is None
    command("score", "none.csv", "none.csv", "--pixel-size=100", "--plot=s.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--radius=0"], '--radius: "0" is not allowed; allowed: a number above 0'),
        (["--dz=a"], '--dz: "a" is not allowed'),
        (["--pixel-size=100,2,3"], '--pixel-size: "100,2,3" is not allowed; allowed: a number of nm above 0, or x,y'),
        (["--pixel-size=100"], "has a pixel size of [100.0, 120.0] nm, not [100.0, 100.0] nm"),
        (["--plot=s.jpg"], "--plot: s.jpg must end in .png"),
    ],
)
def test_wrong_options(folder: Path, command: Command, words: list[str], message: str) -> None:
    assert message in command("score", folder / "emitters.h5", folder / "thunderstorm.csv", *words, code=2)


def test_wrong_files(folder: Path, tmp_path: Path, command: Command) -> None:
    h5 = folder / "emitters.h5"
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nan.csv").write_text("frame,x_px,y_px\n0,1,2\n1,nan,3\n")
    (tmp_path / "molecules.csv").write_text("x_px,y_px\n1,2\n")
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["records/xyz"] = [[1.0, 2.0, 0.0]]
        file["records/phot"], file["records/frame_ix"] = [5.0], [1]
    for words, message in [
        ((h5, "no.csv"), "no.csv: no such file"),
        ((h5, "empty.csv"), "empty.csv: unknown format"),
        ((h5, "text.csv"), "text.csv: unknown format"),
        ((h5, "nan.csv"), "nan.csv: line 3, column x_px: is NaN or infinite"),
        ((h5, "molecules.csv"), "molecules.csv: required column frame is missing"),
        (
            (folder / "thunderstorm.csv", folder / "thunderstorm.csv"),
            "does not contain the pixel size; give it with",
        ),
        (("bare.h5", h5), "bare.h5: contains no config"),
    ]:
        assert message in command("score", *words, code=2)
