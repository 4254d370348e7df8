"""Files that are whole or not there: atomic writing, HDF5, OME-TIFF. And what the system gives.

Knows no config and no physics.

- `files`: partial files, locks, checksums, and what may be written where
- `hdf5`: reading HDF5 files that may be damaged, writing whole ones
- `locks`: locks that a forked child finds open
- `matlab`: what MATLAB does otherwise
- `omexml`: what an OME-TIFF says of its movie
- `rows`: their numbers, row by row
- `system`: CPUs and control groups
- `tiff`: OME-TIFF movies
"""

__all__ = ["files", "hdf5", "locks", "matlab", "omexml", "rows", "system", "tiff"]
