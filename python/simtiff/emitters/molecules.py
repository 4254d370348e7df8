"""Emitters that exist from the first frame on: molecules and binding sites that blink, and emitters that are always on.

Blinking emitters are in one of several states, with exponential dwell times (`simtiff.emitters.chain`). The core
advances all of them slab by slab, each with an independent random stream. Their truth therefore does not depend on the
slabs, and memory is set by the number of molecules and the records of a slab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import Blinking, exponential
from simtiff.emitters.chain import chain_of
from simtiff.emitters.places import Brightness, Places, generator, intensities
from simtiff.emitters.sampling import birth_range, records_of
from simtiff.emitters.tables import AnyEmitters, Blinks, Emitters, Molecules, Records, Sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig

BLOCK_EMITTERS = 1 << 18
"""Emitters drawn at a time; each block has its own random stream."""

_BLINKING = 0x626C696E  # "blin": separates the streams of blinking from those of positions


class _Population:
    """Emitters whose positions and intensities are drawn before the movie begins.

    Parameters
    ----------
    config
        The job's ``emitters`` section.
    count, first_id
        Number of emitters, and the id of the first.
    purpose, places
        Purpose of their random streams, and the function that draws their positions.
    brightness
        Draws their photons per frame; None: drawn from the config's distribution, for DNA-PAINT for each binding event.
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
        self.count, self.first_id, self.purpose = count, first_id, purpose
        self.config = config
        self._places, self._brightness = places, brightness
        self.xyz = np.empty((0, 3), np.float32)
        self.intensity = np.empty(0, np.float32)

    def draw(self) -> Iterator[AnyEmitters]:
        """Draw all emitters and yield them block by block; a second call yields none."""
        if len(self.xyz) == self.count:
            return
        self.xyz = np.empty((self.count, 3), np.float32)
        self.intensity = np.empty(self.count, np.float32)
        for block, start in enumerate(range(0, self.count, BLOCK_EMITTERS)):
            rows = slice(start, min(start + BLOCK_EMITTERS, self.count))
            random = generator(self.config.seed, self.purpose, block + 1)
            number = rows.stop - rows.start
            self.xyz[rows] = self._places(random, number)
            if self._brightness is not None:
                self.intensity[rows] = self._brightness(random, number)
            elif self.config.blinking.kind != "paint":  # each binding event has its own intensity
                self.intensity[rows] = intensities(self.config, random, number)
            yield self._table(rows, random)

    def _table(self, rows: slice, random: np.random.Generator) -> AnyEmitters:  # noqa: ARG002 - used by subclasses
        xyz, intensity = self.xyz[rows], self.intensity[rows]
        ids = np.arange(self.first_id + rows.start, self.first_id + rows.stop, dtype=np.int64)
        match self.config.blinking.kind:
            case "kinetics":
                return Molecules(xyz, intensity, ids)
            case "paint":
                return Sites(xyz, ids)
            case _:
                t0, on_time = np.zeros(len(ids)), np.full(len(ids), float(self.config.frames))
                return Emitters(xyz, intensity, t0, on_time, ids)


class OnceAtPlaces(_Population):
    """A source of emitters that are on once, at given positions (`simtiff.emitters.sources.Source`).

    Their on-times have the distribution of `SingleIntervals`, but are not sorted: the id is the row of the list.
    """

    _frame = 0

    def emitters(self, until: float) -> Iterator[AnyEmitters]:  # noqa: ARG002 - all exist from the start
        """Yield all emitters on the first call."""
        if len(self.xyz) < self.count:
            self._t0, self._end = np.empty(self.count), np.empty(self.count)
        yield from self.draw()

    def _table(self, rows: slice, random: np.random.Generator) -> AnyEmitters:
        lifetime, (start, stop) = self.config.lifetime_avg, birth_range(self.config)
        number = rows.stop - rows.start
        t0 = np.maximum(start + (stop - start) * random.random(number), -2 * lifetime)
        on_time = random.random(number)
        exponential(on_time)
        on_time *= lifetime
        self._t0[rows], self._end[rows] = t0, t0 + on_time
        ids = np.arange(self.first_id + rows.start, self.first_id + rows.stop, dtype=np.int64)
        return Emitters(self.xyz[rows], self.intensity[rows], t0, on_time, ids)

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records of the next frames, up to ``stop - 1``."""
        on = np.flatnonzero((self._t0 < stop) & (self._end > self._frame)) if self.count else np.empty(0, np.int64)
        t0 = self._t0[on]
        seen = Emitters(self.xyz[on], self.intensity[on], t0, self._end[on] - t0, on + self.first_id)
        records = records_of(seen, self._frame, stop)
        self._frame = stop
        return records, None


class AlwaysOn(_Population):
    """A source of emitters that emit their intensity in every frame (`simtiff.emitters.sources.Source`)."""

    _frame = 0

    def emitters(self, until: float) -> Iterator[AnyEmitters]:  # noqa: ARG002 - all exist from the start
        """Yield all emitters on the first call."""
        yield from self.draw()

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records of the next frames, up to ``stop - 1``."""
        frames = stop - self._frame
        lit = np.flatnonzero(self.intensity > 0)
        records = Records(
            xyz=np.tile(self.xyz[lit], (frames, 1)),
            phot=np.tile(self.intensity[lit], frames),
            frame_ix=np.repeat(np.arange(self._frame, stop, dtype=np.int32), len(lit)),
            id=np.tile(lit + self.first_id, frames),
        )
        self._frame = stop
        return records, None


class Blinkers(_Population):
    """A source of blinking emitters, ``kinetics`` or ``paint`` (`simtiff.emitters.sources.Source`)."""

    _blinking: Blinking | None = None

    def emitters(self, until: float) -> Iterator[AnyEmitters]:  # noqa: ARG002 - all exist from the start
        """Yield all molecules on the first call."""
        yield from self.draw()

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return records and blinks of the next frames, up to ``stop - 1``."""
        if self._blinking is None:
            self._blinking = self._started()
        records, sojourns = self._blinking.advance(stop)
        frame_ix, ids, phot = np.empty(records, np.int32), np.empty(records, np.int64), np.empty(records, np.float32)
        xyz = np.empty((records, 3), np.float32)
        self._blinking.records_into(self.xyz, frame_ix, ids, phot, xyz)
        blinks = Blinks(
            emitter=np.empty(sojourns, np.int64),
            t0=np.empty(sojourns),
            on_time=np.empty(sojourns),
            state=np.empty(sojourns, np.uint8),
            intensity=np.empty(sojourns, np.float32),
        )
        self._blinking.sojourns_into(blinks.emitter, blinks.t0, blinks.on_time, blinks.state, blinks.intensity)
        if self.first_id:
            ids += self.first_id
            blinks.emitter[...] += self.first_id
        return Records(xyz, phot, frame_ix, ids), blinks

    def _started(self) -> Blinking:
        config = self.config
        chain = chain_of(config.blinking)
        key = np.random.SeedSequence(config.seed, spawn_key=(_BLINKING, self.purpose)).generate_state(1, np.uint64)[0]
        per_sojourn = config.blinking.kind == "paint"
        photons: NDArray[np.float32] | int = self.count if per_sojourn else self.intensity
        law = config.photon_law if per_sojourn else None
        rates = np.array(chain.rates)
        return Blinking(rates, chain.brightness, chain.start, config.frames, int(key), photons, law)
