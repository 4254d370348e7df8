"""The command in Chinese: every line of text is translated, machine-readable output is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from batch_helpers import TINY_JOB, config, write_config
from matlab_files import save
from simtiff.cli import process as cli

if TYPE_CHECKING:
    from pathlib import Path

# Words that are not translated: names, units, messages of the system.
NAMES = {"TIFF", "HDF", "JSON", "CRC", "Noll", "simtiff", "rad", "nm", "px", "um", "kB", "MB", "GB", "TB", "NaN"}
NAMES |= {
    "MATLAB",
    "Zernike",
    "Fiji",
    "PSF",
    "NA",
    "napari",
    "matplotlib",
    "KEY",
    "VALUE",
    "UTF",
    "SIGKILL",
    "rms",
    "true",
    "false",
    "null",
}
NAMES |= {"batch", "run", "stream", "status", "table", "verify", "clean"}
NAMES |= {"validate", "schema", "camera", "preview", "zmap", "export", "score"}
NAMES |= {"NAME", "demo", "init", "dstorm", "tracking", "sweep", "training"}
NAMES |= {"thunderstorm", "picasso", "decode", "smlm", "challenge", "parquet", "csv", "npy", "emitters"}  # formats
NAMES |= {"Jaccard", "Picasso", "CSV", "frame", "kind", "kinetics", "paint", "on", "bleached"}
NAMES |= {"shell", "out", "own", "none"}  # folders of the test
AS_THEY_ARE = re.compile(
    r"job_\w+(\.\w+)*"  # jobs
    r"|--[a-z-]+(=\S+)?"  # options
    r"|\w*[_.]\w+(\.\w+)*(\[\d+\])?"  # keys and files
    r"|\b[0-9a-f]{8}\b"  # checksums
    r"|builtin:oil|\[Errno [^\]]+\][^()]*|\"[^\"]*\""
)

TOO_LARGE = {"emitters": {"frames": 10**7, "area_px": 64}, "tiff": {"roi_size": 10**4}}  # 2 PB


@pytest.fixture(autouse=True)
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIMTIFF_LANG", raising=False)
    for name in ("LC_ALL", "LC_MESSAGES", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")


def english_words(text: str, *folders: Path) -> list[str]:
    """Return the words of a text that are neither Chinese nor names."""
    for folder in folders:
        text = re.sub(rf"{re.escape(str(folder))}[^\s:)；，]*", "", text)
    text = re.sub(r"^\S+=.*$|^  \S+=.*$", "", AS_THEY_ARE.sub("", text), flags=re.MULTILINE)
    return [word for word in re.findall(r"[A-Za-z]{2,}", text) if word not in NAMES]


@pytest.mark.slow
def test_every_line_is_chinese(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, job = write_config(tmp_path, config()), tmp_path / "job.json"
    job.write_text(json.dumps(TINY_JOB))
    (tmp_path / "bad.json").write_text(
        json.dumps({"base_config": {"zmap_path": "no.h5", "emitters": {"frames": 0, "fram": 1}}})
    )
    (tmp_path / "nomap.json").write_text(json.dumps({"base_config": {"zmap_path": "no.h5"}}))
    own = TINY_JOB["emitters"] | {"positions_path": "own.csv", "fiducials": {"count": 1, "photons": 900}}
    own.pop("num_emitters", None)
    added = {"export": ["picasso", "thunderstorm"], "drift": {"velocity_nm": [1, 0, 0]}}
    (tmp_path / "own.json").write_text(json.dumps(TINY_JOB | added | {"emitters": own}))
    (tmp_path / "own.csv").write_text("x_px,y_px\n10,20\n60,20\n")
    (tmp_path / "far.csv").write_text("frame,x_px,y_px\n1,10,20\n")
    (tmp_path / "drift.csv").write_text("frame,x_nm,y_nm,z_nm\n1,10,20,0\n")
    blinking = {"kind": "kinetics", "states": {"on": {"bleached": 1}}, "start": "gone"}
    (tmp_path / "blinking.json").write_text(json.dumps(TINY_JOB | {"emitters": {"blinking": blinking}}))
    (tmp_path / "large.json").write_text(json.dumps({"base_config": TINY_JOB | TOO_LARGE}))
    out = tmp_path / "out"
    out.mkdir()
    first, second = "job_0000_num_emitters_20", "job_0001_num_emitters_40"
    (out / first).touch()

    def spoil() -> None:
        movie = out / first / "simulation.ome.tiff"
        movie.write_bytes(movie.read_bytes()[:-1] + b"x")
        (out / second / "job.json").unlink()
        (out / second / "mine.txt").touch()
        (out / "mine.txt").touch()

    batch = f"batch {path} --output-dir=out --max-workers=1"
    for step in (
        "demo --output-dir=demo",
        "init study --kind=tracking",
        "init study --kind=none",
        "init study",
        "init -",
        f"validate {path}",
        f"{batch} --dry-run",
        f"{batch} --verbose",  # one job fails
        "status out",
        "verify out",
        (out / first).unlink,
        batch,
        f"{batch} --set=emitters.frames=5",  # would replace finished jobs
        f"{batch} --set=emitters.frames=5 --dry-run",
        f"{batch} --set=variables.emitters.num_emitters=[40,60] --dry-run",
        f"{batch} --retry-failed",
        spoil,
        "verify out",
        "verify out --mark",
        batch,
        f"{batch} --set=variables.emitters.num_emitters=[60] --no-resume",
        "status out",
        "clean out",
        "clean out --yes",
        "clean out",
        f"run --zmap=builtin:oil --config={job} --output-dir=run",
        f"run --zmap=builtin:oil --config={job} --output-dir=run --skip-emitters",
        f"run --zmap=builtin:oil --config={job} --output-dir=run --skip-zernike",
        f"run --zmap=builtin:oil --config={job} --output-dir=run --skip-tiff",
        "stream --h5=run/emitters.h5 --output=run/again.tif",
        "demo --output-dir=run",
        "zmap info builtin:oil",
        "validate own.json",
        "batch own.json --output-dir=own --max-workers=1 --verbose",
        "validate own.json --set=emitters.positions_path=far.csv",
        "validate own.json --set=emitters.density_per_um2=1",
        "validate own.json --set=drift.path=drift.csv",
        "validate blinking.json",
        'validate blinking.json --set=emitters.blinking={"kind":"paint"}',
        "export own/single_job/emitters.h5 --format=picasso --output=own/other_locs.hdf5",
        "export own/single_job/emitters.h5 --format=fiji --output=own/other_locs.hdf5",
        "score own/single_job/emitters.h5 own/other_locs.hdf5",
        "score own/single_job/emitters.h5 none.csv",
        "score own/single_job/emitters.h5 own/single_job/thunderstorm.csv --radius=0",
        "batch large.json --output-dir=large",
        "batch bad.json",
        "batch nomap.json",
        "validate none.json",
        "status none",
        "verify none",
        "preview none.tif",
        "stream --h5=none.h5 --output=none.tif",
        "zmap info none.h5",
        f"{batch} --set=emitters.fram=3",
        "batch --jsn",
        "bach",
        "run --zmap=builtin:oil --output-dir=~/out",
        "stream --h5=run/emitters.h5 --output=none/x.tif",
        "",
    ):
        if callable(step):
            step()
            continue
        code = cli.main(step.split())
        assert code == 2 or "large" not in step
        printed, told = capfd.readouterr()
        text = re.sub(r"^Traceback.*?^\w+Error:[^\n]*$", "", printed + told, flags=re.DOTALL | re.MULTILINE)
        if step == "status out":  # errors are shown as stored in the status
            text = re.sub(r"^    File exists: .*", "", text, flags=re.MULTILINE)
        assert text.strip(), step
        assert english_words(text, tmp_path) == [], (step, text)


def test_what_is_said_of_maps_and_records_is_chinese(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planes = np.full((6, 40, 40), 20.0)
    write("map.h5", {"z_maps/phase": planes}, "z_maps/phase", unit="nm", wavelength=600, NA=1.2)
    planes[2, 38, 39] = np.nan
    write("holes.h5", {"z_maps/phase": planes}, "z_maps/phase", unit="nm", wavelength=600)
    save(tmp_path / "matlab.mat", z_maps={"phase": np.full((9, 9, 6), 0.1)})
    save(tmp_path / "flat.mat", z_maps={"phase": np.zeros((0, 9, 6))})
    records = {"records/xyz": [[2, 3, 0], [4, 8, 0.4]], "records/phot": [900, 800], "records/frame_ix": [0, 1]}
    write("records.h5", records)
    write("half.h5", records | {"records/frame_ix": [0, 1.5]})
    write("flat.h5", records | {"records/xyz": [[2, 3], [4, 8]]})
    write("dark.h5", {"records/frame_ix": [0, 1]})
    write("long.h5", records | {"records/phot": [900]})
    base = {"zmap_path": "map.h5", "emitters": {"num_emitters": 20, "frames": 3, "area_px": 20}}
    (tmp_path / "job.json").write_text(
        json.dumps(base | {"optical": {"pixel_size_nm_x": 110}, "tiff": {"roi_size": 20}})
    )
    (tmp_path / "small.json").write_text(json.dumps({"tiff": {"roi_size": 10}}))
    (tmp_path / "both.json").write_text(json.dumps({"max_workers": 1, "emitters": {}}))
    (tmp_path / "whole.json").write_text(
        json.dumps(base | {"optical": {"pixel_size_nm": 110, "pixel_size_nm_x": 110}, "psf": {"size_px": "a"}})
    )
    linear, datasets = (
        "--set=zernike.interpolation_method=linear",
        r"\w+/(phase|xyz|phot|frame_ix)|records|属性 \w+|\bnan\b",
    )
    code = {}
    for step in (
        "validate job.json",
        "batch job.json --output-dir=out --max-workers=1",
        "run --config=job.json --output-dir=run",
        "stream --h5=records.h5 --output=again.tif --config=job.json",
        "validate job.json --set=zmap_path=holes.h5",
        f"validate job.json --set=zmap_path=holes.h5 --set=emitters.area_px=40 {linear}",
        "validate job.json --set=zmap_path=records.h5",
        "validate job.json --set=zmap_path=flat.mat",
        "validate job.json --set=zernike.crop_size=50",
        "validate job.json --set=zernike.crop_offset=[50,0]",
        "validate job.json --set=optical.pixel_size_nm=[1]",
        "validate job.json --set=psf.size_px=4",
        "validate job.json --set=tiff.filename=a.png",
        "validate job.json --set=zmap_path=builtin:x",
        "validate both.json",
        "validate whole.json",
        "run",
        "stream --h5=records.h5 --output=again.tif",
        *(f"stream --h5={name}.h5 --output=again.tif --config=job.json" for name in ("half", "flat", "dark", "long")),
        "preview again.tif --config=job.json",
        "preview again.tif --frame=7",
        "preview again.tif --h5=run/emitters.h5 --config=small.json",
        "preview again.tif --truth",
        "zmap info map.h5",
        "zmap info holes.h5",
        "zmap info matlab.mat",
    ):
        code[step] = cli.main(step.split())
        text = re.sub(datasets, "", "".join(capfd.readouterr()))
        assert text.strip(), step
        assert english_words(text, tmp_path) == [], (step, text)
    assert list(code.values()) == [0] * 4 + [2] * 22 + [0] * 3


def write(name: str, datasets: dict[str, Any], said_of: str = "", **attributes: Any) -> None:
    """Write datasets, and attributes of one of them."""
    with h5py.File(name, "w") as file:
        for path, values in datasets.items():
            file[path] = values
        if said_of:
            file[said_of].attrs.update(attributes)


def test_lines_of_the_guide(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, out = write_config(tmp_path, config()), tmp_path / "out"
    out.mkdir()
    (out / "job_0000_num_emitters_20").touch()
    assert cli.main(["batch", str(path), f"--output-dir={out}", "--max-workers=1"]) == 1
    printed, told = capfd.readouterr()
    lines = told.splitlines()
    there = re.escape(str(out / "job_0000_num_emitters_20"))
    assert lines[0] == "计划: 2 个新作业"
    assert re.fullmatch(
        r"估计: 磁盘 \S+ kB \(可用 \S+ [GT]B\)，1 个工作进程共需内存 \S+ MB( \(可用 \S+ [GT]B\))?", lines[1]
    )
    assert lines[2] == "2 个作业，此前已完成 0 个，要做 2 个，使用 1 个工作进程"
    failed = rf"✗ 作业 job_0000_num_emitters_20 失败: 文件已存在: {there}；进度: 1/2 \(50\.0%\)，约剩 \S+ 秒"
    assert re.fullmatch(failed, lines[3])
    assert re.fullmatch(r"✓ 作业 job_0001_num_emitters_40 完成 \(\S+ 秒\)；进度: 2/2 \(100\.0%\)", lines[4])
    assert printed.startswith("2 个作业: 完成 1，失败 1，跳过 0\n成功率: 50.0% (要做 2 个作业，完成 1 个)\n用时: ")


def made(language: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the machine-readable output of a batch with a failing job."""
    monkeypatch.setenv("SIMTIFF_LANG", language)
    folder.mkdir()
    monkeypatch.chdir(folder)
    path, out = write_config(folder, config()), folder / "out"
    out.mkdir()
    (out / "job_0000_num_emitters_20").touch()
    batch = ["batch", str(path), "--output-dir=out", "--max-workers=1"]
    codes = [cli.main([*batch, "--log-file=log"])]
    texts = []
    for words in (["status", "out", "--json"], ["table", "out"], [*batch, "--dry-run", "--json"], ["schema"]):
        capfd.readouterr()
        codes.append(cli.main(words))
        texts.append(capfd.readouterr().out)
    texts += [(folder / name).read_text(encoding="utf-8") for name in ("log", "out/batch_status.json")]
    texts += [(out / "job_0001_num_emitters_40" / "job.json").read_text(encoding="utf-8")]
    # Times, rates and process ids differ between any two runs.
    texts = [
        re.sub(r'\d{4}-\d\d-\d\dT[^"]+|\d+\.\d+(e-\d+)?|"(worker_)?pid": \d+|"peak\w+": \d+', "#", text)
        for text in texts
    ]
    return [codes, *(text.replace(str(folder), "") for text in texts)]


def test_machines_read_the_same_in_any_language(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    english, chinese = (made(language, tmp_path / language, capfd, monkeypatch) for language in ("en", "zh"))
    assert chinese == english
    assert "File exists" in english[-2]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", "没有 batch_status.json"), ("gbk", "没有 batch_status.json"), ("ascii", "no batch")],
)
def test_terminals_that_are_not_utf8(tmp_path: Path, encoding: str, said: str) -> None:
    environment = os.environ | {"SIMTIFF_LANG": "zh", "PYTHONIOENCODING": encoding}
    words = [sys.executable, "-m", "simtiff", "status", str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_a_batch_on_a_terminal_that_is_not_utf8(tmp_path: Path, encoding: str) -> None:
    environment = os.environ | {"SIMTIFF_LANG": "zh", "PYTHONIOENCODING": encoding}
    words = [sys.executable, "-m", "simtiff", "batch", str(write_config(tmp_path, config())), "--output-dir=out"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0
    told = done.stderr.decode(encoding)
    assert ("作业 job_0001_num_emitters_40 完成" if encoding == "gbk" else "job job_0001_num_emitters_40 done") in told
