"""The command line: usage, exit codes, clean messages, and every example config end to end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import jsonschema
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from batch_helpers import TINY_JOB
from simtiff.aberrations.fieldmap import MAX_MODES
from simtiff.aberrations.synthetic import synthesize
from simtiff.cli import process as cli
from simtiff.cli.arguments import USAGE, UsageError, parse_arguments

if TYPE_CHECKING:
    from cli_helpers import Command

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--set=emitters.area_px=40", "--set=tiff.roi_size=40", "--set=psf.size_px=15", "--max-workers=1"]


def test_help_and_version(command: Command) -> None:
    text = command("--help")
    assert command("-h") == command("batch", "--help") == text
    assert all(len(line) <= 110 for line in text.splitlines())
    for name in (
        "demo",
        "init",
        "batch",
        "run",
        "stream",
        "status",
        "table",
        "verify",
        "clean",
        "validate",
        "schema",
        "camera",
        "preview",
        "zmap synth",
        "zmap info",
    ):
        assert f"simtiff {name}" in text
    assert command("--version") == f"simtiff {simtiff.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = "import sys; from simtiff.cli.process import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numpy", "h5py", "scipy", "matplotlib", "tifffile", "pydantic", "rich", "json5", "docopt"}
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize(
    ("line", "name", "wanted"),
    [
        ("batch c.json", "batch", {"CONFIG": "c.json", "--no-resume": False, "--max-workers": None}),
        (
            "batch --batch_config c.json --max_workers 3",
            "batch",
            {"--batch-config": "c.json", "--max-workers": "3"},
        ),
        ("batch c.json --no_resume --output_dir a_b", "batch", {"--no-resume": True, "--output-dir": "a_b"}),
        ("batch c --set a_b=c_d --set=e=f=g", "batch", {"--set": ["a_b=c_d", "e=f=g"]}),
        ("stream --h5 a_b.h5 --output c --chunk_size 5", "stream", {"--h5": "a_b.h5", "--chunk-size": "5"}),
        ("run --zmap=f --skip-tiff", "run", {"--zmap": "f", "--skip-tiff": True, "--skip-zernike": False}),
        ("batch c --force --log_file a_b", "batch", {"--force": True, "--log-file": "a_b", "--dry-run": False}),
        ("status out --json", "status", {"DIR": "out", "--json": True}),
        ("table out", "table", {"DIR": "out", "--output": None}),
        ("table out --output a.parquet", "table", {"DIR": "out", "--output": "a.parquet"}),
        ("verify out", "verify", {"DIR": "out", "--frames": "3", "--mark": False}),
        ("clean out --yes", "clean", {"DIR": "out", "--yes": True}),
        ("batch c --overwrite --dry-run --json", "batch", {"--overwrite": True, "--dry-run": True, "--json": True}),
        ("init study --kind tracking", "init", {"NAME": "study", "--kind": "tracking"}),
        ("demo --output_dir a_b", "demo", {"--output-dir": "a_b"}),
        ("zmap synth out", "zmap synth", {"OUT": "out", "--size": "256", "--seed": "0"}),
    ],
)
def test_command_lines_of_the_guide_and_the_design(line: str, name: str, wanted: dict[str, Any]) -> None:
    got, arguments = parse_arguments(line.split())
    assert got == name
    assert {key: arguments[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no command; commands are demo, init, batch, run"),
        ("bach c.json", 'unknown command "bach"; did you mean "batch"?'),
        ("frobnicate", "allowed: demo, init, batch, run, stream"),
        ("zmap", "zmap needs a second word; allowed: synth, info"),
        ("zmap inf x", 'did you mean "info"?'),
        (
            "batch c --max-worker=3",
            'simtiff batch has no option "--max-worker"; did you mean "--max-workers"?',
        ),
        ("batch c --skip-tiff", 'simtiff batch has no option "--skip-tiff"'),
        ("schema --all", "it takes no options"),
        ("batch c --max-workers", "--max-workers needs a value"),
        ("batch c --dry-run=yes", "--dry-run takes no value"),
        ("batch c --dry-run --dry-run", "--dry-run is given twice"),
        ("--dry-run batch c", "--dry-run must come after a command"),
        ("batch", "usage: simtiff batch (CONFIG | --batch-config=FILE)"),
        ("batch a b", "usage: simtiff batch"),
        ("run out", "usage: simtiff run [--zmap=FILE]"),
        ("stream --h5=a", "usage: simtiff stream"),
        ("status", "usage: simtiff status DIR"),
    ],
)
def test_wrong_command_line_says_what_was_probably_meant(command: Command, line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(line.split())
    assert words in str(caught.value)
    assert words in command(*line.split(), code=2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "batch c.json --max-workers=0",
            '--max-workers: "0" is not allowed; allowed: an integer from 1 to 1,024',
        ),
        ("batch c.json --max-workers=two", '--max-workers: "two"'),
        ("stream --h5=a.h5 --output=b.tif --chunk-size=-1", '--chunk-size: "-1"'),
        ("zmap synth a.h5 --size=1e3", '--size: "1e3"'),
        ("batch missing.json", "missing.json: no such config file"),
        ("validate .", ".: is a directory, not a config file"),
        ("status .", "no batch_status.json there"),
        ("status missing", "missing"),
        ("verify .", "no batch_status.json there"),
        ("verify . --frames=-1", '--frames: "-1"'),
        ("preview missing.tif", "missing.tif: no such file"),
        ("zmap info missing.h5", "missing.h5: "),
        ("run", "simtiff run needs an aberration map: --zmap=FILE, or --config=FILE with a zmap_path"),
        ("run --zmap=missing.h5", "--zmap: "),
        ("run --set=zmap_path=missing.h5", "zmap_path: "),
        ("run --zmap=builtin:water", "zmap_path: "),
        ("run --zmap=~/map.h5", 'zmap_path: "~/map.h5" begins with ~, which is not expanded'),
        ("run --zmap=builtin:oil --output-dir=~/out", '--output-dir: "~/out" begins with ~'),
        ("batch c.json --output-dir=~", '--output-dir: "~" begins with ~'),
        ("batch c.json --output-dir=out.", "must not end with a space or a dot"),
        ("stream --h5=missing.h5 --output=b.tif", "missing.h5: "),
        ("stream --h5=missing.h5 --output=b.png", "--output: b.png must end in .tif or .tiff"),
        ("stream --h5=missing.h5 --output=none/b.tif", "--output: none/b.tif: folder none does not exist"),
        ("preview missing.tif --output=b.tif", "--output: b.tif must end in .png"),
        ("preview missing.tif --output=none/b.png", "--output: none/b.png: folder none does not exist"),
        ("preview missing.tif --frame=-1", '--frame: "-1"'),
        ("zmap info builtin:oil --plot=map.pdf", "--plot: map.pdf must end in .png"),
        ("zmap info builtin:oil --plot=none/map.png", "--plot: none/map.png: folder none does not exist"),
        ("zmap synth none/map.h5", "none/map.h5: folder none does not exist"),
        ("zmap synth .", ".: is a folder"),
    ],
)
def test_wrong_input_is_one_message_and_exit_2(command: Command, line: str, words: str, tmp_path: Path) -> None:
    message = command(*line.split(), code=2)
    assert words in message
    assert message.count("\n") <= 2
    assert not list(tmp_path.iterdir())


WORDS = st.sampled_from(re.findall(r"--[a-z0-9-]+=?|[a-zA-Z]+", USAGE)[:200]) | st.text(max_size=6)


@given(st.lists(WORDS | st.sampled_from(["--", "-", "-h", "batch", "zmap", "synth"]), max_size=6))
def test_any_command_line_is_parsed_or_a_usage_error(words: list[str]) -> None:
    with contextlib.suppress(UsageError):
        command, arguments = parse_arguments(words)
        assert command.split()[0] == words[0]
        assert isinstance(arguments, dict)


def test_config_errors_are_one_block_on_stderr(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text('{"base_config": {"zmap_path": "builtin:oil", "emiters": {}}, "max_workers": 0} // JSON5')
    for words in (("batch", path), ("batch", path, "--dry-run"), ("validate", path)):
        assert command(*words, code=2).splitlines() == [
            f"simtiff: {path}: 2 errors in the config",
            "  max_workers: 0 is too small; allowed: an integer from 1 to 1,024 or null",
            '  base_config.emiters: unknown key; did you mean "emitters"?',
        ]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 1, "out of memory; use fewer workers"),
        (OSError(errno.ENOSPC, "No space left on device", "a.tif"), 1, "a.tif: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "out: Permission denied"),
        (ZeroDivisionError("x"), 1, "internal error: ZeroDivisionError: x (--verbose shows where)"),
        (simtiff.BatchError("out: in use"), 2, "out: in use"),
        (KeyboardInterrupt(), 130, "interrupted; no unfinished file was left under its final name"),
    ],
)
def test_errors_have_exit_codes_and_a_traceback_only_when_asked(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("simtiff.config.loading.json_schema", fail)
    assert words in command("schema", code=code)
    assert cli.main(["schema", "--verbose"]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert words in shown


def test_interrupted_batch_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(_config: object, **_options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not interrupt")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("simtiff.batch.run.run_batch", terminate)
    Path("my config.json").write_text(json.dumps({"base_config": TINY_JOB}))
    message = command("batch", "my config.json", "--no_resume", "--max-workers=2", code=130)
    again = "simtiff batch 'my config.json' --overwrite --max-workers=2"
    assert f"the same command goes on with the others: {again}" in message
    assert signal.getsignal(signal.SIGTERM) == before


def test_schema_is_printed_as_json(command: Command) -> None:
    jsonschema.validate(TINY_JOB, json.loads(command("schema")))


def test_a_job_s_config_is_a_batch_of_one_job(command: Command, job_file: Path, tmp_path: Path) -> None:
    assert "job.json: valid; 1 job, 3 frames" in command("validate", job_file)
    command("batch", job_file, "--output-dir=out", "--max-workers=1", "--set=emitters.frames=2")
    command("run", f"--config={job_file}", "--output-dir=single", "--set", "emitters.frames=2")
    of_batch, of_run = (tmp_path / name / "simulation.ome.tiff" for name in ("out/single_job", "single"))
    assert of_batch.read_bytes() == of_run.read_bytes()
    assert tifffile.imread(of_run).shape == (2, 40, 40)
    assert "2 jobs, 6 frames" in command("validate", job_file, "--set=variables.emitters.seed=[1,2]")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"emitters": {"frames": 0}, "roi_size": 3}))
    message = command("validate", wrong, code=2)
    assert command("batch", wrong, code=2) == message
    assert message.splitlines() == [
        f"simtiff: {wrong}: 3 errors in the config",
        "  zmap_path: required key is missing; allowed: a string",
        "  emitters.frames: 0 is too small; allowed: an integer from 1 to 10,000,000",
        '  roi_size: unknown key; it belongs at "tiff.roi_size"',
    ]
    wrong.write_text(json.dumps(TINY_JOB | {"zmap_path": "missing.h5"}))
    assert "\n  zmap_path: " in command("validate", wrong, code=2)
    assert command("run", f"--config={wrong}", code=2).startswith("simtiff: zmap_path: ")
    study = tmp_path / "study.json"
    study.write_text(json.dumps({"base_config": TINY_JOB, "variables": {"emitters.frames": [4, 5]}}))
    command("run", f"--config={study}", "--output-dir=of_study", "--set=emitters.frames=2")
    assert (tmp_path / "of_study" / "simulation.ome.tiff").read_bytes() == of_run.read_bytes()


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "pipe"])
def test_a_config_may_come_through_a_pipe(tmp_path: Path, name: str) -> None:
    synthesize(tmp_path / "map.h5", size=64)
    text = json.dumps(TINY_JOB | {"zmap_path": "map.h5"})  # relative to the current directory

    def simtiff_(*words: str, config: str = text) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-c", '"$@" <(cat)', "bash"] if name == "pipe" else []
        last = [] if name == "pipe" else [name]
        return subprocess.run(
            [*shell, sys.executable, "-m", "simtiff", *words, *last],
            input=config,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    done = simtiff_("validate")
    assert "valid; 1 job, 3 frames" in done.stdout, done.stderr
    assert "1 completed" in simtiff_("batch", "--max-workers=1", "--output-dir=out").stdout
    assert (tmp_path / "out" / "single_job" / "simulation.ome.tiff").exists()
    wrong = simtiff_("validate", config='{"emitters": {"frames": 0}}')
    assert wrong.returncode == 2
    assert "emitters.frames: 0 is too small" in wrong.stderr


def test_as_many_modes_as_the_core_computes(command: Command) -> None:
    optics = simtiff.Optics()
    simtiff.psf(optics, np.zeros((1, 3)), np.zeros((1, MAX_MODES), np.float32), size=3)
    with pytest.raises(simtiff.SimtiffError, match=f"at most {MAX_MODES}"):
        simtiff.psf(optics, np.zeros((1, 3)), np.zeros((1, MAX_MODES + 1), np.float32), size=3)
    synthesize("map.h5", size=40, modes=MAX_MODES)
    with h5py.File("map.h5", "r+") as file:
        del file["z_maps/phase"]
        file["z_maps/phase"] = np.zeros((MAX_MODES + 1, 40, 40), np.float32)
    Path("job.json").write_text(json.dumps(TINY_JOB | {"zmap_path": "map.h5"}))
    assert f"allowed: at most {MAX_MODES} modes" in command("validate", "job.json", code=2)


def test_zmap_synth_and_info(command: Command, tmp_path: Path) -> None:
    assert command("zmap", "synth", "map.h5", "--size=24") == "map.h5\n"
    table = command("zmap", "info", "map.h5")
    assert "21 modes, 24 x 24 px" in table
    assert "11  spherical" in table
    assert "21 modes" in command("zmap", "info", "builtin:oil")
    command("zmap", "synth", "map.h5", "--size=16")
    assert "21 modes, 16 x 16 px" in command("zmap", "info", "map.h5")
    (tmp_path / "measured.h5").write_bytes(b"precious")
    assert "exists and is no synthetic map" in command("zmap", "synth", "measured.h5", code=2)
    assert (tmp_path / "measured.h5").read_bytes() == b"precious"


@pytest.mark.slow
def test_zmap_info_draws_the_planes(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command("zmap", "info", "builtin:oil", "--plot=map.png").endswith("map.png\n")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    command("zmap", "synth", "map.h5", "--size=8")
    assert "is the input itself" in command("zmap", "info", "map.h5", "--plot=./map.h5", code=2)


@pytest.mark.parametrize(
    ("name", "overrides", "jobs"),
    [
        (
            "demo_config.json",
            ["emitters.frames=2", "variables.emitters.num_emitters=[10]"],
            ["job_0000_num_emitters_10_background_20", "job_0001_num_emitters_10_background_200"],
        ),
        (
            "batch_config_example.json",
            ["emitters.frames=2", "variables.emitters.num_emitters=[5, 10]", "max_workers=1"],
            [
                f"job_000{index}_num_emitters_{number}_background_{background}"
                for index, (number, background) in enumerate((n, b) for n in (5, 10) for b in (50, 100, 200))
            ],
        ),
        (
            "batch_config_simple.json",
            ["emitters.frames=2"],
            ["job_0000_num_emitters_50", "job_0001_num_emitters_100"],
        ),
        (
            "sample_config.json",
            [
                "emitters.num_emitters=10",
                "sample_configs.num_samples=2",
                "sample_configs.frames_per_sample=2",
            ],
            ["sample_001", "sample_002"],
        ),
        ("cylindrical_lens.json", ["emitters.frames=2", "emitters.num_emitters=10"], ["single_job"]),
        ("tetrapod.json", ["emitters.frames=2", "emitters.num_emitters=10"], ["single_job"]),
        ("dstorm_emccd.json", ["emitters.frames=2", "emitters.num_emitters=10"], ["single_job"]),
        ("paint_scmos.json", ["emitters.frames=2", "emitters.density_per_um2=0.1"], ["single_job"]),
        ("own_molecules.json", ["emitters.frames=2"], ["single_job"]),
    ],
)
def test_example_configs_run(
    command: Command, tmp_path: Path, name: str, overrides: list[str], jobs: list[str]
) -> None:
    words = ["batch", CONFIGS / name, *TINY, *(f"--set={override}" for override in overrides)]
    text = command(*words, "--output-dir=out")
    assert f"{len(jobs)} job{'s' * (len(jobs) > 1)}: {len(jobs)} completed, 0 failed" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == jobs
    for job in jobs:
        assert (tmp_path / "out" / job / "emitters.h5").is_file()
        assert tifffile.imread(tmp_path / "out" / job / "simulation.ome.tiff").shape == (2, 40, 40)
    assert f"{len(jobs)} skipped" in command(*words, "--output-dir=out")
    assert f"{len(jobs)}/{len(jobs)} jobs completed" in command("status", "out")
    assert json.loads(command("status", "out", "--json"))["counts"]["completed"] == len(jobs)
    assert f"{len(jobs)} ok, 0 wrong" in command("verify", "out")


def test_run_stream_and_preview(command: Command, tmp_path: Path, job_file: Path) -> None:
    files = command("run", "--zmap=builtin:oil", f"--config={job_file}", "--output-dir=out").split()
    assert files == ["out/emitters.h5", "out/simulation.ome.tiff"]
    movie = tifffile.imread(tmp_path / "out" / "simulation.ome.tiff")
    assert movie.shape == (3, 40, 40)

    command("stream", "--h5", "out/emitters.h5", "--output", "again.tif", "--chunk_size", "2")
    assert (tifffile.imread(tmp_path / "again.tif") == movie).all()
    # What a config does not give is that of the file.
    part, whole = tmp_path / "part.json", tmp_path / "whole.json"
    tiff = {"roi_size": 20, "crop_offset": [5, 5], "noise_params": {"background": 3}}
    part.write_text(json.dumps({"tiff": tiff}))
    whole.write_text(json.dumps(TINY_JOB | {"tiff": tiff}))
    for path in (part, whole):
        command("stream", "--h5=out/emitters.h5", f"--output={path.stem}.tif", f"--config={path}")
    assert tifffile.imread("part.tif").shape == (3, 20, 20)
    assert Path("part.tif").read_bytes() == Path("whole.tif").read_bytes()

    # The truth is marked: beside the movie, or where it lies, cut as the movie is.
    command("preview", "out/simulation.ome.tiff", "--output=plain.png")
    command("preview", "out/simulation.ome.tiff", "--output=marked.png", "--truth")
    command("preview", "again.tif", "--output=again.png", "--h5=out/emitters.h5")
    assert len({Path(name).read_bytes() for name in ("plain.png", "marked.png", "again.png")}) == 3
    assert "emitters.h5: no such file" in command("preview", "part.tif", "--truth", code=2)
    assert "of 40 x 40 px, but part.tif has" in command("preview", "part.tif", "--h5=out/emitters.h5", code=2)
    command("preview", "part.tif", "--h5=out/emitters.h5", f"--config={part}")
    assert "--config goes with --truth or --h5" in command("preview", "part.tif", f"--config={part}", code=2)
    assert "do not fit" in command("preview", "part.tif", "--truth", "--h5=out/emitters.h5", code=2)

    part.write_text(json.dumps({"tiff": {"crop_offset": [41, 0]}}))
    message = command("stream", "--h5=out/emitters.h5", "--output=part.tif", f"--config={part}", code=2)
    assert "tiff.crop_offset: [41, 0] puts the frame of 40 px outside the field of view of 40 px" in message
    with h5py.File("out/emitters.h5", "r+") as file:
        del file.attrs["config"]
    part.write_text(json.dumps({"tiff": {"roi_size": 20}}))
    command("stream", "--h5=out/emitters.h5", "--output=part.tif", f"--config={part}")
    assert tifffile.imread("part.tif").shape == (3, 20, 20)

    before = (tmp_path / "out" / "emitters.h5").read_bytes()
    assert "is the input itself" in command("stream", "--h5=out/emitters.h5", "--output=out/emitters.h5", code=2)
    assert (tmp_path / "out" / "emitters.h5").read_bytes() == before

    assert command("preview", "again.tif") == "again.tif.png\n"
    assert (tmp_path / "again.tif.png").read_bytes().startswith(b"\x89PNG")
    assert command("preview", "again.tif", "--output=a.png") == "a.png\n"
    frames = set()
    for frame in range(3):
        assert command("preview", "again.tif", "--output=b.png", f"--frame={frame}") == "b.png\n"
        frames.add((tmp_path / "b.png").read_bytes())
    assert len(frames) == 3
    assert (tmp_path / "a.png").read_bytes() in frames
    assert "frame 3 does not exist; allowed: 0 to 2" in command("preview", "again.tif", "--frame=3", code=2)
    assert "is the input itself" in command("preview", "again.tif", "--output=again.tif", code=2)


def test_run_without_a_movie_and_with_kept_emitters(command: Command, tmp_path: Path, job_file: Path) -> None:
    words = ["run", "--zmap=builtin:oil", f"--config={job_file}", "--output-dir=out"]
    assert "run once without" in command(*words, "--skip-emitters", code=2)
    assert command(*words, "--skip-tiff") == "out/emitters.h5\n"
    assert not (tmp_path / "out" / "simulation.ome.tiff").exists()
    command(*words, "--skip-zernike")
    kept = (tmp_path / "out" / "simulation.ome.tiff").read_bytes()
    command(*words, "--skip-emitters")
    assert (tmp_path / "out" / "simulation.ome.tiff").read_bytes() == kept


def test_pipeline_config_runs_at_reduced_size(command: Command, tmp_path: Path) -> None:
    config = json.loads((CONFIGS / "pipeline_config.json").read_text(encoding="utf-8"))
    config["emitters"] |= {"frames": 2, "area_px": 40, "num_emitters": 10}
    config["tiff"]["roi_size"] = 40
    path = tmp_path / "pipeline_config.json"
    path.write_text(json.dumps(config))
    command("run", "--zmap=builtin:oil", "--config", path)
    assert tifffile.imread(tmp_path / "output" / "simulation.ome.tiff").shape == (2, 40, 40)


def test_package_exports_what_it_says() -> None:
    assert set(simtiff.__all__) <= set(dir(simtiff))
    for name in simtiff.__all__:
        assert getattr(simtiff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Simulaton'"):
        simtiff.Simulaton  # noqa: B018
