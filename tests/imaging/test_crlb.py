"""Derivatives of stamps, and single-emitter and joint Cramér-Rao bounds, against NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from psf_models import GAUSSIAN, MODELS, OIL, PHASE, VECTORIAL, Model, drawn
from simtiff import Camera, Renderer, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
SIZE = 15
NOISELESS = Camera(background=0, read_noise=0).detector


def sigmas(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standard deviations; infinity for parameters without information, which the others treat as known."""
    told = np.diag(information) > 0
    found = np.full(len(information), np.inf)
    found[told] = np.sqrt(np.diag(np.linalg.inv(information[np.ix_(told, told)])))
    return found


def information(
    slopes: NDArray[np.float64], mean: NDArray[np.float64], excess_noise: float = 1, read_noise: float = 0
) -> NDArray[np.float64]:
    """Return the Fisher information matrix from the derivatives (parameters, pixels) of the pixels' means."""
    return (slopes / (excess_noise * mean + read_noise**2)) @ slopes.T


def alone(planes: NDArray[np.float64], photons: float, background: float, **noise: float) -> NDArray[np.float64]:
    value, dx, dy, dz = planes[:4].reshape(4, -1)
    slopes = np.array([photons * dx, photons * dy, photons * dz, value, np.ones_like(value)])
    return sigmas(information(slopes, photons * value + background, **noise))


@given(case=drawn())
def test_derivatives_are_differences_of_stamps(
    case: tuple[Model, NDArray[np.float64], NDArray[np.float64], list[int]],
) -> None:
    """Central differences of fourth order.

    How many nodes a stamp has depends on its place, so differences have the error of stamps divided by the step,
    above all where light leaves above the critical angle.
    """
    model, xyz, phase, modes = case
    found = model.planes([xyz], phase, modes=modes, size=SIZE)[0]
    units = np.vstack([np.eye(3, 3 + len(phase)), np.eye(len(phase), 3 + len(phase), 3)[np.array(modes, int) - 1]])
    steps = np.array([0.1, 0.1, 0.02] + [0.05] * len(modes))
    moved = np.r_[xyz, phase] + np.multiply.outer(steps[:, None] * [-2, -1, 1, 2], np.ones(1)) * units[:, None]
    moved = moved.reshape(-1, 3 + len(phase))
    stamps = model.psf(moved[:, :3], moved[:, 3:], SIZE).reshape(len(steps), 4, SIZE, SIZE)
    weights = np.array([1, -8, 8, -1]) / (12 * steps[:, None])
    expected = np.einsum("ijab,ij->iab", stamps, weights)
    peak, *peaks = np.abs(found).max(axis=(1, 2))
    error = np.abs(found[1:] - expected).max(axis=(1, 2)) / (5e-4 * np.array(peaks) + 1e-4 * peak)
    assert (error < (10 if model.error > 1e-3 else 1)).all(), error


@given(
    case=drawn(),
    photons=st.floats(1e2, 1e5),
    background=st.floats(0.1, 1e3),
    read_noise=st.sampled_from([0, 1.6, 10]),
    excess_noise=st.sampled_from([1.0, 1.3, 2.0]),
)
def test_bounds_are_those_of_numpy_s_inverse(
    case: Any, photons: float, background: float, read_noise: float, excess_noise: float
) -> None:
    model, xyz, phase, _ = case
    given_ = {"size": SIZE, **model.coefficients(phase)}
    found = model.crlb([xyz], photons, background, read_noise=read_noise, excess_noise=excess_noise, **given_)[0]
    planes = model.planes([xyz], phase, size=SIZE)[0]
    expected = alone(planes, photons, background, read_noise=read_noise, excess_noise=excess_noise)
    told = expected < 100 * np.array([1, 1, 1, photons, np.inf])  # skip parameters with almost no information
    np.testing.assert_allclose(found[told], expected[told], rtol=2e-3)
    np.testing.assert_allclose(
        found,
        model.crlb(
            [xyz, xyz], [photons, 7], [background, 3], read_noise=read_noise, excess_noise=excess_noise, **given_
        )[0],
    )


@every_model
def test_a_camera_has_its_read_noise(model: Model) -> None:
    place = [model.at(0.2, -0.1, 0.25)]
    camera = Camera(background=55, read_noise=1.6)
    np.testing.assert_array_equal(model.crlb(place, 900, 10, camera=camera), model.crlb(place, 900, 10, read_noise=1.6))
    assert (model.crlb(place, 900, 10, camera=camera) > model.crlb(place, 900, 10)).all()


@pytest.mark.parametrize("photons", [300, 3000, 30_000])
@pytest.mark.parametrize("background", [0.1, 2.0, 25.0])
def test_a_gaussian_has_the_bound_of_the_closed_form(photons: float, background: float) -> None:
    """Mortensen et al., Nat. Methods 7, 377 (2010), for pixels of less than half a sigma."""
    sigma_nm, pixel_nm = 130, 50
    optics = replace(OIL, pixel_size_nm_x=pixel_nm, pixel_size_nm_y=pixel_nm)
    found = simtiff.crlb(optics, [[0, 0, 0.4]], photons, background, size=41, model="gaussian", sigma_nm=sigma_nm)[0]
    variance = sigma_nm**2 + pixel_nm**2 / 12
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = ((nodes + 1) / 2) ** 4  # most of the integral is near 0
    part = photons * pixel_nm**2 / (2 * np.pi * variance * background)
    integral = (2 * ((nodes + 1) / 2) ** 3 * weights * np.log(t) / (1 + t * part)).sum()
    expected = np.sqrt(variance / photons / (1 + integral)) / pixel_nm
    np.testing.assert_allclose(found[:2], expected, rtol=0.01)
    assert np.isinf(found[2])


# Records in frames.


def placed(
    model: Model, xyz: NDArray[np.float64], shape: tuple[int, int], phase: Any, size: int = SIZE, **more: Any
) -> list[NDArray[np.float64]]:
    """Return stamps and derivatives of emitters, each in a frame that is NaN outside its stamp."""
    half, frames = size // 2, []
    for place, coefficients in zip(xyz, phase, strict=True):
        column, row = np.floor(place[:2] + 0.5).astype(int)
        planes = model.planes([place - [column, row, 0]], coefficients, size=size, **more)[0]
        wide = np.full((4, shape[0] + 4 * size, shape[1] + 4 * size), np.nan)
        wide[:, 2 * size + row - half :, 2 * size + column - half :][:, :size, :size] = planes
        frames.append(wide[:, 2 * size : 2 * size + shape[0], 2 * size : 2 * size + shape[1]])
    return frames


def together(frames: list[NDArray[np.float64]], photons: Any, background: float, **noise: float) -> NDArray[np.float64]:
    """Return the joint bounds of emitters with one common background, from all pixels that a stamp covers."""
    there = np.any([np.isfinite(planes[0]) for planes in frames], axis=0)
    planes = np.nan_to_num(np.array(frames)[:, :, there])
    mean = background + np.einsum("n,np->p", photons, planes[:, 0])
    slopes = [
        slope
        for (value, *by), light in zip(planes, photons, strict=True)
        for slope in (*(light * each for each in by), value)
    ]
    found = sigmas(information(np.array([*slopes, np.ones(there.sum())]), mean, **noise))
    return np.c_[found[:-1].reshape(len(frames), 4), np.full(len(frames), found[-1])]


def emitters(model: Model, places: list[tuple[float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return emitters at these positions, with different heights and coefficients."""
    rng = np.random.default_rng(8)
    heights = model.focus_um + rng.uniform(-0.15, 0.4, len(places))
    return np.c_[np.array(places), heights], PHASE * rng.uniform(0.8, 1.2, (len(places), 1))


@every_model
@pytest.mark.parametrize("read_noise", [0.0, 2.5])
@pytest.mark.parametrize(
    "places",
    [
        [(20.2, 16.4), (23.1, 15.8)],  # 3 px apart
        [(20.2, 16.4), (20.2, 19.4)],
        [(20.1, 16.4), (20.4, 16.4)],  # hardly resolved
        [(1.3, 2.2), (3.9, 0.7)],  # both clipped at the frame's corner
        [(47.4, 33.1), (50.3, 32.2)],  # the second is outside the frame
        [(20.2, 16.4), (33.4, 27.0), (38.0, 15.1)],  # the outer two do not overlap
    ],
)
def test_joint_bounds_are_those_of_the_dense_matrix(
    model: Model, read_noise: float, places: list[tuple[float, float]]
) -> None:
    xyz, phase = emitters(model, places)
    shape, photons, background = (36, 48), [1500, 700, 4000][: len(xyz)], 6.0
    renderer = Renderer(model.optics, size=SIZE, **model.options)
    scene = Scene.from_arrays(xyz, photons, **model.coefficients(phase))
    detector = Camera(background=0, read_noise=read_noise).detector
    found = renderer.record_bounds(scene, np.array([background]), shape, detector, joint=True)
    frames = placed(model, xyz, shape, phase)
    expected = together(frames, photons, background, read_noise=read_noise)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    separate = renderer.record_bounds(scene, np.array([background]), shape, detector)
    for frame, light, bound in zip(frames, photons, separate, strict=True):
        there = np.isfinite(frame[0])
        np.testing.assert_allclose(bound, alone(frame[:, there], light, background, read_noise=read_noise), rtol=2e-3)


@every_model
def test_records_are_bound_by_their_frames_and_touching_stamps(model: Model) -> None:
    """Frames differ in neighbours and background; isolated emitters have single-emitter bounds; order is irrelevant."""
    rng = np.random.default_rng(9)
    xyz, phase = emitters(model, [(12.2, 13.4), (15.1, 12.8), (12.2 + 2 * SIZE, 13.4), (60.3, 40.2)])
    emitter_ix = np.array([0, 1, 2, 3, 0, 2, 3, 1])
    frame_ix = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    photons = rng.uniform(500, 5000, 8)
    background = np.array([4.0, 9.0, 25.0])
    shape = (60, 90)
    renderer = Renderer(model.optics, size=SIZE, **model.options)
    arguments = {"frame_ix": frame_ix, "emitter_ix": emitter_ix, **model.coefficients(phase)}
    scene = Scene.from_arrays(xyz, photons, **arguments)
    joint = renderer.record_bounds(scene, background, shape, NOISELESS, joint=True)
    separate = renderer.record_bounds(scene, background, shape, NOISELESS)
    np.testing.assert_array_equal(joint[2:], separate[2:])
    assert (joint[:2] != separate[:2]).all()
    middle = np.floor(xyz[emitter_ix, :2] + 0.5)
    inside = xyz[emitter_ix] - np.c_[middle, np.zeros(8)]
    stamps = model.crlb(inside, photons, background[frame_ix], size=SIZE, **model.coefficients(phase[emitter_ix]))
    np.testing.assert_allclose(separate, stamps, rtol=1e-6)
    order = rng.permutation(8)
    shuffled = replace(
        scene,
        emitter_ix=scene.emitter_ix[order],
        frame_ix=scene.frame_ix[order],
        photons=scene.photons[order],
        origin=(-7, 5),
    )
    moved = replace(shuffled, xyz=xyz + np.array([-7, 5, 0]))
    for kind, expected in ((True, joint), (False, separate)):
        found = renderer.record_bounds(moved, background, shape, NOISELESS, joint=kind)
        np.testing.assert_allclose(found, expected[order], rtol=1e-9)
        for frame in range(3):
            here = frame_ix == frame
            part = Scene.from_arrays(xyz, photons[here], emitter_ix=emitter_ix[here], **model.coefficients(phase))
            alone_ = renderer.record_bounds(part, background[frame : frame + 1], shape, NOISELESS, joint=kind)
            np.testing.assert_array_equal(alone_, expected[here])


def test_what_the_pixels_do_not_tell_is_infinite_and_spoils_nothing() -> None:
    for optics, options in (
        (OIL, {"model": "scalar"}),
        (OIL, VECTORIAL),
        (OIL, {"model": "gaussian"}),
        (OIL, {"model": "gaussian", "sigma_nm": 140, "depth_nm": 300}),
    ):
        # without aberrations and in focus, z is not determined
        xyz = np.array([[0.2, -0.1, 0.0]])
        found = simtiff.crlb(optics, xyz, 1000, 10, size=SIZE, **options)[0]
        assert np.isinf(found[2])
        value, dx, dy, _ = simtiff.psf_gradient(optics, xyz, size=SIZE, **options)[0].reshape(4, -1).astype(float)
        slopes = np.array([1000 * dx, 1000 * dy, value, np.ones_like(value)])
        expected = sigmas(information(slopes, 1000 * value + 10))
        np.testing.assert_allclose(found[[0, 1, 3, 4]], expected, rtol=2e-3)
        # next to another one, whose z is determined; also a dark one, and one whose stamp misses the frame
        model = Model(optics, options)
        places = np.array([[20.2, 19.9, 0.0], [23.1, 20.4, 0.35], [21.0, 23.0, 0.2], [70.0, 20.0, 0.1], [20, -9, 0.2]])
        photons = np.array([1000, 700, 0, 900, 800])
        scene = Scene.from_arrays(places, photons)
        renderer = Renderer(optics, size=SIZE, **options)
        found = renderer.record_bounds(scene, np.array([10.0]), (40, 40), NOISELESS, joint=True)
        assert np.isinf(found[[0, 2], 2]).all()
        assert np.isinf(found[2, :3]).all()
        assert np.isinf(found[3:]).all()
        frames = placed(model, places[:3], (40, 40), [None] * 3)
        for frame in frames[::2]:
            frame[3] *= 0  # z of the first, and of the dark one
        if options == {"model": "gaussian"}:
            frames[1][3] *= 0
        np.testing.assert_allclose(found[:3], together(frames, photons[:3], 10.0), rtol=2e-3)


def test_two_emitters_at_one_place_are_not_told_apart() -> None:
    xyz = np.array([[20.2, 19.9, 0.2], [20.2, 19.9, 0.2], [27.0, 20.4, 0.3]])
    scene = Scene.from_arrays(xyz, [500, 500, 800], PHASE)
    renderer = Renderer(OIL, size=SIZE)
    found = renderer.record_bounds(scene, np.array([10.0]), (40, 40), NOISELESS, joint=True)
    assert np.isinf(found[:2, :4]).all()
    # the third is affected as by one emitter with their total photons
    pair = Scene.from_arrays(xyz[1:], [1000, 800], PHASE)
    expected = renderer.record_bounds(pair, np.array([10.0]), (40, 40), NOISELESS, joint=True)
    np.testing.assert_allclose(found[2], expected[1], rtol=1e-3)


def test_more_emitters_than_can_be_bound_together_are_refused() -> None:
    rng = np.random.default_rng(2)
    scene = Scene.from_arrays(rng.uniform(0, 20, (251, 3)) * [1, 1, 0.01], 100.0)
    renderer = Renderer(OIL, size=5, model="gaussian", depth_nm=300)
    with pytest.raises(simtiff.ConfigError, match=r"251 emitters whose stamps touch \(frame 0\); expected at most 250"):
        renderer.record_bounds(scene, np.ones(1), (21, 21), NOISELESS, joint=True)
    assert renderer.record_bounds(scene, np.ones(1), (21, 21), NOISELESS).shape == (251, 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"photons": -1}, simtiff.ConfigError, "photons is -1"),
        ({"photons": np.nan}, simtiff.ConfigError, "photons is NaN"),
        ({"photons": [1, 2]}, simtiff.ShapeError, "photons has 2 elements; expected 1"),
        ({"background": -0.5}, simtiff.ConfigError, "background is -0.5"),
        ({"background": [[1]]}, simtiff.ShapeError, "background has 2 dimensions"),
        ({"read_noise": -1}, simtiff.ConfigError, "read_noise is -1"),
        ({"excess_noise": 3}, simtiff.ConfigError, "excess_noise is 3; expected a number from 1 to 2"),
        ({"camera": 3}, simtiff.ConfigError, "camera is a int; expected simtiff.Camera"),
        ({"camera": Camera(), "read_noise": 1.0}, simtiff.ConfigError, "camera cannot be combined with read_noise"),
        ({"phase": [[0.1], [0.2]]}, simtiff.ShapeError, "phase has shape"),
        ({"model": "gaussian", "phase": [0.1]}, simtiff.ConfigError, "a Gaussian has no pupil"),
        ({"size": 4}, simtiff.ConfigError, "size is 4"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        simtiff.crlb(OIL, **({"xyz": [[0, 0, 0.1]], "photons": 100, "background": 1} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modes": [0]}, r"modes is \[0\]; expected Noll indices, 1 and up"),
        ({"modes": [2.5]}, r"modes is \[2.5\]"),
        ({"modes": [10_000]}, "10000|modes"),
        ({"modes": [6], **GAUSSIAN}, r"modes is \[6\], but a Gaussian has no pupil"),
        ({"out": np.zeros((1, 4, 41, 41))}, "out is float64"),
    ],
)
def test_bad_modes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(simtiff.SimtiffError, match=message):
        simtiff.psf_gradient(OIL, [[0, 0, 0]], **change)


def test_derivatives_fill_the_callers_array() -> None:
    out = np.full((2, 5, SIZE, SIZE), np.nan, np.float32)
    found = simtiff.psf_gradient(OIL, [[0, 0, 0.1], [0.2, 0, 0]], modes=[6], size=SIZE, out=out)
    assert found is out
    assert np.isfinite(out).all()
