"""Emitters and what they emit in every frame: the truth of a movie.

Emitters are born uniformly from three lifetimes before the movie to its end (`birth_range`), stay on for an
exponential time, and give frame k their intensity times the part of [k, k + 1) they are on for. Those born in the first
of the three lifetimes are as many as are on at any time in the steady state. An exponential time has no memory, so with
their births moved to the end of that lifetime they are those who are on then, and the steady state begins there: every
frame of the movie, the first and the last, is equally bright on average. Intensities are normal, cut at 0.
Positions are uniform in the field, [-0.5, width - 0.5) and [-0.5, height - 0.5) by area_px, and z in
[-z_range_um, z_range_um], or in z_um.

Truth is a pure function of the config and is made in slabs of time, each from a random stream of its own, so
that memory does not grow with the number of frames. How many emitters a slab gets is multinomial, drawn by
halving the time again and again. Random numbers are uniform doubles, turned into other laws by the core: they
change neither with the version of a library's samplers nor with the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import exponential, normal
from simtiff.emitters.tables import Emitters, Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig

SLAB_FRAMES = 64
"""Length of a slab of time in frames, unless that makes slabs too many, too full or too empty."""

MAX_SLABS = 4096
MAX_SLAB_EMITTERS = 1 << 18
"""Emitters of a slab, on average at most."""

BLOCK_RECORDS = 1 << 18
"""Records that are made at a time, unless one frame has more."""

_MAX_SLAB_FRAMES = 1 << 16
_MIN_SLAB_EMITTERS = 256
_MAX_BLOCK_FRAMES = 1 << 15  # frames of a block are sorted as 16-bit integers, which is much faster
_STREAM = 0x656D6974  # "emit": keeps this randomness apart from that of other purposes with the same seed


def iter_slabs(config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> Iterator[tuple[Emitters, Records]]:
    """Make the truth of a movie piece by piece, in the order of time.

    Parameters
    ----------
    config
        The job's ``emitters`` section.
    block_records
        Records that are made at a time, at least a frame's; which does not change them.

    Yields
    ------
    emitters : Emitters
        Emitters born since the last piece; all pieces together have all `num_emitters`.
    records : Records
        The records of the next frames, whole frames only; all pieces together have all frames' records. A
        piece may be empty of either.
    """
    edges = slab_edges(config)
    counts = slab_counts(config.num_emitters, edges, config.seed)
    alive = _sample_slab(config, 0, 0, (0.0, 0.0), 0)  # none yet
    first_id, first_frame = 0, 0
    for slab, count in enumerate(counts):
        born = _sample_slab(config, slab, count, (edges[slab], edges[slab + 1]), first_id)
        first_id += count
        seen = born[(born.t0 < config.frames) & (born.t0 + born.on_time > first_frame) & (born.intensity > 0)]
        alive = Emitters.concatenate([alive, seen]) if len(alive) else seen
        last = slab == len(counts) - 1
        stop_frame = config.frames if last else min(config.frames, max(0, int(np.floor(edges[slab + 1]))))
        if stop_frame <= first_frame:
            yield born, _records(alive[:0], 0, 0)
            continue
        for start, stop in _blocks(alive, first_frame, stop_frame, block_records):
            yield born, _records(alive, start, stop)
            born = born[:0]
        first_frame = stop_frame
        alive = alive[alive.t0 + alive.on_time > first_frame]


def sample_truth(config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> tuple[Emitters, Records]:
    """Make the whole truth of a movie in memory; see `iter_slabs`."""
    emitters, records = zip(*iter_slabs(config, block_records), strict=True)
    return Emitters.concatenate(emitters), Records.concatenate(records)


def birth_range(config: EmitterConfig) -> tuple[float, float]:
    """Return the time in frames in which emitters are born: from -3 lifetimes to the end of the last frame at least."""
    return -3 * config.lifetime_avg, max(float(config.frames), config.frames - 1 + 3 * config.lifetime_avg)


def slab_edges(config: EmitterConfig) -> list[float]:
    """Return the edges of the slabs: the ends of the time of births, between them multiples of a length."""
    start, stop = birth_range(config)
    duration = stop - start
    length = float(SLAB_FRAMES)
    few = max(1.0, config.num_emitters / _MIN_SLAB_EMITTERS)
    while duration / length > few and length < _MAX_SLAB_FRAMES:
        length *= 2
    while duration / length > MAX_SLABS:
        length *= 2
    while config.num_emitters * min(1.0, length / duration) > MAX_SLAB_EMITTERS:
        length /= 2
    inner = np.arange(np.floor(start / length) + 1, np.ceil(stop / length)) * length
    return [start, *inner.tolist(), stop]


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(_STREAM, stream))))


def slab_counts(total: int, edges: Sequence[float], seed: int) -> list[int]:
    """Return how many of `total` uniform births fall into each slab."""
    random = _generator(seed, 0)
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


def _sample_slab(config: EmitterConfig, slab: int, count: int, span: tuple[float, float], first_id: int) -> Emitters:
    """Make the emitters of a slab, ordered by the start of their time on."""
    random = _generator(config.seed, slab + 1)
    start, stop = span
    t0 = start + (stop - start) * np.sort(random.random(count))
    np.maximum(t0, -2 * config.lifetime_avg, out=t0)
    xyz = np.empty((count, 3), np.float32)
    for axis in range(2):
        side = config.area[axis]
        xyz[:, axis] = np.minimum((side * random.random(count) - 0.5).astype(np.float32), _last_before(side - 0.5))
    height = random.random(count)
    if config.z_um is None:
        xyz[:, 2] = config.z_range_um * (2 * height - 1)
    else:
        low, high = config.z_um
        xyz[:, 2] = np.maximum(low + (high - low) * height, low)
    gaussian = random.random(count)
    normal(gaussian, random.random(count))
    intensity = np.maximum(config.intensity_mu + config.intensity_sigma * gaussian, 0).astype(np.float32)
    on_time = random.random(count)
    exponential(on_time)
    on_time *= config.lifetime_avg
    return Emitters(xyz, intensity, t0, on_time, np.arange(first_id, first_id + count, dtype=np.int64))


def _last_before(bound: float) -> np.float32:
    """Return the largest float32 below `bound`: the field is half open."""
    value = np.float32(bound)
    return value if float(value) < bound else np.nextafter(value, np.float32(-np.inf))


def _frames_on(emitters: Emitters, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first frame each emitter is on in, and the one after the last, both cut to start..stop."""
    first = np.clip(np.floor(emitters.t0), start, stop).astype(np.int64)
    end = np.clip(np.ceil(emitters.t0 + emitters.on_time), start, stop).astype(np.int64)
    return first, np.maximum(first, end)


def _blocks(emitters: Emitters, start: int, stop: int, most_records: int) -> Iterator[tuple[int, int]]:
    """Cut frames start..stop into blocks of at most so many records, one frame at least."""
    first, end = _frames_on(emitters, start, stop)
    changes = np.bincount(first - start, minlength=stop - start + 1) - np.bincount(
        end - start, minlength=stop - start + 1
    )
    records_before = np.concatenate([[0], np.cumsum(np.cumsum(changes[:-1]))])
    while start < stop:
        done = len(records_before) - 1 - (stop - start)
        limit = records_before[done] + most_records
        frames = int(np.searchsorted(records_before, limit, side="right")) - 1 - done
        frames = min(max(frames, 1), _MAX_BLOCK_FRAMES, stop - start)
        yield start, start + frames
        start += frames


def _records(emitters: Emitters, start: int, stop: int) -> Records:
    """Make the records of frames start..stop; the frames' emitters are all in `emitters`, ordered by id."""
    first, end = _frames_on(emitters, start, stop)
    on = np.flatnonzero(end > first)
    first, lengths = first[on], (end - first)[on]
    total = int(lengths.sum())
    # Row r of emitter e is frame first[e] + (r - first row of e): one addition to a running number.
    offset = (first - start) - (np.cumsum(lengths) - lengths)
    frame = np.repeat(offset, lengths)
    frame += np.arange(total)
    order = np.argsort(frame.astype(np.uint16), kind="stable")
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
