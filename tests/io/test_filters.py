"""Data compressed with plugin filters: read if the plugin is installed, else reported by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from h5py import h5z

from simtiff.aberrations.fieldmap import FieldMap
from simtiff.cli import process as cli
from simtiff.errors import DataError
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path

BLOSC, NOBODY_S = 32001, 511
DATA = np.linspace(0, 1, 64).reshape(1, 8, 8)


def write(path: Path, name: str, number: int, *, skipped: bool) -> Path:
    """Write a dataset whose only chunk claims that a filter was applied, or skipped."""
    with h5py.File(path, "a") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(DATA.shape)
        plist.set_filter(number, h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(DATA.shape)
        group = file.require_group(name.rpartition("/")[0])
        dataset = h5py.h5d.create(group.id, name.rpartition("/")[2].encode(), h5py.h5t.NATIVE_DOUBLE, space, plist)
        dataset.write_direct_chunk((0, 0, 0), DATA.tobytes(), int(skipped))
    return path


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    if h5z.filter_avail(BLOSC):
        pytest.skip("HDF5 finds the plugins here by itself, or they are loaded already")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)


@pytest.mark.usefixtures("without_plugins")
def test_a_missing_filter_is_named_with_its_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "map.h5", "z_maps/phase", BLOSC, skipped=False)
    assert cli.main(["zmap", "info", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"simtiff: {path}: z_maps/phase: is compressed with HDF5 filter 32001 (Blosc), which is not")
    assert "pip install hdf5plugin" in said
    truth = write(tmp_path / "t.h5", "records/phot", BLOSC, skipped=False)
    with pytest.raises(DataError, match=r"t.h5: records/phot: is compressed with HDF5 filter 32001 \(Blosc\)"):
        TruthFile(truth)


def test_an_unknown_filter_is_reported_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "map.h5", "z_maps/phase", NOBODY_S, skipped=False)
    with pytest.raises(DataError, match=r"HDF5 filter 511 \(unknown to simtiff\), which is not installed"):
        FieldMap.open(path)


def test_a_filter_that_all_chunks_skipped_is_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "map.h5", "z_maps/phase", NOBODY_S, skipped=True)
    phase, _ = FieldMap.open(path).coefficients([3.0], [2.0], method="nearest")
    assert phase[0, 0] == np.float32(DATA[0, 2, 3])


def test_plugins_are_used_where_they_are_installed(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")
    for number, options in enumerate(
        (hdf5plugin.Blosc(), hdf5plugin.Zstd(), hdf5plugin.LZ4(), hdf5plugin.Bitshuffle())
    ):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("z_maps/phase", data=DATA, **options)
        phase, _ = FieldMap.open(path).coefficients([3.0], [2.0], method="nearest")
        assert phase[0, 0] == np.float32(DATA[0, 2, 3])
