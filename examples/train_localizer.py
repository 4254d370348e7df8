"""Train a small network to localize emitters in three dimensions, anywhere in a field with changing aberrations.

Usage:
  train_localizer.py [--zmap=FILE] [--field=PX] [--steps=N] [--frames=N] [--seed=N] [--output=DIR]
  train_localizer.py --help

Options:
  --zmap=FILE   Aberration map, for example your measured one [default: builtin:oil].
  --field=PX    Side of the field in px, a multiple of 4; the map must cover it [default: 256].
  --steps=N     Number of training batches [default: 4000].
  --frames=N    Frames of the test movie [default: 40].
  --seed=N      Seed of emitters, noise and the network's initial weights [default: 1].
  --output=DIR  Folder for movie, truth and localizations [default: localizer].

First a movie is simulated. The network localizes it before and after training. Training never sees this movie: its
crops are drawn anew for every batch (simtiff.training). Needs PyTorch: pip install ".[torch,tables]".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from docopt import docopt
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    interpolate,
    max_pool2d,
    pixel_shuffle,
    pixel_unshuffle,
)

import simtiff
from simtiff import localizations
from simtiff.training.torch import Frames

PIXEL_NM = 100.0
PHOTONS, BACKGROUND = 5000.0, 20.0
Z_UM = 0.6
CAMERA = {"quantum_efficiency": 0.8, "read_noise_e": 1.6, "e_per_adu": 0.5, "offset_adu": 100}
CROPS, SIZE = 16, 48
LEAST = 0.4  # the smallest probability of an emitter that is written


def job(zmap: str, field: int, frames: int, seed: int) -> dict[str, Any]:
    """Return the config of the movie and of the training crops."""
    return {
        "zmap_path": zmap,
        "optical": {"wavelength_nm": 660, "NA": 1.4, "n_immersion": 1.518, "pixel_size_nm": PIXEL_NM},
        "psf": {"size_px": 31, "phase_noll": {"6": 1.0}},  # a cylindrical lens
        "emitters": {
            "area_px": field,
            "frames": frames,
            "density_per_um2": 0.2,
            "margin_px": 16,
            "lifetime_avg": 3,
            "intensity_mu": PHOTONS,
            "intensity_sigma": 1000,
            "z_um": [-Z_UM, Z_UM],
            "seed": seed,
        },
        "camera": CAMERA,
        "tiff": {"roi_size": field, "noise_params": {"background": BACKGROUND}},
        "truth": {"crlb": True},
    }


class Block(nn.Sequential):
    """Two convolutions."""

    def __init__(self, before: int, after: int) -> None:
        parts: list[nn.Module] = []
        for channels in (before, after):
            parts += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU()]
        super().__init__(*parts)


class Localizer(nn.Module):
    """A small U-Net: the inputs are photons and the position in the field, the outputs ten numbers per pixel.

    The outputs are the logit of the probability that an emitter's centre is on the pixel; its dx and dy from the
    pixel's centre in px; z and photons in units of `Z_UM` and `PHOTONS`; the logarithms of the errors of these four;
    and the background in units of `BACKGROUND`. For speed, four pixels are handled as one with four times the channels.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.fine, self.coarse = Block(4 * 3, width), Block(width, 2 * width)
        self.back = Block(3 * width, width)
        self.out = nn.Conv2d(width, 4 * 10, 1)

    def forward(self, photons: Tensor, place: Tensor) -> Tensor:
        """Return the outputs (n, 10, y, x) for frames (n, y, x) whose pixels have field positions (n, 2, y, x)."""
        signal = (photons - BACKGROUND) / (10 * BACKGROUND)
        fine = self.fine(pixel_unshuffle(torch.cat([signal[:, None], place], 1), 2))
        coarse = interpolate(self.coarse(max_pool2d(fine, 2)), scale_factor=2)
        logit, at, background = pixel_shuffle(self.out(self.back(torch.cat([fine, coarse], 1))), 2).split([1, 8, 1], 1)
        return torch.cat([logit - 4, at, background + 1], 1)  # most pixels have no emitter


def places(origin: Tensor, size: int, field: int) -> Tensor:
    """Return the field positions of pixels (n, 2, y, x), scaled to -1 .. 1."""
    line = torch.arange(size)
    x = (origin[:, 0, None] + line)[:, None, :].expand(-1, size, size)
    y = (origin[:, 1, None] + line)[:, :, None].expand(-1, size, size)
    return torch.stack([x, y], 1) * (2 / field) - 1


def loss_of(out: Tensor, batch: dict[str, Any]) -> Tensor:
    """Return the training loss: detection, likelihood of positions and photons, and background."""
    crop, row = torch.nonzero(batch["mask"], as_tuple=True)
    xyz, photons = batch["xyz"][crop, row], batch["photons"][crop, row]
    pixel = xyz[:, :2].round().long()
    there = torch.zeros_like(out[:, 0])
    there[crop, pixel[:, 1], pixel[:, 0]] = 1
    found = binary_cross_entropy_with_logits(out[:, 0], there, reduction="sum") / len(crop)
    at = out[crop, :, pixel[:, 1], pixel[:, 0]]
    wanted = torch.cat([xyz[:, :2] - pixel, xyz[:, 2:] / Z_UM, photons[:, None] / PHOTONS], 1)
    log_sigma = at[:, 5:9].clamp(-5, 2)
    unlikely = 0.5 * ((at[:, 1:5] - wanted) / log_sigma.exp()) ** 2 + log_sigma
    background = (out[:, 9] - batch["background"] / BACKGROUND).abs().mean()
    return found + 0.3 * unlikely.sum(1).clamp(max=50).mean() + background


def train(network: Localizer, config: dict[str, Any], steps: int, seed: int) -> None:
    """Train on crops from anywhere in the field, each with its own density, photons and background."""
    field = config["emitters"]["area_px"]
    frames = Frames(
        config,
        size=SIZE,
        batch=CROPS,
        seed=seed,
        density_per_um2=(0.05, 0.4),
        photons=(0.5 * PHOTONS, 1.5 * PHOTONS),
        background=(0.5 * BACKGROUND, 1.5 * BACKGROUND),
        zernike_jitter_rad=0.02,
        units="photons",
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    network.train()
    begin, mean = time.monotonic(), 0.0
    for step, batch in zip(range(1, steps + 1), frames, strict=False):
        loss = loss_of(network(batch["frames"][:, 0], places(batch["origin"], SIZE, field)), batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step, 100)
        if step % max(1, steps // 10) == 0:
            say(f"step {step}: loss {mean:.3f}, {step * CROPS / (time.monotonic() - begin):.0f} crops/s")


@torch.no_grad()
def localize(network: Localizer, movie: np.ndarray) -> dict[str, np.ndarray]:
    """Return the localizations of a movie as columns."""
    network.eval()
    field = movie.shape[-1]
    place = places(torch.zeros(1, 2, dtype=torch.int64), field, field)
    found = []
    for frame, adu in enumerate(movie.astype(np.float32)):
        photons = (adu - CAMERA["offset_adu"]) * (CAMERA["e_per_adu"] / CAMERA["quantum_efficiency"])
        out = network(torch.from_numpy(photons)[None], place)[0]
        chance = out[0].sigmoid()[None, None]
        around = 9 * avg_pool2d(chance, 3, 1, 1)  # the probability of an emitter between pixels is shared among them
        peak = (chance == max_pool2d(chance, 3, 1, 1)) & (around > LEAST)
        y, x = torch.nonzero(peak[0, 0], as_tuple=True)
        at = out[:, y, x]
        sigma = at[5:9].clamp(-5, 2).exp()
        found.append(torch.stack([torch.full_like(at[0], frame), at[1] + x, at[2] + y, *at[3:5], *sigma, at[9]], 1))
    scale = [1, 1, 1, Z_UM, PHOTONS, 1, 1, Z_UM, PHOTONS, BACKGROUND]
    names = ["frame", "x_px", "y_px", "z_um", "photons"]
    names += [f"sigma_{name}" for name in names[1:]] + ["background"]
    columns = torch.cat(found).double().numpy() * scale
    return dict(zip(names, columns.T, strict=True))


def show_score(name: str, truth: Any, found: dict[str, np.ndarray]) -> None:
    """Print the score of localizations."""
    score = localizations.score(truth, found, pixel_size_nm=PIXEL_NM).metrics
    rows = {
        "recall": score.recall,
        "precision": score.precision,
        "RMSE lateral (nm)": score.rmse_lateral_nm,
        "RMSE axial (nm)": score.rmse_axial_nm,
        "error over bound, x": score.error_over_bound_x,
        "error over bound, y": score.error_over_bound_y,
        "error over bound, z": score.error_over_bound_z,
    }
    shown = ", ".join(f"{key} {'-' if value is None else f'{value:.3g}'}" for key, value in rows.items())
    say(f"{name}: {score.found} localizations of {score.truth} emitters; {shown}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Make a movie, train, and localize the movie before and after."""
    arguments = docopt(__doc__)
    field, steps, frames, seed = (int(arguments[f"--{name}"]) for name in ("field", "steps", "frames", "seed"))
    config = job(arguments["--zmap"], field, frames, seed)
    folder = Path(arguments["--output"])
    simtiff.run_batch({"base_config": config}, output_dir=folder, resume=False, progress=False)
    movie = tifffile.imread(folder / "single_job/simulation.ome.tiff")
    truth = localizations.read(folder / "single_job/emitters.h5")
    outside = (truth.x_px < -0.5) | (truth.x_px >= field - 0.5) | (truth.y_px < -0.5) | (truth.y_px >= field - 0.5)
    truth = truth[~outside]  # emitters of the margin contribute light, but are not to be found
    torch.manual_seed(seed)
    network = Localizer()
    say(f"{sum(each.numel() for each in network.parameters()):,} weights, {CROPS} crops of {SIZE} px a batch")
    show_score("before training", truth, localize(network, movie))
    train(network, config, steps, seed)
    found = localize(network, movie)
    show_score("after training", truth, found)
    localizations.write(found, folder / "found.csv", "thunderstorm", pixel_size_nm=PIXEL_NM)
    torch.save(network.state_dict(), folder / "network.pt")


if __name__ == "__main__":
    main()
