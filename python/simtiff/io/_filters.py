"""HDF5 filters: load plugins if `hdf5plugin` is installed, and report filters that are missing."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

from h5py import h5z

from simtiff.language import Text

if TYPE_CHECKING:
    import h5py

# https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
_NAMES = {
    h5z.FILTER_SZIP: "szip",
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32002: "MAFISC",
    32003: "Snappy",
    32004: "LZ4",
    32008: "bitshuffle",
    32009: "SPDP",
    32010: "LPC-Rice",
    32011: "CCSDS-123",
    32012: "JPEG-LS",
    32013: "ZFP",
    32014: "FPZIP",
    32015: "Zstandard",
    32016: "B3D",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32022: "granular BitRound",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}


def missing_filter(dataset: h5py.Dataset) -> str | None:
    """Return a message about the first filter that a dataset needs and HDF5 lacks, with the remedy; None if none.

    Loads the plugins of `hdf5plugin` first if one of them may be needed.
    """
    plist = dataset.id.get_create_plist()
    for place in range(plist.get_nfilters()):
        number, flags, _, name = plist.get_filter(place)
        if _available(number) or (flags & h5z.FLAG_OPTIONAL and _is_skipped(dataset, place)):
            continue
        shown = _NAMES.get(number) or name.decode("utf-8", "replace").strip("\0 ") or "unknown to simtiff"
        return Text(
            "is compressed with HDF5 filter {number} ({name}), which is not installed; allowed: any filter in "
            "hdf5plugin (pip install hdf5plugin), or a copy without it (h5repack -f GZIP=4 OLD NEW, "
            "on a machine that has the filter)",
            number=number,
            name=shown,
        )
    return None


def _available(number: int) -> bool:
    if not h5z.filter_avail(number):
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
    return bool(h5z.filter_avail(number))


def _is_skipped(dataset: h5py.Dataset, place: int) -> bool:
    """Return whether an optional filter was skipped for all chunks."""
    chunks = (dataset.id.get_chunk_info(index) for index in range(dataset.id.get_num_chunks()))
    return all(chunk.filter_mask >> place & 1 for chunk in chunks)
