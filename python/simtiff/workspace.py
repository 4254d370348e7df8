"""Memory of the transform from pupils to stamps: its matrices, and the work space of each thread.

As in the core: ``pupil.rs`` says how many rows of the pupil an emitter needs, ``transform.rs`` what they take.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simtiff.config.settings import JobConfig

_LANES = 16  # emitters at a time, at most
_FILTERED = 4
_ABERRATION_RADIANS = 6.0
_ROWS: tuple[int, ...] = (*range(10, 49, 2), 52, 56, 60, 64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512)


def transform_bytes(config: JobConfig, modes: int, threads: int) -> float:
    """Return what the transform takes at most, for emitters as usual: in the frame, without large aberrations."""
    optical, tiff, size = config.optical, config.tiff, config.psf.size_px
    if tiff.use_direct_rendering:
        cutoff = 2 * optical.NA * max(optical.pixel_size_nm_x, optical.pixel_size_nm_y) / optical.wavelength_nm
        per_pixel = max(1.0, 2.2 * cutoff)
    else:
        per_pixel = tiff.hr_size / tiff.roi_size
    half = size * per_pixel / 2 + 16  # samples on one side of the middle
    fewest, most = _rows(config, 0.0, 0.0), _rows(config, config.emitters.z_range_um, _ABERRATION_RADIANS)
    plans = [rows for rows in _ROWS if fewest <= rows <= most]
    matrices = sum(2 * (_nodes(rows) + rows / 2) * half + 2 * _nodes(rows) * (modes + 3) for rows in plans)
    space = 8 * (_nodes(most) + half * most / 2) + 2 * half * (size + 3 * _FILTERED)
    return 1.1 * 4 * (matrices + threads * _LANES * space)


def _rows(config: JobConfig, z_um: float, aberration: float) -> int:
    """Return the rows of the pupil that an emitter needs at a height, and with phases so steep, in radians."""
    optical = config.optical
    per_nm = 2 * math.pi / optical.wavelength_nm
    pixel_nm = max(optical.pixel_size_nm_x, optical.pixel_size_nm_y)
    stamp = per_nm * optical.NA * pixel_nm * config.psf.size_px / 2
    steepness = optical.NA**2 / math.sqrt(max(optical.n_immersion**2 - optical.NA**2, 1e-3))
    needed = 11 + 0.54 * stamp + 0.36 * (per_nm * steepness * 1000 * z_um + aberration)
    return min((rows for rows in _ROWS if rows >= needed), default=_ROWS[-1])


def _nodes(rows: int) -> float:
    """Return the nodes on a quarter of the pupil."""
    return rows / 4 * (8 + max(0, rows - 12) * 2 / math.pi)
