"""Draw the README's picture: a camera frame, and PSFs in its middle and in two corners.

Needs matplotlib; run it from any folder: ``python docs/images/make_images.py``.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

import simtiff
from simtiff.aberrations.maps import open_field

mpl.use("Agg")
from matplotlib import pyplot as plt

FIELD_PX = 512
HALF_PX = 10
Z_UM = -0.55
CONFIG = {
    "zmap_path": "builtin:oil",
    "emitters": {
        "num_emitters": 45000,
        "frames": 300,
        "area_px": FIELD_PX,
        "intensity_mu": 15000,
        "intensity_sigma": 2500,
        "seed": 5,
    },
    "optical": {"NA": 1.4, "wavelength_nm": 660, "pixel_size_nm_x": 80, "pixel_size_nm_y": 80},
    "tiff": {"roi_size": FIELD_PX, "noise_params": {"background": 30, "readout_noise": 3}},
}
PLACES = {"top left": (0, 0), "middle": (FIELD_PX / 2, FIELD_PX / 2), "bottom right": (FIELD_PX, FIELD_PX)}


def choose(sim: simtiff.Simulation) -> tuple[int, dict[str, int]]:
    """Return a frame and, near each place, a bright, isolated record of that frame with z close to `Z_UM`."""
    records = sim.records
    best: tuple[float, int, dict[str, int]] = (np.inf, 0, {})
    for frame in range(sim.shape[0]):
        here = np.flatnonzero(records.frame_ix == frame)
        xyz, photons = records.xyz[here], records.phot[here]
        cost, chosen = 0.0, {}
        for name, (x, y) in PLACES.items():
            apart = np.hypot(xyz[:, None, 0] - xyz[None, :, 0], xyz[:, None, 1] - xyz[None, :, 1])
            np.fill_diagonal(apart, np.inf)
            edge = np.minimum(xyz[:, :2].min(axis=1), FIELD_PX - 1 - xyz[:, :2].max(axis=1))
            good = (photons > 9000) & (apart.min(axis=1) > 2 * HALF_PX) & (edge > HALF_PX + 1)
            badness = 2 * np.abs(xyz[:, 2] - Z_UM) + np.hypot(xyz[:, 0] - x, xyz[:, 1] - y) / 120
            badness[~good] = np.inf
            cost += float(badness.min())
            chosen[name] = int(here[np.argmin(badness)])
        if cost < best[0]:
            best = (cost, frame, chosen)
    return best[1], best[2]


def main() -> None:
    """Draw and save the picture."""
    sim = simtiff.Simulation(CONFIG)
    frame, chosen = choose(sim)
    image = sim.frames(frame, frame + 1)[0].astype(float)
    field = open_field(sim.config)
    optics = simtiff.Optics(**sim.config.optical.model_dump())

    figure = plt.figure(figsize=(10.4, 6.3), dpi=100, facecolor="white")
    grid = figure.add_gridspec(3, 3, width_ratios=(3.05, 1, 1), wspace=0.06, hspace=0.06)
    main_axis = figure.add_subplot(grid[:, 0])
    low, high = np.quantile(image, (0.4, 0.9985))
    shown = np.clip((image - low) / (high - low), 0, 1) ** 0.6
    main_axis.imshow(shown, cmap="gray", interpolation="nearest")
    main_axis.set_title(f"a camera frame, {FIELD_PX} x {FIELD_PX} px", fontsize=10)
    for row, (name, record) in enumerate(chosen.items()):
        colour = ("tab:orange", "tab:cyan", "tab:pink")[row]
        x, y, z = (float(value) for value in sim.records.xyz[record])
        column, line = round(x), round(y)
        corner = (column - HALF_PX - 0.5, line - HALF_PX - 0.5)
        main_axis.add_patch(Rectangle(corner, 2 * HALF_PX + 1, 2 * HALF_PX + 1, fill=False, ec=colour, lw=1.6))
        crop = image[line - HALF_PX : line + HALF_PX + 1, column - HALF_PX : column + HALF_PX + 1]
        phase, _ = field.coefficients([x], [y])
        stamp = simtiff.psf(optics, [[x - column, y - line, z]], phase, size=2 * HALF_PX + 1)[0]
        for place, (picture, title) in enumerate(((crop, "in the frame"), (stamp, "its PSF, without noise"))):
            axis = figure.add_subplot(grid[row, 1 + place])
            axis.imshow(picture, cmap="magma", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color=colour, linewidth=2)
            if row == 0:
                axis.set_title(title, fontsize=10)
            if place == 0:
                axis.text(0.4, 0.9, f"{name}, z = {z:.2f} µm", color="white", fontsize=7.5, va="top")
    main_axis.tick_params(labelsize=8)
    target = Path(__file__).with_name("field_dependence.png")
    drawn = io.BytesIO()
    figure.savefig(drawn, bbox_inches="tight", pad_inches=0.06)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main()
