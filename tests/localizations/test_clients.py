"""Picasso (PyPI: ``picassosr``) and Locan read our files, and Picasso fits movies; `make test-clients`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

import simtiff
from simtiff import localizations
from simtiff.cli.process import main
from simtiff.language import speaking

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]  # warnings of other software are no failures

PX = (100.0, 120.0)


def table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {"frame": np.sort(rng.integers(0, 50, rows))}
    columns |= {"x_px": rng.uniform(0, 60, rows), "y_px": rng.uniform(0, 30, rows), "z_um": rng.normal(0, 0.4, rows)}
    columns |= {"photons": rng.uniform(100, 5000, rows), "id": np.arange(rows)}
    columns |= {"sigma_x_px": rng.uniform(0.05, 0.2, rows), "sigma_y_px": rng.uniform(0.05, 0.2, rows)}
    return pd.DataFrame(columns)


def test_picasso_loads_localizations(tmp_path: Path) -> None:
    io = pytest.importorskip("picasso.io")
    truth = table()
    path = tmp_path / "sim_locs.hdf5"
    localizations.write(truth, path, "picasso", pixel_size_nm=PX, size_px=(64, 32), frames=60)
    locs, info = io.load_locs(str(path))
    assert len(locs) == len(truth)
    wanted = {"x": truth.x_px, "y": truth.y_px, "z": truth.z_um * 1000, "frame": truth.frame, "photons": truth.photons}
    wanted |= {"lpx": truth.sigma_x_px, "lpy": truth.sigma_y_px}
    for name, values in wanted.items():
        np.testing.assert_allclose(locs[name], values, rtol=1e-6, err_msg=name)
    assert {key: info[-1][key] for key in ("Width", "Height", "Frames", "Pixelsize")} == {
        "Width": 64,
        "Height": 32,
        "Frames": 60,
        "Pixelsize": 100,
    }


def test_locan_loads_localizations(tmp_path: Path) -> None:
    locan_io = pytest.importorskip("locan.locan_io")
    from locan import LocData

    truth = table()
    paths = {kind: tmp_path / f"locs.{kind}" for kind in ("thunderstorm", "decode", "parquet")}
    for kind, path in paths.items():
        localizations.write(truth, path, kind, pixel_size_nm=PX)
    x, y, z = truth.x_px * 100, truth.y_px * 120, truth.z_um * 1000
    for loaded, places, first in [
        (locan_io.load_thunderstorm_file(paths["thunderstorm"]), (x + 50, y + 60, z), 1),
        (locan_io.load_decode_file(paths["decode"]), (truth.y_px, truth.x_px, z), 0),
        (LocData.from_dataframe(pd.read_parquet(paths["parquet"])), (x, y, z), 0),
    ]:
        np.testing.assert_allclose(loaded.coordinates, np.transpose(places), rtol=1e-6)
        np.testing.assert_allclose(loaded.data["intensity"], truth.photons, rtol=1e-6)
        np.testing.assert_array_equal(loaded.data["frame"], truth.frame + first)


PHOTONS, FRAMES = 2000.0, 20


def write_movie(folder: Path, **settings: Any) -> Path:
    """Write a job with isolated emitters in focus that are on in every frame, and 100 nm pixels."""
    rng = np.random.default_rng(1)
    along = np.arange(12, 244, 14.0)
    places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    xyz = np.zeros((FRAMES, len(places), 3))
    xyz[..., :2] = places + rng.uniform(-0.5, 0.5, (FRAMES, len(places), 2))
    light = {"xyz": xyz.reshape(-1, 3), "phot": np.full(xyz.shape[0] * xyz.shape[1], PHOTONS)}
    light["frame_ix"] = np.repeat(np.arange(FRAMES), len(places))
    config: dict[str, Any] = {
        "emitters": {"frames": FRAMES, "area_px": 256, "z_um": [0, 0]},
        "optical": {"pixel_size_nm": 100},
        "psf": {"size_px": 31, **settings.pop("psf")},
        "tiff": {"roi_size": 256, "noise_params": {"background": 20, **settings.pop("noise", {})}},
        "truth": {"crlb": True},
        "export": ["picasso"],
        **settings,
    }
    simtiff.Simulation(config, emitters=light).write(folder)
    return folder


def localized(folder: Path) -> Path:
    """Fit a movie with Picasso, using the command line exported with its truth, for all emitters in view."""
    lines = (folder / "picasso_locs_camera.txt").read_text().splitlines()
    line = next(line for line in lines if line.startswith("picasso "))
    return run_picasso(f"{line} --box-side-length 9 --gradient 800 --fit-method mle --drift 0", folder)


def run_picasso(line: str, folder: Path) -> Path:
    """Run a Picasso command line in a folder, and return the path of its localizations."""
    _, *words = shlex.split(line)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "picasso", *words],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "simulation.ome_locs.hdf5"


@pytest.fixture(scope="module")
def unaberrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a job with the exact PSF without aberrations, and a simple camera."""
    folder = tmp_path_factory.mktemp("unaberrated")
    with h5py.File(folder / "flat.h5", "w") as file:
        file["z_maps/phase"] = np.zeros((4, 256, 256), np.float32)
    return write_movie(folder, zmap_path=str(folder / "flat.h5"), psf={}, noise={"readout_noise": 1})


def scored(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["score", str(folder / "emitters.h5"), str(localized(folder)), "--json"]) == 0
    metrics: dict[str, Any] = json.loads(capsys.readouterr().out)["metrics"]
    return metrics


def check_lateral(metrics: dict[str, Any]) -> None:
    assert metrics["recall"] > 0.95
    for axis in "xy":
        assert metrics[f"error_over_bound_{axis}"] <= 1.1
        assert abs(metrics[f"bias_{axis}_nm"]) < 1


def test_picasso_loads_movies_and_renders_the_truth_where_it_is(unaberrated: Path) -> None:
    io, render = pytest.importorskip("picasso.io"), pytest.importorskip("picasso.render")
    movie, info = io.load_movie(str(unaberrated / "simulation.ome.tiff"))
    pixels = tifffile.imread(unaberrated / "simulation.ome.tiff")
    np.testing.assert_array_equal(np.stack([movie[frame] for frame in range(FRAMES)]), pixels)
    movie.close()
    assert (info[0]["Width"], info[0]["Height"], info[0]["Frames"]) == (256, 256, FRAMES)

    locs, info = io.load_locs(str(unaberrated / "picasso_locs.hdf5"))
    with simtiff.open_truth(unaberrated / "emitters.h5") as truth:
        xyz = truth.records()["xyz"]
    count, image = render.render(locs, info, disp_px_size=25)
    assert count == len(xyz)
    drawn = np.zeros((1024, 1024))
    np.add.at(drawn, tuple(np.floor(4 * xyz[:, [1, 0]]).astype(int).T), 1)
    np.testing.assert_array_equal(image, drawn)


def test_picasso_reaches_the_bound_on_an_unaberrated_movie(
    unaberrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("picasso")
    check_lateral(scored(unaberrated, capsys))


@pytest.mark.parametrize("preset", ["evolve_delta_512", "orca_fusion_bt"])
def test_picasso_reaches_the_bound_and_counts_photons_of_emccd_and_scmos_movies(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("picasso")
    metrics = scored(write_movie(tmp_path, psf={"model": "gaussian"}, camera={"preset": preset}), capsys)
    check_lateral(metrics)
    assert abs(metrics["bias_photons"]) < 0.005 * PHOTONS


@pytest.mark.parametrize("page", ["exchange.md", "exchange.zh-CN.md"])
def test_the_example_of_the_page_has_its_numbers(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("picasso")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "explanation" / page).read_text(encoding="utf-8")
    part = text.partition("<!-- picasso -->")[2]
    config, code, line, command, figures = re.findall(r"^```\w+\n(.*?)^```", part, flags=re.DOTALL | re.MULTILINE)
    Path("grid.json").write_text(config, encoding="utf-8")
    exec(compile(code, page, "exec"), {})
    line = line.replace("\\\n", " ")
    assert line.startswith(Path("grid/picasso_locs_camera.txt").read_text().splitlines()[-1])
    run_picasso(line, Path("grid"))
    capsys.readouterr()
    with speaking("zh" if "zh" in page else "en"):
        assert main(shlex.split(command)[1:]) == 0
    # Fits on another processor may differ in the last digits.
    pattern = r"-?\d[\d,]*\.?\d*"
    shown, found = (re.findall(pattern, each) for each in (figures, capsys.readouterr().out.partition("\n")[2]))
    for one, other in zip(shown, found, strict=False):
        number = float(one.replace(",", "").strip("."))
        assert float(other.replace(",", "")) == pytest.approx(number, rel=0.02, abs=0.05), (shown, found)
