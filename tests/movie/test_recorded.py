"""Records of other software: the smallest file, vectors and numbers as saved by MATLAB, arrays instead of a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from matlab_files import save
from simtiff.batch.pipeline import run_pipeline
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.movie.job import stream_movie
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES, SIDE = 6, 32
XYZ = np.random.default_rng(1).uniform((2, 2, -0.4), (29, 29, 0.4), (40, 3)).astype(np.float32)
PHOT = np.random.default_rng(2).uniform(100, 900, 40).astype(np.float32)
FRAME_IX = np.random.default_rng(3).integers(0, FRAMES - 1, 40)  # none in the last frame, unsorted
RECORDS = {"xyz": XYZ, "phot": PHOT, "frame_ix": FRAME_IX}
JOB: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"frames": FRAMES, "area_px": SIDE},
    "tiff": {"roi_size": SIDE, "add_noise": False, "dtype": "float32"},
    "psf": {"size_px": 15},
}


def smallest(path: Path, **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in (RECORDS | changed).items():
            file[f"records/{name}"] = values
    return path


def expected() -> NDArray[np.float32]:
    """Return the movie rendered with `simtiff.render` from the coefficients at the records' positions."""
    field = simtiff.FieldMap.open("builtin:oil", size=SIDE)
    phase, _ = field.coefficients(XYZ[:, 0], XYZ[:, 1])
    shape = (SIDE, SIDE)
    return simtiff.render(simtiff.Optics(), XYZ, PHOT, shape, phase, None, FRAME_IX, n_frames=FRAMES, size=15)


def test_the_smallest_file_is_enough_everywhere(tmp_path: Path) -> None:
    config = load_job_config(JOB)
    path = smallest(tmp_path / "emitters.h5")
    before = path.read_bytes()
    stream_movie(path, tmp_path / "streamed.tif", config)
    movie = tifffile.imread(tmp_path / "streamed.tif")
    np.testing.assert_allclose(movie, expected(), rtol=1e-4, atol=1e-3)
    for given_ in (path, RECORDS):
        simulation = simtiff.Simulation(JOB, emitters=given_)
        assert simulation.shape == movie.shape
        np.testing.assert_array_equal(simulation.frames(2, 5), movie[2:5])
        assert len(simulation.records) == len(XYZ)
        written = simulation.write(tmp_path / "written")
        np.testing.assert_array_equal(tifffile.imread(written["simulation.ome.tiff"]), movie)
        stream_movie(written["emitters.h5"], tmp_path / "again.tif")
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), movie)
        with pytest.raises(DataError, match="only records were given"):
            _ = simulation.emitters
    assert path.read_bytes() == before
    run_pipeline(config, tmp_path, skip_emitters=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "simulation.ome.tiff"), movie)
    with TruthFile(path) as truth:  # has the config and coefficients now
        assert (truth.config, truth.n_frames, truth.computes) == (config, FRAMES, False)


def test_frames_are_those_of_the_file_or_the_config_or_the_last_with_light(tmp_path: Path) -> None:
    path = smallest(tmp_path / "emitters.h5")
    unsaid = load_job_config({**JOB, "emitters": {"area_px": SIDE}})
    for given_ in (path, RECORDS):
        assert simtiff.Simulation(unsaid, emitters=given_).shape[0] == FRAMES - 1
        longer = {**JOB, "emitters": {"area_px": SIDE, "frames": 50}}
        assert simtiff.Simulation(longer, emitters=given_).shape[0] == 50
    short = load_job_config({**JOB, "emitters": {"area_px": SIDE, "frames": 3}})
    with pytest.raises(DataError, match=r"contains 5 frames, emitters\.frames is 3"):
        run_pipeline(short, tmp_path, skip_emitters=True)
    with pytest.raises(ConfigError, match=r"emitters\.frames is 3, but frame_ix goes up to 4"):
        simtiff.Simulation(short, emitters=RECORDS)


def test_without_a_map_there_are_no_aberrations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = smallest(tmp_path / "emitters.h5")
    config = {key: value for key, value in JOB.items() if key != "zmap_path"}
    (tmp_path / "job.json").write_text(json.dumps(config), encoding="utf-8")
    words = ["stream", f"--h5={path}", f"--output={tmp_path / 'm.tif'}", f"--config={tmp_path / 'job.json'}"]
    assert cli.main(words) == 0
    assert "no coefficients and the config no map: PSFs have no aberrations" in capsys.readouterr().err
    plain = simtiff.render(simtiff.Optics(), XYZ, PHOT, (SIDE, SIDE), frame_ix=FRAME_IX, n_frames=FRAMES, size=15)
    np.testing.assert_allclose(tifffile.imread(tmp_path / "m.tif"), plain, rtol=1e-4, atol=1e-3)
    # its emitters can be marked, and a Gaussian needs no coefficients
    picture = ["preview", str(tmp_path / "m.tif"), f"--output={tmp_path / 'm.png'}", words[1], words[3]]
    assert cli.main(picture) == 0
    (tmp_path / "job.json").write_text(json.dumps(config | {"psf": {"model": "gaussian"}}), encoding="utf-8")
    assert cli.main(words) == cli.main(picture) == 0
    assert "coefficients" not in capsys.readouterr().err


def test_kept_coefficients_must_be_there(tmp_path: Path) -> None:
    smallest(tmp_path / "emitters.h5")
    with pytest.raises(DataError, match="no dataset zernike_coeffs/phase"):
        run_pipeline(load_job_config(JOB), tmp_path, skip_zernike=True)


@given(
    shapes=st.fixed_dictionaries(
        {name: st.sampled_from([(-1,), (-1, 1), (1, -1)]) for name in ("phot", "frame_ix", "id")}
    ),
    dtype=st.sampled_from(["f8", "f4", "i4", "u2"]),
)
def test_columns_and_whole_doubles_are_vectors_of_integers(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[int, ...]], dtype: str
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    ids = np.arange(40) // 2 + 7
    columns = {"phot": PHOT, "frame_ix": FRAME_IX.astype(dtype), "id": ids.astype(dtype)}
    changed = {name: values.reshape(shapes[name]) for name, values in columns.items()}
    config = load_job_config(JOB)
    with (
        TruthFile(smallest(folder / "a.h5", **changed), config, coefficients="computed") as found,
        TruthFile(smallest(folder / "b.h5", id=ids), config, coefficients="computed") as plain,
    ):
        for one, two in zip(found.records(), plain.records(), strict=True):
            np.testing.assert_array_equal(one, two)
    arrays = simtiff.Simulation(config, emitters={"xyz": XYZ, **changed}).records
    np.testing.assert_array_equal(arrays.id, simtiff.Simulation(config, emitters=folder / "b.h5").records.id)


def _with_emitters(n: int) -> dict[str, Any]:
    """Return variables as in MATLAB, with emitters and their coefficients."""
    random = np.random.default_rng(5)
    emitters = {"xyz": XYZ[:n], "intensity": PHOT[:n, None], "t0": PHOT[None, :n], "on_time": PHOT[:n, None]}
    records = {"phot": PHOT[:, None], "frame_ix": FRAME_IX[None].astype(float), "id": np.arange(40.0)[:, None] % n}
    phase = random.normal(0, 0.1, (n, 6))
    return {
        "emitters": emitters | {"id": np.arange(float(n))},
        "records": records,
        "zernike_coeffs": {"phase": phase, "mag": 0.1 * phase},
    }


@pytest.mark.parametrize("n", [1, 3, 6, 20])  # also as many as modes or columns
def test_truth_that_matlab_saved_is_that_of_python(tmp_path: Path, n: int) -> None:
    variables = _with_emitters(n)
    text = load_job_config(JOB).model_dump_json()
    matlab = save(tmp_path / "matlab.h5", **variables, config=text)
    with h5py.File(tmp_path / "python.h5", "w") as file:
        file.attrs["config"] = text
        for group, columns in variables.items():
            for name, values in columns.items():
                file[f"{group}/{name}"] = values
    for path in (matlab, tmp_path / "python.h5"):
        stream_movie(path, path.with_suffix(".tif"))
    movie = tifffile.imread(tmp_path / "python.tif")
    assert len(movie) == FRAMES
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "matlab.tif"), movie)


def test_matlab_s_records_are_rewritten_in_the_documented_layout(tmp_path: Path) -> None:
    records = {name: values if values.ndim == 2 else values[:, None] for name, values in RECORDS.items()}
    path = save(tmp_path / "emitters.h5", records=records | {"id": np.zeros((0, 0))})
    run_pipeline(load_job_config(JOB), tmp_path, skip_emitters=True)
    movie = tifffile.imread(tmp_path / "simulation.ome.tiff")
    np.testing.assert_allclose(movie, expected(), rtol=1e-4, atol=1e-3)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["records/xyz"], XYZ)
        np.testing.assert_array_equal(file["records/frame_ix"], FRAME_IX)
        assert "MATLAB_class" not in file["records/xyz"].attrs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_ix": FRAME_IX + 0.5}, r"frame_ix: row 0 is \d\.5; (allowed:|expected) whole numbers"),
        ({"id": np.full(40, 1.25)}, r"id: row 0 is 1\.25; (allowed:|expected) whole numbers"),
        ({"frame_ix": np.full(40, np.nan)}, r"frame_ix: row 0 is "),
        ({"phot": np.full(40, -1.0)}, r"phot:? (ranges from -1|has NaN)"),
        ({"phot": np.ones((20, 2))}, r"phot:? has shape \(20, 2\)"),
        ({"phot": PHOT[:-1]}, r"phot"),
        ({"xyz": XYZ.T}, r"xyz:? has shape \(3, 40\)"),
        ({"xyz": XYZ + np.array([100, 0, 0])}, r"x = 1"),
        ({"frame_ix": FRAME_IX - 10}, r"frame_ix:? ranges from -10"),
    ],
)
def test_records_that_do_not_fit_are_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    makers: list[Callable[[], Any]] = [
        lambda: smallest(tmp_path / "records.h5", **change),
        lambda: RECORDS | change,
    ]
    for make in makers:
        with pytest.raises((DataError, ShapeError), match=message):
            simtiff.Simulation(JOB, emitters=make()).frames(0, FRAMES)
    with pytest.raises(DataError, match=rf"records\.h5: .*{message}"):
        stream_movie(tmp_path / "records.h5", tmp_path / "movie.tif", load_job_config(JOB))
    assert [path.name for path in tmp_path.iterdir()] == ["records.h5"]


def test_names_of_arrays_are_known() -> None:
    in_nm = {"x_nm": [100.0], "y_nm": [200.0]}
    for wrong, message in (
        ({"xyz": XYZ}, "missing phot, frame_ix"),
        (RECORDS | {"z": 1}, "unknown z"),
        (in_nm, "allowed: xyz, phot, frame_ix, and id; or x_px, y_px, and z_um, frame, photons, id"),
    ):
        with pytest.raises(ConfigError, match=message):
            simtiff.Simulation(JOB, emitters=wrong)
