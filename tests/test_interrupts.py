"""Ctrl-C ends a call within a second, and leaves nothing behind that is not as before."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import simtiff
from batch_helpers import TINY_JOB
from simtiff import Camera, Optics, Renderer, Scene, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no timer sends signals there")

SMALL = Scene.from_arrays([[4, 5, 0.1], [9, 3, -0.2]], [900, 500], [0, 0, 0, 0.3], frame_ix=[0, 1])
RENDERER, CAMERA = Renderer(Optics(), size=11), Camera(background=1e8, read_noise=5)
BUSY: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 200_000, "frames": 20, "area_px": 64},
    "tiff": {"roi_size": 64},
    "psf": {"size_px": 101},
}


def far(count: int) -> Scene:
    """Return emitters so far out of focus that each takes about a millisecond and more."""
    return Scene.from_arrays(np.tile([[5.0, 5.0, 12.0]], (count, 1)), 100.0)


def long_calls() -> dict[str, Callable[[Path], object]]:
    """Return calls that take many seconds on one thread, by name."""
    sim = Simulation(BUSY)
    _ = sim.records  # the truth is made before
    scene, bright = far(40_000), np.zeros((60, 512, 512), np.float32)
    one = Scene.from_arrays([[200.0, 200, 0]], np.ones(4_000_000), emitter_ix=np.zeros(4_000_000, int))
    return {
        "psf": lambda _: simtiff.psf(Optics(), scene.xyz, size=11),
        "render": lambda _: simtiff.render(Optics(), scene.xyz, scene.photons, (16, 16), size=11),
        "stamps": lambda _: RENDERER.stamps(scene),
        "many records of one emitter": lambda _: Renderer(Optics(), size=201).render(one, (1, 400, 400)),
        "expose": lambda _: RENDERER.expose(scene, (1, 16, 16), CAMERA),
        "camera": lambda _: CAMERA.expose(bright),
        "frames": lambda _: sim.frames(0, 20),
        "expected": lambda _: sim.expected(0, 20),
        "stream": lambda _: list(sim.stream()),
        "write": lambda folder: sim.write(folder / "movie"),
    }


@pytest.fixture(scope="module")
def calls() -> dict[str, Callable[[Path], object]]:
    return long_calls()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = simtiff.threads()
    simtiff.set_threads(1)
    yield
    simtiff.set_threads(before)


@contextmanager
def interrupted(after: float = 0.3) -> Iterator[None]:
    """Send this process an interrupt after so many seconds, and expect it within a second."""
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - begin < after + 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    "name",
    [
        "psf",
        "render",
        "stamps",
        "many records of one emitter",
        "expose",
        "camera",
        "frames",
        "expected",
        "stream",
        "write",
    ],
)
def test_an_interrupt_ends_a_call_within_a_second(
    name: str, calls: dict[str, Callable[[Path], object]], tmp_path: Path
) -> None:
    def small() -> tuple[Any, ...]:
        image = RENDERER.render(SMALL, (2, 12, 14))
        return (
            image,
            RENDERER.expose(SMALL, (2, 12, 14), CAMERA),
            CAMERA.expose(image),
            Simulation(TINY_JOB).frames(0, 3),
        )

    expected = small()
    with interrupted():
        calls[name](tmp_path)
    for found, wanted in zip(small(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not any(path.is_file() and path.suffix != ".h5" for path in tmp_path.rglob("*"))


def test_a_long_truth_is_interrupted(tmp_path: Path) -> None:
    emitters = {"num_emitters": 30_000_000, "frames": 1000, "area_px": 64}
    with interrupted():
        Simulation(BUSY | {"emitters": emitters}).write(tmp_path)


def test_calls_in_other_threads_go_on() -> None:
    """Signals are the main thread's; a call elsewhere comes to its end."""
    scene, found = far(600), []
    expected = RENDERER.stamps(scene)
    thread = threading.Thread(target=lambda: found.append(RENDERER.stamps(scene)))
    with interrupted(0.2):
        thread.start()
        while True:
            thread.join(60)
    thread.join()
    np.testing.assert_array_equal(found[0], expected)


def test_a_check_ends_the_call_that_it_is_of() -> None:
    main, seen = threading.get_ident(), []

    def check() -> None:
        seen.append(threading.get_ident())
        if len(seen) == 3:
            raise LookupError("enough")

    out = np.zeros((1, 16, 16), np.uint16)
    with pytest.raises(LookupError, match="enough"):
        RENDERER.expose(far(40_000), out.shape, CAMERA, out=out, check=check)
    assert seen == [main] * 3
    RENDERER.expose(SMALL, (2, 12, 14), CAMERA, check=check)  # over before anybody asks


def test_a_stream_that_nobody_wants_any_more_ends_at_once() -> None:
    stream = Simulation(BUSY | {"memory_optimization": {"chunk_size": 1}}).stream()
    next(stream)
    begin = time.monotonic()
    stream.close()
    assert time.monotonic() - begin < 1
