"""A picture of an aberration map: a panel for each mode, and the total."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.info import noll_name
from simtiff.aberrations.synthetic import RADIANS_PER_MILLIWAVE
from simtiff.movie._drawing import add_axes, diverging, drawable, drawing, new_figure, save

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["plot_map"]

_MAX_SIDE_PX = 400
_PITCH = 310


def plot_map(zmap_path: str | os.PathLike[str], png: str | Path) -> None:
    """Draw an aberration map: a panel for each mode that is not zero, and the total.

    Each panel has its own scale, symmetric about zero, with the limits in its title. The settings, the backend and the
    open figures of the caller's matplotlib do not change. The function may be called from any thread.

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
    shown: list[tuple[int, NDArray[np.float32]]] = []
    for noll, plane in enumerate(field.planes(), start=1):
        small = plane[::step, ::step] * np.float32(1 / RADIANS_PER_MILLIWAVE)
        if noll > 3:
            squares += small**2
        if np.nan_to_num(small).any():
            shown.append((noll, small))
    with drawing():
        save(_draw(field, shown, np.sqrt(squares)), Path(png))


def _draw(field: FieldMap, shown: list[tuple[int, NDArray[np.float32]]], total: NDArray[np.float64]) -> Figure:
    from matplotlib.cm import ScalarMappable

    height, width = field.shape
    columns = max(3, int(np.ceil(np.sqrt(len(shown) + 1))))
    rows = -(-(len(shown) + 1) // columns)
    scale = 260 / max(height, width)
    wide, tall = max(60, width * scale), max(60, height * scale)
    below = max((tall + 75) * rows - 75, 460)
    figure = new_figure(_PITCH * columns + 250, below + 215)
    axes = [
        add_axes(figure, 100 + _PITCH * (index % columns), 100 + (tall + 75) * (index // columns), wide, tall)
        for index in range(len(shown) + 1)
    ]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    look: dict[str, Any] = {"extent": extent, "interpolation": "nearest", "aspect": "auto"}
    for axis, (noll, plane) in zip(axes, shown, strict=False):
        limit = float(np.nanmax(np.abs(plane)))  # a map may contain NaN
        axis.imshow(plane, cmap=diverging(), vmin=-limit, vmax=limit, **look)
        rms = float(np.sqrt(np.nanmean(plane.astype(np.float64) ** 2)))
        axis.set_title(f"Noll {noll}: {noll_name(noll)}\n±{limit:.3g} mλ, rms {rms:.3g} mλ", fontsize=8)
    sums = axes[-1].imshow(total, cmap="viridis", **look)
    axes[-1].set_title(f"total from Noll 4 on\n{np.nanmin(total):.3g} to {np.nanmax(total):.3g} mλ rms", fontsize=8)
    for index, axis in enumerate(axes):
        lowest = index + columns >= len(axes)
        axis.tick_params(labelbottom=lowest, labelleft=index % columns == 0, labelsize=7)
        axis.locator_params(nbins=4, integer=True, min_n_ticks=1)
        axis.set(xlabel="x, px" if lowest else "", ylabel="" if index % columns else "y, px")
    bars = [add_axes(figure, 110 + _PITCH * columns, 100 + part * below / 2, 22, 0.42 * below) for part in (0, 1.12)]
    signed = figure.colorbar(ScalarMappable(cmap=diverging()), cax=bars[0], ticks=[0, 0.5, 1])
    signed.ax.set_yticklabels(["−", "0", "+"])
    signed.set_label("mode, − to + its limit")
    figure.colorbar(sums, cax=bars[1], label="total, mλ rms")
    name = drawable(Path(field.name).name)
    figure.suptitle(f"{name}: Zernike coefficients over the field", y=1 - 20 / figure.bbox.height, parse_math=False)
    return figure
