"""Invalid localization files: one error message that names file, row, column, and what is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from simtiff import ConfigError, DataError, ShapeError, localizations
from simtiff.localizations import iter_read, opened, write

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "data" / "localizations"
TS = '"id","frame","x [nm]","y [nm]","intensity [photon]"'
CSV = "frame,x_nm,y_nm,photons"


def read(path: Path, kind: str | None = None, size: Any = 100, rows: int = 2) -> list[localizations.Localizations]:
    return list(iter_read(path, kind, pixel_size_nm=size, rows=rows))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("thunderstorm", f"{TS}\n1,1,5,5,9\n2,2,5,5,9\n3,3,5,nan,9\n", r"line 4, column y \[nm\]: is NaN or infinite"),
        ("thunderstorm", f"{TS}\n1,1,5,5,9\n\n2,0,5,5,9\n", r"line 4, column frame: is before.*allowed: 1 and up"),
        ("thunderstorm", f"{TS}\n1,1.5,5,5,9\n", "line 2, column frame: is not a whole number"),
        (
            "thunderstorm",
            f"{TS}\n1,1,5,5,9\n2,2,5,five,9\n",
            r"line 3, column y \[nm\]: is 'five'; allowed: a number",
        ),
        ("thunderstorm", f"{TS}\n1,1,5,,9\n", r"line 2, column y \[nm\]: is ''"),
        ("thunderstorm", f"{TS}\n1,1,5,5,9\n2,2,1,234.5,5,9\n", "line 3: has 6 columns, but the header has 5"),
        ("thunderstorm", f"{TS}\n1,1,5,5,9\n2,2,5\n", "line 3: has 3 columns, but the header has 5"),
        (None, TS.replace("photon", "ADU"), r"line 1, column intensity \[ADU\]: the unit is ADU; allowed: photon"),
        (None, TS.replace("intensity [photon]", "intensity"), "column intensity: the unit is missing; allowed: photon"),
        (None, TS.replace("x [nm]", "x [furlong]"), "unit is furlong; allowed: nm, um, px"),
        ("thunderstorm", TS.replace("x [nm]", "x"), "column x: the unit is missing; allowed: nm, um, px"),
        (None, TS.replace('"frame",', ""), "no column frame; the header has id, x"),
        ("thunderstorm", "a,b\n1,2\n", "line 1: no column frame; the header has a, b"),
        (None, f"{CSV},Photons\n1,2,3,4,5\n", "line 1: column Photons; allowed: frame, x_px, .*x_nm"),
        (None, f"{CSV}\n-1,2,3,4\n", "line 2, column frame: is before the first frame; allowed: 0 and up"),
        (None, f"{CSV}\n1,2,3,inf\n", "line 2, column photons: is NaN or infinite"),
        (None, "x_px,x_nm,y_px\n1,2,3\n", "duplicate column x_px"),
        (None, "x_px,y_px,y_px\n1,2,3\n", "duplicate column y_px"),
        (None, "x_px,z_um\n1,2\n", "no column y_px or y_nm; the header has x_px, z_um"),
        (None, "x_px;y_px\n1,5;2\n", "unknown format.*not separated by commas.*allowed: thunderstorm, picasso"),
        (None, "x,y,z\n1,2,3\n", "unknown format.*'x, y, z'"),
        (None, "Ground-truth,frame,xnano,ynano,intensity\n", "no column znano"),
        (None, "x_px,y_px,xnano\n", "could have several formats; choose one: smlm-challenge, csv"),
        ("csv", "\n", "is empty; a header line with column names is needed"),
    ],
)
def test_csv(kind: str | None, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "locs.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"(?s)^{path}: .*{message}"):
        read(path, kind)


def test_what_real_files_do_is_read(tmp_path: Path) -> None:
    path = tmp_path / "locs.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f'{CSV}\r\n\r\n1, 200.0 ,300,4\r\n\r\n2.0,"400",5e2,6'.encode())
    found = localizations.Localizations.concatenate(read(path))
    np.testing.assert_array_equal(found.x_px, [2, 4])
    np.testing.assert_array_equal(found.y_px, [3, 5])
    assert found.frame is not None
    assert found.frame.tolist() == [1, 2]
    path.write_text('"frame","x [px]","y [um]","uncertainty [nm]"\n1,2.5,0.3,NaN\n')
    (table,) = read(path, size=(100, 120))
    assert (table.x_px.tolist(), table.y_px.tolist(), table.columns[-1]) == ([2.0], [2.0], "sigma_y_px")


def test_molecules_have_neither_frames_nor_photons(tmp_path: Path) -> None:
    path = tmp_path / "molecules.csv"
    path.write_text("x_nm,y_nm,z_nm\n100,240,500\n")
    with opened(path, pixel_size_nm=(100, 120)) as source:
        assert source.columns == ("x_px", "y_px", "z_um")
        (table,) = source.chunks(10)
    assert (table.frame, table.photons) == (None, None)
    assert (table.x_px[0], table.y_px[0], table.z_um) == (1, 2, [0.5])


LOCS = np.dtype([("frame", "<u4"), ("x", "<f4"), ("y", "<f4"), ("lpx", "<f4")])


def picasso(path: Path, rows: Any, dtype: Any = LOCS) -> None:
    with h5py.File(path, "w") as file:
        file["locs"] = np.array(rows, dtype)


def decode(path: Path, **changes: NDArray[Any] | None) -> None:
    sets = {"xyz": np.ones((3, 3)), "phot": np.ones(3), "frame_ix": np.arange(3)} | changes
    with h5py.File(path, "w") as file:
        file.create_group("meta").attrs["xy_unit"] = "px"
        for name, values in sets.items():
            if values is not None:
                file[f"data/{name}"] = values


def test_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "locs.h5"

    def refused(message: str, kind: str | None = None) -> None:
        with pytest.raises(DataError, match=rf"(?s)^{path}: .*{message}"):
            read(path, kind)

    picasso(path, [(1, 2, 3, np.nan), (1, 2, np.nan, 1)])
    refused("row 1, column y: is NaN or infinite")
    picasso(path, [(-1.0, 2, 3, 1)], [("frame", "<f8"), *LOCS.descr[1:]])
    refused("row 0, column frame: is before the first frame; allowed: 0 and up")
    picasso(path, [(2, 3, 1)], LOCS.descr[1:])
    refused("locs: no column frame; it has x, y, lpx")
    refused("no dataset data/xyz", "decode")
    decode(path, phot=np.array([1, np.inf, 1]))
    refused("row 1, column phot: is NaN or infinite")
    decode(path, phot=np.ones(2))
    refused("lengths disagree: data/xyz 3, data/phot 2")
    decode(path, frame_ix=None)
    refused("no dataset data/frame_ix")
    decode(path, xyz=np.ones((3, 2)))
    refused(r"data/xyz: has shape \(3, 2\)")
    with h5py.File(path, "a") as file:
        file["locs"] = np.zeros(1, LOCS)
    refused("could have several formats; choose one: picasso, decode")
    decode(path)
    with h5py.File(path, "a") as file:
        file["meta"].attrs["xy_unit"] = "furlong"
    refused("attribute xy_unit is furlong; allowed: px, nm")
    with h5py.File(path, "w") as file:
        file["strange/data"] = 1
    refused(r"unknown format \(it contains strange, strange/data\)")
    path.write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
    refused("not a readable HDF5 file, or truncated")
    path.write_bytes(b"\xff\xfe\x00")
    refused("unknown format")
    refused("is not a text file; a CSV file is needed", "csv")


def test_arrays_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    path = tmp_path / "locs.npy"
    for array, message in [
        (np.zeros((3, 4)), r"float64 of shape \(3, 4\); allowed: real numbers of shape \(n, 2\) or \(n, 3\)"),
        (np.zeros((3, 3), complex), "complex128"),
        (np.array([[1, 2], [3, np.nan]]), "row 1, column 1: is NaN or infinite"),
    ]:
        np.save(path, array)
        with pytest.raises(DataError, match=message):
            read(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a readable \.npy file"):
        read(path)
    path = tmp_path / "locs.parquet"
    for unit, y, message in [
        ("", 1.0, "column position_x: the unit .* is missing; allowed: nm, um, px"),
        ("nm", "a", "column position_y: has type string; allowed: real numbers"),
        ("nm", None, "row 0, column position_y: is NaN or infinite"),
    ]:
        arrays = {"position_x": pa.array([1.0]), "position_y": pa.array([y], pa.string() if y == "a" else pa.float64())}
        fields = [pa.field(name, values.type, metadata={"unit": unit}) for name, values in arrays.items()]
        write_table(pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields)), path)
        with pytest.raises(DataError, match=message):
            read(path)


def test_sizes_of_pixels(tmp_path: Path) -> None:
    csv = DATA / "thunderstorm.csv"
    with pytest.raises(ConfigError, match=rf"{csv}: lengths are in nm, which needs pixel_size_nm"):
        read(csv, size=None)
    for name, stated in [("picasso_locs.hdf5", "100.0, 100.0"), ("decode.h5", "100.0, 120.0")]:
        with pytest.raises(DataError, match=rf"{name}: has a pixel size of \[{stated}\] nm, but pixel_size_nm is \[90"):
            read(DATA / name, size=90)
        assert len(read(DATA / name, size=None)[0]) == 2
    for size in (0, -1, np.nan, "x", (1, 2, 3)):
        with pytest.raises(ConfigError, match=r"pixel_size_nm: .*; allowed: a number of nm above 0"):
            read(csv, size=size)
    with pytest.raises(ConfigError, match="needs pixel_size_nm"):
        write({"x_px": [1], "y_px": [2], "frame": [0]}, tmp_path / "locs.csv", "thunderstorm")


def test_arguments(tmp_path: Path) -> None:
    one: dict[str, Any] = {"x_px": [1.0], "y_px": [2.0]}
    with pytest.raises(ConfigError, match="kind: 'rapidstorm'; allowed: thunderstorm, picasso, decode"):
        read(DATA / "decode.h5", "rapidstorm")
    with pytest.raises(ConfigError, match="kind: simtiff can be read, but not written"):
        write(one, tmp_path / "emitters.h5", "simtiff")
    with pytest.raises(ConfigError, match="does not exist"):
        write(one, tmp_path / "no" / "locs.csv", "csv")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "locs.csv")
    with pytest.raises(DataError, match="not a file"):
        read(tmp_path)
    for options in ({"size_px": (64, 0)}, {"size_px": (64, 1.5)}, {"frames": -1}):
        with pytest.raises(ConfigError, match=rf"{next(iter(options))}: .*; allowed: whole numbers above 0"):
            write(one, tmp_path / "locs.hdf5", "picasso", **options)
    path = tmp_path / "locs.csv"
    with pytest.raises(DataError, match=r"table 1: has columns x_px, y_px, z_um; allowed: x_px, y_px, as in the first"):
        write([one, one | {"z_um": [0.0]}], path, "csv")
    with pytest.raises(DataError, match="there is no table to write"):
        write([], path, "csv")
    with pytest.raises(ShapeError, match=r"column y_px has shape \(2,\); allowed: \(1,\)"):
        write(one | {"y_px": [1, 2]}, path, "csv")
    with pytest.raises(DataError, match="x_px: holds <U1; allowed: real numbers"):
        write(one | {"x_px": ["a"]}, path, "csv")
    with pytest.raises(DataError, match=r"\.npy files have only positions, but the table has frame"):
        write(one | {"frame": [1]}, tmp_path / "locs.npy", "npy")
    assert not path.exists()


def test_reading_needs_no_pandas() -> None:
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\n"
        "from simtiff import localizations as l\n"
        f"print(sum(map(len, l.iter_read({str(DATA / 'decode.h5')!r}))))\n"
        f"l.read({str(DATA / 'decode.h5')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "2\n"
    assert "ConfigError: tables need pandas, which is not installed: pip install pandas" in done.stderr


@pytest.mark.parametrize("first", ["x_nm;y_nm", "x_nm\ty_nm"])
def test_other_separators_than_commas_are_named(tmp_path: Path, first: str) -> None:
    path = tmp_path / "spreadsheet.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{first}\r\n1000;2000\r\n".encode())
    with pytest.raises(DataError, match="not separated by commas; save it as CSV with commas and decimal points"):
        list(iter_read(path, pixel_size_nm=100))
