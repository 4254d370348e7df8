"""Maps saved by MATLAB: axes in MATLAB's order, numbers, strings and empty arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from matlab_files import save
from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.info import map_info
from simtiff.aberrations.maps import map_digest
from simtiff.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH, MODES = 40, 70, 5
PHASE = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH, MODES))  # in MATLAB's order: y, x, modes
COORDS = np.random.default_rng(2).uniform(0, 39, (12, 2))
MAGNITUDE = np.random.default_rng(3).normal(size=(12, MODES))
X, Y = np.random.default_rng(4).uniform(0, (WIDTH - 1, HEIGHT - 1), (50, 2)).T


def equal(one: FieldMap, two: FieldMap, method: Any = "cubic") -> None:
    for got, expected in zip(one.coefficients(X, Y, method=method), two.coefficients(X, Y, method=method), strict=True):
        if got is None or expected is None:
            assert got is expected
        else:
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("method", ["cubic", "linear", "nearest"])
def test_a_map_of_matlab_is_the_same_in_its_order(tmp_path: Path, mark: bool, method: Any) -> None:
    variables = {"z_maps": {"phase": PHASE}, "coords": COORDS, "zernike": {"coeff_mag": MAGNITUDE}}
    path = save(tmp_path / "map.mat", mark=mark, **variables)
    field = FieldMap.open(path)
    assert field.shape == (HEIGHT, WIDTH)
    planes = PHASE.transpose(2, 0, 1)
    equal(field, FieldMap.from_arrays(planes, COORDS, MAGNITUDE), method)
    part = FieldMap.open(path, size=12, offset=(50, 9))
    phase, _ = part.coefficients([53.0], [13.0], method="nearest")
    np.testing.assert_array_equal(phase[0], PHASE[13, 53].astype(np.float32))
    assert any("MATLAB" in note for note in map_info(path).notes)


def test_compressed_planes_are_read_in_matlab_s_order(tmp_path: Path) -> None:
    path = save(tmp_path / "map.mat", z_maps={"scale": 1.0})
    planes = PHASE.transpose(2, 1, 0).astype(np.float32)
    with h5py.File(path, "r+") as file:
        options = {"chunks": (1, 20, 30), "compression": "gzip", "shuffle": True}
        file.create_dataset("z_maps/phase", data=planes, **options)
    equal(FieldMap.open(path), FieldMap.from_arrays(PHASE.transpose(2, 0, 1)))


def test_one_mode_has_no_third_axis_in_matlab(tmp_path: Path) -> None:
    path = save(tmp_path / "map.mat", z_maps={"phase": PHASE[:, :, 0]})
    equal(FieldMap.open(path), FieldMap.from_arrays(PHASE[None, :, :, 0]))


def test_values_beside_the_planes_are_what_attributes_are_elsewhere(tmp_path: Path) -> None:
    z_maps = {"phase": PHASE, "unit": "nm", "wavelength": 500.0, "index": "Noll", "NA": 1.2}
    header = FieldMap.open(save(tmp_path / "all.mat", z_maps=z_maps)).header
    assert (header.unit, header.wavelength_nm, header.NA) == ("nm", 500.0, 1.2)
    header = FieldMap.open(save(tmp_path / "root.mat", z_maps={"phase": PHASE}, wavelength=600)).header
    assert (header.unit, header.wavelength_nm) == ("rad", 600)
    nothing = {"phase": PHASE, "wavelength": np.nan, "unit": "", "NA": np.zeros((0, 0))}
    empty = save(tmp_path / "none.mat", z_maps=nothing, coords=np.zeros((0, 0)))
    header = FieldMap.open(empty).header
    assert (header.unit, header.wavelength_nm, header.NA, header.points) == ("rad", None, None, 0)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"z_maps": {"phase": np.zeros((4, 4, 501))}}, r"z_maps/phase: has shape 4 x 4 x 501 \(y, x, modes"),
        ({"z_maps": {"phase": np.zeros((0, 4, 4))}}, r"z_maps/phase: is empty, shape \(0, 4, 4\)"),
        ({"z_maps": {"phase": np.ones((4, 4, 2)), "unit": "furlong"}}, r"unit .*'furlong'; allowed: rad"),
        ({"z_maps": {"phase": np.ones((4, 4, 2)), "wavelength": [500, 600]}}, r"z_maps/wavelength: .*one text or"),
        ({"z_maps": {"phase": PHASE}, "coords": COORDS.T}, r"coords: has shape \(2, 12\) in MATLAB's order"),
    ],
)
def test_what_is_wrong_is_said_in_matlab_s_words(tmp_path: Path, variables: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FieldMap.open(save(tmp_path / "map.mat", **variables)).check()


def test_strings_and_older_files_of_matlab_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "map.mat", z_maps={"phase": PHASE, "unit": np.ones((1, 6))})
    with h5py.File(path, "r+") as file:
        file["z_maps/unit"].attrs["MATLAB_class"] = np.bytes_("string")
    with pytest.raises(DataError, match=r"z_maps/unit: is a MATLAB string; allowed: a char array \('...'\)"):
        FieldMap.open(path)
    old = tmp_path / "old.mat"
    old.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(512))
    with pytest.raises(DataError, match=r"old\.mat: is in MATLAB's old format; allowed: a file saved with -v7.3"):
        FieldMap.open(old)


def test_only_maps_of_matlab_have_another_identity(tmp_path: Path) -> None:
    """Older versions read them in another order; for other maps, nothing has changed."""
    path = save(tmp_path / "map.mat", z_maps={"phase": PHASE})
    before = FieldMap.open(path)._source.digest  # type: ignore[attr-defined]
    assert map_digest(str(path)) != before
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["z_maps/phase"] = PHASE
    assert map_digest(str(tmp_path / "map.h5")) == FieldMap.open(tmp_path / "map.h5")._source.digest  # type: ignore[attr-defined]
