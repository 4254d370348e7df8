"""Emitters that are on once, drawn in time slabs.

Emitters are activated uniformly in time, from three mean on-times before the movie to its end (`birth_range`), and stay
on for an exponential time. In frame k they emit their intensity times the fraction of [k, k + 1) during which they are
on. The number activated in the first of the three mean on-times equals the number on at any time in the steady state.
Exponential times are memoryless, so moving these activations to the end of that span gives the emitters that are on
then, and the steady state begins there: every frame of the movie, first and last included, has the same mean signal.
Positions are uniform in the field, [-0.5, width - 0.5) and [-0.5, height - 0.5) from area_px, and z is uniform in
[-z_range_um, z_range_um] or in z_um.

The truth is a pure function of the config. It is made in time slabs, each with an independent random stream, so memory
does not grow with the number of frames. The numbers of emitters per slab are multinomial, drawn by halving the time
repeatedly. Random numbers are uniform doubles that the core turns into other distributions: they depend neither on the
version of a library's samplers nor on the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import exponential
from simtiff.emitters.places import Brightness, Places, generator, intensities
from simtiff.emitters.tables import Blinks, Emitters, Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig

SLAB_FRAMES = 64
"""Length of a time slab in frames, unless that gives too many, too full or too empty slabs."""

MAX_SLABS = 4096
MAX_SLAB_EMITTERS = 1 << 18
"""Largest mean number of emitters in a slab."""

_MAX_SLAB_FRAMES = 1 << 16
_MIN_SLAB_EMITTERS = 256


class SingleIntervals:
    """A source of emitters that are on once (`simtiff.emitters.sources.Source`).

    Parameters
    ----------
    config
        The job's ``emitters`` section; its number of emitters is not used.
    count
        Number of emitters.
    first_id
        The id of the first emitter.
    purpose, places
        Purpose of their random streams, and the function that draws their positions.
    brightness
        Draws their photons per frame; None: drawn from the config's distribution.
    """

    def __init__(
        self,
        config: EmitterConfig,
        count: int,
        first_id: int,
        purpose: int,
        places: Places,
        brightness: Brightness | None = None,
    ) -> None:
        self.count = count
        self._config, self._purpose, self._places, self._brightness = config, purpose, places, brightness
        self._edges = slab_edges(config, count)
        self._counts = slab_counts(count, self._edges, config.seed, purpose)
        self._slab, self._next_id, self._frame = 0, first_id, 0
        self._alive = self._sample(0, 0, (0.0, 0.0))  # none yet

    def emitters(self, until: float) -> Iterator[Emitters]:
        """Make the emitters that are activated before a time in frames, and yield them slab by slab."""
        while self._slab < len(self._counts) and self._edges[self._slab] < until:
            slab, count = self._slab, self._counts[self._slab]
            born = self._sample(slab, count, (self._edges[slab], self._edges[slab + 1]))
            self._slab += 1
            self._next_id += count
            seen = (born.t0 < self._config.frames) & (born.t0 + born.on_time > self._frame) & (born.intensity > 0)
            self._alive = Emitters.concatenate([self._alive, born[seen]])
            yield born

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records of the next frames, up to ``stop - 1``."""
        records = records_of(self._alive, self._frame, stop)
        self._frame = stop
        self._alive = self._alive[self._alive.t0 + self._alive.on_time > stop]
        return records, None

    def _sample(self, slab: int, count: int, span: tuple[float, float]) -> Emitters:
        """Make the emitters of a slab, ordered by the start of their on-time."""
        config = self._config
        random = generator(config.seed, self._purpose, slab + 1)
        start, stop = span
        t0 = start + (stop - start) * np.sort(random.random(count))
        np.maximum(t0, -2 * config.lifetime_avg, out=t0)
        xyz = self._places(random, count)
        draw = self._brightness
        intensity = intensities(config, random, count) if draw is None else draw(random, count)
        on_time = random.random(count)
        exponential(on_time)
        on_time *= config.lifetime_avg
        return Emitters(xyz, intensity, t0, on_time, np.arange(self._next_id, self._next_id + count, dtype=np.int64))


def birth_range(config: EmitterConfig) -> tuple[float, float]:
    """Return the time range of activations in frames: from -3 mean on-times to at least the end of the last frame."""
    return -3 * config.lifetime_avg, max(float(config.frames), config.frames - 1 + 3 * config.lifetime_avg)


def slab_edges(config: EmitterConfig, count: int) -> list[float]:
    """Return the slab edges for `count` emitters: the ends of the activation range, with equal steps between them."""
    start, stop = birth_range(config)
    duration = stop - start
    length = float(SLAB_FRAMES)
    few = max(1.0, count / _MIN_SLAB_EMITTERS)
    while duration / length > few and length < _MAX_SLAB_FRAMES:
        length *= 2
    while duration / length > MAX_SLABS:
        length *= 2
    while count * min(1.0, length / duration) > MAX_SLAB_EMITTERS:
        length /= 2
    inner = np.arange(np.floor(start / length) + 1, np.ceil(stop / length)) * length
    return [start, *inner.tolist(), stop]


def slab_counts(total: int, edges: Sequence[float], seed: int, purpose: int) -> list[int]:
    """Return how many of `total` uniform activations are in each slab."""
    random = generator(seed, purpose, 0)
    counts = [0] * (len(edges) - 1)

    def halve(first: int, last: int, count: int) -> None:
        if count == 0:
            return
        if last - first == 1:
            counts[first] = count
            return
        middle = (first + last) // 2
        share = (edges[middle] - edges[first]) / (edges[last] - edges[first])
        left = _binomial(random, count, share)
        halve(first, middle, left)
        halve(middle, last, count - left)

    halve(0, len(counts), total)
    return counts


def _binomial(random: np.random.Generator, count: int, probability: float) -> int:
    """Draw from the binomial distribution by its definition."""
    block = 1 << 16
    return sum(
        int(np.count_nonzero(random.random(min(block, count - done)) < probability)) for done in range(0, count, block)
    )


def _frames_on(emitters: Emitters, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first frame in which each emitter is on, and the one after the last, both clipped to start..stop."""
    first = np.clip(np.floor(emitters.t0), start, stop).astype(np.int64)
    end = np.clip(np.ceil(emitters.t0 + emitters.on_time), start, stop).astype(np.int64)
    return first, np.maximum(first, end)


def records_of(emitters: Emitters, start: int, stop: int) -> Records:
    """Make the records of frames start..stop, at most 2^16; `emitters` holds all emitters of these frames, by id."""
    first, end = _frames_on(emitters, start, stop)
    on = np.flatnonzero(end > first)
    first, lengths = first[on], (end - first)[on]
    total = int(lengths.sum())
    # Row r of emitter e is frame first[e] + (r - first row of e): one addition to a running number.
    offset = (first - start) - (np.cumsum(lengths) - lengths)
    frame = np.repeat(offset, lengths)
    frame += np.arange(total)
    order = np.argsort(frame.astype(np.uint16), kind="stable")  # much faster than wider integers
    frame = frame[order]
    frame += start
    emitter = np.repeat(on, lengths)[order]
    t0 = emitters.t0[emitter]
    t1 = (emitters.t0 + emitters.on_time)[emitter]
    overlap = np.minimum(t1, frame + 1) - np.maximum(t0, frame)
    phot = (emitters.intensity[emitter] * overlap).astype(np.float32)
    lit = phot > 0
    if not lit.all():
        emitter, frame, phot = emitter[lit], frame[lit], phot[lit]
    return Records(emitters.xyz[emitter], phot, frame.astype(np.int32), emitters.id[emitter])
