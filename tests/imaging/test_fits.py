"""Maximum-likelihood fits of simulated emitters reach the Cramér-Rao bound, as expected of an efficient estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from psf_models import DEEP, VECTORIAL, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EMITTERS = 2000
BACKGROUND = 10.0
ASTIGMATIC = {"phase_noll": {6: 0.7}}
# each with the size of its stamps; heights are up to 0.5 um from focus
CASES = {
    "scalar": (Model(options=ASTIGMATIC), 21),
    "vectorial with a mismatch": (
        Model(replace(DEEP, NA=1.4, n_coverslip=1.518), VECTORIAL | ASTIGMATIC, focus_um=0.7),
        21,
    ),
    "tetrapod": (Model(options=VECTORIAL | {"phase_noll": {6: 1.15, 12: -1.1}}), 31),
}
LARGEST_STEP = np.array([0.3, 0.3, 0.1, np.inf, np.inf])
LEAST = np.array([-np.inf, -np.inf, -np.inf, 1.0, 0.01])


def simulated(model: Model, size: int, photons: float) -> tuple[Array, Array, Array]:
    """Return true parameters (n, 5), counts (n, pixels), and bounds (n, 5) of emitters."""
    rng = np.random.default_rng(5)
    xyz = np.c_[rng.uniform(-0.5, 0.5, (EMITTERS, 2)), model.focus_um + rng.uniform(-0.5, 0.5, EMITTERS)]
    mean = photons * model.psf(xyz, None, size) + BACKGROUND
    counts = rng.poisson(mean).reshape(EMITTERS, -1).astype(float)
    true = np.c_[xyz, np.full(EMITTERS, photons), np.full(EMITTERS, BACKGROUND)]
    return true, counts, model.crlb(xyz, photons, BACKGROUND, phase=None, size=size)


class Likelihood:
    """The likelihood of counts as a function of x, y, z, photons and background, for many emitters at once."""

    def __init__(self, model: Model, size: int, counts: Array) -> None:
        self.model, self.size, self.counts = model, size, counts

    def at(self, parameters: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Return minus the logarithm, its gradient, and Fisher's information of some rows."""
        planes = self.model.planes(parameters[:, :3], None, size=self.size).reshape(len(rows), 4, -1)
        photons, background = parameters[:, 3, None], parameters[:, 4, None]
        mean = photons * planes[:, 0] + background
        slopes = np.concatenate([photons[..., None] * planes[:, 1:], planes[:, :1], np.ones_like(planes[:, :1])], 1)
        counts = self.counts[rows]
        loss = (mean - counts * np.log(mean)).sum(axis=1)
        gradient = np.einsum("nap,np->na", slopes, 1 - counts / mean)
        return loss, gradient, (slopes / mean[:, None]) @ slopes.transpose(0, 2, 1)

    def most_likely(self, start: Array) -> Array:
        """Return the most likely parameters, by Fisher scoring with Levenberg's and Marquardt's damping."""
        found, rows = start.copy(), np.arange(len(start))
        damping = np.full(len(start), 0.1)  # minimum damping: undamped Fisher scoring may oscillate about the maximum
        loss, gradient, information = self.at(found, rows)
        for _ in range(200):
            damped = information * (1 + damping[:, None, None] * np.eye(5))
            step = np.linalg.solve(damped, -gradient[..., None])[..., 0]
            step = np.maximum(found[rows] + np.clip(step, -LARGEST_STEP, LARGEST_STEP), LEAST) - found[rows]
            trial = self.at(found[rows] + step, rows)
            better = trial[0] <= loss
            found[rows[better]] += step[better]
            for old, new in zip((loss, gradient, information), trial, strict=True):
                old[better] = new[better]
            damping = np.where(better, np.maximum(damping / 10, 0.1), damping * 10)
            # converged: the step is below a thousandth of sigma
            going = (np.abs(step) * np.sqrt(np.einsum("naa->na", information)) > 1e-3).any(axis=1)
            rows, damping = rows[going], damping[going]
            loss, gradient, information = loss[going], gradient[going], information[going]
            if not rows.size:
                return found
        raise AssertionError(f"{rows.size} fits did not converge")


@pytest.mark.slow
@pytest.mark.parametrize("photons", [1000.0, 10_000.0])
@pytest.mark.parametrize("case", CASES)
def test_fits_reach_the_bound(case: str, photons: float) -> None:
    """Each error counts in units of its own bound.

    The deviation of 2,000 errors is known to 1 / sqrt(4000) = 0.016 and their mean to 0.022: what is allowed is three
    and four times that.
    """
    model, size = CASES[case]
    true, counts, bound = simulated(model, size, photons)
    rng = np.random.default_rng(6)
    start = true + bound * rng.uniform(-2, 2, true.shape)
    start[:, 2] = np.maximum(start[:, 2], 0 if model.focus_um else -np.inf)
    start = np.maximum(start, LEAST)
    errors = (Likelihood(model, size, counts).most_likely(start) - true) / bound
    deviation, bias = errors.std(axis=0), errors.mean(axis=0)
    assert (np.abs(deviation[:3] - 1) < 0.05).all(), deviation
    assert (np.abs(bias[:3]) < 0.1).all(), bias


@pytest.mark.parametrize("case", CASES)
def test_fits_are_those_of_scipy(case: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    model, size = CASES[case]
    true, counts, bound = simulated(model, size, 1000.0)
    few = np.arange(8)
    likelihood = Likelihood(model, size, counts)
    found = likelihood.most_likely(true[few] + 0.5 * bound[few])
    for row in few:

        def loss(scaled: Array, row: int = row) -> tuple[float, Array]:
            value, gradient, _ = likelihood.at((true[row] + bound[row] * scaled)[None], np.array([row]))
            return value[0], gradient[0] * bound[row]

        best = optimize.minimize(loss, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-3})
        np.testing.assert_allclose(best.x, (found[row] - true[row]) / bound[row], atol=0.02)
