"""Background and illumination of movies: truth and pixels, and their agreement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

import simtiff
from batch_helpers import write_config
from simtiff.aberrations.maps import open_field
from simtiff.batch.pipeline import run_pipeline
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError, DataError
from simtiff.movie.estimate import truth_bytes, worker_bytes
from simtiff.movie.events import Message
from simtiff.movie.frames import Movie
from simtiff.movie.job import run_job, stream_movie
from simtiff.movie.light import structure_note
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

MOVIE, TRUTH = "simulation.ome.tiff", "emitters.h5"
ALL: dict[str, Any] = {
    "background": {
        "photons": [40, 120],
        "structure": {"amplitude": 0.3, "length_px": 4},
        "decay_frames": 30,
    },
    "illumination": {"fwhm_um": 5, "centre_px": [20, 24]},
}


def settings(size: int = 32, **changes: Any) -> dict[str, Any]:
    """Return a small job without aberrations; `changes` are sections with keys to add."""
    content: dict[str, Any] = {
        "psf": {"model": "gaussian", "size_px": 9},
        "emitters": {"num_emitters": 60, "frames": 12, "area_px": 48},
        "tiff": {"roi_size": size, "crop_offset": [5, 9]},
    }
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values
    return content


def job(size: int = 32, **changes: Any) -> JobConfig:
    return load_job_config(settings(size, **changes))


def light_of(size: int = 32, **changes: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return image and factor of a movie's background."""
    background = simtiff.Simulation(job(size, **changes)).background
    assert background is not None
    return background.image, background.factor


def dark(frames: int, **changes: Any) -> JobConfig:
    """Return a movie without emitters and with only shot noise."""
    noise = {"noise_params": {"readout_noise": 0}, "dtype": "float32", "crop_offset": [5, 9]}
    return job(emitters={"num_emitters": 0, "frames": frames, "area_px": 48}, tiff=noise, **changes)


def test_the_structure_is_as_asked_and_two_crops_show_the_same_field() -> None:
    structure = {"photons": 100, "structure": {"amplitude": 0.2, "length_px": 3}}
    big = {"emitters": {"num_emitters": 0, "area_px": 600}, "background": structure}
    image, factor = light_of(500, tiff={"crop_offset": [0, 0]}, **big)
    assert (factor == 1).all()
    field = image / 100.0 - 1
    independent = field.size / (4 * np.pi * 9)
    assert field.mean() == pytest.approx(0, abs=0.2 * 4 / np.sqrt(independent))
    for lag in (0, 2, 3, 5):
        found = np.mean(field[:, : 500 - lag] * field[:, lag:]) / 0.04
        assert found == pytest.approx(np.exp(-(lag**2) / 18), abs=4 * np.sqrt(2 / independent))
    other, _ = light_of(300, tiff={"crop_offset": [-20, 170]}, **big)
    np.testing.assert_array_equal(other[:, 20:], image[170:470, :280])
    reseeded, _ = light_of(500, tiff={"crop_offset": [0, 0]}, **{**big, "emitters": big["emitters"] | {"seed": 5}})
    assert abs(np.corrcoef(reseeded.ravel(), image.ravel())[0, 1]) < 0.1


def test_each_frame_draws_its_background_and_more_frames_keep_the_first() -> None:
    image, factor = light_of(emitters={"frames": 4000, "num_emitters": 0}, background={"photons": [50, 150]})
    assert (image == 100).all()
    draws = np.sort((100 * factor - 50) / 100)
    steps = np.arange(len(draws) + 1) / len(draws)
    assert 0 <= draws[0] < draws[-1] < 1
    distance = max(np.abs(draws - steps[1:]).max(), np.abs(draws - steps[:-1]).max())
    assert distance * np.sqrt(len(draws)) < 1.95  # Kolmogorov-Smirnov, 0.1 %
    fewer = {"emitters": {"frames": 9, "num_emitters": 7}, "background": {"photons": [50, 150]}}
    np.testing.assert_array_equal(light_of(**fewer)[1], factor[:9])
    fewer["background"]["decay_frames"] = 20
    np.testing.assert_allclose(light_of(**fewer)[1], factor[:9] * np.exp(-np.arange(9) / 20), rtol=1e-14)


def test_pixels_have_the_background_that_the_truth_says() -> None:
    frames = 400
    slow = ALL | {"background": ALL["background"] | {"decay_frames": 200}}
    simulation = simtiff.Simulation(dark(frames, **slow))
    background = simulation.background
    assert background is not None
    expected = background.image * background.factor[:, None, None]
    pixels = simulation.frames(0, frames)
    in_frames, law = pixels.sum(axis=(1, 2), dtype=float), expected.sum(axis=(1, 2))
    assert np.mean((in_frames - law) ** 2 / law) == pytest.approx(1, abs=5 * np.sqrt(2 / frames))
    means, law = pixels.sum(axis=0, dtype=float), expected.sum(axis=0)
    assert np.mean((means - law) ** 2 / law) == pytest.approx(1, abs=5 * np.sqrt(2 / law.size))
    assert law.max() > 2 * law.min()


@pytest.mark.parametrize(
    ("camera", "excess_noise"),
    [
        ({"quantum_efficiency": 0.8, "e_per_adu": 0.5, "dark_e": 0.3}, 1),
        ({"em_gain": 200, "e_per_adu": 12, "read_noise_e": 40}, 2),
    ],
)
def test_a_camera_sees_emitters_and_background(camera: dict[str, Any], excess_noise: float) -> None:
    frames = 300
    emitters = {"frames": frames, "num_emitters": 400}
    simulation = simtiff.Simulation(job(emitters=emitters, tiff={"dtype": "float32"}, camera=camera, **ALL))
    background = simulation.background
    assert background is not None
    block = simulation.config.camera
    assert block is not None
    light = simulation.expected(0, frames) + background.image * background.factor[:, None, None]
    electrons = light.astype(float) * block.quantum_efficiency + block.dark_e
    gain = block.em_gain or 1
    found = (simulation.frames(0, frames) - block.offset_adu) * block.e_per_adu / gain
    variance = (excess_noise * electrons + (block.read_noise_e / gain) ** 2).sum(axis=0)
    squares = (found - electrons).sum(axis=0) ** 2 / variance
    assert np.mean(squares) == pytest.approx(1, abs=5 * np.sqrt(2 / variance.size))


def test_a_background_without_noise_is_that_of_the_truth() -> None:
    tiff = {"dtype": "float32", "noise_params": {"readout_noise": 0, "shot_noise": False}}
    simulation = simtiff.Simulation(job(tiff=tiff, **ALL))
    background = simulation.background
    assert background is not None
    expected = simulation.expected(0, 12) + background.image * background.factor[:, None, None]
    np.testing.assert_allclose(simulation.frames(0, 12), expected, rtol=1e-6)
    alone = simtiff.Simulation(job(tiff={"dtype": "float32", "add_noise": False}, **ALL))
    np.testing.assert_array_equal(alone.frames(0, 12), simulation.expected(0, 12))  # only the emitters' photons


def test_an_image_is_the_background(tmp_path: Path) -> None:
    image = np.add.outer(np.arange(48), 3 * np.arange(48)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "background.tif", image)
    base = settings(background={"photons": 90, "image_path": "background.tif"})
    (tmp_path / "job.json").write_text(json.dumps(base))
    background = simtiff.Simulation(tmp_path / "job.json").background
    assert background is not None
    np.testing.assert_allclose(background.image, image[9:41, 5:37] * (90 / image.mean()), rtol=1e-6)


def test_a_beam_lights_emitters_and_background() -> None:
    """By default its peak is in the centre of the field, also for rectangular fields and pixels."""
    optical = {"pixel_size_nm_x": 100, "pixel_size_nm_y": 160}
    common = {
        "emitters": {"num_emitters": 300, "area_px": [48, 42]},
        "tiff": {"noise_params": {"background": 70}, "roi_size": [36, 32]},
        "optical": optical,
    }
    flat, lit = (simtiff.Simulation(job(**common, **beam)) for beam in ({}, {"illumination": {"fwhm_um": 3}}))

    def light(x: Any, y: Any) -> Any:
        distance = np.hypot((x - 23.5) * 0.1, (y - 20.5) * 0.16)
        return np.exp(-4 * np.log(2) * distance**2 / 9)

    before, after = flat.records, lit.records
    np.testing.assert_array_equal(before.xyz, after.xyz)
    law = before.phot * light(before.xyz[:, 0].astype(float), before.xyz[:, 1].astype(float))
    np.testing.assert_allclose(after.phot, law, rtol=1e-6)
    np.testing.assert_array_equal(flat.emitters.intensity, lit.emitters.intensity)
    assert flat.background is None
    assert lit.background is not None
    y, x = np.mgrid[9:41, 5:41]
    np.testing.assert_allclose(lit.background.image, 70 * light(x, y), rtol=1e-6)


def test_emitters_without_light_have_no_records(tmp_path: Path) -> None:
    config = job(illumination={"fwhm_um": 0.1, "centre_px": [10, 12]}, emitters={"num_emitters": 4000})
    simulation = simtiff.Simulation(config)
    everyone = simtiff.Simulation(job(emitters={"num_emitters": 4000}))
    assert 0 < len(simulation.records) < len(everyone.records)
    assert (simulation.records.phot > 0).all()
    simulation.write(tmp_path)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / MOVIE), simulation.frames(0, 12))


def test_the_file_has_what_memory_has_and_old_jobs_have_none(tmp_path: Path) -> None:
    config = job(**ALL)
    simulation = simtiff.Simulation(config)
    simulation.write(tmp_path / "with")
    background = simulation.background
    assert background is not None
    with h5py.File(tmp_path / "with" / TRUTH) as file:
        np.testing.assert_array_equal(file["background/image"], background.image)
        np.testing.assert_array_equal(file["background/factor"], background.factor)
        assert (file["background/image"].dtype, file["background/factor"].dtype) == (np.float32, np.float64)
        assert file["background/image"].attrs["unit"] == b"photons per pixel"
        np.testing.assert_array_equal(file["records/phot"], simulation.records.phot)
        np.testing.assert_array_equal(file["emitters/intensity"], simulation.emitters.intensity)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "with" / MOVIE), simulation.frames(0, 12))
    simtiff.Simulation(job()).write(tmp_path / "without")
    with h5py.File(tmp_path / "without" / TRUTH) as file:
        assert sorted(file) == ["emitters", "records", "zernike_coeffs"]


def test_bytes_are_the_same_for_chunks_and_threads_and_where_a_movie_goes_on(tmp_path: Path) -> None:
    files = []
    before = simtiff.threads()
    try:
        for chunk, threads in ((1, 1), (5, 3), (12, 2)):
            simtiff.set_threads(threads)
            config = job(memory_optimization={"chunk_size": chunk}, **ALL)
            run_job(config, tmp_path / str(chunk))
            files.append((tmp_path / str(chunk) / MOVIE).read_bytes())
    finally:
        simtiff.set_threads(before)
    assert len(set(files)) == 1
    again = np.zeros((12, 32, 32), np.uint16)

    def keep(start: int, frames: NDArray[Any], _: int | None) -> None:
        again[start : start + len(frames)] = frames

    with TruthFile(tmp_path / "5" / TRUTH) as truth:
        assert list(Movie(config, truth).hand_over(keep, first=7, chunk_size=2)) == [9, 11, 12]
    np.testing.assert_array_equal(again[7:], tifffile.imread(tmp_path / "5" / MOVIE)[7:])


def test_a_moved_truth_needs_no_image_and_another_background_wins(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.add.outer(np.arange(1.0, 49), np.arange(48)))
    np.save(tmp_path / "b.npy", np.add.outer(np.arange(48.0, 0, -1), np.arange(48)))
    with_a, with_b = (
        job(background={"photons": 90, "image_path": str(tmp_path / name)}) for name in ("a.npy", "b.npy")
    )
    for name, config in (("a", with_a), ("b", with_b)):
        run_job(config, tmp_path / name)
    movie_a, movie_b = ((tmp_path / name / MOVIE).read_bytes() for name in ("a", "b"))
    assert movie_a != movie_b
    (tmp_path / "a.npy").unlink()
    truth = (tmp_path / "a" / TRUTH).rename(tmp_path / "moved.h5")
    for config in (None, with_a):
        stream_movie(truth, tmp_path / "again.tif", config)
        assert (tmp_path / "again.tif").read_bytes() == movie_a
    stream_movie(truth, tmp_path / "again.tif", with_b)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), tifffile.imread(tmp_path / "b" / MOVIE))
    with pytest.raises(DataError, match=r"a\.npy: no such file \(background\.image_path\)"):
        stream_movie(
            truth, tmp_path / "again.tif", job(background={"photons": 91, "image_path": str(tmp_path / "a.npy")})
        )
    given = simtiff.Simulation(with_a, emitters=truth)
    np.testing.assert_array_equal(given.frames(0, 12), tifffile.imread(tmp_path / "a" / MOVIE))
    given.write(tmp_path / "given")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "given" / MOVIE), tifffile.imread(tmp_path / "a" / MOVIE))


@pytest.mark.parametrize("skip", ["skip_emitters", "skip_zernike"])
def test_kept_emitters_get_the_background_of_the_config(tmp_path: Path, skip: str) -> None:
    run_pipeline(job(**ALL), tmp_path)
    others: tuple[dict[str, Any], ...] = (
        {"background": {"photons": 20}, "illumination": ALL["illumination"]},
        {"illumination": ALL["illumination"]},
        ALL,
    )
    for other in others:
        run_pipeline(job(**other), tmp_path, **{skip: True})
        run_job(job(**other), tmp_path / "fresh")
        assert (tmp_path / MOVIE).read_bytes() == (tmp_path / "fresh" / MOVIE).read_bytes()
        with h5py.File(tmp_path / TRUTH) as kept, h5py.File(tmp_path / "fresh" / TRUTH) as fresh:
            for name in ("background/image", "background/factor"):
                np.testing.assert_array_equal(kept[name], fresh[name])
    fwhm_um = ALL["illumination"]["fwhm_um"]
    for beam, now in ((None, "None"), ({"fwhm_um": 6}, "6.0")):
        words = rf"other settings: illumination\.fwhm_um \(made with {float(fwhm_um)}, now {now}\)"
        with pytest.raises(DataError, match=words):
            run_pipeline(
                job(background={"photons": 20}, **({} if beam is None else {"illumination": beam})),
                tmp_path,
                **{skip: True},
            )


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("image", np.ones((5, 5)), r"background/image: has type float64 and shape \(5, 5\)"),
        ("image", np.full((32, 32), -1.0), "background/image: has NaN, infinite or negative values"),
        ("factor", np.ones(11), r"background/factor: .* expected real numbers of shape \(12,\)"),
        ("factor", np.full(12, np.nan), "background/factor: has NaN"),
    ],
)
def test_a_damaged_background_is_an_error(tmp_path: Path, name: str, values: NDArray[Any], words: str) -> None:
    run_job(job(**ALL), tmp_path)
    with h5py.File(tmp_path / TRUTH, "a") as file:
        del file[f"background/{name}"]
        file[f"background/{name}"] = values
    with pytest.raises(DataError, match=words):
        stream_movie(tmp_path / TRUTH, tmp_path / "again.tif")


@pytest.mark.parametrize(
    "background",
    [
        {"photons": 9e8, "structure": {"amplitude": 0.5, "length_px": 2}},
        {"photons": [0, 9e8], "structure": {"amplitude": 0.5, "length_px": 2}},
    ],
)
def test_a_background_too_bright_in_a_pixel_names_its_keys(background: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^background\.photons, background\.structure: .* photons; allowed: up to 1e"
    ):
        simtiff.Simulation(job(background=background)).frames(0, 1)


def test_a_structure_that_is_cut_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strong = {"photons": 100, "structure": {"amplitude": 0.8, "length_px": 2}}
    messages: list[Any] = []
    run_job(job(background=strong), tmp_path / "strong", messages.append)
    run_job(job(background=ALL["background"]), tmp_path / "weak", messages.append)
    (note,) = (event.text for event in messages if isinstance(event, Message) and event.text.startswith("note"))
    image, _ = light_of(background=strong)
    assert f"clipped at 0 in {100 * np.mean(image == 0):.1f} % of the pixels" in note
    assert np.mean(image == 0) == pytest.approx(0.1056, abs=0.03)  # P(standard normal < -1 / 0.8)
    path = write_config(tmp_path, {"base_config": settings(background=strong)})
    assert cli.main(["validate", str(path)]) == 0
    assert (
        "note: background.structure.amplitude 0.8 is clipped at 0 in about 10.6 % of the pixels"
        in capsys.readouterr().out
    )
    assert structure_note([job(), job(background=ALL["background"])]) is None


def test_an_image_that_does_not_do_stops_a_batch_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "small.npy", np.ones((20, 48)))
    np.save(tmp_path / "good.npy", np.ones((48, 48)))
    base = settings(background={"photons": 90, "image_path": "small.npy"})
    path = write_config(tmp_path, {"base_config": base})
    for command in (["validate", str(path)], ["batch", str(path), f"--output-dir={tmp_path / 'out'}"]):
        assert cli.main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        assert any("1 error in the inputs" in line for line in lines)
        assert any(
            line.strip().startswith(f"base_config.background.image_path: {tmp_path}/small.npy") for line in lines
        )
    assert not (tmp_path / "out").exists()
    assert cli.main(["validate", str(path), f"--set=background.image_path={tmp_path / 'good.npy'}"]) == 0


def test_a_batch_with_light_is_as_recorded(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.add.outer(np.arange(1.0, 49), np.arange(48)))
    base = settings(**ALL)
    base["background"]["image_path"] = "image.npy"
    path = write_config(tmp_path, {"base_config": base, "variables": {"illumination.fwhm_um": [3, 5]}})
    output = tmp_path / "out"
    assert cli.main(["batch", str(path), f"--output-dir={output}", "--quiet"]) == 0
    assert cli.main(["verify", str(output), "--frames=3"]) == 0


def test_the_background_counts_in_sizes_and_memory(tmp_path: Path) -> None:
    flat, lit = (job(1000, emitters={"frames": 1, "area_px": 1000}, **light) for light in ({}, ALL))
    run_job(lit, tmp_path)
    size = (tmp_path / TRUTH).stat().st_size
    assert size < truth_bytes(lit, open_field(lit)) < 1.1 * size
    assert worker_bytes(lit, open_field(lit)) > worker_bytes(flat, open_field(flat)) + 8e6
