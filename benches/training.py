"""The measurements of training frames for tasks.py: simtiff, and splines in NumPy."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Figures = dict[str, float]

SIDE, CROP, BATCH, STAMP = 1200, 64, 64, 31
PHOTONS, BACKGROUND, READ_NOISE = 5000.0, 100.0, 10.0
_WARM = 5


def job(zmap: str, model: str = "scalar") -> dict[str, Any]:
    """Return the config of the field."""
    return {
        "zmap_path": zmap,
        "emitters": {"area_px": SIDE, "intensity_mu": PHOTONS, "intensity_sigma": 1000},
        "psf": {"model": model, "size_px": STAMP},
        "tiff": {"noise_params": {"background": BACKGROUND, "readout_noise": READ_NOISE}},
    }


def _frames(zmap: str, on: float, model: str, **options: Any) -> Any:
    """Return `simtiff.training.Frames` with `on` emitters on at the same time in a crop of 64 px."""
    from simtiff.config.loading import load_job_config
    from simtiff.training import Frames

    config = load_job_config(job(zmap, model))
    optical = config.optical
    area_um2 = CROP**2 * optical.pixel_size_nm_x * optical.pixel_size_nm_y * 1e-6
    return Frames(config, **{"size": CROP, "batch": BATCH, "density_per_um2": on / area_um2} | options)


def training(zmap: str, on: float, budget_s: float, model: str = "scalar") -> Figures:
    """Measure frames per second with `on` emitters on in a crop, PSFs per frame, and seconds to the first batch."""
    from simtiff.training import frames as module

    psfs: list[int] = []
    drawn = module.draw_emitters

    def counted(*arguments: Any) -> Any:
        emitters = drawn(*arguments)
        psfs.append(len(emitters))
        return emitters

    begin = time.perf_counter()
    frames = _frames(zmap, on, model)
    frames.batch(0)
    first_s = time.perf_counter() - begin
    module.draw_emitters = counted
    targets = frames.batch(0).mask.sum() / BATCH
    module.draw_emitters = drawn
    rates: list[float] = []
    batches = iter(frames)
    for _ in islice(batches, _WARM):
        pass
    count, end = max(10, int(2000 / BATCH / (1 + on))), time.perf_counter() + 2 * budget_s
    while len(rates) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in islice(batches, count):
            pass
        rates.append(count * BATCH / (time.perf_counter() - begin))
    batches.close()
    return {"frames_per_s": max(rates), "psfs": psfs[0] / BATCH, "targets": float(targets), "first_s": first_s}


def training_memory(zmap: str, batches: int) -> Figures:
    """Measure the memory of a process in MB after a tenth of many small batches, and after all of them; needs Linux."""
    small = iter(_frames(zmap, 5, "scalar", size=32, batch=4))
    held = []
    for count in (batches // 10, batches - batches // 10):
        for _ in islice(small, count):
            pass
        held.append(int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024)
    small.close()
    return {"early_mb": held[0], "late_mb": held[1]}


def training_baseline(psfs: float, budget_s: float) -> Figures:
    """Measure frames per second of splines in NumPy, with `psfs` PSFs per frame."""
    import numpy as np
    from baseline import SplinePsf, expose

    import simtiff

    heights = np.arange(-1.1, 1.11, 0.05)
    stack = simtiff.psf(simtiff.Optics(), np.c_[np.zeros((len(heights), 2)), heights], size=STAMP + 4)[:, 1:, 1:]
    spline, random = SplinePsf(stack, heights[0], heights[1] - heights[0]), np.random.default_rng(1)
    reach = STAMP // 2 + 1
    side = CROP + 2 * reach

    def batches() -> Iterator[Any]:
        while True:
            counts = random.poisson(psfs, BATCH)
            xyz = random.uniform(-reach - 0.5, CROP + reach - 0.5, (counts.sum(), 3))
            xyz[:, 2] = random.uniform(-1, 1, len(xyz))
            light = np.maximum(random.normal(PHOTONS, 1000, len(xyz)), 0).astype(np.float32)
            images = np.zeros((BATCH, side + 2 * reach, side + 2 * reach), np.float32)
            crop = np.repeat(np.arange(BATCH), counts)
            spline.add(images, crop, np.add(xyz, (2 * reach, 2 * reach, 0)), light)
            images = images[:, 2 * reach : 2 * reach + CROP, 2 * reach : 2 * reach + CROP]
            on = ((xyz[:, :2] >= -0.5) & (xyz[:, :2] < CROP - 0.5)).all(axis=1)
            place = np.arange(len(xyz)) - (np.cumsum(counts) - counts)[crop]
            targets = np.zeros((BATCH, counts.max(), 4), np.float32)
            targets[crop[on], place[on]] = np.c_[xyz[on], light[on]]
            yield expose(images, BACKGROUND, READ_NOISE, random), targets

    made, rates, end = batches(), [], time.perf_counter() + 2 * budget_s
    next(made)
    while len(rates) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        next(made)
        rates.append(BATCH / (time.perf_counter() - begin))
    return {"frames_per_s": max(rates)}
