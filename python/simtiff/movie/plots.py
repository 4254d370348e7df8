"""Pictures of a job's truth and of aberration maps, drawn with matplotlib (the extra ``plot``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.info import noll_name
from simtiff.aberrations.synthetic import RADIANS_PER_MILLIWAVE
from simtiff.config.identity import COEFFICIENTS_PLOT, POSITIONS_PLOT, TIMELINE_PLOT, plot_names
from simtiff.errors import ConfigError
from simtiff.io.files import replacing
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene

__all__ = ["plot_map", "write_plots"]

_MAX_POINTS = 20_000
_MAX_LINES = 60
MAX_RECORDS = 2_000_000
_MAX_SIDE_PX = 400
_DPI = 130
_GREY = "0.35"


def write_plots(config: JobConfig, truth_path: str | Path, directory: str | Path) -> list[Path]:
    """Draw the pictures that a job's config asks for into a folder.

    ``emitter_positions.png``, ``blinking_timeline.png`` (``emitters.no_plot: false``) and
    ``zernike_coefficients.png`` (``zernike.no_plot: false``; `num_plot` emitters).

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
        The pictures.

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
        seen = _first_frames(truth)
    for name in names:
        figure = _figure(7.2, 6.2 if name == POSITIONS_PLOT else 5.2)
        draw[name](figure, config, seen)
        _save(figure, Path(directory) / name)
    return [Path(directory) / name for name in names]


def plot_map(zmap_path: str | os.PathLike[str], png: str | Path) -> None:
    """Draw the coefficient maps of an aberration map: a picture per mode that is not zero, and their total.

    Parameters
    ----------
    zmap_path
        HDF5 file or ``builtin:oil``.
    png
        The picture to write.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    DataError
        If the map is missing or damaged.
    """
    field = FieldMap.open(zmap_path)
    height, width = field.shape
    step = max(1, -(-max(height, width) // _MAX_SIDE_PX))
    squares = np.zeros((-(-height // step), -(-width // step)))
    shown: list[tuple[str, NDArray[np.float32]]] = []
    for noll, plane in enumerate(field.planes(), start=1):
        small = plane[::step, ::step] * np.float32(1 / RADIANS_PER_MILLIWAVE)
        if noll > 3:
            squares += small**2
        if small.any():
            shown.append((f"{noll}: {noll_name(noll)}", small))
    columns = max(1, int(np.ceil(np.sqrt(len(shown) + 1))))
    rows = -(-(len(shown) + 1) // columns)
    figure = _figure(2.5 * columns + 0.4, 2.5 * rows + 0.7)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    limit = max([float(np.nanmax(np.abs(plane))) for _, plane in shown], default=1.0)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for axis, (title, plane) in zip(axes, shown, strict=False):
        image = axis.imshow(plane, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
        axis.set_title(title, fontsize=8)
    if shown:
        bar = figure.colorbar(image, ax=list(axes), shrink=0.6, pad=0.015, aspect=40)
        bar.set_label("coefficient, milliwaves rms", fontsize=9)
    total = axes[len(shown)]
    sum_image = total.imshow(np.sqrt(squares), cmap="viridis", extent=extent)
    total.set_title("total from Noll 4 on, milliwaves rms", fontsize=8)
    inset = figure.colorbar(sum_image, cax=total.inset_axes((0.1, 0.1, 0.8, 0.05)), orientation="horizontal")
    inset.ax.tick_params(labelsize=7, colors="white")
    for index, axis in enumerate(axes):
        axis.set_visible(index <= len(shown))
        axis.tick_params(labelsize=7)
    figure.suptitle(f"{Path(field.name).name}: Zernike coefficients over the field (x and y in px)", fontsize=11)
    _save(figure, Path(png))


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure that belongs to no window and no global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, which is not installed: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, without dates or versions that would change its bytes."""
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _first_frames(truth: TruthFile) -> Scene:
    """Return the truth of as many frames from the first on as are worth a picture."""
    stop = min(truth.n_frames, max(1, int(truth.frames_of_records(MAX_RECORDS))))
    return truth.scene(0, stop)


def _style(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(color=_GREY)


def _frames_text(config: JobConfig, seen: Scene) -> str:
    """Say which frames a picture is of."""
    frames = config.emitters.frames
    shown = int(seen.frame_ix.max()) + 1 if seen.frame_ix.size else frames
    return f"{frames} frames" if shown == frames else f"the first {shown} of {frames} frames"


def _draw_positions(figure: Figure, config: JobConfig, seen: Scene) -> None:
    from matplotlib.patches import Rectangle

    axis = figure.subplots()
    count = len(seen.xyz)
    shown = seen.xyz[:: max(1, -(-count // _MAX_POINTS))]
    area, size, offset = config.emitters.area_px, config.tiff.roi_size, config.tiff.crop_offset
    depth = max(config.emitters.z_range_um, 1e-3)
    marker = float(np.clip(9000 / max(len(shown), 1), 1.5, 18))
    points = axis.scatter(
        shown[:, 0], shown[:, 1], c=shown[:, 2], s=marker, cmap="coolwarm", vmin=-depth, vmax=depth, linewidths=0
    )
    frame = Rectangle(
        (offset[0] - 0.5, offset[1] - 0.5), size, size, fill=False, color=_GREY, lw=1.2, label="camera frame"
    )
    axis.add_patch(frame)
    axis.set(
        xlabel="x, camera px",
        ylabel="y, camera px",
        xlim=(min(-0.5, offset[0] - 0.5) - 0.01 * area, max(area, offset[0] + size) - 0.5 + 0.01 * area),
        ylim=(max(area, offset[1] + size) - 0.5 + 0.01 * area, min(-0.5, offset[1] - 0.5) - 0.01 * area),
        aspect="equal",
    )
    part = "" if len(shown) == count else f" ({len(shown)} shown)"
    axis.set_title(f"{count} emitters with light in {_frames_text(config, seen)}{part}", fontsize=11)
    axis.legend(handles=[frame], loc="upper right", fontsize=8, framealpha=0.9)
    figure.colorbar(points, ax=axis, shrink=0.8, pad=0.02, label="z, µm")
    _style(axis)


def _draw_timeline(figure: Figure, config: JobConfig, seen: Scene) -> None:
    light, total = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    last = int(seen.frame_ix.max()) + 1 if seen.frame_ix.size else config.emitters.frames
    count = len(seen.xyz)
    order = np.full(count, last)
    np.minimum.at(order, seen.emitter_ix, seen.frame_ix)
    chosen = np.argsort(order, kind="stable")[:: max(1, -(-count // _MAX_LINES))][:_MAX_LINES]
    row = np.full(count, -1)
    row[chosen] = np.arange(len(chosen))
    image = np.zeros((max(len(chosen), 1), last))
    there = row[seen.emitter_ix] >= 0
    image[row[seen.emitter_ix[there]], seen.frame_ix[there]] = seen.photons[there]
    picture = light.imshow(
        np.ma.masked_equal(image, 0),
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        vmin=0,
        extent=(-0.5, last - 0.5, len(image) - 0.5, -0.5),
    )
    light.set_title(f"Light of {len(chosen)} of {count} emitters in {_frames_text(config, seen)}", fontsize=11)
    light.set_ylabel("emitter, by first frame")
    figure.colorbar(picture, ax=light, pad=0.02, label="photons per frame")
    active = np.bincount(seen.frame_ix, minlength=last)
    total.step(np.arange(last), active, where="mid", color="tab:blue", lw=1.2)
    total.set(xlabel="frame", ylabel="emitters on", xlim=(-0.5, last - 0.5))
    total.set_ylim(0, max(1, active.max(initial=0)) * 1.1)
    for axis in (light, total):
        _style(axis)


def _draw_coefficients(figure: Figure, config: JobConfig, seen: Scene) -> None:
    drawn: list[tuple[str, Any]] = [("phase, milliwaves rms", seen.phase / RADIANS_PER_MILLIWAVE)]
    if seen.magnitude is not None:
        drawn.append(("magnitude", seen.magnitude))
    axes = np.atleast_1d(figure.subplots(len(drawn), 1, sharex=True))
    count = len(seen.xyz)
    chosen = np.unique(np.linspace(0, max(count - 1, 0), min(count, config.zernike.num_plot)).astype(int))
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 0.92, max(len(chosen), 1)))
    for axis, (label, values) in zip(axes, drawn, strict=True):
        noll = np.arange(1, values.shape[1] + 1)
        for emitter, colour in zip(chosen, colours, strict=False):
            x, y, _ = seen.xyz[emitter]
            axis.plot(noll, values[emitter], "o-", color=colour, ms=3.5, lw=1, label=f"({x:.0f}, {y:.0f})")
        axis.axhline(0, color=_GREY, lw=0.6, zorder=0)
        axis.set_ylabel(label)
        axis.grid(axis="x", color="0.92")
        _style(axis)
    axes[-1].set_xlabel("Noll index")
    axes[-1].set_xticks(np.arange(1, seen.phase.shape[1] + 1, max(1, seen.phase.shape[1] // 22)))
    axes[0].set_title(f"Zernike coefficients of {len(chosen)} of {count} emitters", fontsize=11)
    if 0 < len(chosen) <= 12:
        legend = axes[0].legend(
            title="at (x, y), px", fontsize=7, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
        )
        legend.set_frame_on(False)
