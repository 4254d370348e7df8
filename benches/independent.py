"""Compare difference and speed of PSFs with two independent programs, and print a Markdown table.

    pip install ".[independent]"
    python benches/independent.py

psfmodels (F. Aguet's thesis, EPFL 2009, in C++) simulates emitters without aberrations, with or without a
refractive-index mismatch. psf-generator (torch) simulates aberrations without a mismatch. All run on one thread. The
others compute one z stack at a time, which is what they are made for. Stamps are scaled to each other by least
squares, since each program normalises differently. Differences are fractions of the peak.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from tasks import best_s

import simtiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Stamps = NDArray[np.float64]

WAVELENGTH_NM, OIL, PIXEL_NM, SIZE = 660.0, 1.518, 100.0, 31
DEPTHS_UM = np.linspace(-1, 1, 21)
BUDGET_S = 1.0
BATCH = 1050  # emitters per call of simtiff


@dataclass(frozen=True)
class Case:
    """The same emitters in both programs, with one set of optics or one per emitter."""

    name: str
    optics: list[simtiff.Optics]
    xyz: NDArray[np.float64]
    theirs: Callable[[], Stamps]
    phase: NDArray[np.float64] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def psf(self, optics: simtiff.Optics, xyz: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return simtiff's stamps."""
        return simtiff.psf(optics, xyz, self.phase, size=SIZE, **self.options)

    def row(self) -> str:
        """Measure both and return a row of the table."""
        begin = time.perf_counter()
        theirs = self.theirs()
        first_s = time.perf_counter() - begin
        many = len(self.xyz)
        optics = self.optics if len(self.optics) == many else self.optics * many
        ours = np.concatenate([self.psf(one, at[None]) for one, at in zip(optics, self.xyz, strict=True)]).astype(float)
        scale = (ours * theirs).sum(axis=(1, 2)) / (theirs * theirs).sum(axis=(1, 2))
        difference = np.abs(ours - scale[:, None, None] * theirs).max(axis=(1, 2)) / ours.max(axis=(1, 2))

        often = np.tile(self.xyz, (BATCH // many, 1))
        rate = len(often) / best_s(lambda: self.psf(optics[many // 2], often), BUDGET_S)
        other = many / (first_s if first_s > BUDGET_S else best_s(self.theirs, BUDGET_S))
        shown = f"{other:,.0f} /s" if other >= 10 else f"{other:.1f} /s"
        return f"| {self.name} | {difference.max():.1e} | {rate:,.0f} /s | {shown} | {rate / other:,.0f} |"


def of_psfmodels() -> Iterator[Case]:
    """Yield emitters without aberrations: in oil through z, and in water while the focus moves through them."""
    import psfmodels

    def theirs(samples: int, model: str, na: float, sample: float, height_um: float, stage_um: Stamps) -> Stamps:
        indices = {"ni": OIL, "ni0": OIL, "ng": OIL, "ng0": OIL, "ns": sample}
        place = {"dxy": PIXEL_NM / 1000, "pz": height_um, "NA": na, "wvl": WAVELENGTH_NM / 1000}
        how = {"oversample_factor": samples, "normalize": False, "model": model}
        return psfmodels.make_psf(list(stage_um), SIZE, **indices, **place, **how)

    # the focus moves by z, so the emitter is at -z relative to it
    oil = [simtiff.Optics(WAVELENGTH_NM, 1.4, OIL, PIXEL_NM, PIXEL_NM)]
    through = np.c_[np.zeros((len(DEPTHS_UM), 2)), -DEPTHS_UM]
    height_um, water = 0.5, 1.33
    still = np.tile([0.0, 0.0, height_um], (len(DEPTHS_UM), 1))
    stage_um = height_um + DEPTHS_UM
    for samples in (3, 15):
        how = f"psfmodels, {samples} x {samples} samples a pixel"
        for model in ("scalar", "vectorial"):
            name = f"{how}: {model}, NA 1.4 in oil, z from -1 to 1 um"
            other = functools.partial(theirs, samples, model, 1.4, OIL, 0.0, DEPTHS_UM)
            yield Case(name, oil, through, other, options={"model": model})
        for na in (1.2, 1.49):
            # with its stage at the emitter's height, the emitter is in paraxial focus
            depths_um = stage_um + height_um * (OIL / water - 1)
            optics = [simtiff.Optics(WAVELENGTH_NM, na, OIL, PIXEL_NM, PIXEL_NM, water, OIL, d) for d in depths_um]
            name = f"{how}: vectorial, NA {na} from water, {height_um:g} um deep, focus through 2 um"
            other = functools.partial(theirs, samples, "vectorial", na, water, height_um, stage_um)
            yield Case(name, optics, still, other, options={"model": "vectorial"})


def of_psf_generator() -> Iterator[Case]:
    """Yield aberrated emitters in oil, sampled at the pixels' centres."""
    import torch
    from psf_generator import ScalarCartesianPropagator, VectorialCartesianPropagator

    torch.set_num_threads(1)
    unnormalised = np.r_[0.0, np.random.default_rng(5).normal(0, 0.3, 14)]  # in OSA's order
    noll = {(0, 0): 1, (1, -1): 3, (1, 1): 2, (2, -2): 5, (2, 0): 4, (2, 2): 6, (3, -3): 9, (3, -1): 7, (3, 1): 8}
    noll |= {(3, 3): 10, (4, -4): 15, (4, -2): 13, (4, 0): 11, (4, 2): 12, (4, 4): 14}
    phase = np.zeros(15)
    orders = [(n, m) for n in range(5) for m in range(-n, n + 1, 2)]
    for (n, m), coefficient in zip(orders, unnormalised, strict=True):
        phase[noll[n, m] - 1] = coefficient / math.sqrt(2 * (n + 1) / (1 + (m == 0)))

    # from first to last sample, z spans defocus_step * n_defocus and the image spans pix_size * n_pix_psf
    shared = {
        "n_pix_psf": SIZE,
        "pix_size": PIXEL_NM * (SIZE - 1) / SIZE,
        "wavelength": WAVELENGTH_NM,
        "na": 1.4,
        "n_i": OIL,
        "n_i0": OIL,
        "n_defocus": len(DEPTHS_UM),
        "defocus_step": 2000 / len(DEPTHS_UM),
        "zernike_coefficients": torch.tensor(unnormalised),
    }
    plain = simtiff.Optics(WAVELENGTH_NM, 1.4, OIL, PIXEL_NM, PIXEL_NM)

    def theirs(model: str, pupil: int) -> Stamps:
        if model == "scalar":
            made = [ScalarCartesianPropagator(n_pix_pupil=pupil, sz_correction=False, **shared)]
        else:  # a freely rotating dipole, by reciprocity: the sum of both polarisations
            both = ((1.0, 0.0), (0.0, 1.0))
            made = [
                VectorialCartesianPropagator(n_pix_pupil=pupil, apod_factor=True, e0x=x, e0y=y, **shared)
                for x, y in both
            ]
        return sum((one.compute_focus_field().abs() ** 2).sum(1) for one in made).numpy().astype(float)

    # its limits are rounded to whole nm
    first = ScalarCartesianPropagator(n_pix_pupil=16, **shared)
    depths = np.linspace(first.defocus_min, first.defocus_max, len(DEPTHS_UM)) / 1000
    xyz = np.c_[np.zeros((len(depths), 2)), -depths]
    for pupil in (128, 1024):
        for model in ("scalar", "vectorial"):
            yield Case(
                f"psf-generator, pupil of {pupil} x {pupil}: {model}, NA 1.4 in oil, 15 modes, z from -1 to 1 um",
                [plain],
                xyz,
                functools.partial(theirs, model, pupil),
                phase,
                {"model": model, "pixel_integration": False},
            )


def main() -> None:
    """Measure the programs that are installed and print the table."""
    needed = ("psfmodels", "psf_generator")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f'not installed, skipped: {", ".join(missing)} (pip install ".[independent]")\n')
    simtiff.set_threads(1)
    sys.stdout.write(
        "| PSFs of 31 x 31 px, one core | difference | simtiff | other program | ratio |\n|---|---|---|---|---|\n"
    )
    for name, cases in zip(needed, (of_psfmodels, of_psf_generator), strict=True):
        if name not in missing:
            for case in cases():
                sys.stdout.write(f"{case.row()}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
