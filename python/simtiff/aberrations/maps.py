"""Aberration maps by name: open, digest, check, and tabulate them, and ask them for a job's coefficients."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations._scattered import read_magnitude
from simtiff.aberrations.fieldmap import FieldMap, outside_message
from simtiff.aberrations.mapfile import read_header, read_planes
from simtiff.aberrations.measured import MeasuredMap
from simtiff.aberrations.synthetic import (
    BUILTIN,
    SyntheticMap,
    builtin_digest,
)
from simtiff.errors import DataError
from simtiff.io.hdf5 import open_hdf5

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig


_HASH_BLOCK = 1 << 20

# The last map of this process and the digests of its files: a worker's jobs share what was read and filtered.
# One map only, since a large one takes 100 MB and more.
_last_map: list[tuple[tuple[object, ...], FieldMap]] = []
_digests: dict[tuple[str, int, int], str] = {}
_checked: set[tuple[str, int, int]] = set()


def _identity(path: str) -> tuple[str, int, int]:
    """Return what tells two contents of a file apart without reading it: path, time of change, size."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - a str may hold what Path refuses
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no such file, or no permission to read it ({error})") from error
    return str(Path(path).absolute()), stat.st_mtime_ns, stat.st_size


def open_map(zmap_path: str | os.PathLike[str], *, size: float, offset: tuple[float, float] = (0, 0)) -> FieldMap:
    """Open a map for a square field; the last map of this process is kept and shared.

    Parameters
    ----------
    zmap_path
        An HDF5 file or ``builtin:oil``.
    size
        Side of the field in px.
    offset
        Map pixel (x, y) of field pixel (0, 0). Only the part of the map under the field, with a margin, is
        kept in memory. The built-in map is as large as the field needs: ``max(offset) + size``.

    Raises
    ------
    DataError
        If the file is missing, damaged, or no map.
    """
    path = os.fspath(zmap_path)
    if path == BUILTIN:
        return SyntheticMap(int(np.ceil(max(offset) + size)))
    spans = [(start - 0.5, start + size - 0.5) for start in offset]
    key = (*_identity(path), *spans)
    if not _last_map or _last_map[0][0] != key:
        _last_map.clear()  # the old map's memory goes before the new one comes
        _last_map.append((key, MeasuredMap(path, spans[0], spans[1])))
    return _last_map[0][1]


def open_field(config: JobConfig) -> FieldMap:
    """Open a job's map and check that it covers the job's field; see `open_map` and `check_field`."""
    field = open_map(config.zmap_path, size=config.emitters.area_px, offset=config.zernike.crop_offset)
    check_field(config, field)
    return field


def check_field(config: JobConfig, field: FieldMap) -> None:
    """Raise `DataError` if a job's field is larger than its map, unless the config allows that."""
    zernike = config.zernike
    if zernike.extrapolate is not None:
        return
    height, width = field.shape
    for axis, length, offset in (("x", width, zernike.crop_offset[0]), ("y", height, zernike.crop_offset[1])):
        stop = offset + config.emitters.area_px
        end = length if zernike.crop_size is None else min(length, offset + zernike.crop_size)
        if stop > end:
            name = field.name
            first = 0
            if zernike.crop_size is not None:
                name, first = f"{name} (cut to zernike.crop_size {zernike.crop_size})", offset
            raise DataError(outside_message(name, axis, offset - 0.5, stop - 0.5, end - first, first))


def field_coefficients(
    config: JobConfig, field: FieldMap, xy: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return phase and magnitude coefficients, (n, modes) float32 each, at emitters of a job.

    Parameters
    ----------
    config
        The job's config; ``zernike`` says how the field lies on the map.
    field
        The job's map, from `open_field`.
    xy
        (n, 2) or wider: x and y in px of the field.
    """
    zernike = config.zernike
    x0, y0 = zernike.crop_offset
    x, y = xy[:, 0].astype(np.float64) + x0, xy[:, 1].astype(np.float64) + y0
    if zernike.crop_size is not None:
        x = np.clip(x, x0, x0 + zernike.crop_size - 1)
        y = np.clip(y, y0, y0 + zernike.crop_size - 1)
    return field.coefficients(x, y, method=zernike.interpolation_method, extrapolate=zernike.extrapolate)


def map_digest(zmap_path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a map's content as hex digits; of the built-in map, of its recipe.

    Cached by path, time of change and size. `DataError` if the file cannot be read.
    """
    path = os.fspath(zmap_path)
    if path == BUILTIN:
        return builtin_digest()
    key = _identity(path)
    if key not in _digests:
        if not Path(path).is_file():
            raise DataError(f"{path}: not a file; an HDF5 file is needed")
        digest = hashlib.sha256()
        try:
            with Path(path).open("rb") as file:
                while block := file.read(_HASH_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        _digests[key] = digest.hexdigest()
    return _digests[key]


def check_map(zmap_path: str | os.PathLike[str]) -> None:
    """Read a whole map once and check every number of it; nothing is kept but that it was good.

    Raises
    ------
    DataError
        If the file is missing, damaged, or no map, or holds NaN, infinities or absurd numbers.
    """
    path = os.fspath(zmap_path)
    if path == BUILTIN:
        return
    key = _identity(path)
    if key in _checked:
        return
    with open_hdf5(path) as file:
        header = read_header(path, file)
        for _ in read_planes(file, header):
            pass
        read_magnitude(file, header)
    _checked.add(key)
