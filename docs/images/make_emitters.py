"""Draw the picture for the page on emitters: frames, on-times, photons, drift and a reconstruction of example configs.

Needs matplotlib; run it from any folder: ``python docs/images/make_emitters.py``.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter
from scipy.stats import expon, lognorm, norm

import simtiff
from simtiff.config.loading import load_batch_config
from simtiff.config.sweeps import expand_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from simtiff.movie.opentruth import OpenTruth

    Law = Callable[[NDArray[np.float64]], NDArray[np.float64]]

mpl.use("Agg")
from matplotlib import pyplot as plt

CONFIGS = Path(__file__).parents[2] / "configs"
TRUTH, LAW = "#9ecae1", "tab:orange"
PIXEL_NM = 10.0  # a pixel of the reconstruction


def label(axis: Axes, title: str, x: str, y: str) -> None:
    """Set the title and the axis labels."""
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=7)


def frame(axis: Axes, image: NDArray[Any], title: str, brightest: float = 0.999) -> None:
    """Show a frame in grey."""
    axis.imshow(image, cmap="gray", vmin=np.quantile(image, 0.005), vmax=np.quantile(image, brightest))
    label(axis, title, "x (px)", "y (px)")


def histogram(axis: Axes, values: NDArray[Any], edges: NDArray[np.float64], law: Law, title: str, x: str) -> None:
    """Draw a histogram of values, and the requested distribution."""
    counts, _ = np.histogram(values, edges)
    axis.stairs(counts, edges, fill=True, color=TRUTH, label="truth")
    axis.plot((edges[:-1] + edges[1:]) / 2, len(values) * np.diff(law(edges)), color=LAW, lw=1.5, label="expected")
    axis.set_xlim(edges[0], edges[-1])
    axis.legend(fontsize=7, frameon=False)
    label(axis, title, x, "count")


def times_on(axis: Axes, blinks: dict[str, NDArray[Any]], mean: float) -> None:
    """Draw the on-times of the blinks that begin in the movie."""
    times = blinks["on_time"][blinks["t0"] >= 0]
    edges = np.linspace(0, 6 * mean, 37)
    histogram(axis, times, edges, expon(scale=mean).cdf, "on-times", "on-time (frames)")


def on_at(blinks: dict[str, NDArray[Any]], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of emitters that are on at each time."""
    begun = np.searchsorted(np.sort(blinks["t0"]), times, side="right")
    return begun - np.searchsorted(np.sort(blinks["t0"] + blinks["on_time"]), times, side="right")


def dstorm(axes: NDArray[Any], truth: OpenTruth, frames: NDArray[Any]) -> None:
    """Draw dyes that blink and bleach."""
    blinks, emitters = truth.blinks() or {}, truth.emitters()
    frame(axes[0], frames[4], "dSTORM, EMCCD: a frame")
    times_on(axes[1], blinks, 2.5)
    rates = np.array([[-0.4, 0.35, 0.05], [0.02, -0.02, 0], [0, 0, 0]])
    start = np.array([0.02, 0.35, 0]) / 0.37
    times = np.arange(0.0, len(frames), 1)
    law = [len(emitters["id"]) * (start @ expm(rates * time))[0] for time in times]
    axes[2].plot(times, on_at(blinks, times), color="tab:blue", lw=0.9, label="truth")
    axes[2].plot(times, law, color=LAW, lw=1.5, label="start exp(K t)")
    axes[2].set_ylim(0, None)
    axes[2].legend(fontsize=7, frameon=False)
    label(axes[2], "bleaching", "frame", "molecules on")
    width = np.sqrt(np.log1p((500 / 1500) ** 2))
    photons = lognorm(width, scale=1500 / np.exp(width**2 / 2)).cdf
    histogram(
        axes[3], emitters["intensity"], np.linspace(0, 4500, 31), photons, "molecules, lognormal", "photons / frame"
    )


def paint(axes: NDArray[Any], truth: OpenTruth, frames: NDArray[Any], drift: NDArray[Any]) -> None:
    """Draw binding events and drift."""
    blinks = truth.blinks() or {}
    frame(axes[0], frames[4], "DNA-PAINT, sCMOS: a frame", 0.993)
    times_on(axes[1], blinks, 6)
    for axis, pixel, colour in zip("xyz", (110, 110, 1000), ("tab:blue", "tab:green", "tab:purple"), strict=True):
        axes[2].plot(drift["xyz".index(axis)] * pixel, color=colour, lw=1.2, label=axis)
    axes[2].plot(np.arange(drift.shape[1]) * 1.0, color=LAW, lw=1, ls="--", label="velocity along x")
    axes[2].set_ylim(None, 290)
    axes[2].legend(fontsize=7, frameon=False, loc="upper left", ncols=2)
    label(axes[2], "drift", "frame", "nm")
    histogram(
        axes[3],
        blinks["intensity"],
        np.linspace(400, 2600, 31),
        norm(1500, 300).cdf,
        "binding events, normal",
        "photons / frame",
    )


def own(axes: NDArray[Any], truth: OpenTruth, frames: NDArray[Any]) -> None:
    """Draw rings from a list: a frame, the mean of all frames, and localizations as precise as the bound allows."""
    records, bounds, emitters = truth.records(), np.asarray(truth.bounds()), truth.emitters()
    frame(axes[0], frames[4], "own molecules: a frame")
    frame(axes[1], frames.mean(axis=0), "mean of all frames")
    kept = records["phot"] > 1000
    random = np.random.default_rng(5)
    found = 100 * (records["xyz"][kept, :2] + bounds[kept, :2] * random.standard_normal((kept.sum(), 2)))
    x, y = np.arange(300, 2000 + PIXEL_NM, PIXEL_NM), np.arange(300, 2200 + PIXEL_NM, PIXEL_NM)
    image, *_ = np.histogram2d(found[:, 1], found[:, 0], [y, x])
    image = gaussian_filter(image, 1)
    axes[2].imshow(image, cmap="inferno", vmax=np.quantile(image[image > 0.05], 0.95), extent=(0.3, 2.0, 2.2, 0.3))
    label(axes[2], "localizations at the bound", "x (um)", "y (um)")
    first = 100 * emitters["xyz"][:16, :2]
    middle = first.mean(axis=0)
    axes[3].plot(*(found - middle).T, ".", ms=2, color="tab:blue", label="localizations")
    axes[3].plot(*(first - middle).T, "o", ms=6, mfc="none", color=LAW, label="molecules")
    axes[3].set(xlim=(-110, 110), ylim=(140, -110), aspect="equal")
    axes[3].legend(fontsize=7, frameon=False, loc="lower left", ncols=2, columnspacing=0.8, handletextpad=0.2)
    label(axes[3], "the first ring", "x (nm)", "y (nm)")


def main() -> None:
    """Draw and save the picture."""
    figure, axes = plt.subplots(3, 4, figsize=(11.6, 8.4), dpi=100, facecolor="white")
    for line, name in zip(axes, ("dstorm_emccd", "paint_scmos", "own_molecules"), strict=True):
        (job,) = expand_jobs(load_batch_config(CONFIGS / f"{name}.json"))
        simulation = simtiff.Simulation(job.config)
        frames = simulation.frames(0, simulation.shape[0])
        with tempfile.TemporaryDirectory() as folder:
            path = simulation.write(folder)["emitters.h5"]
            with h5py.File(path) as file:
                drift = file["drift/xyz"][:].T if "drift" in file else np.empty((3, 0))
            with simtiff.open_truth(path) as truth:
                if name == "dstorm_emccd":
                    dstorm(line, truth, frames)
                elif name == "paint_scmos":
                    paint(line, truth, frames, drift)
                else:
                    own(line, truth, frames)
    figure.tight_layout(w_pad=1.2, h_pad=1.4)
    target = Path(__file__).with_name("emitters.png")
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main()
