"""Draw the picture for the page on PSF models: each model through z, on one colour scale.

Needs matplotlib; run it from any folder: ``python docs/images/make_models.py``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm
from PIL import Image

import simtiff

mpl.use("Agg")
from matplotlib import pyplot as plt

PIXEL_NM, SIZE = 50, 61
OIL = simtiff.Optics(660, 1.4, 1.518, PIXEL_NM, PIXEL_NM)
WATER = simtiff.Optics(660, 1.49, 1.518, PIXEL_NM, PIXEL_NM, n_sample=1.33, focal_depth_um=0.4)
GAUSSIAN = {"sigma_nm": 120, "depth_nm": 400, "astigmatism_nm": -250}


@dataclass(frozen=True)
class Row:
    """A model and the heights at which it is shown."""

    title: str
    model: str
    limits_um: tuple[float, float]
    optics: simtiff.Optics = OIL
    options: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("scalar\nNA 1.4, oil", "scalar", (-0.9, 0.9)),
    Row("vectorial\nNA 1.4, oil", "vectorial", (-0.9, 0.9)),
    Row("vectorial, blurred\nby 60 nm", "vectorial", (-0.9, 0.9), options={"blur_nm": 60}),
    Row("vectorial, from water\nNA 1.49, focal depth 0.4 µm", "vectorial", (0, 0.6), WATER),
    Row("vectorial, astigmatic\nNoll 6: 0.7", "vectorial", (-0.9, 0.9), options={"phase_noll": {6: 0.7}}),
    Row(
        "vectorial, tetrapod\nNoll 6: 1.15, 12: −1.1",
        "vectorial",
        (-1.5, 1.5),
        options={"phase_noll": {6: 1.15, 12: -1.1}},
    ),
    Row("Gaussian, astigmatic\nσ 120, d 400, a −250 nm", "gaussian", (-0.9, 0.9), options=GAUSSIAN),
)
COLUMNS = 7


def main() -> None:
    """Draw and save the picture."""
    height = len(ROWS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(9.2, 1.08 * height), dpi=100, facecolor="white")
    peak = simtiff.psf(OIL, [[0, 0, 0]], size=SIZE).max()
    for row, line in zip(ROWS, axes, strict=True):
        heights = np.linspace(*row.limits_um, COLUMNS).round(3) + 0.0
        xyz = np.c_[np.zeros((COLUMNS, 2)), heights]
        stamps = simtiff.psf(row.optics, xyz, size=SIZE, model=row.model, **row.options)
        for axis, stamp, z in zip(line, stamps, heights, strict=True):
            axis.imshow(stamp, cmap="magma", norm=PowerNorm(0.4, 0, peak), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.text(2, 3, f"{z:+.1f} µm" if z else "0 µm", color="white", fontsize=7, va="top")
            for spine in axis.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(row.title, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
    first = axes[0, 0]
    first.plot([39, 59], [57, 57], color="white", linewidth=2)  # 1 um
    first.text(49, 54, "1 µm", color="white", fontsize=7, ha="center", va="bottom")
    figure.subplots_adjust(0.19, 0.01, 0.995, 0.99, wspace=0.03, hspace=0.03)
    target = Path(__file__).with_name("models.png")
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main()
