"""Movies of the user's own molecules and localizations: from files and tables, in Python and in jobs."""

from __future__ import annotations

import json
import pickle
import re
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

import simtiff
from simtiff import localizations
from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.batch.pipeline import run_pipeline
from simtiff.config.loading import load_job_config
from simtiff.emitters.given import list_notes, with_frames
from simtiff.errors import ConfigError, DataError
from simtiff.imaging.rendering import set_threads
from simtiff.localizations.table import Localizations
from simtiff.movie.estimate import show_emitters, unused_note
from simtiff.movie.events import Progress
from simtiff.movie.job import run_job, stream_movie
from simtiff.movie.truth import replace_coefficients
from simtiff.movie.truthfile import stored_config

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, SIZE, PX = 12, 48, (100.0, 120.0)


def job(path: object = None, drift: Any = None, illumination: Any = None, **emitters: Any) -> dict[str, Any]:
    own = {} if path is None else {"positions_path": str(path)}
    return {
        "zmap_path": "builtin:oil",
        "optical": {"pixel_size_nm": list(PX)},
        "emitters": {"area_px": SIZE, "seed": 5} | own | emitters,
        "psf": {"size_px": 15},
        "tiff": {"roi_size": SIZE},
        "drift": drift,
        "illumination": illumination,
    }


def localized(count: int = 150) -> Localizations:
    """Return unsorted localizations, some of them outside the field."""
    rng = np.random.default_rng(1)

    def single(values: Any) -> Any:
        return np.asarray(values, np.float32).astype(float)

    frame = rng.integers(0, FRAMES, count)
    frame[0] = FRAMES - 1
    return Localizations(
        frame=frame,
        x_px=single(rng.uniform(-3, SIZE + 2, count)),
        y_px=single(rng.uniform(0, SIZE, count)),
        z_um=single(rng.uniform(-0.5, 0.5, count)),
        photons=single(rng.uniform(300, 3000, count)),
        id=np.arange(count),
        sigma_x_px=np.full(count, 0.1),
        sigma_y_px=np.full(count, 0.1),
    )


def moving(count: int = 6) -> dict[str, Any]:
    """Return tracks: moving ids, and one that does not move."""
    rng = np.random.default_rng(2)
    frame, number = (axis.ravel() for axis in np.meshgrid(np.arange(FRAMES), np.arange(count), indexing="ij"))
    start = rng.uniform(8, SIZE - 8, (count, 2))
    step = rng.normal(0, 0.4, (FRAMES, count, 2)).cumsum(axis=0) * (np.arange(count) > 0)[:, None]
    xy = (start + step).reshape(-1, 2)
    heights = rng.uniform(-0.4, 0.4, count)[number]
    photons = np.full(len(frame), 800.0)
    return {"frame": frame, "x_px": xy[:, 0], "y_px": xy[:, 1], "z_um": heights, "photons": photons, "id": number}


def movie(config: dict[str, Any], given: Any = None) -> np.ndarray[Any, Any]:
    sim = simtiff.Simulation(config, emitters=given)
    return sim.frames(0, sim.shape[0])


@pytest.mark.parametrize("kind", ["thunderstorm", "picasso", "decode", "smlm-challenge", "parquet", "csv"])
def test_a_list_in_any_format_gives_the_same_movie(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "list"
    localizations.write(localized(), path, kind, pixel_size_nm=PX)
    frames = movie(job(path))
    assert frames.shape == (FRAMES, SIZE, SIZE)
    assert np.array_equal(frames, movie(job(), localized()))
    assert np.array_equal(frames, movie(job(), path))


def test_a_truth_gives_its_movie_again(tmp_path: Path) -> None:
    """Records of `emitters.h5` as a list, and molecules as positions only."""
    first = simtiff.Simulation(job(num_emitters=40, frames=FRAMES))
    files = first.write(tmp_path / "first")
    assert np.array_equal(movie(job(files["emitters.h5"])), first.frames(0, FRAMES))
    path = tmp_path / "molecules.npy"
    localizations.write({name: getattr(localized(), name) for name in ("x_px", "y_px", "z_um")}, path, "npy")
    sim = simtiff.Simulation(job(path, blinking={"kind": "always"}))
    assert np.array_equal(sim.emitters.xyz[:, 0], localized().x_px.astype(np.float32))


def test_tables_of_all_sorts_give_the_same_movie() -> None:
    table = localized()
    expected = movie(job(), table)
    assert np.array_equal(movie(job(), table.as_dict()), expected)
    assert np.array_equal(movie(job(), pd.DataFrame(table.as_dict())), expected)
    shuffled = table[np.random.default_rng(0).permutation(len(table))]
    assert np.array_equal(movie(job(), shuffled), expected)


@pytest.mark.parametrize("crlb", [False, True])
@pytest.mark.parametrize("table", [localized().as_dict(), moving()], ids=["localized", "moving"])
def test_a_job_is_the_simulation(tmp_path: Path, table: dict[str, Any], crlb: bool) -> None:
    """Frames, records and coefficients are the same on disk, with drift and fiducials."""
    localizations.write(table, tmp_path / "list.csv", "csv")
    extra: dict[str, Any] = {"drift": {"velocity_nm": [20, -10, 5]}, "fiducials": {"count": 2, "photons": 4000}}
    config = job(tmp_path / "list.csv", **extra) | {"truth": {"crlb": crlb}}
    sim = simtiff.Simulation(config)
    summary = simtiff.run_batch(config, max_workers=1, output_dir=tmp_path / "batch", progress=False)
    assert summary.completed == 1
    folder = tmp_path / "batch" / "single_job"
    assert np.array_equal(tifffile.imread(folder / "simulation.ome.tiff"), sim.frames(0, FRAMES))
    files = sim.write(tmp_path / "own")
    with h5py.File(folder / "emitters.h5") as one, h5py.File(files["emitters.h5"]) as other:
        assert "emitters" not in one
        names = ["records/xyz", "records/phot", "records/id", "zernike_coeffs/phase", "drift/xyz"]
        for name in [*names, *(["records/crlb"] if crlb else [])]:
            assert np.array_equal(one[name][()], other[name][()]), name
        assert np.array_equal(one["records/xyz"][()], sim.records.xyz)
        still = one["records/xyz"][()] - one["drift/xyz"][()][one["records/frame_ix"][()]]
        order = np.lexsort((table["id"], table["frame"]))
        own = one["records/id"][()] < one["records/id"].attrs["first_fiducial"]
        assert np.count_nonzero(~own) == 2 * FRAMES
        assert np.allclose(still[own, 0], np.asarray(table["x_px"])[order], atol=1e-5)
    stream_movie(folder / "emitters.h5", tmp_path / "again.tiff")
    assert np.array_equal(tifffile.imread(tmp_path / "again.tiff"), sim.frames(0, FRAMES))


def test_coefficients_are_stored_once_for_an_emitter_that_stands_still(tmp_path: Path) -> None:
    table = moving()
    still = table | {"x_px": table["x_px"][table["id"]], "y_px": table["y_px"][table["id"]]}
    for name, each, rows in (("still", still, 6), ("moving", table, 6 * FRAMES)):
        sim = simtiff.Simulation(job(), emitters=each)
        files = sim.write(tmp_path / name)
        with h5py.File(files["emitters.h5"]) as file:
            assert len(file["zernike_coeffs/phase"]) == rows
        frames = tifffile.imread(files["simulation.ome.tiff"])
        assert np.array_equal(frames, sim.frames(0, FRAMES))
        before = frames.copy()
        config = load_job_config(sim.config)
        replace_coefficients(files["emitters.h5"], config, open_field(config))
        stream_movie(files["emitters.h5"], tmp_path / "again.tiff")
        assert np.array_equal(tifffile.imread(tmp_path / "again.tiff"), before)


def test_a_track_is_rendered_where_each_record_says() -> None:
    """Against the sum of single records, each with the coefficients at its position."""
    table = moving()
    config = job()
    sim = simtiff.Simulation(config, emitters=table)
    checked = sim.config
    xyz = np.stack([table[name] for name in ("x_px", "y_px", "z_um")], axis=1).astype(np.float32)
    phase, _ = field_coefficients(checked, open_field(checked), xyz)
    optics = simtiff.Optics(NA=1.4, wavelength_nm=660, pixel_size_nm_x=PX[0], pixel_size_nm_y=PX[1])
    expected = np.zeros(sim.shape)
    for row, frame in enumerate(table["frame"]):
        here = slice(row, row + 1)
        image = simtiff.render(optics, xyz[here], [800.0], (SIZE, SIZE), phase[here], size=15)
        expected[frame] += image.reshape(SIZE, SIZE)
    assert np.abs(sim.expected(0, FRAMES) - expected).max() < 1e-3 * expected.max()
    whole = sim.frames(0, FRAMES)
    for chunk in (1, 5):
        assert np.array_equal(np.concatenate([each for _, each in sim.stream(chunk)]), whole)


@pytest.mark.parametrize("table", [localized().as_dict(), moving()], ids=["localized", "moving"])
def test_threads_chunks_and_an_interruption_change_no_byte(tmp_path: Path, table: dict[str, Any]) -> None:
    localizations.write(table, tmp_path / "list.csv", "csv")

    class StoppedError(Exception):
        pass

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "frames" and event.done >= 6:
            raise StoppedError

    contents = []
    for number, (threads, chunk) in enumerate([(1, 4), (3, 1), (2, 5)]):
        config = job(tmp_path / "list.csv", frames=FRAMES) | {"memory_optimization": {"chunk_size": chunk}}
        folder = tmp_path / str(number)
        set_threads(threads)
        try:
            if number == 2:
                with pytest.raises(StoppedError):
                    run_job(load_job_config(config), folder, stop, resume_key="key")
            run_job(load_job_config(config), folder, resume_key="key")
        finally:
            set_threads(0)
        contents.append((folder / "simulation.ome.tiff").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_light_of_records_stands_and_that_of_molecules_is_lit() -> None:
    beam = {"fwhm_um": 2.0}
    table = localized()
    fiducials = {"count": 3, "photons": 1000}
    plain, lit = (simtiff.Simulation(job(illumination=each, fiducials=fiducials), table) for each in (None, beam))
    own = lit.records.id < len(table)
    assert np.array_equal(lit.records.phot[own], plain.records.phot[plain.records.id < len(table)])
    assert (lit.records.phot[~own] < 1000).all()
    molecules = {name: getattr(table, name) for name in ("x_px", "y_px", "z_um", "photons")}
    always = {"blinking": {"kind": "always"}, "frames": 2}
    lit = simtiff.Simulation(job(illumination=beam, **always), molecules)
    assert np.array_equal(lit.emitters.intensity, table.photons.astype(np.float32))
    assert (lit.records.phot <= lit.emitters.intensity[lit.records.id]).all()
    assert (lit.records.phot < 0.9 * lit.emitters.intensity[lit.records.id]).any()


@pytest.mark.parametrize("blinking", ["once", "always", "paint", "kinetics"])
def test_molecules_blink_by_the_config(tmp_path: Path, blinking: str) -> None:
    """In memory, in a job and from its truth; with drift and fiducials."""
    laws: dict[str, Any] = {
        "paint": {"on_frames": 2, "off_frames": 8},
        "kinetics": {"states": {"on": {"dark": 0.5}, "dark": {"on": 0.1}}},
    }
    path = tmp_path / "molecules.csv"
    localizations.write({"x_px": localized().x_px, "y_px": localized().y_px}, path, "csv")
    extra: dict[str, Any] = {"drift": {"velocity_nm": [20, -10, 0]}, "fiducials": {"count": 2, "photons": 4000}}
    config = job(path, frames=8, blinking={"kind": blinking, **laws.get(blinking, {})}, **extra)
    sim = simtiff.Simulation(config)
    assert len(sim.emitters) == len(localized()) + 2
    folder = tmp_path / "job"
    run_job(load_job_config(config), folder)
    assert np.array_equal(tifffile.imread(folder / "simulation.ome.tiff"), sim.frames(0, 8))
    with h5py.File(folder / "emitters.h5") as file:
        assert np.array_equal(file["emitters/xyz"][()], sim.emitters.xyz)
        assert np.array_equal(file["records/phot"][()], sim.records.phot)
    table = {"x_px": localized().x_px, "y_px": localized().y_px}
    of_table = config | {"emitters": {key: each for key, each in config["emitters"].items() if key != "positions_path"}}
    given = simtiff.Simulation(of_table, emitters=table)
    assert np.array_equal(given.frames(0, 8), sim.frames(0, 8))


def test_light_from_outside_the_field_reaches_the_frame() -> None:
    beside = {"frame": [0, 0], "x_px": [-2.0, SIZE + 300.0], "y_px": [20.0, 20.0], "photons": [1000.0, 1000.0]}
    light = simtiff.Simulation(job(), emitters=beside).expected(0, 1)[0]
    assert 20 < light.sum() < 300
    assert light[:, 0].sum() > light[:, 3].sum()


def test_a_changed_list_makes_its_job_again(tmp_path: Path) -> None:
    """A list is identified by its content, not by its path."""
    table = localized().as_dict()
    localizations.write(table, tmp_path / "list.csv", "csv")

    def run(path: Path, **options: Any) -> Any:
        return simtiff.run_batch(job(path), max_workers=1, output_dir=tmp_path / "out", progress=False, **options)

    assert run(tmp_path / "list.csv").completed == 1
    (tmp_path / "list.csv").rename(tmp_path / "moved.csv")
    assert run(tmp_path / "moved.csv").skipped == 1
    localizations.write(table | {"photons": table["photons"] * 2}, tmp_path / "moved.csv", "csv")
    assert run(tmp_path / "moved.csv", overwrite=True).completed == 1


def test_errors_name_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    config = tmp_path / "job.json"
    config.write_text(json.dumps(job("list.csv")))
    with pytest.raises(DataError, match=r"emitters.positions_path: .*list.csv: no such file"):
        simtiff.run_batch(config, output_dir=tmp_path / "out", progress=False)
    path.write_text("frame,x_px,y_px,z_um,photons\n0,1,2,900,4\n")
    with pytest.raises(DataError, match=r"list.csv: column z_um: goes to 900 um, .*out of focus.*is it in um"):
        simtiff.run_batch(config, output_dir=tmp_path / "out", progress=False)
    with pytest.raises(DataError, match="out of focus"):
        simtiff.Simulation(config)
    with pytest.raises(
        ConfigError, match=r"emitters.positions_path.*combined with emitters.num_emitters; allowed: one of them"
    ):
        simtiff.Simulation(job(path, num_emitters=4))
    with pytest.raises(DataError, match=r"row 0 .*column photons: 1e\+?10"):
        simtiff.Simulation(job(), emitters={"frame": [0], "x_px": [1.0], "y_px": [1.0], "photons": [1e10]})
    assert not list(tmp_path.glob("out/single_job"))


def test_a_sweep_over_lists(tmp_path: Path) -> None:
    """Each job has the frames of its list; files are byte-identical for any number of workers."""
    localizations.write(localized(), tmp_path / "a.csv", "csv")
    localizations.write(localized()[localized().frame < 5], tmp_path / "b.csv", "csv")
    config = tmp_path / "batch.json"
    variables = {"emitters.positions_path": ["a.csv", "b.csv"], "emitters.margin_px": [0]}
    config.write_text(json.dumps({"base_config": job(), "variables": variables}))
    movies = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        assert simtiff.run_batch(config, max_workers=workers, output_dir=folder, progress=False).completed == 2
        movies.append([path.read_bytes() for path in sorted(folder.glob("*/simulation.ome.tiff"))])
        counts = [len(tifffile.imread(path)) for path in sorted(folder.glob("*/simulation.ome.tiff"))]
        assert counts == [FRAMES, 5]
    assert movies[0] == movies[1]


def test_a_given_simulation_can_be_pickled() -> None:
    for table in (localized(), {"x_px": localized().x_px, "y_px": localized().y_px}):
        sim = simtiff.Simulation(job(), emitters=table)
        copy = pickle.loads(pickle.dumps(sim))
        assert np.array_equal(copy.frames(0, 3), sim.frames(0, 3))


def test_another_config_may_say_another_number(tmp_path: Path) -> None:
    """The truth of a list with a config that has a number, and vice versa."""
    localizations.write(localized(), tmp_path / "a.csv", "csv")
    files = simtiff.Simulation(job(tmp_path / "a.csv")).write(tmp_path / "job")
    with_number = tmp_path / "number.json"
    with_number.write_text(json.dumps({"emitters": {"num_emitters": 3}}))
    with_list = tmp_path / "list.json"
    with_list.write_text(json.dumps({"emitters": {"positions_path": "a.csv"}}))
    stored = stored_config(files["emitters.h5"])
    assert stored is not None
    assert stored.emitters.positions_path == str(tmp_path / "a.csv")
    assert load_job_config(with_number, otherwise=stored).emitters.positions_path is None
    assert (
        load_job_config(with_list, otherwise=load_job_config(job(num_emitters=5))).emitters.positions_path is not None
    )


def test_what_validate_says(tmp_path: Path) -> None:
    localizations.write(localized(), tmp_path / "list.csv", "csv")
    config = with_frames(load_job_config(job(tmp_path / "list.csv", margin_px=3)))
    assert show_emitters([config]) == (
        "emitters: 150 in the whole movie (emitters.positions_path); on average 12.5 on at a time, "
        "12.5 records in a frame"
    )
    assert unused_note([config]) == "given, but have no effect: emitters.margin_px (with emitters.positions_path)"
    (note,) = list_notes([config, config])
    assert re.search(r"list.csv: \d+ of 150 rows are outside the field of view", note)
    (tmp_path / "sites.csv").write_text("x_px,y_px,photons\n1,2,300\n")
    paint = {"kind": "paint", "on_frames": 2, "off_frames": 8}
    (note,) = list_notes([load_job_config(job(tmp_path / "sites.csv", blinking=paint))])
    assert "column photons is not used" in note


def test_stages_can_be_skipped(tmp_path: Path) -> None:
    """A truth of records is reused, with its coefficients or with new ones; these are without drift."""
    localizations.write(moving(), tmp_path / "list.csv", "csv")
    for drift in (None, {"velocity_nm": [50, 0, 0]}):
        config = with_frames(load_job_config(job(tmp_path / "list.csv", drift=drift)))
        folder = tmp_path / f"out_{drift is None}"
        run_pipeline(config, folder)
        before = tifffile.imread(folder / "simulation.ome.tiff").astype(float)
        with h5py.File(folder / "emitters.h5") as file:
            phase = file["zernike_coeffs/phase"][()]
        for skipped in ({"skip_zernike": True}, {"skip_emitters": True}):
            run_pipeline(config, folder, **skipped)
            with h5py.File(folder / "emitters.h5") as file:
                assert np.abs(file["zernike_coeffs/phase"][()] - phase).max() < 1e-6
            after = tifffile.imread(folder / "simulation.ome.tiff")
            assert np.abs(after - before).max() <= (0 if drift is None or "skip_zernike" in skipped else 2)
