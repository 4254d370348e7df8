"""Pictures of a job's truth, drawn with matplotlib (optional dependencies ``plot``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.aberrations.synthetic import RADIANS_PER_MILLIWAVE
from simtiff.config.identity import COEFFICIENTS_PLOT, POSITIONS_PLOT, TIMELINE_PLOT, plot_names
from simtiff.imaging.scene import distinct
from simtiff.movie._drawing import (
    INK,
    add_axes,
    add_scale_bar,
    add_title,
    add_um_axes,
    diverging,
    drawing,
    new_figure,
    save,
    sequential,
)
from simtiff.movie._statistics import PANEL_PX, Statistics, draw_panels, statistics_of
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene

__all__ = ["write_plots"]

MAX_RECORDS = 2_000_000
MAX_POINTS = 20_000
_MAX_LEGEND = 12
_DASHED = (0, (4, 2))
# Cells of the timeline; each is at least two pixels of the picture high and wide.
_COLUMNS, _ROWS = 450, 250


@dataclass(frozen=True)
class _Seen:
    """The truth of a movie's first frames, their number, and statistics of blinking and drift."""

    scene: Scene
    frames: int
    statistics: Statistics

    @property
    def count(self) -> int:
        return len(self.scene.xyz)

    def emitters(self) -> str:
        return _several(self.count, "emitter")

    def words(self, config: JobConfig) -> str:
        """Return which frames a picture shows."""
        every = config.emitters.frames
        if self.frames < every:
            return f"the first {self.frames:,} of {every:,} frames"
        return _several(every, "frame")


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def write_plots(config: JobConfig, truth_path: str | Path, directory: str | Path) -> list[Path]:
    """Draw the pictures that a job's config requests into a folder.

    ``emitter_positions.png``, ``blinking_timeline.png`` (``emitters.no_plot: false``) and ``zernike_coefficients.png``
    (``zernike.no_plot: false``; `num_plot` emitters). The settings, the backend and the open figures of the caller's
    matplotlib do not change. The function may be called from any thread.

    Parameters
    ----------
    config
        The job.
    truth_path
        Its ``emitters.h5``.
    directory
        The folder.

    Returns
    -------
    list of Path
        Paths of the pictures.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    DataError
        If the truth file is damaged.
    """
    names = plot_names(config)
    if not names:
        return []
    draw = {POSITIONS_PLOT: _draw_positions, TIMELINE_PLOT: _draw_timeline, COEFFICIENTS_PLOT: _draw_coefficients}
    with TruthFile(truth_path, config) as truth:
        seen = _first_frames(config, truth)
    for name in names:
        with drawing():
            save(draw[name](config, seen), Path(directory) / name)
    return [Path(directory) / name for name in names]


def _first_frames(config: JobConfig, truth: TruthFile) -> _Seen:
    """Return the truth of as many of the first frames as a picture can show."""
    stop = min(truth.n_frames, max(1, int(truth.frames_of_records(MAX_RECORDS))))
    scene = truth.scene(0, stop)
    if truth.drift() is not None or config.emitters.positions_path is not None:  # each at its first record
        _, emitter_ix, first = distinct(truth.record_ids(0, stop))
        seen = scene.emitter_ix[first]
        scene = replace(
            scene,
            xyz=scene.xyz[seen],
            phase=scene.phase[seen],
            magnitude=None if scene.magnitude is None else scene.magnitude[seen],
            emitter_ix=emitter_ix.astype(np.uint32),
        )
    return _Seen(scene, stop, statistics_of(config, truth, scene.photons))


def _open(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _draw_positions(config: JobConfig, seen: _Seen) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch, Rectangle

    xyz = seen.scene.xyz
    shown = xyz[:: max(1, -(-len(xyz) // MAX_POINTS))]
    field = np.array(config.emitters.area)
    frame = np.array(config.tiff.frame_shape[::-1])
    offset = np.asarray(config.tiff.crop_offset)
    low = np.minimum(0, offset) - 0.5 - 0.01 * field
    high = np.maximum(field, offset + frame) - 0.5 + 0.01 * field
    depth = max(*map(abs, config.emitters.z_limits), float(np.abs(xyz[:, 2]).max(initial=0)), 1e-3)
    pixel_um = config.optical.pixel_size_nm_x / 1000, config.optical.pixel_size_nm_y / 1000

    width, height = (high - low) * pixel_um
    scale = 800 / max(width, height)
    wide, tall = max(width * scale, 120), max(height * scale, 120)
    left = max(90, 480 - wide / 2)
    figure = new_figure(left + wide + max(250, 480 - wide / 2), tall + 230)
    axis = add_axes(figure, left, 100, wide, tall)
    axis.add_patch(Rectangle((-0.5, -0.5), *field, color="0.95", lw=0, zorder=0))
    points = axis.scatter(
        shown[:, 0],
        shown[:, 1],
        c=shown[:, 2],
        s=float(np.clip(9000 / max(len(shown), 1), 2.5, 18)),
        cmap=diverging(),
        vmin=-depth,
        vmax=depth,
        linewidths=0,
    )
    for colour, line, dashes, order in (("white", 3.5, "-", 0.5), ("black", 1.6, _DASHED, 2)):  # emitters in between
        outline = Rectangle(tuple(offset - 0.5), *frame, fill=False, color=colour, lw=line, ls=dashes, zorder=order)
        axis.add_patch(outline)
    axis.set(
        xlabel="x, px",
        ylabel="y, px",
        xlim=(low[0], high[0]),
        ylim=(high[1], low[1]),
    )
    add_um_axes(axis, pixel_um)
    add_scale_bar(axis, pixel_um[0])
    part = "" if len(shown) == len(xyz) else f" ({len(shown):,} shown)"
    add_title(figure, axis, f"{seen.emitters()} emitting in {seen.words(config)}{part}")
    axis.legend(
        handles=[
            Patch(color="0.9", label=f"field, {field[0]:g} × {field[1]:g} px"),
            Line2D([], [], color="black", lw=1.6, ls=_DASHED, label=f"camera frame, {frame[0]} × {frame[1]} px"),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -85 / tall),
        ncols=2,
    )
    bar = add_axes(figure, left + wide + 100, 100 + 0.1 * tall, 22, 0.8 * tall)
    figure.colorbar(points, cax=bar, label="z, µm")
    return figure


def _draw_timeline(config: JobConfig, seen: _Seen) -> Figure:
    """Draw a raster of emitters and frames; each cell shows its brightest record, so that no blink is lost.

    Below it are the number of emitters on in each frame, and panels of on-times, off-times, photons and drift.
    """
    from matplotlib.ticker import MaxNLocator

    scene, frames, count = seen.scene, seen.frames, seen.count
    first = np.full(count, frames)
    lit = scene.photons > 0
    emitter_ix, frame_ix, photons = scene.emitter_ix[lit], scene.frame_ix[lit], scene.photons[lit]
    np.minimum.at(first, emitter_ix, frame_ix)
    place = np.empty(count, np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(count)
    rows, columns = min(max(count, 1), _ROWS), min(frames, _COLUMNS)
    image = np.zeros((rows, columns), np.float32)
    row, column = place[emitter_ix] * rows // max(count, 1), frame_ix.astype(np.int64) * columns // frames
    np.maximum.at(image, (row, column), photons)

    panels = seen.statistics
    figure = new_figure(1190, 860 + (PANEL_PX if panels.count else 0))
    light, total = add_axes(figure, 110, 50, 2 * _COLUMNS, 2 * _ROWS), add_axes(figure, 110, 580, 2 * _COLUMNS, 170)
    high = float(np.quantile(image[image > 0], 0.995)) if image.any() else 1.0
    picture = light.imshow(
        np.ma.masked_equal(image, 0),
        aspect="auto",
        interpolation="nearest",
        cmap=sequential(),
        vmin=0,
        vmax=high,
        extent=(-0.5, frames - 0.5, max(count, 1) - 0.5, -0.5),
    )
    add_title(figure, light, f"Photons of {seen.emitters()} in {seen.words(config)}")
    light.set_ylabel("emitter, by first frame")
    light.tick_params(labelbottom=False)
    bar = add_axes(figure, 1040, 50, 22, 2 * _ROWS)
    figure.colorbar(picture, cax=bar, extend="max" if image.max() > high else "neither", label="photons per frame")

    active = np.bincount(frame_ix, minlength=frames)
    starts = -(-np.arange(columns) * frames // columns)
    edges = np.append(starts, frames) - 0.5
    most, least = np.maximum.reduceat(active, starts), np.minimum.reduceat(active, starts)
    mean = np.add.reduceat(active, starts) / np.diff(edges)
    if columns < frames:
        total.stairs(most, edges, baseline=least, fill=True, color="#9ecae1", label="minimum to maximum")
        total.stairs(mean, edges, baseline=None, color="#08519c", lw=1, label="mean")
        total.legend(loc="upper right", bbox_to_anchor=(1.0, -0.14), ncols=2)
    else:
        total.stairs(active, edges, baseline=0, fill=True, color="#9ecae1")
        total.stairs(active, edges, baseline=0, color="#08519c", lw=1)
    total.set(xlabel="frame", ylabel="emitters on", xlim=(-0.5, frames - 0.5))
    total.set_ylim(0, max(1, active.max()) * 1.1)
    _add_density(total, config)
    if panels.count:
        draw_panels(figure, panels, 110, 880, 1010)
    for axis in (light, total):
        _open(axis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.yaxis.set_major_locator(MaxNLocator(nbins=6 if axis is light else 4, integer=True, min_n_ticks=1))
    if columns < frames or rows < count:
        cell = f"{_several(-(-count // rows), 'emitter')} × {_several(-(-frames // columns), 'frame')}"
        note = f"Each cell above covers up to {cell} and shows the brightest record."
        total.annotate(note, (0.5, 0), (0, -38), "axes fraction", "offset points", ha="center", va="top", fontsize=8)
    return figure


def _add_density(total: Axes, config: JobConfig) -> None:
    """Add an axis with emitters per square micrometre of field and margin."""
    width, height = np.broadcast_to(config.emitters.area_px, 2) + 2 * config.emitters.margin_px
    area_um2 = width * height * config.optical.pixel_size_nm_x * config.optical.pixel_size_nm_y * 1e-6
    right = total.secondary_yaxis("right", functions=(lambda n: n / area_um2, lambda density: density * area_um2))
    right.set_ylabel("per µm²")


def _draw_coefficients(config: JobConfig, seen: _Seen) -> Figure:
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D

    drawn: list[tuple[str, NDArray[Any]]] = [("phase, milliwaves rms", seen.scene.phase / RADIANS_PER_MILLIWAVE)]
    if seen.scene.magnitude is not None:
        drawn.append(("magnitude", seen.scene.magnitude))
    chosen = np.unique(np.linspace(0, max(seen.count - 1, 0), min(seen.count, config.zernike.num_plot)).astype(int))
    pixel_um = np.array((config.optical.pixel_size_nm_x, config.optical.pixel_size_nm_y)) / 1000
    middle = (np.array(config.emitters.area) - 1) / 2
    away = np.hypot(*((seen.scene.xyz[chosen, :2] - middle) * pixel_um).T)
    few = len(chosen) <= _MAX_LEGEND
    if few:  # with many, those at the edge of the field would cover the others
        chosen, away = chosen[np.argsort(away)], np.sort(away)
    figure = new_figure(1080, (190 if few else 120) + 440 * len(drawn))
    axes = [add_axes(figure, 100, 50 + 440 * row, 820, 410) for row in range(len(drawn))]
    scale = ScalarMappable(Normalize(0, max(float(np.hypot(*((middle + 0.5) * pixel_um))), 1e-6)), sequential())
    colours = scale.to_rgba(away)
    noll = np.arange(1, seen.scene.phase.shape[1] + 1)
    for axis, (label, values) in zip(axes, drawn, strict=True):
        lines = np.stack([np.broadcast_to(noll, (len(chosen), len(noll))), values[chosen]], axis=-1)
        axis.add_collection(LineCollection(list(lines), colors=colours, linewidths=1 if few else 0.4))
        places, size = lines.reshape(-1, 2), 12 if few else 3
        axis.scatter(
            places[:, 0], places[:, 1], s=size, c=np.repeat(colours, len(noll), axis=0), linewidths=0, zorder=3
        )
        axis.axhline(0, color=INK, lw=0.6, zorder=0)
        axis.set_ylabel(label)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.set(xlim=(0.5, len(noll) + 0.5), xticks=noll[:: max(1, len(noll) // 22)])
        _open(axis)
    axes[-1].set_xlabel("Noll index")
    part = "" if len(chosen) == seen.count else f"{len(chosen):,} of "
    add_title(figure, axes[0], f"Zernike coefficients of {part}{seen.emitters()}")
    bar = add_axes(figure, 945, 50, 22, 440 * len(drawn) - 30)
    figure.colorbar(scale, cax=bar, label="distance from the field centre, µm")
    if few and len(chosen):
        handles = [
            Line2D([], [], color=colour, marker="o", ms=3.5, lw=1, label=f"({x:.0f}, {y:.0f})")
            for colour, (x, y) in zip(colours, seen.scene.xyz[chosen, :2], strict=True)
        ]
        axes[-1].legend(
            handles=handles,
            title="at (x, y), px",
            title_fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            ncols=6,
        )
    return figure
