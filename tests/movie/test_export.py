"""Exports of the truth: positions, photons, uncertainties and cameras as each program defines them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

import simtiff
from simtiff import localizations
from simtiff.config.exports import EXPORT_NAMES, export_files, export_name
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError, DataError
from simtiff.movie.calibration import Calibration, camera_text
from simtiff.movie.export import background_light, export_truth, truth_table
from simtiff.movie.job import run_job
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path

PX = (100.0, 120.0)
CROP = (5, 3)
BASE: dict[str, Any] = {
    "emitters": {"frames": 6, "area_px": [60, 50]},
    "tiff": {"roi_size": [40, 30], "crop_offset": list(CROP), "noise_params": {"background": 20}},
    "optical": {"pixel_size_nm": list(PX)},
    "psf": {"size_px": 15, "model": "gaussian", "sigma_nm": 130, "depth_nm": 400, "astigmatism_nm": 200},
}


def job(**sections: Any) -> dict[str, Any]:
    """Return the config with changed keys or sections."""
    merged = {key: dict(value) for key, value in BASE.items()}
    for name, section in sections.items():
        merged[name] = {**merged.get(name, {}), **section} if isinstance(section, dict) else section
    return merged


def write(folder: Path, config: dict[str, Any], xyz: Any, frames: Any, photons: Any = 1000.0) -> Path:
    """Write a complete job of given records, in px of the frame, and return its folder."""
    places = np.atleast_2d(np.asarray(xyz, float)) + np.array([*CROP, 0])
    light = {"xyz": places, "phot": np.broadcast_to(photons, len(places)), "frame_ix": np.atleast_1d(frames)}
    simtiff.Simulation(config, emitters=light).write(folder)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a job with an emitter at (10.25, 20.75) px, z 0.3 um, in frame 3, in all formats."""
    config = job(export=list(EXPORT_NAMES), camera={"quantum_efficiency": 0.5, "dark_e": 2.0, "e_per_adu": 0.4})
    return write(tmp_path_factory.mktemp("exported"), config, [10.25, 20.75, 0.3], 3)


@pytest.mark.parametrize("kind", EXPORT_NAMES)
def test_positions_come_back_from_every_format(exported: Path, kind: str) -> None:
    table = localizations.read(exported / export_name(kind), kind, pixel_size_nm=PX)
    assert len(table) == 1
    row = table.iloc[0]
    assert (row.frame, row.x_px, row.y_px) == (3, 10.25, 20.75)
    assert row.z_um == pytest.approx(0.3, abs=1e-6)
    assert row.photons == (500 if kind == "picasso" else 1000)


def test_each_file_has_the_pixel_convention_of_its_tool(exported: Path) -> None:
    def line(name: str) -> dict[str, float]:
        with (exported / name).open() as file:
            (row,) = csv.DictReader(file)
        return {key: float(value) for key, value in row.items()}

    storm = line("thunderstorm.csv")
    wanted = {"frame": 4, "x [nm]": 1075, "y [nm]": 2550, "z [nm]": 300, "intensity [photon]": 1000}
    assert {key: storm[key] for key in wanted} == pytest.approx(wanted, abs=1e-4)
    assert storm["offset [photon]"] == 20
    challenge = {"frame": 4, "xnano": 1075, "ynano": 2550, "znano": 300, "intensity": 1000}
    found = line("challenge.csv")
    assert {key: found[key] for key in challenge} == pytest.approx(challenge, abs=1e-4)

    with h5py.File(exported / "picasso_locs.hdf5") as file:
        (locs,) = file["locs"][:]
    assert (locs["frame"], locs["x"], locs["y"]) == (3, 10.25, 20.75)
    assert locs["z"] == pytest.approx(300, abs=1e-3)
    assert (locs["photons"], locs["bg"]) == (500, 12)  # photo-electrons: 20 x 0.5 and 2 of dark current
    assert "Width: 40\nHeight: 30\nFrames: 6\nPixelsize: 100.0\n" in (exported / "picasso_locs.yaml").read_text()

    with h5py.File(exported / "decode.h5") as file:  # x counts rows
        np.testing.assert_allclose(file["data/xyz"][0], [20.75, 10.25, 300], atol=1e-4)
        assert (file["data/frame_ix"][0], file["data/phot"][0], file["data/bg"][0]) == (3, 1000, 20)
        assert list(file["meta"].attrs["px_size"]) == [120, 100]

    columns = pq.read_table(exported / "localizations.parquet").to_pydict()
    places = [columns[f"position_{axis}"][0] for axis in "xyz"]
    assert places == pytest.approx([1025, 2490, 300], abs=1e-4)
    assert (columns["frame"], columns["intensity"]) == ([3], [1000])


def test_what_each_tool_must_know_of_the_camera(exported: Path) -> None:
    assert (exported / "picasso_locs_camera.txt").read_text() == (
        "# Picasso counts photo-electrons: (counts - baseline) * sensitivity / gain; it does not use the QE.\n"
        "# It supports only square pixels; these are 120 nm high.\n"
        "picasso localize simulation.ome.tiff --baseline 100 --sensitivity 0.4 --gain 1 --qe 0.5 --pixelsize 100\n"
    )
    assert (exported / "decode_camera.yaml").read_text() == (
        "# DECODE: values for the training parameters. px_size is along y, then x.\n"
        "Camera:\n  baseline: 100.5\n  convert2photons: true\n  e_per_adu: 0.4\n  em_gain: null\n"
        "  px_size: [120.0, 100.0]\n  qe: 0.5\n  read_sigma: 1.6\n  spur_noise: 2.0\n"
    )
    lines = (exported / "thunderstorm_camera.txt").read_text().splitlines()
    assert lines[1:7] == [
        "Pixel size [nm]: 100 (only square pixels are supported; these are 120 nm high)",
        "Photoelectrons per A/D count: 0.4",
        "Quantum efficiency: 0.5",
        "Base level [A/D counts]: 100",
        "EM gain: off",
        "Readout noise [e-/pixel]: 1.6",
    ]
    assert lines[-1] == (
        'run("Camera setup", "offset=100 quantumefficiency=0.5 isemgain=false photons2adu=0.4 readoutnoise=1.6 '
        'pixelsize=100");'
    )


def text_of(kind: str, **sections: Any) -> str:
    config = load_job_config(job(**sections))
    text = camera_text(kind, Calibration.of(config), "a movie.tif")
    assert text is not None
    return text


def test_cameras_with_a_register_without_a_block_and_without_noise() -> None:
    register = {"em_gain": 300.5, "e_per_adu": 10.0, "offset_adu": 100.25, "read_noise_e": 70.0}
    words = text_of("picasso", camera=register).splitlines()
    assert words[1] == "# It accepts only whole numbers; the baseline is 100.25."
    gain = round(300.5)
    assert words[-1] == (
        f"picasso localize 'a movie.tif' --baseline 100 --sensitivity {10 * gain / 300.5:.9g} --gain {gain} --qe 1 "
        "--pixelsize 100"
    )
    assert "EM gain: 300.5\n" in text_of("thunderstorm", camera=register)
    assert "isemgain=true photons2adu=10 gainem=300.5 pixelsize=100" in text_of("thunderstorm", camera=register)
    assert "em_gain: 300.5\n" in text_of("decode", camera=register)

    plain = {"noise_params": {"readout_noise": 3.0}}
    assert "baseline: 0.5\n" in text_of("decode", tiff=plain)
    assert "read_sigma: 3.0\n" in text_of("decode", tiff=plain)
    assert "baseline: 0.0\n" in text_of("decode", tiff={**plain, "dtype": "float32"})
    assert "--baseline 0 --sensitivity 1 --gain 1 --qe 1 " in text_of("picasso", tiff=plain)
    silent = text_of("decode", tiff={"add_noise": False}, camera=register)  # expected photons
    assert "baseline: 0.5\n" in silent
    assert "em_gain: null\n" in silent


def test_photo_electrons_of_a_camera_with_maps(tmp_path: Path) -> None:
    efficiency = np.full((50, 60), 0.5)
    efficiency[20 + CROP[1], 10 + CROP[0]] = 0.75
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["quantum_efficiency"] = efficiency
        file["offset_adu"] = np.full((50, 60), 90.0)
    config = job(camera={"maps_path": str(tmp_path / "maps.h5")}, export=["picasso"])
    folder = write(tmp_path / "job", config, [[10.4, 19.6, 0], [10.6, 19.6, 0]], [0, 0])
    assert list(localizations.read(folder / "picasso_locs.hdf5").photons) == [750, 500]
    first, *_, last = (folder / "picasso_locs_camera.txt").read_text().splitlines()
    assert first == "# Camera parameters differ from pixel to pixel: these are means."
    assert "--baseline 90 " in last


def test_records_centred_outside_the_frame_are_left_out(tmp_path: Path) -> None:
    edges = [[-0.5, 5, 0], [-0.51, 5, 0], [39.49, 5, 0], [39.5, 5, 0], [5, -0.5, 0], [5, -0.51, 0], [5, 29.49, 0]]
    folder = write(tmp_path, job(export=["parquet"]), [*edges, [5, 29.5, 0]], np.zeros(8, int))
    table = localizations.read(folder / "localizations.parquet")
    assert list(table.id) == [0, 2, 4, 6]


def light(rows: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    xyz = rng.uniform([-4, -4, -0.4], [44, 34, 0.4], (rows, 3))
    return xyz, np.sort(rng.integers(0, frames, rows))


def test_picasso_has_the_isolated_bound_whatever_the_file_stores(tmp_path: Path) -> None:
    xyz, frame = light(60, 6)
    stored: dict[Any, Any] = {}
    for crlb in (False, True, "joint"):
        config = job(truth={"crlb": crlb}, export=["picasso", "parquet"])
        folder = write(tmp_path / str(crlb), config, xyz, frame)
        stored[crlb] = localizations.read(folder / "picasso_locs.hdf5")
        has = "sigma_x_px" in localizations.read(folder / "localizations.parquet")
        assert has == bool(crlb)
    names = ["sigma_x_px", "sigma_y_px", "sigma_z_um"]
    for table in stored.values():
        np.testing.assert_allclose(table[names], stored[False][names], rtol=1e-6)
    with simtiff.open_truth(tmp_path / "True" / "emitters.h5") as truth:
        records = truth.records(as_pandas=True)
    inside = records[records.id.isin(stored[True].id)]
    np.testing.assert_allclose(stored[True][names], inside[names], rtol=1e-6)
    joint = localizations.read(tmp_path / "joint" / "localizations.parquet")
    assert joint.sigma_x_px.sum() > 1.01 * stored["joint"].sigma_x_px.sum()


def test_picasso_has_finite_numbers_where_the_pixels_say_nothing_of_z(tmp_path: Path) -> None:
    config = job(export=["picasso"], psf={"depth_nm": None, "astigmatism_nm": 0})
    table = localizations.read(write(tmp_path, config, [10, 10, 0.1], 0) / "picasso_locs.hdf5")
    assert table.sigma_z_um[0] == 1000
    assert 0 < table.sigma_x_px[0] < 0.2


def test_the_table_is_the_same_however_many_rows_at_a_time(tmp_path: Path) -> None:
    folder = write(tmp_path, job(), *light(80, 6))
    with TruthFile(folder / "emitters.h5") as truth:
        pieces = list(truth_table(truth, "isolated", rows=7))
        (whole,) = truth_table(truth, "isolated")
    assert len(pieces) > 3
    together = type(whole).concatenate(pieces)
    for name, values in whole.as_dict().items():
        np.testing.assert_array_equal(getattr(together, name), values, err_msg=name)


def test_a_file_of_another_program_is_exported(tmp_path: Path) -> None:
    """Unsorted records without positions; emitters with arbitrary ids; no config."""
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["emitters/xyz"] = [[15.25, 23.75, 0.3], [20.0, 10.0, 0.0]]
        file["emitters/id"] = [7, 3]
        file["records/id"] = [3, 7, 3]
        file["records/phot"] = [10.0, 20.0, 30.0]
        file["records/frame_ix"] = [4, 3, 1]
    with pytest.raises(DataError, match="contains no config"):
        export_truth(tmp_path / "t.h5", "parquet", tmp_path / "t.parquet")
    made = export_truth(tmp_path / "t.h5", "picasso", tmp_path / "t.hdf5", load_job_config(job()))
    assert made.rows == 3
    assert made.files == export_files("picasso", tmp_path / "t.hdf5")
    table = localizations.read(tmp_path / "t.hdf5")
    assert list(table.frame) == [1, 3, 4]
    assert (table.x_px[1], table.y_px[1]) == (10.25, 20.75)
    assert list(table.photons) == [30, 20, 10]


def test_a_movie_without_records_in_the_frame(tmp_path: Path) -> None:
    folder = write(tmp_path, job(export=list(EXPORT_NAMES)), [-8, -3, 0], 0)
    for kind in EXPORT_NAMES:
        assert len(localizations.read(folder / export_name(kind), kind, pixel_size_nm=PX)) == 0


def test_a_job_whose_input_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "decode.h5", "w") as file:
        file["quantum_efficiency"] = np.full((50, 60), 0.5)
    config = load_job_config(job(camera={"maps_path": str(tmp_path / "decode.h5")}, export=["decode"]))
    with pytest.raises(ConfigError, match=r"decode\.h5: would be overwritten, but is an input"):
        run_job(config, tmp_path)


def test_bad_input_is_one_error(tmp_path: Path) -> None:
    folder = write(tmp_path, job(truth={"crlb": True}), [10, 10, 0], 0)
    h5 = folder / "emitters.h5"
    with h5py.File(h5, "r+") as file:
        file["records/crlb"][:] = [[2, 3, 4, 5, 6]]
    export_truth(h5, "picasso", tmp_path / "t.hdf5")  # uses the stored bounds
    table = localizations.read(tmp_path / "t.hdf5")
    assert (table.sigma_x_px[0], table.sigma_y_px[0], table.sigma_z_um[0]) == (2, 3, 4)
    with pytest.raises(ConfigError, match="allowed: thunderstorm, picasso, decode, smlm-challenge, parquet"):
        export_truth(h5, "csv", tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=r"emitters\.h5: would be overwritten, but is an input"):
        export_truth(h5, "decode", h5)
    with pytest.raises(DataError, match=r"no\.h5: no such file"):
        export_truth(tmp_path / "no.h5", "decode", tmp_path / "t.h5")
    with h5py.File(h5, "r+") as file:
        del file["records/crlb"]
        file["records/crlb"] = np.ones((3, 5), np.float32)
    with pytest.raises(DataError, match=r"emitters\.h5: records/crlb: has shape"):
        export_truth(h5, "parquet", tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_the_background_is_that_of_the_config_in_use(tmp_path: Path) -> None:
    """The background is that of the given config, even if the file has another."""
    made: dict[str, Any] = {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 9, "frames": 3, "area_px": 32},
        "background": {"photons": 500},
        "tiff": {"roi_size": 32},
    }
    path = simtiff.Simulation(made).write(tmp_path)["emitters.h5"]
    flat = {key: value for key, value in made.items() if key != "background"}
    flat["tiff"] = {"roi_size": 20, "noise_params": {"background": 20}}
    for config, photons, side in ((made, 500, 32), (made | {"background": {"photons": 7}}, 7, 32), (flat, 20, 20)):
        with TruthFile(path, load_job_config(config)) as truth:
            known = background_light(truth)
        assert known is not None
        assert (known[0].shape, known[0].mean(), known[1].tolist()) == ((side, side), photons, [1, 1, 1])
