"""Maps of path differences are converted at the job's wavelength, maps in radians are not; notes tell users."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from simtiff.aberrations.maps import map_digest, map_notes
from simtiff.cli import process as cli
from simtiff.config.loading import load_job_config
from simtiff.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, value: float, **attributes: Any) -> str:
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = np.full((11, 16, 16), value)
        file["z_maps/phase"].attrs.update(attributes)
    return str(path)


def job(path: str, **optical: float) -> dict[str, Any]:
    return {
        "zmap_path": path,
        "optical": optical,
        "emitters": {"num_emitters": 3, "frames": 1, "area_px": 8},
        "tiff": {"roi_size": 8},
        "psf": {"size_px": 9},
    }


CASES = [  # radians at 500 nm, for a map with a wavelength of 660 nm
    (100.0, {"unit": "nm", "wavelength": 660.0}, 2 * math.pi * 100 / 500),
    (0.1, {"unit": "waves", "wavelength": 660.0}, 2 * math.pi * 0.1 * 660 / 500),
    (100.0, {"unit": "milliwaves", "wavelength": 660.0}, 2 * math.pi * 0.1 * 660 / 500),
    (0.1, {"unit": "waves"}, 2 * math.pi * 0.1),
    (0.5, {"unit": "rad", "wavelength": 660.0}, 0.5),
    (0.5, {"wavelength": 660.0}, 0.5),
]


@pytest.mark.parametrize(("value", "attributes", "radians"), CASES)
def test_path_differences_follow_the_wavelength_and_radians_stay(
    tmp_path: Path, value: float, attributes: dict[str, Any], radians: float
) -> None:
    path = write(tmp_path / "map.h5", value, **attributes)
    files = simtiff.Simulation(job(path, wavelength_nm=500)).write(tmp_path / "out")
    with h5py.File(files["emitters.h5"]) as file:
        np.testing.assert_allclose(file["zernike_coeffs/phase"], radians, rtol=1e-6)
    field = simtiff.FieldMap.open(path, wavelength_nm=500)
    np.testing.assert_allclose(field.coefficients([3.5], [7.2])[0], radians, rtol=1e-6)
    np.testing.assert_allclose(list(field.planes()), radians, rtol=1e-6)


@pytest.mark.parametrize(("value", "attributes", "radians"), CASES)
def test_a_job_is_another_one_only_where_its_coefficients_are(
    tmp_path: Path, value: float, attributes: dict[str, Any], radians: float
) -> None:
    path = write(tmp_path / "map.h5", value, **attributes)
    own = simtiff.FieldMap.open(path).coefficients([1], [1])[0][0, 0]
    assert map_digest(path, 660.0) == map_digest(path)
    assert (map_digest(path, 500.0) == map_digest(path)) == (own == pytest.approx(radians))


def test_disagreements_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "map.h5", 100.0, unit="nm", wavelength=660.0, NA=1.3)
    config = tmp_path / "batch.json"
    content = {"base_config": job(path), "variables": {"optical.wavelength_nm": [500, 561, 660]}}
    config.write_text(json.dumps(content), encoding="utf-8")
    assert cli.main(["validate", str(config)]) == 0
    assert cli.main(["batch", str(config), f"--output-dir={tmp_path / 'out'}", "--max-workers=1"]) == 0
    captured = capsys.readouterr()
    for said in (captured.out, captured.err):
        assert f"note: {path}: measured at a wavelength of 660 nm, optical.wavelength_nm is 500, 561: " in said
        assert f"note: {path}: measured with NA 1.3, optical.NA is 1.4: " in said
    assert cli.main(["zmap", "info", path]) == 0
    said = capsys.readouterr().out
    assert "stored in nm, wavelength 660 nm, NA 1.3" in said
    assert "converted to radians at optical.wavelength_nm" in said
    (tmp_path / "job.json").write_text(json.dumps(job(path, wavelength_nm=500)), encoding="utf-8")
    words = ["run", f"--zmap={path}", f"--config={tmp_path / 'job.json'}", f"--output-dir={tmp_path / 'one'}"]
    assert cli.main(words) == 0
    assert "optical.wavelength_nm is 500: " in capsys.readouterr().err


def test_agreement_needs_no_note(tmp_path: Path) -> None:
    fitting = write(tmp_path / "a.h5", 100.0, unit="nm", wavelength=660.0, NA=1.4)
    silent = write(tmp_path / "b.h5", 0.1)
    jobs = [load_job_config(job(path)) for path in (fitting, silent)]
    jobs.append(load_job_config(job("builtin:oil", wavelength_nm=500)))
    assert map_notes(jobs) == []
    stays = write(tmp_path / "c.h5", 0.1, wavelength=660.0)
    (note,) = map_notes([load_job_config(job(stays, wavelength_nm=500))])
    assert "coefficients in rad are used unchanged" in note


def test_wavelengths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "map.h5", 1e5, unit="nm", wavelength=660.0)
    for wrong in (0, -500, math.nan, math.inf):
        with pytest.raises(ConfigError, match=r"wavelength_nm: got .*; allowed: a positive number"):
            simtiff.FieldMap.open(path, wavelength_nm=wrong)
    assert simtiff.FieldMap.open(path).coefficients([1], [1])[0].max() < 1000
    with pytest.raises(DataError, match=r"map\.h5: up to 6283.* radians at this wavelength; allowed: up to 1000"):
        simtiff.FieldMap.open(path, wavelength_nm=100).coefficients([1], [1])
