"""Files of localizations against the truth of a movie, in the coordinates of its frames."""

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
    """How good the localizations of a file are.

    Attributes
    ----------
    score : Score
        The figures.
    truth, found : str
        The files.
    pixel_size_nm : (float, float)
        Along x and y.
    photons : str
        What is compared as photons.
    has_bounds : bool
        Whether the truth has bounds to compare errors with.
    """

    score: Score
    truth: str
    found: str
    pixel_size_nm: PixelSize
    photons: str
    has_bounds: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, as for JSON."""
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

    Of an ``emitters.h5`` the records in the frame count, in px of the frame, as localizers see them. A truth's photons
    are those that reach the camera; where the localizations are Picasso's, whose photons are photo-electrons, they are
    multiplied by the quantum efficiency first.

    Parameters
    ----------
    truth : path
        ``emitters.h5``, or a file of any format of localizations.
    found : path
        A file of any format of localizations.
    radius_nm, dz_nm : float
        How far apart an emitter and its localization may be, laterally and axially.
    pixel_size_nm : float or (float, float), optional
        Size of a pixel, or along x and y; needed where neither file says it.
    config : JobConfig, optional
        Used instead of the config that an ``emitters.h5`` carries.

    Raises
    ------
    ConfigError
        An argument is wrong, or the size of pixels is not known.
    DataError
        A file is missing, damaged, of no known format, or lacks a column; or sizes of pixels disagree.
    """
    kinds = [_kind(path) for path in (truth, found)]
    size = as_pixel_size(pixel_size_nm) or _stated(truth, kinds[0], config) or _stated(found, kinds[1], None)
    if size is None:
        text = Text("{path}: does not say how large its pixels are; give it with --pixel-size", path=truth)
        raise ConfigError(text)
    true, calibration = _read(truth, kinds[0], size, config)
    seen, _ = _read(found, kinds[1], size, None)
    photons: str = Text("as both files have them")
    if calibration is not None:
        photons = Text("photons that reach the camera")
        if kinds[1] == _COUNTS_ELECTRONS:
            true = in_electrons(true, calibration)
            photons = Text("photo-electrons, as Picasso counts them: photons x quantum efficiency")
    for name, table in (("truth", true), ("found", seen)):
        if table.frame is None:
            path = truth if name == "truth" else found
            raise DataError(Text("{path}: no column frame; it is needed", path=path))
    score = localizations.score(true, seen, radius_nm, dz_nm, pixel_size_nm=size)
    bounds = any(getattr(true, f"sigma_{name}") is not None for name in ("x_px", "y_px", "z_um", "photons"))
    return FileScore(score, str(truth), str(found), size, photons, bounds)


def _kind(path: str | os.PathLike[str]) -> str:
    """Return the format of a file; `DataError` if there is none."""
    there = Path(path)
    if not there.is_file():
        raise DataError(joined([str(path), Text("not a file") if there.exists() else Text("no such file")], ": "))
    return format_of(there).name


def _stated(path: str | os.PathLike[str], kind: str, config: JobConfig | None) -> PixelSize | None:
    """Return the size of pixels that a file says, or None."""
    if kind == _TRUTH:
        with TruthFile(Path(path), config, coefficients="unused") as truth:
            optical = truth.config.optical
            return optical.pixel_size_nm_x, optical.pixel_size_nm_y
    try:
        with localizations.opened(path, kind) as source:
            return source.pixel_size_nm
    except ConfigError:  # it has lengths in nm, and not that
        return None


def _read(
    path: str | os.PathLike[str], kind: str, size: PixelSize, config: JobConfig | None
) -> tuple[Localizations, Calibration | None]:
    """Return the localizations of a file, whose pixels are so large, and the camera of a truth."""
    if kind == _TRUTH:
        with TruthFile(Path(path), config, coefficients="unused") as truth:
            calibration = Calibration.of(truth.config)
            _check_agreed(str(path), calibration.pixel_size_nm, size)
            return Localizations.concatenate(list(truth_table(truth))), calibration
    with localizations.opened(path, kind, pixel_size_nm=size) as source:
        return Localizations.concatenate(list(source.chunks(localizations.files.ROWS))), None


def _check_agreed(path: str, stated: PixelSize, given: PixelSize) -> None:
    """Raise `DataError` if a file's pixels are not as large as those of the other file, or as they were given."""
    if not np.allclose(stated, given, rtol=1e-5, atol=0):
        text = Text(
            "{path}: has pixels of {stated} nm, not of {given} nm", path=path, stated=list(stated), given=list(given)
        )
        raise DataError(text)
