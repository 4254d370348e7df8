"""The truth of a movie in a file, ``emitters.h5``, and in memory; both return the same scenes.

Layout of the file: ``emitters/{xyz, intensity, t0, on_time, id}``, one row per emitter; ``records/{xyz, phot,
frame_ix, id}``, one row per emitter and frame in which it emits, ordered by frame, then id; ``zernike_coeffs/{phase,
mag}``, one row per emitter; ``records/frame_start``, the first record of each frame and, at the end, the number of
records. Attributes have the job's config as JSON, its seed and the program's version, and the unit of every dataset.
Amplitude coefficients that are all zero take no space. ``records/crlb`` has a row of bounds for each record, if
requested.

If emitters can blink more than once, ``emitters/`` has no t0 and on_time (and for DNA-PAINT no intensity), and
``blinks/{emitter, t0, on_time, state, intensity}`` has a row for each blink (`Blinks`). ``drift/xyz`` (frames, 3) has
the drift, if any. Positions of records include it; positions and coefficients of emitters are undrifted. Emitters with
ids from the attribute ``first_fiducial`` of ``emitters/id`` on are fiducials.

``background/{image, factor}`` exist if the config has a ``background`` or an ``illumination``: pixel p of frame t
expects ``image[p] * factor[t]`` photons. ``emitters/intensity`` is before the illumination, ``records/phot`` after it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.aberrations.maps import field_coefficients
from simtiff.config.identity import noise_seed
from simtiff.emitters.chain import state_names
from simtiff.emitters.density import all_emitters, expected_blinks, expected_records, fiducials, with_number
from simtiff.emitters.drift import drift_of, drifted
from simtiff.emitters.given import open_given
from simtiff.emitters.sources import BLOCK_RECORDS, in_order_of_id, iter_truth, no_emitters, table_of
from simtiff.emitters.tables import AnyEmitters, Blinks, Records
from simtiff.imaging.scene import Scene, same_psf
from simtiff.io.files import version
from simtiff.io.hdf5 import attribute, describe, open_hdf5, reading, writing_hdf5
from simtiff.movie.bounds import CRLB, CRLB_COLUMNS, CRLB_UNIT, RecordBounds, add_bounds
from simtiff.movie.light import GROUP, Background, background_of, beam_of, illuminated, write_background
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.config.settings import JobConfig
    from simtiff.emitters.lists import Given, Summary
    from simtiff.emitters.sources import Piece
    from simtiff.imaging.background import Beam


FORMAT_VERSION = 1
_MAX_CHUNK_ROWS = 1 << 16
_COEFFICIENT_ROWS = 1 << 17

# dataset: columns (0: one-dimensional), type, unit
_EMITTERS: dict[str, tuple[int, str, str]] = {
    "xyz": (3, "f4", "px, px, um"),
    "intensity": (0, "f4", "photons per frame"),
    "t0": (0, "f8", "frames"),
    "on_time": (0, "f8", "frames"),
    "id": (0, "i8", "1"),
}
RECORDS: dict[str, tuple[int, str, str]] = {
    "xyz": (3, "f4", "px, px, um"),
    "phot": (0, "f4", "photons"),
    "frame_ix": (0, "i4", "frames"),
    "id": (0, "i8", "1"),
}
_BLINKS: dict[str, tuple[int, str, str]] = {
    "emitter": (0, "i8", "1"),
    "t0": (0, "f8", "frames"),
    "on_time": (0, "f8", "frames"),
    "state": (0, "u1", "1"),
    "intensity": (0, "f4", "photons per frame"),
}


@dataclass(frozen=True)
class TruthSize:
    """Numbers of emitters and records written; and the background, if there is one."""

    emitters: int
    records: int
    background: Background | None = None


def write_truth(
    path: str | Path,
    config: JobConfig,
    field: FieldMap,
    progress: Callable[[int, int], object] | None = None,
    block_records: int = BLOCK_RECORDS,
    given: Given | None = None,
) -> TruthSize:
    """Make a job's truth and write it piece by piece; the file gets its name only when it is complete.

    Memory does not grow with the number of frames. The same config gives byte-identical files.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    config
        The job.
    field
        Its aberration map, from `open_field`.
    progress
        Called with the number of frames done and of all frames.
    block_records
        Records made at a time; see `iter_truth`.
    given
        Molecules instead of those drawn from the config; default: those of its ``positions_path``. For records, use
        `simtiff.movie.giventruth.write_given_records`.

    Raises
    ------
    DataError
        If the map does not cover the field, or a background image does not cover the frame.
    OSError
        If the file cannot be written.
    """
    given = given or open_given(config)
    summary = None if given is None else given.summary
    cfg, drift = with_number(config, summary), drift_of(config)
    total, beam = all_emitters(config, summary), beam_of(config)
    frame_counts = np.zeros(cfg.frames + 1, np.int64)
    emitters_done, records_done = 0, 0
    background = background_of(config)
    with writing_hdf5(path) as (file, check):
        columns = [field.name for field in fields(table_of(cfg))]
        emitter_sets = {name: make_dataset(file, f"emitters/{name}", total, *_EMITTERS[name]) for name in columns}
        rows, blink_rows = chunk_rows(config, summary)
        record_sets = Growing(file, "records", RECORDS, rows)
        blink_sets = Growing(file, "blinks", _BLINKS, blink_rows) if cfg.blinking.blinks else None
        bounds = None
        if config.truth.crlb:
            bounds = RecordBounds(config, background)
            bound_set = Growing(file, "records", {CRLB: (CRLB_COLUMNS, "f4", CRLB_UNIT)}, rows)
        coefficients = CoefficientWriter(file, total, field.modes, everywhere=given is not None)
        pieces = iter_truth(cfg, block_records, given)
        several = expected_records(config, cfg.frames, summary) > block_records
        for piece in _ahead(pieces) if several else pieces:
            check()
            if len(piece.emitters):
                first_id, last_id = int(piece.emitters.id[0]), int(piece.emitters.id[-1])
                for name, dataset in emitter_sets.items():
                    dataset[first_id : last_id + 1] = getattr(piece.emitters, name)
                coefficients.write(first_id, config, field, piece.emitters.xyz)
                emitters_done += len(piece.emitters)
            if piece.blinks is not None and blink_sets is not None:
                blink_sets.append(piece.blinks)
            if len(piece.records):
                still, records = _as_seen(piece.records, drift, beam)
                record_sets.append(records)
                first, last = int(records.frame_ix[0]), int(records.frame_ix[-1])
                if bounds is not None:
                    scene = _scene_of(records, first, _places_of(still, config, field, everywhere=given is not None))
                    bound_set.append({CRLB: bounds.of(scene, first, last + 1)})
                frame_counts[first + 1 : last + 2] = np.bincount(records.frame_ix - first)
                records_done += len(records)
                if progress is not None:
                    progress(last + 1, cfg.frames)
        index = file.create_dataset("records/frame_start", data=np.cumsum(frame_counts))
        describe(index, unit="1")
        write_background(file, background)
        if blink_sets is not None:
            describe(file["blinks/state"], names=", ".join(state_names(cfg.blinking)))
        if fiducials(cfg):
            describe(file["emitters/id"], first_fiducial=total - fiducials(cfg))
        if drift is not None:
            make_dataset(file, "drift/xyz", len(drift), 3, "f8", "px, px, um")[...] = drift
        describe_truth(file, config)
    if progress is not None:
        progress(cfg.frames, cfg.frames)
    return TruthSize(emitters_done, records_done, background)


def _as_seen(records: Records, drift: NDArray[np.float64] | None, beam: Beam | None) -> tuple[Records, Records]:
    """Return records at their undrifted positions, and the same records with drift and illumination applied."""
    seen = drifted(records, drift)
    if beam is None:
        return records, seen
    photons = illuminated(seen, beam)
    lit = photons > 0
    return records[lit], replace(seen, phot=photons)[lit]


def _ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield pieces while a thread makes the next one: the core releases the GIL, which writing holds."""
    with ThreadPoolExecutor(1, thread_name_prefix="truth") as pool:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            yield piece


class Growing:
    """Datasets of a group that grow by rows, stored in chunks."""

    def __init__(self, file: h5py.File, group: str, layout: dict[str, tuple[int, str, str]], chunk_rows: int) -> None:
        self._rows = 0
        self._sets = {
            name: make_dataset(file, f"{group}/{name}", 0, *each, chunk_rows=chunk_rows)
            for name, each in layout.items()
        }

    def append(self, table: Records | Blinks | dict[str, NDArray[Any]]) -> None:
        """Append rows to all datasets."""
        columns = {name: table[name] if isinstance(table, dict) else getattr(table, name) for name in self._sets}
        start = self._rows
        for name, dataset in self._sets.items():
            self._rows = start + len(columns[name])
            dataset.resize(self._rows, axis=0)
            dataset[start : self._rows] = columns[name]


_Coefficients = tuple["NDArray[np.float32]", "NDArray[np.float32] | None"]


def _places_of(
    records: Records, config: JobConfig, field: FieldMap, *, everywhere: bool = False
) -> Callable[[NDArray[np.int64]], _Coefficients]:
    """Return a function that computes the coefficients of some records, at the undrifted positions."""
    return lambda rows: field_coefficients(config, field, records.xyz[rows], everywhere=everywhere)


def _scene_of(
    records: Records,
    first_frame: int,
    coefficients: Callable[[NDArray[np.int64]], _Coefficients],
) -> Scene:
    """Return records of whole frames as a scene; `row` is the record whose coefficients a PSF has."""
    first, emitter_ix = same_psf(records.id, records.xyz)
    phase, magnitude = coefficients(first)
    return Scene(
        xyz=records.xyz[first].astype(np.float64),
        phase=phase,
        magnitude=magnitude,
        emitter_ix=emitter_ix,
        frame_ix=(records.frame_ix - first_frame).astype(np.uint32),
        photons=records.phot,
    )


def write_records(
    path: str | Path, config: JobConfig, records: Records, scene: Scene, background: Background | None = None
) -> None:
    """Write a truth file of records without emitters, with a row of coefficients for each record.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    config
        The job.
    records, scene
        All records by frame, and the same records as a scene.
    background
        The movie's background, if it has one.
    """
    rows, modes = len(records), scene.phase.shape[1]
    with writing_hdf5(path) as (file, check):
        for name, (columns, dtype, unit) in RECORDS.items():
            make_dataset(file, f"records/{name}", rows, columns, dtype, unit)[...] = getattr(records, name)
        unit = "rad rms, Noll 1 and up"
        make_dataset(file, "zernike_coeffs/phase", rows, modes, "f4", unit)[...] = scene.phase[scene.emitter_ix]
        if scene.magnitude is not None:
            unit = "1, Noll 1 and up"
            make_dataset(file, "zernike_coeffs/mag", rows, modes, "f4", unit)[...] = scene.magnitude[scene.emitter_ix]
        write_background(file, background)
        check()
        describe_truth(file, config)
        add_bounds(file, path, config, check)


def replace_coefficients(path: str | Path, config: JobConfig, field: FieldMap) -> None:
    """Recompute the coefficients of a truth file's emitters and replace the old ones.

    Emitters and records do not change; the file gets the new config and its background. If the file has no emitters,
    each record gets coefficients. The old file is replaced only when the new one is complete.

    Raises
    ------
    DataError
        If the file is damaged, or the map does not cover the field.
    """
    with TruthFile(path, config, coefficients="unused") as truth:
        places = truth.places()
        with writing_hdf5(path) as (file, check):
            truth.copy_into(file)
            coefficients = CoefficientWriter(file, places.count, field.modes)
            for start in range(0, places.count, _COEFFICIENT_ROWS):
                xyz = places.read(start, min(start + _COEFFICIENT_ROWS, places.count))
                coefficients.write(start, config, field, xyz)
                check()
            write_background(file, truth.background)
            describe_truth(file, config)
            add_bounds(file, path, config, check)


def replace_config(path: str | Path, config: JobConfig) -> None:
    """Replace the config of a truth file, with its background and bounds; nothing else changes.

    The old file is replaced only when the new one is complete.
    """
    with TruthFile(path, config, coefficients="unused") as truth:
        background = truth.background
    with open_hdf5(path) as old, writing_hdf5(path) as (file, check):
        with reading(path, "its content"):
            attributes = list(old.attrs)
            parts = [name for name in old if name not in {"records", GROUP}]
            parts += [f"records/{name}" for name in old["records"] if name != CRLB]
        file.create_group("records")
        for name in parts:
            with reading(path, name):
                old.copy(name, file, name)
            check()
        write_background(file, background)
        describe(file, **{name: attribute(old, name) for name in attributes} | {"config": config.model_dump_json()})
        add_bounds(file, path, config, check)


def make_dataset(
    file: h5py.File,
    name: str,
    rows: int,
    columns: int,
    dtype: str,
    unit: str,
    *,
    chunk_rows: int | None = None,
) -> h5py.Dataset:
    """Make a dataset: contiguous with a known length, or (with `chunk_rows`) growing in chunks."""
    tail = (columns,) if columns else ()
    growing: dict[str, Any] = {}
    if chunk_rows is not None:
        growing = {"maxshape": (None, *tail), "chunks": (chunk_rows, *tail)}
    dataset = file.create_dataset(name, (rows, *tail), dtype, track_times=False, **growing)
    describe(dataset, unit=unit)
    return dataset


def chunk_rows(config: JobConfig, given: Summary | None = None) -> tuple[int, int]:
    """Return chunk lengths for the expected numbers of records and blinks, so that small files stay small."""
    cfg = config.emitters
    records = expected_records(config, cfg.frames, given)
    if cfg.blinking.kind == "once" and with_number(config, given).num_emitters:
        records = all_emitters(config, given) * min(cfg.lifetime_avg + 1, cfg.frames)
    of_records, of_blinks = (
        min(_MAX_CHUNK_ROWS, max(64, 1 << int(expected).bit_length()))
        for expected in (records, expected_blinks(config, given))
    )
    return of_records, of_blinks


class CoefficientWriter:
    """Writes ``zernike_coeffs``; amplitude coefficients are stored only from the first nonzero one on."""

    def __init__(self, file: h5py.File, rows: int, modes: int, *, everywhere: bool = False) -> None:
        self._everywhere = everywhere
        self._phase = make_dataset(file, "zernike_coeffs/phase", rows, modes, "f4", "rad rms, Noll 1 and up")
        self._magnitude = make_dataset(file, "zernike_coeffs/mag", rows, modes, "f4", "1, Noll 1 and up")

    def write(self, start: int, config: JobConfig, field: FieldMap, xyz: np.ndarray[Any, Any]) -> None:
        """Write the coefficients at some positions into the rows from `start` on."""
        for first in range(0, len(xyz), _COEFFICIENT_ROWS):
            block = xyz[first : first + _COEFFICIENT_ROWS]
            rows = slice(start + first, start + first + len(block))
            phase, magnitude = field_coefficients(config, field, block, everywhere=self._everywhere)
            self._phase[rows] = phase
            if magnitude is not None:
                self._magnitude[rows] = magnitude


def describe_truth(file: h5py.File, config: JobConfig) -> None:
    """Write a job's config, its seed and the program's version into an open file."""
    from simtiff.config.identity import DATA_VERSION

    describe(
        file,
        config=config.model_dump_json(),
        seed=config.emitters.seed,
        noise_seed=noise_seed(config),
        version=version(),
        data_version=DATA_VERSION,
        format=f"simtiff truth {FORMAT_VERSION}",
        conventions="x = column, y = row, px, integers are pixel centres; z um; frame k is [k, k + 1)",
    )


class MemoryTruth:
    """A job's truth in memory; returns the same scenes as the file.

    Parameters
    ----------
    config
        The job.
    field
        Its map, from `open_field`.
    given
        Molecules instead of those drawn from the config.

    Attributes
    ----------
    emitters : Emitters, Molecules or Sites
        All emitters, by id, without drift.
    blinks : Blinks or None
        Their blinks; None if they are on once or always.
    records : Records
        All records, with drift.
    drift : (frames, 3) float64 or None
        Drift of each frame, in px, px, um.
    """

    path: str | None = None

    def __init__(self, config: JobConfig, field: FieldMap, given: Given | None = None) -> None:
        self.config = config
        self.n_frames = config.emitters.frames
        self.background = background_of(config)
        cfg = with_number(config, None if given is None else given.summary)
        pieces = list(iter_truth(cfg, given=given))
        parts: list[Any] = [piece.emitters for piece in pieces if len(piece.emitters)] or [no_emitters(cfg)]
        self.emitters: AnyEmitters = in_order_of_id(parts)
        self.drift = drift_of(config)
        still = Records.concatenate([piece.records for piece in pieces])
        self.records = _as_seen(still, self.drift, beam_of(config))[1]
        blinks = [piece.blinks for piece in pieces if piece.blinks is not None]
        self.blinks = Blinks.concatenate(blinks) if cfg.blinking.blinks else None
        del pieces
        xyz, everywhere = self.emitters.xyz, given is not None
        self.phase, magnitude = field_coefficients(config, field, xyz, everywhere=everywhere)
        self.magnitude = magnitude if len(self.emitters) else None

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""
        # Keys of the same type; any other would convert the whole column.
        keys = np.array([start, stop], self.records.frame_ix.dtype)
        low, high = np.searchsorted(self.records.frame_ix, keys)
        records = self.records[low:high]
        return _scene_of(records, start, lambda rows: self._coefficients(records.id[rows]))

    def _coefficients(self, ids: NDArray[np.int64]) -> _Coefficients:
        return self.phase[ids], None if self.magnitude is None else self.magnitude[ids]
