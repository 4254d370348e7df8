"""Evaluation of localization files against the truth of a movie, in frame coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff import localizations
from simtiff.errors import ConfigError, DataError
from simtiff.language import Text, joined
from simtiff.localizations.format import as_pixel_size
from simtiff.localizations.registry import format_of
from simtiff.localizations.table import Localizations
from simtiff.movie.calibration import Calibration
from simtiff.movie.export import in_electrons, truth_table
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from simtiff.config.settings import JobConfig
    from simtiff.localizations.format import PixelSize
    from simtiff.localizations.scoring import Score

_TRUTH, _COUNTS_ELECTRONS = "simtiff", "picasso"


@dataclass(frozen=True)
class FileScore:
    """Evaluation of the localizations in a file.

    Attributes
    ----------
    score : Score
        The metrics.
    truth, found : str
        The files.
    pixel_size_nm : (float, float)
        Along x and y.
    photons : str
        Definition of the photons that are compared.
    has_bounds : bool
        Whether the truth has Cramér-Rao bounds to compare errors with.
    """

    score: Score
    truth: str
    found: str
    pixel_size_nm: PixelSize
    photons: str
    has_bounds: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain values for JSON."""
        names = {name: getattr(self, name) for name in ("truth", "found", "photons")}
        return {**names, "pixel_size_nm": list(self.pixel_size_nm), **self.score.to_dict()}


def score_files(
    truth: str | os.PathLike[str],
    found: str | os.PathLike[str],
    radius_nm: float = 250,
    dz_nm: float = 500,
    *,
    pixel_size_nm: float | Sequence[float] | None = None,
    config: JobConfig | None = None,
) -> FileScore:
    """Compare a file of localizations with the truth; see `simtiff.localizations.score`.

    Of an ``emitters.h5``, the records in the frame are used, in px of the frame, as in localizations. Photons of the
    truth are those that reach the camera. Photons of Picasso are photo-electrons: for Picasso files, the photons of the
    truth are multiplied by the quantum efficiency first.

    Parameters
    ----------
    truth : path
        ``emitters.h5``, or a localization file of any format.
    found : path
        A localization file of any format.
    radius_nm, dz_nm : float
        Largest distance of an emitter and its localization, laterally and axially.
    pixel_size_nm : float or (float, float), optional
        Pixel size, or sizes along x and y; required if neither file contains it.
    config : JobConfig, optional
        Used instead of the config stored in an ``emitters.h5``.

    Raises
    ------
    ConfigError
        An argument is wrong, or the pixel size is not known.
    DataError
        A file is missing, damaged, of unknown format, or lacks a column; or the pixel sizes differ.
    """
    kinds = [_kind(path) for path in (truth, found)]
    size = as_pixel_size(pixel_size_nm) or _stated(truth, kinds[0], config) or _stated(found, kinds[1], None)
    if size is None:
        text = Text("{path}: does not contain the pixel size; give it with --pixel-size", path=truth)
        raise ConfigError(text)
    true, calibration = _read(truth, kinds[0], size, config)
    seen, _ = _read(found, kinds[1], size, None)
    photons: str = Text("as in both files")
    if calibration is not None:
        photons = Text("photons that reach the camera")
        if kinds[1] == _COUNTS_ELECTRONS:
            true = in_electrons(true, calibration)
            photons = Text("photo-electrons, as Picasso counts them: photons x quantum efficiency")
    for name, table in (("truth", true), ("found", seen)):
        if table.frame is None:
            path = truth if name == "truth" else found
            raise DataError(Text("{path}: required column frame is missing", path=path))
    score = localizations.score(true, seen, radius_nm, dz_nm, pixel_size_nm=size)
    bounds = any(getattr(true, f"sigma_{name}") is not None for name in ("x_px", "y_px", "z_um", "photons"))
    return FileScore(score, str(truth), str(found), size, photons, bounds)


def _kind(path: str | os.PathLike[str]) -> str:
    """Return the format of a file; `DataError` if the file does not exist."""
    there = Path(path)
    if not there.is_file():
        raise DataError(joined([str(path), Text("not a file") if there.exists() else Text("no such file")], ": "))
    return format_of(there).name


def _stated(path: str | os.PathLike[str], kind: str, config: JobConfig | None) -> PixelSize | None:
    """Return the pixel size stored in a file, or None."""
    if kind == _TRUTH:
        with TruthFile(Path(path), config, coefficients="unused") as truth:
            optical = truth.config.optical
            return optical.pixel_size_nm_x, optical.pixel_size_nm_y
    try:
        with localizations.opened(path, kind) as source:
            return source.pixel_size_nm
    except ConfigError:  # lengths are in nm, without a pixel size
        return None


def _read(
    path: str | os.PathLike[str], kind: str, size: PixelSize, config: JobConfig | None
) -> tuple[Localizations, Calibration | None]:
    """Return the localizations of a file with the given pixel size, and the camera of a truth."""
    if kind == _TRUTH:
        with TruthFile(Path(path), config, coefficients="unused") as truth:
            calibration = Calibration.of(truth.config)
            _check_agreed(str(path), calibration.pixel_size_nm, size)
            return Localizations.concatenate(list(truth_table(truth))), calibration
    with localizations.opened(path, kind, pixel_size_nm=size) as source:
        return Localizations.concatenate(list(source.chunks(localizations.files.ROWS))), None


def _check_agreed(path: str, stated: PixelSize, given: PixelSize) -> None:
    """Raise `DataError` if a file's pixel size differs from that of the other file, or from the given one."""
    if not np.allclose(stated, given, rtol=1e-5, atol=0):
        text = Text(
            "{path}: has a pixel size of {stated} nm, not {given} nm", path=path, stated=list(stated), given=list(given)
        )
        raise DataError(text)
