"""Draw the picture for the page on cameras: frames, backgrounds and noise of the example configs.

Needs matplotlib; run it from any folder: ``python docs/images/make_cameras.py``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.stats import exponnorm, norm

import simtiff
from simtiff.config.loading import load_batch_config
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.config.sweeps import expand_jobs
from simtiff.movie.light import background_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = (("dstorm_emccd", "EMCCD", 1e4), ("paint_scmos", "sCMOS", 6e4))
FLAT = (256, 256)
DARK_FRAMES = 40
DOTS, LAW = "tab:blue", "tab:orange"


def camera_of(preset: str, **changes: Any) -> simtiff.Camera:
    """Return the camera of a preset, without background."""
    settings = CAMERA_PRESETS[preset].settings | changes
    return simtiff.Camera(0, settings.pop("read_noise_e"), **settings)


def show(figure: Figure, axis: Axes, image: NDArray[Any], limits: tuple[float, float], title: str, unit: str) -> None:
    """Show an image with its colour bar."""
    shown = axis.imshow(image, cmap="gray" if unit == "ADU" else "viridis", vmin=limits[0], vmax=limits[1])
    bar = figure.colorbar(shown, ax=axis, fraction=0.045, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(unit, fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("x (px)", fontsize=8)
    axis.set_ylabel("y (px)", fontsize=8)


def photon_transfer(axis: Axes, camera: simtiff.Camera, most: float) -> None:
    """Draw the variance of flat frames against the photons per pixel, and the formula."""
    photons = np.geomspace(0.05, most, 25)
    flat = np.array([camera.expose(np.full(FLAT, level), seed=k) for k, level in enumerate(photons)], float)
    variance = flat.var(axis=(1, 2))
    gain, excess = camera.em_gain or 1.0, 1 if camera.em_gain is None else 2
    law = (
        excess * gain / camera.e_per_adu * camera.quantum_efficiency * photons * gain / camera.e_per_adu
        + (camera.read_noise / camera.e_per_adu) ** 2
        + 1 / 12
    )
    axis.loglog(photons, variance, "o", ms=4, color=DOTS, label=f"frames of {FLAT[0]} x {FLAT[1]} px")
    axis.loglog(photons, law, color=LAW, lw=1.3, zorder=0, label="formula")
    axis.set_title("photon transfer", fontsize=9)
    axis.set_xlabel("photons / px", fontsize=8)
    axis.set_ylabel("variance (ADU²)", fontsize=8)
    axis.legend(fontsize=7, frameon=False, loc="upper left")


def dark(camera: simtiff.Camera, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected fraction of dark pixels with each count; two or more electrons are neglected."""
    edges = (np.append(counts - 0.5, counts[-1] + 0.5) - camera.offset_adu) * camera.e_per_adu
    none = np.exp(-camera.dark_e)
    law = none * norm.cdf(edges, scale=camera.read_noise)
    if camera.em_gain is not None:
        one = exponnorm.cdf(edges, camera.em_gain / camera.read_noise, scale=camera.read_noise)
        law += (1 - none) * one
    shares: NDArray[np.float64] = np.diff(law)
    return shares


def dark_frames(axis: Axes, camera: simtiff.Camera, counts: NDArray[np.int64], colour: str, label: str) -> None:
    """Draw the fraction of dark pixels with each count."""
    shape = FLAT if camera.maps is None else camera.maps.shape
    frames = camera.expose(np.zeros((DARK_FRAMES, *shape)), seed=7)
    found = np.bincount(frames.ravel(), minlength=counts[-1] + 1)[counts[0] : counts[-1] + 1] / frames.size
    kept = found > 0
    axis.semilogy(counts[kept], found[kept], "o", ms=3.5, color=colour, label=label)
    axis.set_title("dark frames", fontsize=9)
    axis.set_xlabel("count (ADU)", fontsize=8)
    axis.set_ylabel("fraction of pixels", fontsize=8)


def darkness(axis: Axes, preset: str) -> None:
    """Draw the dark pixels of a camera; for an sCMOS also those with a read-noise map."""
    camera = camera_of(preset)
    if camera.em_gain is not None:
        counts = np.arange(92, 141)
        dark_frames(axis, camera, counts, DOTS, "frames")
        axis.semilogy(counts, dark(camera, counts), color=LAW, lw=1.3, zorder=0, label="expected")
    else:
        counts = np.arange(84, 117)
        noise = np.random.default_rng(3).lognormal(np.log(1.5), 0.35, FLAT)
        noisy = camera_of(preset, maps={"read_noise_e": noise})
        dark_frames(axis, camera, counts, DOTS, "1.6 e- in all pixels")
        axis.semilogy(counts, dark(camera, counts), color=LAW, lw=1.3, zorder=0, label="expected")
        dark_frames(axis, noisy, counts, "tab:green", "read-noise map")
        edges = (np.append(counts - 0.5, counts[-1] + 0.5) - camera.offset_adu) * camera.e_per_adu
        law = np.diff(norm.cdf(edges[:, None], scale=noise.ravel()[None, ::8]).mean(axis=1))
        axis.semilogy(counts, law, color=LAW, lw=1.3, ls="--", zorder=0, label="expected with the map")
    axis.set_ylim(3e-7, 3e5 if camera.em_gain is None else 20)
    axis.set_yticks([1e-6, 1e-4, 1e-2, 1])
    axis.legend(fontsize=7, frameon=False, loc="upper right")


def main() -> None:
    """Draw and save the picture."""
    figure, axes = plt.subplots(2, 4, figsize=(11.6, 5.6), dpi=100, facecolor="white")
    for line, (name, kind, most) in zip(axes, ROWS, strict=True):
        (job,) = expand_jobs(load_batch_config(CONFIGS / f"{name}.json"))
        simulation = simtiff.Simulation(job.config)
        frame = simulation.frames(4, 5)[0]
        background = background_of(simulation.config)
        limits = (float(np.quantile(frame, 0.005)), float(np.quantile(frame, 0.999)))
        show(figure, line[0], frame, limits, f"{kind}, a frame", "ADU")
        light = background.image
        if name == "dstorm_emccd":
            show(figure, line[1], light, (0, float(light.max())), "its mean background", "photons / px")
        else:
            frames = np.arange(60)
            line[1].plot(
                frames, light.mean() * background.factor[:60], "o-", ms=3, lw=1, color=DOTS, label="in the truth"
            )
            for edge, label in ((15, "requested limits"), (25, None)):
                line[1].axhline(edge, color=LAW, lw=1.3, label=label)
            line[1].set(ylim=(0, 27))
            line[1].set_title("its background, frame by frame", fontsize=9)
            line[1].set_xlabel("frame", fontsize=8)
            line[1].set_ylabel("photons / px", fontsize=8)
            line[1].legend(fontsize=7, frameon=False, loc="lower left")
        preset = simulation.config.camera.preset
        photon_transfer(line[2], camera_of(preset), most)
        darkness(line[3], preset)
        for axis in line:
            axis.tick_params(labelsize=7)
    figure.tight_layout(w_pad=1.2, h_pad=1.2)
    target = Path(__file__).with_name("cameras.png")
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main()
