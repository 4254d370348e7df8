"""The camera from Python: distributions, and noise that depends only on seed and position."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import simtiff


def test_noise_is_poisson_plus_normal() -> None:
    stats = pytest.importorskip("scipy.stats")
    image = np.zeros((50, 100, 100), np.float32)
    electrons = simtiff.Camera(background=7.3, read_noise=0).expose(image, seed=3).ravel()
    counts = np.bincount(electrons, minlength=31)[:31]
    expected = stats.poisson(7.3).pmf(np.arange(31)) * electrons.size
    common = expected > 10
    assert stats.chisquare(np.r_[counts[common], 0], np.r_[expected[common], 0] + 1e-9, sum_check=False).pvalue > 1e-4
    read = simtiff.Camera(background=0, read_noise=2.5, dtype="float32").expose(image, seed=3).ravel()
    assert stats.kstest(read, stats.norm(0, 2.5).cdf).pvalue > 1e-4
    both = simtiff.Camera(background=100, read_noise=10).expose(image + 50, seed=4).astype(float)
    assert abs(both.mean() - 150) < 5 * np.sqrt(250 / both.size)
    assert abs(both.var() / (250 + 1 / 12) - 1) < 5 * np.sqrt(2 / both.size)


def test_counts_are_rounded_and_clipped() -> None:
    camera = simtiff.Camera(background=0, read_noise=0, shot_noise=False)
    assert_array_equal(camera.expose([[0.4, 0.6, 65534.7, 1e6]]), [[0, 1, 65535, 65535]])
    dark = simtiff.Camera(background=0, read_noise=50).expose(np.zeros((100, 100)))
    assert 0.45 < (dark == 0).mean() < 0.55


def test_noise_depends_on_seed_and_place_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 300, (9, 31, 47)).astype(np.float32)
    camera = simtiff.Camera(background=10.5, read_noise=3)
    whole = camera.expose(image, seed=5)
    before = simtiff.threads()
    try:
        for threads in (1, 2, 3):
            simtiff.set_threads(threads)
            for chunk in (1, 4, 9):
                for first in range(0, 9, chunk):
                    part = camera.expose(image[first : first + chunk], seed=5, first_frame=first)
                    assert_array_equal(part, whole[first : first + chunk])
    finally:
        simtiff.set_threads(before)
    others = [camera.expose(image, seed=s).astype(float) - image for s in (1, 2, 3, 5)]
    for i, a in enumerate(others):
        for b in others[:i]:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    assert_array_equal(camera.expose(image[0], seed=5), whole[0])
