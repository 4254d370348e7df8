"""Picasso (PyPI: ``picassosr``) and Locan read what is written here; skipped where they are not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from simtiff import localizations

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend

PX = (100.0, 120.0)


def table(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {"frame": np.sort(rng.integers(0, 50, rows))}
    columns |= {"x_px": rng.uniform(0, 60, rows), "y_px": rng.uniform(0, 30, rows), "z_um": rng.normal(0, 0.4, rows)}
    columns |= {"photons": rng.uniform(100, 5000, rows), "id": np.arange(rows)}
    columns |= {"sigma_x_px": rng.uniform(0.05, 0.2, rows), "sigma_y_px": rng.uniform(0.05, 0.2, rows)}
    return pd.DataFrame(columns)


def test_picasso_loads_localizations(tmp_path: Path) -> None:
    io = pytest.importorskip("picasso.io")
    truth = table()
    path = tmp_path / "sim_locs.hdf5"
    localizations.write(truth, path, "picasso", pixel_size_nm=PX, size_px=(64, 32), frames=60)
    locs, info = io.load_locs(str(path))
    assert len(locs) == len(truth)
    wanted = {"x": truth.x_px, "y": truth.y_px, "z": truth.z_um * 1000, "frame": truth.frame, "photons": truth.photons}
    wanted |= {"lpx": truth.sigma_x_px, "lpy": truth.sigma_y_px}
    for name, values in wanted.items():
        np.testing.assert_allclose(locs[name], values, rtol=1e-6, err_msg=name)
    assert {key: info[-1][key] for key in ("Width", "Height", "Frames", "Pixelsize")} == {
        "Width": 64,
        "Height": 32,
        "Frames": 60,
        "Pixelsize": 100,
    }


def test_locan_loads_localizations(tmp_path: Path) -> None:
    locan_io = pytest.importorskip("locan.locan_io")
    from locan import LocData

    truth = table()
    paths = {kind: tmp_path / f"locs.{kind}" for kind in ("thunderstorm", "decode", "parquet")}
    for kind, path in paths.items():
        localizations.write(truth, path, kind, pixel_size_nm=PX)
    x, y, z = truth.x_px * 100, truth.y_px * 120, truth.z_um * 1000
    for loaded, places, first in [
        (locan_io.load_thunderstorm_file(paths["thunderstorm"]), (x + 50, y + 60, z), 1),
        (locan_io.load_decode_file(paths["decode"]), (truth.y_px, truth.x_px, z), 0),
        (LocData.from_dataframe(pd.read_parquet(paths["parquet"])), (x, y, z), 0),
    ]:
        np.testing.assert_allclose(loaded.coordinates, np.transpose(places), rtol=1e-6)
        np.testing.assert_allclose(loaded.data["intensity"], truth.photons, rtol=1e-6)
        np.testing.assert_array_equal(loaded.data["frame"], truth.frame + first)
