"""Background and illumination: smooth random fields, background images, and a Gaussian illumination profile.

Images use the pixels of the field of view: image pixel (0, 0) is field pixel (0, 0), integers are pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import beam
from simtiff._core import random_field as fill_random_field
from simtiff.errors import DataError, ShapeError
from simtiff.imaging.arrays import borrowed, is_whole, numbers, output, shown, whole_numbers
from simtiff.imaging.camera import scramble
from simtiff.io.tiff import tifffile_silenced
from simtiff.language import Text

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

_LARGEST_IMAGE_BYTES = 1 << 32


def random_field(
    shape: tuple[int, int],
    length_px: float,
    *,
    seed: int = 1,
    origin: tuple[int, int] = (0, 0),
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute a Gaussian random field with mean 0, rms 1 and autocorrelation ``exp(-r^2 / (2 length_px^2))``.

    The field is white noise on a lattice, convolved with a Gaussian. The value of a pixel depends only on the seed, the
    length and its position in the field: any part of the field is bit-identical.

    Parameters
    ----------
    shape : (y, x)
        Shape of the array.
    length_px : float
        Correlation length in pixels, from 0.5 to 1e6.
    seed : int
        Any non-negative integer below 2^1024; different seeds give independent fields.
    origin : (x, y)
        Position of pixel (0, 0) in the field, whole numbers; may be negative.
    out : array (y, x) float32, optional
        Filled in place and returned.

    Returns
    -------
    array (y, x) float32

    Raises
    ------
    ConfigError
        The length or the seed is not allowed.
    ShapeError
        The shape, the origin or ``out`` is invalid.
    """
    out = output(out, whole_numbers("shape", shape, 2), np.float32)
    if len(origin) != 2 or not all(is_whole(place) and abs(place) <= 2**40 for place in origin):
        raise ShapeError(f"origin is {shown(origin)}; expected 2 whole numbers, x and y")
    with borrowed():
        fill_random_field(scramble(seed), length_px, (int(origin[0]), int(origin[1])), out)
    return out


@dataclass(frozen=True)
class Beam:
    """A Gaussian illumination profile with peak 1: ``exp(-4 ln 2 r^2 / fwhm_um^2)``, r in micrometres from its centre.

    Attributes
    ----------
    fwhm_um : float
        Full width at half maximum, in micrometres.
    centre_px : (x, y)
        Position of the peak, in px of the field.
    pixel_size_um : (x, y)
        Pixel size, in micrometres.
    """

    fwhm_um: float
    centre_px: tuple[float, float]
    pixel_size_um: tuple[float, float]

    def at(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Return the relative intensity at positions.

        Parameters
        ----------
        xy : array (n, 2)
            x and y in px of the field.

        Returns
        -------
        array (n,) float64
            From 0 to 1, bit-identical on every processor.

        Raises
        ------
        ShapeError
            ``xy`` is not such an array.
        ConfigError
            The width is not above 0.
        """
        places = numbers("xy", xy, np.float64, 2)
        if places.shape[1] != 2:
            raise ShapeError(f"xy has shape {places.shape}; expected (n, 2)")
        light = np.empty(len(places))
        width_x, width_y = (self.fwhm_um / size for size in self.pixel_size_um)
        beam(places, self.centre_px, (width_x, width_y), light)
        return light

    def image(self, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
        """Return the relative intensity at the pixel centres.

        Parameters
        ----------
        shape : (y, x)
            Shape of the image.
        origin : (x, y)
            Position of pixel (0, 0) in the field.

        Returns
        -------
        array (y, x) float64
        """
        rows, columns = whole_numbers("shape", shape, 2)
        (left, top), (x, y) = origin, self.centre_px  # a Gaussian is separable in x and y
        along_x = self.at(np.column_stack([np.arange(left, left + columns), np.full(columns, y)]))
        along_y = self.at(np.column_stack([np.full(rows, x), np.arange(top, top + rows)]))
        light: NDArray[np.float64] = np.outer(along_y, along_x)
        return light


def read_background(
    path: str | os.PathLike[str], photons: float, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> NDArray[np.float64]:
    """Read the background of a frame from an image of the field, scaled to its mean.

    Parameters
    ----------
    path : path
        A ``.tif``, ``.tiff`` or ``.npy`` file with one grey image of finite, non-negative values, in field pixels:
        its pixel (0, 0) is field pixel (0, 0).
    photons : float
        Mean of the whole image after scaling, in photons.
    shape : (y, x)
        Shape of the frame.
    origin : (x, y)
        Field pixel of frame pixel (0, 0).

    Returns
    -------
    array (y, x) float64
        Photons per pixel of the frame.

    Raises
    ------
    DataError
        The file is missing, damaged or not such an image, is zero everywhere, or does not cover the frame.
    """
    source = Path(path)
    image = _read_image(source)
    if image.dtype.kind not in "uif" or image.ndim != 2 or not image.size:
        text = Text(
            "{path}: is an array of type {dtype} and shape {shape}; allowed: one grey image, (y, x)",
            path=source,
            dtype=image.dtype,
            shape=image.shape,
        )
        raise DataError(text)
    low, high = float(image.min()), float(image.max())  # NaN if the image has any NaN
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0):
        text = Text(
            "{path}: has NaN, infinite or negative values ({low:g} to {high:g}); allowed: finite numbers from 0",
            path=source,
            low=low,
            high=high,
        )
        raise DataError(text)
    if high == 0:
        raise DataError(Text("{path}: is zero everywhere; allowed: some pixels above 0", path=source))
    (rows, columns), (height, width), (left, top) = image.shape, shape, origin
    if left < 0 or top < 0 or left + width > columns or top + height > rows:
        text = Text(
            "{path}: has {columns} x {rows} px, but must cover the whole frame, x {left} to {right} and y {top} to "
            "{bottom} of the field",
            path=source,
            columns=columns,
            rows=rows,
            left=left,
            right=left + width - 1,
            top=top,
            bottom=top + height - 1,
        )
        raise DataError(text)
    # An exact sum is bit-identical for every version of NumPy and on every processor.
    total = math.fsum(math.fsum((row.astype(np.float64) / high).tolist()) for row in image)
    part: NDArray[np.float64] = image[top : top + height, left : left + width].astype(np.float64) / high
    return part * (photons / (total / image.size))


def _read_image(source: Path) -> NDArray[Any]:
    """Return the content of an image file."""
    if not source.is_file():
        text = Text("{path}: not a file", path=source) if source.exists() else Text("{path}: no such file", path=source)
        raise DataError(text)
    ending = source.suffix.lower()
    if ending not in {".tif", ".tiff", ".npy"}:
        raise DataError(Text("{path}: unsupported image format; allowed: .tif, .tiff, .npy", path=source))
    try:
        return _from_npy(source) if ending == ".npy" else _from_tiff(source)
    except DataError:
        raise
    except Exception as error:  # readers may raise almost anything for a damaged file
        reason = f"{type(error).__name__}: {error}"
        text = Text("{path}: cannot be read; the file is damaged or incomplete ({reason})", path=source, reason=reason)
        raise DataError(text) from error


def _from_npy(source: Path) -> NDArray[Any]:
    stored = np.lib.format.open_memmap(source, mode="r")  # fails if the file is shorter than it declares
    return np.array(stored)


def _from_tiff(source: Path) -> NDArray[Any]:
    import tifffile

    with tifffile_silenced(), tifffile.TiffFile(source) as file:
        if len(file.pages) != 1:
            text = Text("{path}: has {count} images; allowed: one grey image", path=source, count=len(file.pages))
            raise DataError(text)
        page: Any = file.pages.first
        if page.nbytes > _LARGEST_IMAGE_BYTES:
            raise DataError(f"{source}: declares an image of {page.nbytes:.3g} bytes")
        end = max((at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
        if end > source.stat().st_size:
            raise DataError(Text("{path}: the image is truncated", path=source))
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError as error:
            name = getattr(page.compression, "name", page.compression)
            text = Text(
                "{path}: is compressed with {name}; allowed: no compression, or deflate", path=source, name=name
            )
            raise DataError(text) from error
        image: NDArray[Any] = page.asarray()
        return image
