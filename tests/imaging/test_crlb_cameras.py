"""The Cramér-Rao bound on realistic cameras: QE, dark charge, gain, maps, and structured background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import simtiff
from simtiff import Camera, Renderer, Scene
from simtiff.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, SHAPE = 15, (30, 44)
OPTICS = simtiff.Optics(wavelength_nm=660, NA=1.4, pixel_size_nm_x=110, pixel_size_nm_y=100)
PHASE = [0.0, 0.0, 0.0, 0.0, 0.0, 0.7, 0.1, -0.2]
SCMOS: dict[str, Any] = {"quantum_efficiency": 0.8, "dark_e": 0.3, "e_per_adu": 0.5, "offset_adu": 100}


def maps_of(shape: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(2)
    return {"quantum_efficiency": rng.uniform(0.3, 0.9, shape), "variance_adu2": rng.gamma(3, 8, shape)}


def pixels(camera: Camera, background: Any, shape: tuple[int, int]) -> tuple[Any, Any, float]:
    """Return QE and variance (without emitters) of each pixel, and the excess noise, from textbook formulas."""
    given = camera.maps
    efficiency = np.full(shape, camera.quantum_efficiency)
    noise = np.full(shape, camera.read_noise)
    if given is not None:
        efficiency = np.asarray(given.quantum_efficiency, float)
        noise = np.asarray(given.read_noise_adu, float) * camera.e_per_adu
    excess = 1.0 if camera.em_gain is None else 2.0
    dark = efficiency * background + camera.dark_e
    return efficiency, excess * dark + (noise / (camera.em_gain or 1)) ** 2, excess


def sigmas(planes: Any, photons: Any, pixel: tuple[Any, Any, float], there: Any) -> NDArray[np.float64]:
    """Return the joint bounds of emitters with one common background, (n, 5)."""
    efficiency, rest, excess = pixel
    light = sum(n * p[0] for n, p in zip(photons, planes, strict=True))
    variance = (excess * efficiency * light + rest)[there]
    slopes = [s[there] for n, p in zip(photons, planes, strict=True) for s in (n * p[1], n * p[2], n * p[3], p[0])]
    slopes = np.array([*slopes, np.ones(there.sum())]) * efficiency[there]
    found = np.sqrt(np.diag(np.linalg.inv((slopes / variance) @ slopes.T)))
    return np.array([[*found[4 * i : 4 * i + 4], found[-1]] for i in range(len(photons))])


CAMERAS = {
    "scmos": Camera(7, 1.6, **SCMOS),
    "emccd": Camera(7, 40, quantum_efficiency=0.9, em_gain=250, e_per_adu=12, dark_e=0.01),
    "maps": Camera(7, 9, maps=maps_of((SIZE, SIZE)), **SCMOS),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_a_stamp_is_bound_by_its_camera(camera: Camera) -> None:
    place = [[0.2, -0.3, 0.25]]
    planes = simtiff.psf_gradient(OPTICS, place, PHASE, size=SIZE).astype(float)
    expected = sigmas(planes, [900], pixels(camera, 4.0, (SIZE, SIZE)), np.ones((SIZE, SIZE), bool))
    found = simtiff.crlb(OPTICS, place, 900, 4.0, PHASE, size=SIZE, camera=camera)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_an_emccd_doubles_the_variance_without_read_noise() -> None:
    camera = Camera(0, 0, em_gain=300)
    of_gain = simtiff.crlb(OPTICS, [[0, 0, 0.3]], 900, 4.0, PHASE, camera=camera)
    without = simtiff.crlb(OPTICS, [[0, 0, 0.3]], 900, 4.0, PHASE)
    np.testing.assert_allclose(of_gain, without * np.sqrt(2), rtol=1e-5)


def test_maps_of_other_stamps_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"stamps are \(41, 41\) px \(y, x\); expected \(15, 15\)"):
        simtiff.crlb(OPTICS, [[0, 0, 0.3]], 900, 4.0, camera=CAMERAS["maps"])


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", ["scmos", "emccd", "maps"])
@pytest.mark.parametrize("own", [False, True])
def test_records_are_bound_by_the_pixels_that_they_light(name: str, joint: bool, own: bool) -> None:
    camera = CAMERAS[name] if name != "maps" else Camera(7, 9, maps=maps_of(SHAPE), **SCMOS)
    xyz = np.array([[12.2, 11.1, 0.3], [18.4, 13.9, -0.2], [2.0, 27.3, 0.1]])  # two that overlap, and one at a corner
    photons, frame_ix = np.array([900, 1500, 700, 800.0]), [0, 0, 0, 1]
    emitter_ix = [0, 1, 2, 0]
    image = np.linspace(0, 50, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE) if own else None
    factor = np.array([1.0, 0.25]) if own else None
    plain = Scene.from_arrays(xyz, photons, PHASE, emitter_ix=emitter_ix, frame_ix=frame_ix)
    scene = Scene(plain.xyz, plain.phase, None, plain.emitter_ix, plain.frame_ix, plain.photons, (0, 0), image, factor)
    renderer = Renderer(OPTICS, size=SIZE)
    background = np.array([3.0, 5.0])
    found = renderer.record_bounds(scene, background, SHAPE, camera.detector, joint=joint)
    stamps = renderer.gradients(Scene.from_arrays(xyz - [[12, 11, 0], [18, 14, 0], [2, 27, 0]], phase=PHASE)).astype(
        float
    )
    frames = np.full((3, 4, SHAPE[0] + 4 * SIZE, SHAPE[1] + 4 * SIZE), np.nan)
    for frame, (column, row), planes in zip(frames, [(12, 11), (18, 14), (2, 27)], stamps, strict=True):
        top, left = 2 * SIZE + row - SIZE // 2, 2 * SIZE + column - SIZE // 2
        frame[:, top : top + SIZE, left : left + SIZE] = planes
    frames = frames[:, :, 2 * SIZE :, 2 * SIZE :][:, :, : SHAPE[0], : SHAPE[1]]
    groups = [[0, 1], [2], [3]] if joint else [[0], [1], [2], [3]]
    for group in groups:
        t = frame_ix[group[0]]
        here = background[t] + (0 if image is None or factor is None else image * factor[t])
        planes = [frames[emitter_ix[record]] for record in group]
        there = np.any([np.isfinite(each[0]) for each in planes], axis=0)
        expected = sigmas(np.nan_to_num(planes), photons[group], pixels(camera, here, SHAPE), there)
        np.testing.assert_allclose(found[group], expected, rtol=2e-3)
