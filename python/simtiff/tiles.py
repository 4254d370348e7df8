"""Planes of compressed HDF5 datasets, decompressed by the core: several times as fast as HDF5 does it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5z

from simtiff import _core
from simtiff.io.hdf5 import H5PY_ERRORS

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

_FILTERS = ([h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE])
_MAX_TILE_BYTES = 1 << 26


def read_tiles(dataset: h5py.Dataset, index: int) -> NDArray[np.float32] | None:
    """Return plane `index` of a dataset (planes, y, x), or None where only HDF5 itself can read it.

    That is anything but float32 in gzip tiles of one plane each, all there; also what is damaged, so that HDF5 says
    what is wrong.
    """
    try:
        tiles = dataset.chunks
        if tiles is None or tiles[0] != 1 or dataset.dtype != np.dtype("<f4") or 4 * prod(tiles) > _MAX_TILE_BYTES:
            return None
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if filters not in _FILTERS:
            return None
        _, height, width = dataset.shape
        stored = []
        for y in range(0, height, tiles[1]):
            for x in range(0, width, tiles[2]):
                skipped_filters, data = dataset.id.read_direct_chunk((index, y, x))
                if skipped_filters:
                    return None
                stored.append(data)
        plane = np.empty((height, width), np.float32)
        _core.inflate_tiles(stored, tiles[1:], len(filters) == 2, (height, width), plane)
    except H5PY_ERRORS:
        return None
    return plane
