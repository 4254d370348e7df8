"""Drift: the sum of velocity, walk and file; errors in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from simtiff.config.settings import JobConfig
from simtiff.emitters.drift import drift_of
from simtiff.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

UNITS = np.array([100, 120, 1000.0])  # nm of px, px, um


def nm(frames: int = 100, seed: int = 42, **drift: Any) -> np.ndarray:
    found = drift_of(
        JobConfig.model_validate(
            {
                "zmap_path": "builtin:oil",
                "emitters": {"frames": frames, "seed": seed},
                "optical": {"pixel_size_nm_x": 100, "pixel_size_nm_y": 120},
                "drift": drift,
            }
        )
    )
    assert found is not None
    assert found.shape == (frames, 3)
    np.testing.assert_array_equal(found[0], 0)
    return found * UNITS


def test_velocity_and_file_add_up(tmp_path: Path) -> None:
    np.testing.assert_allclose(nm(velocity_nm=[1, -2, 0.5]), np.arange(100)[:, None] * [1, -2, 0.5], atol=1e-9)
    path = tmp_path / "drift.csv"
    path.write_text("frame,z_nm,x_nm,y_nm\n0,5,100,7\n10,5,300,7\n\n30,-15,300,7\n120,-15,-600,97\n")
    frames = np.arange(100)
    x, z = (np.interp(frames, [0, 10, 30, 120], values) for values in ([0, 200, 200, -700], [0, 0, -20, -20]))
    y = np.interp(frames, [0, 30, 120], [0, 0, 90])
    found = nm(path=str(path), velocity_nm=[0, 0, 2])
    np.testing.assert_allclose(found, np.column_stack([x, y, z + 2 * frames]), atol=1e-9)
    one = tmp_path / "one.csv"
    one.write_text("frame,x_nm,y_nm,z_nm\n0,5,6,7\n")
    assert not nm(frames=1, path=str(one)).any()


def test_walk_has_independent_normal_steps() -> None:
    walk = nm(frames=20_000, walk_nm=[2, 3, 0])
    steps = np.diff(walk, axis=0)
    assert stats.kstest(steps[:, 0], stats.norm(0, 2).cdf).pvalue > 1e-3
    assert stats.kstest(steps[:, 1], stats.norm(0, 3).cdf).pvalue > 1e-3
    assert not steps[:, 2].any()
    assert abs(np.corrcoef(steps[:, 0], steps[:, 1])[0, 1]) < 0.03
    assert abs(np.corrcoef(steps[1:, 0], steps[:-1, 0])[0, 1]) < 0.03
    np.testing.assert_array_equal(nm(frames=500, walk_nm=[2, 3, 0]), walk[:500])  # a longer movie begins the same
    np.testing.assert_allclose(nm(frames=500, walk_nm=[2, 1, 1])[:, 0], walk[:500, 0])
    assert abs(np.corrcoef(steps[:, 0], np.diff(nm(frames=20_000, seed=43, walk_nm=[2, 3, 0])[:, 0]))[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: has the columns none (empty file); allowed: frame, x_nm, y_nm, z_nm"),
        ("frame,x,y,z\n0,1,2,3\n", "line 1: has the columns frame, x, y, z; allowed: frame, x_nm, y_nm, z_nm"),
        ("frame,x_nm,y_nm,z_nm\n", "has no rows; allowed: at least one, for frame 0"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n99,nan,2,3\n", "line 3, column x_nm: nan; allowed: numbers"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n99,1,two,3\n", "line 3, column y_nm: two; allowed: numbers"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n99,1,2\n", "line 3, column frame: missing, or wrong number of columns"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n99,1,2,\n", "line 3, column z_nm: missing"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n4.5,1,2,3\n", "line 3, column frame: 4.5; allowed: increasing whole numbers"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n9,1,2,3\n9,1,2,3\n", "line 4, column frame: 9; allowed: increasing whole"),
        ("frame,x_nm,y_nm,z_nm\n-1,1,2,3\n99,1,2,3\n", "line 2, column frame: -1; allowed: increasing whole numbers"),
        ("frame,x_nm,y_nm,z_nm\n0,1,2,3\n98,1,2,3\n", "column frame: covers 0 to 98; allowed: from 0 to 99"),
        ("frame,x_nm,y_nm,z_nm\n1,1,2,3\n99,1,2,3\n", "column frame: covers 1 to 99; allowed: from 0 to 99"),
        ("frame,x_nm,y_nm,z_nm\n0,1e10,2,3\n99,1,2,3\n", "line 2, column x_nm: 1e10; allowed: numbers up to 1e+09"),
    ],
)
def test_bad_files_are_named_with_line_and_column(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "drift.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        nm(path=str(path))
    assert str(error.value).startswith(f"{path}: {problem}")
    with pytest.raises(DataError, match="cannot be read"):
        nm(path=str(tmp_path / "missing.csv"))
    path.write_bytes(b"frame,x_nm,y_nm,z_nm\n0,\xff,2,3\n")
    with pytest.raises(DataError, match="is not a CSV file"):
        nm(path=str(path))
