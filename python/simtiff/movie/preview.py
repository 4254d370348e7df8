"""A frame of a movie as a picture: enlarged by whole factors, with axes, a scale bar and, optionally, the truth."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from simtiff.config.identity import TRUTH_NAME
from simtiff.errors import ConfigError, DataError
from simtiff.io.files import write_whole
from simtiff.io.tiff import tifffile_silenced
from simtiff.language import Text

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

_MOST_FRAMES_LOOKED_AT = 32
_LARGEST_FRAME_BYTES = 1 << 32
_WIDE_PX, _HIGH_PX, _LARGEST_PX = 640, 1400, 4096
# Black is slightly below the background. Only a few pixels are white; with more, in a sparse frame all pixels of
# emitters would be.
_BLACK, _WHITE, _GAMMA = 0.2, 2e-4, 0.6
_UM = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3}


@dataclass(frozen=True)
class _Frame:
    """A frame, its number, the number of frames, and the pixel size along x and y, if the movie has it."""

    image: NDArray[Any]
    number: int
    count: int
    pixel_um: tuple[float, float] | None


def preview(
    tiff: str | os.PathLike[str],
    png: str | os.PathLike[str] | None = None,
    frame: int | None = None,
    *,
    truth: str | os.PathLike[str] | bool = False,
    config: JobConfig | None = None,
) -> Path:
    """Save one frame of a movie as a PNG, at least 800 px wide.

    Small frames are enlarged by whole factors, without smoothing. Frames of more than 4096 px are reduced to the
    brightest of each 2 x 2 pixels, 3 x 3, and so on. The axes are in pixels and, if the movie has a pixel size, in
    micrometres, with 0 at the centre of the first pixel. Without matplotlib, the picture is the frame without axes. See
    `stretch` for the grey values.

    Parameters
    ----------
    tiff : path
        The movie: any TIFF of grey frames of one size.
    png : path, optional
        The picture; default: the movie's name with ``.png`` after it.
    frame : int, optional
        Which frame, from 0; default: the brightest of (at most 32, evenly spread) frames.
    truth : path or bool, optional
        Mark the emitters that emit in this frame: those of a truth file, or (True) of the ``emitters.h5`` beside the
        movie.
    config : JobConfig, optional
        The config of the movie, if it differs from that in the truth file: its `crop_offset` and `roi_size` set the
        frame's position in the field.

    Returns
    -------
    Path
        Path of the picture.

    Raises
    ------
    DataError
        The movie or the truth is missing or damaged, the movie is not a stack of grey frames, or the frames of truth
        and movie do not match.
    ConfigError
        The frame does not exist, or the truth is requested and matplotlib is not installed.
    """
    source = Path(tiff)
    target = Path(png) if png is not None else source.with_name(f"{source.name}.png")
    if not source.is_file():
        raise DataError(Text("{path}: no such file", path=source))
    try:
        with tifffile_silenced():
            shown = _read_frame(source, frame)
    except (DataError, ConfigError):
        raise
    except Exception as error:  # tifffile raises nearly anything for a damaged file
        text = Text("{path}: cannot be read as TIFF ({reason})", path=source, reason=f"{type(error).__name__}: {error}")
        raise DataError(text) from error
    marks = None
    if truth is not False:
        marks = _marks(source, shown, source.with_name(TRUTH_NAME) if truth is True else Path(truth), config)
    _save_picture(source, shown, marks, target)
    return target


def _read_frame(source: Path, frame: int | None) -> _Frame:
    with tifffile.TiffFile(source) as file:
        pages = file.pages
        count = len(pages)
        if not count:
            raise DataError(Text("{path}: has no frames", path=source))
        if frame is not None:
            if not 0 <= frame < count:
                text = Text(
                    "{path}: frame {frame} does not exist; allowed: 0 to {last}",
                    path=source,
                    frame=frame,
                    last=count - 1,
                )
                raise ConfigError(text)
            numbers = range(frame, frame + 1)
        else:
            numbers = range(0, count, -(-count // _MOST_FRAMES_LOOKED_AT))
        frames = ((_checked(source, pages[index]), index) for index in numbers)
        with np.errstate(over="ignore", invalid="ignore"):
            image, number = max(frames, key=lambda pair: float(pair[0].sum(dtype=np.float64)))
        return _Frame(image, number, count, _pixel_um(file.ome_metadata))


def _checked(source: Path, page: Any) -> NDArray[Any]:
    if len(page.shape) != 2 or 0 in page.shape or page.dtype is None or page.dtype.kind not in "uif":
        text = Text(
            "{path}: has pages of shape {shape} and type {dtype}; expected grey frames",
            path=source,
            shape=page.shape,
            dtype=page.dtype,
        )
        raise DataError(text)
    if page.nbytes > _LARGEST_FRAME_BYTES:
        raise DataError(f"{source}: declares frames of {page.nbytes:.3g} bytes")
    image: NDArray[Any] = page.asarray()
    return image


def _pixel_um(ome: str | None) -> tuple[float, float] | None:
    """Return the pixel size in OME-XML, if any."""
    sizes = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]{{1,40}})"', ome or "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]{{1,10}})"', ome or "")
        try:
            sizes.append(float(size[1]) * _UM[unit[1] if unit else "µm"] if size else 0.0)
        except (ValueError, KeyError):
            return None
    return (sizes[0], sizes[1]) if all(1e-6 < size < 1e6 for size in sizes) else None


def _marks(source: Path, shown: _Frame, truth_path: Path, config: JobConfig | None) -> NDArray[np.float64]:
    """Return the positions of the emitters that emit in a frame, x and y in its pixels, (n, 2)."""
    from simtiff.movie.truthfile import TruthFile

    with TruthFile(truth_path, config, coefficients="computed") as truth:
        tiff = truth.config.tiff
        height, width = tiff.frame_shape
        if (truth.n_frames, height, width) != (shown.count, *shown.image.shape):
            rows, columns = shown.image.shape
            text = Text(
                "{path}: is the truth of {frames} frames of {width} x {height} px, but {movie} has {count} frames of "
                "{columns} x {rows} px; give the config of the movie with --config",
                path=truth_path,
                frames=truth.n_frames,
                width=width,
                height=height,
                movie=source,
                count=shown.count,
                columns=columns,
                rows=rows,
            )
            raise DataError(text)
        scene = truth.scene(shown.number, shown.number + 1)
    places = scene.xyz[np.unique(scene.emitter_ix[scene.photons > 0]), :2] - np.asarray(tiff.crop_offset)
    inside = ((places >= -0.5) & (places < np.array([width, height]) - 0.5)).all(axis=1)
    kept: NDArray[np.float64] = places[inside]
    return kept


def _save_picture(source: Path, shown: _Frame, marks: NDArray[np.float64] | None, target: Path) -> None:
    import importlib.util

    if marks is None and importlib.util.find_spec("matplotlib") is None:
        factors = _factors(shown.image.shape, None, 800)
        write_whole(target, png_bytes(_enlarged(stretch(shown.image), factors)))
        return
    from simtiff.movie._drawing import drawing, save

    with drawing():
        save(_draw(source, shown, marks), target)


def _factors(shape: tuple[int, ...], pixel_um: tuple[float, float] | None, wide: int = _WIDE_PX) -> tuple[int, int]:
    """Return the enlargement along x and y that gives a picture of about `wide` pixels."""
    height, width = shape
    ratio = min(max(pixel_um[1] / pixel_um[0], 0.1), 10.0) if pixel_um else 1.0
    across = max(1, round(1 / ratio), min(-(-wide // width), int(_HIGH_PX / (height * ratio))))
    return across, max(1, round(across * ratio))


def _enlarged(grey: NDArray[np.uint8], factors: tuple[int, int]) -> NDArray[np.uint8]:
    across, down = factors
    return np.repeat(np.repeat(grey, down, axis=0), across, axis=1)


def _reduced(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image of at most `_LARGEST_PX` per side, from the brightest of each 2 x 2 pixels, or 3 x 3, ..."""
    step = -(-max(grey.shape) // _LARGEST_PX)
    if step == 1:
        return grey
    rows = np.maximum.reduceat(grey, np.arange(0, grey.shape[0], step), axis=0)
    return np.maximum.reduceat(rows, np.arange(0, grey.shape[1], step), axis=1)


def _draw(source: Path, shown: _Frame, marks: NDArray[np.float64] | None) -> Figure:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    from simtiff.movie._drawing import (
        DPI,
        MARK,
        add_axes,
        add_scale_bar,
        add_title,
        add_um_axes,
        drawable,
        new_figure,
    )

    height, width = shown.image.shape
    grey = _reduced(stretch(shown.image))
    grey = _enlarged(grey, _factors(grey.shape, shown.pixel_um))
    tall, wide = grey.shape
    left = max(90, 310 - wide // 2)
    figure = new_figure(left + wide + max(250, 510 - wide // 2), max(tall, 200) + 220)
    rgb = np.repeat(grey[..., np.newaxis], 3, axis=2)  # unchanged grey values: a colour map would round them
    figure.figimage(rgb, left, figure.bbox.height - 100 - tall, zorder=-1)
    axis = add_axes(figure, left, 100, wide, tall)
    axis.patch.set_visible(False)
    for side, room in ((axis.xaxis, wide / 60), (axis.yaxis, tall / 40)):
        side.set_major_locator(MaxNLocator(nbins=min(max(int(room), 1), 9), integer=True, min_n_ticks=1))
    axis.set(xlabel="x, px", ylabel="y, px", xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if shown.pixel_um:
        add_um_axes(axis, shown.pixel_um)
    add_scale_bar(axis, shown.pixel_um[0] if shown.pixel_um else None)
    low, high = _limits(shown.image)
    bar = add_axes(figure, left + wide + (100 if shown.pixel_um else 40), 100, 22, min(max(tall, 200), 800))
    figure.colorbar(
        ScalarMappable(PowerNorm(_GAMMA, low, high), "gray"),
        cax=bar,
        label="pixel value",
        extend="both",
        extendfrac=0.02,
    )
    of = f", frame {shown.number} of 0–{shown.count - 1}" if shown.count > 1 else ""
    add_title(figure, axis, drawable(source.name) + of)
    if marks is not None:
        label = f"truth: {len(marks):,} emitter{'' if len(marks) == 1 else 's'} in this frame"
        ring_px = min(max(8 * wide / width, 14), 22)
        axis.plot(*marks.T, "o", ms=ring_px * 72 / DPI, mfc="none", mec=MARK, mew=ring_px / 18, label=label)
        if wide >= 4 * width:
            axis.plot(*marks.T, ".", ms=2, color=MARK)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -85 / tall))
    return figure


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the values shown as black and white."""
    values = _numbers(image)
    white = max(_WHITE, min(8 / values.size, 0.01))
    low, high = (float(value) for value in np.quantile(values, (_BLACK, 1 - white)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high - low <= max(1e-9 * abs(low), 1e-30):
        high = low + max(1.0, 1e-3 * abs(low))
    return low, high


def _numbers(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return pixels as numbers that can be drawn: finite, and with finite differences."""
    numbers: NDArray[np.float64] = np.nan_to_num(image.astype(np.float64), posinf=0.0, neginf=0.0)
    return np.clip(numbers, -1e100, 1e100)


def stretch(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an 8-bit image in which both dim and bright emitters are visible.

    The darkest fifth of the pixels is black, the brightest 0.02 % (at least 8 pixels, at most 1 %) white. Between them
    a gamma of 0.6 raises dim pixels.
    """
    low, high = _limits(image)
    part = np.clip((_numbers(image) - low) / (high - low), 0, 1)
    grey: NDArray[np.float64] = np.rint(255 * part**_GAMMA)
    return grey.astype(np.uint8)


def png_bytes(grey: NDArray[np.uint8]) -> bytes:
    """Return a grey 8-bit image, (y, x), as a PNG file."""
    height, width = grey.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter type (0: none)
    rows[:, 1:] = grey
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
