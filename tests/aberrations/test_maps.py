"""Aberration maps: valid and invalid files, interpolation, the synthetic map, the summary."""

from __future__ import annotations

import json
import math
import os
import re
from random import Random
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fuzzing import damage_hdf5
from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.info import map_info, noll_name
from simtiff.aberrations.maps import check_field, field_coefficients, open_field
from simtiff.aberrations.synthetic import RADIANS_PER_MILLIWAVE, SyntheticMap, synthesize
from simtiff.batch.inputs import check_inputs
from simtiff.cli import process as cli
from simtiff.config.identity import Job
from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.io.hdf5 import need_dataset, open_hdf5
from simtiff.movie.simulation import Simulation

if TYPE_CHECKING:
    from pathlib import Path


def write_map(path: Path, phase: Any, *, attributes: dict[str, Any] | None = None, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = phase
        file["z_maps/phase"].attrs.update(attributes or {})
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path


@pytest.fixture
def bumpy(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    return write_map(tmp_path / "bumpy.h5", random.normal(size=(4, 37, 53)).astype(np.float32))


def places(n: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.uniform(0, width - 1, n), random.uniform(0, height - 1, n)


@pytest.mark.parametrize(("method", "order"), [("cubic", 3), ("linear", 1)])
def test_interpolation_is_that_of_scipy(bumpy: Path, method: Any, order: int) -> None:
    x, y = places(2000, 53, 37)
    phase, magnitude = FieldMap.open(bumpy, size=53).coefficients(x, y, method=method, extrapolate="nearest")
    with h5py.File(bumpy) as file:
        planes = file["z_maps/phase"][:].astype(np.float64)
    expected = np.stack([map_coordinates(plane, [y, x], order=order, mode="mirror") for plane in planes], axis=1)
    assert magnitude is None
    assert phase.dtype == np.float32
    np.testing.assert_allclose(phase, expected, rtol=0, atol=3e-6)


def test_nearest_takes_the_pixel_that_holds_the_place(bumpy: Path) -> None:
    phase, _ = FieldMap.open(bumpy, size=53).coefficients(
        [2.49, 2.51, -0.5, 52.4], [0, 7.6, -0.4, 36.4], method="nearest"
    )
    with h5py.File(bumpy) as file:
        planes = file["z_maps/phase"][:]
    np.testing.assert_array_equal(phase, planes[:, [0, 8, 0, 36], [2, 3, 0, 52]].T)


@pytest.mark.parametrize("method", ["cubic", "linear"])
def test_constants_and_gradients_are_exact_inside(tmp_path: Path, method: Any) -> None:
    y, x = np.mgrid[:60, :60]
    path = write_map(tmp_path / "linear.h5", np.stack([np.full((60, 60), 0.25), 0.01 * x - 0.02 * y]))
    px, py = places(500, 60, 60)
    inside = (np.abs(px - 29.5) < 15) & (np.abs(py - 29.5) < 15)
    phase, _ = FieldMap.open(path, size=60).coefficients(px, py, method=method)
    assert (phase[:, 0] == 0.25).all()
    np.testing.assert_allclose(phase[inside, 1], (0.01 * px - 0.02 * py)[inside], atol=2e-7)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_tiny_maps(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=float).reshape(1, *shape)
    path = write_map(tmp_path / "tiny.h5", values)
    y, x = np.mgrid[: shape[0], : shape[1]]
    phase, _ = FieldMap.open(path).coefficients(x.ravel(), y.ravel())
    np.testing.assert_allclose(phase[:, 0], values.ravel(), atol=1e-6)


def test_places_do_not_affect_each_other(bumpy: Path) -> None:
    x, y = places(40_000, 53, 37)
    field = FieldMap.open(bumpy, size=53)
    together, _ = field.coefficients(x, y)
    for size in (1, 777, 16384):
        some, _ = field.coefficients(x[100 : 100 + size], y[100 : 100 + size])
        assert some.tobytes() == together[100 : 100 + size].tobytes()


def test_part_of_a_map_gives_the_values_of_the_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    path = write_map(tmp_path / "large.h5", random.normal(size=(2, 200, 180)))
    x, y = random.uniform(80, 119, (2, 300))
    part, _ = FieldMap.open(path, size=40, offset=(80, 80)).coefficients(x, y)
    whole, _ = FieldMap.open(path, size=180).coefficients(x, y, extrapolate="nearest")
    np.testing.assert_allclose(part, whole, rtol=0, atol=5e-7)
    with pytest.raises(ShapeError, match=r"x = 3 to 3 px; allowed: 79 to 120, the field that the map was opened for"):
        FieldMap.open(path, size=40, offset=(80, 80)).coefficients([3.0], [100.0])


def test_rim_is_clamped_and_beyond_is_refused(bumpy: Path) -> None:
    field = FieldMap.open(bumpy, size=53)
    rim, _ = field.coefficients([-0.5, 52.4], [-0.5, 36.4])
    corners, _ = field.coefficients([0, 52], [0, 36])
    np.testing.assert_array_equal(rim, corners)
    with pytest.raises(DataError, match=r"x = -0.6 to 3 .* covers only -0.5 to 52.5.*area_px.*crop_offset.*nearest"):
        field.coefficients([-0.6, 3], [0, 0])
    with pytest.raises(DataError, match=r"y = 36.5 .* -0.5 to 36.5"):
        field.coefficients([0], [36.5])
    far, _ = field.coefficients([-100, 1000], [-5, 99], extrapolate="nearest")
    np.testing.assert_array_equal(far, corners)


def test_arguments_are_checked(bumpy: Path) -> None:
    field = FieldMap.open(bumpy, size=53)
    with pytest.raises(ShapeError, match="NaN"):
        field.coefficients([np.nan], [0])
    with pytest.raises(ShapeError, match="shapes"):
        field.coefficients([1, 2], [0])
    with pytest.raises(ConfigError, match="cubic, linear, nearest"):
        field.coefficients([1], [0], method="quintic")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "factor"),
    [
        ({}, 1),
        ({"unit": "rad", "index": "Noll"}, 1),
        ({"unit": "waves"}, 2 * np.pi),
        ({"unit": "milliwaves"}, 2e-3 * np.pi),
        ({"unit": "nm", "wavelength": 660.0}, 2 * np.pi / 660),
    ],
)
def test_units(tmp_path: Path, attributes: dict[str, Any], factor: float) -> None:
    path = write_map(tmp_path / "unit.h5", np.full((1, 4, 4), 0.5), attributes=attributes)
    phase, _ = FieldMap.open(path, size=4).coefficients([1], [1])
    assert phase[0, 0] == pytest.approx(0.5 * factor)


def scattered_map(path: Path, coords: Any, magnitude: Any) -> Path:
    return write_map(path, np.zeros((2, 20, 20)), coords=coords, zernike__coeff_mag=magnitude)


def test_magnitudes_are_cubic_inside_the_hull_and_nearest_outside(tmp_path: Path) -> None:
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(4, 15, 9), np.linspace(4, 15, 9)))
    coords = np.column_stack([x, y])
    values = np.column_stack([np.zeros_like(x), 0.02 * x - 0.01 * y])
    path = scattered_map(tmp_path / "m.h5", np.vstack([coords, coords[:3]]), np.vstack([values, values[:3]]))
    _, magnitude = FieldMap.open(path, size=20).coefficients([7.3, 0.0, 19.0], [9.1, 0.0, 19.0])
    assert magnitude is not None
    np.testing.assert_allclose(magnitude[:, 1], [0.02 * 7.3 - 0.01 * 9.1, 0.04, 0.15], atol=1e-5)
    assert not magnitude[:, 0].any()


def test_magnitudes_on_a_line_are_nearest_and_zero_ones_are_none(tmp_path: Path) -> None:
    coords = np.column_stack([np.arange(5.0), np.arange(5.0)])
    path = scattered_map(tmp_path / "line.h5", coords, np.column_stack([np.arange(5.0), np.zeros(5)]))
    _, magnitude = FieldMap.open(path, size=20).coefficients([3.2], [3.1])
    assert magnitude is not None
    assert magnitude.tolist() == [[3.0, 0.0]]
    path = scattered_map(tmp_path / "zero.h5", coords, np.zeros((5, 2)))
    assert FieldMap.open(path, size=20).coefficients([3.2], [3.1])[1] is None


def _nan(file: h5py.File) -> None:
    file["z_maps/phase"][2, 5, 7] = np.nan


def _replace(name: str, **new: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        if new:
            file.create_dataset(name, **new)

    return change


def _loop(file: h5py.File) -> None:
    del file["z_maps"]
    file["z_maps"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/z_maps")


def _external_link(file: h5py.File) -> None:
    del file["z_maps/phase"]
    file["z_maps/phase"] = h5py.ExternalLink("other.h5", "/phase")


def _external_storage(file: h5py.File) -> None:
    del file["z_maps/phase"]
    file.create_dataset("z_maps/phase", (1, 4, 4), "f4", external=[("/etc/hostname", 0, 64)])


def _virtual(file: h5py.File) -> None:
    del file["z_maps/phase"]
    layout = h5py.VirtualLayout((1, 4, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "phase", (1, 4, 4))
    file.create_virtual_dataset("z_maps/phase", layout)


def _attribute(**attributes: Any) -> Any:
    return lambda file: file["z_maps/phase"].attrs.update(attributes)


DEFECTS = {
    "nan": (_nan, r"z_maps/phase: Noll mode 3 is nan at pixel x = 7, y = 5"),
    "infinite": (
        _replace("z_maps/phase", data=np.full((4, 2, 2), np.inf)),
        r"Noll mode 1 is inf at pixel x = 0, y = 0",
    ),
    "absurd": (
        _replace("z_maps/phase", data=np.full((4, 2, 2), 1e9)),
        r"allowed: finite numbers up to 1000 radians",
    ),
    "missing": (_replace("z_maps/phase"), r"no dataset z_maps/phase"),
    "flat": (
        _replace("z_maps/phase", data=np.zeros((4, 4))),
        r"z_maps/phase: has shape \(4, 4\).*\(modes, y, x\)",
    ),
    "empty": (_replace("z_maps/phase", data=np.zeros((0, 4, 4))), r"z_maps/phase: is empty"),
    "text": (
        _replace("z_maps/phase", data=np.full((1, 2, 2), b"a")),
        r"z_maps/phase: holds .*allowed: real numbers",
    ),
    "complex": (_replace("z_maps/phase", data=np.zeros((1, 2, 2), complex)), r"holds complex128"),
    "null": (_replace("z_maps/phase", data=h5py.Empty("f4")), r"has shape None"),
    "huge": (
        _replace("z_maps/phase", shape=(1000, 8000, 8000), dtype="f8", chunks=(1, 64, 64)),
        r"declares shape .* but the file holds only",
    ),
    "too large": (
        _replace("z_maps/phase", shape=(1, 2**14, 2**13), dtype="i1", chunks=(1, 64, 64)),
        r"allowed: at most",
    ),
    "group": (lambda f: (f.pop("z_maps/phase"), f.create_group("z_maps/phase")), r"z_maps/phase: is a group"),
    "loop": (_loop, r"z_maps/phase: cannot be read; .*too many links"),
    "external link": (_external_link, r"z_maps/phase: is a link to another file"),
    "external storage": (_external_storage, r"z_maps/phase: stores its data in other files"),
    "virtual": (_virtual, r"z_maps/phase: stores its data in other files"),
    "unit": (_attribute(unit="furlong"), r"attribute unit .*'furlong'; allowed: rad, waves, milliwaves, nm"),
    "wavelength missing": (_attribute(unit="nm"), r"has no attribute wavelength"),
    "wavelength": (_attribute(unit="nm", wavelength=6.6e-7), r"wavelength .* allowed: nanometres"),
    "wavelength text": (_attribute(wavelength="red"), r"wavelength .*'red'"),
    "index": (_attribute(index="OSA"), r"attribute index .*'OSA'; allowed: Noll"),
    "coords missing": (_replace("coords"), r"no dataset coords; zernike/coeff_mag needs it"),
    "coords shape": (_replace("coords", data=np.zeros((5, 3))), r"coords: has shape \(5, 3\)"),
    "magnitude shape": (
        _replace("zernike/coeff_mag", data=np.zeros((5, 9))),
        r"zernike/coeff_mag: has shape \(5, 9\); allowed: \(5, 4\)",
    ),
    "magnitude nan": (
        _replace("zernike/coeff_mag", data=np.full((5, 4), np.nan)),
        r"zernike/coeff_mag: row 0 is NaN",
    ),
    "magnitude absurd": (
        _replace("zernike/coeff_mag", data=np.full((5, 4), 1e7)),
        r"coeff_mag: 1e\+07 at point 0",
    ),
    "coords far": (_replace("coords", data=np.full((5, 2), 1e300)), r"coords: up to 1e\+300"),
    "coords nan": (_replace("coords", data=np.full((5, 2), np.nan)), r"coords: row 0 is NaN"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_a_clear_error(tmp_path: Path, defect: str) -> None:
    change, message = DEFECTS[defect]
    path = write_map(
        tmp_path / "bad.h5", np.ones((4, 9, 9)), coords=np.eye(5)[:, :2], zernike__coeff_mag=np.ones((5, 4))
    )
    FieldMap.open(path).check()
    with h5py.File(path, "r+") as file:
        change(file)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=message) as caught:
        FieldMap.open(path).check()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("chunks", [(4, 300, 300), (4, 100, 100), (1, 300, 300), (3, 200, 250)])
def test_large_chunks_are_inflated_once(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    data = np.random.default_rng(1).normal(size=(4, 300, 300))
    path = tmp_path / "map.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("z_maps/phase", data=data, chunks=chunks, compression="gzip")
    x, y = places(50, 300, 300)
    values, _ = FieldMap.open(path, size=300).coefficients(x, y, method="nearest")
    expected = data[:, np.rint(y).astype(int), np.rint(x).astype(int)].T
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    with open_hdf5(path) as file:
        room = need_dataset(file, "z_maps/phase").id.get_access_plist().get_chunk_cache()[1]
    layer = chunks[0] * math.prod(-(-300 // side) * side for side in chunks[1:]) * 8
    assert room == layer or chunks[0] == 1


def test_files_that_are_no_map(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("x" * 4096)
    whole = write_map(tmp_path / "whole.h5", np.random.default_rng(0).normal(size=(4, 50, 50)))
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole.read_bytes()[:9000])
    for path, message in [
        (tmp_path / "none.h5", "file not found or not readable"),
        (tmp_path, "not a file"),
        (text, "not a readable HDF5 file"),
        (cut, "truncated"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            FieldMap.open(path).check()
        assert str(path) in str(caught.value)


def test_damage_never_escapes_as_other_errors(tmp_path: Path) -> None:
    whole = synthesized(tmp_path / "good.h5", size=24).read_bytes()
    chance = Random(7)
    path = tmp_path / "damaged.h5"
    messages = []
    for turn in range(100):
        damage_hdf5(path, whole, chance)
        os.utime(path, ns=(turn, turn))
        try:
            FieldMap.open(path).check()
            FieldMap.open(path, size=24).coefficients([3.0], [4.0], extrapolate="nearest")
            map_info(path)
        except DataError as error:
            messages.append(str(error))
    assert 20 < len(messages) < 100
    assert all(str(path) in message for message in messages)


def synthesized(path: Path, **settings: int) -> Path:
    synthesize(path, **settings)
    return path


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 17, 2**53])
def test_synthetic_fields_have_realistic_sizes(seed: int) -> None:
    side = 61
    y, x = np.divmod(np.arange(side * side), side)
    phase, _ = SyntheticMap(side, seed).coefficients(x, y)
    field = phase.astype(float) / RADIANS_PER_MILLIWAVE
    total = np.sqrt((field**2).sum(axis=1))
    half_range = np.ptp(field, axis=0) / 2
    assert field.shape == (side * side, 21)
    assert not field[:, :3].any()
    assert total.min() >= 45
    assert total.max() <= 100
    assert ((half_range[[4, 5]] > 45) & (half_range[[4, 5]] < 60)).all()
    assert ((half_range[[6, 7]] > 38) & (np.abs(field[:, [6, 7]]).max(axis=0) < 60)).all()
    assert 30 <= field[:, 10].min() < field[:, 10].max() <= 50


def test_synthetic_seeds_differ_and_repeat() -> None:
    x = np.linspace(0, 99, 50)
    maps = [SyntheticMap(100, seed).coefficients(x, x)[0] for seed in (1, 2, 1)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05
    np.testing.assert_array_equal(maps[0], maps[2])


def test_synthetic_file_is_the_synthetic_field(tmp_path: Path) -> None:
    path = synthesized(tmp_path / "oil.h5", size=300, seed=5, modes=24)
    x, y = places(3000, 300, 300)
    sampled, magnitude = FieldMap.open(path, size=300).coefficients(x, y)
    exact, _ = SyntheticMap(300, 5, 24).coefficients(x, y)
    assert magnitude is None
    # The spline is flat at the edge; the error vanishes within a few pixels.
    np.testing.assert_allclose(sampled, exact, atol=5e-4)
    inside = (np.abs(x - 149.5) < 140) & (np.abs(y - 149.5) < 140)
    np.testing.assert_allclose(sampled[inside], exact[inside], atol=1e-6)
    with h5py.File(path) as file:
        coords = file["coords"][:]
        np.testing.assert_array_equal(file["zernike/coeff_phase"], SyntheticMap(300, 5, 24).coefficients(*coords.T)[0])
    again = synthesized(tmp_path / "again.h5", size=300, seed=5, modes=24)
    assert again.read_bytes() == path.read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["again.h5", "oil.h5"]


def test_synthetic_arguments_are_checked(tmp_path: Path) -> None:
    for settings in ({"size": 0}, {"size": 10**6}, {"seed": -1}, {"modes": 0}):
        with pytest.raises(ConfigError, match="allowed"):
            synthesize(tmp_path / "x.h5", **settings)
    assert not list(tmp_path.iterdir())


def job(zmap: Path | str, area: float = 30, **zernike: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "zmap_path": str(zmap),
            "emitters": {"area_px": float(area)},
            "zernike": zernike,
            "tiff": {"roi_size": 8},
        }
    )


def test_a_job_s_field_lies_on_the_map_as_its_config_says(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :50].astype(np.float32)
    path = write_map(tmp_path / "xy.h5", np.stack([x, y]))
    xy = np.array([[3.0, 5.0, 0.0]], np.float32)
    config = job(path, crop_offset=[7, 9], interpolation_method="linear")
    phase, _ = field_coefficients(config, open_field(config), xy)
    assert phase.tolist() == [[10.0, 14.0]]
    with pytest.raises(DataError, match=r"y = 10.5 to 40.5 .* -0.5 to 39.5"):
        open_field(job(path, crop_offset=[7, 11]))
    with pytest.raises(DataError, match=r"crop_size 20\).* covers only 6.5 to 26.5"):
        open_field(job(path, crop_offset=[7, 0], crop_size=20))
    config = job(path, crop_offset=[7, 9], crop_size=20, extrapolate="nearest", interpolation_method="linear")
    phase, _ = field_coefficients(config, open_field(config), np.array([[29.0, 29.0, 0.0]], np.float32))
    assert phase.tolist() == [[26.0, 28.0]]
    check_field(job("builtin:oil", area=1000.5), open_field(job("builtin:oil", area=1000.5)))


@pytest.mark.parametrize(
    ("zernike", "message"),
    [
        ({"crop_size": 41}, r"crop_size 41 from zernike\.crop_offset y = 0 ends at 41, .* allowed: up to 40"),
        ({"crop_size": 30, "crop_offset": [30, 0]}, r"crop_offset x = 30 ends at 60, .* 50 px along x; .* up to 20"),
        ({"crop_offset": [0, 40]}, r"zernike\.crop_offset is y = 40, but the map has 40 px along y; allowed: 0 to 39"),
    ],
)
@pytest.mark.parametrize("extrapolate", [None, "nearest"])
def test_what_is_cut_from_the_map_lies_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zernike: dict[str, Any], message: str, extrapolate: str | None
) -> None:
    path = write_map(tmp_path / "xy.h5", np.zeros((2, 40, 50)))
    config = job(path, area=8, **zernike, extrapolate=extrapolate)
    with pytest.raises(DataError, match=message):
        Simulation(config).frames(0, 1)
    (tmp_path / "batch.json").write_text(json.dumps({"base_config": config.model_dump(mode="json")}), encoding="utf-8")
    for command in ("validate", "batch"):
        assert cli.main([command, str(tmp_path / "batch.json")]) == 2
        assert re.search(message, capsys.readouterr().err.replace("\n    ", " "))
    whole = job(path, area=8, crop_size=40, crop_offset=[10, 0], extrapolate=extrapolate)
    check_field(whole, open_field(whole))
    builtin = job("builtin:oil", area=8, crop_size=1000, crop_offset=[300, 0])  # as large as it has to be
    check_field(builtin, open_field(builtin))


def nan_but_for(method: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return planes that are finite only where a field of 6 px at (10, 20) needs them, and the corners of this part."""
    rim = 0 if method == "nearest" else 1  # linear: emitters within half a pixel of the field's edge
    planes = np.full((2, 40, 50), np.nan)
    planes[:, 20 - rim : 26 + rim, 10 - rim : 16 + rim] = 0.25
    return planes, [(20 - rim, 10 - rim), (25 + rim, 15 + rim), (20 - rim, 15 + rim)]


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_only_what_the_field_needs_must_be_finite(tmp_path: Path, method: str) -> None:
    planes, corners = nan_but_for(method)
    planes[0, 0, 0] = np.inf
    path = write_map(tmp_path / "map.h5", planes)
    zernike = {"crop_offset": [10, 20], "interpolation_method": method}
    config = job(path, area=6, **zernike)
    for field in (open_field(config), open_field(config)):
        field.check(method=method)  # type: ignore[arg-type]
        places_in_field = np.random.default_rng(1).uniform(-0.5, 5.5, (500, 2)).astype(np.float32)
        phase, _ = field_coefficients(config, field, places_in_field)
        assert (phase == 0.25).all()
    assert check_inputs([Job("", config)]) == []
    with pytest.raises(DataError, match=r'Noll mode 1 is inf at pixel x = 0, y = 0; .*"cubic" needs the whole map'):
        check_inputs([Job("", job(path, area=6, crop_offset=[10, 20]))])
    for number, (y, x) in enumerate(corners):
        for value in (np.nan, 1e30):
            planes[1, y, x] = value
            bad = write_map(tmp_path / f"bad{number}{value}.h5", planes)
            message = rf"Noll mode 2 is .* at pixel x = {x}, y = {y}; .*in the field"
            with pytest.raises(DataError, match=message):
                check_inputs([Job("", job(bad, area=6, **zernike))])
            with pytest.raises(DataError, match=message):
                Simulation(job(bad, area=6, **zernike)).frames(0, 1)
            planes[1, y, x] = 0.25


def test_a_map_with_holes_is_described(tmp_path: Path) -> None:
    planes, _ = nan_but_for("nearest")
    info = map_info(write_map(tmp_path / "map.h5", planes))
    assert [(row.mean, row.low, row.high) for row in info.rows] == [(0.25, 0.25, 0.25)] * 2
    assert any("1,964 of 2,000 pixels have no valid value, the first at x = 0, y = 0" in note for note in info.notes)


def test_info_tells_ranges_and_names(tmp_path: Path) -> None:
    info = map_info(synthesized(tmp_path / "oil.h5", size=32))
    spherical = info.rows[10]
    assert (info.shape, info.modes, info.wavelength_nm) == ((32, 32), 21, 660.0)
    assert spherical.name == "spherical"
    assert 30 <= spherical.low_mw <= spherical.mean_mw <= spherical.high_mw <= 50
    assert 45 <= info.total_mw[0] <= info.total_mw[1] <= info.total_mw[2] <= 100
    assert any("coeff_phase" in note for note in info.notes)
    assert map_info("builtin:oil").rows[10].name == "spherical"
    assert [noll_name(j) for j in (23, 24, 28, 29, 36, 37)] == [
        "n = 6, m = -2",
        "n = 6, m = 2",
        "n = 6, m = 6",
        "n = 7, m = -1",
        "n = 7, m = 7",
        "n = 8, m = 0",
    ]


def test_measured_map(shared: Path) -> None:
    path = shared / "zmap" / "measured_patches_256.h5"
    FieldMap.open(path).check()
    x, y = places(500, 256, 256)
    phase, magnitude = FieldMap.open(path, size=256).coefficients(x, y)
    with h5py.File(path) as file:
        planes = file["z_maps/phase"][:].astype(np.float64)
    expected = np.stack([map_coordinates(plane, [y, x], order=3, mode="mirror") for plane in planes], axis=1)
    assert magnitude is None
    np.testing.assert_allclose(phase, expected, atol=1e-6)
