"""``emitters.h5`` as localizations and as molecules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from simtiff import DataError, localizations
from simtiff.aberrations.maps import open_field
from simtiff.config.loading import load_job_config
from simtiff.localizations import Localizations, iter_read, opened
from simtiff.movie.truth import write_truth

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the truth of a job with bounds, of pixels that are not square."""
    config = load_job_config(
        {
            "zmap_path": "builtin:oil",
            "optical": {"pixel_size_nm_x": 100, "pixel_size_nm_y": 120},
            "emitters": {"num_emitters": 50, "frames": 12, "area_px": 32},
            "psf": {"size_px": 11},
            "tiff": {"roi_size": 32},
            "truth": {"crlb": True},
        }
    )
    path = tmp_path_factory.mktemp("truth") / "emitters.h5"
    write_truth(path, config, open_field(config))
    return path


def test_records_are_localizations_with_their_bounds(truth: Path, tmp_path: Path) -> None:
    with opened(truth) as source:
        assert source.pixel_size_nm == (100, 120)
        parts = list(source.chunks(50))
    assert len(parts) > 1
    found = Localizations.concatenate(parts)
    with h5py.File(truth) as file:
        records = {name: file[f"records/{name}"][:] for name in ("xyz", "phot", "frame_ix", "id", "crlb")}
    np.testing.assert_array_equal(np.transpose([found.x_px, found.y_px, found.z_um]), records["xyz"])
    for name, stored in {"photons": "phot", "frame": "frame_ix", "id": "id"}.items():
        np.testing.assert_array_equal(getattr(found, name), records[stored])
    names = ("sigma_x_px", "sigma_y_px", "sigma_z_um", "sigma_photons")
    np.testing.assert_array_equal(np.transpose([getattr(found, name) for name in names]), records["crlb"][:, :4])
    with pytest.raises(DataError, match=r"has a pixel size of \[100.0, 120.0\] nm"):
        localizations.read(truth, pixel_size_nm=100)

    copy = tmp_path / "emitters.h5"
    with h5py.File(truth) as old, h5py.File(copy, "w") as new:
        for name in ("emitters", "records"):
            old.copy(name, new)
        del new["records/xyz"]
    (again,) = iter_read(copy)
    assert again.columns == found.columns
    np.testing.assert_array_equal(again.x_px, found.x_px)
    with h5py.File(copy, "a") as file:
        file["records/id"][3] = 99
    with pytest.raises(DataError, match="records/id: 99 is not an emitter"):
        list(iter_read(copy))


def test_emitters_are_molecules(truth: Path, tmp_path: Path) -> None:
    (found,) = iter_read(truth, "simtiff-emitters")
    assert found.columns == ("x_px", "y_px", "z_um", "id")
    copy = tmp_path / "emitters.h5"
    with h5py.File(truth) as old, h5py.File(copy, "w") as new:
        old.copy("emitters", new)
        np.testing.assert_array_equal(np.transpose([found.x_px, found.y_px, found.z_um]), old["emitters/xyz"])
    (again,) = iter_read(copy)
    np.testing.assert_array_equal(again.z_um, found.z_um)
    with pytest.raises(DataError, match="no dataset records/phot"):
        list(iter_read(copy, "simtiff"))


@pytest.mark.parametrize("kind", ["thunderstorm", "picasso", "decode", "smlm-challenge", "parquet", "csv"])
def test_a_truth_in_another_format_has_the_same_positions(kind: str, truth: Path, tmp_path: Path) -> None:
    path = tmp_path / "locs"
    localizations.write(iter_read(truth, rows=50), path, kind, pixel_size_nm=(100, 120))
    (whole,) = iter_read(truth)
    (found,) = iter_read(path, kind, pixel_size_nm=(100, 120))
    for name in ("x_px", "y_px", "photons"):
        np.testing.assert_array_equal(np.float32(getattr(found, name)), np.float32(getattr(whole, name)))
    np.testing.assert_allclose(found.z_um, whole.z_um, rtol=2e-7)
    np.testing.assert_array_equal(found.frame, whole.frame)
