"""The table of all jobs: one row each, the same as CSV, Parquet and DataFrame, written atomically."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest

import simtiff
from batch_helpers import config
from simtiff.batch.jobfile import JobFile
from simtiff.batch.run import run_batch
from simtiff.batch.status import BatchStatus, JobRecord
from simtiff.batch.table import JobTable
from simtiff.cli import process as cli
from simtiff.errors import ConfigError, DataError

VARIABLES = {"emitters.num_emitters,tiff.crop_offset": [[20, [0, 0]], [40, [1, 2]]]}
RESULTS = ("frames", "records", "seconds", "movie", "truth")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two finished jobs, a failed and a pending one, all without `job.json`."""
    folder = tmp_path_factory.mktemp("made")
    assert run_batch(config(variables=VARIABLES), output_dir=folder, max_workers=1, progress=False).completed == 2
    for path in folder.glob("*/job.json"):
        path.unlink()
    status = BatchStatus.of(folder)
    status.jobs |= {"job_0002": JobRecord(state="failed", frames=4, error="no space"), "job_0003": JobRecord(frames=4)}
    status.save(force=True)
    return folder


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def described(folder: Path, **changes: Any) -> None:
    """Write a job's ``job.json``."""
    record = BatchStatus.of(folder.parent).jobs[folder.name]
    content = JobFile(
        hash=record.hash,
        data_version=record.data_version,
        zmap=record.zmap,
        number=0,
        name=folder.name,
        variables={"sample_id": 3},
        settings={"emitters.num_emitters": 7},
        noise_seed=1,
        files=record.files,
        frames=record.frames,
        records=5,
        started=record.started,
        finished=record.finished,
        seconds=1.0,
        simtiff_version="0.1.0",
    )
    replace(content, **changes).write(folder)


def test_a_row_for_each_job(output: Path) -> None:
    table = JobTable.of(output)
    names = [path.name for path in sorted(output.glob("job_000[01]*"))]
    keys = ("emitters.num_emitters", "tiff.crop_offset", "noise_seed")
    assert table.columns[:3] == ("number", "name", "state")
    assert set(table.columns[3:-5]) == set(keys)
    assert table.columns[-5:] == RESULTS
    assert [row["number"] for row in table.rows] == [0, 1, 2, 3]
    assert [row["name"] for row in table.rows] == [*names, "job_0002", "job_0003"]
    assert [row["state"] for row in table.rows] == ["completed", "completed", "failed", "pending"]
    for row, emitters, offset in zip(table.rows, (20, 40), ("[0, 0]", "[1, 2]"), strict=False):
        assert (row["emitters.num_emitters"], row["tiff.crop_offset"]) == (emitters, offset)
        truth = Path(row["truth"])
        assert truth == output / row["name"] / "emitters.h5"
        with h5py.File(truth) as file:
            assert row["records"] == file["records/frame_ix"].shape[0] > 0
            assert row["noise_seed"] == file.attrs["noise_seed"]
        assert Path(row["movie"]) == truth.with_name("simulation.ome.tiff")
        assert row["frames"] == 4
        assert row["seconds"] > 0
    for row in table.rows[2:]:
        assert [row[column] for column in table.columns[3:]] == [None] * 8


def test_what_is_not_there_is_no_value(output: Path) -> None:
    first = JobTable.of(output).rows[0]
    (output / first["name"] / "emitters.h5").unlink()
    row = JobTable.of(output).rows[0]
    assert (row["state"], row["frames"], row["records"]) == ("completed", 4, None)
    (output / first["name"] / "emitters.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"emitters\.h5"):
        JobTable.of(output)
    with pytest.raises(DataError, match="is it the output folder of a batch"):
        JobTable.of(output / first["name"])


def test_a_job_is_what_its_job_json_says(output: Path) -> None:
    one, two = (output / row["name"] for row in JobTable.of(output).rows[:2])
    described(one)
    (one / "emitters.h5").unlink()  # the truth is not read
    described(two, settings={"emitters.num_emitters": 9, "psf.defocus": "paraxial"}, variables={"zmap_path": "a.h5"})
    table = JobTable.of(output)
    assert table.columns[3:-5] == ("sample_id", "zmap_path", "emitters.num_emitters", "psf.defocus")
    shown = [[row[column] for column in table.columns[3:-5]] for row in table.rows]
    # Settings missing in a job.json have their defaults.
    assert shown == [[3, None, 7, "exact"], [None, "a.h5", 9, "paraxial"], [None] * 4, [None] * 4]
    assert [row["records"] for row in table.rows] == [5, 5, None, None]


def test_without_a_status_each_job_json_counts(output: Path) -> None:
    name = JobTable.of(output).rows[1]["name"]
    described(output / name)
    (output / "batch_status.json").unlink()
    assert [(row["name"], row["state"], row["records"]) for row in JobTable.of(output).rows] == [(name, "completed", 5)]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 1}', '{"settings": {}, "variables": {}}'])
def test_a_damaged_job_json_is_passed_over(output: Path, content: str) -> None:
    before = JobTable.of(output)
    (output / before.rows[0]["name"] / "job.json").write_text(content)
    assert JobTable.of(output) == before


def test_the_command_prints_csv(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", str(output)]) == 0
    text = capsys.readouterr().out
    table = JobTable.of(output)
    assert text == table.as_csv()
    head, *rows = csv.reader(io.StringIO(text))
    assert tuple(head) == table.columns
    assert [len(row) for row in rows] == [len(head)] * 4
    cells = dict(zip(head, rows[1], strict=True))
    assert cells["tiff.crop_offset"] == "[1, 2]"
    assert (cells["number"], cells["emitters.num_emitters"]) == ("1", "40")
    assert float(cells["seconds"]) == table.rows[1]["seconds"]
    assert rows[3] == ["3", "job_0003", "pending", *[""] * 8]


def test_csv_has_nothing_that_acts_on_a_terminal() -> None:
    table = JobTable(("name", "zmap_path", "flag"), [{"name": "ä", "zmap_path": 'a\x1b[2J"\n,\ud800', "flag": True}])
    assert table.as_csv() == 'name,zmap_path,flag\nä,"a\\x1b[2J""\\n,\\ud800",true\n'


def test_the_command_writes_files(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = simtiff.table(output)
    for name in ("jobs.csv", "jobs.parquet"):
        path = output.parent / name
        path.write_text("old")
        assert cli.main(["table", str(output), f"--output={path}"]) == 0
        assert capsys.readouterr().out == f"{path}\n"
    assert (output.parent / "jobs.csv").read_text() == JobTable.of(output).as_csv()
    pd.testing.assert_frame_equal(pd.read_parquet(output.parent / "jobs.parquet"), expected)
    assert sorted(path.name for path in output.parent.iterdir()) == ["jobs.csv", "jobs.parquet", "out"]


def test_the_command_says_what_is_wrong(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", str(output), f"--output={output}/jobs.xlsx"]) == 2
    assert "must end in .csv or .parquet" in capsys.readouterr().err
    assert cli.main(["table", str(output / "none")]) == 2
    assert "is it the output folder of a batch?" in capsys.readouterr().err


def test_the_table_in_pandas(output: Path) -> None:
    table = simtiff.table(str(output))
    assert list(table.columns) == list(JobTable.of(output).columns)
    assert table["emitters.num_emitters"].sum() == 60
    assert table.loc[table["state"] == "completed", "movie"].map(lambda path: Path(path).is_file()).all()
    assert table["records"].isna().tolist() == [False, False, True, True]
    kinds = {column: str(kind) for column, kind in table.dtypes.items()}
    assert {column: kinds[column] for column in ("number", "frames", "records", "seconds", "noise_seed")} == {
        "number": "int64",
        "frames": "Int64",
        "records": "Int64",
        "seconds": "float64",
        "noise_seed": "Int64",
    }


def test_a_density_has_no_number_beside_it(tmp_path: Path) -> None:
    """A job with a density or a list has no num_emitters, in spite of its default."""
    sweep = config(variables={"emitters.density_per_um2": [None, 0.05]})
    assert run_batch(sweep, output_dir=tmp_path, max_workers=1, progress=False).completed == 2
    rows = JobTable.of(tmp_path).rows
    columns = ("emitters.density_per_um2", "emitters.num_emitters")
    assert [tuple(row[column] for column in columns) for row in rows] == [(None, 40), (0.05, None)]


def test_columns_of_every_kind_go_into_parquet(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        "whole": [1, None, 2**62],
        "real": [1, None, 0.5],
        "flag": [True, None, False],
        "mixed": [1, None, "auto"],
        "text": ["a", None, "b"],
    }
    rows = [{key: column[index] for key, column in values.items()} for index in range(3)]
    JobTable(tuple(values), rows).write(tmp_path / "a.PARQUET")
    read = pd.read_parquet(tmp_path / "a.PARQUET")
    assert [str(kind) for kind in read.dtypes[:3]] == ["Int64", "float64", "boolean"]
    assert read["whole"].tolist() == [1, pd.NA, 2**62]
    assert read["real"].dropna().tolist() == [1, 0.5]
    assert read["mixed"].dropna().tolist() == ["1", "auto"]
    assert read["text"].dropna().tolist() == ["a", "b"]


def test_a_batch_that_did_nothing_yet(tmp_path: Path) -> None:
    BatchStatus(tmp_path, {"one": JobRecord(frames=3)}).save()
    assert simtiff.table(tmp_path).columns.tolist() == ["number", "name", "state", *RESULTS]
    BatchStatus(tmp_path).save()
    assert len(simtiff.table(tmp_path)) == 0


@pytest.mark.parametrize(
    ("missing", "message"), [("pandas", "pip install pandas"), ("pyarrow", "pip install pandas pyarrow")]
)
def test_without_the_extra(output: Path, monkeypatch: pytest.MonkeyPatch, missing: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    path = output / "jobs.parquet"
    with pytest.raises(ConfigError, match=message):
        JobTable.of(output).write(path)
    assert not path.exists()
    JobTable.of(output).write(output / "jobs.csv")
    assert (output / "jobs.csv").exists()


def test_a_parquet_file_is_whole_or_the_old_one(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_frame: pd.DataFrame, file: io.BufferedWriter, **_options: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", break_off)
    path = output.parent / "jobs.parquet"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        JobTable.of(output).write(path)
    assert path.read_text() == "old"
    assert sorted(each.name for each in output.parent.iterdir()) == ["jobs.parquet", "out"]
