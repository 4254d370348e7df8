"""Shared maps: files are read once, parts are cached, and coefficients stay bit-identical."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from simtiff.aberrations.fieldmap import METHODS, FieldMap
from simtiff.aberrations.maps import map_digest
from simtiff.aberrations.measured import MeasuredMap, measured_map
from simtiff.errors import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPE = (3, 300, 260)
SIZE = 30
OFFSETS = [(100, 90), (0, 0), (230, 270), (40, 200), (101, 90)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a map with three planes: noise, steps (where splines ring longest), and a constant."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    phase = np.empty(SHAPE, np.float32)
    phase[0] = np.random.default_rng(1).normal(size=SHAPE[1:])
    phase[1] = x // 100 * 0.0791 + y // 100 * 0.0333
    phase[2] = 0.25
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["z_maps/phase"] = phase
    return tmp_path / "map.h5"


def ask(source: MeasuredMap, offset: tuple[int, int], method: Any = "cubic") -> bytes:
    x, y = np.random.default_rng(2).uniform(-0.5, SIZE - 0.5, (2, 200)) + np.array(offset)[:, None]
    phase, _ = FieldMap(source, size=SIZE, offset=offset).coefficients(x, y, method=method)
    return phase.tobytes()


@pytest.mark.parametrize("kept_bytes", [0, 2**29])
def test_what_was_asked_before_changes_no_bit(path: Path, kept_bytes: int) -> None:
    asked = [(offset, method) for method in METHODS for offset in OFFSETS]
    fresh = {each: ask(MeasuredMap(str(path)), *each) for each in asked}
    for turn in range(3):
        source = MeasuredMap(str(path), kept_bytes)
        for index in np.random.default_rng(turn).permutation(len(asked)):
            assert ask(source, *asked[index]) == fresh[asked[index]]


def test_new_fields_read_nothing_again(path: Path) -> None:
    small, large = MeasuredMap(str(path)), MeasuredMap(str(path), kept_bytes=0)
    for source in (small, large):
        for offset in OFFSETS[:2]:
            ask(source, offset)
    path.unlink()
    for offset in OFFSETS:
        assert ask(small, offset)
    with pytest.raises(DataError, match="not found or not readable"):  # not cached: other parts are read again
        ask(large, OFFSETS[2])


def test_a_first_field_reads_its_part_alone(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["z_maps/phase"][0, 299, 259] = np.nan
    source = MeasuredMap(str(path))
    for offset in OFFSETS[:2]:  # for the second, the whole map is read
        assert ask(source, offset) == ask(MeasuredMap(str(path)), offset)
    with pytest.raises(DataError, match="x = 259, y = 299"):
        ask(source, OFFSETS[2])


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def test_memory_is_bounded(path: Path) -> None:
    whole = 4 * SHAPE[1] * SHAPE[2]
    spare = 300_000  # of places, HDF5 and the interpreter
    for kept_bytes in (0, 2**29):
        source = MeasuredMap(str(path), kept_bytes)
        with traced():
            for offset in (OFFSETS * 2)[:8]:
                field = FieldMap(source, size=SIZE, offset=offset)
                tracemalloc.reset_peak()
                ask(source, offset)
                assert tracemalloc.get_traced_memory()[1] < field.held_bytes(several=True) + spare
            held = tracemalloc.get_traced_memory()[0]
            assert held < 3 * whole + field.held_bytes() + spare
            assert (held > 2 * whole) == (kept_bytes > 0)
            source.release()
            assert tracemalloc.get_traced_memory()[0] < spare


def test_another_map_releases_the_last_one(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with traced():
        for each in (path, other, path):
            FieldMap.open(each).coefficients([1.0], [1.0])
        assert tracemalloc.get_traced_memory()[0] < 4 * np.prod(SHAPE) + 300_000


def test_a_file_has_one_map_until_it_changes(path: Path) -> None:
    first = measured_map(str(path))
    assert measured_map(str(path)) is first
    digest = map_digest(str(path))
    with h5py.File(path, "r+") as file:
        file["z_maps/phase"][0, 0, 0] += 1
    os.utime(path, ns=(5, 5))
    with pytest.raises(DataError, match=r"map.h5: has changed since it was opened"):
        ask(first, OFFSETS[0])
    assert measured_map(str(path)) is not first
    assert map_digest(str(path)) != digest
    assert map_digest("builtin:oil") == map_digest("builtin:oil")
    with pytest.raises(DataError, match="not found or not readable"):
        map_digest(str(path.with_name("none.h5")))


def test_checking_keeps_what_is_needed_next(path: Path) -> None:
    source = MeasuredMap(str(path))
    FieldMap(source, size=SIZE, offset=OFFSETS[0]).check(keep="cubic")
    path.unlink()
    FieldMap(source).check()  # was done
    assert ask(source, OFFSETS[0])


def test_threads_may_share_a_map(path: Path) -> None:
    expected = {offset: ask(MeasuredMap(str(path)), offset) for offset in OFFSETS}
    source = MeasuredMap(str(path))
    asked = OFFSETS * 20
    with ThreadPoolExecutor(8) as pool:
        for offset, found in zip(asked, pool.map(lambda offset: ask(source, offset), asked), strict=True):
            assert found == expected[offset]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_is_asked_often_gives_the_same_bits(path: Path, method: Any) -> None:
    """Also if it was used differently before, and if another part is needed next."""
    expected = [ask(MeasuredMap(str(path)), offset, method) for offset in OFFSETS]
    source = MeasuredMap(str(path))
    assert ask(source, OFFSETS[0], method) == expected[0]
    FieldMap(source).expect_many_calls()
    assert [ask(source, offset, method) for offset in OFFSETS] == expected


def test_arrays_are_a_map_as_a_file_is(path: Path) -> None:
    random = np.random.default_rng(3)
    coords, magnitude = random.uniform(0, 250, (50, 2)), random.normal(size=(50, 3))
    with h5py.File(path, "r+") as file:
        phase = file["z_maps/phase"][:]
        file["coords"], file["zernike/coeff_mag"] = coords, magnitude
    arrays = FieldMap.from_arrays(phase, coords, magnitude)
    x, y = random.uniform(0, 259, (2, 100))
    for method in METHODS:
        for got, expected in zip(
            arrays.coefficients(x, y, method=method), FieldMap.open(path).coefficients(x, y, method=method), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
    phase[:] = 0  # the map has its own
    assert arrays.coefficients(x, y)[0].any()
    assert simtiff.FieldMap is FieldMap
    for points in ((), (np.eye(4)[:, :2], np.zeros((4, 3)))):
        assert FieldMap.from_arrays(np.zeros((3, 1, 1)), *points).coefficients([0.2], [0.4])[1] is None


def test_a_uniform_map_holds_everywhere() -> None:
    field = FieldMap.uniform([0, 0.25, -0.5], [0.1, 0, 0])
    for method in METHODS:
        phase, magnitude = field.coefficients([-1e6, 0.3, 1e6], [7, -0.6, 1e6], method=method)
        assert (phase.dtype, phase.tolist()) == (np.float32, [[0, 0.25, -0.5]] * 3)
        assert magnitude is not None
        np.testing.assert_array_equal(magnitude, np.float32([[0.1, 0, 0]] * 3))
    assert FieldMap.uniform([1.0], [0.0]).coefficients([0.0], [0.0])[1] is None
    assert repr(field) == "FieldMap(uniform, 3 modes)"
    assert [plane.tolist() for plane in field.planes()] == [[[0]], [[0.25]], [[-0.5]]]
    field.check()
    for arguments, message in (
        (([],), r"coefficients: has shape \(0,\)"),
        (([[0.1]],), r"coefficients: has shape \(1, 1\)"),
        ((np.zeros(501),), r"coefficients: has 501 modes; allowed: at most 500"),
        (([np.nan],), r"coefficients: has NaN"),
        (([0.1], [0.1, 0.2]), r"magnitude: has shape \(2,\); allowed: \(1\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            FieldMap.uniform(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phase": np.zeros((4, 4))}, r"phase: has shape \(4, 4\)"),
        ({"phase": np.zeros((0, 4, 4))}, r"phase: has shape \(0, 4, 4\)"),
        ({"phase": np.zeros((501, 1, 1))}, r"phase: has 501 modes; allowed: at most 500"),
        ({"phase": np.full((1, 2, 2), np.nan)}, r"phase: has NaN"),
        ({"phase": [[[1], [2, 3]]]}, r"phase: is not a numeric array"),
        ({"coords": np.zeros((5, 3)), "magnitude": np.zeros((5, 2))}, r"coords: has shape \(5, 3\)"),
        (
            {"coords": np.zeros((5, 2)), "magnitude": np.zeros((4, 2))},
            r"magnitude: has shape .*; allowed: \(5, 2\)",
        ),
        ({"coords": np.zeros((5, 2))}, r"coords and magnitude must be given together"),
    ],
)
def test_arrays_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        FieldMap.from_arrays(**{"phase": np.zeros((2, 4, 4))} | arguments)
