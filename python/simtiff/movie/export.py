"""The truth as the table that perfect localization software would return, and that table in other software's formats.

A row is a record: an emitter in a frame in which it emits. Positions are in frame coordinates, as in localizations:
field coordinates minus ``tiff.crop_offset``. Records outside the frame are omitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simtiff import localizations
from simtiff.config.exports import EXPORT_NAMES, export_files
from simtiff.config.identity import changed_settings
from simtiff.config.inputs import input_paths
from simtiff.errors import ConfigError, DataError
from simtiff.io.files import refuse_overwriting, write_whole
from simtiff.io.hdf5 import find_dataset
from simtiff.io.rows import Rows, check_numbers, read_rows
from simtiff.language import Text
from simtiff.localizations.table import Localizations
from simtiff.movie.bounds import CRLB, CRLB_COLUMNS, RecordBounds
from simtiff.movie.calibration import Calibration, camera_text
from simtiff.movie.truthfile import TruthFile, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

Bounds = Literal["stored", "isolated"]
"""Bounds in a table: those stored in the file, if any; or single-emitter bounds, computed if needed."""

ROWS = 1 << 16
"""Records made at a time; a frame may have more."""

SIGMAS = ("sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons")
"""Table columns of the stored bounds; tables omit the last one, of the background."""

# Replaces an infinite sigma, in px and um: Picasso drops rows with values that are not finite.
_NOTHING_KNOWN = 1e3


def truth_table(truth: TruthFile, bounds: Bounds = "stored", rows: int = ROWS) -> Iterator[Localizations]:
    """Yield the records in the frame in several tables with the same columns.

    Parameters
    ----------
    truth
        The file; computed bounds need its coefficients.
    bounds
        ``"stored"``: ``sigma_...`` are from ``records/crlb``, if the file has it and it matches the config;
        ``"isolated"``: single-emitter bounds, computed if they are not stored.
    rows
        Records at a time.

    Yields
    ------
    Localizations
        ``frame``, ``x_px``, ``y_px``, ``z_um``, ``photons`` that reach the camera, ``id``, and ``background`` in
        photons per pixel if known. At least one table, each of whole frames.
    """
    config = truth.config
    sigmas = _sigmas(truth, bounds)
    background = _background(truth)
    height, width = config.tiff.frame_shape
    for start, stop in truth.frame_ranges(rows):
        records = truth.records_of(start, stop)
        xy = records.xyz[:, :2].astype(np.float64) - config.tiff.crop_offset
        inside = ((xy >= -0.5) & (xy < (width - 0.5, height - 0.5))).all(axis=1)
        columns: dict[str, Any] = {
            "frame": records.frame_ix.astype(np.int64),
            "x_px": xy[:, 0],
            "y_px": xy[:, 1],
            "z_um": records.xyz[:, 2].astype(np.float64),
            "photons": records.phot.astype(np.float64),
            "id": records.id,
        }
        if sigmas is not None:
            columns |= dict(zip(SIGMAS, sigmas(start, stop).astype(np.float64).T, strict=False))
        table = Localizations(**columns)[inside]
        if background is not None:
            table = replace(table, background=background(table))
        yield table


def _sigmas(truth: TruthFile, bounds: Bounds) -> Callable[[int, int], NDArray[np.float32]] | None:
    """Return a function that returns the bounds of the records of some frames, None without bounds."""
    dataset = find_dataset(truth.file, f"records/{CRLB}")
    stored, config = truth.stored_config, truth.config
    if dataset is not None and stored is not None and changed_settings(stored) == changed_settings(config):
        rows = check_numbers(dataset, (truth.record_count, CRLB_COLUMNS), Text("one row per record"))
        if bounds == "stored" or stored.truth.crlb is True:
            return lambda start, stop: stored_bounds(truth, rows, start, stop)
    if bounds == "stored":
        return None
    alone = config.model_copy(update={"truth": config.truth.model_copy(update={"crlb": True})})
    of_records = RecordBounds(alone, truth.background)
    return lambda start, stop: of_records.of(truth.scene(start, stop), start, stop)


def stored_bounds(truth: TruthFile, columns: Rows, start: int, stop: int) -> NDArray[np.float32]:
    """Return the stored bounds of the records of some frames."""

    def read(low: int, high: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = read_rows(columns, low, high, np.float32, finite=False)
        return values

    return gather(truth.rows_of(start, stop), read, CRLB_COLUMNS)


def _background(truth: TruthFile) -> Callable[[Localizations], NDArray[np.float64]] | None:
    """Return a function that returns the background photons per pixel of localizations; None if unknown."""
    known = background_light(truth)
    if known is None:
        return None
    image, factor = known
    return lambda table: image[_pixels(table)] * factor[table.frame]


def background_light(truth: TruthFile) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the expected background of a movie, None if unknown: pixel p of frame t has image[p] * factor[t].

    Returns
    -------
    image : (y, x) float64
        Photons per pixel.
    factor : (t,) float64
        Factor of each frame.
    """
    config, frames = truth.config, np.ones(truth.n_frames)
    shape = config.tiff.frame_shape
    if not config.tiff.add_noise:
        return np.zeros(shape), frames
    try:
        found = truth.background
    except DataError:
        if find_dataset(truth.file, "background/image") is None:  # nor can it be made: its image file is missing
            return None
        raise
    if found is None:
        return np.full(shape, config.tiff.noise_params.background), frames
    return found.image.astype(np.float64), found.factor


def _pixels(table: Localizations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels in which localizations are, as indices y, x."""
    y, x = (np.floor(values + 0.5).astype(np.int64) for values in (table.y_px, table.x_px))
    return y, x


@dataclass(frozen=True)
class Export:
    """Result of an export.

    Attributes
    ----------
    files : list of Path
        The exported file and its companion files.
    rows : int
        Number of records in it.
    """

    files: list[Path]
    rows: int


def export_truth(
    h5: Path, kind: str, output: Path, config: JobConfig | None = None, movie: str | None = None
) -> Export:
    """Write the truth of a movie in the format of other software, with a file of the camera settings for it.

    Memory is bounded regardless of the number of records. Existing files are overwritten.

    ==============  ===========================================================================================
    format          photons
    ==============  ===========================================================================================
    thunderstorm    photons that reach the camera: the camera setup file has the quantum efficiency picasso
    photo-electrons, photons times quantum efficiency, since Picasso does not divide by that decode          photons
    that reach the camera, before its quantum efficiency smlm-challenge  photons that reach the camera parquet
    photons that reach the camera
    ==============  ===========================================================================================

    Picasso's uncertainties ``lpx``, ``lpy``, ``lpz`` are single-emitter bounds, computed if the file does not have
    them; 1,000 px or um where the data do not determine a parameter. The other formats have the bounds of the file, if
    any, as far as the format supports them.

    Parameters
    ----------
    h5 : Path
        The truth, ``emitters.h5``.
    kind : str
        One of `EXPORT_NAMES`.
    output : Path
        The file to write.
    config : JobConfig, optional
        Used instead of the config stored in the file.
    movie : str, optional
        The movie, for command lines; default: its name in the config.

    Raises
    ------
    ConfigError
        Unknown format, an output that is also an input, or pyarrow is missing (for Parquet).
    DataError
        The truth is damaged, or contains no config and none is given.
    OSError
        A file cannot be written.
    """
    if kind not in EXPORT_NAMES:
        names = ", ".join(EXPORT_NAMES)
        raise ConfigError(Text("{found!r} is not an export format; allowed: {names}", found=kind, names=names))
    with TruthFile(h5, config, coefficients="computed" if kind == "picasso" else "unused") as truth:
        config = truth.config
        files = export_files(kind, output)
        refuse_overwriting(files, [h5, *input_paths(config).values()])
        calibration = Calibration.of(config)
        counted = _Counted(truth_table(truth, "isolated" if kind == "picasso" else "stored"))
        tables: Iterator[Localizations] = iter(counted)
        if kind == "picasso":
            tables = (_in_electrons(table, calibration) for table in tables)
        height, width = config.tiff.frame_shape
        localizations.write(
            tables,
            output,
            kind,
            pixel_size_nm=calibration.pixel_size_nm,
            size_px=(width, height),
            frames=truth.n_frames,
        )
    text = camera_text(kind, calibration, movie or config.tiff.filename)
    if text is not None:
        write_whole(files[-1], text.encode())
    return Export(files, counted.rows)


class _Counted:
    """Iterates over tables and counts their rows."""

    def __init__(self, tables: Iterator[Localizations]) -> None:
        self._tables = tables
        self.rows = 0

    def __iter__(self) -> Iterator[Localizations]:
        for table in self._tables:
            self.rows += len(table)
            yield table


def in_electrons(table: Localizations, calibration: Calibration) -> Localizations:
    """Return a table with photons converted to photo-electrons, using the quantum efficiency of each pixel."""
    qe: Any = calibration.quantum_efficiency
    if calibration.qe_map is not None:
        qe = calibration.qe_map[_pixels(table)].astype(np.float64)
    changes: dict[str, Any] = {
        name: getattr(table, name) * qe for name in ("photons", "sigma_photons") if name in table.columns
    }
    if table.background is not None:
        changes["background"] = table.background * qe + calibration.dark_e
    return replace(table, **changes)


def _in_electrons(table: Localizations, calibration: Calibration) -> Localizations:
    """Return a table for Picasso: photo-electrons and finite uncertainties."""
    sigmas = {name: getattr(table, name) for name in SIGMAS[:3]}
    finite = {name: np.where(np.isfinite(values), values, _NOTHING_KNOWN) for name, values in sigmas.items()}
    return replace(in_electrons(table, calibration), **finite)
