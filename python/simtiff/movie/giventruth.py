"""The truth of a movie with given records, used unchanged, in memory and in ``emitters.h5``.

The file has ``records/`` and no ``emitters/``. ``zernike_coeffs/`` has a row for each distinct id, ordered by id, if no
id moves and some have several records; otherwise a row for each record, with the coefficients at its position. Drift
moves records, but coefficients stay those at the undrifted position. The illumination does not scale given records.
Fiducials have the ids from the attribute ``first_fiducial`` of ``records/id`` on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.emitters.density import with_number
from simtiff.emitters.drift import drift_of, drifted
from simtiff.emitters.sources import BLOCK_RECORDS, iter_truth
from simtiff.emitters.tables import Records
from simtiff.imaging.scene import Scene, distinct, same_psf
from simtiff.io.hdf5 import describe, writing_hdf5
from simtiff.movie.bounds import CRLB, CRLB_COLUMNS, CRLB_UNIT, RecordBounds
from simtiff.movie.light import background_of, beam_of, illuminated, write_background
from simtiff.movie.truth import (
    RECORDS,
    CoefficientWriter,
    Growing,
    TruthSize,
    chunk_rows,
    describe_truth,
    make_dataset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.config.settings import JobConfig
    from simtiff.emitters.lists import Given

_ROWS = 1 << 18
_COEFFICIENTS = "rad rms, Noll 1 and up"


class GivenTruth:
    """Given records in memory; returns the same scenes as a truth file with these records.

    Parameters
    ----------
    given : Given
        Records, not molecules.
    config : JobConfig
        The job, with the number of frames.

    Attributes
    ----------
    config : JobConfig
        The job.
    records : Records
        By frame, then by id, with drift and fiducials.
    drift : (frames, 3) float64 or None
        Drift of each frame, in px, px, um.
    background : Background or None
        The background of the config.

    Raises
    ------
    DataError
        The aberration map is damaged or does not cover the field.
    """

    path: str | None = None

    def __init__(self, given: Given, config: JobConfig) -> None:
        self.config, self._given = config, given
        self._field = open_field(config)
        pieces = list(_pieces(config, given, BLOCK_RECORDS))
        self.records = Records.concatenate([seen for _, seen in pieces])
        self.drift = drift_of(config)
        self._still = self.records if self.drift is None else Records.concatenate([still for still, _ in pieces])
        self.background = background_of(config)

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""
        frame_ix = self.records.frame_ix
        # Keys of the same type; any other would convert the whole column.
        low, high = np.searchsorted(frame_ix, np.array([start, stop], frame_ix.dtype))
        return _scene_of(self._still[low:high], self.records[low:high], self.config, self._field, start)

    def write(self, path: Path) -> None:
        """Write a truth file."""
        write_given_records(path, self.config, self._field, self._given)


def write_given_records(
    path: str | Path,
    config: JobConfig,
    field: FieldMap,
    given: Given,
    progress: Callable[[int, int], object] | None = None,
    block_records: int = BLOCK_RECORDS,
) -> TruthSize:
    """Write given records as a job's truth, piece by piece; otherwise as `simtiff.movie.truth.write_truth`.

    Parameters
    ----------
    given
        Records, not molecules.
    """
    background = background_of(config)
    bounds = RecordBounds(config, background) if config.truth.crlb else None
    frames, (rows, _) = config.emitters.frames, chunk_rows(config, given.summary)
    places = None if config.emitters.fiducials is not None else _standing(given)
    counts, done = np.zeros(frames + 1, np.int64), 0
    with writing_hdf5(path) as (file, check):
        record_sets = Growing(file, "records", RECORDS, rows)
        if bounds is not None:
            bound_set = Growing(file, "records", {CRLB: (CRLB_COLUMNS, "f4", CRLB_UNIT)}, rows)
        names = ("phase", "mag") if field.has_magnitudes else ("phase",)
        layout = {name: (field.modes, "f4", _COEFFICIENTS if name == "phase" else "1, Noll 1 and up") for name in names}
        coefficients = None if places is not None else Growing(file, "zernike_coeffs", layout, rows)
        for still, seen in _pieces(config, given, block_records):
            check()
            if not len(seen):
                continue
            record_sets.append(seen)
            first, last = int(seen.frame_ix[0]), int(seen.frame_ix[-1])
            counts[first + 1 : last + 2] = np.bincount(seen.frame_ix - first)
            if coefficients is not None:
                once, each = same_psf(still.id, still.xyz)
                found = field_coefficients(config, field, still.xyz[once], everywhere=True)
                coefficients.append(
                    {name: part[each] for name, part in zip(names, found, strict=False) if part is not None}
                )
            if bounds is not None:
                bound_set.append({CRLB: bounds.of(_scene_of(still, seen, config, field, first), first, last + 1)})
            done += len(seen)
            if progress is not None:
                progress(last + 1, frames)
        if places is not None:
            CoefficientWriter(file, len(places), field.modes, everywhere=True).write(0, config, field, places)
        describe(file.create_dataset("records/frame_start", data=np.cumsum(counts)), unit="1")
        if config.emitters.fiducials is not None:
            describe(file["records/id"], first_fiducial=given.summary.next_id)
        write_background(file, background)
        if (drift := drift_of(config)) is not None:
            make_dataset(file, "drift/xyz", len(drift), 3, "f8", "px, px, um")[...] = drift
        describe_truth(file, config)
    if progress is not None:
        progress(frames, frames)
    return TruthSize(given.summary.emitters, done, background)


def _pieces(config: JobConfig, given: Given, block_records: int) -> Iterator[tuple[Records, Records]]:
    """Yield the records frame by frame, at their undrifted positions and as seen by the camera.

    Given photons are those at the camera; the illumination scales only fiducials.
    """
    drift, beam, first = drift_of(config), beam_of(config), given.summary.next_id
    for piece in iter_truth(with_number(config, given.summary), block_records, given):
        still = piece.records
        seen = drifted(still, drift)
        if beam is not None and config.emitters.fiducials is not None:
            photons = np.where(seen.id < first, seen.phot, illuminated(seen, beam))
            lit = photons > 0
            still, seen = still[lit], replace(seen, phot=photons)[lit]
        yield still, seen


def _standing(given: Given) -> NDArray[np.float32] | None:
    """Return the position of each distinct id, ordered by id; None if one moves, or if each has a single record."""
    records = given.records
    if records is None or given.summary.emitters == len(records):
        return None
    _, row, first = distinct(records.id)
    places: NDArray[np.float32] = records.xyz[first]
    for start in range(0, len(records), _ROWS):
        rows = slice(start, start + _ROWS)
        if not np.array_equal(places[row[rows]], records.xyz[rows]):
            return None
    return places


def _scene_of(still: Records, seen: Records, config: JobConfig, field: FieldMap, first_frame: int) -> Scene:
    """Return records of whole frames as a scene, with the coefficients at the undrifted positions."""
    first, emitter_ix = same_psf(seen.id, seen.xyz, None if still is seen else still.xyz)
    phase, magnitude = field_coefficients(config, field, still.xyz[first], everywhere=True)
    frame_ix = (seen.frame_ix - first_frame).astype(np.uint32)
    return Scene(seen.xyz[first].astype(np.float64), phase, magnitude, emitter_ix, frame_ix, seen.phot)
