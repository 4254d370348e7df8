"""All PSF models: against reference arrays, against each other, and the contract of all models."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import simtiff
from psf_models import DEEP, GAUSSIAN, MODELS, OIL, PHASE, TIRF, VECTORIAL, Model
from simtiff import Optics, Renderer, Scene

DATA = Path(__file__).parents[1] / "data" / "model_reference_small.npz"
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
integration = pytest.mark.parametrize("pixel_integration", [True, False])


def optics_of(numbers: np.ndarray, kind: str) -> Optics:
    return Optics(*numbers[:5], *(numbers[5:] if kind == "vectorial" else ()))


def allowed(numbers: np.ndarray) -> float:
    """Return the allowed error of stamps, as a fraction of their peak, for a row of optics."""
    _, aperture, immersion, _, _, *sample = numbers
    if not sample or sample[0] == immersion:
        return 5e-4
    return 1e-3 if aperture <= sample[0] else 2e-3


def check_stamps(reference: Any, stamps: str, kind: str = "vectorial") -> int:
    for case, expected in enumerate(reference[stamps]):
        numbers = reference["optics"][case]
        magnitude = reference["magnitude"][case] if "magnitude" in reference else None
        place, phase = reference["xyz"][case : case + 1], reference["phase"][case]
        stamp = simtiff.psf(optics_of(numbers, kind), place, phase, magnitude, size=expected.shape[0], model=kind)[0]
        error = np.abs(stamp - expected).max() / expected.max()
        assert error < allowed(numbers), f"case {case}: {error:.1e} of the peak"
    return len(reference[stamps])


def check_gradients_and_bounds(reference: Any, kinds: Any, planes: str, modes: tuple[int, ...], counting: Any) -> int:
    """Compare stamps, derivatives and bounds; errors of derivatives as fractions of their own peaks."""
    for case, kind in enumerate(kinds):
        optics, size = optics_of(reference["optics"][case], kind), reference[planes].shape[-1]
        given = {
            "phase": reference["phase"][case],
            "magnitude": reference["magnitude"][case] if "magnitude" in reference else None,
            "size": size,
            "model": kind,
        }
        place = reference["xyz"][case : case + 1]
        expected = reference[planes][case]
        found = simtiff.psf_gradient(optics, place, modes=modes, **given)[0][-len(expected) :]
        error = np.abs(found - expected).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))
        assert (error < 5e-4).all(), f"case {case}: {error} of the peaks"
        photons, background, read_noise, excess_noise = counting[case]
        bound = simtiff.crlb(
            optics, place, photons, background, read_noise=read_noise, excess_noise=excess_noise, **given
        )
        np.testing.assert_allclose(bound[0], reference["crlb"][case], rtol=0.01)
    return len(kinds)


def test_stamps_derivatives_and_bounds_are_the_reference() -> None:
    reference = np.load(DATA)
    counting = reference["counting"]
    assert check_gradients_and_bounds(reference, reference["model"].tolist(), "planes", (6, 8), counting) == 11


@pytest.mark.parametrize(("file", "cases"), [("psf_reference", 48), ("psf_mismatch_reference", 18)])
def test_stamps_are_the_whole_reference(file: str, cases: int, shared: Path) -> None:
    assert check_stamps(np.load(shared / "reference" / f"{file}.npz"), "vectorial_integrated") == cases


def test_derivatives_and_bounds_are_the_whole_reference(shared: Path) -> None:
    reference = np.load(shared / "reference" / "crlb_reference.npz")
    counting = np.c_[[reference[key] for key in ("photons", "background", "read_noise", "excess_noise")]].T
    kinds = [("scalar", "vectorial")[int(kind)] for kind in reference["model"]]
    assert check_gradients_and_bounds(reference, kinds, "jacobian", (), counting) == 24


# What all models do.


@every_model
@integration
@pytest.mark.parametrize("blur_nm", [0, (40, 90)])
def test_all_ways_lead_to_the_same_stamps(model: Model, pixel_integration: bool, blur_nm: Any) -> None:
    """Stamps, frames and derivatives agree, whichever emitters are rendered together, for any threads and frame."""
    rng = np.random.default_rng(3)
    count = 40
    xyz = model.at(0, 0, 0) + rng.uniform((-0.5, -0.5, -0.15), (0.5, 0.5, 0.5), (count, 3))
    phase = PHASE * rng.uniform(0, 1.5, (count, 1))
    more = {"pixel_integration": pixel_integration, "blur_nm": blur_nm}
    arguments = model.options | more
    stamps = simtiff.psf(model.optics, xyz, size=15, **model.coefficients(phase), **arguments)
    assert (stamps.shape, stamps.dtype) == ((count, 15, 15), np.float32)
    assert stamps.min() >= 0
    renderer = Renderer(model.optics, size=15, **arguments)
    assert_array_equal(
        pickle.loads(pickle.dumps(renderer)).stamps(Scene.from_arrays(xyz, **model.coefficients(phase))), stamps
    )
    value = model.planes(xyz, phase, size=15, **more)[:, 0]
    assert np.abs(value - stamps).max() < model.error * stamps.max()
    # alone, in any order, with any number of threads
    before = simtiff.threads()
    try:
        for threads in (1, 3):
            simtiff.set_threads(threads)
            some = rng.permutation(count)[:9]
            again = simtiff.psf(model.optics, xyz[some], size=15, **model.coefficients(phase[some]), **arguments)
            assert_array_equal(again, stamps[some])
    finally:
        simtiff.set_threads(before)
    # in frames, complete and clipped at the edge
    for i, (column, row) in ((3, (7, 7)), (8, (2, 12))):
        scene = Scene.from_arrays(xyz[i] + [[column + 100, row - 50, 0]], [2], **model.coefficients(phase[i]))
        frame = renderer.render(replace(scene, origin=(100, -50)), (1, 15, 15))[0]
        expected = np.zeros((45, 45))
        expected[8 + row : 23 + row, 8 + column : 23 + column] = 2 * stamps[i]
        np.testing.assert_allclose(frame, expected[15:30, 15:30], rtol=1e-5, atol=1e-6 * stamps[i].max())
    assert renderer.stamps(Scene.from_arrays(np.zeros((0, 3)))).shape == (0, 15, 15)


@every_model
def test_one_photon_is_one_photon(model: Model) -> None:
    for height in (0, 0.4):
        place = [model.at(0.2, -0.3, height)]
        held = [float(model.psf(place, size=size).sum()) for size in (11, 31, 101, 301)]
        assert held == sorted(held)
        assert 0.96 < held[2] < held[3] <= 1 + 1e-6
        # the mean over a pixel is close to the value at its centre: sampled pixels add up to the same light
        assert abs(float(model.psf(place, size=101, pixel_integration=False).sum()) - held[2]) < 2e-3
        # and a larger pixel has the sum of its parts
        whole = model.with_optics(pixel_size_nm_x=90, pixel_size_nm_y=120).psf(place, size=15)
        parts = model.with_optics(pixel_size_nm_x=30, pixel_size_nm_y=40)
        fine = parts.psf([np.multiply(place[0], (3, 3, 1))], size=45).reshape(15, 3, 15, 3).sum(axis=(1, 3))
        assert np.abs(fine - whole).max() < model.error * whole.max()


@every_model
def test_x_and_y_are_exchanged_with_the_pixel_s_sides(model: Model) -> None:
    oblong = model.with_optics(pixel_size_nm_x=80, pixel_size_nm_y=125)
    turned = model.with_optics(pixel_size_nm_x=125, pixel_size_nm_y=80)
    if not model.has_pupil:
        turned = replace(turned, options=GAUSSIAN | {"sigma_nm": (150, 120), "astigmatism_nm": -200})
    # exchanging x and y swaps Noll 2 and 3, 8 and 7; changes the sign of 6; and leaves 5 and 4
    one, other = np.array([0, 0.2, -0.4, 0.1, 0.3, 0.5, 0.2, -0.3]), np.array([0, -0.4, 0.2, 0.1, 0.3, -0.5, -0.3, 0.2])
    first = oblong.psf([oblong.at(0.3, -0.1, 0.2)], one, blur_nm=(30, 70))[0]
    second = turned.psf([turned.at(-0.1, 0.3, 0.2)], other, blur_nm=(70, 30))[0]
    assert np.abs(first - second.T).max() < model.error * first.max()
    assert np.abs(first - first.T).max() > 0.05 * first.max()


@every_model
def test_signs_are_those_of_the_conventions(model: Model) -> None:
    """x are columns and y rows, negative tilt shifts to larger x, and the sign of astigmatism changes with height."""
    size = 31
    pixels = np.arange(size) - size // 2

    def centre(stamp: np.ndarray) -> tuple[float, float]:
        light = stamp / stamp.sum()
        return float(light.sum(axis=0) @ pixels), float(light.sum(axis=1) @ pixels)

    still = centre(model.psf([model.at(0, 0, 0)], None, size)[0])
    moved = centre(model.psf([model.at(2, -1, 0)], None, size)[0])
    assert np.allclose(np.subtract(moved, still), (2, -1), atol=0.1)
    if not model.has_pupil:
        model = replace(model, options=GAUSSIAN | {"sigma_nm": 130})
    else:
        per_pixel = np.pi * model.optics.NA / model.optics.wavelength_nm * 100
        tilted = model.psf([model.at(0, 0, 0)], [0, -2 * per_pixel, 1 * per_pixel], size)
        assert np.abs(tilted - model.psf([model.at(2, -1, 0)], None, size)).max() < model.error * tilted.max()

    def elongation(height: float) -> float:
        """Return how much wider the bright part is along x than along y."""
        phase = [0, 0, 0, 0, 0, -0.7]
        stamp = model.psf([model.at(0, 0, height)], phase, size)[0]
        bright = np.where(stamp > 0.3 * stamp.max(), stamp, 0)
        return float(bright.sum(axis=0) @ pixels**2 - bright.sum(axis=1) @ pixels**2) / bright.sum()

    # with negative Noll 6, or positive a, the focus along x is above
    assert elongation(-0.2) > 0.3 > -0.3 > elongation(0.3)


@every_model
@integration
@pytest.mark.parametrize("blur_nm", [(30, 55), (80, 80), (0, 45), (12, 250)])
def test_blur_is_that_of_finer_pixels(model: Model, pixel_integration: bool, blur_nm: tuple[float, float]) -> None:
    """Blur on pixels of an eighth, in float64, then sum over each pixel or take the value at its centre."""
    x, y, height = model.at(0.2, -0.3, 0.3)
    fine = model.with_optics(pixel_size_nm_x=12.5, pixel_size_nm_y=12.5)
    shift = 0.5 if pixel_integration else 0  # the centre of eight finer pixels is between two of them
    light = fine.psf([[8 * x - shift, 8 * y - shift, height]], size=401, pixel_integration=pixel_integration)[0]
    nm = 12.5 * (np.arange(401) - 200)
    for axis, sigma in enumerate(blur_nm):
        if sigma:
            weights = np.exp(-0.5 * ((nm[:, None] - nm) / sigma) ** 2) / np.exp(-0.5 * (nm / sigma) ** 2).sum()
            light = light @ weights if axis == 0 else weights @ light
    if pixel_integration:
        expected = light[200 - 84 : 200 + 84, 200 - 84 : 200 + 84].reshape(21, 8, 21, 8).sum(axis=(1, 3))
    else:
        expected = 64 * light[200 - 80 : 200 + 81 : 8, 200 - 80 : 200 + 81 : 8]
    found = model.psf([[x, y, height]], pixel_integration=pixel_integration, blur_nm=blur_nm)[0]
    assert np.abs(found - expected).max() < 1e-3 * expected.max()


@every_model
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_places_that_are_none_are_refused(model: Model, bad: float) -> None:
    for column in range(3):
        place = np.array([model.at(0, 0, 0), model.at(0, 0, 0)])
        place[1, column] = bad
        for call in (model.psf, model.planes, lambda xyz, model=model: model.crlb(xyz, 1, 1)):
            with pytest.raises(simtiff.ConfigError, match=r"(not finite|z is -inf um) \(emitter 1\)"):
                call(place)


# One model after the other.


def test_vectorial_is_scalar_where_the_aperture_is_small() -> None:
    """Both lose the same light; the difference decreases with the square of the aperture."""
    apart = []
    for aperture in (1.4, 0.6, 0.3, 0.15):
        optics = replace(OIL, NA=aperture, pixel_size_nm_x=70 / aperture, pixel_size_nm_y=70 / aperture)
        scalar, vectorial = (
            simtiff.psf(optics, [[0.2, -0.3, 0.5 / aperture**2]], PHASE, size=21, model=kind)
            for kind in ("scalar", "vectorial")
        )
        apart.append(np.abs(scalar - vectorial).max() / scalar.max())
    assert apart[0] > 0.2
    assert apart[2] < 0.01
    assert apart[3] == pytest.approx(apart[2] / 4, rel=0.1)


def test_equal_indices_are_no_mismatch() -> None:
    place = [[0.2, 0.1, -0.4], [0.3, -0.4, 0.7]]
    plain = simtiff.psf(OIL, place, PHASE, **VECTORIAL)
    for given in ({"n_sample": 1.518}, {"n_coverslip": 1.518}, {"n_sample": 1.518, "n_coverslip": 1.518}):
        assert_array_equal(simtiff.psf(replace(OIL, **given), place, PHASE, **VECTORIAL), plain)
    deeper = simtiff.psf(replace(OIL, focal_depth_um=0.6), np.add(place, [0, 0, 0.6]), PHASE, **VECTORIAL)
    assert np.abs(deeper - plain).max() < 2e-6 * plain.max()
    nearly = replace(OIL, n_sample=1.518 - 1e-7, focal_depth_um=2)
    assert np.abs(simtiff.psf(nearly, np.add(place, [0, 0, 2]), PHASE, **VECTORIAL) - plain).max() < 5e-5 * plain.max()


def test_an_emitter_in_water_is_sharp_below_where_the_focus_was_moved_to() -> None:
    """Refraction makes the focus depth smaller than the stage displacement, most for steep rays."""
    heights = np.arange(0, 2.5, 0.05)
    sharp = {
        depth: heights[
            simtiff.psf(replace(DEEP, focal_depth_um=depth), np.outer(heights, [0, 0, 1]), None, size=3, **VECTORIAL)[
                :, 1, 1
            ].argmax()
        ]
        for depth in (1.0, 2.0)
    }
    for depth, height in sharp.items():
        assert 0.5 * depth < height < depth * 1.33 / 1.518


def test_light_above_the_critical_angle_dies_away_with_height() -> None:
    """Near the coverslip it contributes to the stamp; far above, the pupil effectively ends at the critical angle."""

    def apart(height: float) -> float:
        focused = replace(TIRF, focal_depth_um=1.1 * height)
        whole, ended = (
            simtiff.psf(optics, [[0, 0, height]], size=41, **VECTORIAL)
            for optics in (focused, replace(focused, NA=1.33 - 1e-9))
        )
        return float(np.abs(whole - ended).max() / ended.max())

    assert apart(0) > 0.1
    assert apart(4) < 0.01


@integration
@pytest.mark.parametrize("samples", [None, 4])
def test_a_gaussian_is_the_product_of_error_functions(pixel_integration: bool, samples: int | None) -> None:
    erf = pytest.importorskip("scipy.special").erf
    rng = np.random.default_rng(6)
    optics = replace(OIL, pixel_size_nm_x=90, pixel_size_nm_y=140)
    xyz = rng.uniform(-1, 1, (20, 3))
    xyz[0] = (12, -9, 0.3)  # outside its stamp
    renderer = Renderer(
        optics, size=17, pixel_integration=pixel_integration, samples_per_pixel=samples, blur_nm=(0, 50), **GAUSSIAN
    )
    stamps = renderer.stamps(Scene.from_arrays(xyz))
    z_nm = 1000 * xyz[:, 2]
    sigma_x = 120 * np.sqrt(1 + ((z_nm - 200) / 400) ** 2) / 90
    sigma_y = np.hypot(150 * np.sqrt(1 + ((z_nm + 200) / 400) ** 2), 50) / 140
    at = np.arange(17) - 8

    def profile(centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        from_centre, width = at - centre[:, None], sigma[:, None]
        if samples is not None:
            inside = (np.arange(samples) + 0.5) / samples - 0.5
            u = (from_centre[..., None] + inside) / width[..., None]
            return (np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)).mean(axis=-1) / width
        if pixel_integration:
            edges = [erf((from_centre + side) / (np.sqrt(2) * width)) for side in (0.5, -0.5)]
            return (edges[0] - edges[1]) / 2
        return np.exp(-((from_centre / width) ** 2) / 2) / (np.sqrt(2 * np.pi) * width)

    expected = profile(xyz[:, 1], sigma_y)[:, :, None] * profile(xyz[:, 0], sigma_x)[:, None, :]
    np.testing.assert_allclose(stamps, expected, rtol=1e-5, atol=1e-12)


def test_a_gaussian_s_pixels_are_integrals() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    fine = (np.arange(11)[:, None] - 5 + nodes / 2).ravel() * 100
    light = np.exp(-0.5 * (((fine - 30) / 130) ** 2 + ((fine[:, None] + 20) / 130) ** 2)) / (2 * np.pi * 130**2)
    expected = np.einsum("aibj,i,j->ab", light.reshape(11, 12, 11, 12), 50 * weights, 50 * weights)
    found = simtiff.psf(OIL, [[0.3, -0.2, 0.9]], size=11, model="gaussian")[0]
    assert np.abs(found - expected).max() < 1e-6 * expected.max()


@pytest.mark.parametrize("name", ["scalar", "vectorial", "mismatch", "supercritical"])
def test_added_phases_are_coefficients(name: str) -> None:
    model = MODELS[name]
    place = [model.at(0.1, 0.3, 0.2)]
    added = {6: 0.7, "14": -0.2}
    sum_of_both = np.pad(PHASE, (0, 3))
    sum_of_both[[5, 13]] += (0.7, -0.2)
    np.testing.assert_array_equal(model.psf(place, phase_noll=added), model.psf(place, sum_of_both))
    np.testing.assert_array_equal(
        model.planes(place, modes=[6, 14], phase_noll=added), model.planes(place, sum_of_both, modes=[6, 14])
    )


@pytest.mark.parametrize(
    ("change", "optics", "message"),
    [
        ({"model": "vector"}, {}, r"'vector'; expected 'scalar', 'vectorial' or 'gaussian'"),
        ({}, {"n_sample": 1.33}, "n_sample is .*vectorial"),
        ({}, {"n_coverslip": 1.52}, "n_coverslip is .*vectorial"),
        ({}, {"focal_depth_um": 1}, "focal_depth_um is .*vectorial"),
        ({"model": "gaussian"}, {"focal_depth_um": 1}, "focal_depth_um is .*vectorial"),
        ({"model": "vectorial", "defocus": "paraxial"}, {}, "defocus is .*paraxial"),
        ({"model": "gaussian", "defocus": "paraxial"}, {}, "defocus is .*paraxial"),
        ({"model": "vectorial"}, {"n_sample": 1.33}, r"z is -0\.1 um \(emitter 0\).*height above the coverslip"),
        ({"model": "vectorial", "sigma_nm": 100}, {}, "sigma_nm needs the model 'gaussian'"),
        ({"astigmatism_nm": 100}, {}, "astigmatism_nm needs the model 'gaussian'"),
        ({"model": "gaussian", "astigmatism_nm": 100}, {}, "depth_nm is none; expected a number where astigmatism_nm"),
        ({"model": "gaussian", "sigma_nm": 0}, {}, "sigma_nm is 0"),
        ({"model": "gaussian", "sigma_nm": (100, "a")}, {}, "sigma_nm is .*expected one number, or two"),
        ({"model": "gaussian", "depth_nm": -1}, {}, "depth_nm is -1"),
        ({"model": "gaussian", "phase_noll": {6: 1}}, {}, "phase_noll is given, but a Gaussian has no pupil"),
        ({"model": "gaussian", "phase": [0.1]}, {}, "phase or magnitude is given, but a Gaussian has no pupil"),
        ({"phase_noll": {0: 1}}, {}, "phase_noll is .*Noll indices from 1 to"),
        ({"phase_noll": {"six": 1}}, {}, "phase_noll is .*expected Noll indices and radians"),
        ({"phase_noll": {6: np.nan}}, {}, "phase_noll is .*at most 1000 radians"),
        ({"blur_nm": -1}, {}, "blur_nm is -1"),
        ({"blur_nm": (10, 501)}, {}, "blur_nm is 501"),
        ({"blur_nm": (1, 2, 3)}, {}, "blur_nm is .*expected one number, or two"),
    ],
)
def test_what_a_model_does_not_have_is_refused_by_name(
    change: dict[str, Any], optics: dict[str, Any], message: str
) -> None:
    with pytest.raises(simtiff.ConfigError, match=message):
        simtiff.psf(replace(OIL, **optics), [[0, 0, -0.1]], **change)
    with pytest.raises(simtiff.ConfigError, match=message):
        simtiff.render(replace(OIL, **optics), [[0, 0, -0.1]], [1], (9, 9), **change)


def test_an_aperture_above_the_coverslip_s_index_is_refused() -> None:
    with pytest.raises(simtiff.ConfigError, match=r"NA is 1\.4; expected at most n_coverslip, 1\.38"):
        replace(OIL, n_coverslip=1.38)
