"""HDF5 files from other software: attributes, links and layouts that are read or rejected."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from simtiff.errors import DataError
from simtiff.io.hdf5 import attribute, find, need_dataset, open_hdf5

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with attributes as h5py writes them by default: variable-length strings."""
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.ones((4, 9, 9))
        file["z_maps/phase"].attrs.update(unit="milliwaves", wavelength=660, operator="Zoë", checked=np.True_)
        file["z_maps/phase"].attrs["fixed"] = np.bytes_("nm")
        file["z_maps/phase"].attrs["one"] = np.array([0.5])
    return path


def test_attributes_are_python_values(path: Path) -> None:
    with open_hdf5(path) as file:
        phase = need_dataset(file, "z_maps/phase")
        names = ("unit", "wavelength", "operator", "checked", "fixed", "one", "none")
        values = [attribute(phase, name) for name in names]
    assert values == ["milliwaves", 660, "Zoë", True, "nm", 0.5, None]
    assert [type(value) for value in values] == [str, int, str, bool, str, float, type(None)]


@pytest.mark.parametrize(
    "value",
    [["nm", "rad"], np.zeros(3), h5py.Empty("f4"), np.zeros((), [("a", "f4")]), 1j, np.void(b"nm"), np.bytes_(b"\xff")],
)
def test_attributes_that_are_no_text_or_number_are_refused(path: Path, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        file["z_maps/phase"].attrs["unit"] = value
    message = r"map\.h5: attribute unit of /z_maps/phase: (holds .*allowed: one text or number|cannot be read.*utf-8)"
    with open_hdf5(path) as file, pytest.raises(DataError, match=message):
        attribute(need_dataset(file, "z_maps/phase"), "unit")


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("lengths", [4, 8])
def test_other_layouts_are_read(tmp_path: Path, userblock: int, lengths: int) -> None:
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(8, lengths)
    plist.set_userblock(userblock)
    path = tmp_path / "map.h5"
    with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fcpl=plist)) as file:
        file["phase"] = np.ones((4, 9, 9))
        file["phase"].attrs.update(unit="milliwaves")
    with open_hdf5(path) as file:
        phase = need_dataset(file, "phase")
        assert phase[...].sum() == 324
        assert attribute(phase, "unit") == "milliwaves"


def test_links_are_followed_inside_the_file_alone(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["maps/phase"] = np.zeros((4, 9, 9))
    with h5py.File(path, "r+") as file:
        file["inside"] = h5py.SoftLink("/z_maps")
        file["relative"] = h5py.SoftLink("inside/phase")
        file["nowhere"] = h5py.SoftLink("/none")
        file["outside"] = h5py.ExternalLink("other.h5", "maps")
        file["behind"] = h5py.SoftLink("/outside/phase")
    with open_hdf5(path) as file:
        for name in ("inside/phase", "relative"):
            assert need_dataset(file, name)[...].all()
        assert find(file, "none/phase") is None
        for name in ("outside", "outside/phase", "behind"):
            with pytest.raises(DataError, match=rf"map\.h5: {name}: is a link to another file"):
                find(file, name)
        with pytest.raises(DataError, match=r"map\.h5: nowhere: cannot be read"):
            find(file, "nowhere")
