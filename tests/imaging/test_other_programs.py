"""Stamps of other software, with parameters converted as on the page on models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import simtiff

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
STAMPS = np.load(TESTS / "data" / "other_programs.npz")
PAGE = (TESTS.parent / "docs" / "explanation" / "models.md").read_text(encoding="utf-8")


def of_the_page(name: str) -> Callable[..., Any]:
    """Return a function from the code of the page."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {}
    exec(next(block for block in blocks if f"def {name}(" in block), namespace)
    return namespace[name]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference over the peak, with both scaled to the same norm."""
    scaled = theirs * (ours * theirs).sum() / (theirs * theirs).sum()
    return float(np.abs(ours - scaled).max() / ours.max())


@pytest.mark.parametrize("case", range(3))
def test_liteloc(case: int) -> None:
    """In oil, and with a refractive-index mismatch, also with supercritical-angle light."""
    na, sample, coverslip, immersion, stage = STAMPS["liteloc_optics"][case]
    x, y, z = STAMPS["liteloc_xyz"][case]
    coefficients = STAMPS["liteloc_coefficients"][case]
    optics = simtiff.Optics(660, na, immersion, 100, 100, sample, coverslip, -stage / 1000)
    height = (z - stage * sample / immersion) / 1000
    phase_of_liteloc = of_the_page("phase_of_liteloc")

    def ours(height: float, phase: np.ndarray) -> np.ndarray:
        options = {"size": 21, "model": "vectorial", "pixel_integration": False}
        return simtiff.psf(optics, [[x / 100, y / 100, height]], phase, **options)[0]

    theirs = STAMPS["liteloc_stamps"][case]
    assert difference(ours(height, phase_of_liteloc(coefficients, 660)), theirs) < 5e-4
    # each mode has its index and sign
    for mode in range(21):
        changed = coefficients * np.where(np.arange(21) == mode, -1, 1)
        assert difference(ours(height, phase_of_liteloc(changed, 660)), theirs) > 2e-3


def test_psf_generator() -> None:
    phase = of_the_page("phase_of_psf_generator")(STAMPS["psf_generator_coefficients"])
    optics = simtiff.Optics(660, 1.4, 1.518, 100, 100)
    xyz = [[0, 0, -z / 1000] for z in STAMPS["psf_generator_z"]]
    for model, theirs in zip(("scalar", "vectorial"), STAMPS["psf_generator_stamps"], strict=True):
        ours = simtiff.psf(optics, xyz, phase, size=21, model=model, pixel_integration=False)
        assert max(difference(*both) for both in zip(ours, theirs, strict=True)) < 5e-4


@pytest.mark.parametrize("case", range(3))
def test_psfmodels(case: int) -> None:
    na, sample, coverslip, immersion, height, focus = STAMPS["psfmodels_cases"][case]
    depth = focus + height * (immersion / sample - 1)
    optics = simtiff.Optics(660, na, immersion, 100, 100, sample, coverslip, depth)
    ours = simtiff.psf(optics, [[0, 0, height]], size=21, model="vectorial")[0]
    assert difference(ours, STAMPS["psfmodels_stamps"][case]) < 5e-4


def test_decode_s_gaussian() -> None:
    """Widths along rows and columns over z in nm, for a width of 1 px, a shift of 250 nm and a range of 280 nm."""
    from scipy.special import erf

    z = np.array([-300.0, 0.0, 200.0])
    rows, columns = (np.hypot(1, (z + shift) / 280) for shift in (250, -250))
    edges = np.arange(22) - 10.5

    def along(sigma: float) -> np.ndarray:
        return np.diff(erf(edges / (np.sqrt(2) * sigma))) / 2

    theirs = np.array([np.outer(along(row), along(column)) for row, column in zip(rows, columns, strict=True)])
    optics = simtiff.Optics(pixel_size_nm_x=100, pixel_size_nm_y=100)
    shape = {"sigma_nm": 100, "depth_nm": 280, "astigmatism_nm": 250}
    ours = simtiff.psf(optics, np.c_[np.zeros((3, 2)), z / 1000], size=21, model="gaussian", **shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-7)
