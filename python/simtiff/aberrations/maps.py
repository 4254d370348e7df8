"""A job's field on its aberration map: opened, checked, and asked for the emitters' coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.fieldmap import FieldMap, outside_message
from simtiff.aberrations.measured import measured_map
from simtiff.aberrations.synthetic import BUILTIN, builtin_digest
from simtiff.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig


def map_under(config: JobConfig) -> FieldMap:
    """Open a job's map for the job's field; see `FieldMap.open`."""
    return FieldMap.open(config.zmap_path, size=config.emitters.area_px, offset=config.zernike.crop_offset)


def open_field(config: JobConfig) -> FieldMap:
    """Open a job's map and check that it covers the job's field; see `map_under` and `check_field`."""
    field = map_under(config)
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


def map_digest(zmap_path: str) -> str:
    """Return the SHA-256 of a map's content as hex digits; of the built-in map, of its recipe.

    `DataError` if the file cannot be read.
    """
    return builtin_digest() if zmap_path == BUILTIN else measured_map(zmap_path).digest
