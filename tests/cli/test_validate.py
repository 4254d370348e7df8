"""Checks of a config before a run: `simtiff validate` and `batch --dry-run`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import simtiff
from batch_helpers import TINY_JOB
from simtiff.cli import process as cli
from simtiff.movie import estimate
from simtiff.movie.estimate import held_light

if TYPE_CHECKING:
    from cli_helpers import Command

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--set=emitters.area_px=40", "--set=tiff.roi_size=40", "--set=psf.size_px=15", "--max-workers=1"]


def test_validate_counts_jobs_and_checks_the_map(command: Command, tmp_path: Path) -> None:
    assert "valid; 9 jobs, 450 frames" in command("validate", CONFIGS / "batch_config_example.json")
    assert "valid; 1 job, 10 frames" in command("validate", CONFIGS / "pipeline_config.json")
    larger = tmp_path / "larger.json"
    larger.write_text(json.dumps(TINY_JOB | {"tiff": {"roi_size": 50}}))
    assert "note: frames reach beyond the field of view" in command("validate", larger)
    command("zmap", "synth", "map.h5", "--size=30", "--seed=3")
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"base_config": TINY_JOB | {"zmap_path": "map.h5"}}))
    message = command("validate", path, code=2)
    assert str(tmp_path / "map.h5") in message
    assert "zernike.extrapolate" in message
    assert command("batch", path, "--dry-run", code=2) == message
    command("batch", path, "--dry-run", "--set=zernike.extrapolate=nearest")


def test_validate_counts_the_emitters_that_are_on(command: Command, tmp_path: Path) -> None:
    """The same numbers as in the truth of a movie that is long enough for a precise mean."""
    path = tmp_path / "job.json"
    emitters = {"num_emitters": 40_000, "frames": 400, "area_px": 20, "lifetime_avg": 3.0}
    path.write_text(json.dumps(TINY_JOB | {"emitters": emitters, "tiff": {"roi_size": 20}}))

    def numbers(*words: str) -> list[float]:
        line = command("validate", path, *words).splitlines()[1]
        return [float(text.replace(",", "")) for text in re.findall(r"(?<=[ (])[0-9][0-9,.]*(?= )", line)]

    total, on, in_a_frame = numbers()
    assert total == 40_000
    sim = simtiff.Simulation(path)
    records = sim.records
    assert in_a_frame == pytest.approx(len(records.frame_ix) / 400, rel=0.02)
    start, stop = sim.emitters.t0, sim.emitters.t0 + sim.emitters.on_time
    seen = [np.count_nonzero((start <= time) & (time < stop)) for time in np.arange(0.5, 400)]
    assert on == pytest.approx(np.mean(seen), rel=0.02)
    assert numbers("--set=variables.emitters.num_emitters=[40000,80000]") == pytest.approx(
        [total, 2 * total, on, 2 * on, in_a_frame, 2 * in_a_frame], rel=0.01
    )


def test_validate_says_the_number_that_a_density_comes_to(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    rare = {"kind": "kinetics", "states": {"on": {"dark": 1}, "dark": {"on": 1e-9}}}
    path.write_text(json.dumps(TINY_JOB | {"emitters": {"num_emitters": 1000, "area_px": 40, "blinking": rare}}))
    said = command("validate", path, "--set=emitters.blinking.states.dark.on=10000")
    assert "on average 1,000 on at a time" in said
    wrong = command("validate", path, "--set=emitters.density_per_um2=1", code=2)
    assert re.search(r"emitters.density_per_um2: 1 requires [\d.]+e\+10 emitters in the whole movie, each on", wrong)
    assert command("batch", path, "--dry-run", "--set=emitters.density_per_um2=1", code=2) == wrong


def test_validate_refuses_a_drift_out_of_what_can_be_computed(command: Command, tmp_path: Path) -> None:
    """Otherwise a job would fail at some frame, after its truth was written."""
    path, drift = tmp_path / "job.json", tmp_path / "drift.csv"
    drift.write_text("frame,x_nm,y_nm,z_nm\n0,0,0,0\n9999,0,0,-9e6\n")
    path.write_text(json.dumps(TINY_JOB | {"emitters": {"frames": 10_000, "area_px": 40}}))
    command("validate", path, "--set=drift.velocity_nm=[0,0,0.1]")
    command("validate", path, "--set=drift.velocity_nm=[0,0,900]", "--set=drift.path=drift.csv")
    for words, height in [(["velocity_nm=[0,0,900]"], "9000.1 um"), (["path=drift.csv"], "-9001 um")]:
        wrong = command("validate", path, *(f"--set=drift.{word}" for word in words), code=2)
        assert f"\n  drift: emitters drift to z = {height} within 10000 frames, which is too far" in wrong
        assert command("batch", path, *(f"--set=drift.{word}" for word in words), code=2) == wrong
    water = ["--set=psf.model=vectorial", "--set=optical.n_sample=1.33", "--set=emitters.z_um=[0,1]"]
    down = command("validate", path, *water, "--set=drift.velocity_nm=[0,0,-1e-4]", code=2)
    assert "drift: emitters drift down to z = -0.0009999 um, into the coverslip: optical.n_sample" in down


def test_one_pixel_size_alone_is_noted(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.json"
    words = (
        "note: pixels are 65 nm x 98.83 nm: optical.pixel_size_nm_x is given, but optical.pixel_size_nm_y has its "
        "default"
    )

    def answers(optical: dict[str, Any], **batch: Any) -> list[str]:
        job = TINY_JOB | {"optical": optical}
        path.write_text(json.dumps({"base_config": job} | batch if batch else job))
        return [command("validate", path), command("batch", path, "--dry-run")]

    assert all(words in text for text in answers({"pixel_size_nm_x": 65}))
    cli.main(["run", f"--config={path}", "--skip-tiff"])
    assert words in capsys.readouterr().err
    cli.main(["batch", str(path), "--max-workers=1"])
    assert words in capsys.readouterr().err
    swept = {"optical.pixel_size_nm_x": [65]}
    assert all(words in text for text in answers({}, variables=swept))
    whole = [{}, {"pixel_size_nm_x": 98.83}, {"pixel_size_nm": 65}, {"pixel_size_nm_x": 65, "pixel_size_nm_y": 60}]
    for optical in whole:
        assert not any("pixels are" in text for text in answers(optical))
    assert not any("pixels are" in text for text in answers({"pixel_size_nm": 60}, variables=swept))


def test_validate_says_how_much_light_a_stamp_holds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One computation for each stamp, and silence where nearly all light is held."""
    path = tmp_path / "study.json"
    optical = {"wavelength_nm": 596, "NA": 1.47, "pixel_size_nm_x": 65, "pixel_size_nm_y": 65}
    computed = []
    monkeypatch.setattr(estimate, "held_light", lambda config: computed.append(config) or held_light(config))

    def notes(size_px: int, z_um: float, **variables: list[float]) -> list[str]:
        base = {"zmap_path": "builtin:oil", "optical": optical, "psf": {"size_px": size_px}}
        variables = {f"emitters.{key}": values for key, values in variables.items()}
        path.write_text(json.dumps({"base_config": base | {"emitters": {"z_range_um": z_um}}, "variables": variables}))
        computed.clear()
        return command("validate", path).splitlines()[2:]

    for size, percent in ((31, 60), (41, 76)):
        words = f"note: a PSF stamp of {size} px (psf.size_px) contains {percent} % of the signal"
        assert notes(size, 1.0)[0].startswith(words)
    assert "z = 1 um" in notes(41, 0.5, z_range_um=[0.2, 1.0, 0.7], seed=list(range(30)))[0]
    assert len(computed) == 3
    for size, z_um in ((41, 0.6), (61, 1.0)):
        assert notes(size, z_um) == []


def test_dry_run_prints_jobs_and_settings_and_touches_nothing(command: Command, tmp_path: Path) -> None:
    text = command("batch", CONFIGS / "demo_config.json", "--dry-run", "--set=emitters.frames=3")
    lines = text.splitlines()
    assert "4 jobs, 12 frames" in lines[0]
    assert lines[0].endswith("to be written to demo_output")
    settings = "emitters.num_emitters=400  tiff.noise_params.background=200.0"
    assert re.fullmatch(rf"  job_0001_num_emitters_400_background_200  {re.escape(settings)}  noise_seed=\d+", lines[5])
    assert lines[1].startswith("emitters: 400 to 1,200 in the whole movie")
    assert lines[2:4] == ["plan: 4 new", "settings of each job:"]
    assert "  emitters.frames=3" in lines
    assert not list(tmp_path.iterdir())
