"""Zernike coefficients of the pupil at any place of the field: measured, scattered and synthetic maps.

- `fieldmap`: a map: opened, checked, asked for coefficients
- `maps`: a job's field on its map, and its emitters' coefficients
- `mapfile`: the HDF5 file of a map
- `grid`: planes of pixels, filtered, interpolated and kept in memory
- `measured`, `synthetic`: where a map's numbers come from: a file, shared in a process, or a formula
- `info`: what a map holds
"""

__all__ = ["fieldmap", "grid", "info", "mapfile", "maps", "measured", "synthetic"]
