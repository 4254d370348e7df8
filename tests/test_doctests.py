"""The examples in the docstrings of everything public do what they show."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING

import pytest

import simtiff
from simtiff.training import Frames

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = {name: getattr(simtiff, name) for name in simtiff.__all__ if callable(getattr(simtiff, name))}
PUBLIC["training.Frames"] = Frames
WITH_EXAMPLES = {
    "training.Frames",
    *("Camera", "FieldMap", "Optics", "Renderer", "Scene", "Simulation", "crlb", "open_truth"),
    *("psf", "psf_gradient", "render"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_do_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tests = [test for test in doctest.DocTestFinder().find(PUBLIC[name], globs={}) if test.examples]
    assert tests or name not in WITH_EXAMPLES
    runner = doctest.DocTestRunner()
    for test in tests:
        said: list[str] = []
        runner.run(test, out=said.append)
        assert not said, "".join(said)
