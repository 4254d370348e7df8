"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import fuzzing  # noqa: F401 - how hypothesis draws its cases
from batch_helpers import TINY_JOB


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let processes that tests start be interrupted, also where a shell in the background ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def english() -> None:
    """Let the command speak English, whatever the locale of who runs the tests."""
    os.environ["SIMTIFF_LANG"] = "en"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of measured maps and reference arrays; skip where a checkout does not have it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the measured maps and reference arrays are not beside this checkout")
    return folder


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """Return the config file of a small job."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(TINY_JOB), encoding="utf-8")
    return path
