"""Sources of a movie's emitters and records, in order of time.

A source has emitters of one kind. It yields them as they are activated, and returns the records of any number of whole
frames at a time; the values do not depend on the chunking. A movie has up to three sources: the emitters of the field,
those of the margin around it, and fiducials. Each has independent random streams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from simtiff.emitters.density import margin_emitters
from simtiff.emitters.given import Handed
from simtiff.emitters.molecules import AlwaysOn, Blinkers, OnceAtPlaces
from simtiff.emitters.places import FIDUCIALS, FIELD, MARGIN, Brightness, Places, field_places, margin_places
from simtiff.emitters.sampling import SingleIntervals
from simtiff.emitters.tables import AnyEmitters, Blinks, Emitters, Molecules, Records, Sites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simtiff.config.blocks import EmitterConfig
    from simtiff.emitters.lists import Given

_Table = TypeVar("_Table", Emitters, Molecules, Sites)

BLOCK_RECORDS = 1 << 18
"""Approximate number of records made at a time; a frame may have more."""

_MAX_BLOCK_FRAMES = 1 << 15  # frames of a block are sorted as 16-bit integers, much faster than wider ones


class Source(Protocol):
    """Emitters of one kind, and their records.

    Attributes
    ----------
    count : int
        Number of emitters. Their ids are consecutive, in the order in which they are yielded.
    """

    @property
    def count(self) -> int:
        """Number of emitters."""

    def emitters(self, until: float) -> Iterator[AnyEmitters]:
        """Make all emitters that emit before a time, and yield those not yielded yet.

        Infinity yields all that are left. How the calls are split does not change the emitters.
        """

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records of the next frames, up to ``stop - 1``, by frame, then by id.

        Call `emitters` first, so that their emitters exist. Kinds that blink also return the blinks that begin in these
        frames. A longer movie begins with the records of a shorter one, except for emitters that are on once: their
        activations are spread over the whole movie.
        """


class GivenRecords:
    """A source of given records, without emitters.

    Parameters
    ----------
    records
        All records, by frame, then by id.
    """

    count = 0

    def __init__(self, records: Records) -> None:
        self._records, self._done = records, 0

    def emitters(self, until: float) -> Iterator[AnyEmitters]:  # noqa: ARG002 - there are none
        """Yield nothing."""
        return iter(())

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records of the next frames, up to ``stop - 1``."""
        # A key of the same type; any other would convert the whole column.
        end = int(np.searchsorted(self._records.frame_ix, np.int32(stop)))
        records, self._done = self._records[self._done : end], end
        return records, None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a movie's truth.

    Attributes
    ----------
    emitters : AnyEmitters
        Some emitters, with consecutive ids.
    records : Records
        All records of the frames ``start..stop - 1``, by frame, then by id.
    blinks : Blinks or None
        Blinks that begin in these frames; the first piece with frames also has those that began before the movie. None
        if emitters are on once or always.
    start, stop : int
        The frames. A piece has either emitters or frames.
    """

    emitters: AnyEmitters
    records: Records
    blinks: Blinks | None
    start: int
    stop: int


def table_of(config: EmitterConfig) -> type[AnyEmitters]:
    """Return the table type of a config's emitters."""
    tables: dict[str, type[AnyEmitters]] = {"kinetics": Molecules, "paint": Sites}
    return tables.get(config.blinking.kind, Emitters)


def no_emitters(config: EmitterConfig) -> AnyEmitters:
    """Return an empty table of a config's emitters."""
    xyz, column, ids = np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    table = table_of(config)
    if table is Sites:
        return Sites(xyz, ids)
    return Molecules(xyz, column, ids) if table is Molecules else Emitters(xyz, column, np.empty(0), np.empty(0), ids)


def open_sources(config: EmitterConfig, given: Given | None = None) -> list[Source]:
    """Return the sources of a movie, by id: the field, the margin, fiducials.

    Parameters
    ----------
    config
        The job's ``emitters`` section, with ``num_emitters`` set (`simtiff.emitters.density.with_number`).
    given
        Molecules or records that replace the emitters drawn in field and margin.
    """
    if config.density_per_um2 is not None:
        raise ValueError(config.density_per_um2)
    sources: list[Source] = []
    first = config.num_emitters
    if given is None:
        sources.append(_source(config, config.num_emitters, 0, FIELD, field_places(config)))
        if count := margin_emitters(config):
            sources.append(_source(config, count, first, MARGIN, margin_places(config)))
            first += count
    elif given.records is not None:
        sources.append(GivenRecords(given.records))
        first = given.summary.next_id
    else:
        sources.append(_molecules(config, given))
    if (marks := config.fiducials) is not None:
        sources.append(AlwaysOn(config, marks.count, first, FIDUCIALS, field_places(config), _same(marks.photons)))
    return sources


def _molecules(config: EmitterConfig, given: Given) -> Source:
    """Return the source of molecules at given positions that blink according to the config; row i has the id i."""
    molecules = Handed(given, config)
    own = molecules.has_photons and config.blinking.kind != "paint"  # each binding event has its own
    brightness = molecules.photons if own else None
    if config.blinking.kind == "once":
        return OnceAtPlaces(config, len(given.xyz), 0, FIELD, molecules.places, brightness)
    return _source(config, len(given.xyz), 0, FIELD, molecules.places, brightness)


def _same(photons: float) -> Brightness:
    return lambda _, count: np.full(count, photons, np.float32)


def _source(
    config: EmitterConfig, count: int, first_id: int, purpose: int, places: Places, brightness: Brightness | None = None
) -> Source:
    kinds: dict[str, Callable[[EmitterConfig, int, int, int, Places, Brightness | None], Source]] = {
        "once": SingleIntervals,
        "always": AlwaysOn,
        "paint": Blinkers,
        "kinetics": Blinkers,
    }
    return kinds[config.blinking.kind](config, count, first_id, purpose, places, brightness)


def iter_truth(
    config: EmitterConfig, block_records: int = BLOCK_RECORDS, given: Given | None = None
) -> Iterator[Piece]:
    """Make the truth of a movie piece by piece, in order of time.

    Parameters
    ----------
    config
        The job's ``emitters`` section, with ``num_emitters`` set (`simtiff.emitters.density.with_number`).
    block_records
        Approximate number of records or blinks made at a time, at least one frame; it does not change them.
    given
        Molecules or records that replace the emitters drawn from the config.
    """
    yield from pieces_of(open_sources(config, given), config, block_records)


def pieces_of(sources: Sequence[Source], config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> Iterator[Piece]:
    """Yield the merged output of several sources; see `iter_truth`."""
    nobody, start, length = no_emitters(config), 0, 1
    while start < config.frames:
        stop = min(start + length, config.frames)
        for source in sources:
            for emitters in source.emitters(stop if stop < config.frames else math.inf):
                yield Piece(emitters, Records.none(), None, start, start)
        records, blinks = _together([source.light(stop) for source in sources], start)
        yield Piece(nobody, records, blinks, start, stop)
        # Scaled by the last frames' rows, and at most twice as long: these may be emptier than the next frames.
        rows = max(len(records), 0 if blinks is None else len(blinks), 1)
        wanted = (stop - start) * block_records // rows
        length, start = max(1, min(wanted, 2 * (stop - start), _MAX_BLOCK_FRAMES)), stop


def _together(parts: Sequence[tuple[Records, Blinks | None]], start: int) -> tuple[Records, Blinks | None]:
    """Merge the records of several sources in order; each is sorted, and ids increase from source to source."""
    if len(parts) == 1:
        return parts[0]
    records = Records.concatenate([records for records, _ in parts])
    records = records[np.argsort((records.frame_ix - start).astype(np.uint16), kind="stable")]
    of_each = [blinks for _, blinks in parts if blinks is not None]
    if not of_each:
        return records, None
    blinks = Blinks.concatenate(of_each)
    if len(of_each) > 1:
        began = np.maximum(np.floor(blinks.t0), start - 1) - (start - 1)  # blinks from before the movie share one key
        blinks = blinks[np.argsort(began.astype(np.uint16), kind="stable")]
    return records, blinks


def sample_truth(config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> tuple[Emitters, Records]:
    """Make the whole truth of emitters that are on once or always, in memory; see `iter_truth`."""
    pieces = list(iter_truth(config, block_records))
    emitters = [piece.emitters for piece in pieces if isinstance(piece.emitters, Emitters)]
    return in_order_of_id(emitters), Records.concatenate([piece.records for piece in pieces])


def in_order_of_id(parts: Sequence[_Table]) -> _Table:
    """Return emitters of several sources as one table, sorted by id."""
    every = type(parts[0]).concatenate(parts)
    return every if (np.diff(every.id) == 1).all() else every[np.argsort(every.id)]
