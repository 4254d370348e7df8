"""Evaluation of localizations: detection, errors, and errors over bounds; by position, z, photons and density.

Jaccard index and efficiency as defined by the SMLM challenge: Sage et al., Nature Methods 16, 387 (2019).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import ConfigError, DataError
from simtiff.language import Text
from simtiff.localizations.format import PIXEL_SIZE, as_pixel_size
from simtiff.localizations.matching import Points, match, neighbours
from simtiff.localizations.table import Localizations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from simtiff.localizations.format import PixelSize

LATERAL_ALPHA_PER_NM = 1.0
AXIAL_ALPHA_PER_NM = 0.5
"""Loss of efficiency per nanometre of error, in per cent, as in the SMLM challenge."""

GRID = 4
BINS = 6
DENSITY_RADIUS_NM = 1000.0


@dataclass(frozen=True)
class Metrics:
    """Quality of localizations; None if undefined.

    Attributes
    ----------
    truth, matched : int
        Number of emitters in frames, and how many of these were found.
    found : int, optional
        Number of localizations; None if it is unknown which of them belong here.
    jaccard, precision, recall : float, optional
        Matches over the union of emitters and localizations, over localizations, and over emitters.
    rmse_lateral_nm, rmse_axial_nm : float, optional
        Root mean square distance of matched pairs, lateral and axial.
    bias_x_nm, bias_y_nm, bias_z_nm, bias_photons : float, optional
        Mean of found minus true.
    error_over_bound_x, error_over_bound_y, error_over_bound_z, error_over_bound_photons : float, optional
        Root mean square of error over bound (``sigma_...`` of the truth); 1 is the optimum of an unbiased estimator.
    efficiency_lateral, efficiency_axial, efficiency : float, optional
        100 - sqrt((100 - 100 jaccard)^2 + (alpha rmse)^2), with alpha = 1 per nm laterally and 0.5 axially, and their
        mean; without z, the lateral efficiency.
    """

    truth: int
    matched: int
    found: int | None
    jaccard: float | None
    precision: float | None
    recall: float | None
    rmse_lateral_nm: float | None
    rmse_axial_nm: float | None
    bias_x_nm: float | None
    bias_y_nm: float | None
    bias_z_nm: float | None
    bias_photons: float | None
    error_over_bound_x: float | None
    error_over_bound_y: float | None
    error_over_bound_z: float | None
    error_over_bound_photons: float | None
    efficiency_lateral: float | None
    efficiency_axial: float | None
    efficiency: float | None


@dataclass(frozen=True)
class Bin:
    """Quality of localizations in a part of the data.

    Attributes
    ----------
    ranges : dict
        Range (low, high) by name: ``x_px`` and ``y_px``, ``z_um``, ``photons``, or ``density_per_um2``.
    metrics : Metrics
        For the emitters in these ranges, and the localizations that match them; unmatched localizations count where
        they are themselves.
    """

    ranges: dict[str, tuple[float, float]]
    metrics: Metrics


@dataclass(frozen=True)
class Score:
    """Result of the evaluation of localizations.

    Attributes
    ----------
    radius_nm, dz_nm : float
        Maximum distance between an emitter and its localization.
    metrics : Metrics
        For all data.
    by_field : tuple of Bin
        By position in the field, on a regular grid, in row-major order.
    by_z, by_photons : tuple of Bin
        By height and photons of the emitters, in quantiles; empty if the truth does not have them.
    by_density : tuple of Bin
        By the local density in the frame: emitters per um^2 within 1 um, without the emitter itself.
    """

    radius_nm: float
    dz_nm: float
    metrics: Metrics
    by_field: tuple[Bin, ...]
    by_z: tuple[Bin, ...]
    by_photons: tuple[Bin, ...]
    by_density: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the score as plain values, for example for JSON."""
        plain = asdict(self)
        for name in ("by_field", "by_z", "by_photons", "by_density"):
            bins = getattr(self, name)
            plain[name] = [
                {"ranges": {key: list(ends) for key, ends in each.ranges.items()}, **asdict(each.metrics)}
                for each in bins
            ]
        return plain


def score(
    truth: pd.DataFrame | Mapping[str, Any] | Localizations,
    found: pd.DataFrame | Mapping[str, Any] | Localizations,
    radius_nm: float = 250,
    dz_nm: float = 500,
    *,
    pixel_size_nm: float | Sequence[float] | None = None,
) -> Score:
    """Compare localizations with the truth.

    Emitters and localizations are matched frame by frame: as many pairs as possible within both distances and, among
    these assignments, the one with the smallest sum of squared distances.

    Parameters
    ----------
    truth, found : pandas.DataFrame, mapping of arrays, or Localizations
        Tables as returned by `read`: ``frame``, ``x_px``, ``y_px``, optionally ``z_um``, ``photons`` and, for the
        truth, ``sigma_...``.
    radius_nm, dz_nm : float
        Maximum distance within a pair, lateral and (if both have z) axial.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or along x and y; default: the pixel size stored in tables returned by `read`.

    Raises
    ------
    ConfigError
        An argument is invalid.
    DataError
        A column is missing, or has invalid values.
    """
    px = as_pixel_size(_stated(truth, found) if pixel_size_nm is None else pixel_size_nm)
    if px is None:
        raise ConfigError(Text("pixel_size_nm is needed: a number of nm, or [x, y]"))
    for name, value in {"radius_nm": radius_nm, "dz_nm": dz_nm}.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
            raise ConfigError(Text("{name}: {value}; allowed: a number of nm above 0", name=name, value=value))
    true, places = _by_frame(truth, "truth", px)
    seen, spots = _by_frame(found, "found", px)
    rows, others = match(places, spots, radius_nm, dz_nm)
    comparison = _Comparison(true, seen, rows, others, px)

    x_edges, y_edges = (_even(getattr(true, name), GRID) for name in ("x_px", "y_px"))
    at = [_bin(table.y_px, y_edges) * GRID + _bin(table.x_px, x_edges) for table in (true, seen)]
    field = [
        {"x_px": x_ends, "y_px": y_ends}
        for y_ends in pairwise(y_edges.tolist())
        for x_ends in pairwise(x_edges.tolist())
    ]
    area_um2 = math.pi * (DENSITY_RADIUS_NM / 1000) ** 2
    crowd = (neighbours(places, places, DENSITY_RADIUS_NM) - 1) / area_um2
    crowd_there = neighbours(places, spots, DENSITY_RADIUS_NM) / area_um2
    return Score(
        radius_nm,
        dz_nm,
        comparison.metrics(),
        comparison.bins(field, at[0], at[1]),
        comparison.along("z_um", true.z_um, seen.z_um),
        comparison.along("photons", true.photons, seen.photons),
        comparison.along("density_per_um2", crowd, crowd_there),
    )


def _stated(*tables: Any) -> Any:
    """Return the pixel size stored in tables returned by `read`; `ConfigError` if they differ."""
    sizes = [size for table in tables if (size := getattr(table, "attrs", {}).get(PIXEL_SIZE)) is not None]
    if any(not np.allclose(size, sizes[0], rtol=1e-4) for size in sizes):
        text = Text(
            "the pixel sizes of the two tables are {one} and {other} nm; set pixel_size_nm",
            one=sizes[0],
            other=sizes[1],
        )
        raise ConfigError(text)
    return sizes[0] if sizes else None


def _by_frame(table: Any, what: str, px: PixelSize) -> tuple[Localizations, Points]:
    """Return a table ordered by frame, and its positions in nm."""
    given = Localizations.of(table, what)
    if given.frame is None:
        raise DataError(Text("{table}: required column frame is missing", table=what))
    ordered = given[np.argsort(given.frame, kind="stable")]
    assert ordered.frame is not None  # noqa: S101 - for the type checker
    xy = np.column_stack([ordered.x_px * px[0], ordered.y_px * px[1]])
    return ordered, Points(ordered.frame, xy, None if ordered.z_um is None else ordered.z_um * 1000)


class _Comparison:
    """Emitters and localizations, with matched pairs and their errors."""

    def __init__(
        self,
        true: Localizations,
        seen: Localizations,
        rows: NDArray[np.int64],
        others: NDArray[np.int64],
        px: PixelSize,
    ) -> None:
        self._true, self._seen, self._rows = true, seen, rows
        self._extra = np.ones(len(seen), np.bool_)
        self._extra[others] = False
        # errors of the pairs by name, and errors over bounds
        self._errors: dict[str, NDArray[np.float64]] = {}
        self._ratios: dict[str, NDArray[np.float64]] = {}
        for name, column, sigma, unit in (
            ("x", "x_px", "sigma_x_px", px[0]),
            ("y", "y_px", "sigma_y_px", px[1]),
            ("z", "z_um", "sigma_z_um", 1000.0),
            ("photons", "photons", "sigma_photons", 1.0),
        ):
            wanted, have, bound = getattr(true, column), getattr(seen, column), getattr(true, sigma)
            if wanted is None or have is None:
                continue
            error = have[others] - wanted[rows]
            self._errors[name] = error * unit
            if bound is not None:
                there = bound[rows]
                known = np.isfinite(there) & (there > 0)
                self._ratios[name] = np.where(known, error / np.where(known, there, 1), np.nan)

    def metrics(self) -> Metrics:
        """Return the metrics of all data."""
        return self._metrics(len(self._true), np.ones(len(self._rows), np.bool_), int(self._extra.sum()))

    def along(self, name: str, true: NDArray[np.float64] | None, seen: NDArray[np.float64] | None) -> tuple[Bin, ...]:
        """Return metrics by a quantity that emitters have and localizations may have."""
        if true is None or not len(true):
            return ()
        edges = np.unique(np.quantile(true, np.linspace(0, 1, BINS + 1)))
        if len(edges) == 1:
            edges = np.repeat(edges, 2)
        ranges = [{name: ends} for ends in pairwise(edges.tolist())]
        return self.bins(ranges, _bin(true, edges), None if seen is None else _bin(seen, edges))

    def bins(
        self, ranges: list[dict[str, tuple[float, float]]], true: NDArray[np.int64], seen: NDArray[np.int64] | None
    ) -> tuple[Bin, ...]:
        """Return metrics by the bin of each emitter and each localization."""
        counts = np.bincount(true, minlength=len(ranges))
        extra = None if seen is None else np.bincount(seen[self._extra], minlength=len(ranges))
        return tuple(
            Bin(each, self._metrics(int(counts[at]), true[self._rows] == at, None if extra is None else int(extra[at])))
            for at, each in enumerate(ranges)
        )

    def _metrics(self, truth: int, pairs: NDArray[np.bool_], extra: int | None) -> Metrics:
        """Return the metrics of a number of emitters, some pairs, and a number of unmatched localizations."""
        matched = int(pairs.sum())
        found = None if extra is None else matched + extra
        jaccard = None if extra is None else _over(matched, truth + extra)
        errors = {name: error[pairs] for name, error in self._errors.items()}
        lateral = _root_mean_square(np.hypot(errors["x"], errors["y"]))
        axial = _root_mean_square(errors["z"]) if "z" in errors else None
        bias = {name: float(error.mean()) if matched else None for name, error in errors.items()}
        ratio = {name: _root_mean_square(each[pairs]) for name, each in self._ratios.items()}
        efficiencies = (
            _efficiency(jaccard, lateral, LATERAL_ALPHA_PER_NM),
            _efficiency(jaccard, axial, AXIAL_ALPHA_PER_NM),
        )
        both = [each for each in efficiencies if each is not None]
        return Metrics(
            truth=truth,
            matched=matched,
            found=found,
            jaccard=jaccard,
            precision=None if found is None else _over(matched, found),
            recall=_over(matched, truth),
            rmse_lateral_nm=lateral,
            rmse_axial_nm=axial,
            bias_x_nm=bias["x"],
            bias_y_nm=bias["y"],
            bias_z_nm=bias.get("z"),
            bias_photons=bias.get("photons"),
            error_over_bound_x=ratio.get("x"),
            error_over_bound_y=ratio.get("y"),
            error_over_bound_z=ratio.get("z"),
            error_over_bound_photons=ratio.get("photons"),
            efficiency_lateral=efficiencies[0],
            efficiency_axial=efficiencies[1],
            efficiency=sum(both) / len(both) if both else None,
        )


def _over(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _root_mean_square(values: NDArray[np.float64]) -> float | None:
    """Return the root mean square of the finite values; None if there are none."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else None


def _efficiency(jaccard: float | None, rmse_nm: float | None, alpha: float) -> float | None:
    if jaccard is None or rmse_nm is None:
        return None
    return 100 - math.hypot(100 - 100 * jaccard, alpha * rmse_nm)


def _even(values: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Return the edges of equal bins between the smallest and the largest value."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return np.linspace(low, high, parts + 1)


def _bin(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each value; values outside belong to the nearest bin."""
    return np.searchsorted(edges[1:-1], values, side="right").astype(np.int64)
