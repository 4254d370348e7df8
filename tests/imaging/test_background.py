"""Smooth random fields, images of backgrounds, and the light of a beam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.imaging.background import Beam, random_field, read_background

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (700, 900)


def correlation(field: NDArray[np.float32], dx: int, dy: int) -> float:
    height, width = field.shape
    return float(np.mean(field[: height - dy, : width - dx].astype(float) * field[dy:, dx:]))


@pytest.mark.parametrize("length", [0.8, 4.0, 11.3])
def test_a_field_has_the_rms_and_autocorrelation_that_are_asked_for(length: float) -> None:
    field = random_field(SHAPE, length, seed=3, origin=(-200, 55))
    # squares of the field are correlated over length / sqrt(2); this gives the number of independent samples
    independent = field.size / (4 * np.pi * max(length**2, 0.1))
    assert abs(field.mean()) < 4 / np.sqrt(independent)
    assert np.mean(field**2) == pytest.approx(1, abs=4 * np.sqrt(2 / independent))
    for lengths in (0.5, 1, 1.5, 2.5):
        lag = round(lengths * length)
        for dx, dy in ((lag, 0), (0, lag), (lag, lag)):
            law = np.exp(-(dx**2 + dy**2) / (2 * length**2))
            assert correlation(field, dx, dy) == pytest.approx(law, abs=4 * np.sqrt(2 / independent))


def test_any_part_of_a_field_shows_the_same_values() -> None:
    whole = random_field((90, 130), 5.5, seed=8, origin=(-60, -40))
    for left, top, height, width in ((-60, -40, 1, 1), (-1, -1, 30, 50), (3, 10, 40, 67)):
        out = np.empty((height, width), np.float32)
        assert random_field((height, width), 5.5, seed=8, origin=(left, top), out=out) is out
        np.testing.assert_array_equal(out, whole[top + 40 :, left + 60 :][:height, :width])
    other = random_field((90, 130), 5.5, seed=9, origin=(-60, -40))
    assert abs(np.corrcoef(whole.ravel(), other.ravel())[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"length_px": 0.4}, ConfigError, "length is 0.4"),
        ({"length_px": float("nan")}, ConfigError, "length is NaN"),
        ({"seed": -1}, ConfigError, "seed is -1"),
        ({"origin": (0.5, 0)}, ShapeError, "origin"),
        ({"origin": (0, 0, 0)}, ShapeError, "origin"),
        ({"shape": (3, -1)}, ShapeError, "shape"),
        ({"out": np.empty((4, 6))}, ShapeError, "out is float64"),
    ],
)
def test_a_field_that_cannot_be_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    given: dict[str, Any] = {"shape": (4, 6), "length_px": 2.0} | arguments
    with pytest.raises(error, match=words):
        random_field(given.pop("shape"), given.pop("length_px"), **given)


def test_a_beam_is_as_wide_in_micrometres_along_x_and_y() -> None:
    beam = Beam(6.0, (20.5, 30.0), (0.1, 0.15))
    half = [[20.5 + 30, 30], [20.5, 30 - 20], [20.5 + 30 / np.sqrt(2), 30 + 20 / np.sqrt(2)]]
    assert beam.at([[20.5, 30.0], *half]) == pytest.approx([1, 0.5, 0.5, 0.5], abs=1e-12)
    image = beam.image((40, 50), origin=(3, -5))
    y, x = np.mgrid[-5:35, 3:53]
    distance = np.hypot((x - 20.5) * 0.1, (y - 30.0) * 0.15)
    np.testing.assert_allclose(image, np.exp(-4 * np.log(2) * distance**2 / 36), rtol=1e-12)
    with pytest.raises(ShapeError, match=r"xy has shape \(2, 3\)"):
        beam.at(np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="width"):
        Beam(-1.0, (0, 0), (0.1, 0.1)).at([[0, 0]])


def saved(path: Path, image: NDArray[Any]) -> Path:
    if path.suffix == ".npy":
        np.save(path, image)
    else:
        tifffile.imwrite(path, image, photometric="minisblack")
    return path


@pytest.mark.parametrize("name", ["a.tif", "b.TIFF", "c.npy"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_an_image_is_scaled_to_its_mean_and_cut_to_the_frame(tmp_path: Path, name: str, dtype: str) -> None:
    image = np.add.outer(np.arange(30), 2 * np.arange(50)).astype(dtype)
    path = saved(tmp_path / name, image)
    whole = read_background(path, 80.0, (30, 50))
    assert whole.mean() == pytest.approx(80, rel=1e-12)
    np.testing.assert_allclose(whole, image * (80 / image.mean(dtype=float)), rtol=1e-12)
    np.testing.assert_array_equal(read_background(path, 80.0, (11, 13), (37, 19)), whole[19:30, 37:50])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def compressed_by(number: int, path: Path) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["Compression"].overwrite(number)


def never_written(_: Path) -> None:
    """Do not write the file."""


BAD: dict[str, tuple[str, Any, str]] = {
    "missing": ("a.tif", never_written, "no such file"),
    "a folder": ("a.tif", lambda path: path.mkdir(), ": not a file"),
    "another ending": ("a.png", lambda path: path.write_bytes(b"x"), "allowed: .tif, .tiff, .npy"),
    "no TIFF": ("a.tif", lambda path: path.write_bytes(b"nonsense" * 9), "damaged"),
    "no NumPy file": ("a.npy", lambda path: path.write_bytes(b"nonsense" * 9), r"damaged.*magic string"),
    "an empty file": ("a.npy", lambda path: path.write_bytes(b""), "damaged"),
    "pickled": ("a.npy", lambda path: np.save(path, np.array([[{}]])), "damaged"),
    "compressed in another way": (
        "a.tif",
        lambda path: compressed_by(34676, saved(path, np.ones((40, 50)))),
        "is compressed with SGILOG; allowed: no compression, or deflate$",
    ),
    "cut short": ("a.tif", lambda path: cut_short(saved(path, np.ones((40, 50)))), "the image is truncated"),
    "a cut array": ("a.npy", lambda path: cut_short(saved(path, np.ones((40, 50)))), "damaged"),
    "colours": (
        "a.tif",
        lambda path: tifffile.imwrite(path, np.ones((40, 50, 3), np.uint8)),
        "allowed: one grey image",
    ),
    "a stack": ("a.tif", lambda path: saved(path, np.ones((5, 40, 50), np.uint8)), "has 5 images"),
    "a stack of numbers": ("a.npy", lambda path: saved(path, np.ones((5, 40, 50))), "allowed: one grey image"),
    "complex numbers": ("a.npy", lambda path: saved(path, np.ones((40, 50), complex)), "complex"),
    "nothing": ("a.npy", lambda path: saved(path, np.ones((0, 50))), "cannot be read|allowed: one grey image"),
    "below 0": (
        "a.tif",
        lambda path: saved(path, np.arange(-1.0, 1999).reshape(40, 50)),
        r"negative values \(-1 to 1998\)",
    ),
    "not a number": ("a.npy", lambda path: saved(path, np.full((40, 50), np.nan)), "NaN"),
    "infinite": ("a.tif", lambda path: saved(path, np.full((40, 50), np.inf, np.float32)), "infinite"),
    "dark": ("a.tif", lambda path: saved(path, np.zeros((40, 50), np.uint16)), "zero everywhere"),
    "too small": (
        "a.tif",
        lambda path: saved(path, np.ones((30, 50))),
        "50 x 30 px, but must cover the whole frame, x 10 to 49 and y 0 to 30",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_holds_no_background_is_refused(tmp_path: Path, case: str) -> None:
    name, make, words = BAD[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=words) as caught:
        read_background(path, 80.0, (31, 40), (10, 0))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("origin", [(-1, 0), (0, -1), (11, 0), (0, 10)])
def test_an_image_has_to_cover_the_frame(tmp_path: Path, origin: tuple[int, int]) -> None:
    path = saved(tmp_path / "a.npy", np.ones((40, 50)))
    assert read_background(path, 80.0, (31, 40), (10, 9)).shape == (31, 40)
    with pytest.raises(DataError, match="must cover the whole frame"):
        read_background(path, 80.0, (31, 40), origin)
