"""The truth as the table that a perfect localizer of the movie would make, and that table in other tools' formats.

A row is a record: an emitter in a frame with light. Positions are those of the frame, as localizers see it: of the
field, minus ``tiff.crop_offset``. Records centred outside the frame are left out.
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
"""Which bounds a table has: those of the file, if there are any; or of each record alone, computed where needed."""

ROWS = 1 << 16
"""Records that are made at a time, but for a frame that has more."""

SIGMAS = ("sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons")
"""What the columns of stored bounds are in tables; the last, of the background, is in none."""

# Stands for an infinite sigma, in px and um: Picasso leaves out rows with a number that is not finite.
_NOTHING_KNOWN = 1e3


def truth_table(truth: TruthFile, bounds: Bounds = "stored", rows: int = ROWS) -> Iterator[Localizations]:
    """Yield the records in the frame, some at a time, all with the same columns.

    Parameters
    ----------
    truth
        The file; for bounds that are computed, with coefficients.
    bounds
        ``"stored"``: ``sigma_...`` are those of ``records/crlb``, if the file has them and they are of its config;
        ``"isolated"``: those of each record alone, computed if they are not stored.
    rows
        Records at a time.

    Yields
    ------
    Localizations
        ``frame``, ``x_px``, ``y_px``, ``z_um``, ``photons`` that reach the camera, ``id``, and ``background`` in
        photons per pixel where it is known. At least one; whole frames.
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
    """Return what gives the bounds of the records of some frames, None if there are to be none."""
    dataset = find_dataset(truth.file, f"records/{CRLB}")
    stored, config = truth.stored_config, truth.config
    if dataset is not None and stored is not None and changed_settings(stored) == changed_settings(config):
        rows = check_numbers(dataset, (truth.record_count, CRLB_COLUMNS), Text("a row for each record"))
        if bounds == "stored" or stored.truth.crlb is True:
            return lambda start, stop: stored_bounds(truth, rows, start, stop)
    if bounds == "stored":
        return None
    alone = config.model_copy(update={"truth": config.truth.model_copy(update={"crlb": True})})
    of_records = RecordBounds(alone, truth.background)
    return lambda start, stop: of_records.of(truth.scene(start, stop), start, stop)


def stored_bounds(truth: TruthFile, columns: Rows, start: int, stop: int) -> NDArray[np.float32]:
    """Return the bounds that a file has of the records of some frames."""

    def read(low: int, high: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = read_rows(columns, low, high, np.float32, finite=False)
        return values

    return gather(truth.rows_of(start, stop), read, CRLB_COLUMNS)


def _background(truth: TruthFile) -> Callable[[Localizations], NDArray[np.float64]] | None:
    """Return what gives the background photons per pixel of localizations; None where nobody knows."""
    known = background_light(truth)
    if known is None:
        return None
    image, factor = known
    return lambda table: image[_pixels(table)] * factor[table.frame]


def background_light(truth: TruthFile) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the expected background of a movie, None where nobody knows it: pixel p of frame t has image[p] factor[t].

    Returns
    -------
    image : (y, x) float64
        Photons per pixel.
    factor : (t,) float64
        What each frame has of them.
    """
    config, frames = truth.config, np.ones(truth.n_frames)
    shape = config.tiff.frame_shape
    if not config.tiff.add_noise:
        return np.zeros(shape), frames
    try:
        found = truth.background
    except DataError:
        if find_dataset(truth.file, "background/image") is None:  # nor can it be made, as without its image
            return None
        raise
    if found is None:
        return np.full(shape, config.tiff.noise_params.background), frames
    return found.image.astype(np.float64), found.factor


def _pixels(table: Localizations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels that localizations are on, as indices y, x."""
    y, x = (np.floor(values + 0.5).astype(np.int64) for values in (table.y_px, table.x_px))
    return y, x


@dataclass(frozen=True)
class Export:
    """What an export made.

    Attributes
    ----------
    files : list of Path
        The file, and those beside it.
    rows : int
        Records in it.
    """

    files: list[Path]
    rows: int


def export_truth(
    h5: Path, kind: str, output: Path, config: JobConfig | None = None, movie: str | None = None
) -> Export:
    """Write the truth of a movie as another tool's localizations, and beside it how that tool is told of the camera.

    Memory is bounded, whatever the number of records. Files that are there are replaced.

    ==============  ===========================================================================================
    format          photons
    ==============  ===========================================================================================
    thunderstorm    photons that reach the camera: the camera set-up beside it has the quantum efficiency
    picasso         photo-electrons, photons times quantum efficiency, since Picasso does not divide by that
    decode          photons that reach the camera, before its quantum efficiency
    smlm-challenge  photons that reach the camera
    parquet         photons that reach the camera
    ==============  ===========================================================================================

    Picasso's uncertainties ``lpx``, ``lpy``, ``lpz`` are the bound of each record as if it were alone, computed where
    the file does not have it; 1,000 px and um where the pixels say nothing. The others have the bounds of the file, if
    there are any, as far as the format has a place for them.

    Parameters
    ----------
    h5 : Path
        The truth, ``emitters.h5``.
    kind : str
        One of `EXPORT_NAMES`.
    output : Path
        The file to write.
    config : JobConfig, optional
        Used instead of the config that the file carries.
    movie : str, optional
        The movie, for command lines; default: as the config names it.

    Raises
    ------
    ConfigError
        No such format, an output that is an input, or pyarrow, for Parquet, is missing.
    DataError
        The truth is damaged, or carries no config and none is given.
    OSError
        A file cannot be written.
    """
    if kind not in EXPORT_NAMES:
        names = ", ".join(EXPORT_NAMES)
        raise ConfigError(Text("{found!r} is no format to export to; allowed: {names}", found=kind, names=names))
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
    """Tables, and how many rows they had together."""

    def __init__(self, tables: Iterator[Localizations]) -> None:
        self._tables = tables
        self.rows = 0

    def __iter__(self) -> Iterator[Localizations]:
        for table in self._tables:
            self.rows += len(table)
            yield table


def in_electrons(table: Localizations, calibration: Calibration) -> Localizations:
    """Return a table of a frame whose photons are photo-electrons, of the quantum efficiency under each."""
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
    """Return a table as Picasso has it: photo-electrons, and finite uncertainties."""
    sigmas = {name: getattr(table, name) for name in SIGMAS[:3]}
    finite = {name: np.where(np.isfinite(values), values, _NOTHING_KNOWN) for name, values in sigmas.items()}
    return replace(in_electrons(table, calibration), **finite)
