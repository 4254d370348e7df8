"""The status file: written atomically, read back exactly, and refused with a clear message if it is something else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from simtiff.batch.events import Done, Started
from simtiff.batch.lock import Holder
from simtiff.batch.overview import Overview
from simtiff.batch.status import NAME, BatchStatus, JobRecord, why_not_done
from simtiff.errors import DataError
from simtiff.io.files import FileInfo
from simtiff.movie.events import Progress

if TYPE_CHECKING:
    from pathlib import Path

DONE = JobRecord(
    state="completed",
    hash="abc",
    data_version=1,
    zmap="map",
    frames=50,
    files={"emitters.h5": FileInfo(3, 1), "movie.tiff": FileInfo(5, 2)},
    started="2026-01-01T00:00:00+00:00",
    finished="2026-01-01T00:00:10+00:00",
    seconds=10.0,
)
FAILED = JobRecord(state="failed", hash="abd", frames=5, error="No space left\non device", finished="now")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    status = BatchStatus(tmp_path, {"one": DONE, "two": FAILED, "three": JobRecord(hash="x", frames=7)})
    status.save()
    return tmp_path


def test_what_is_saved_is_loaded(saved: Path) -> None:
    content = json.loads((saved / NAME).read_text())
    assert content["completed_jobs"] == ["one"]
    assert content["failed_jobs"] == [{"job_id": "two", "error": "No space left\non device", "timestamp": "now"}]
    assert {"start_time", "last_update", "schema", "simtiff_version", "total_jobs"} <= content.keys()
    loaded = BatchStatus.load(saved)
    assert loaded is not None
    assert loaded.jobs == {"one": DONE, "two": FAILED, "three": JobRecord(hash="x", frames=7)}
    assert loaded.due_in() is None
    assert [path.name for path in saved.iterdir()] == [NAME]


def test_saving_waits_for_its_time_unless_forced(saved: Path) -> None:
    status = BatchStatus.load(saved)
    assert status is not None
    status.save()
    status.update("three", state="completed")
    assert status.due_in() is not None
    before = (saved / NAME).read_bytes()
    status.save()  # the first change after a pause is saved at once...
    assert (saved / NAME).read_bytes() != before
    status.update("two", state="completed")
    before = (saved / NAME).read_bytes()
    status.save()  # ...the next has to wait
    assert (saved / NAME).read_bytes() == before
    status.save(force=True)
    assert len(json.loads((saved / NAME).read_text())["completed_jobs"]) == 3


def test_a_folder_without_status(tmp_path: Path) -> None:
    assert BatchStatus.load(tmp_path) is None
    with pytest.raises(DataError, match="output folder of a batch"):
        str(Overview(tmp_path))


def damaged(change: str) -> bytes:
    good = {"schema": 1, "simtiff_version": "1", "start_time": "a", "last_update": "b", "jobs": {}}
    entry = {"state": "completed", "files": {"a.tiff": {"size": 1, "crc32": 1}}}
    variants = {
        "wrong state": good | {"jobs": {"a": entry | {"state": "odd"}}},
        "wrong type": good | {"jobs": {"a": entry | {"frames": "5"}}},
        "bool for a number": good | {"jobs": {"a": entry | {"frames": True}}},
        "huge": good | {"jobs": {"a": entry | {"frames": 10**400}}},
        "NaN": good | {"jobs": {"a": entry | {"seconds": float("nan")}}},
        "huge file": good | {"jobs": {"a": entry | {"files": {"a.tiff": {"size": 10**400, "crc32": 1}}}}},
        "job no dict": good | {"jobs": {"a": []}},
        "jobs no dict": good | {"jobs": []},
        "file outside": good | {"jobs": {"a": entry | {"files": {"../../etc/passwd": {"size": 1}}}}},
        "job outside": good | {"jobs": {"../a": entry}},
        "no time": good | {"start_time": None},
        "newer schema": good | {"schema": 2},
        "job that a terminal acts on": good | {"jobs": {"\x1b[2Ja": entry}},
        "job that is no text": good | {"jobs": {"\ud800": entry}},
        "file that is no text": good | {"jobs": {"a": entry | {"files": {"\ud800": {"size": 1}}}}},
        "foreign": {"completed_jobs": [], "failed_jobs": []},
        "list": [],
    }
    return json.dumps(variants[change]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"schema": 1', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (damaged("wrong state"), r"jobs\.a\.state: Input should be 'pending', 'running', .*'interrupted'"),
        (damaged("wrong type"), r"jobs\.a\.frames: Input should be a valid integer"),
        (damaged("bool for a number"), r"jobs\.a\.frames: Input should be a valid integer"),
        (damaged("huge"), r"jobs\.a\.frames: Input should be less than"),
        (damaged("NaN"), r"jobs\.a\.seconds: Input should be a finite number"),
        (damaged("huge file"), r"jobs\.a\.files\.a\.tiff: is not a size and CRC-32 of a file"),
        (damaged("job no dict"), r"jobs\.a: Input should be a dictionary"),
        (damaged("jobs no dict"), "jobs: Input should be a valid dictionary"),
        (damaged("file outside"), r"jobs\.a\.files\.\.\./\.\./etc/passwd: is not a name of a job or a file"),
        (damaged("job outside"), "is not a name of a job"),
        (damaged("job that a terminal acts on"), "is not a name of a job"),
        (damaged("job that is no text"), "is not a name of a job"),
        (damaged("file that is no text"), r"jobs\.a\.files\..*: is not a name of a job or a file"),
        (damaged("no time"), "start_time: Input should be a valid string"),
        (damaged("newer schema"), "schema 2; this version reads schema 1"),
        (damaged("foreign"), "not a simtiff status file"),
        (damaged("list"), "not a simtiff status file"),
    ],
)
def test_a_damaged_file_is_refused_with_a_way_out(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        BatchStatus.load(tmp_path)
    assert str(tmp_path / NAME) in str(caught.value)
    assert str(caught.value).isprintable()
    assert "--no-resume" in str(caught.value)


def test_why_a_job_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "emitters.h5").write_bytes(b"123")
    (tmp_path / "movie.tiff").write_bytes(b"12345")
    names = ("emitters.h5", "movie.tiff")

    def why(record: JobRecord | None, wanted: JobRecord = DONE) -> str | None:
        return why_not_done(record, wanted, tmp_path, names)

    assert why(DONE) is None
    assert why(None) == why(JobRecord()) == "new"
    assert why(FAILED) == "failed before"
    assert why(JobRecord(state="running")) == "interrupted before"
    changed = JobRecord(hash="new", data_version=1, zmap="map")
    assert why(DONE, changed) == "config changed"
    assert why(DONE, JobRecord(hash="new", data_version=1, zmap="other")) == "content of the zmap changed"
    assert why(DONE, JobRecord(hash="new", data_version=2, zmap="map")) == "made with data version 1, now 2"
    assert why_not_done(DONE, DONE, tmp_path, ["other.tiff"]) == "other.tiff was not requested before"
    (tmp_path / "movie.tiff").write_bytes(b"1234")
    assert why(DONE) == "movie.tiff has 4 bytes, expected 5"
    (tmp_path / "movie.tiff").unlink()
    assert why(DONE) == "movie.tiff is missing"


def test_an_interrupted_job_says_what_changed_meanwhile(tmp_path: Path) -> None:
    for state in ("running", "interrupted"):
        half = JobRecord(state=state, hash="old", data_version=1, zmap="map")
        same = JobRecord(hash="old", data_version=1, zmap="map")
        assert why_not_done(half, same, tmp_path, ()) == "interrupted before"
        changed = JobRecord(hash="new", data_version=1, zmap="map")
        assert why_not_done(half, changed, tmp_path, ()) == "interrupted before; config changed"
        other = JobRecord(hash="new", data_version=1, zmap="other")
        assert why_not_done(half, other, tmp_path, ()) == "interrupted before; content of the zmap changed"


def test_what_a_status_says_cannot_act_on_a_terminal(saved: Path) -> None:
    content = json.loads((saved / NAME).read_text())
    content["jobs"]["two"]["error"] = "\x1b[2J\x07evil \ud800"
    content["start_time"], content["last_update"] = "\x1b[31m", "\x9b"
    (saved / NAME).write_text(json.dumps(content))
    text = str(Overview(saved))
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "\\x1b[2J\\x07evil" in text


@pytest.mark.parametrize("seconds", [5e-324, 1e308])
def test_the_status_as_json_has_numbers_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    done = JobRecord(state="completed", frames=2**62, seconds=seconds, finished=BEGIN.isoformat())
    jobs = {"one": done, "two": done, "left": JobRecord(frames=2**62)}
    seen = running_batch(tmp_path, jobs, monkeypatch)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(seen.as_json(), parse_constant=refuse)["total_jobs"] == 3
    assert "inf" not in str(seen)


def test_the_status_as_text(saved: Path) -> None:
    text = str(Overview(saved))
    assert "1/3 jobs completed (33.3%)" in text
    assert "pending 1, completed 1, failed 1" in text
    assert "no batch is running" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert rows["one"].split()[1:5] == ["completed", "50", "10.0", "s"]
    assert "\ntwo    failed          5\n    No space left\nthree  " in text
    assert "per worker: 5.0 frames/s, 10.0 s per job" in text
    assert "estimated end" not in text
    assert "success rate" not in text  # no run is known


def test_the_table_has_80_columns_and_the_json_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"job_{number:04d}_num_emitters_500_density_per_um2_0.25_background_{number}" for number in range(3)]
    error = "No space left on device: " + "/a/long/path" * 20
    jobs = {
        names[0]: replace(DONE, frames=100_000, seconds=47_000.0, files={"movie.tiff": FileInfo(9_990_000_000, 1)}),
        names[1]: JobRecord(state="running", frames=100_000, frames_done=99_999, started="2026-01-01T00:00:00+00:00"),
        names[2]: JobRecord(state="failed", frames=100_000, seconds=0.04, error=error),
    }
    seen = running_batch(tmp_path, jobs, monkeypatch)
    table = str(seen).partition("\n\n")[2].splitlines()
    assert [len(line) for line in table if len(line) > 80] == []
    for number, row in enumerate((table[1], table[2], table[3])):
        assert row.startswith(f"job_{number:04d}_num")
        assert re.search(rf"^\S+…\S*ground_{number} ", row)
    assert table[1].endswith("13 h 3 min       2.1  9.99 GB")
    assert "99999/100000" in table[2]
    assert "0.04 s" in table[3]
    assert table[4].startswith("    No space left on device: /a/long/path")
    assert table[4].endswith("…")
    content = json.loads(seen.as_json())["jobs"]
    assert [job["job"] for job in content] == names
    assert content[2]["error"] == error


def test_short_names_stay_whole(tmp_path: Path) -> None:
    BatchStatus(tmp_path, {"job_0000_num_emitters_500": DONE}).save()
    assert "\njob_0000_num_emitters_500  completed" in str(Overview(tmp_path))


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def running_batch(
    folder: Path, jobs: dict[str, JobRecord], monkeypatch: pytest.MonkeyPatch, *, running: bool = True
) -> Overview:
    """Return the overview 100 s after the start of a run with two workers."""
    status = BatchStatus(folder, jobs)
    status.run_started, status.workers = BEGIN.isoformat(), 2
    status.save()
    content = json.loads(status.path.read_text())
    status.path.write_text(json.dumps(content | {"last_update": (BEGIN + timedelta(seconds=96)).isoformat()}))
    monkeypatch.setattr("simtiff.batch.lock.holders", lambda _folder: [Holder(None, {})] if running else [])
    return Overview(folder, BEGIN + timedelta(seconds=100))


def test_rates_and_the_estimated_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = JobRecord(state="running", frames=50, frames_done=25, started=BEGIN.isoformat())
    jobs = {"one": DONE, "two": half, "three": JobRecord(frames=75)}
    seen = running_batch(tmp_path, jobs, monkeypatch)
    assert (seen.rates.worker_frames_per_s, seen.rates.frames_per_s, seen.rates.jobs_per_hour) == (5, 0.5, 36)
    # 100 frames at 5 frames/s by two workers would take 10 s, but 75 by one 15 s; 4 s ago that was.
    assert seen.rates.seconds_left == 11
    text = str(seen)
    assert "a batch is running with 2 workers" in text
    assert "this run: 0.5 frames/s, 36.0 jobs/h" in text
    assert "estimated end: 2026-01-01T00:01:51+00:00 (in about 11.0 s)" in text
    assert "25/50" in text
    content = json.loads(seen.as_json())
    assert content["estimated_end"] == "2026-01-01T00:01:51+00:00"
    assert content["counts"] == {"pending": 1, "running": 1, "completed": 1, "failed": 0, "interrupted": 0}
    assert content["jobs"][1]["frames_done"] == 25
    assert content["jobs"][0]["frames_per_s"] == 5
    assert content["running"] is True


def test_rates_of_the_last_run_do_not_fade(tmp_path: Path) -> None:
    before = replace(DONE, finished="2025-12-31T00:00:00+00:00")
    status = BatchStatus(tmp_path, {"one": DONE, "before": before})
    status.run_started = DONE.started
    status.save()
    seen = Overview(tmp_path)
    assert (seen.rates.frames_per_s, seen.rates.jobs_per_hour, seen.rates.seconds_left) == (5, 360, None)
    assert "last run: 5.0 frames/s, 360.0 jobs/h" in str(seen)


def test_rates_of_a_run_of_less_than_a_second(tmp_path: Path) -> None:
    begin, end = "2026-01-01T00:00:00.500+00:00", "2026-01-01T00:00:00.750+00:00"
    short = replace(DONE, started=begin, finished=end, seconds=0.2)
    status = BatchStatus(tmp_path, {"one": short, "two": short, "left": JobRecord(frames=50)})
    status.run_started = begin
    status.save()
    seen = Overview(tmp_path)
    assert (seen.rates.frames_per_s, seen.rates.jobs_per_hour) == (400, 28_800)
    assert "per worker: 250.0 frames/s, 0.20 s per job" in str(seen)
    assert "last run: 400.0 frames/s, 28,800 jobs/h" in str(seen)


def test_times_are_kept_to_the_millisecond(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    status = BatchStatus(tmp_path, {"one": JobRecord(frames=1)})
    status.watch(Started(1, job="one"))
    status.watch(Done(0.2, 1, None, {}, job="one"))
    status.save()
    record = BatchStatus.of(tmp_path).jobs["one"]
    for text in (record.started, record.finished, status.last_update):
        assert abs((datetime.fromisoformat(text) - before).total_seconds()) < 5
        assert len(text) == len("2026-01-01T00:00:00.000+00:00")


@pytest.mark.parametrize("running", [False, True])
def test_the_success_rate_is_that_of_what_was_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    before = replace(DONE, finished="2025-12-31T00:00:00+00:00")
    left = {f"left {number}": JobRecord(frames=50) for number in range(5)}
    jobs = {"before": before, "one": DONE, "two": FAILED, **left}
    seen = running_batch(tmp_path, jobs, monkeypatch, running=running)
    which, end = ("this run", " so far") if running else ("last run", "")
    assert f"\n{which}: success rate: 14.2% (1 of 7 jobs to do){end}\n" in str(seen)
    assert seen.as_dict()["run"] == {"completed": 1, "to_do": 7}


def test_the_end_before_the_first_job_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = JobRecord(state="running", frames=50, frames_done=25, started=BEGIN.isoformat())
    assert running_batch(tmp_path, {"one": half}, monkeypatch).rates.seconds_left == 92
    new = JobRecord(state="running", frames=50, started=BEGIN.isoformat())
    text = str(running_batch(tmp_path, {"one": new}, monkeypatch))
    assert "estimated end: not known yet" in text
    odd = {"one": JobRecord(state="running", frames=5, frames_done=9, started="yesterday")}
    assert running_batch(tmp_path, odd, monkeypatch).as_dict()["estimated_end"] is None


def test_progress_is_saved_now_and_then(saved: Path) -> None:
    status = BatchStatus.load(saved)
    assert status is not None
    status.update("three", state="running")
    status.save(force=True)
    status.watch(Progress("frames", 5, 7, job="three"))
    assert status.due_in() is None  # a moment after the last time
    status.update("one", state="completed")
    status.save(force=True)
    loaded = BatchStatus.load(saved)
    assert loaded is not None
    assert loaded.jobs["three"].frames_done == 5
    status.update("three", state="completed")
    assert status.jobs["three"].frames_done == 0


def test_a_running_job_without_a_batch_was_interrupted(tmp_path: Path) -> None:
    BatchStatus(tmp_path, {"one": JobRecord(state="running")}).save()
    assert "interrupted 1" in str(Overview(tmp_path))
