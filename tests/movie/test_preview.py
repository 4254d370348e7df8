"""Previews: frames as pictures, enlarged by whole factors, with the truth marked at its positions."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError, DataError
from simtiff.io.tiff import write_movie
from simtiff.movie.preview import preview, stretch

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def width_of(path: Path) -> int:
    return int(struct.unpack(">I", path.read_bytes()[16:20])[0])


def holds(picture: np.ndarray, grey: np.ndarray, across: int, down: int) -> bool:
    """Return whether a picture contains an image, with each pixel enlarged `across` by `down`."""
    large = np.repeat(np.repeat(grey, down, axis=0), across, axis=1)
    plane = picture[..., 0]
    height, width = large.shape
    for y in range(len(plane) - height + 1):
        rows = np.lib.stride_tricks.sliding_window_view(plane[y], width)
        for x in np.flatnonzero((rows == large[0]).all(axis=1)):
            if (picture[y : y + height, x : x + width] == large[..., None]).all():
                return True
    return False


def test_a_small_frame_is_enlarged_without_smoothing(tmp_path: Path) -> None:
    movie = np.random.default_rng(1).poisson(100, (5, 20, 32)).astype(np.uint16)
    movie[3] += 50
    movie[3, 5, 7] = 9000
    tifffile.imwrite(tmp_path / "movie.tiff", movie)
    assert preview(tmp_path / "movie.tiff") == tmp_path / "movie.tiff.png"
    grey = stretch(movie[3])
    assert (grey[5, 7], grey.min()) == (255, 0)
    inner = np.s_[1:-1, 1:-1]  # the lines of the axes cover the outer pixels
    brightest = pixels(tmp_path / "movie.tiff.png")
    assert holds(brightest, grey[inner], 20, 20)
    other = pixels(preview(tmp_path / "movie.tiff", tmp_path / "other.png", frame=0))
    assert holds(other, stretch(movie[0])[inner], 20, 20)
    assert not holds(other, grey[inner], 20, 20)
    write_movie(tmp_path / "oblong.tif", [movie], movie.shape, movie.dtype, pixel_size_um=(0.1, 0.16))
    assert holds(pixels(preview(tmp_path / "oblong.tif")), grey[inner], 20, 32)


def test_dim_and_bright_are_seen() -> None:
    image = np.random.default_rng(2).normal(100, 10, (200, 200))
    image[50, 50] = 10_000
    image[100:103, 100:103] = 1000
    image[150:153, 150:153] = 200
    grey = stretch(image)
    assert grey[50, 50] == 255
    assert grey[100:103, 100:103].min() > grey[150:153, 150:153].max() > 1.3 * np.quantile(grey, 0.99)
    assert np.median(grey) < 60
    assert not stretch(np.zeros((3, 4), np.float32)).any()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((32, 32), np.uint16),
        np.full((20, 20), np.nan, np.float32),
        np.full((1, 1), 7, np.uint8),
        np.zeros((2000, 3), np.uint16),
        np.ones((3, 900), np.uint16),
        np.eye(700, dtype=np.float32),
        np.where(np.eye(9), 1.7e308, -1.7e308),
        np.where(np.eye(9), np.inf, 1e-300),
        np.full((9, 9), 2**62),
    ],
    ids=lambda frame: f"{frame.dtype} {frame.shape}",
)
def test_any_frame_gives_a_picture_that_is_wide_enough(tmp_path: Path, frame: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "电影 $.tif", frame, photometric="minisblack")
    assert width_of(preview(tmp_path / "电影 $.tif")) >= 800


def test_a_large_frame_loses_no_bright_pixel(tmp_path: Path) -> None:
    frame = np.zeros((20, 5000), np.uint8)
    frame[7, 1001::1000] = 255
    tifffile.imwrite(tmp_path / "large.tif", frame)
    picture = pixels(preview(tmp_path / "large.tif"))
    assert 2500 <= picture.shape[1] < 4096
    black, white = picture.max(axis=2) == 0, picture.min(axis=2) == 255
    inside = black.mean(axis=1) > 0.5
    alone = white[inside, 1:-1] & black[inside, :-2] & black[inside, 2:]
    assert alone.sum() == 4


def truth_of(path: Path, places: Any, frame_ix: Any, **tiff: Any) -> Path:
    """Write the truth of 3 frames of 16 px of a field of 40 px: emitters at (x, y) that emit for a frame."""
    emitters = {"num_emitters": len(places), "frames": 3, "area_px": 40}
    content = {"zmap_path": "builtin:oil", "emitters": emitters, "tiff": {"roi_size": 16} | tiff}
    with h5py.File(path, "w") as file:
        file["records/xyz"] = np.concatenate([np.asarray(places, np.float32), np.zeros((len(places), 1))], axis=1)
        file["records/phot"] = np.full(len(places), 1000.0)
        file["records/frame_ix"] = np.asarray(frame_ix)
        file["zernike_coeffs/phase"] = np.zeros((len(places), 21), np.float32)
        file.attrs["config"] = JobConfig.model_validate(content).model_dump_json()
    return path


def test_the_truth_s_marks_are_at_the_emitters(tmp_path: Path) -> None:
    """Only emitters of the shown frame, shifted by the crop offset; none outside the frame."""
    movie = np.zeros((3, 16, 16), np.uint16)
    movie[1, 11, 4] = 100
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    places = [(12.0, 12.0), (9.0, 20.0), (3.0, 20.0), (8.0, 12.0)]
    truth_of(tmp_path / "emitters.h5", places, [0, 1, 1, 2], crop_offset=[5, 9])
    plain = pixels(preview(tmp_path / "movie.tif"))
    marked = pixels(preview(tmp_path / "movie.tif", truth=True))
    assert (plain.max(axis=2) == plain.min(axis=2)).all()
    # The frame is black except for the emitter's pixel, which is white.
    black = plain.max(axis=2) == 0
    rows, columns = (np.flatnonzero(black.mean(axis=axis) > 0.5)[[0, -1]] for axis in (1, 0))
    inside = np.s_[rows[0] + 2 : rows[1] - 1, columns[0] + 2 : columns[1] - 1]
    white = np.argwhere(plain[inside].min(axis=2) == 255)
    coloured = np.argwhere(np.ptp(marked[inside], axis=2) > 60)
    assert len(white) == 40 * 40
    assert np.abs(coloured.mean(axis=0) - white.mean(axis=0)).max() < 1
    assert np.ptp(coloured, axis=0).max() < 40
    elsewhere = truth_of(tmp_path / "other.h5", places, [0, 1, 1, 2], crop_offset=[5, 9])
    (tmp_path / "emitters.h5").unlink()
    assert (pixels(preview(tmp_path / "movie.tif", truth=elsewhere)) == marked).all()


def test_a_truth_of_another_movie_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", np.zeros((3, 16, 16), np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match=r"emitters\.h5: no such file"):
        preview(tmp_path / "movie.tif", truth=True)
    truth = truth_of(tmp_path / "emitters.h5", [(1.0, 1.0)], [0], roi_size=20)
    message = r"is the truth of 3 frames of 20 x 20 px, but .*movie\.tif has 3 frames of 16 x 16 px"
    with pytest.raises(DataError, match=message):
        preview(tmp_path / "movie.tif", truth=True)
    content = {"zmap_path": "builtin:oil", "emitters": {"frames": 3, "area_px": 40}, "tiff": {"roi_size": 16}}
    config = JobConfig.model_validate(content)
    preview(tmp_path / "movie.tif", truth=truth, config=config)
    tifffile.imwrite(tmp_path / "longer.tif", np.zeros((4, 16, 16), np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match=r"3 frames .* has 4 frames"):
        preview(tmp_path / "longer.tif", truth=truth, config=config)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["movie.tif.png"]


def test_without_matplotlib_there_is_the_bare_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    movie = np.random.default_rng(3).poisson(100, (3, 16, 16)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    picture = pixels(preview(tmp_path / "movie.tif", frame=1))
    factor = len(picture) // 16
    assert picture.shape == (16 * factor, 16 * factor, 3)
    assert len(picture) >= 800
    assert (picture[..., 0] == np.repeat(np.repeat(stretch(movie[1]), factor, axis=0), factor, axis=1)).all()
    truth_of(tmp_path / "emitters.h5", [(1.0, 1.0)], [0])
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        preview(tmp_path / "movie.tif", truth=True)


def test_preview_refuses_what_it_cannot_show(tmp_path: Path) -> None:
    (tmp_path / "text.tiff").write_text("no picture")
    tifffile.imwrite(tmp_path / "rgb.tiff", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "grey.tiff", np.zeros((4, 5), np.uint8))
    for name, frame, error, message in [
        ("none.tiff", None, DataError, "no such file"),
        ("text.tiff", None, DataError, "cannot be read as TIFF"),
        ("rgb.tiff", None, DataError, "expected grey frames"),
        ("grey.tiff", 1, ConfigError, "frame 1 does not exist; allowed: 0 to 0"),
    ]:
        with pytest.raises(error, match=message):
            preview(tmp_path / name, frame=frame)
    assert not list(tmp_path.glob("*.png"))
