"""Progress of a running batch: lines, with and without `quiet`, and the live display on a terminal."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from batch_helpers import config, write_config
from simtiff.batch.display import display
from simtiff.batch.events import Begun, Done, Ended, Failed, Gone, Started
from simtiff.cli import process as cli
from simtiff.movie.events import Message, Progress

if TYPE_CHECKING:
    from pathlib import Path


def begun(jobs: int, to_do: int, workers: int) -> Begun:
    return Begun("0", "host", 1, "out", jobs, to_do, workers)


SHOWN = (
    begun(4, 3, 2),
    Message("of all"),
    Message("of one", job="a"),
    Message("odd", warning=True, job="a"),
    Done(1.25, 5, None, {}, job="a"),
    Failed(0.5, 5, None, "no space", "Traceback ...", job="b"),
    Done(0.04, 5, None, {}, job="c"),
)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines() -> None:
    stream = io.StringIO()
    lines = display(stream, verbose=True)
    for event in SHOWN:
        lines(event)
    text = stream.getvalue()
    assert "4 jobs, 1 already done, 3 to do with 2 workers\nof all\na: of one\na: odd\n" in text
    assert re.search(r"\n✓ job a done \(1.2 s\); progress: 2/4 \(50.0%\), about \S+ s left\n", text)
    assert re.search(r"\n✗ job b failed: no space; progress: 3/4 \(75.0%\), about \S+ s left\nTraceback ...\n", text)
    assert text.endswith("\n✓ job c done (0.04 s); progress: 4/4 (100.0%)\n")
    lines(Gone(5, "movie.tif: gone", job="c"))
    assert text + "✗ job c failed: movie.tif: gone\n" == stream.getvalue()  # it was already counted


def test_one_line_for_each_job_that_ends() -> None:
    stream = io.StringIO()
    lines = display(stream)
    for event in SHOWN:
        lines(event)
    first, *rest = stream.getvalue().splitlines()
    assert first == "4 jobs, 1 already done, 3 to do with 2 workers"
    assert [line.partition(";")[0] for line in rest] == [
        "of all",
        "a: odd",
        "✓ job a done (1.2 s)",
        "✗ job b failed: no space",
        "✓ job c done (0.04 s)",
    ]


def test_quiet_shows_what_goes_wrong() -> None:
    stream = Screen()
    lines = display(stream, quiet=True)
    for event in (*SHOWN, Gone(5, "movie.tif: gone", job="c"), Ended(1, 2, 1, interrupted=False)):
        lines(event)
    assert stream.getvalue() == "a: odd\n✗ job b failed: no space\n✗ job c failed: movie.tif: gone\n"
    stream = Screen()
    lines = display(stream, quiet=True, verbose=True)
    for event in SHOWN:
        lines(event)
    assert stream.getvalue() == "a: odd\n✗ job b failed: no space\nTraceback ...\n"


@pytest.mark.parametrize("option", ["", "--quiet", "--verbose"])
def test_what_the_command_prints_of_a_batch(tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str) -> None:
    path, output = write_config(tmp_path, config()), tmp_path / "out"
    words = ["batch", str(path), f"--output-dir={output}", "--max-workers=1", *filter(None, [option])]
    assert cli.main(words) == 0
    out, err = capfd.readouterr()
    assert out.startswith("2 jobs: 2 completed, 0 failed, 0 skipped\nsuccess rate: 100.0% (2 of 2 jobs to do)\n")
    lines = err.splitlines()
    of_jobs = [line for line in lines if "job_000" in line]
    match option:
        case "--quiet":
            assert err == ""
        case "":
            assert len(of_jobs) == 2
            assert len(lines) == 5  # with the plan, the estimate and the jobs to do
        case "--verbose":
            assert len(of_jobs) == 8  # emitters, coefficients, TIFF and end, for each job


def test_live_display_shows_stages_of_running_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for event, shown in (
        (None, r"a \[1\] +starting "),
        (Progress("truth", 3, 50, job="a [1]"), r"a \[1\] +emitters .* 3/50"),
        (Progress("frames", 30, 50, job="a [1]"), r"a \[1\] +frames .* 30/50"),
        (Progress("plots", 0, 3, job="a [1]"), r"a \[1\] +plots .* 0/3"),
    ):
        screen = Screen()
        show = display(screen)
        for each in (begun(1, 1, 1), Started(7, job="a [1]"), event, Ended(0, 0, 0, interrupted=True)):
            if each is not None:
                show(each)
        assert re.search(shown, visible(screen)), event


def visible(screen: Screen) -> str:
    """Return the visible text, without the control sequences of the terminal."""
    return re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_live_display_counts_frames_of_running_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    screen = Screen()
    show = display(screen)
    for event in (
        begun(4, 3, 2),
        Started(7, job="a [1]"),
        Progress("frames", 30, 50, job="a [1]"),
        Done(1.0, 50, None, {}, job="b [2]"),
        Ended(1, 0, 1, interrupted=False),
    ):
        show(event)
    text = visible(screen)
    assert re.search(r"a \[1\] +frames ", text)
    assert "30/50" in text
    assert "✓ job b [2] done (1.0 s)\n" in text
    assert re.search(r"jobs .*2/4 +65%", text)  # two jobs and 60 % of a third


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_numbers_stay_whole_where_names_are_long(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    show = display(screen)
    name = "job_0007_" + "num_emitters_500_background_50_" * 3
    for event in (
        begun(100, 90, 2),
        Started(7, job=name),
        Progress("frames", 1234, 2000, job=name),
        Ended(0, 0, 10, interrupted=True),
    ):
        show(event)
    lines = re.sub("\x1b\\[[0-9;?]*m", "", re.sub("(\x1b\\[[0-9;?]*[A-Zhl]|\r)+", "\n", screen.getvalue())).splitlines()
    assert all(len(line) <= columns for line in lines[1:])
    row = next(line for line in reversed(lines) if "1234/2000" in line)
    assert row.startswith("job_0007")
    assert " frames " in row
    assert re.search(r"1234/2000 +62% +(--:--|\d+:\d\d)", row)
    assert ("…" in row) == (columns < 150)
    assert any(re.search(r"^jobs .*10/100 +1\d% +(--:--|\d+:\d\d)", line) for line in lines)
