"""Drawing in our own style, regardless of the caller's matplotlib settings (optional dependencies ``plot``).

matplotlib's settings are global. `drawing` sets its defaults and our style, and restores the caller's settings after
it, one thread at a time. Figures have their own Agg canvas; they have no window or backend and are not in the list of
open figures.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import ConfigError
from simtiff.io.files import replacing
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

DPI = 130
INK = "0.25"
MARK = "#ff8c1a"
_STYLE = {
    "axes.edgecolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "figure.dpi": DPI,
    "figure.titlesize": 11,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):  # a forked child starts with the caller's settings and a free lock
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style within the block; the caller's settings are restored after it, also after an exception.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    with _LOCK:
        mpl = _matplotlib()
        ours = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"} | _STYLE
        with mpl.rc_context(ours):
            yield


def _matplotlib() -> Any:
    """Import matplotlib, which refuses to load if the backend in ``MPLBACKEND`` is not installed."""
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError as error:
        raise ConfigError(Text("plots need matplotlib, which is not installed: pip install matplotlib")) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # the caller's backend, if it loads
            mpl.rcParams["backend"] = backend
    return mpl


def new_figure(width_px: float, height_px: float) -> Figure:
    """Return an empty figure without a window or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(round(width_px) / DPI, round(height_px) / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a position in pixels of the picture, from its upper left corner."""
    across, down = (float(side) * DPI for side in figure.get_size_inches())
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def add_title(figure: Figure, axis: Axes, title: str) -> None:
    """Write a title at the top of the picture, centred on the axes."""
    place = axis.get_position()
    down = 12 / (DPI * float(figure.get_size_inches()[1]))
    figure.text((place.x0 + place.x1) / 2, 1 - down, title, ha="center", va="top", fontsize=11, parse_math=False)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically, without dates or versions that would change its bytes."""
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


@cache
def diverging() -> Colormap:
    """Return a colour map from blue over near black to orange: visible on white and safe for colour-blind readers."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = ("#7cc8f5", "#2a7fc0", "#1d2733", "#c8580a", "#ffb24d")
    return LinearSegmentedColormap.from_list("simtiff_diverging", colours)


@cache
def sequential() -> Colormap:
    """Return viridis without its last, palest tenth, which is hard to see on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](range(232)), "simtiff_sequential")


def add_um_axes(axis: Axes, pixel_um: tuple[float, float]) -> None:
    """Add axes in micrometres, 0 at the centre of pixel 0, above and to the right of those in pixels."""
    top = axis.secondary_xaxis("top", functions=_scaling(pixel_um[0]))
    right = axis.secondary_yaxis("right", functions=_scaling(pixel_um[1]))
    top.set_xlabel("x, µm")
    right.set_ylabel("y, µm")


def _scaling(factor: float) -> tuple[Callable[[ArrayLike], ArrayLike], Callable[[ArrayLike], ArrayLike]]:
    """Return a multiplication and its inverse."""
    return (lambda values: np.multiply(values, factor)), (lambda values: np.divide(values, factor))


def add_scale_bar(axis: Axes, pixel_um: float | None, below_points: float = 30) -> None:
    """Add a scale bar of a round length, at most a quarter of the axes' width, below their right end."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    low, high = (float(side) for side in sorted(axis.get_xlim()))
    unit, size = ("px", 1.0) if pixel_um is None else ("µm", pixel_um)
    length = round_length((high - low) * size / 4)
    figure = axis.get_figure()
    start = high - length / size
    down = ScaledTranslation(0, -below_points / 72, figure.dpi_scale_trans)  # type: ignore[union-attr]
    place = blended_transform_factory(axis.transData, axis.transAxes + down)
    axis.add_line(Line2D([start, high], [0, 0], color="black", lw=3, transform=place, clip_on=False))
    down = ScaledTranslation(0, -(below_points + 4) / 72, figure.dpi_scale_trans)  # type: ignore[union-attr]
    place = blended_transform_factory(axis.transData, axis.transAxes + down)
    axis.text(high - length / size / 2, 0, f"{length:g} {unit}", transform=place, ha="center", va="top", fontsize=8)


def round_length(most: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return float(f"{max(step for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)) * power:.6g}")


def drawable(text: str) -> str:
    """Return a name shortened for drawing; characters missing in the font become question marks."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    text = text if len(text) <= 48 else f"{text[:22]}…{text[-22:]}"
    glyphs = FT2Font(findfont("DejaVu Sans")).get_charmap()
    return "".join(letter if ord(letter) in glyphs and letter.isprintable() else "?" for letter in text)
