"""Given records instead of simulated ones: from a truth file or from arrays, in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.emitters.tables import Records
from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.imaging.arrays import numbers
from simtiff.imaging.scene import Scene, same_psf
from simtiff.localizations.registry import format_of
from simtiff.movie.light import background_of
from simtiff.movie.truth import write_records
from simtiff.movie.truthfile import TruthFile
from simtiff.movie.truthrecords import MAX_FRAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

_HDF5 = b"\x89HDF\r\n\x1a\n"
_COLUMNS = ("xyz", "phot", "frame_ix", "id")


class RecordedTruth:
    """Records and their coefficients; returns the same scenes as a truth file with these records.

    Parameters
    ----------
    given : path or mapping
        A truth file, of which ``records/{xyz, phot, frame_ix}`` are enough; or arrays with these names (and ``id``).
        Photons are used unchanged: the illumination does not scale them.
    config : JobConfig
        The job. Missing coefficients are computed from its map.

    Attributes
    ----------
    config : JobConfig
        The job, with the given number of frames.
    records : Records
        All records, by frame.
    background : Background or None
        The background of the file or of the config, as in `TruthFile`.

    Raises
    ------
    DataError
        The file is damaged, or a position is outside the map.
    ShapeError, ConfigError
        The arrays do not fit.
    """

    drift = None  # already included in the records

    def __init__(self, given: str | os.PathLike[str] | Mapping[str, Any], config: JobConfig) -> None:
        self.path = None if isinstance(given, Mapping) else os.fspath(given)
        if isinstance(given, Mapping):
            self.records, frames = _records_of(given, config)
            self._whole = _scene_of(self.records, config)
        else:
            with TruthFile(os.fspath(given), config, coefficients="computed") as truth:
                frames = truth.n_frames
                self._whole = truth.scene(0, frames)
                _, phot, frame_ix, ids = truth.records()
                self.background = truth.background
            xyz = self._whole.xyz[self._whole.emitter_ix].astype(np.float32)
            self.records = Records(xyz, phot, frame_ix, ids)
        emitters = config.emitters.model_copy(update={"frames": frames})
        self.config = config.model_copy(update={"emitters": emitters})
        if self.path is None:
            self.background = background_of(self.config)

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""
        whole = self._whole
        # Keys of the same type; any other would convert the whole column.
        low, high = np.searchsorted(whole.frame_ix, np.array([start, stop], whole.frame_ix.dtype))
        used, emitter_ix = np.unique(whole.emitter_ix[low:high], return_inverse=True)
        return Scene(
            xyz=whole.xyz[used],
            phase=whole.phase[used],
            magnitude=None if whole.magnitude is None else whole.magnitude[used],
            emitter_ix=emitter_ix.astype(np.uint32),
            frame_ix=whole.frame_ix[low:high] - np.uint32(start),
            photons=whole.photons[low:high],
        )

    def write(self, path: Path) -> None:
        """Write a truth file with a row of coefficients for each record."""
        write_records(path, self.config, self.records, self._whole, self.background)


def is_recorded(given: Any) -> TypeGuard[str | os.PathLike[str] | Mapping[str, Any]]:
    """Return whether the input is a truth file or a dict of its arrays."""
    if isinstance(given, Mapping):
        return not {"x_px", "y_px"} & {str(name) for name in given}
    if not isinstance(given, str | os.PathLike):
        return False
    try:
        with Path(given).open("rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                return False
        return format_of(Path(given)).name == "simtiff"
    except (DataError, OSError):  # `TruthFile` reports the error
        return True


def _records_of(given: Mapping[str, Any], config: JobConfig) -> tuple[Records, int]:
    """Return arrays as records, by frame, and the number of frames."""
    unknown = [name for name in given if name not in _COLUMNS]
    missing = [name for name in _COLUMNS[:3] if name not in given]
    if unknown or missing:
        what = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(map(str, unknown))}"
        raise ConfigError(
            f"emitters: {what}; allowed: xyz, phot, frame_ix, and id; or x_px, y_px, and z_um, frame, photons, id"
        )
    xyz = numbers("xyz", given["xyz"], np.float32, 2)
    count = len(xyz)
    if xyz.shape[1] != 3 or not np.isfinite(xyz).all():
        raise ShapeError(f"xyz has shape {xyz.shape}; expected finite numbers (m, 3)")
    phot = _column("phot", given["phot"], count)
    if not (np.isfinite(phot).all() and (phot >= 0).all()):
        raise ShapeError("phot has NaN, infinite or negative values; expected photons")
    frame_ix = _whole("frame_ix", given["frame_ix"], count)
    if count and not (frame_ix.min() >= 0 and frame_ix.max() < MAX_FRAMES):
        raise ShapeError(f"frame_ix ranges from {frame_ix.min()} to {frame_ix.max()}; expected 0 to {MAX_FRAMES - 1}")
    ids = _whole("id", given["id"], count) if "id" in given else np.arange(count)
    order = np.argsort(frame_ix, kind="stable")
    needed = int(frame_ix.max(initial=0)) + 1
    frames = config.emitters.frames if "frames" in config.emitters.model_fields_set else needed
    if frames < needed:
        raise ConfigError(
            f"emitters.frames is {frames}, but frame_ix goes up to {needed - 1}; allowed: {needed} or more"
        )
    light = phot.astype(np.float32)[order]
    return Records(xyz[order], light, frame_ix[order].astype(np.int32), ids[order].astype(np.int64)), frames


def _scene_of(records: Records, config: JobConfig) -> Scene:
    """Return all records as a scene, with the coefficients of the config's map."""
    first, emitter_ix = same_psf(records.id, records.xyz)
    xyz = records.xyz[first]
    try:
        phase, magnitude = field_coefficients(config, open_field(config), xyz)
    except (DataError, ShapeError) as error:
        raise DataError(f"xyz: coefficients at these positions: {error}") from error
    frame_ix = records.frame_ix.astype(np.uint32)
    return Scene(xyz.astype(np.float64), phase, magnitude, emitter_ix, frame_ix, records.phot)


def _column(name: str, values: Any, count: int) -> NDArray[np.float64]:
    """Return a vector of `count` numbers; accepts a column or a row."""
    array = numbers(name, values, np.float64, (1, 2))
    if array.size != count or count not in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}; expected ({count},), one value per row of xyz")
    return array.reshape(-1)


def _whole(name: str, values: Any, count: int) -> NDArray[np.int64]:
    """Return a vector of whole numbers; accepts doubles without a fraction."""
    array = np.asarray(values)
    column = _column(name, array, count)
    wrong = ~(column == np.rint(column)) | (np.abs(column) >= 2.0**63)
    if wrong.any():
        raise ShapeError(f"{name}: row {int(np.argmax(wrong))} is {column[wrong][0]}; expected whole numbers")
    return array.reshape(-1).astype(np.int64)
