"""Training batches: distributions as in a movie, targets match the frames, and batches are reproducible."""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import simtiff
from simtiff.errors import ConfigError, ShapeError
from simtiff.training import Batch, Frames

if TYPE_CHECKING:
    from pathlib import Path

stats = pytest.importorskip("scipy.stats")

SIGMAS = 5.0
PIXEL_UM2 = 0.01
ARRAYS = ("frames", "xyz", "photons", "mask", "background", "origin")


def job(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "zmap_path": "builtin:oil",
        "emitters": {
            "area_px": [96, 80],
            "intensity_mu": 800,
            "intensity_sigma": 200,
            "z_range_um": 0.4,
            "frames": 200,
        },
        "optical": {"pixel_size_nm": 100},
        "psf": {"size_px": 15},
        "tiff": {"roi_size": [96, 80], "noise_params": {"background": 10, "readout_noise": 2}},
    }
    for section, values in changes.items():
        settings[section] = settings.get(section, {}) | values if isinstance(values, dict) else values
    return settings


def together(frames: Frames, count: int) -> Batch:
    """Return several batches as one."""
    parts = [frames.batch(k) for k in range(count)]
    return Batch(*(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))


def test_a_crop_is_a_piece_of_a_movie() -> None:
    """Mean, variance and distribution of pixels, in the middle and at the edges, where neighbours contribute."""
    config = job(
        emitters={"density_per_um2": 1.5, "margin_px": 10, "lifetime_avg": 1.5}, zernike={"extrapolate": "nearest"}
    )
    movie = simtiff.Simulation(config).frames(0, 200)[:, 16:-16, 16:-16].astype(float)
    inner = job(
        emitters={"density_per_um2": 1.5, "margin_px": 10, "lifetime_avg": 1.5}, zernike={"extrapolate": "nearest"}
    )
    crops = together(Frames(inner, size=20, batch=500, seed=3), 8).frames[:, 0].astype(float)
    error = np.sqrt(movie.var() * (1 / 8000 + 1 / 4000))  # pixels of a frame are correlated: some 40 of them
    assert abs(crops.mean() - movie.mean()) < SIGMAS * error
    assert abs(crops.var() / movie.var() - 1) < 0.1
    edges = np.concatenate([crops[:, 0].ravel(), crops[:, -1].ravel(), crops[:, :, 0].ravel(), crops[:, :, -1].ravel()])
    middle = crops[:, 6:14, 6:14]
    assert abs(edges.mean() - middle.mean()) < SIGMAS * error
    assert abs(edges.var() / middle.var() - 1) < 0.15
    found = np.percentile(crops, [1, 25, 50, 75, 99, 99.9]), np.percentile(movie, [1, 25, 50, 75, 99, 99.9])
    assert_allclose(*found, rtol=0.06)


def test_emitters_are_where_and_as_bright_as_in_a_movie() -> None:
    config = job(emitters={"density_per_um2": 1.0, "lifetime_avg": 2.5})
    batch = together(Frames(config, size=32, batch=400, seed=1), 5)
    count = batch.mask.sum(axis=1)
    expected = 1.0 * PIXEL_UM2 * 32**2 * (1 + 1 / 2.5)  # on at the start of the frame, or activated within it
    assert abs(count.mean() - expected) < SIGMAS * np.sqrt(expected / len(count))
    assert abs(count.var() / count.mean() - 1) < SIGMAS * np.sqrt(2 / len(count))
    xyz, photons = batch.xyz[batch.mask].astype(float), batch.photons[batch.mask]
    for column, low, width in ((0, -0.5, 32), (1, -0.5, 32), (2, -0.4, 0.8)):
        assert stats.kstest(xyz[:, column], stats.uniform(low, width).cdf).pvalue > 1e-5
    for axis, places in ((0, 96 - 32 + 1), (1, 80 - 32 + 1)):
        found = np.bincount(batch.origin[:, axis], minlength=places)
        assert len(found) == places
        assert stats.chisquare(found).pvalue > 1e-5
    movie = simtiff.Simulation(config).records
    assert stats.ks_2samp(photons, movie.phot).pvalue > 1e-5
    assert not batch.xyz[~batch.mask].any()
    assert not batch.photons[~batch.mask].any()


KINETICS = {
    "kind": "kinetics",
    "states": {"on": {"dark": 0.5, "bleached": 0.01}, "dark": {"on": 0.02, "deep": 0.1}, "deep": {"dark": 0.2}},
    "brightness": {"on": 1},
}


@pytest.mark.parametrize(
    ("blinking", "stays"),
    [
        ({"kind": "once"}, 2.5),
        ({"kind": "paint", "on_frames": 4, "off_frames": 300}, 4),
        (KINETICS, 1 / 0.51),
        ({"kind": "always"}, np.inf),
    ],
    ids=["once", "paint", "kinetics", "always"],
)
def test_emitters_blink_as_the_config_says(blinking: dict[str, Any], stays: float) -> None:
    """Number of emitters on, on-times and photons are as requested and as in a movie."""
    emitters = {"density_per_um2": 0.8, "blinking": blinking, "intensity_sigma": 0, "frames": 100}
    config = job(emitters=emitters)
    frames = Frames(config, size=32, batch=400, window=3, seed=5)
    batch = together(frames, 4)
    on = 0.8 * PIXEL_UM2 * 32**2
    light = (batch.photons * batch.mask).sum(axis=1) / 800
    assert abs(light.mean() - on) < SIGMAS * np.sqrt(on / len(light))
    count = batch.mask.sum(axis=1).mean()
    expected = on * (1 + 1 / stays)  # except for emitters that return within a frame
    assert abs(count - expected) < SIGMAS * np.sqrt(expected / len(light)) + 0.02 * on
    whole = 0.99 * batch.photons[batch.mask].max()
    share = (batch.photons[batch.mask] > whole).mean()
    if np.isfinite(stays):  # on throughout a frame: on at its start, and for one more frame
        assert abs(share - np.exp(-1 / stays) / (1 + 1 / stays)) < 0.03
        movie = simtiff.Simulation(config).records
        assert abs(movie.phot.sum() / 800 / (100 * 96 * 80 * PIXEL_UM2) - 0.8) < 0.08
    else:
        assert share == 1


def test_molecules_that_bleach_in_a_few_frames_have_the_light_of_the_movie() -> None:
    """A window starts at any frame of the movie, whose first frame is the brightest."""
    bleaching = {"kind": "kinetics", "states": {"on": {"bleached": 0.2}}, "start": "on"}
    config = job(emitters={"density_per_um2": 0.8, "blinking": bleaching, "intensity_sigma": 0, "frames": 21})
    batch = together(Frames(config, size=32, batch=400), 4)
    light = (batch.photons * batch.mask).sum(axis=1) / 800
    on = 0.8 * PIXEL_UM2 * 32**2  # densities are means over the movie
    assert abs(light.mean() - on) < SIGMAS * np.sqrt(on / len(light))


def test_targets_are_where_the_light_is() -> None:
    quiet = job(emitters={"density_per_um2": 0.15, "intensity_mu": 5000, "z_range_um": 0.1}, tiff={"add_noise": False})
    frames = Frames(quiet, size=48, batch=200, seed=2, units="photons", coefficients=True)
    batch, optics = frames.batch(0), simtiff.Optics(**frames.config.optical.model_dump())
    assert batch.coefficients is not None
    left = []
    for k in range(200):
        there = batch.mask[k]
        own = np.zeros((48, 48), np.float32)
        if there.any():
            xyz, photons = batch.xyz[k, there].astype(float), batch.photons[k, there]
            own = simtiff.render(optics, xyz, photons, (48, 48), batch.coefficients[k, there], size=15)
            bright = photons.argmax()
            x, y = np.floor(xyz[bright, :2] + 0.5).astype(int)
            near = batch.frames[k, 0, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            assert near.max() > 0.05 * photons[bright]
        left.append(batch.frames[k, 0] - own)
    # the rest is the signal of neighbours outside the crop: never negative, and none far from the edges
    rest = np.array(left)
    assert rest.min() > -1e-2
    assert rest[:, 9:-9, 9:-9].max() < 1e-2
    assert (rest.max(axis=(1, 2)) > 10).mean() > 0.5


def test_each_place_has_its_own_aberrations_camera_and_light(tmp_path: Path) -> None:
    y, x = np.mgrid[:80, :96]
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["offset_adu"], file["quantum_efficiency"] = 100.0 + x + 96 * y, 0.2 + 0.5 * x / 96
    camera = {"maps_path": str(tmp_path / "maps.h5"), "read_noise_e": 0, "e_per_adu": 1}
    dark = job(emitters={"num_emitters": 0}, camera=camera, background={"photons": 0})
    del dark["tiff"]["noise_params"]
    batch = Frames(dark, size=24, batch=40, window=2, seed=1).batch(7)
    for k, (x0, y0) in enumerate(batch.origin):
        expected = (100.0 + x + 96 * y)[y0 : y0 + 24, x0 : x0 + 24]
        assert_array_equal(batch.frames[k], np.broadcast_to(expected, (2, 24, 24)))
    lit = dark | {"background": {"photons": [20, 60]}, "illumination": {"fwhm_um": 5}}
    frames = Frames(lit, size=24, batch=400, seed=1, units="photons")
    batch = frames.batch(0)
    levels = batch.background.mean(axis=(1, 2))
    assert levels.max() > 2 * levels.min()
    z = (batch.frames[:, 0] - batch.background).mean(axis=(1, 2)) / np.sqrt(
        (batch.background / 0.2).mean(axis=(1, 2)) / 24**2
    )
    assert abs(z).max() < 5
    beam = 40 * np.exp(-4 * np.log(2) * (((x - 47.5) * 0.1) ** 2 + ((y - 39.5) * 0.1) ** 2) / 25)
    shape = [b / beam[y0 : y0 + 24, x0 : x0 + 24] for b, (x0, y0) in zip(batch.background, batch.origin, strict=True)]
    assert_allclose([part.std() / part.mean() for part in shape], 0, atol=1e-5)
    asked = Frames(lit, size=24, batch=400, seed=1, background=(5, 5)).batch(0)
    assert_allclose(
        asked.background[0], (beam / 40 * 5)[asked.origin[0, 1] :, asked.origin[0, 0] :][:24, :24], rtol=1e-5
    )
    one, other = (Frames(job(), size=24, coefficients=True, seed=s).batch(0).coefficients for s in (1, 2))
    assert one is not None
    assert other is not None
    assert one.any()
    jittered = Frames(job(), size=24, batch=64, coefficients=True, seed=1, zernike_jitter_rad=0.1).batch(0)
    assert jittered.coefficients is not None
    added = (jittered.coefficients - one)[jittered.mask]
    assert not added[:, :4].any()
    assert abs(added[:, 4:].std() / 0.1 - 1) < 0.1


def test_ranges_are_drawn_for_each_crop() -> None:
    frames = Frames(job(), size=32, batch=800, seed=4, density_per_um2=(0.2, 4), photons=(300, 3000))
    batch = frames.batch(0)
    count = batch.mask.sum(axis=1)
    assert count.var() > 4 * count.mean()  # more than for a Poisson distribution
    mean = 2.1 * PIXEL_UM2 * 32**2 * 1.4
    assert abs(count.mean() / mean - 1) < 0.1
    brightest = np.where(batch.mask, batch.photons, 0).max(axis=1)[count > 3]
    assert brightest.min() < 900
    assert brightest.max() > 2500


def test_bounds_are_those_of_the_crop() -> None:
    frames = Frames(job(emitters={"density_per_um2": 0.1}), size=40, batch=60, seed=1, bounds=True, coefficients=True)
    batch, optics = frames.batch(3), simtiff.Optics(**frames.config.optical.model_dump())
    assert batch.bounds is not None
    assert batch.coefficients is not None
    assert np.isinf(batch.bounds[~batch.mask]).all()
    crop, row = np.nonzero(batch.mask & ((batch.xyz[..., :2] > 8) & (batch.xyz[..., :2] < 31)).all(axis=2))
    assert len(crop) > 10
    xyz = batch.xyz[crop, row].astype(float)
    xyz[:, :2] -= np.floor(xyz[:, :2] + 0.5)
    expected = simtiff.crlb(
        optics, xyz, batch.photons[crop, row], 10, batch.coefficients[crop, row], size=15, read_noise=2
    )
    assert_allclose(batch.bounds[crop, row], expected, rtol=1e-3)


def test_bounds_know_the_camera_s_maps_and_the_background_of_the_place(tmp_path: Path) -> None:
    """The bounds equal those of a movie with the same emitters on the same pixels."""
    random = np.random.default_rng(4)
    with h5py.File(tmp_path / "camera.h5", "w") as file:
        for name, low, high in [("gain_adu_per_e", 1, 3), ("variance_adu2", 1, 90), ("quantum_efficiency", 0.3, 0.9)]:
            file[name] = random.uniform(low, high, (90, 100))
    settings = job(
        emitters={"density_per_um2": 0.3},
        camera={"maps_path": str(tmp_path / "camera.h5"), "maps_offset": [3, 2], "dark_e": 0.2},
        background={"photons": 12, "structure": {"amplitude": 0.3, "length_px": 8}},
        truth={"crlb": True},
    )
    del settings["tiff"]["noise_params"]
    batch = Frames(settings, size=24, batch=6, seed=2, bounds=True).batch(0)
    assert batch.bounds is not None
    del settings["emitters"]["frames"], settings["emitters"]["density_per_um2"]
    for crop in range(6):
        mask, (x, y) = batch.mask[crop], batch.origin[crop].tolist()
        xyz = batch.xyz[crop, mask] + np.array([x, y, 0], np.float32)
        columns = dict(zip(("x_px", "y_px", "z_um"), xyz.T, strict=True))
        rows = {"frame": np.zeros(len(xyz), int), "photons": batch.photons[crop, mask], **columns}
        movie = settings | {"tiff": {"roi_size": 24, "crop_offset": [x, y]}}
        simtiff.Simulation(movie, emitters=rows).write(tmp_path)
        with simtiff.open_truth(tmp_path / "emitters.h5") as opened:
            assert_allclose(batch.bounds[crop, mask], opened.bounds(), rtol=1e-4)


def equal(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


def test_a_batch_is_a_function_of_config_seed_number_and_rank() -> None:
    config = job(emitters={"density_per_um2": 1}, background={"photons": [5, 20]})
    del config["tiff"]["noise_params"]
    make: dict[str, Any] = {"size": 16, "batch": 8, "window": 2}
    frames = Frames(config, **make, seed=9)
    first = [frames.batch(k) for k in range(6)]
    before = simtiff.threads()
    try:
        for threads, prefetch in itertools.product((1, 3), (0, 1, 4)):
            simtiff.set_threads(threads)
            again = Frames(config, **make, seed=9, start=2, prefetch=prefetch)
            for expected, found in zip(first[2:], again, strict=False):
                assert found.index == expected.index
                assert equal(found, expected)
    finally:
        simtiff.set_threads(before)
    every_other = [batch for batch, _ in zip(frames.batches(1, 2), range(3), strict=False)]
    assert [batch.index for batch in every_other] == [1, 3, 5]
    assert all(equal(batch, first[batch.index]) for batch in every_other)
    copy = pickle.loads(pickle.dumps(frames))
    assert equal(copy.batch(4), first[4])
    out = frames.empty()
    filled = frames.batch(4, out)
    assert filled.frames is out.frames
    assert equal(frames.batch(5, out), first[5])  # nothing is left of the other batch
    others = [Frames(config, **make, seed=10), Frames(config, **make, seed=9, rank=1, ranks=2)]
    for other in (*(o.batch(0) for o in others), *first[1:]):
        assert not (first[0].frames == other.frames).all()
        assert not np.isin(first[0].photons[first[0].mask], other.photons[other.mask]).any()


def test_a_density_holds_where_a_movie_would_have_less_than_one_emitter() -> None:
    few = {"density_per_um2": 0.05, "blinking": {"kind": "always"}, "area_px": 24}
    counts = together(Frames(job(emitters=few, tiff={"roi_size": 24}), size=24, batch=500), 4).mask.sum(axis=1)
    mean = 0.05 * 24 * 24 * PIXEL_UM2
    assert abs(counts.mean() - mean) < SIGMAS * np.sqrt(mean / len(counts))


def test_fiducials_lie_in_the_field_alone() -> None:
    """The margin has emitters, but no fiducials: at the edge, half of their signal is missing."""
    marks = {"num_emitters": 0, "margin_px": 12, "area_px": 24, "fiducials": {"count": 300, "photons": 1000}}
    gaussian = {"model": "gaussian", "sigma_nm": 200, "size_px": 15}
    frames = Frames(job(emitters=marks, psf=gaussian, tiff={"add_noise": False}), size=24, batch=64)
    seen = frames.batch(0).frames.mean(axis=(0, 1), dtype=float)
    assert seen[8:16, [0, -1]].mean() < 0.7 * seen[8:16, 8:16].mean()


def test_frames_without_noise_have_no_background() -> None:
    quiet = Frames(job(emitters={"num_emitters": 0}, tiff={"add_noise": False}), size=24, batch=2).batch(0)
    assert not quiet.frames.any()
    assert not quiet.background.any()


def test_fiducials_have_room() -> None:
    marked = job(emitters={"num_emitters": 10, "fiducials": {"count": 200, "photons": 900}})
    frames = Frames(marked, size=40, batch=8)
    assert frames.batch(0, frames.empty()).mask.sum() > 8 * 20


def test_light_that_nothing_shapes_is_refused() -> None:
    dark = job(illumination={"fwhm_um": 3}, tiff={"noise_params": {"background": 0}})
    with pytest.raises(ConfigError, match="background is 0 and cannot be scaled"):
        Frames(dark, size=24, background=50)


def test_more_emitters_than_expected_are_not_lost() -> None:
    full = Frames(job(emitters={"density_per_um2": 3}), size=24, batch=50, seed=1)
    narrow = Frames(job(emitters={"density_per_um2": 3}), size=24, batch=50, seed=1, max_emitters=5)
    one, other = full.batch(0), narrow.batch(0)
    assert other.mask.shape[1] == one.mask.sum(axis=1).max()
    assert_array_equal(other.xyz[other.mask], one.xyz[one.mask])
    with pytest.raises(ShapeError, match=r"emitters, but out holds 5 \(max_emitters\)"):
        narrow.batch(0, narrow.empty())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 90}, r"size is 90, but emitters.area_px is 96 x 80; expected a crop that fits"),
        ({"size": 0}, "size is 0; expected an integer from 1"),
        ({"batch": 2.5}, "batch is 2.5"),
        ({"rank": 2, "ranks": 2}, "rank is 2; expected an integer from 0 to 1"),
        ({"seed": -1}, r"seed is -1; expected an integer from 0 to \d{1,40}$"),
        ({"photons": (5, 2)}, r"photons is \(5, 2\)"),
        ({"background": "dark"}, "background is 'dark'"),
        ({"density_per_um2": -1}, "density_per_um2 is -1"),
        ({"zernike_jitter_rad": -0.1}, "zernike_jitter_rad is -0.1"),
        ({"units": "e"}, "units is 'e'"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], message: str) -> None:
    listed = job(emitters={"positions_path": "list.csv"})
    with pytest.raises(ConfigError, match=r"emitters\.positions_path is given"):
        Frames(listed, size=24)
    with pytest.raises(ConfigError, match=message):
        Frames(job(), **{"size": 24} | options)
