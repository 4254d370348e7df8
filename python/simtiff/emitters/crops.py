"""Emitters of training crops: a few frames anywhere in a movie, with new emitters for each crop.

A crop is a square of the field and a window of consecutive frames. The number of emitters on it, and around it as far
as their PSFs reach, is Poisson distributed with the movie's mean density. They blink according to the config. Emitters
that are on once and DNA-PAINT sites are in the steady state. Molecules with kinetics have the state probabilities of a
random window of the movie, from the first windows, with many bright molecules, to the last, where many are bleached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import bleach, exponential, photons, poisson
from simtiff.emitters.chain import chain_of, shares_of_window
from simtiff.emitters.density import share_on
from simtiff.emitters.places import intensities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig
    from simtiff.config.settings import JobConfig
    from simtiff.emitters.chain import Chain


@dataclass(frozen=True, slots=True)
class CropEmitters:
    """Emitters whose signal reaches some crops, ordered by crop.

    Attributes
    ----------
    crop : (n,) int64
        The crop of each emitter.
    xyz : (n, 3) float64
        Position in the crop: x and y in px (integers are pixel centres), z in um.
    light : (n, window) float64
        Photons of each emitter in each frame of the window.
    """

    crop: NDArray[np.int64]
    xyz: NDArray[np.float64]
    light: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.crop)


@dataclass(frozen=True, slots=True)
class _Shining:
    """Intervals during which emitters are on, (m,) each, and the crop of each emitter, (n,)."""

    crop: NDArray[np.int64]
    emitter: NDArray[np.int64]
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    part: NDArray[np.float64]


def density_on(job: JobConfig) -> float:
    """Return the mean number of a job's emitters that are on at a time, per px^2 of its field."""
    config, optical = job.emitters, job.optical
    if config.density_per_um2 is not None:  # the number of emitters of a movie is rounded
        return config.density_per_um2 * optical.pixel_size_nm_x * optical.pixel_size_nm_y * 1e-6
    width, height = config.area
    return config.num_emitters * share_on(config) / (width * height)


def draw_emitters(
    config: EmitterConfig,
    origins: NDArray[np.int64],
    size: int,
    reach: float,
    window: int,
    density: NDArray[np.float64],
    brightness: NDArray[np.float64],
    random: np.random.Generator,
) -> CropEmitters:
    """Draw the emitters whose signal reaches crops.

    Parameters
    ----------
    config
        The job's ``emitters`` section.
    origins
        (n, 2): the field pixel x, y at pixel (0, 0) of each crop.
    size, window
        Side of a crop in pixels, and its number of frames.
    reach
        How far outside a crop emitters still contribute signal to it, in px.
    density
        (n,): emitters on at a time per px^2, for each crop.
    brightness
        (n,): factor on the photons of each crop's emitters.
    random
        Source of uniform random numbers.
    """
    side = size + 2 * reach
    shining = _shining(config, density * side * side, window, random)
    light = _light(config, shining, window, random) * brightness[shining.crop, None]
    crop = shining.crop
    if config.fiducials is not None:
        width, height = config.area
        mean = np.full(len(origins), config.fiducials.count * side * side / (width * height))
        more = np.repeat(np.arange(len(origins)), _counts(mean, random))
        crop = np.concatenate([crop, more])
        light = np.concatenate([light, np.full((len(more), window), config.fiducials.photons)])
    xyz = np.empty((len(crop), 3))
    for axis in range(2):
        xyz[:, axis] = side * random.random(len(crop)) - reach - 0.5
    low, high = config.z_limits
    xyz[:, 2] = low + (high - low) * random.random(len(crop))
    kept = light.any(axis=1)
    # The margin has emitters, but no fiducials.
    margin = np.where(np.arange(len(crop)) < len(shining.crop), config.margin_px, 0.0)
    for axis, length in enumerate(config.area):
        place = xyz[:, axis] + origins[crop, axis]
        kept &= (place >= -0.5 - margin) & (place < length - 0.5 + margin)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(crop[rows], kind="stable")]
    return CropEmitters(crop[rows], xyz[rows], light[rows])


def _counts(mean: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw from Poisson distributions."""
    counts = random.random(mean.shape)
    poisson(counts.reshape(-1), random.random(mean.size), np.ascontiguousarray(mean).reshape(-1))
    return counts.astype(np.int64)


def _times(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw exponential times of mean 1."""
    times = random.random(count)
    exponential(times)
    return times


def _shining(config: EmitterConfig, mean: NDArray[np.float64], window: int, random: np.random.Generator) -> _Shining:
    """Draw emitters on the crops, with a mean of `mean` on at a time, and their on-times between 0 and `window`."""
    crops = np.arange(len(mean))
    match config.blinking.kind:
        case "once":
            lifetime = config.lifetime_avg
            there = np.repeat(crops, _counts(mean, random))  # on already; the time left is exponential, too
            born = np.repeat(crops, _counts(mean * (window / lifetime), random))
            start = np.concatenate([np.zeros(len(there)), window * random.random(len(born))])
            stop = start + lifetime * _times(len(start), random)
            crop = np.concatenate([there, born])
            return _Shining(crop, np.arange(len(crop)), start, stop, np.ones(len(crop)))
        case "always":
            crop = np.repeat(crops, _counts(mean, random))
            start = np.zeros(len(crop))
            return _Shining(crop, np.arange(len(crop)), start, start + window, np.ones(len(crop)))
        case _:
            return _blinking(config, chain_of(config.blinking), mean, window, random)


def _blinking(
    config: EmitterConfig, chain: Chain, mean: NDArray[np.float64], window: int, random: np.random.Generator
) -> _Shining:
    """Follow molecules from state to state through the window.

    Only molecules that are bright at its start, or leave a dark state within it, are drawn. Their number is Poisson
    distributed, since it is a random subset of a Poisson number of molecules in each state.
    """
    shares, total = shares_of_window(config.blinking, config.frames, window)
    bright = np.array(chain.brightness) > 0
    if total <= 0:
        empty = np.empty(0)
        none = np.empty(0, np.int64)
        return _Shining(none, none, empty, empty, empty)
    until = np.cumsum(chain.rates, axis=1)
    flow = until[:, -1]
    reached = until / np.maximum(flow, 1e-300)[:, None]
    crop, state, time = [], [], []
    for index, share in enumerate(shares):
        leaving = np.ones(2)
        if not bright[index]:
            if flow[index] <= 0:
                continue
            bleach(1 / (flow[index] * window), leaving)
            leaving[1] = 1 - leaving[1]
        rows = np.repeat(np.arange(len(mean)), _counts(mean * (share / total * leaving[1]), random))
        begin, now = np.zeros(len(rows)), np.full(len(rows), index)
        if not bright[index]:
            begin = leaving[1] * random.random(len(rows))  # before the window's end; turned into times by inversion
            exponential(begin)
            begin /= flow[index]
            now = (random.random(len(rows))[:, None] >= reached[index]).sum(axis=1)
        crop.append(rows)
        state.append(now)
        time.append(begin)
    crop_of = np.concatenate(crop)
    emitter, now, begin = np.arange(len(crop_of)), np.concatenate(state), np.concatenate(time)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]] = []
    while len(emitter):
        stays = flow[now] <= 0
        end = begin + _times(len(now), random) / np.where(stays, 1e-300, flow[now])
        lit = bright[now]
        found.append((emitter[lit], begin[lit], end[lit], np.array(chain.brightness)[now[lit]]))
        following = np.minimum((random.random(len(now))[:, None] >= reached[now]).sum(axis=1), len(flow) - 1)
        on = (end < window) & ~stays
        emitter, now, begin = emitter[on], following[on], end[on]
    columns = [np.concatenate(column) for column in zip(*found, strict=True)] if found else [np.empty(0)] * 4
    return _Shining(crop_of, columns[0].astype(np.int64), columns[1], columns[2], columns[3])


def _light(config: EmitterConfig, shining: _Shining, window: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the photons of each emitter in each frame, from the exact overlap of its intervals with the frame."""
    if config.blinking.kind == "paint":  # each binding event has its own intensity
        photons_of = random.random(len(shining.emitter))
        photons(photons_of, random.random(len(photons_of)), config.photon_law)
    else:
        photons_of = intensities(config, random, len(shining.crop)).astype(np.float64)[shining.emitter]
    frame = np.arange(window)
    overlap = np.minimum(shining.stop[:, None], frame + 1) - np.maximum(shining.start[:, None], frame)
    of_each: NDArray[np.float64] = np.maximum(overlap, 0) * (photons_of * shining.part)[:, None]
    count = len(shining.crop)
    if len(shining.emitter) == count and np.array_equal(shining.emitter, np.arange(count)):
        return of_each
    light = np.empty((count, window))
    for column in range(window):
        light[:, column] = np.bincount(shining.emitter, of_each[:, column], count)
    return light
