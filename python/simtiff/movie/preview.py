"""A frame of a movie as a picture: an 8-bit PNG with stretched contrast."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from simtiff.errors import ConfigError, DataError
from simtiff.io.files import write_whole
from simtiff.io.tiff import tifffile_silenced
from simtiff.language import Text

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

_MOST_FRAMES_LOOKED_AT = 32
_LARGEST_FRAME_BYTES = 1 << 32


def preview(tiff: str | os.PathLike[str], png: str | os.PathLike[str] | None = None, frame: int | None = None) -> Path:
    """Save one frame of a movie as a grey 8-bit PNG.

    The darkest 1 % of the pixels become black, the brightest 0.1 % white.

    Parameters
    ----------
    tiff : path
        The movie: any TIFF of grey frames of one size.
    png : path, optional
        The picture; default: the movie's name with ``.png`` after it.
    frame : int, optional
        Which frame, from 0; default: the brightest of (at most 32, evenly spread) frames.

    Returns
    -------
    Path
        The picture's path.

    Raises
    ------
    DataError
        The movie is missing, damaged, or not a stack of grey frames.
    ConfigError
        No such frame.
    """
    source = Path(tiff)
    target = Path(png) if png is not None else source.with_name(f"{source.name}.png")
    if not source.is_file():
        raise DataError(Text("{path}: no such file", path=source))
    try:
        with tifffile_silenced():
            picture = png_bytes(stretch(_read_frame(source, frame)))
    except (DataError, ConfigError):
        raise
    except Exception as error:  # a damaged file makes tifffile raise nearly anything
        raise DataError(f"{source}: cannot be read as TIFF ({type(error).__name__}: {error})") from error
    write_whole(target, picture)
    return target


def _read_frame(source: Path, frame: int | None) -> NDArray[Any]:
    with tifffile.TiffFile(source) as file:
        pages = file.pages
        count = len(pages)
        if not count:
            raise DataError(f"{source}: holds no frames")
        if frame is not None:
            if not 0 <= frame < count:
                raise ConfigError(f"{source}: there is no frame {frame}; allowed: 0 to {count - 1}")
            return _checked(source, pages[frame])
        step = -(-count // _MOST_FRAMES_LOOKED_AT)
        frames = (_checked(source, pages[index]) for index in range(0, count, step))
        return max(frames, key=lambda image: float(image.sum(dtype=np.float64)))


def _checked(source: Path, page: Any) -> NDArray[Any]:
    if len(page.shape) != 2 or 0 in page.shape or page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{source}: holds pages of shape {page.shape} and type {page.dtype}; expected grey frames")
    if page.nbytes > _LARGEST_FRAME_BYTES:
        raise DataError(f"{source}: declares frames of {page.nbytes:.3g} bytes")
    image: NDArray[Any] = page.asarray()
    return image


def stretch(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as 8 bits: the darkest 1 % black, the brightest 0.1 % white, linear between."""
    values = np.nan_to_num(image.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.quantile(values, (0.01, 0.999))
    if high <= low:
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1.0)
    grey: NDArray[np.float64] = np.rint(np.clip(values - low, 0, high - low) * (255 / (high - low)))
    return grey.astype(np.uint8)


def png_bytes(grey: NDArray[np.uint8]) -> bytes:
    """Return a grey 8-bit image, (y, x), as a PNG file."""
    height, width = grey.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter type: 0, none
    rows[:, 1:] = grey
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
