"""Pictures: drawn when asked for, readable as PNG, the same bytes each time, a clear error without matplotlib."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simtiff.aberrations.maps import open_field
from simtiff.aberrations.synthetic import synthesize
from simtiff.config.identity import plot_names
from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError
from simtiff.movie.plots import plot_map, write_plots
from simtiff.movie.truth import write_truth

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow


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
    assert all(min(size_of(png)) > 500 for png in first)
    write_plots(config, tmp_path / "emitters.h5", tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first


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
        assert min(size_of((tmp_path / name).read_bytes())) > 900


def test_map_without_aberrations(tmp_path: Path) -> None:
    import h5py

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
