"""Shared fixtures of the tests of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli_helpers import Command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)
