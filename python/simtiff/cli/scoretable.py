"""A score as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtiff.batch.text import aligned
from simtiff.language import Text, shown, tr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simtiff.localizations.scoring import Bin, Metrics
    from simtiff.movie.scores import FileScore

_NOTHING = "-"


def score_lines(found: FileScore) -> Iterator[str]:
    """Yield the lines of a score: overall, then by z, photons, density and field position."""
    score, whole = found.score, found.score.metrics
    yield tr(
        "{found} against {truth}, pairs within {radius:g} nm laterally and {dz:g} nm axially",
        found=found.found,
        truth=found.truth,
        radius=score.radius_nm,
        dz=score.dz_nm,
    )
    yield tr(
        "emitters in frames: {truth:,}, localizations: {found:,}, pairs: {matched:,}",
        truth=whole.truth,
        found=whole.found,
        matched=whole.matched,
    )
    yield from _shares(whole)
    yield ""
    yield from aligned(("", "x, nm", "y, nm", Text("lateral, nm"), "z, nm", Text("photons")), _errors(whole), {""})
    yield tr("photons: {what}", what=found.photons)
    if not found.has_bounds:
        yield tr("error / bound: the truth has no CRLB; set truth.crlb: true in the config to store it in emitters.h5")
    parts: list[tuple[str, tuple[Bin, ...]]] = [
        (Text("by z"), score.by_z),
        (Text("by photons"), score.by_photons),
        (Text("by density: other emitters within 1 um, per um^2"), score.by_density),
        (Text("by position in the field"), score.by_field),
    ]
    for title, bins in parts:
        if bins:
            yield ""
            yield f"{shown(title)}:"
            yield from _part(bins)


def _shares(whole: Metrics) -> Iterator[str]:
    yield tr(
        "Jaccard {jaccard}, precision {precision}, recall {recall}",
        jaccard=_number(whole.jaccard, 4),
        precision=_number(whole.precision, 4),
        recall=_number(whole.recall, 4),
    )
    yield tr(
        "efficiency {all} (lateral {lateral}, axial {axial})",
        all=_number(whole.efficiency, 2),
        lateral=_number(whole.efficiency_lateral, 2),
        axial=_number(whole.efficiency_axial, 2),
    )


def _errors(whole: Metrics) -> list[list[str]]:
    return [
        [
            shown(Text("bias")),
            _number(whole.bias_x_nm),
            _number(whole.bias_y_nm),
            _NOTHING,
            _number(whole.bias_z_nm),
            _number(whole.bias_photons),
        ],
        [
            shown(Text("RMSE")),
            _NOTHING,
            _NOTHING,
            _number(whole.rmse_lateral_nm),
            _number(whole.rmse_axial_nm),
            _NOTHING,
        ],
        [
            shown(Text("error / bound")),
            _number(whole.error_over_bound_x, 3),
            _number(whole.error_over_bound_y, 3),
            _NOTHING,
            _number(whole.error_over_bound_z, 3),
            _number(whole.error_over_bound_photons, 3),
        ],
    ]


def _part(bins: tuple[Bin, ...]) -> list[str]:
    names = list(bins[0].ranges)
    head = [
        *(Text("photons") if name == "photons" else name for name in names),
        *(Text("emitters"), "Jaccard", Text("precision"), Text("recall"), Text("lateral, nm"), Text("axial, nm")),
        *(Text("x / bound"), Text("y / bound")),
    ]
    rows = []
    for each in bins:
        metrics = each.metrics
        rows.append(
            [
                *(" .. ".join(f"{end:.4g}" for end in each.ranges[name]) for name in names),
                f"{metrics.truth:,}",
                _number(metrics.jaccard, 3),
                _number(metrics.precision, 3),
                _number(metrics.recall, 3),
                _number(metrics.rmse_lateral_nm),
                _number(metrics.rmse_axial_nm),
                _number(metrics.error_over_bound_x, 3),
                _number(metrics.error_over_bound_y, 3),
            ]
        )
    return aligned(head, rows, set())


def _number(value: float | None, digits: int = 2) -> str:
    return _NOTHING if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # never -0.00
