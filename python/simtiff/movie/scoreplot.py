"""One page of plots of an evaluation: by field position, z, photons and density."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.localizations.scoring import GRID
from simtiff.movie._drawing import INK, add_axes, drawable, drawing, new_figure, save, sequential

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simtiff.localizations.scoring import Bin
    from simtiff.movie.scores import FileScore

__all__ = ["plot_score"]

_SIDE, _PITCH, _LEFT, _BESIDE_BARS, _TOP, _DOWN = 270, 345, 75, 65, 120, 365
_SHARES = (("jaccard", "Jaccard", "black"), ("precision", "precision", "#2a7fc0"), ("recall", "recall", "#c8580a"))
_ERRORS = (("rmse_lateral_nm", "lateral", "#2a7fc0"), ("rmse_axial_nm", "axial", "#c8580a"))
_ALONG = (
    ("by_z", "z_um", "z, µm"),
    ("by_photons", "photons", "photons"),
    ("by_density", "density_per_um2", "neighbours within 1 µm, per µm²"),
)


def plot_score(found: FileScore, png: str | Path) -> None:
    """Draw an evaluation on one page: detection rates and errors by field position, z, photons and density.

    Parameters
    ----------
    found
        The evaluation.
    png
        The picture to write.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    OSError
        If the picture cannot be written.
    """
    with drawing():
        save(_draw(found), Path(png))


def _draw(found: FileScore) -> Figure:
    score = found.score
    figure = new_figure(_LEFT + _BESIDE_BARS + 4 * _PITCH - 35, _TOP + 2 * _DOWN - 25)
    axes = [
        [
            add_axes(figure, _LEFT + _PITCH * column + _BESIDE_BARS * (column > 0), _TOP + _DOWN * row, _SIDE, _SIDE)
            for column in range(4)
        ]
        for row in range(2)
    ]
    _draw_field(figure, axes[0][0], score.by_field, "jaccard", "Jaccard over the field")
    _draw_field(figure, axes[1][0], score.by_field, "rmse_lateral_nm", "lateral RMSE over the field, nm")
    for column, (part, name, label) in enumerate(_ALONG, start=1):
        bins = getattr(score, part)
        _draw_along(axes[0][column], bins, name, _SHARES, label, "share")
        _draw_along(axes[1][column], bins, name, _ERRORS, label, "RMSE, nm")
        axes[0][column].set_ylim(-0.03, 1.03)
        axes[1][column].set_ylim(bottom=0)
    whole = score.metrics
    shares = ", ".join(f"{label} {_shown(getattr(whole, key), 3)}" for key, label, _ in _SHARES)
    errors = ", ".join(f"{label} RMSE {_shown(getattr(whole, key), 1)} nm" for key, label, _ in _ERRORS)
    title = f"{drawable(Path(found.found).name)} against {drawable(Path(found.truth).name)}"
    height = float(figure.bbox.height)
    figure.suptitle(title, y=1 - 18 / height, parse_math=False)
    figure.text(0.5, 1 - 62 / height, f"{shares}, {errors}", ha="center", va="top", color=INK, parse_math=False)
    return figure


def _draw_field(figure: Figure, axis: Axes, bins: tuple[Bin, ...], metric: str, title: str) -> None:
    """Draw a metric for each part of the field."""
    values = np.array([_number(getattr(each.metrics, metric)) for each in bins]).reshape(GRID, GRID)
    x, y = bins[0].ranges, bins[-1].ranges
    extent = (x["x_px"][0], y["x_px"][1], y["y_px"][1], x["y_px"][0])
    axis.set_title(title)
    axis.set(xlabel="x, px", ylabel="y, px")
    if extent[0] == extent[1] or extent[2] == extent[3] or not np.isfinite(values).any():
        _draw_no_data(axis)
        return
    limits = {"vmin": 0.0, "vmax": 1.0} if metric == "jaccard" else {}
    look: dict[str, Any] = {"extent": extent, "interpolation": "nearest", "aspect": "auto", **limits}
    image = axis.imshow(values, cmap=sequential(), **look)
    place = axis.get_position()
    bar = figure.add_axes((place.x1 + 0.005, place.y0, 0.008, place.height))
    figure.colorbar(image, cax=bar)


def _draw_along(
    axis: Axes, bins: tuple[Bin, ...], name: str, metrics: tuple[tuple[str, str, str], ...], label: str, unit: str
) -> None:
    """Draw metrics of bins of the data, a step for each bin."""
    axis.set(xlabel=label, ylabel=unit)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    drawn = False
    for metric, words, colour in metrics:
        values = [_number(getattr(each.metrics, metric)) for each in bins]
        if not np.isfinite(values).any():
            continue
        edges = [bins[0].ranges[name][0], *(each.ranges[name][1] for each in bins)]
        if edges[0] == edges[-1]:  # all emitters have the same value
            axis.plot(edges[:1], [value for value in values if np.isfinite(value)][:1], "o", color=colour, label=words)
            drawn = True
            continue
        axis.stairs(values, edges, baseline=None, color=colour, lw=1.6, label=words)
        drawn = True
    if drawn:
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(metrics), handlelength=1.2)
    else:
        _draw_no_data(axis)


def _draw_no_data(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.text(0.5, 0.5, "no data", transform=axis.transAxes, ha="center", va="center", color=INK)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
