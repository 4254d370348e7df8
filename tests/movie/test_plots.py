"""Pictures: contents, our own style regardless of the caller's matplotlib settings, and reproducible bytes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from simtiff.aberrations.maps import open_field
from simtiff.aberrations.synthetic import synthesize
from simtiff.config.identity import plot_names
from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError
from simtiff.movie.mapplot import plot_map
from simtiff.movie.plots import write_plots
from simtiff.movie.truth import write_truth

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow

ENDS = ((0x7C, 0xC8, 0xF5), (0xFF, 0xB2, 0x4D))
"""The colours of the most negative and the most positive value."""


def job(**emitters: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "zmap_path": "builtin:oil",
            "emitters": {"num_emitters": 200, "frames": 30, "area_px": 64.0, "no_plot": False, **emitters},
            "zernike": {"no_plot": False},
            "tiff": {"roi_size": 48, "crop_offset": [8, 4]},
        }
    )


def size_of(png: bytes) -> tuple[int, ...]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("emitters", [{}, {"num_emitters": 0}, {"num_emitters": 1, "frames": 1}])
def test_plots_are_drawn(tmp_path: Path, emitters: dict[str, Any]) -> None:
    config = job(**emitters)
    write_truth(tmp_path / "emitters.h5", config, open_field(config))
    names = plot_names(config)
    assert names == ["emitter_positions.png", "blinking_timeline.png", "zernike_coefficients.png"]
    assert write_plots(config, tmp_path / "emitters.h5", tmp_path) == [tmp_path / name for name in names]
    first = [(tmp_path / name).read_bytes() for name in names]
    assert all(size_of(png)[0] >= 800 for png in first)
    write_plots(config, tmp_path / "emitters.h5", tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first


def drawn(folder: Path, xyz: Any, frame_ix: Any, frames: int, photons: Any = 1000) -> dict[str, np.ndarray]:
    """Return the pictures of emitters that emit for a frame each, as arrays (y, x, 3), by name."""
    xyz = np.asarray(xyz, np.float32).reshape(-1, 3)
    config = job(frames=frames)
    folder.mkdir()
    with h5py.File(folder / "emitters.h5", "w") as file:
        file["records/xyz"] = xyz
        file["records/phot"] = np.broadcast_to(np.float32(photons), len(xyz))
        file["records/frame_ix"] = np.asarray(frame_ix, np.int64)
        file["records/frame_start"] = np.searchsorted(frame_ix, np.arange(frames + 1)).astype(np.int64)
        file["records/id"] = np.arange(len(xyz))
        file["zernike_coeffs/phase"] = np.zeros((len(xyz), 21), np.float32)
    return {path.name: pixels(path) for path in write_plots(config, folder / "emitters.h5", folder)}


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_no_blink_is_lost(tmp_path: Path) -> None:
    """Blinks of one frame among 2,000, of few emitters and of many: colour at their positions."""
    for count in (9, 20_000):
        frames = np.sort(np.concatenate([[0, 5, 700, 703, 1234, 1900, 1999], np.full(count - 7, 1500)]))
        photons = np.where(np.arange(count) % 2, 5.0, 9000.0)  # dim and bright
        pictures = drawn(tmp_path / str(count), np.ones((count, 3)), frames, 2000, photons)
        picture = pictures["blinking_timeline.png"]
        raster = picture[: int(0.66 * len(picture)), : int(0.85 * picture.shape[1])]
        lit = np.flatnonzero((raster.max(axis=2) - raster.min(axis=2) > 30).any(axis=0))
        at = (lit - lit[0]) / (lit[-1] - lit[0]) * 1999
        for frame in frames[[0, 1, 2, 3, 4, -3, -2, -1]]:
            assert np.abs(at - frame).min() <= 5
        for frame in (300, 1000, 1800):
            assert np.abs(at - frame).min() > 50


def test_every_emitter_is_seen(tmp_path: Path) -> None:
    """Visible on white for any z; also in the corners, where a legend would cover it."""
    from scipy import ndimage

    x, y = (axis.ravel() for axis in np.meshgrid([0, 20, 40, 63], [0, 20, 40, 63]))
    places = np.stack([x, y, np.linspace(-1, 1, 16)], axis=1)
    places[5, 2] = 0
    with_light = drawn(tmp_path / "16", places, np.zeros(16), 2)["emitter_positions.png"]
    without = drawn(tmp_path / "0", [], [], 2)["emitter_positions.png"]
    assert with_light.shape == without.shape
    changed = np.abs(with_light - without).max(axis=2)[50:] > 60  # below the title, which shows their number
    assert ndimage.label(changed)[1] == 16


def test_pixels_that_are_no_squares(tmp_path: Path) -> None:
    shapes = []
    for size_y in (100, 200):
        config = JobConfig.model_validate(
            job().model_dump() | {"optical": {"pixel_size_nm_x": 100, "pixel_size_nm_y": size_y}}
        )
        write_truth(tmp_path / "emitters.h5", config, open_field(config))
        write_plots(config, tmp_path / "emitters.h5", tmp_path)
        shapes.append(size_of((tmp_path / "emitter_positions.png").read_bytes()))
    assert shapes[0][1] == shapes[1][1]
    assert 800 <= shapes[1][0] < shapes[0][0]


def test_plots_only_when_asked_for(tmp_path: Path) -> None:
    config = job(no_plot=True)
    assert plot_names(config) == ["zernike_coefficients.png"]
    quiet = JobConfig.model_validate({"zmap_path": "builtin:oil"})
    assert plot_names(quiet) == write_plots(quiet, tmp_path / "none.h5", tmp_path) == []


def test_map_picture(tmp_path: Path) -> None:
    synthesize(tmp_path / "map.h5", size=40)
    plot_map(tmp_path / "map.h5", tmp_path / "map.png")
    plot_map("builtin:oil", tmp_path / "oil.png")
    for name in ("map.png", "oil.png"):
        assert size_of((tmp_path / name).read_bytes())[0] >= 800


def test_each_mode_has_a_scale_of_its_own(tmp_path: Path) -> None:
    ramp = np.linspace(-1, 1, 50) * np.ones((50, 1))
    bright = []
    for weaker in (1, 0.001):
        with h5py.File(tmp_path / "map.h5", "w") as file:
            file["z_maps/phase"] = np.stack([0 * ramp] * 4 + [ramp, weaker * ramp])
        plot_map(tmp_path / "map.h5", tmp_path / "map.png")
        picture = pixels(tmp_path / "map.png")
        bright.append([int((np.abs(picture - colour).max(axis=2) < 30).sum()) for colour in ENDS])
    assert min(bright[0]) > 1000
    assert bright[0] == bright[1]


def test_a_map_of_any_name(tmp_path: Path) -> None:
    for name in ("像差 $x$ λ.h5", "m" * 200 + ".h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["z_maps/phase"] = np.ones((6, 3, 90))
        plot_map(tmp_path / name, tmp_path / "map.png")


SETTINGS = """
import sys, threading
import matplotlib
from matplotlib import pyplot
from simtiff.movie.mapplot import plot_map
matplotlib.rcParams.update({"text.usetex": True, "image.origin": "lower", "font.size": 40, "savefig.bbox": "tight"})
pyplot.style.use("dark_background")
mine = pyplot.figure()
before = dict(matplotlib.rcParams.copy())
threads = [threading.Thread(target=plot_map, args=("builtin:oil", f"{number}.png")) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
try:
    plot_map("builtin:oil", "none/there.png")
except OSError:
    pass
assert dict(matplotlib.rcParams.copy()) == before
assert matplotlib.get_backend().lower() == "svg"
assert pyplot.get_fignums() == [mine.number] and pyplot.gcf() is mine
"""


def test_the_caller_s_matplotlib_stays_as_it_was(tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": "svg"}
    subprocess.run([sys.executable, "-c", SETTINGS], cwd=tmp_path, env=environment, check=True)
    plot_map("builtin:oil", tmp_path / "here.png")
    expected = (tmp_path / "here.png").read_bytes()
    assert [(tmp_path / f"{number}.png").read_bytes() == expected for number in range(4)] == [True] * 4


IN_A_NOTEBOOK = """
import os, sys
from simtiff.movie.mapplot import plot_map
plot_map("builtin:oil", "map.png")
import matplotlib
assert matplotlib.rcParams["text.usetex"]
assert os.environ["MPLBACKEND"] == sys.argv[1]
if sys.argv[1] == "svg":
    assert matplotlib.get_backend().lower() == "svg"
"""


@pytest.mark.parametrize("backend", ["module://simtiff_no_such_backend", "svg"])
def test_settings_from_outside(tmp_path: Path, backend: str) -> None:
    """A notebook's backend that is not installed, and a ``matplotlibrc`` that requires LaTeX."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    environment = os.environ | {"MPLBACKEND": backend}
    subprocess.run([sys.executable, "-c", IN_A_NOTEBOOK, backend], cwd=tmp_path, env=environment, check=True)
    plot_map("builtin:oil", tmp_path / "here.png")
    assert (tmp_path / "map.png").read_bytes() == (tmp_path / "here.png").read_bytes()


def test_map_without_aberrations(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["z_maps/phase"] = np.zeros((3, 8, 8))
    plot_map(tmp_path / "flat.h5", tmp_path / "flat.png")
    assert (tmp_path / "flat.png").exists()


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = job()
    write_truth(tmp_path / "emitters.h5", config, open_field(config))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        write_plots(config, tmp_path / "emitters.h5", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["emitters.h5"]
