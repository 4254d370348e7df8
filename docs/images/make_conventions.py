"""Draw the pictures of the page on conventions: pixels and frames, z and focus, Zernike modes, and maps over the field.

Run it from anywhere with matplotlib installed: ``python docs/images/make_conventions.py``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.patches import Circle, Rectangle
from PIL import Image

import simtiff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt

OPTICS = simtiff.Optics(660, 1.4, 1.518, 100, 100)
FINE = simtiff.Optics(660, 1.4, 1.518, 50, 50)
SIZE = 41
MARK = "tab:orange"
HEIGHTS = (-0.4, 0.0, 0.4)
MODES = {
    2: "tilt x",
    3: "tilt y",
    4: "defocus",
    5: "oblique\nastigmatism",
    6: "vertical\nastigmatism",
    7: "coma y",
    8: "coma x",
    9: "trefoil y",
    10: "trefoil x",
    11: "spherical",
}


def save(figure: Figure, name: str, colours: int = 256) -> None:
    """Save a figure with so many colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn)
    target = Path(__file__).with_name(name)
    Image.open(drawn).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
    plt.close(figure)


def show(axis: Axes, stamp: NDArray[np.float32], text: str = "") -> None:
    """Show a PSF, each with its own peak as white."""
    axis.imshow(stamp, cmap="magma", norm=PowerNorm(0.6, 0, stamp.max()), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.text(1, 1.5, text, color="white", fontsize=7, va="top")


def axes_arrows(axis: Axes, length: float = 9) -> None:
    """Draw x to the right and y down, in the upper left corner of a PSF."""
    x, y = 2.5, 2.5
    arrow = {"arrowstyle": "->", "color": "white", "linewidth": 1.2}
    axis.annotate("", (x + length, y), (x, y), arrowprops=arrow)
    axis.annotate("", (x, y + length), (x, y), arrowprops=arrow)
    axis.text(x + length + 1, y, "x", color="white", fontsize=7, va="center")
    axis.text(x + 1.5, y + length, "y", color="white", fontsize=7, va="center")


def draw_pixels(axis: Axes) -> None:
    """Show a frame with its pixel coordinates and an emitter in it."""
    width, height, x, y = 7, 6, 4.3, 2.2
    image = simtiff.render(OPTICS, [[x, y, 0]], [1000], (height, width))
    axis.imshow(image, cmap="gray", vmin=0, vmax=1.4 * image.max())
    for edge in range(width + 1):
        axis.axvline(edge - 0.5, color="0.35", linewidth=0.6)
    for edge in range(height + 1):
        axis.axhline(edge - 0.5, color="0.35", linewidth=0.6)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    axis.plot(columns.ravel(), rows.ravel(), ".", color="0.6", markersize=3)
    axis.plot(x, y, "+", color=MARK, markersize=11, markeredgewidth=1.6)
    label = {"fontsize": 8, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}
    axis.text(x + 0.3, y + 1.25, f"emitter ({x}, {y})", color=MARK, ha="center", va="center", **label)
    axis.plot([-0.5, 0], [-0.5, 0], "o", color="tab:cyan", markersize=6, clip_on=False, zorder=9)
    axis.text(0.35, -0.08, "(−0.5, −0.5) and (0, 0)", color="tab:blue", va="center", **label)
    axis.set(xticks=range(width), yticks=range(height))
    axis.set_xlabel("x (px): column", fontsize=8)
    axis.set_ylabel("y (px): row, downwards", fontsize=8)
    axis.set_title("Pixels: integers are centres", fontsize=9)
    axis.tick_params(labelsize=7)


def draw_crops(axis: Axes) -> None:
    """Show map, field and frame on each other, with the offsets that say where."""
    boxes = (
        ("map", (0, 0), (100, 80), "0.88", "0.4"),
        ("field: emitters.area_px", (22, 14), (66, 56), "#cfe0f2", "tab:blue"),
        ("frame: tiff.roi_size", (38, 32), (40, 30), "#fbe3c8", MARK),
    )
    for text, (x, y), (width, height), face, edge in boxes:
        axis.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=edge, linewidth=1.2))
        axis.text(x + 1.5, y + height - 2, text, fontsize=7, color=edge, va="bottom")
    arrow = {"arrowstyle": "->", "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (22, 14), (0, 0), arrowprops=arrow | {"color": "tab:blue"})
    axis.text(13, 5.5, "zernike.crop_offset [22, 14]", fontsize=7, color="tab:blue", va="center")
    axis.annotate("", (38, 32), (22, 14), arrowprops=arrow | {"color": MARK})
    axis.text(33, 22, "tiff.crop_offset [16, 18]", fontsize=7, color=MARK, va="center")
    axis.set(xlim=(-2, 102), ylim=(82, -2), aspect="equal")
    axis.set_xlabel("x (map px)", fontsize=8)
    axis.set_ylabel("y (map px)", fontsize=8)
    axis.set_title("Offsets: [x, y]", fontsize=9)
    axis.tick_params(labelsize=7)


def draw_frames(axis: Axes) -> None:
    """Show an interval on and the photons that it gives to the frames."""
    start, length, photons = 1.4, 2.3, 1000
    frames = np.arange(6)
    share = np.clip(np.minimum(frames + 1, start + length) - np.maximum(frames, start), 0, None)
    axis.bar(frames + 0.5, share * photons, width=1, color="#cfe0f2", edgecolor="tab:blue")
    for frame, part in zip(frames, share, strict=True):
        axis.text(frame + 0.5, part * photons + 25, f"{part * photons:.0f}", fontsize=7, ha="center", color="tab:blue")
    axis.plot([start, start + length], [1180, 1180], color=MARK, linewidth=4, solid_capstyle="butt")
    axis.text(start, 1215, "on: t0 = 1.4, on_time = 2.3", fontsize=7, color=MARK, va="bottom")
    axis.set(xlim=(0, 6), ylim=(0, 1400), xticks=range(7))
    axis.set_xlabel("time (frames): frame k lasts from k to k + 1", fontsize=8)
    axis.set_ylabel("photons", fontsize=8)
    axis.set_title("Frames: numbered from 0", fontsize=9)
    axis.tick_params(labelsize=7)


def pixels() -> None:
    """Draw pixels, offsets and frames."""
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.3), dpi=100, layout="constrained")
    draw_pixels(axes[0])
    draw_crops(axes[1])
    draw_frames(axes[2])
    save(figure, "conventions_pixels.png")


def draw_microscope(axis: Axes) -> None:
    """Sketch objective, coverslip and sample from the side, with z and the focus."""
    axis.add_patch(Rectangle((0, 4), 10, 5.4, facecolor="#e4f0fb", edgecolor="none"))
    axis.add_patch(Rectangle((0, 3.2), 10, 0.8, facecolor="0.8", edgecolor="0.5", linewidth=0.8))
    axis.add_patch(Rectangle((0, 2), 10, 1.2, facecolor="#fdf3d6", edgecolor="none"))
    axis.fill([3, 7, 8, 8, 2, 2], [2, 2, 1.2, 0, 0, 1.2], color="0.6")
    axis.text(5, 0.7, "objective", fontsize=8, ha="center", va="center", color="white")
    axis.text(9.8, 2.6, "immersion n_immersion", fontsize=7, ha="right", va="center")
    axis.text(9.8, 3.6, "coverslip n_coverslip", fontsize=7, ha="right", va="center")
    axis.text(9.8, 4.4, "sample n_sample", fontsize=7, ha="right", va="center")
    arrow = {"arrowstyle": "->", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (1, 9.3), (1, 4), arrowprops=arrow | {"color": "black"})
    axis.text(1.25, 9.0, "z", fontsize=10, va="center")
    axis.text(0.8, 4, "0", fontsize=8, ha="right", va="center")
    axis.plot([1.8, 9.8], [6.3, 6.3], "--", color="tab:blue", linewidth=1.2)
    axis.text(9.8, 6.4, "plane in focus", fontsize=7, ha="right", va="bottom", color="tab:blue")
    axis.annotate("", (2.4, 6.3), (2.4, 4), arrowprops=arrow | {"color": "tab:blue"})
    axis.text(2.55, 5.2, "focal_depth_um", fontsize=7, va="center", color="tab:blue")
    axis.plot(5, 7.8, "o", color=MARK, markersize=7)
    axis.text(5.35, 7.8, "emitter above the focus", fontsize=7, va="center", color=MARK)
    axis.set(xlim=(-0.3, 10), ylim=(0, 9.6))
    axis.axis("off")
    axis.set_title("Seen from the side", fontsize=9)


def focus() -> None:
    """Draw the microscope from the side, and the astigmatic PSF below and above the focus."""
    figure = plt.figure(figsize=(9.6, 3.5), dpi=100)
    draw_microscope(figure.add_axes((0.005, 0.03, 0.345, 0.87)))
    heights = (-0.6, -0.3, 0.0, 0.3, 0.6)
    xyz = np.c_[np.zeros((len(heights), 2)), heights]
    for line, coefficient in enumerate((0.7, -0.7)):
        stamps = simtiff.psf(FINE, xyz, [0, 0, 0, 0, 0, coefficient], size=SIZE, model="vectorial")
        for column, (stamp, height) in enumerate(zip(stamps, heights, strict=True)):
            axis = figure.add_axes((0.425 + 0.115 * column, 0.47 - 0.43 * line, 0.112, 0.395))
            show(axis, stamp)
            if not line:
                axis.set_title(f"z = {height:+.1f} µm".replace("-", "−") if height else "z = 0", fontsize=8)
            if not column:
                axis.set_ylabel(f"Noll 6: {coefficient:+.1f} rad".replace("-", "−"), fontsize=8)
                axes_arrows(axis)
    figure.text(0.535, 0.955, "below the focus", fontsize=9, ha="center")
    figure.text(0.885, 0.955, "above the focus", fontsize=9, ha="center")
    save(figure, "conventions_focus.png")


def noll(index: int, across: NDArray[Any], down: NDArray[Any]) -> NDArray[Any]:
    """Return one of Noll's modes 2 to 11 (J. Opt. Soc. Am. 66, 207, 1976) on the pupil."""
    rho, theta = np.hypot(across, down), np.arctan2(down, across)
    return {
        2: 2 * rho * np.cos(theta),
        3: 2 * rho * np.sin(theta),
        4: 3**0.5 * (2 * rho**2 - 1),
        5: 6**0.5 * rho**2 * np.sin(2 * theta),
        6: 6**0.5 * rho**2 * np.cos(2 * theta),
        7: 8**0.5 * (3 * rho**3 - 2 * rho) * np.sin(theta),
        8: 8**0.5 * (3 * rho**3 - 2 * rho) * np.cos(theta),
        9: 8**0.5 * rho**3 * np.sin(3 * theta),
        10: 8**0.5 * rho**3 * np.cos(3 * theta),
        11: 5**0.5 * (6 * rho**4 - 6 * rho**2 + 1),
    }[index]


def modes() -> None:
    """Draw the phase of the first modes in the pupil, and their PSFs through the focus."""
    across, down = np.meshgrid(np.linspace(-1, 1, 121), np.linspace(-1, 1, 121))
    outside = across**2 + down**2 > 1
    figure = plt.figure(figsize=(9.6, 6.2), dpi=100)
    xyz = np.c_[np.zeros((3, 2)), HEIGHTS]
    for place, (index, name) in enumerate(MODES.items()):
        block, line = divmod(place, 5)
        left, bottom = 0.085 + 0.5 * block, 0.765 - 0.188 * line
        axis = figure.add_axes((left, bottom, 0.098, 0.172))
        phase = np.ma.masked_array(noll(index, across, down), outside)
        axis.imshow(phase, cmap="RdBu_r", vmin=-3, vmax=3, extent=(-1, 1, 1, -1))
        axis.add_patch(Circle((0, 0), 1, fill=False, edgecolor="0.4", linewidth=0.8))
        axis.set(xticks=[], yticks=[], xlim=(-1.08, 1.08), ylim=(1.08, -1.08))
        axis.axis("off")
        figure.text(left - 0.005, bottom + 0.086, f"Noll {index}\n{name}", fontsize=8, ha="right", va="center")
        phases = np.zeros(index)
        phases[-1] = 0.8
        stamps = simtiff.psf(FINE, xyz, phases, size=SIZE, model="vectorial")
        for column, stamp in enumerate(stamps):
            axis = figure.add_axes((left + 0.101 + 0.1 * column, bottom, 0.098, 0.172))
            show(axis, stamp)
            axis.axhline(SIZE // 2, color="white", linewidth=0.4, alpha=0.5)
            axis.axvline(SIZE // 2, color="white", linewidth=0.4, alpha=0.5)
            if not line:
                height = HEIGHTS[column]
                axis.set_title(f"z = {height:+.1f} µm".replace("-", "−") if height else "z = 0", fontsize=8)
            if not line and not column:
                axes_arrows(axis)
        if not line:
            figure.text(left + 0.049, bottom + 0.178, "pupil phase", fontsize=8, ha="center", va="bottom")
    save(figure, "conventions_modes.png", colours=128)


def field() -> None:
    """Draw two planes of a map, and emitters of one height all over its field."""
    side, height_um = 120, 0.3
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    planes = np.zeros((6, side, side))  # (modes, y, x)
    planes[5] = 0.9 * (columns / (side - 1) * 2 - 1)  # Noll 6: below 0 on the left
    planes[3] = 0.9 * rows / (side - 1)  # Noll 4: larger downwards
    along = np.linspace(14, side - 15, 5)
    x, y = (grid.ravel() for grid in np.meshgrid(along, along))
    phase, _ = simtiff.FieldMap.from_arrays(planes).coefficients(x, y)
    xyz = np.c_[x, y, np.full(len(x), height_um)]
    image = simtiff.render(OPTICS, xyz, np.ones(len(x)), (side, side), phase=phase, model="vectorial")
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.3), dpi=100, layout="constrained")
    for axis, plane, title in zip(axes, (5, 3), ("plane 5: Noll 6", "plane 3: Noll 4"), strict=False):
        shown = axis.imshow(planes[plane], cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"z_maps/phase, {title}", fontsize=9)
        figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03, label="rad").ax.tick_params(labelsize=7)
    axes[2].imshow(image, cmap="magma", norm=PowerNorm(0.5, 0, 0.6 * image.max()))
    axes[2].set_title(f"emitters at z = +{height_um} µm", fontsize=9)
    for axis in axes:
        axis.set_xlabel("x (px)", fontsize=8)
        axis.set_ylabel("y (px)", fontsize=8)
        axis.tick_params(labelsize=7)
    save(figure, "conventions_field.png")


def main() -> None:
    """Draw and save all pictures."""
    pixels()
    focus()
    modes()
    field()


if __name__ == "__main__":
    main()
