"""File input and output: atomic writing, HDF5, OME-TIFF; CPUs and locks.

Independent of configs and physics.

- `files`: partial files, file locks, checksums, checks of output paths
- `hdf5`: read HDF5 files that may be damaged; write HDF5 files atomically
- `locks`: thread locks that survive a fork
- `matlab`: conventions of MATLAB's HDF5 files
- `omexml`: the OME-XML metadata of a movie
- `rows`: numeric datasets, read row by row
- `system`: CPUs and control groups
- `tiff`: OME-TIFF movies
"""

__all__ = ["files", "hdf5", "locks", "matlab", "omexml", "rows", "system", "tiff"]
