"""`open_truth`: any part of the truth as arrays or tables, equal to its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from simtiff.errors import DataError, ShapeError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 80, "frames": 9, "area_px": 60},
    "tiff": {"roi_size": [40, 30], "crop_offset": [5, 3], "noise_params": {"background": 20}},
    "psf": {"size_px": 15},
    "truth": {"crlb": True},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[simtiff.Simulation, Path]:
    simulation = simtiff.Simulation(CONFIG)
    folder = tmp_path_factory.mktemp("made")
    simulation.write(folder)
    return simulation, folder / "emitters.h5"


def test_all_that_a_file_has(made: tuple[simtiff.Simulation, Path]) -> None:
    simulation, path = made
    with h5py.File(path) as file:
        bounds, every = file["records/crlb"][:], file["zernike_coeffs/phase"][:]
    with simtiff.open_truth(path) as truth:
        assert truth.n_frames == 9
        assert truth.config is not None
        assert truth.config.emitters.num_emitters == 80
        records, emitters = truth.records(), truth.emitters()
        for name in ("xyz", "phot", "frame_ix", "id"):
            np.testing.assert_array_equal(records[name], getattr(simulation.records, name))
        for name in ("xyz", "intensity", "t0", "on_time", "id"):
            np.testing.assert_array_equal(emitters[name], getattr(simulation.emitters, name))
            assert emitters[name].dtype == getattr(simulation.emitters, name).dtype
        assert truth.blinks() is None
        np.testing.assert_array_equal(truth.bounds(), bounds)
        coefficients = truth.coefficients()
        np.testing.assert_array_equal(coefficients["id"], np.unique(simulation.records.id))
        np.testing.assert_array_equal(coefficients["phase"], every[coefficients["id"]])
        background = truth.background()
        assert background is not None
        assert background.shape == (9, 30, 40)
        assert (background == 20).all()


def test_a_range_of_frames(made: tuple[simtiff.Simulation, Path]) -> None:
    simulation, path = made
    truth = simtiff.open_truth(str(path))  # without a `with` block
    every = simulation.records
    some = (every.frame_ix >= 3) & (every.frame_ix < 6)
    records = truth.records(3, 6)
    np.testing.assert_array_equal(records["xyz"], every.xyz[some])
    np.testing.assert_array_equal(records["frame_ix"], every.frame_ix[some])
    bounds, all_bounds = truth.bounds(3, 6), truth.bounds()
    assert bounds is not None
    assert all_bounds is not None
    np.testing.assert_array_equal(bounds, all_bounds[some])
    ids = np.unique(every.id[some])
    assert 0 < len(ids) < 80
    emitters = truth.emitters(3, 6)
    np.testing.assert_array_equal(emitters["id"], ids)
    np.testing.assert_array_equal(emitters["t0"], simulation.emitters.t0[ids])
    np.testing.assert_array_equal(truth.coefficients(3, 6)["id"], ids)
    assert len(truth.records(4, 4)["id"]) == 0
    assert "9 frames" in repr(truth)
    truth.close()


def test_tables(made: tuple[simtiff.Simulation, Path]) -> None:
    simulation, path = made
    with simtiff.open_truth(path) as truth:
        records = truth.records(2, 5, as_pandas=True)
        sigmas = ["sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons"]
        assert list(records) == ["frame", "id", "x_px", "y_px", "z_um", "photons", *sigmas]
        np.testing.assert_array_equal(records[["x_px", "y_px", "z_um"]], truth.records(2, 5)["xyz"])
        emitters = truth.emitters(as_pandas=True)
        assert list(emitters) == ["id", "x_px", "y_px", "z_um", "photons", "t0", "on_time"]
        np.testing.assert_array_equal(emitters.photons, simulation.emitters.intensity)
        coefficients = truth.coefficients(as_pandas=True)
        assert list(coefficients)[:3] == ["id", "phase_1", "phase_2"]


def test_blinks_and_backgrounds_of_frames(tmp_path: Path) -> None:
    config = simtiff.Simulation({**CONFIG, "background": {"photons": 30}, "tiff": {"roi_size": 8}}).config
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs["config"] = config.model_dump_json()
        file["records/xyz"] = [[1.0, 2.0, 0.0]]
        file["records/phot"], file["records/frame_ix"] = [5.0], [1]
        blinks = {"emitter": [0, 1, 0], "t0": [-1.5, 2.0, 3.5], "on_time": [2.0, 1.0, 1.0], "state": [0, 1, 0]}
        for name, values in {**blinks, "intensity": [100.0, 200.0, 300.0]}.items():
            file[f"blinks/{name}"] = values
        file["background/image"] = np.arange(64.0).reshape(8, 8)
        file["background/factor"] = np.linspace(0, 1, 9)
    with simtiff.open_truth(tmp_path / "t.h5") as truth:
        every = truth.blinks()
        assert every is not None
        assert list(every["emitter"]) == [0, 1, 0]
        for start, stop, rows in [(0, 1, [0]), (1, 2, []), (2, 4, [1, 2]), (3, 9, [2]), (4, 4, [])]:
            some = truth.blinks(start, stop)
            assert some is not None
            np.testing.assert_array_equal(some["t0"], every["t0"][rows])
        table = truth.blinks(as_pandas=True)
        assert table is not None
        assert list(table) == ["emitter", "t0", "on_time", "state", "photons"]
        background = truth.background(4, 6)
        assert background is not None
        np.testing.assert_allclose(background[1], np.arange(64.0).reshape(8, 8) * 5 / 8)
        with pytest.raises(DataError, match="has only records, no emitters"):
            truth.emitters()


def test_the_smallest_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["records/xyz"] = [[1.0, 2.0, 0.0], [3.0, 4.0, 0.5]]
        file["records/phot"], file["records/frame_ix"] = [5.0, 6.0], [1, 0]
    with simtiff.open_truth(tmp_path / "t.h5") as truth:
        assert truth.config is None
        records = truth.records()
        assert list(records["frame_ix"]) == [0, 1]
        assert list(records["phot"]) == [6, 5]
        assert truth.bounds() is None
        for ask in (truth.background, truth.coefficients):
            with pytest.raises(DataError, match="contains no config"):
                ask()


def test_drift_is_that_of_the_records(tmp_path: Path) -> None:
    config = {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 50, "frames": 9, "area_px": 32, "blinking": {"kind": "always"}},
        "drift": {"velocity_nm": [20, -10, 5]},
        "tiff": {"roi_size": 32},
    }
    files = simtiff.Simulation(config).write(tmp_path)
    with simtiff.open_truth(files["emitters.h5"]) as truth:
        drift, records, emitters = truth.drift(2, 5), truth.records(2, 5), truth.emitters()
        assert drift is not None
        place = emitters["xyz"][records["id"]] + drift[records["frame_ix"] - 2]
        np.testing.assert_allclose(records["xyz"], place, atol=1e-5)
        assert drift.shape == (3, 3)


def test_bad_input(made: tuple[simtiff.Simulation, Path], tmp_path: Path) -> None:
    _, path = made
    with simtiff.open_truth(path) as truth:
        for start, stop in [(-1, 2), (5, 4), (0, 10), (1.5, 2)]:
            for ask in (truth.records, truth.bounds, truth.emitters, truth.coefficients, truth.background, truth.drift):
                with pytest.raises(ShapeError, match="expected 0 <= start <= stop <= 9"):
                    ask(start, stop)  # type: ignore[operator]
    with pytest.raises(DataError, match=r"no\.h5: no such file"):
        simtiff.open_truth(tmp_path / "no.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut\.h5"):
        simtiff.open_truth(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["records/xyz"] = np.zeros((1, 3))
        file["records/phot"], file["records/frame_ix"] = [5.0], [1]
        file["blinks/t0"] = [1.0]
    with pytest.raises(DataError, match="no dataset blinks/emitter"):
        simtiff.open_truth(tmp_path / "b.h5")
