"""Zernike coefficients of the pupil at any place of the field: measured, scattered and synthetic maps.

- `fieldmap`: what every map can do
- `maps`: maps by name: open, check, digest; a job's coefficients
- `mapfile`: the HDF5 file of a map
- `measured`, `synthetic`: maps from such files, and those that are computed
- `info`: what a map holds
"""

__all__ = ["fieldmap", "info", "mapfile", "maps", "measured", "synthetic"]
