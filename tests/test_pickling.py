"""Whatever a user holds can be pickled and copied, before and after use, and gives the same afterwards."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import simtiff
from simtiff import Camera, FieldMap, Optics, Renderer, Scene, Simulation
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch.summary import BatchSummary
from simtiff.errors import DataError, SimtiffError
from simtiff.movie.events import Event
from simtiff.training import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

SCENE = Scene.from_arrays([[4, 5, 0.1], [9, 3, -0.2]], [900, 500], [0, 0, 0, 0.3], frame_ix=[0, 1])
PLACES = [0.5, 11.25, 31.0], [0.0, 7.5, 30.0]
JOB = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 20, "frames": 3, "area_px": 16},
    "tiff": {"roi_size": 16},
    "psf": {"size_px": 11},
}


def field_of(kind: str, folder: Path) -> FieldMap:
    if kind == "builtin":
        return FieldMap.open("builtin:oil", size=40)
    if kind == "file":
        synthesize(folder / "map.h5", size=32)
        return FieldMap.open(folder / "map.h5")
    random = np.random.default_rng(1)
    corners = [[0, 0], [31, 0], [0, 31], [31, 31], [15, 15]]
    return FieldMap.from_arrays(random.normal(0, 0.1, (5, 32, 32)), corners, random.normal(0, 0.1, (5, 5)))


@dataclass
class Kind:
    """How a public object is made, and what it gives."""

    make: Callable[[Path], Any]
    use: Callable[[Any], Any]


PUBLIC = {name: Kind(lambda _, name=name: getattr(simtiff, name), lambda it: it) for name in simtiff.__all__} | {
    "Camera": Kind(
        lambda _: Camera(background=7, read_noise=2, dtype="float32"),
        lambda camera: camera.expose(np.full((6, 7), 3.0), seed=4),
    ),
    "FieldMap": Kind(lambda folder: field_of("builtin", folder), lambda field: field.coefficients(*PLACES)),
    "FieldMap of a file": Kind(lambda folder: field_of("file", folder), lambda field: field.coefficients(*PLACES)),
    "FieldMap of arrays": Kind(lambda folder: field_of("arrays", folder), lambda field: field.coefficients(*PLACES)),
    "Optics": Kind(lambda _: Optics(NA=1.2), lambda optics: (optics, simtiff.psf(optics, [[0.1, 0, 0.2]], size=9))),
    "Renderer": Kind(
        lambda _: Renderer(Optics(), size=9, defocus="paraxial"), lambda renderer: renderer.render(SCENE, (2, 9, 14))
    ),
    "Scene": Kind(lambda _: SCENE, lambda scene: Renderer(Optics(), size=9).render(scene, (2, 9, 14))),
    "Simulation": Kind(lambda _: Simulation(JOB), lambda sim: (sim.shape, sim.frames(0, 3), sim.records.phot)),
    "training.Frames": Kind(
        lambda _: Frames(JOB | {"illumination": {"fwhm_um": 1}}, size=8, batch=2),
        lambda frames: astuple(frames.batch(3)),
    ),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    **{
        f"pickled {n}": lambda it, n=n: pickle.loads(pickle.dumps(it, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


def assert_same(found: Any, expected: Any) -> None:
    """Compare to the last bit, also tuples that arrays lie in."""
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for each in zip(found, expected, strict=True):
            assert_same(*each)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, strict=True)
    else:
        assert found == expected


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", PUBLIC)
def test_copies_of_public_objects_give_the_same(name: str, how: str, tmp_path: Path) -> None:
    kind, make_copy = PUBLIC[name], COPIES[how]
    original = kind.make(tmp_path)
    before = make_copy(original)
    expected = kind.use(original)
    after = make_copy(original)
    assert_same(kind.use(before), expected)
    assert_same(kind.use(after), expected)
    assert_same(kind.use(original), expected)


def test_a_copy_of_a_map_is_of_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesize(tmp_path / "map.h5", size=32)
    monkeypatch.chdir(tmp_path)
    field = FieldMap.open("map.h5")
    expected = field.coefficients(*PLACES)
    text = pickle.dumps(field)
    assert len(text) < 2000  # the file, not what is in it
    monkeypatch.chdir("/")
    assert_same(pickle.loads(text).coefficients(*PLACES), expected)
    synthesize(tmp_path / "map.h5", size=40)
    with pytest.raises(DataError, match="has changed"):
        pickle.loads(text)


def kinds_of(base: type) -> list[type]:
    """Return a class and all that are derived from it anywhere in the package."""
    for module in pkgutil.walk_packages(simtiff.__path__, "simtiff."):
        if not module.name.endswith(("__main__", "training.torch")):  # PyTorch may not be there
            importlib.import_module(module.name)
    found = [base]
    for each in found:
        found += each.__subclasses__()
    return [each for each in found if each.__module__.startswith("simtiff.")]


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_errors_say_the_same(how: str) -> None:
    for kind in kinds_of(SimtiffError):
        error = kind("a.json: wrong")
        error.add_note("here")
        error.extra = 3
        found = COPIES[how](error)
        assert type(found) is kind
        assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))
    with pytest.raises(simtiff.ConfigError) as caught:
        Camera(background=-1)  # raised by the core
    assert str(COPIES[how](caught.value)) == str(caught.value)


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_events_and_summaries_are_equal(how: str) -> None:
    summary = BatchSummary(3, 1, 0, 1, False, 2.5, Path("out"), {"job_0001": "a\nb"})
    found = COPIES[how](summary)
    assert (found, str(found), found.exit_code) == (summary, str(summary), 1)
    kinds = kinds_of(Event)
    assert len(kinds) > 10
    for kind in kinds:
        event = kind(**{field.name: f"its {field.name}" for field in fields(kind) if field.init})
        assert COPIES[how](event) == event
