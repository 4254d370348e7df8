"""The contract of all formats: round trips, units, empty tables, missing columns, and the other software's axes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import pytest

from simtiff import DataError, localizations
from simtiff.localizations.format import WrittenFormat
from simtiff.localizations.registry import FORMATS, format_of
from simtiff.localizations.table import COLUMNS, Localizations

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data" / "localizations"
PX = (100.0, 120.0)
LOCALIZED = ("frame", "x_px", "y_px", "z_um", "photons", "id")
SIGMAS = ("sigma_x_px", "sigma_y_px", "sigma_z_um")
WRITTEN = {each.name: each for each in FORMATS if isinstance(each, WrittenFormat)}
KEPT: dict[str, tuple[str, ...]] = {
    "thunderstorm": (*LOCALIZED, *SIGMAS, "background"),
    "picasso": (*LOCALIZED, *SIGMAS, "background"),
    "decode": COLUMNS,
    "smlm-challenge": LOCALIZED,
    "parquet": (*LOCALIZED, *SIGMAS, "background"),
    "csv": COLUMNS,
    "npy": ("x_px", "y_px", "z_um"),
}
SINGLE = {"picasso", "decode"}  # these have float32
every_format = pytest.mark.parametrize("kind", sorted(WRITTEN))


def table(rows: int = 1000) -> Localizations:
    """Return typical localizations: float32 from a truth and float64, positions far and near, frames unordered."""
    rng = np.random.default_rng(5)
    xy = rng.uniform(-0.5, 300, (2, rows)).astype(np.float32).astype(float)
    sigma = rng.uniform(0.05, 0.2, rows)
    return Localizations(
        frame=rng.integers(0, 10**6, rows),
        x_px=xy[0],
        y_px=xy[1],
        z_um=rng.normal(0, 0.5, rows),
        photons=rng.exponential(1000, rows),
        id=rng.integers(0, 10**7, rows),
        sigma_x_px=sigma * PX[1],  # equal in nm along both axes: ThunderSTORM has one uncertainty
        sigma_y_px=sigma * PX[0],
        sigma_z_um=rng.uniform(0.05, 0.2, rows),
        sigma_photons=rng.uniform(1, 9, rows),
        background=rng.uniform(1, 99, rows),
    )


def kept(kind: str, whole: Localizations) -> Localizations:
    """Return what a format keeps of a table."""
    return Localizations(**{name: values for name, values in whole.as_dict().items() if name in KEPT[kind]})


def write(whole: Any, path: Path, kind: str, **options: Any) -> Path:
    localizations.write(whole, path, kind, pixel_size_nm=PX, **options)
    return path


def read(path: Path, **options: Any) -> pd.DataFrame:
    return localizations.read(path, pixel_size_nm=PX, **options)


def test_every_format_that_is_written_is_tested() -> None:
    assert set(KEPT) == set(WRITTEN)


@every_format
def test_what_is_written_is_read_again_piece_by_piece(kind: str, tmp_path: Path) -> None:
    whole = kept(kind, table())
    pieces = (whole[start : start + 300] for start in range(0, 1000, 300))
    path = write(pieces, tmp_path / f"locs{WRITTEN[kind].suffix}", kind)
    assert format_of(path).name == kind
    found = list(localizations.iter_read(path, rows=128, pixel_size_nm=PX))
    assert [len(part) for part in found] == [128] * 7 + [104]
    again = Localizations.concatenate(found)
    assert again.columns == whole.columns
    for name, values in whole.as_dict().items():
        single = name in {"x_px", "y_px"}  # these were float32
        tolerance = 1e-6 if kind in SINGLE else 1e-8 if single else 1e-12
        np.testing.assert_allclose(getattr(again, name), values, rtol=tolerance, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(np.float32(again.x_px), np.float32(whole.x_px))  # a truth has float32
    pd.testing.assert_frame_equal(read(path), pd.DataFrame(again.as_dict()))
    write(pd.DataFrame(whole.as_dict()), tmp_path / f"once{WRITTEN[kind].suffix}", kind)
    pd.testing.assert_frame_equal(read(tmp_path / f"once{WRITTEN[kind].suffix}"), pd.DataFrame(again.as_dict()))


@every_format
def test_an_empty_table_has_its_columns(kind: str, tmp_path: Path) -> None:
    none = kept(kind, table())[:0]
    path = write(none, tmp_path / f"locs{WRITTEN[kind].suffix}", kind)
    found = read(path)
    assert len(found) == 0
    unknown = {"decode": {"sigma_photons"}}.get(kind, set())
    assert set(found.columns) | unknown == set(none.columns)
    assert [len(part) for part in localizations.iter_read(path, pixel_size_nm=PX)] == [0]


@every_format
def test_columns_that_a_format_needs_are_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "locs"
    for name in WRITTEN[kind].needs:
        columns = {column: values for column, values in kept(kind, table(3)).as_dict().items() if column != name}
        with pytest.raises(DataError, match=name):
            write(columns, path, kind)
        assert not path.exists()
    with pytest.raises(DataError, match=r"column photon; allowed: frame, x_px"):
        write(kept(kind, table(3)).as_dict() | {"photon": [1, 2, 3]}, path, kind)
    columns = kept(kind, table(3)).as_dict()
    columns["y_px"] = np.array([1, np.nan, 3])
    with pytest.raises(DataError, match=r"row 1, column y_px: is NaN"):
        write(columns, path, kind)
    assert list(tmp_path.iterdir()) == []


@every_format
def test_a_file_that_is_cut_off_is_an_error(kind: str, tmp_path: Path) -> None:
    path = write(kept(kind, table()), tmp_path / f"locs{WRITTEN[kind].suffix}", kind)
    data = path.read_bytes()
    cut = len(data) * 2 // 3
    if data[:6].isascii() and data[:4] != b"PAR1":
        cut = data.rfind(b"\n", 0, cut) + 4
    path.write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"locs.*(line \d+: has|truncated|damaged)"):
        read(path, kind=kind)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read(path, kind=kind)


@every_format
def test_a_damaged_file_is_read_or_is_one_error(kind: str, tmp_path: Path) -> None:
    path = write(kept(kind, table(40)), tmp_path / f"locs{WRITTEN[kind].suffix}", kind)
    whole = path.read_bytes()
    rng = np.random.default_rng(8)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 20))
        data[at : at + length] = rng.bytes(int(rng.integers(0, 20)))
        path.write_bytes(data)
        for given in (kind, None):
            try:
                list(localizations.iter_read(path, given, pixel_size_nm=PX))
            except DataError as error:
                assert str(error).startswith(str(path))  # noqa: PT017 - some damage does no harm
                refused += 1
    assert refused > 20


@pytest.mark.parametrize("kind", ["csv", "picasso", "decode", "npy"])
def test_memory_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    part = kept(kind, table(1000))
    path = tmp_path / f"locs{WRITTEN[kind].suffix}"
    peaks = []
    for parts in (1, 4, 30):  # the first loads libraries
        tracemalloc.start()
        write((part for _ in range(parts)), path, kind)
        assert sum(map(len, localizations.iter_read(path, rows=1000, pixel_size_nm=PX))) == parts * 1000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


# One emitter at (10.25, 20.75) px, z 0.3 um, frame 3, of pixels of 100 x 120 nm: what each tool finds in the file.


def cells(path: Path) -> dict[str, float]:
    """Return the second line of a CSV by the names in the first."""
    names, numbers = path.read_text().splitlines()
    return dict(zip(names.replace('"', "").split(","), map(float, numbers.split(",")), strict=True))


def thunderstorm(path: Path) -> None:
    found = cells(path)
    assert path.read_text().startswith('"id","frame","x [nm]","y [nm]","z [nm]","intensity [photon]"')
    assert (found["frame"], found["x [nm]"], found["y [nm]"], found["z [nm]"]) == (4, 1075, 2550, 300)
    assert found["uncertainty_xy [nm]"] == pytest.approx(np.hypot(5, 12) / np.sqrt(2))


def picasso(path: Path) -> None:
    with h5py.File(path) as file:
        (row,) = file["locs"][:]
        assert file["locs"].dtype["frame"] == np.dtype("<u4")
        assert file["locs"].dtype["x"] == np.dtype("<f4")
    assert tuple(row[["frame", "x", "y", "z"]]) == (3, 10.25, 20.75, 300)
    np.testing.assert_allclose([row["lpx"], row["lpy"]], [0.05, 0.1], rtol=1e-6)
    lines = path.with_suffix(".yaml").read_text().splitlines()
    assert lines[1:] == ["Width: 11", "Height: 22", "Frames: 4", "Pixelsize: 100.0", "Pixelsize y: 120.0"]


def decode(path: Path) -> None:
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data/xyz"], [[20.75, 10.25, 300]])  # its x counts rows
        np.testing.assert_allclose(file["data/xyz_sig"], [[0.1, 0.05, np.nan]], rtol=1e-6)
        assert (file["data/frame_ix"][0], file["data/phot"][0]) == (3, 1000)
        assert file["data/xyz_cr"].shape is None
        assert file["meta"].attrs["xy_unit"] == "px"
        np.testing.assert_array_equal(file["meta"].attrs["px_size"], [120, 100])
        assert set(file["data"]) == set(h5py.File(DATA / "decode.h5")["data"])


def challenge(path: Path) -> None:
    assert path.read_text() == "Ground-truth,frame,xnano,ynano,znano,intensity\n7,4,1075,2550,300,1000\n"


def parquet(path: Path) -> None:
    from pyarrow.parquet import read_schema

    frame = pd.read_parquet(path)
    assert frame.loc[0, ["frame", "position_x", "position_y", "position_z"]].tolist() == [3, 1025, 2490, 300]
    assert read_schema(path).field("position_x").metadata == {b"unit": b"nm"}


def csv(path: Path) -> None:
    assert path.read_text().startswith("frame,x_px,y_px,z_um,photons,id,sigma_x_px,sigma_y_px\n3,10.25,20.75,0.3,")


def npy(path: Path) -> None:
    np.testing.assert_array_equal(np.load(path), [[10.25, 20.75, 0.3]])


LOOKS: dict[str, Callable[[Path], None]] = {
    "thunderstorm": thunderstorm,
    "picasso": picasso,
    "decode": decode,
    "smlm-challenge": challenge,
    "parquet": parquet,
    "csv": csv,
    "npy": npy,
}


@every_format
def test_an_emitter_is_where_the_tool_looks(kind: str, tmp_path: Path) -> None:
    one: dict[str, Any] = {"x_px": [10.25], "y_px": [20.75], "z_um": [0.3]}
    if kind != "npy":
        one |= {"frame": [3], "photons": [1000], "id": [7], "sigma_x_px": [0.05], "sigma_y_px": [0.1]}
    path = write(one, tmp_path / f"locs{WRITTEN[kind].suffix}", kind)
    LOOKS[kind](path)
    found = read(path).iloc[0]
    assert found[["x_px", "y_px", "z_um"]].tolist() == pytest.approx([10.25, 20.75, 0.3], rel=1e-7)


# Files that the tools wrote: tests/data/localizations/README.md


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("picasso_locs.hdf5", "picasso"),
        ("thunderstorm_locan.csv", "thunderstorm"),
        ("thunderstorm.csv", "thunderstorm"),
        ("decode.h5", "decode"),
        ("activations.csv", "smlm-challenge"),
    ],
)
def test_files_of_the_tools_say_the_same(name: str, kind: str) -> None:
    assert format_of(DATA / name).name == kind
    size = (100, 120) if kind == "decode" else 100
    with localizations.opened(DATA / name, pixel_size_nm=size) as source:
        assert source.pixel_size_nm == pytest.approx((100, 120) if kind == "decode" else (100, 100))
        (found,) = source.chunks(10)
        assert found.columns == source.columns
    assert found.frame is not None
    assert found.frame.tolist() == [3, 7]
    expected = {"x_px": [10.25, 3.5], "y_px": [20.75, 0.125], "z_um": [0.3, -0.2], "photons": [1000, 250]}
    expected |= {"sigma_x_px": [0.05, 0.1], "background": [10, 12]}
    if kind in SINGLE:
        expected |= {"sigma_y_px": [0.06, 0.11], "sigma_z_um": [0.03, 0.06]}
    for name_, values in expected.items():
        if name_ in found.columns:
            np.testing.assert_allclose(getattr(found, name_), values, rtol=1e-6, err_msg=name_)
    assert {"x_px", "y_px", "z_um", "photons"} <= set(found.columns)
