"""A camera stage by stage: photon transfer, EM gain distribution, saturation, maps, independent random streams."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import simtiff
from simtiff import Camera, Renderer, Scene
from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.imaging.cameramaps import CameraMaps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIGMAS = 5.0
SCMOS: dict[str, Any] = {"quantum_efficiency": 0.82, "e_per_adu": 0.46, "offset_adu": 100, "dark_e": 0.06}
EMCCD: dict[str, Any] = {
    "quantum_efficiency": 0.9,
    "em_gain": 300,
    "e_per_adu": 11.5,
    "offset_adu": 200,
    "dark_e": 0.002,
}


def flat(photons: float, frames: int = 40, side: int = 128) -> NDArray[np.float32]:
    return np.full((frames, side, side), photons, np.float32)


@pytest.mark.parametrize("photons", [0, 0.5, 5, 60, 400, 20000])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    ("read_noise", "stages"),
    [(1.6, {"offset_adu": 100}), (1.6, SCMOS), (2.0, {"offset_adu": 100.3, "e_per_adu": 0.5}), (45.0, EMCCD)],
    ids=["plain", "scmos", "whole gain", "emccd"],
)
def test_photon_transfer(photons: float, dtype: str, read_noise: float, stages: dict[str, Any]) -> None:
    if stages is EMCCD and photons == 20000:
        stages = {**EMCCD, "em_gain": 30}  # stay within 16 bits
    camera = Camera(0, read_noise, dtype=dtype, **stages)
    counts = camera.expose(flat(photons), seed=int(photons) + 1).astype(np.float64)
    gain = (camera.em_gain or 1) / camera.e_per_adu
    excess = 1 if camera.em_gain is None else 2
    electrons = camera.quantum_efficiency * photons + camera.dark_e
    mean = gain * electrons + camera.offset_adu
    variance = excess * gain * (mean - camera.offset_adu) + (read_noise / camera.e_per_adu) ** 2
    variance += 1 / 12 if dtype == "uint16" else 0
    assert abs(counts.mean() - mean) < SIGMAS * np.sqrt(variance / counts.size)
    fourth = ((counts - counts.mean()) ** 4).mean() / variance**2
    assert abs(counts.var() / variance - 1) < SIGMAS * np.sqrt((fourth - 1) / counts.size) + 1e-4


@pytest.mark.parametrize("electrons", [0, 1, 2, 5, 20, 200])
def test_the_law_of_the_register(electrons: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    gain, sigma, scale, offset = 100.0, 20.0, 5.0, 150.0
    camera = Camera(0, sigma, em_gain=gain, e_per_adu=scale, offset_adu=offset)
    counts = camera.expose(flat(electrons, frames=60), seed=7).ravel()
    # convolution of Poisson, gamma and normal distributions on a grid of output electrons
    step = sigma / 20
    grid = (np.arange(round(400 * sigma / step)) + 0.5) * step if electrons < 3 else None
    if grid is None:
        most = gain * (electrons + 8 * np.sqrt(2 * electrons) + 20)
        grid = (np.arange(round(most / step)) + 0.5) * step
    numbers = np.arange(1, electrons + round(8 * np.sqrt(electrons)) + 12)
    density = sum(stats.poisson.pmf(n, electrons) * stats.gamma.pdf(grid, n, scale=gain) for n in numbers)
    mass = density * step if electrons else np.zeros_like(grid)
    edges = (np.arange(counts.min(), counts.max() + 2) - 0.5 - offset) * scale
    reach = round(8 * sigma / step)
    kernel = stats.norm.cdf((np.arange(-reach, reach + 1) + 0.5) * step, scale=sigma)
    kernel = np.diff(np.concatenate([[0], kernel]))
    blurred = np.convolve(mass, kernel)
    places = (np.arange(len(blurred)) + 0.5 - reach) * step
    cumulative = np.interp(edges, places + step / 2, np.cumsum(blurred))
    cumulative += stats.poisson.pmf(0, electrons) * stats.norm.cdf(edges, scale=sigma)
    expected = np.diff(cumulative) * counts.size
    found = np.bincount(counts - counts.min(), minlength=len(expected))
    groups = np.cumsum(expected) // 50  # bins of some fifty counts at least
    pairs = [(expected[groups == g].sum(), found[groups == g].sum()) for g in np.unique(groups)]
    expected, found = (np.array(column) for column in zip(*pairs, strict=True))
    chi = ((found - expected) ** 2 / expected)[expected > 20]
    assert abs(chi.sum() - len(chi)) < SIGMAS * np.sqrt(2 * len(chi)), f"{chi.sum()} of {len(chi)} bins"


def test_maps_are_recovered(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shape = (24, 40)
    offset, gain = rng.normal(100, 3, shape), rng.normal(2.2, 0.1, shape)
    noise, efficiency = rng.gamma(8, 0.2, shape), rng.uniform(0.6, 0.95, shape)
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        large = lambda inner: np.pad(inner, ((5, 3), (7, 2)), constant_values=0.5)  # noqa: E731
        file["offset_adu"], file["gain_adu_per_e"] = large(offset), large(gain)
        file["variance_adu2"], file["quantum_efficiency"] = large((noise * gain) ** 2), large(efficiency)
    maps = CameraMaps.open(tmp_path / "maps.h5", offset=(7, 5), shape=shape)
    camera = Camera(0, 0, maps=maps)
    frames, photons = 2000, 300.0
    dark = camera.expose(np.zeros((frames, *shape)), seed=1).astype(float)
    light = camera.expose(np.full((frames, *shape), photons), seed=2).astype(float)
    of_dark = noise**2 * gain**2 + 1 / 12
    of_light = efficiency * photons * gain**2 + of_dark
    for found, expected, error in (
        (dark.mean(0), offset, np.sqrt(of_dark / frames)),
        (dark.var(0), of_dark, of_dark * np.sqrt(2 / frames)),
        (light.mean(0), offset + gain * efficiency * photons, np.sqrt(of_light / frames)),
        (light.var(0), of_light, of_light * np.sqrt(2 / frames)),
    ):
        z = (found - expected) / error
        assert abs((z**2).mean() - 1) < SIGMAS * np.sqrt(2 / z.size)
        assert abs(z.mean()) < SIGMAS / np.sqrt(z.size)


def test_each_stage_saturates() -> None:
    image = flat(500, 3, 32)
    loud = {"dtype": "float32", "read_noise": 0}
    full = Camera(0, full_well_e=400, **loud).expose(image)
    assert full.max() == 400
    assert (full == 400).mean() > 0.99
    register = Camera(0, em_gain=50, register_full_well_e=2e4, **loud).expose(image)
    assert register.max() == 2e4
    assert 0.5 < (register == 2e4).mean() < 1
    for bits in (8, 12, 16):
        counts = Camera(0, 5, bit_depth=bits, e_per_adu=0.01).expose(image)
        assert counts.min() == 2**bits - 1 if bits < 16 else counts.max() <= 2**16 - 1
    quiet = Camera(0, 0, False, em_gain=50, quantum_efficiency=0.5, dark_e=1, e_per_adu=2, offset_adu=10)
    assert_array_equal(quiet.expose([[8.0, 0.0, 1e6]]), [[135, 35, 65535]])


def test_no_read_noise_is_lost_above_an_offset() -> None:
    counts = Camera(0, 3, e_per_adu=0.6, offset_adu=100).expose(flat(0)).astype(float)
    assert abs(counts.std() - np.sqrt(25 + 1 / 12)) < 0.02


@pytest.mark.parametrize("e_per_adu", [0.46, 0.5, 1, 2.2, 12])
def test_gains_make_no_combs(e_per_adu: float) -> None:
    """Neighbouring counts are about equally likely, unless there are more counts than electrons and almost no noise."""
    stats = pytest.importorskip("scipy.stats")
    camera = Camera(50, 1.5, e_per_adu=e_per_adu, offset_adu=100)
    counts = camera.expose(flat(0, frames=60), seed=5).ravel()
    values = np.arange(counts.min(), counts.max() + 1)
    numbers = np.arange(150)
    of_number = stats.poisson.pmf(numbers, 50)[:, None]
    edges = (np.r_[values - 0.5, values[-1] + 0.5] - 100) * e_per_adu
    expected = (of_number * np.diff(stats.norm.cdf(edges - numbers[:, None], scale=1.5), axis=1)).sum(0) * counts.size
    found = np.bincount(counts - counts.min())
    chi = ((found - expected) ** 2 / expected)[expected > 20]
    assert abs(chi.sum() - len(chi)) < SIGMAS * np.sqrt(2 * len(chi))


def test_switching_a_stage_changes_no_other_draw() -> None:
    image = np.random.default_rng(0).uniform(0, 60, (3, 33, 47))

    def expose(read_noise: float = 2.0, **stages: Any) -> NDArray[np.float32]:
        return Camera(5, read_noise, dtype="float32", **stages).expose(image, seed=3)

    plain, silent = expose(), expose(0)
    assert_allclose(expose(e_per_adu=0.4, offset_adu=7), plain / 0.4 + 7, rtol=1e-5)
    assert_array_equal(expose(full_well_e=1e6), plain)
    gained = expose(em_gain=100)
    assert_allclose(expose(4, em_gain=100) - gained, plain - silent, atol=0.02)  # as much read noise again
    assert_array_equal(expose(0, em_gain=100) == 0, silent == 0)
    assert_allclose(expose(0, em_gain=300), 3 * expose(0, em_gain=100), rtol=1e-5)


def test_pixels_depend_on_place_and_seed_alone() -> None:
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 300, (7, 31, 47)).astype(np.float32)
    maps = {"offset_adu": rng.normal(100, 2, (31, 47)), "variance_adu2": rng.gamma(4, 2, (31, 47))}
    cameras = [
        Camera(3, 40, full_well_e=200, register_full_well_e=1e5, **EMCCD),
        Camera(3, 1.5, maps=maps, **SCMOS),
        Camera(3, 1.5, e_per_adu=0.25, offset_adu=100.5),
    ]
    before = simtiff.threads()
    try:
        for camera in cameras:
            whole = camera.expose(image, seed=5)
            for threads in (1, 3):
                simtiff.set_threads(threads)
                for chunk in (1, 3):
                    for first in range(0, 7, chunk):
                        part = camera.expose(image[first : first + chunk], seed=5, first_frame=first)
                        assert_array_equal(part, whole[first : first + chunk])
            assert_array_equal(copy.deepcopy(camera).expose(image, seed=5), whole)
    finally:
        simtiff.set_threads(before)


def test_a_scene_brings_its_background() -> None:
    optics = simtiff.Optics()
    scene = Scene.from_arrays([[10, 12, 0]], [2000, 1000, 500], emitter_ix=[0, 0, 0], frame_ix=[0, 1, 2])
    own = np.linspace(0, 40, 24 * 30, dtype=np.float32).reshape(24, 30)
    factor = np.array([1.0, 0.5, 2.0])
    lit = Scene(*(getattr(scene, name) for name in ("xyz", "phase", "magnitude", "emitter_ix", "frame_ix", "photons")),
                background=own, background_factor=factor)  # fmt: skip
    renderer = Renderer(optics, size=11)
    camera = Camera(2, 40, **EMCCD)
    expected = renderer.render(lit, (3, 24, 30))
    assert_array_equal(expected, renderer.render(scene, (3, 24, 30)))  # which holds no background
    light = expected + own * factor[:, None, None].astype(np.float32)
    assert_array_equal(renderer.expose(lit, (3, 24, 30), camera, seed=4), camera.expose(light, seed=4))
    with pytest.raises(ShapeError, match=r"background has shape \(24, 30\); expected \(30, 24\)"):
        renderer.expose(lit, (3, 30, 24), camera)
    with pytest.raises(ShapeError, match=r"background_factor has shape \(3,\)"):
        renderer.expose(lit, (4, 24, 30), camera)
    with pytest.raises(ShapeError, match=r"background has shape \(1, 2\); expected \(24, 30\)"):
        renderer.expose(replace(lit, background=[[1.0, 2.0]]), (3, 24, 30), camera)  # type: ignore[arg-type]


def test_cameras_tell_what_they_are() -> None:
    camera = Camera(20, 50, dtype="float32", maps={"offset_adu": np.full((4, 6), 99.0)}, **EMCCD)
    text = repr(camera)
    assert text.startswith(
        "Camera(background=20.0, read_noise=50.0, dtype='float32', quantum_efficiency=0.9, em_gain=300.0"
    )
    assert text.endswith("maps=(6 x 4 px))")
    assert (camera.em_gain, camera.e_per_adu, camera.bit_depth, camera.full_well_e) == (300, 11.5, 16, None)
    assert repr(Camera()) == "Camera(background=100.0, read_noise=10.0)"
    assert Camera(em_gain=0).em_gain is Camera(em_gain=1).em_gain is None


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"quantum_efficiency": 0}, "quantum_efficiency is 0; expected a number above 0"),
        ({"quantum_efficiency": 1.2}, "quantum_efficiency is 1.2"),
        ({"em_gain": 0.5}, "em_gain is 0.5; expected a number from 1"),
        ({"em_gain": "high"}, "em_gain"),
        ({"e_per_adu": 0}, "e_per_adu is 0; expected a number from 1e-6"),
        ({"em_gain": np.array([2, 3])}, "em_gain is array"),
        ({"bit_depth": 7}, "bit_depth is 7; expected an integer from 8 to 16"),
        ({"bit_depth": -1}, "bit_depth is -1; expected an integer from 8 to 16"),
        ({"bit_depth": 2**70}, "bit_depth is 1180591620717411303424; expected an integer from 8 to 16"),
        ({"bit_depth": 12.5}, "bit_depth"),
        ({"full_well_e": -1}, "full_well_e is -1"),
        ({"register_full_well_e": 100}, "register_full_well_e is given without em_gain"),
        ({"dark_e": float("nan")}, "dark_e is NaN"),
        ({"offset_adu": 1e9}, "offset_adu is"),
        ({"maps": 5}, "maps is 5; expected CameraMaps, a path, or a dict of arrays"),
        ({"maps": {}}, "maps: there are none; expected any of offset_adu"),
        ({"maps": {1: [[1.0]]}}, "maps: unknown name 1; expected any of offset_adu"),
        ({"maps": {"gain": [[1.0]]}}, "maps: unknown name gain; expected any of offset_adu"),
        (
            {"maps": {"e_per_adu": [[1.0]], "gain_adu_per_e": [[1.0]]}},
            "maps: both e_per_adu and gain_adu_per_e are given",
        ),
    ],
)
def test_wrong_stages_are_named(stages: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Camera(**stages)


def test_wrong_maps_are_named(tmp_path: Path) -> None:
    path = tmp_path / "maps.h5"

    def written(**maps: Any) -> Path:
        with h5py.File(path, "w") as file:
            for name, values in maps.items():
                file[name] = values
        return path

    flawed = np.full((8, 9), 1.0)
    flawed[2, 3] = -1
    for maps, message in (
        ({"mean": flawed}, "has no camera map; allowed: any of offset_adu"),
        ({"variance_adu2": flawed}, "variance_adu2: pixel x = 3, y = 2 is -1"),
        ({"offset_adu": np.ones(7)}, r"offset_adu: has shape \(7,\)"),
        ({"read_noise_e": flawed + 1, "variance_adu2": flawed + 1}, "has both read_noise_e and variance_adu2"),
        (
            {"offset_adu": flawed, "quantum_efficiency": flawed[:6] + 1},
            r"has maps of different shapes: offset_adu \(8, 9\), quantum_efficiency \(6, 9\); allowed: equal shapes",
        ),
    ):
        with pytest.raises(DataError, match=message):
            CameraMaps.open(written(**maps))
    with pytest.raises(DataError, match="has 9 px along x, but the frame covers 4 to 9"):
        CameraMaps.open(written(offset_adu=flawed), offset=(4, 0), shape=(8, 6))
    with pytest.raises(DataError, match=r"none\.h5: no such file"):
        CameraMaps.open(tmp_path / "none.h5")
    camera = Camera(maps=written(offset_adu=flawed))
    with pytest.raises(ShapeError, match=r"frames are \(9, 8\) px \(y, x\); expected \(8, 9\)"):
        camera.expose(np.zeros((9, 8)))
    with pytest.raises(ShapeError, match="maps have different shapes"):
        Camera(maps={"offset_adu": flawed, "quantum_efficiency": flawed[1:]})
