"""Pixels and truth are, bit for bit, what they were when the data version was last raised; see goldens.py."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

import goldens

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = "pixels or truth changed: raise the data version (CONTRIBUTING.md, Results) or find out why"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which maps are made once."""
    return tmp_path_factory.mktemp("goldens")


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return goldens.load()


def complain(stored: goldens.Groups, made: goldens.Groups) -> None:
    """Fail with the names of all digests that differ."""
    lines = [line for line, _ in goldens.differences(stored, made)]
    if lines:
        pytest.fail("\n  ".join([CHANGED, *lines]), pytrace=False)


@pytest.mark.parametrize("group", goldens.GROUPS)
def test_bits_are_those_stored(group: str, stored: dict[str, Any], folder: Path) -> None:
    before = stored[goldens.section()].get(group, {})
    complain({group: before}, {group: goldens.GROUPS[group](folder)})


def test_bits_of_plain_arithmetic_are_those_stored(stored: dict[str, Any]) -> None:
    if goldens.section() == "scalar":
        pytest.skip("the other tests are of plain arithmetic")
    groups = ("plain", "float32", "high_resolution", "psf", "render", "camera")  # the script compares all of them
    made = goldens.measure_in(*groups, SIMTIFF_SIMD="scalar")["scalar"]
    complain({group: stored["scalar"].get(group, {}) for group in groups}, made)


def test_stored_digests_are_of_these_versions_and_groups(stored: dict[str, Any], folder: Path) -> None:
    versions = goldens.versions(folder)
    assert {key: stored[key] for key in versions} == versions, "make them anew: python tests/goldens.py --write"
    assert stored["fused"].keys() == goldens.GROUPS.keys()


def test_changed_digests_need_a_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "goldens.json"
    monkeypatch.setattr(goldens, "STORED", path)
    first = {
        "data_version": 1,
        "recipe_version": 1,
        "fused": {"a": {"x": "1", "y": "2"}},
        "scalar": {"a": {"x": "1", "y": "3"}},
    }
    assert goldens.write(first) == 0
    assert goldens.load() == first
    more = copy.deepcopy(first)
    for part in ("fused", "scalar"):
        more[part] |= {"b": {"z": "4"}}
    assert goldens.check(more) == 1
    assert goldens.write(more) == 0
    assert goldens.check(more) == 0
    capsys.readouterr()
    for part, change in (("scalar", {"x": "1", "y": "5"}), ("fused", {"x": "1"})):
        other = copy.deepcopy(more)
        other[part]["a"] = change
        before = path.read_bytes()
        assert goldens.write(other) == 1
        assert "raise it" in capsys.readouterr().out
        assert path.read_bytes() == before
    other = more | {"data_version": 2, "fused": {"a": {"x": "7", "y": "2"}}, "scalar": {"a": {"x": "7", "y": "2"}}}
    assert goldens.write(other) == 0
    assert goldens.load() == other
