"""OME-TIFF movies: readers agree on pixels and metadata, bytes are reproducible, no half-written files."""

from __future__ import annotations

import contextlib
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_types
import pytest
import tifffile

from simtiff.errors import ConfigError, ShapeError
from simtiff.io import tiff as ometiff
from simtiff.io.files import checksum, partial_path, remove_partials
from simtiff.io.tiff import Source

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.io.tiff import HandOver

PIXEL_UM = (0.10111, 0.09883)


def movie(frames: int, dtype: str = "uint16", size: tuple[int, int] = (24, 40)) -> np.ndarray:
    values = np.random.default_rng(frames).poisson(100, (frames, *size))
    return values.astype(dtype)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, pixels: np.ndarray, chunk: int = 3, **options: Any):
    chunks = [pixels[i : i + chunk] for i in range(0, len(pixels), chunk)]
    return ometiff.write_movie(path, chunks, pixels.shape, pixels.dtype, pixel_size_um=PIXEL_UM, **options)


@pytest.mark.parametrize("compression", ["none", "zlib"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("frames", [1, 10])
def test_readers_agree(tmp_path: Path, frames: int, dtype: str, compression: str) -> None:
    path = tmp_path / "movie.ome.tiff"
    pixels = movie(frames, dtype)
    info = write(path, pixels, compression=compression, identity="a job")
    assert np.array_equal(tifffile.imread(path).reshape(pixels.shape), pixels)
    assert info == checksum(path)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == frames
        assert tiff.is_ome
        assert not tiff.is_bigtiff
        assert all(np.array_equal(page.asarray(), frame) for page, frame in zip(tiff.pages, pixels, strict=True))
    image = ome_types.from_tiff(path).images[0].pixels
    assert (image.size_t, image.size_c, image.size_z, image.size_y, image.size_x) == (frames, 1, 1, 24, 40)
    assert (image.physical_size_x, image.physical_size_y) == PIXEL_UM
    assert image.physical_size_x_unit.value == image.physical_size_y_unit.value == "µm"
    assert image.type.value == {"uint16": "uint16", "float32": "float"}[dtype]
    assert names(tmp_path) == ["movie.ome.tiff"]


def test_plain_readers_see_the_scale_and_one_run_of_frames(tmp_path: Path) -> None:
    """ImageJ reads contiguous frames fastest, and takes the scale from the resolution tags."""
    pixels = movie(5)
    write(tmp_path / "movie.tiff", pixels)
    with tifffile.TiffFile(tmp_path / "movie.tiff") as tiff:
        offsets = [page.dataoffsets[0] for page in tiff.pages]
        assert {len(page.dataoffsets) for page in tiff.pages} == {1}
        assert set(np.diff(offsets)) == {pixels[0].nbytes}
        tags = tiff.pages[0].tags
        resolution = tags["XResolution"].value
        assert resolution[0] / resolution[1] == pytest.approx(1e4 / PIXEL_UM[0], rel=1e-6)
        assert tags["ResolutionUnit"].value == 3
        assert tags["Software"].value.startswith("simtiff ")
        assert "DateTime" not in tags
    assert np.array_equal(tifffile.memmap(tmp_path / "movie.tiff", mode="r"), pixels)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_bytes_depend_on_content_and_identity_alone(tmp_path: Path, compression: str) -> None:
    pixels = movie(10)
    paths = [tmp_path / name for name in "abcd"]
    write(paths[0], pixels, chunk=1, compression=compression, identity="x")
    write(paths[1], pixels, chunk=7, compression=compression, identity="x", threads=2)
    write(paths[2], pixels, chunk=10, compression=compression, identity="x")
    write(paths[3], pixels, compression=compression, identity="y")
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] == contents[2]
    assert contents[0] != contents[3]


def test_bigtiff_is_used_when_needed(tmp_path: Path) -> None:
    assert not ometiff.needs_bigtiff((1400, 1200, 1200), "uint16")
    assert ometiff.needs_bigtiff((1500, 1200, 1200), "uint16")
    assert ometiff.needs_bigtiff((750, 1200, 1200), "float32")
    pixels = movie(3)
    write(tmp_path / "big.ome.tiff", pixels, bigtiff=True)
    with tifffile.TiffFile(tmp_path / "big.ome.tiff") as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.asarray(), pixels)
    assert ome_types.from_tiff(tmp_path / "big.ome.tiff").images[0].pixels.size_t == 3


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "movie.tiff"
    path.write_bytes(b"old")
    pixels = movie(6)

    def broken():
        yield pixels[:3]
        raise OSError(28, "No space left on device")

    cases = [
        (broken(), OSError, "No space"),
        ([pixels[:4]], ShapeError, "6 frames, got 4"),
        ([pixels, pixels], ShapeError, "6 frames, got more"),
        ([pixels.astype("float32")], ShapeError, "must be uint16 of shape"),
        ([pixels[:, :-1]], ShapeError, r"\(k, 24, 40\)"),
    ]
    for frames, error, message in cases:
        with pytest.raises(error, match=message):
            ometiff.write_movie(path, frames, pixels.shape, "uint16", pixel_size_um=PIXEL_UM, compression=compression)
        assert names(tmp_path) == ["movie.tiff"]
    assert path.read_bytes() == b"old"


def test_settings_are_checked(tmp_path: Path) -> None:
    for options, message in [
        ({"compression": "lzw"}, "got 'lzw', allowed are none, zlib"),
        ({"dtype": "int64"}, "uint16, float32"),
    ]:
        with pytest.raises(ConfigError, match=message):
            ometiff.write_movie(
                tmp_path / "x",
                [],
                (1, 2, 2),
                options.pop("dtype", "uint16"),
                pixel_size_um=PIXEL_UM,
                **options,
            )


@pytest.mark.parametrize("name", ["movie", "m" * 255])
def test_an_interrupted_movie_goes_on_from_its_journal(tmp_path: Path, name: str) -> None:
    pixels = movie(10)
    write(tmp_path / "whole", pixels)
    starts: list[int] = []

    def attempt(key: str = "x", killed_at: int | None = None) -> None:
        left: dict[Path, bytes] = {}

        class Frames(Source):
            def hand_over(self, to: HandOver, first: int):
                starts.append(first)
                for frame in range(first, len(pixels)):
                    if frame == killed_at:
                        left.update({path: path.read_bytes() for path in tmp_path.glob(".m*")})
                        raise RuntimeError("killed")
                    to(frame, pixels[frame : frame + 1], None)
                    yield frame + 1

        with pytest.raises(RuntimeError, match="killed") if killed_at is not None else contextlib.nullcontext():
            ometiff.write_movie(
                tmp_path / name,
                Frames(),
                pixels.shape,
                pixels.dtype,
                pixel_size_um=PIXEL_UM,
                resume_key=key,
                journal_seconds=0.0,
            )
        for path, data in left.items():  # a process that is killed cleans nothing up
            path.write_bytes(data)

    attempt(killed_at=4)
    assert not (tmp_path / name).exists()
    assert remove_partials(tmp_path, keep_journaled=True) == []
    attempt()
    assert starts == [0, 4]
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole").read_bytes()
    assert names(tmp_path) == [name, "whole"]

    attempt(killed_at=4)
    attempt(key="another job")
    assert starts[-1] == 0
    assert names(tmp_path) == [name, "whole"]


def test_two_writers_of_one_movie_leave_it_whole(tmp_path: Path) -> None:
    """A worker that was given up, but lives, is overtaken by the one that does its job again."""
    pixels = movie(12)
    options: dict[str, Any] = {"pixel_size_um": PIXEL_UM, "resume_key": "x", "journal_seconds": 0.0}
    path, whole = tmp_path / "m.ome.tiff", tmp_path / "whole"
    during: list[bytes] = []

    class Frames(Source):
        def hand_over(self, to: HandOver, first: int):
            for frame in range(first, len(pixels)):
                if frame == 6:
                    ometiff.write_movie(path, [pixels], pixels.shape, pixels.dtype, **options)
                    during.append(path.read_bytes())
                to(frame, pixels[frame : frame + 1], None)
                yield frame + 1

    ometiff.write_movie(path, Frames(), pixels.shape, pixels.dtype, **options)
    ometiff.write_movie(whole, [pixels], pixels.shape, pixels.dtype, **options)
    assert during == [path.read_bytes()]
    assert np.array_equal(tifffile.imread(path), pixels)
    assert names(tmp_path) == ["m.ome.tiff", "whole"]


def test_frames_are_taken_from_all_threads_in_any_order_and_none_may_be_missing(tmp_path: Path) -> None:
    pixels = movie(200)
    order = np.random.default_rng(1).permutation(len(pixels))

    class Frames(Source):
        def __init__(self, missing: int = 0, beyond: int = 0) -> None:
            self.missing, self.beyond = missing, beyond

        def hand_over(self, to: HandOver, first: int):
            def one(t: int) -> None:
                crc = zlib.crc32(pixels[t]) if t % 2 else None
                to(first + t + self.beyond, pixels[t : t + 1], crc)

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(one, order[self.missing :]))
            yield len(pixels)

    def attempt(frames: Source) -> None:
        shape, dtype = pixels.shape, pixels.dtype
        info = ometiff.write_movie(tmp_path / "movie", frames, shape, dtype, pixel_size_um=PIXEL_UM, identity="x")
        assert info == checksum(tmp_path / "movie")

    attempt(Frames())
    write(tmp_path / "plain", pixels, identity="x")
    assert (tmp_path / "movie").read_bytes() == (tmp_path / "plain").read_bytes()
    (tmp_path / "movie").unlink()
    for frames, message in ((Frames(missing=1), f"frame {order[0]} of .* missing"), (Frames(beyond=1), "200 frames")):
        with pytest.raises(ShapeError, match=message):
            attempt(frames)
    assert names(tmp_path) == ["plain"]


def test_nothing_is_written_once_a_movie_has_failed(tmp_path: Path) -> None:
    """A thread that is still rendering may write a frame late, when the file descriptor has been reused."""
    late: list[HandOver] = []

    class Frames(Source):
        def hand_over(self, to: HandOver, first: int):
            late.append(to)
            raise OSError(28, "No space left on device")
            yield first

    pixels = movie(2)
    with pytest.raises(OSError, match="No space"):
        ometiff.write_movie(tmp_path / "movie", Frames(), pixels.shape, pixels.dtype, pixel_size_um=PIXEL_UM)
    with (tmp_path / "other").open("wb"), pytest.raises(OSError, match="Bad file descriptor"):
        late[0](0, pixels, None)
    assert (tmp_path / "other").read_bytes() == b""
    assert names(tmp_path) == ["other"]


def test_partial_files_of_living_writers_are_left_alone(tmp_path: Path) -> None:
    stale = partial_path(tmp_path / "another file")
    stale.touch()
    pixels = movie(2)

    def chunks():
        yield pixels[:1]
        assert remove_partials(tmp_path) == [stale]
        yield pixels[1:]

    ometiff.write_movie(tmp_path / "movie", chunks(), pixels.shape, pixels.dtype, pixel_size_um=PIXEL_UM)
    assert names(tmp_path) == ["movie"]
