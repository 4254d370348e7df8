"""Zernike coefficients of the pupil at any position in the field: measured, scattered and synthetic maps.

- `fieldmap`: aberration maps: open, check, get coefficients
- `maps`: a job's field on its map, and the coefficients of its emitters
- `mapfile`: the HDF5 file of a map
- `grid`: planes on a pixel grid: spline filter, interpolation, caching
- `measured`, `synthetic`: sources of maps: a file (shared within a process), or a formula
- `info`: summary of a map
"""

__all__ = ["fieldmap", "grid", "info", "mapfile", "maps", "measured", "synthetic"]
