"""Rectangular fields and frames: width first in the config, height first in arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from scipy import stats

from fuzzing import run
from simtiff.aberrations.fieldmap import FieldMap
from simtiff.aberrations.maps import open_field
from simtiff.config.identity import job_hash
from simtiff.config.loading import load_job_config
from simtiff.emitters.sources import sample_truth
from simtiff.errors import ConfigError, DataError
from simtiff.movie.estimate import movie_bytes
from simtiff.movie.simulation import Simulation

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT = 90, 40
JOB: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 200, "frames": 3, "area_px": [WIDTH, HEIGHT], "seed": 3},
    "tiff": {"roi_size": [70, 24], "crop_offset": [12, 6]},
    "psf": {"size_px": 15},
}


def hash_of(area: Any, size: Any) -> str:
    return job_hash(load_job_config(JOB | {"emitters": {"area_px": area}, "tiff": {"roi_size": size}}), "d")


def test_a_square_is_the_same_job_in_either_way() -> None:
    assert hash_of(64, 48) == hash_of([64, 64.0], [48.0, 48])
    assert len({hash_of(64, 48), hash_of([64, 65], 48), hash_of([65, 64], 48), hash_of(64, [48, 47])}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emitters": {"area_px": [30]}}, r"emitters.area_px\[1\]: required value is missing.*\[width, height\]"),
        ({"emitters": {"area_px": [30, 0.5]}}, r"emitters.area_px\[1\]: 0.5 is too small"),
        ({"tiff": {"roi_size": [30, 4.5]}}, r"tiff.roi_size\[1\]: 4.5 is not an integer"),
        ({"tiff": {"roi_size": "30x40"}}, r"tiff.roi_size: \"30x40\" is a string; allowed: an integer from 1"),
        (
            {"tiff": {"roi_size": [70, 24], "crop_offset": [0, HEIGHT]}},
            r"tiff.crop_offset: \[0, 40\] puts the frame of 70 x 24 px outside the field of view of 90 x 40 px",
        ),
        (
            {"tiff": {"roi_size": [70, 24], "use_direct_rendering": False, "hr_size": 30}},
            "tiff.hr_size: 30 is less than one sample per pixel for roi_size 70",
        ),
    ],
)
def test_sides_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_job_config(JOB | changes)


def test_emitters_are_uniform_in_the_rectangle() -> None:
    config = load_job_config(JOB | {"emitters": {"num_emitters": 40_000, "area_px": [WIDTH, 40.5], "seed": 1}})
    emitters, _ = sample_truth(config.emitters)
    for axis, side in enumerate((WIDTH, 40.5)):
        places = emitters.xyz[:, axis].astype(np.float64)
        assert -0.5 <= places.min() < -0.45
        assert side - 0.55 < places.max() < side - 0.5
        assert stats.kstest(places, stats.uniform(-0.5, side).cdf).pvalue > 1e-3


def test_the_file_has_the_frames_that_the_simulation_cuts_from_the_field(tmp_path: Path) -> None:
    simulation = Simulation(JOB)
    assert simulation.shape == (3, 24, 70)
    simulation.write(tmp_path)
    with tifffile.TiffFile(tmp_path / "simulation.ome.tiff") as file:
        assert (file.series[0].shape, file.series[0].axes) == ((3, 24, 70), "TYX")
        assert 'SizeX="70" SizeY="24"' in (file.ome_metadata or "")
        np.testing.assert_array_equal(file.asarray(), simulation.frames(0, 3))
    estimate = movie_bytes(simulation.config)
    assert 0 <= estimate - (tmp_path / "simulation.ome.tiff").stat().st_size < 1 << 17

    whole = Simulation(JOB | {"tiff": {"roi_size": [WIDTH, HEIGHT]}}).expected(0, 3)
    np.testing.assert_allclose(simulation.expected(0, 3), whole[:, 6:30, 12:82], atol=1e-3)


def test_bounds_plots_and_preview_of_a_rectangle(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    drawn = {"emitters": JOB["emitters"] | {"no_plot": False}, "zernike": {"no_plot": False}}
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB | drawn | {"truth": {"crlb": True}}))
    assert run("run", f"--config={path}", f"--output-dir={tmp_path / 'out'}")[0] == 0
    movie = tmp_path / "out" / "simulation.ome.tiff"
    assert run("preview", movie, "--truth")[0] == 0
    assert (tmp_path / "out" / "simulation.ome.tiff.png").is_file()
    with h5py.File(tmp_path / "out" / "emitters.h5") as file:
        xyz, bounds = file["records/xyz"][:], file["records/crlb"][:]
    inside = ((xyz[:, :2] > (14, 8)) & (xyz[:, :2] < (78, 26))).all(axis=1)
    assert inside.any()
    assert np.isfinite(bounds[inside, :2]).all()
    far = (xyz[:, 1] > 38) | (xyz[:, 0] < 3)  # their stamps do not reach the frame
    assert np.isinf(bounds[far, :2]).all()


def write_map(path: Path, height: int, width: int) -> Path:
    y, x = np.mgrid[:height, :width]
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.stack([0.001 * x, 0.002 * y]).astype(np.float32)
    return path


def test_a_map_need_not_be_larger_than_the_rectangle(tmp_path: Path) -> None:
    fitting = load_job_config(JOB | {"zmap_path": str(write_map(tmp_path / "map.h5", HEIGHT, WIDTH))})
    phase, _ = open_field(fitting).coefficients([80.0], [35.0], method="linear")
    np.testing.assert_allclose(phase, [[0.08, 0.07]], atol=1e-6)
    turned = load_job_config(JOB | {"zmap_path": str(write_map(tmp_path / "turned.h5", WIDTH, HEIGHT))})
    with pytest.raises(DataError, match=r"turned.h5: the field extends from x = -0.5 to 89.5 px of the map"):
        open_field(turned)


def test_the_builtin_map_is_as_large_as_a_rectangle_needs() -> None:
    wide = FieldMap.open("builtin:oil", size=(WIDTH, HEIGHT))
    assert wide.shape == (HEIGHT, WIDTH)
    square = FieldMap.open("builtin:oil", size=WIDTH)
    x = np.linspace(0, WIDTH - 1, 7)
    middle = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    expected, _ = square.coefficients(x, np.full(7, middle[0]))
    np.testing.assert_allclose(wide.coefficients(x, np.full(7, middle[1]))[0], expected, atol=1e-6)


def test_verify_renders_frames_of_a_rectangle_again(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    sizes = "--set=variables.tiff.roi_size=[[70,24],[24,30],20]"
    assert run("batch", path, f"--output-dir={tmp_path / 'out'}", sizes, "--quiet")[0] == 0
    names = sorted(folder.name for folder in (tmp_path / "out").iterdir() if folder.is_dir())
    assert names == ["job_0000_roi_size_70-24", "job_0001_roi_size_24-30", "job_0002_roi_size_20"]
    code, out, _ = run("verify", tmp_path / "out")
    assert code == 0
    assert out.count("3 frames rendered again and the same") == 3
