"""Estimates before a job starts: disk space, memory, and the fraction of the signal within its PSF stamps.

Sizes on disk follow from the config: exactly for an uncompressed movie, and from the expected number of records for
``emitters.h5``. Memory is the peak of a worker; the constants were measured.
"""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

from simtiff.config.identity import POSITIONS_PLOT, plot_names
from simtiff.config.pixelsize import BOTH, EACH
from simtiff.emitters.density import all_emitters, emitters_on, expected_blinks, expected_records
from simtiff.emitters.given import summary_of, unused_keys, z_limits
from simtiff.emitters.lists import KEPT_ROWS
from simtiff.emitters.sampling import MAX_SLAB_EMITTERS
from simtiff.emitters.sources import BLOCK_RECORDS
from simtiff.errors import BatchError, SimtiffError
from simtiff.imaging.renderer import Renderer
from simtiff.imaging.scene import Scene
from simtiff.io.omexml import MOST_PLANES
from simtiff.language import Text, joined
from simtiff.movie.frames import frames_are_large, optics_of
from simtiff.movie.light import has_background
from simtiff.movie.plots import MAX_POINTS, MAX_RECORDS
from simtiff.movie.truth import chunk_rows
from simtiff.movie.truthfile import MAX_RUN_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.config.blocks import EmitterConfig
    from simtiff.config.settings import JobConfig

_PAGE_BYTES = 320  # per TIFF page, without its pixels
_PLANE_BYTES = 110  # per frame in the OME-XML
_STRIP_BYTES = 1 << 17
_FILE_BYTES = 1 << 16  # the fixed parts of both files
_EMITTER_BYTES = {"once": 40, "always": 40, "kinetics": 24, "paint": 20}
_RECORD_BYTES = 28
_BLINK_BYTES = 29
_DRIFT_BYTES = 24  # per frame
_BOUND_BYTES = 20
# Measured: a worker after its first small job, and the addition of a map with amplitudes; while truth is made, per
# emitter of a slab and per record of a block, both bounded, and the fraction of it that the process keeps.
_WORKER_BYTES, _MAGNITUDES_BYTES = 84e6, 45e6
_SLAB_EMITTER_BYTES, _BLOCK_RECORD_BYTES = 400, 100
_BLOCK_BLINK_BYTES = 100
_MOLECULE_BYTES = 45  # per molecule that exists all the time
# While a list is read: per record in memory, per id of a record, per molecule.
_LISTED_RECORD_BYTES, _LISTED_ID_BYTES, _LISTED_MOLECULE_BYTES = 90, 24, 60
_BLOCK_BOUND_BYTES = 250  # per record of a block whose bounds are computed
_KEPT = 0.5
_BACKGROUND_BYTES, _HELD_BACKGROUND_BYTES = 30, 8  # per pixel, while its image is made and while the movie keeps it
_CHUNK_RECORD_BYTES = 130
_CAMERA_MAP_BYTES = 56  # per pixel of a frame, while all four maps of a camera are read
_RUN_COPIES = 2  # of coefficients read in one call
_ABERRATION_ROWS = 2  # rows of the quadrature that usual aberrations add
# Bounds: derivatives, in units of plain stamp transforms; joint bounds, per pixel of a stamp.
_BOUND_TRANSFORMS, _BOUND_PIXEL_BYTES = 3, 32
# Plots: matplotlib and its figures, per record drawn, per frame of the timeline; on disk, per picture, per point.
_PLOT_BYTES, _PLOT_RECORD_BYTES, _PLOT_FRAME_BYTES, _PICTURE_BYTES, _POINT_BYTES = 90e6, 100, 40, 1.7e5, 55
# Measured: per record of each export, with bounds.
_EXPORT_RECORD_BYTES = {"thunderstorm": 130, "picasso": 48, "decode": 56, "smlm-challenge": 90, "parquet": 60}
# Memory at their peak, and of pyarrow.
_EXPORT_BYTES, _PYARROW_BYTES = 110e6, 60e6
_ENOUGH_LIGHT = 0.9


def disk_problem(needed: float, free: float, folder: Path, truth: float) -> str:
    """Return the message for files that do not fit on a disk; `truth` bytes of them are truth."""
    movies = needed - truth
    cures = []
    if movies > free or movies >= truth:
        cures.append(Text("fewer or smaller movies (emitters.frames, tiff.roi_size)"))
    if truth > free or truth > movies:
        cures.append(Text("fewer emitters (emitters.num_emitters)"))
    return Text(
        "{folder}: needs up to {needed} on disk, but only {free} are free; free some space, choose another output "
        "folder, or simulate {cure}",
        folder=folder,
        needed=show_bytes(needed),
        free=show_bytes(free),
        cure=Text("{one} and {other}", one=cures[0], other=cures[1]) if len(cures) == 2 else cures[0],
    )


def free_disk(folder: Path) -> float:
    """Return the free bytes on the file system of a folder, or of its nearest existing parent."""
    for path in (folder, *folder.absolute().parents):
        try:
            return float(shutil.disk_usage(path).free)
        except FileNotFoundError:
            continue
        except OSError:
            break
    return math.inf


def check_disk(config: JobConfig, folder: Path, *, truth: FieldMap | None = None, replaces: Path | None = None) -> None:
    """Raise `BatchError` if a movie (and its truth, if its map is given) does not fit on the disk.

    Parameters
    ----------
    config : JobConfig
        The job.
    folder : Path
        Folder of the files.
    truth : FieldMap, optional
        If given, ``emitters.h5`` is written, too.
    replaces : Path, optional
        A file that is removed before the movie is written.
    """
    of_truth = truth_bytes(config, truth) if truth is not None else 0.0
    needed = movie_bytes(config) + of_truth
    free = free_disk(folder) + (file_size(replaces) if replaces is not None else 0)
    if needed > free and config.tiff.compression == "none":
        raise BatchError(disk_problem(needed, free, folder, of_truth))


def movie_bytes(config: JobConfig) -> float:
    """Return the size of a job's movie in bytes; an upper limit if it is compressed."""
    frame = math.prod(config.tiff.frame_shape) * pixel_bytes(config)
    strips = 1 + frame // _STRIP_BYTES
    timed = config.camera is not None and config.camera.exposure_ms is not None
    planes = _PLANE_BYTES * min(config.emitters.frames, MOST_PLANES) if timed else 0
    return float(config.emitters.frames * (frame + _PAGE_BYTES + 16 * strips) + planes + _FILE_BYTES)


def pixel_bytes(config: JobConfig) -> int:
    """Return the bytes per pixel of the movie."""
    return 2 if config.tiff.dtype == "uint16" else 4


def truth_bytes(config: JobConfig, field: FieldMap) -> float:
    """Return the expected size of a job's ``emitters.h5`` in bytes."""
    emitters, records = all_emitters(config), expected_records(config, config.emitters.frames)
    summary = summary_of(config)
    places = emitters if summary is None or summary.per_frame is None else records  # an upper limit, for moving ids
    coefficients = 4 * field.modes * (1 + field.has_magnitudes)
    last_chunk, last_blinks = chunk_rows(config)  # are stored at full length
    blinks = expected_blinks(config) + last_blinks if config.emitters.blinking.blinks else 0.0
    return (
        emitters * _EMITTER_BYTES[config.emitters.blinking.kind]
        + places * coefficients
        + (records + last_chunk) * (_RECORD_BYTES + (_BOUND_BYTES if config.truth.crlb else 0))
        + blinks * _BLINK_BYTES
        + 8.0 * (config.emitters.frames + 1)
        + has_background(config) * (4.0 * math.prod(config.tiff.frame_shape) + 8.0 * config.emitters.frames)
        + (0 if config.drift is None else _DRIFT_BYTES * config.emitters.frames)
        + _FILE_BYTES
    )


def show_emitters(configs: Sequence[JobConfig]) -> str:
    """Return a line with the numbers of emitters of the movies: in total, on at a time, and emitting in a frame."""
    total, on, records = (
        _range([count(config) for config in configs])
        for count in (
            all_emitters,
            emitters_on,
            lambda config: expected_records(config, config.emitters.frames) / config.emitters.frames,
        )
    )
    sections = [config.emitters for config in configs]
    keys = list(dict.fromkeys(_number_key(each) for each in sections))
    keys += ["margin_px"] if any(each.margin_px and each.positions_path is None for each in sections) else []
    keys += ["fiducials"] if any(each.fiducials is not None for each in sections) else []
    return Text(
        "emitters: {total} in the whole movie ({keys}); on average {on} on at a time, {records} records in a frame",
        total=total,
        keys=", ".join(f"emitters.{key}" for key in keys),
        on=on,
        records=records,
    )


def _number_key(emitters: EmitterConfig) -> str:
    if emitters.positions_path is not None:
        return "positions_path"
    return "num_emitters" if emitters.density_per_um2 is None else "density_per_um2"


def _range(values: Sequence[float]) -> str:
    texts = [
        f"{value:,.0f}" if value >= 999.5 or value == int(value) else f"{value:.3g}"
        for value in (min(values), max(values))
    ]
    low, high = texts
    return low if low == high else Text("{low} to {high}", low=low, high=high)


def worker_bytes(config: JobConfig, field: FieldMap, threads: int = 1, *, several: bool = False) -> float:
    """Return the peak memory of a worker with `threads` threads for a job, in bytes.

    Parameters
    ----------
    config
        The job.
    field
        Its map.
    threads
        Threads of the worker.
    several
        Whether the worker's jobs use several fields of the map.
    """
    emitters, tiff = config.emitters, config.tiff
    records = expected_records(config, emitters.frames)
    every = all_emitters(config)
    block = min(records, max(BLOCK_RECORDS, expected_records(config, 1)))
    truth: float = min(every, MAX_SLAB_EMITTERS) * _SLAB_EMITTER_BYTES
    if emitters.blinking.kind != "once":
        truth += every * _MOLECULE_BYTES
    truth += block * _BLOCK_RECORD_BYTES + _list_bytes(config)
    blinks = expected_blinks(config)
    truth += min(blinks, max(BLOCK_RECORDS, blinks / emitters.frames)) * _BLOCK_BLINK_BYTES
    if config.truth.crlb:
        truth += block * _BLOCK_BOUND_BYTES
        truth += _BOUND_TRANSFORMS * transform_bytes(config, field.modes, threads)
    if config.truth.crlb == "joint":
        truth += expected_records(config, 1) * config.psf.size_px**2 * _BOUND_PIXEL_BYTES

    truth += has_background(config) * math.prod(tiff.frame_shape) * _BACKGROUND_BYTES

    chunk = min(config.memory_optimization.chunk_size, emitters.frames)
    compressed = tiff.compression != "none"
    large = frames_are_large(tiff.frame_shape, tiff.dtype)
    buffers = 1 if chunk == emitters.frames or (large and not compressed) else 2
    pixels = chunk * math.prod(tiff.frame_shape)
    chunk_records = expected_records(config, chunk)
    seen = _distinct_psfs(config, chunk_records)
    coefficients = 4 * field.modes * (1 + field.has_magnitudes)
    frames = pixels * buffers * pixel_bytes(config)
    movie: float = frames + pixels * compressed * pixel_bytes(config)
    movie += config.cost(config.psf.size_px).expose_bytes(math.ceil(seen), pixels)
    movie += transform_bytes(config, field.modes, threads)
    movie += chunk_records * _CHUNK_RECORD_BYTES + seen * coefficients
    movie += min(every, MAX_RUN_ROWS) * coefficients * _RUN_COPIES
    movie += has_background(config) * math.prod(tiff.frame_shape) * _HELD_BACKGROUND_BYTES
    # Truth is made before the movie.
    fixed = _WORKER_BYTES + field.has_magnitudes * _MAGNITUDES_BYTES + field.held_bytes(several=several)
    if config.camera is not None and config.camera.maps_path is not None:
        fixed += _CAMERA_MAP_BYTES * math.prod(tiff.frame_shape)
    if picture_bytes(config):
        fixed += _PLOT_BYTES
        movie = max(movie, _plot_bytes(config, coefficients))
    if config.export:
        fixed += _PYARROW_BYTES if "parquet" in config.export else 0
        movie = max(movie, _EXPORT_BYTES)
    # A worker keeps its frame buffers while it makes the next job's truth.
    return fixed + max(truth + frames, _KEPT * truth + movie)


def _list_bytes(config: JobConfig) -> float:
    """Return the memory for reading and sorting a job's list."""
    summary = summary_of(config)
    if summary is None:
        return 0.0
    if summary.per_frame is None:
        return float(summary.rows * _LISTED_MOLECULE_BYTES)
    return float(min(summary.rows, KEPT_ROWS) * _LISTED_RECORD_BYTES + summary.rows * _LISTED_ID_BYTES)


def _distinct_psfs(config: JobConfig, records: float) -> float:
    """Return the largest number of distinct PSFs: one per emitter, or one per record if emitters move."""
    moves = config.drift is not None or config.emitters.positions_path is not None
    return records if moves else min(records, all_emitters(config))


def _plot_bytes(config: JobConfig, coefficients: int) -> float:
    """Return the memory for the truth shown in plots: the first few million records."""
    records = expected_records(config, config.emitters.frames)
    drawn = min(records, MAX_RECORDS)
    frames = config.emitters.frames * drawn / max(records, 1.0)
    seen = _distinct_psfs(config, drawn)
    return drawn * _PLOT_RECORD_BYTES + 2 * seen * coefficients + frames * _PLOT_FRAME_BYTES


def picture_bytes(config: JobConfig) -> float:
    """Return the largest size of a job's plots on disk, in bytes."""
    pictures = plot_names(config)
    points = min(all_emitters(config), MAX_POINTS) if POSITIONS_PLOT in pictures else 0
    return _PICTURE_BYTES * len(pictures) + _POINT_BYTES * points


def export_bytes(config: JobConfig) -> float:
    """Return the largest size of a job's exports on disk, in bytes."""
    records = expected_records(config, config.emitters.frames)
    return sum(_FILE_BYTES + records * _EXPORT_RECORD_BYTES[kind] for kind in set(config.export))


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def show_bytes(size: float) -> str:
    """Format a number of bytes: ``86.4 MB``."""
    if size < 1000:
        return Text("{size:.3g} bytes", size=size)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    size /= 1000
    return f"{size:,.3g} TB" if size < 1000 else f"{size:,.0f} TB"


def transform_bytes(config: JobConfig, modes: int, threads: int) -> float:
    """Return the largest memory of the transform for usual emitters: in the frame, without large aberrations."""
    if config.psf.model == "gaussian":
        return 0.0
    cost = config.cost(config.psf.size_px, modes)
    low, high = z_limits(config)
    most = max(cost.rows(0.5, 0.5, low), cost.rows(0.5, 0.5, high)) + _ABERRATION_ROWS
    return float(cost.transform_bytes(cost.rows(0.0, 0.0, min(max(0.0, low), high)), most, threads))


def held_light(config: JobConfig) -> tuple[float, float]:
    """Return the smallest fraction of an aberration-free emitter's signal within its stamp, and its z in um."""
    psf = config.psf
    heights = sorted(set(z_limits(config)))
    renderer = Renderer(optics_of(config), size=psf.size_px, model=psf.model, defocus=psf.defocus, **psf.options)
    stamps = renderer.stamps(Scene.from_arrays([[0.0, 0.0, z] for z in heights]))
    return min((float(stamp.sum()), z) for stamp, z in zip(stamps, heights, strict=True))


def light_note(configs: Iterable[JobConfig]) -> str | None:
    """Return a warning about the stamp with the smallest fraction of the signal, or None if all are large enough.

    Each combination of optics, PSF and z range is computed once.
    """
    distinct = {(each.optical, each.psf.model_dump_json(), z_limits(each)): each for each in configs}
    try:
        found = ((*held_light(each), each) for each in distinct.values())
        least, z_um, config = min(found, key=lambda each: each[0])
    except SimtiffError:  # rejected by the core; the job reports it
        return None
    if least >= _ENOUGH_LIGHT:
        return None
    return Text(
        "a PSF stamp of {size} px (psf.size_px) contains {percent:.0f} % of the signal of an emitter without "
        "aberrations at z = {z:g} um ({key}); the rest is lost",
        size=config.psf.size_px,
        percent=100 * least,
        z=abs(z_um),
        key=f"emitters.{_z_key(config)}",
    )


def _z_key(config: JobConfig) -> str:
    summary = summary_of(config)
    return config.emitters.z_key if summary is None or summary.heights is None else "positions_path"


def unused_note(configs: Iterable[JobConfig]) -> str | None:
    """Return a warning about given keys that have no effect with the rest of the config, or None if there are none."""
    found: dict[str, str] = {}
    for config in {id(config.emitters): config for config in configs}.values():
        emitters, blinking = config.emitters, config.emitters.blinking
        unused = [f"emitters.blinking.{key}" for key in blinking.unused]
        if blinking.kind != "once" and "lifetime_avg" in emitters.model_fields_set:
            unused.append("emitters.lifetime_avg")
        found |= dict.fromkeys(unused, f"emitters.blinking.kind {blinking.kind}")
        found |= {f"emitters.{key}": "emitters.positions_path" for key in unused_keys(config)}
        if emitters.photon_distribution == "exponential" and "intensity_sigma" in emitters.model_fields_set:
            found["emitters.intensity_sigma"] = "emitters.photon_distribution exponential"
    if not found:
        return None
    texts = [Text("{key} (with {other})", key=key, other=other) for key, other in found.items()]
    return Text("given, but have no effect: {keys}", keys=joined(texts, ", "))


def pixel_size_note(configs: Iterable[JobConfig]) -> str | None:
    """Return a warning if a config sets the pixel size along only one axis, or None."""
    optics = {id(config.optical): config.optical for config in configs}
    for optical in optics.values():
        given = [key for key in EACH if key in optical.model_fields_set]
        x, y = (getattr(optical, key) for key in EACH)
        if len(given) == 1 and x != y:
            (other,) = set(EACH) - set(given)
            return Text(
                "pixels are {x:g} nm x {y:g} nm: optical.{given} is given, but optical.{other} has its default "
                "(optical.{both} sets both)",
                x=x,
                y=y,
                given=given[0],
                other=other,
                both=BOTH,
            )
    return None
