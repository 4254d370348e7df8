"""The command, run in the process of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtiff.cli import process as cli

if TYPE_CHECKING:
    import pytest


class Command:
    """Runs the command in this process, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object, code: int = 0) -> str:
        """Run, check the exit code, and return stdout (code 0) or stderr."""
        got = cli.main([str(word) for word in words])
        captured = self._capsys.readouterr()
        assert got == code, captured.err
        assert "Traceback" not in captured.err
        if code:
            assert captured.err.startswith("simtiff: ") or code == 1
        return captured.err if code else captured.out
