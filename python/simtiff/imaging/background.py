"""Light that is not an emitter's own: smooth random backgrounds, backgrounds from images; and a beam that lights all.

Images lie on the pixels of the field of view: pixel (0, 0) is the field's, integers are pixel centres.
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
    """Make a Gaussian random field of mean 0, rms 1 and autocorrelation ``exp(-r^2 / (2 length_px^2))``.

    White noise on a lattice, convolved with a Gaussian. A pixel's value is a pure function of the seed, the length and
    its place in the field, to the last bit: any part of the field shows the same values.

    Parameters
    ----------
    shape : (y, x)
        Pixels.
    length_px : float
        Correlation length in pixels, from 0.5 to 1e6.
    seed : int
        Any integer from 0 up (below 2^1024); different seeds give unrelated fields.
    origin : (x, y)
        Place of pixel (0, 0) in the field, whole numbers; may be negative.
    out : array (y, x) float32, optional
        Filled in place and returned.

    Returns
    -------
    array (y, x) float32

    Raises
    ------
    ConfigError
        If the length or the seed is not allowed.
    ShapeError
        If the shape, the origin or ``out`` does not fit.
    """
    out = output(out, whole_numbers("shape", shape, 2), np.float32)
    if len(origin) != 2 or not all(is_whole(place) and abs(place) <= 2**40 for place in origin):
        raise ShapeError(f"origin is {shown(origin)}; expected 2 whole numbers, x and y")
    with borrowed():
        fill_random_field(scramble(seed), length_px, (int(origin[0]), int(origin[1])), out)
    return out


@dataclass(frozen=True)
class Beam:
    """A Gaussian beam with a peak of 1: ``exp(-4 ln 2 r^2 / fwhm_um^2)``, r in micrometres from its centre.

    Attributes
    ----------
    fwhm_um : float
        Full width at half maximum, in micrometres.
    centre_px : (x, y)
        Place of the peak, in px of the field.
    pixel_size_um : (x, y)
        Size of a pixel, in micrometres.
    """

    fwhm_um: float
    centre_px: tuple[float, float]
    pixel_size_um: tuple[float, float]

    def at(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Return the light at places.

        Parameters
        ----------
        xy : array (n, 2)
            x and y in px of the field.

        Returns
        -------
        array (n,) float64
            From 0 to 1, with the same bits on every processor.

        Raises
        ------
        ShapeError
            If ``xy`` is no such array.
        ConfigError
            If the width is not above 0.
        """
        places = numbers("xy", xy, np.float64, 2)
        if places.shape[1] != 2:
            raise ShapeError(f"xy has shape {places.shape}; expected (n, 2)")
        light = np.empty(len(places))
        width_x, width_y = (self.fwhm_um / size for size in self.pixel_size_um)
        beam(places, self.centre_px, (width_x, width_y), light)
        return light

    def image(self, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
        """Return the light at the centres of pixels.

        Parameters
        ----------
        shape : (y, x)
            Pixels.
        origin : (x, y)
            Place of pixel (0, 0) in the field.

        Returns
        -------
        array (y, x) float64
        """
        rows, columns = whole_numbers("shape", shape, 2)
        (left, top), (x, y) = origin, self.centre_px  # a Gaussian is the product of those along x and along y
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
        A ``.tif``, ``.tiff`` or ``.npy`` file with one grey image of finite numbers from 0 up, in the field's pixels:
        its pixel (0, 0) is field pixel (0, 0).
    photons : float
        Mean of the whole image after scaling, in photons.
    shape : (y, x)
        Pixels of the frame.
    origin : (x, y)
        Field pixel that the frame's pixel (0, 0) lies on.

    Returns
    -------
    array (y, x) float64
        Photons per pixel of the frame.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such image, is zero everywhere, or does not cover the frame.
    """
    source = Path(path)
    image = _read_image(source)
    if image.dtype.kind not in "uif" or image.ndim != 2 or not image.size:
        text = Text(
            "{path}: holds numbers of type {dtype} and shape {shape}; allowed: one grey image, (y, x)",
            path=source,
            dtype=image.dtype,
            shape=image.shape,
        )
        raise DataError(text)
    low, high = float(image.min()), float(image.max())  # NaN where there is any
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0):
        text = Text(
            "{path}: holds NaN, infinity or numbers below 0 ({low:g} to {high:g}); allowed: finite numbers from 0",
            path=source,
            low=low,
            high=high,
        )
        raise DataError(text)
    if high == 0:
        raise DataError(Text("{path}: is zero everywhere; a background has some light", path=source))
    (rows, columns), (height, width), (left, top) = image.shape, shape, origin
    if left < 0 or top < 0 or left + width > columns or top + height > rows:
        text = Text(
            "{path}: has {columns} x {rows} px; the frame is on x {left} to {right}, y {top} to {bottom} of the field, "
            "and the image has to cover all of it",
            path=source,
            columns=columns,
            rows=rows,
            left=left,
            right=left + width - 1,
            top=top,
            bottom=top + height - 1,
        )
        raise DataError(text)
    # An exact sum has the same bits for every version of NumPy and on every processor.
    total = math.fsum(math.fsum((row.astype(np.float64) / high).tolist()) for row in image)
    part: NDArray[np.float64] = image[top : top + height, left : left + width].astype(np.float64) / high
    return part * (photons / (total / image.size))


def _read_image(source: Path) -> NDArray[Any]:
    """Return what a file holds, as it is."""
    if not source.is_file():
        text = Text("{path}: is no file", path=source) if source.exists() else Text("{path}: no such file", path=source)
        raise DataError(text)
    ending = source.suffix.lower()
    if ending not in {".tif", ".tiff", ".npy"}:
        raise DataError(Text("{path}: is no image that can be read; allowed: .tif, .tiff, .npy", path=source))
    try:
        return _from_npy(source) if ending == ".npy" else _from_tiff(source)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes its readers raise nearly anything
        reason = f"{type(error).__name__}: {error}"
        text = Text("{path}: cannot be read; the file is damaged or incomplete ({reason})", path=source, reason=reason)
        raise DataError(text) from error


def _from_npy(source: Path) -> NDArray[Any]:
    stored = np.lib.format.open_memmap(source, mode="r")  # mapped: the file has to hold what it declares
    return np.array(stored)


def _from_tiff(source: Path) -> NDArray[Any]:
    import tifffile

    with tifffile_silenced(), tifffile.TiffFile(source) as file:
        if len(file.pages) != 1:
            text = Text("{path}: holds {count} images; allowed: one grey image", path=source, count=len(file.pages))
            raise DataError(text)
        page: Any = file.pages.first
        if page.nbytes > _LARGEST_IMAGE_BYTES:
            raise DataError(f"{source}: declares an image of {page.nbytes:.3g} bytes")
        end = max((at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
        if end > source.stat().st_size:
            raise DataError(Text("{path}: ends before its image does", path=source))
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError as error:
            name = getattr(page.compression, "name", page.compression)
            text = Text("{path}: is compressed by {name}; allowed: no compression, or deflate", path=source, name=name)
            raise DataError(text) from error
        image: NDArray[Any] = page.asarray()
        return image
