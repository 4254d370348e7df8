"""Files that are whole or not there: atomic writing, HDF5, OME-TIFF. Knows no config and no physics.

- `files`: partial files, locks, checksums, and what may be written where
- `hdf5`: reading HDF5 files that may be damaged, writing whole ones
- `omexml`: what an OME-TIFF says of its movie
- `tiff`: OME-TIFF movies
"""

__all__ = ["files", "hdf5", "omexml", "tiff"]
