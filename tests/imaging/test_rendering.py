"""Stamps and frames against the reference arrays, and the physics they must show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import simtiff
from simtiff import Optics, Renderer, Scene
from simtiff._core import Spec
from simtiff.imaging.plans import Plans

DATA = Path(__file__).parents[1] / "data" / "psf_reference_small.npz"
KINDS = {
    "scalar_integrated": {},
    "scalar_point": {"pixel_integration": False},
    "scalar_paraxial_point": {"pixel_integration": False, "defocus": "paraxial"},
}
ALONE = Scene.from_arrays([[4, 4, 0]], [10])
OIL = Optics(wavelength_nm=660, NA=1.4, n_immersion=1.518, pixel_size_nm_x=100, pixel_size_nm_y=100)


def check_reference(path: Path, kind: str) -> int:
    """Compare all cases of a file; errors are relative to each stamp's peak."""
    reference = np.load(path)
    for case, expected in enumerate(reference[kind]):
        stamp = simtiff.psf(
            Optics(*reference["optics"][case]),
            reference["xyz"][case : case + 1],
            reference["phase"][case],
            reference["magnitude"][case],
            size=expected.shape[0],
            **KINDS[kind],
        )[0]
        error = np.abs(stamp - expected).max() / expected.max()
        assert error < 5e-4, f"case {case}: {error:.1e} of the peak"
    return len(reference[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_are_the_reference(kind: str) -> None:
    assert check_reference(DATA, kind) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_are_the_whole_reference(kind: str, shared: Path) -> None:
    assert check_reference(shared / "reference" / "psf_reference.npz", kind) == 48


def test_focus_is_the_airy_pattern() -> None:
    j1 = pytest.importorskip("scipy.special").j1
    r = 2 * np.pi * OIL.NA / OIL.wavelength_nm * 100 * np.hypot(*np.mgrid[-20:21, -20:21])
    airy = np.where(r == 0, 0.25, (j1(r) / np.where(r == 0, 1, r)) ** 2) * 4 * np.pi
    airy *= (100 * OIL.NA / OIL.wavelength_nm) ** 2
    stamp = simtiff.psf(OIL, [[0, 0, 0]], pixel_integration=False)[0]
    assert np.abs(stamp - airy).max() < 1e-4 * airy.max()


def test_light_is_conserved_and_lost_light_is_not_folded_back() -> None:
    rng = np.random.default_rng(0)
    phase = np.r_[0, 0, 0, rng.normal(0, 0.1, 18)]
    for sizes in ([11, 31, 101, 301],):
        sums = [float(simtiff.psf(OIL, [[0.2, -0.4, 0.5]], phase, size=n).sum()) for n in sizes]
        assert sums == sorted(sums)
        # the light of the Airy pattern outside a radius r decreases as 1 / r
        assert 0.99 < sums[-1] < 1
        assert 1 - sums[-1] < 0.5 * (1 - sums[-2])


def test_tilt_moves_the_image_and_defocus_is_symmetric() -> None:
    # Noll 2 is 2 xi, and a shift by x pixels has the phase -2 pi NA / wavelength * pixel * x * xi: to +x for c < 0
    per_pixel = np.pi * OIL.NA / OIL.wavelength_nm * 100
    moved = simtiff.psf(OIL, [[0, 0, 0.3]], [0, -2 * per_pixel, 0.5 * per_pixel])
    placed = simtiff.psf(OIL, [[2, -0.5, 0.3]])
    assert np.abs(moved - placed).max() < 2e-4 * placed.max()
    y, x = np.unravel_index(simtiff.psf(OIL, [[3, -2, 0]])[0].argmax(), (41, 41))
    assert (x, y) == (20 + 3, 20 - 2)
    above, below = simtiff.psf(OIL, [[0, 0, 0.7], [0, 0, -0.7]])
    assert np.abs(above - below).max() < 1e-5 * above.max()


def test_binned_high_resolution_agrees_with_integration() -> None:
    emitter = Scene.from_arrays([[0.3, 0.1, 0.4]])
    exact = Renderer(OIL, size=31).stamps(emitter)[0]
    errors = []
    for samples in (2, 5, 8, 16):
        binned = Renderer(OIL, size=31, samples_per_pixel=samples).stamps(emitter)[0]
        errors.append(np.abs(binned - exact).max() / exact.max())
    # the error of the midpoint rule decreases with the square of the spacing
    assert errors[0] < 0.05
    assert errors[1] < errors[0] / 4
    assert errors[3] < 7e-4


def test_frames_are_sums_of_stamps_clipped_at_the_edges() -> None:
    rng = np.random.default_rng(1)
    n, shape, size = 60, (4, 23, 37), 15
    xyz = np.c_[rng.uniform(-12, 49, n), rng.uniform(-12, 35, n), rng.uniform(-1, 1, n)]
    phase = rng.normal(0, 0.1, (n, 21))
    photons, frame = rng.uniform(100, 1000, n), rng.integers(0, shape[0], n)
    movie = simtiff.render(OIL, xyz, photons, shape[1:], phase, frame_ix=frame, n_frames=shape[0], size=size)
    pad = 40
    slow = np.zeros((shape[0], shape[1] + 2 * pad, shape[2] + 2 * pad))
    for (x, y, z), c, light, t in zip(xyz, phase, photons, frame, strict=True):
        cx, cy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        stamp = simtiff.psf(OIL, [[x - cx, y - cy, z]], c, size=size)[0]
        half = size // 2
        slow[t, pad + cy - half : pad + cy + half + 1, pad + cx - half : pad + cx + half + 1] += light * stamp
    assert movie.shape == shape
    assert np.abs(movie - slow[:, pad:-pad, pad:-pad]).max() < 1e-3 * slow.max() / 100


def test_bits_depend_on_neither_threads_nor_company() -> None:
    rng = np.random.default_rng(2)
    n = 300
    xyz = np.c_[rng.uniform(-5, 70, (n, 2)), rng.uniform(-1, 1, n)]
    phase = rng.normal(0, 0.2, (n, 21)).astype(np.float32)
    ids = np.repeat(np.arange(n), 3)
    frames = (rng.integers(0, 6, n)[:, None] + np.arange(3)).ravel()
    photons = rng.uniform(1, 1000, 3 * n).astype(np.float32)
    args = (xyz[ids], photons, (64, 64), phase[ids])
    results = []
    before = simtiff.threads()
    try:
        for threads in (1, 2, 3):
            simtiff.set_threads(threads)
            whole = simtiff.render(OIL, *args, frame_ix=frames, id=ids, n_frames=8, size=21)
            results.append(whole)
            for t in range(8):
                here = frames == t
                alone = simtiff.render(OIL, xyz[ids][here], photons[here], (64, 64), phase[ids][here], size=21)
                assert_array_equal(alone, whole[t])
    finally:
        simtiff.set_threads(before)
    assert_array_equal(results[0], results[1])
    assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("options", [*KINDS.values(), {"size": 15}])
def test_psf_and_render_take_the_same_arguments(options: dict[str, Any]) -> None:
    xyz = np.array([[0.3, -0.2, 0.4], [0.1, 0.4, -0.6]])
    stamps = simtiff.psf(OIL, xyz, [0, 0, 0, 0.3], **options)
    size = stamps.shape[-1]
    assert size == options.get("size", 41)
    middle = [size // 2, size // 2, 0]
    frames = simtiff.render(OIL, xyz + middle, [3, 5], (size, size), [0, 0, 0, 0.3], frame_ix=[0, 1], **options)
    np.testing.assert_allclose(frames, stamps * np.array([3, 5], np.float32)[:, None, None], rtol=1e-5)


def test_a_renderer_keeps_what_it_renders_with() -> None:
    rng = np.random.default_rng(4)
    renderer = Renderer(OIL, size=21)
    xyz, photons = rng.uniform(-3, 30, (50, 3)) * [1, 1, 0.03], rng.uniform(10, 1000, 120)
    emitter_ix, frame_ix = rng.integers(0, 50, 120), rng.integers(0, 4, 120)
    for modes in (0, 5, 12, 5):
        phase = rng.normal(0, 0.1, (50, modes))
        scene = Scene.from_arrays(xyz, photons, phase, emitter_ix=emitter_ix, frame_ix=frame_ix)
        expected = simtiff.render(
            OIL, xyz[emitter_ix], photons, (24, 33), phase[emitter_ix], frame_ix=frame_ix, id=emitter_ix, size=21
        )
        out = np.full((4, 24, 33), np.nan, np.float32)
        assert renderer.render(scene, out.shape, out) is out
        assert_array_equal(out, expected)
        camera = simtiff.Camera(background=5, read_noise=1)
        counts = renderer.expose(scene, out.shape, camera, seed=8, first_frame=3)
        assert_array_equal(counts, camera.expose(expected, seed=8, first_frame=3))


def test_the_origin_moves_the_frame() -> None:
    scene = Scene.from_arrays([[30.25, 12.5, 0.2], [41, 9, 0]], [100, 70], [0, 0, 0, 0.2])
    moved = replace(scene, origin=(20, 3))
    renderer = Renderer(OIL, size=15)
    assert_array_equal(renderer.render(moved, (1, 16, 25)), renderer.render(scene, (1, 30, 60))[:, 3:19, 20:45])


def test_plans_are_made_once_and_bounded() -> None:
    def spec(optics: Optics, size: int) -> Spec:
        return Spec(optics, size, "scalar", "exact", "integrated")

    plans = Plans(most_bytes=1 << 20)
    wanted = [
        (spec(Optics(wavelength_nm=nm), size), modes) for nm in (580, 660) for size in (7, 15) for modes in (0, 21)
    ]
    made = [plans.get(*each) for each in wanted]
    assert all(plans.get(*each) is plan for each, plan in zip(wanted, made, strict=True))
    for nm in range(400, 600):
        plans.get(spec(Optics(wavelength_nm=nm), 3), 0)
    assert 8 < len(plans) < 100
    large = plans.get(spec(OIL, 101), 21)
    large.stamps(Scene.from_arrays([[0, 0, 0], [0, 0, 2]], phase=np.zeros(21)), np.empty((2, 101, 101), np.float32))
    large.stamps(Scene.from_arrays([[0, 0, 1], [0, 0, 4]], phase=np.zeros(21)), np.empty((2, 101, 101), np.float32))
    assert large.held_bytes() > 1 << 20
    assert plans.get(spec(OIL, 101), 21) is large
    plans.get(spec(OIL, 7), 3)
    assert len(plans) == 1


def test_records_of_an_emitter_that_moves_are_each_where_they_are() -> None:
    xyz = [[5, 5, 0], [9, 5, 0]]
    movie = simtiff.render(OIL, xyz, [1, 1], (11, 15), frame_ix=[0, 1], id=[7, 7], size=9)
    assert [np.unravel_index(f.argmax(), f.shape) for f in movie] == [(5, 5), (5, 9)]


def test_out_is_filled_in_place() -> None:
    out = np.full((2, 41, 41), np.nan, np.float32)
    assert simtiff.psf(OIL, np.zeros((2, 3)), out=out) is out
    assert np.isfinite(out).all()
    image = np.ones((20, 30), np.float32)
    assert simtiff.render(OIL, np.zeros((0, 3)), [], (20, 30), out=image) is image
    assert (image == 0).all()
    for bad in (
        np.empty((2, 41, 41)),
        np.empty((41, 41), np.float32),
        np.empty((2, 41, 82), np.float32)[:, :, ::2],
    ):
        with pytest.raises(simtiff.ShapeError):
            simtiff.psf(OIL, np.zeros((2, 3)), out=bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Optics(NA=1.6), "at most n_immersion"),
        (lambda: Optics(wavelength_nm=-1), "wavelength_nm"),
        (lambda: simtiff.psf(OIL, [[0, 0, 0]], size=30), "odd"),
        (lambda: simtiff.psf(OIL, [[0, 0, np.nan]]), "finite"),
        (lambda: simtiff.psf(OIL, [[0, 0, 1e9]]), "quadrature rows"),
        (lambda: simtiff.psf(OIL, [[0, 0]]), "three columns|\\(n, 3\\)"),
        (lambda: simtiff.psf(OIL, [[0, 0, 0]], np.zeros((2, 21))), "phase has shape"),
        (lambda: simtiff.psf(OIL, [[0, 0, 0]], model="vector"), "'scalar'"),
        (lambda: simtiff.psf(OIL, [[0, 0, 0]], defocus="none"), "paraxial"),
        (lambda: simtiff.psf(OIL, [[0, 0, 0]], size=41.0), "size is 41.0; expected an odd number"),
        (lambda: simtiff.psf(simtiff.Camera(), [[0, 0, 0]]), "optics is a Camera"),
        (lambda: Renderer(OIL, samples_per_pixel=65), "samples per pixel is 65; expected 1 to 64"),
        (lambda: Renderer(OIL).render(OIL, (1, 9, 9)), "scene is a Optics"),
        (lambda: Renderer(OIL).render(ALONE, (9, 9)), "shape"),
        (lambda: Renderer(OIL).render(replace(ALONE, photons=np.ones(1)), (1, 9, 9)), "photons is an array of float64"),
        (
            lambda: Renderer(OIL).render(replace(ALONE, phase=[0.5]), (1, 9, 9)),
            "phase is .*; expected an array of float32",
        ),
        (lambda: Renderer(OIL).render(replace(ALONE, xyz=np.zeros((3, 1))), (1, 9, 9)), r"xyz has shape \[3, 1\]"),
        (lambda: Renderer(OIL).render(replace(ALONE, frame_ix=np.ones(1, "u4")), (1, 9, 9)), "frame of a record is 1"),
        (lambda: Scene.from_arrays([[0, 0, 0]], [1], emitter_ix=[1]), "emitter_ix ranges from 1 to 1; expected 0 to 0"),
        (lambda: Scene.from_arrays([[0, 0, 0]], [1], emitter_ix=[0], id=[0]), "both id and emitter_ix"),
        (lambda: Scene.from_arrays([[0, 0, 0]], [1, 2]), "one for each row of xyz"),
        (lambda: simtiff.render(OIL, [[0, 0, 0]], [1, 2], (9, 9)), "photons"),
        (lambda: simtiff.render(OIL, [[0, 0, 0]], [-1], (9, 9)), "photons"),
        (lambda: simtiff.render(OIL, [[0, 0, 0]], [1], (9, 9), frame_ix=[3], n_frames=2), "frame_ix"),
        (lambda: simtiff.set_threads(-1), "threads"),
        (lambda: simtiff.Camera(background=-1), "background"),
        (lambda: simtiff.Camera().expose(np.full((4, 4), -1.0)), "-1"),
        (lambda: simtiff.Camera().expose(np.zeros(4)), "dimensions"),
        (lambda: simtiff.Camera().expose(np.zeros((4, 4)), seed=-1), "seed"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert isinstance(caught.value, simtiff.SimtiffError)
