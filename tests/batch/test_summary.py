"""The summary of a batch: only finished jobs count as success."""

from __future__ import annotations

from pathlib import Path

import pytest

from simtiff.batch.summary import BatchSummary


def summary(total: int, completed: int, skipped: int, failed: int, interrupted: bool = False) -> BatchSummary:
    errors = {f"job_{number}": "no space" for number in range(failed)}
    return BatchSummary(total, completed, skipped, failed, interrupted, 0.25, Path("out"), errors)


@pytest.mark.parametrize(
    ("made", "rate"),
    [
        (summary(600, 186, 0, 0, interrupted=True), "31.0% (186 of 600 jobs to do)"),
        (summary(600, 86, 100, 0, interrupted=True), "17.2% (86 of 500 jobs to do)"),
        (summary(600, 0, 100, 0, interrupted=True), "0.0% (0 of 500 jobs to do)"),
        (summary(3, 1, 1, 1), "50.0% (1 of 2 jobs to do)"),
        (summary(100_000, 99_999, 0, 1), "99.9% (99999 of 100000 jobs to do)"),
        (summary(1, 1, 0, 0), "100.0% (1 of 1 job to do)"),
        (summary(5, 0, 5, 0), "no job was run"),
    ],
)
def test_the_success_rate_is_that_of_what_was_to_do(made: BatchSummary, rate: str) -> None:
    assert f"\nsuccess rate: {rate}\ntime: 0.25 s\n" in str(made)


def test_what_is_left_is_said() -> None:
    text = str(summary(600, 186, 0, 0, interrupted=True))
    assert text.startswith("600 jobs: 186 completed, 0 failed, 0 skipped, 414 left (interrupted)\n")
