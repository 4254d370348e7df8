"""Where the light of a movie comes from: sources of emitters, and what they give to frames, in the order of time.

A source has emitters of one kind. It yields them as they come into being, and gives the records of whole frames, of
any number of frames at a time: cutting the movie into other pieces changes no number. A movie has up to three sources:
the emitters of the field, those of the margin around it, and fiducials; each has its own random streams, so that none
of them changes with the others.
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
"""Records that are made at a time, about, unless one frame has more."""

_MAX_BLOCK_FRAMES = 1 << 15  # frames of a block are sorted as 16-bit integers, which is much faster


class Source(Protocol):
    """Emitters of one kind, and their light.

    Attributes
    ----------
    count : int
        Number of emitters. Their ids follow each other, and are the order in which they are yielded.
    """

    @property
    def count(self) -> int:
        """Number of emitters."""

    def emitters(self, until: float) -> Iterator[AnyEmitters]:
        """Make all emitters that give light before a time, and yield those that were not yielded yet.

        With infinity, none are left. All of them together are the same, however often this is called.
        """

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records from the frame after the last ones to ``stop - 1``, by frame, then by id.

        Their emitters have been made. With them come the blinks that begin in these frames, for kinds that blink.
        A longer movie begins with the light of a shorter one, but for emitters that are on once, which are spread
        over its whole length.
        """


class GivenRecords:
    """A source of records that are known, without emitters.

    Parameters
    ----------
    records
        All of them, by frame, then by id.
    """

    count = 0

    def __init__(self, records: Records) -> None:
        self._records, self._done = records, 0

    def emitters(self, until: float) -> Iterator[AnyEmitters]:  # noqa: ARG002 - there are none
        """Yield nothing."""
        return iter(())

    def light(self, stop: int) -> tuple[Records, Blinks | None]:
        """Return the records from the frame after the last ones to ``stop - 1``."""
        # A key of the same type: another would make a copy of all frames.
        end = int(np.searchsorted(self._records.frame_ix, np.int32(stop)))
        records, self._done = self._records[self._done : end], end
        return records, None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a movie's truth.

    Attributes
    ----------
    emitters : AnyEmitters
        Some emitters, whose ids follow each other.
    records : Records
        All records of the frames ``start..stop - 1``, by frame, then by id.
    blinks : Blinks or None
        Those that begin in these frames; the first piece with frames has also those from before the movie. None where
        emitters are on once.
    start, stop : int
        The frames. A piece has emitters or frames.
    """

    emitters: AnyEmitters
    records: Records
    blinks: Blinks | None
    start: int
    stop: int


def table_of(config: EmitterConfig) -> type[AnyEmitters]:
    """Return the kind of table that a config's emitters come in."""
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
        The job's ``emitters`` section, with a number of emitters (`simtiff.emitters.density.with_number`).
    given
        Molecules or records in place of what the config would draw in field and margin.
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
    """Return the source of molecules that lie at known places and blink by the config; that of row i has the id i."""
    molecules = Handed(given, config)
    own = molecules.has_photons and config.blinking.kind != "paint"  # whose bindings have photons of their own
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
    """Make the truth of a movie piece by piece, in the order of time.

    Parameters
    ----------
    config
        The job's ``emitters`` section, with a number of emitters (`simtiff.emitters.density.with_number`).
    block_records
        Records or blinks that are made at a time, about, at least a frame's; which does not change them.
    given
        Molecules or records in place of what the config would draw.
    """
    yield from pieces_of(open_sources(config, given), config, block_records)


def pieces_of(sources: Sequence[Source], config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> Iterator[Piece]:
    """Yield what several sources give, together; see `iter_truth`."""
    nobody, start, length = no_emitters(config), 0, 1
    while start < config.frames:
        stop = min(start + length, config.frames)
        for source in sources:
            for emitters in source.emitters(stop if stop < config.frames else math.inf):
                yield Piece(emitters, Records.none(), None, start, start)
        records, blinks = _together([source.light(stop) for source in sources], start)
        yield Piece(nobody, records, blinks, start, stop)
        # As long as the last frames tell, and twice as long as these at most: they may be emptier than what follows.
        rows = max(len(records), 0 if blinks is None else len(blinks), 1)
        wanted = (stop - start) * block_records // rows
        length, start = max(1, min(wanted, 2 * (stop - start), _MAX_BLOCK_FRAMES)), stop


def _together(parts: Sequence[tuple[Records, Blinks | None]], start: int) -> tuple[Records, Blinks | None]:
    """Put the light of several sources together in order; each is in order, and ids rise from source to source."""
    if len(parts) == 1:
        return parts[0]
    records = Records.concatenate([records for records, _ in parts])
    records = records[np.argsort((records.frame_ix - start).astype(np.uint16), kind="stable")]
    of_each = [blinks for _, blinks in parts if blinks is not None]
    if not of_each:
        return records, None
    blinks = Blinks.concatenate(of_each)
    if len(of_each) > 1:
        began = np.maximum(np.floor(blinks.t0), start - 1) - (
            start - 1
        )  # those from before the movie in the same place
        blinks = blinks[np.argsort(began.astype(np.uint16), kind="stable")]
    return records, blinks


def sample_truth(config: EmitterConfig, block_records: int = BLOCK_RECORDS) -> tuple[Emitters, Records]:
    """Make the whole truth of emitters that are on once or always, in memory; see `iter_truth`."""
    pieces = list(iter_truth(config, block_records))
    emitters = [piece.emitters for piece in pieces if isinstance(piece.emitters, Emitters)]
    return in_order_of_id(emitters), Records.concatenate([piece.records for piece in pieces])


def in_order_of_id(parts: Sequence[_Table]) -> _Table:
    """Return emitters of several sources as one table, by id."""
    every = type(parts[0]).concatenate(parts)
    return every if (np.diff(every.id) == 1).all() else every[np.argsort(every.id)]
