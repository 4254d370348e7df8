"""Whatever was used before, a child process computes what its parent does: forked, spawned or from a fork server."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pytest

import simtiff
from batch_helpers import TINY_JOB
from simtiff import Camera, FieldMap, Optics, Renderer, Scene, Simulation
from simtiff.aberrations.synthetic import synthesize
from simtiff.io.system import default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there"),
    # Python 3.12 and later warn of any fork of a process with threads.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

SECONDS = 60  # longer than anything here takes; then it hangs
RANDOM = np.random.default_rng(5)
XYZ = RANDOM.uniform(2, 30, (60, 3)) * [1, 1, 0.02]
PHASE = RANDOM.normal(0, 0.1, (60, 12))
SCENE = Scene.from_arrays(XYZ, 500.0, PHASE, frame_ix=np.arange(60) % 3)
HELD: dict[str, Any] = {"renderer": Renderer(Optics(), size=15), "sim": Simulation(TINY_JOB)}


def everything(folder: Path) -> dict[str, Any]:
    """Call all that computes, with what is held by the process and with new things; return the results' checksums."""
    camera = Camera(background=9, read_noise=1)
    field = FieldMap.open(folder / "map.h5")
    optics = Optics(NA=1.3)
    own = Path(tempfile.mkdtemp(dir=folder))
    files = HELD["sim"].write(own / "movie")
    summary = simtiff.run_batch({"base_config": TINY_JOB}, 1, output_dir=own / "batch", progress=False)
    found = {
        "psf": simtiff.psf(optics, XYZ, PHASE, size=11),
        "render": simtiff.render(optics, XYZ, np.ones(60), (32, 32), PHASE, size=11),
        "held renderer": HELD["renderer"].expose(SCENE, (3, 32, 32), camera, seed=2),
        "camera": camera.expose(np.full((3, 40, 40), 2.5), seed=3),
        "field": field.coefficients([1.5, 20.0], [3.0, 8.25])[0],
        "held simulation": HELD["sim"].frames(0, 3),
        "expected": Simulation(TINY_JOB).expected(1, 2),
        "stream": np.concatenate([chunk for _, chunk in HELD["sim"].stream(2)]),
        "written": np.frombuffer(files["simulation.ome.tiff"].read_bytes()[-1000:], np.uint8),
    }
    return {name: crc32(array.tobytes()) for name, array in found.items()} | {"batch": summary.completed}


def in_child(folder: Path) -> tuple[dict[str, Any], int]:
    return everything(folder), simtiff.threads()


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = simtiff.threads()
    simtiff.set_threads(3)
    yield
    simtiff.set_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_compute_what_their_parent_does(method: str, tmp_path: Path) -> None:
    synthesize(tmp_path / "map.h5", size=32)
    expected = everything(tmp_path)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found, threads in pool.map_async(in_child, [tmp_path] * 4, chunksize=1).get(timeout=SECONDS):
            assert found == expected
            assert threads == (3 if method == "fork" else default_threads())


def of_forked_child(work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns in a child that is forked now; fail if it hangs."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(there, work())
        finally:
            os._exit(0)
    os.close(there)
    try:
        if not select.select([here], [], [], SECONDS)[0]:
            pytest.fail("the forked child hangs")
        return os.read(here, 1 << 16)
    finally:
        os.close(here)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def pool_threads() -> bytes:
    """Return the number of threads that compute; the last ones may take a while to begin and have their names."""
    deadline = time.monotonic() + SECONDS / 4
    count = 0
    while count < 3 and time.monotonic() < deadline:
        simtiff.psf(Optics(), XYZ, size=11)
        names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
        count = sum(name.startswith("simtiff-") for name in names)
    return b"%d" % count


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.usefixtures("three_threads")
def test_a_forked_child_has_as_many_threads_as_its_parent() -> None:
    simtiff.psf(Optics(), XYZ)
    assert of_forked_child(pool_threads) == b"3"
    assert of_forked_child(lambda: of_forked_child(pool_threads)) == b"3"


def test_a_stream_goes_on_in_a_forked_child() -> None:
    sim = Simulation(TINY_JOB | {"emitters": {"num_emitters": 20, "frames": 9, "area_px": 40}})
    expected = sim.frames(0, 9)
    stream = sim.stream(2)
    next(stream)
    rest = of_forked_child(lambda: b"%d" % crc32(b"".join(chunk.tobytes() for _, chunk in stream)))
    assert int(rest) == crc32(expected[2:].tobytes())
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in stream]), expected[2:])


def fork_in_the_middle(kind: str, count: int) -> None:
    """Fork while another thread is in the middle of its first call with an object, and use the object in the child."""
    scene, places = Scene.from_arrays(np.zeros((40, 3)), phase=PHASE[:40]), np.linspace(1, 200, 5000)

    def work(number: int) -> Callable[[], Any]:
        if kind == "renderer":
            renderer = Renderer(Optics(wavelength_nm=500 + number), size=101)
            return lambda: renderer.stamps(scene)
        if kind == "field":
            field = FieldMap.from_arrays(np.random.default_rng(number).normal(0, 0.1, (9, 256, 256)))
            return lambda: field.coefficients(places, places)[0]
        if kind == "camera":
            camera = Camera(background=number, read_noise=1)
            return lambda: camera.expose(np.full((50, 64, 64), 3.5))
        sim = Simulation(TINY_JOB | {"emitters": {"seed": number, "frames": 3, "area_px": 40}})
        return lambda: sim.frames(0, 3)

    for number in range(count):
        call = work(number)
        begun = threading.Event()
        made: list[Any] = []

        def in_thread(call: Callable[[], Any] = call, begun: threading.Event = begun, made: list[Any] = made) -> None:
            begun.set()
            made.append(call())

        thread = threading.Thread(target=in_thread)
        thread.start()
        begun.wait()
        in_child = of_forked_child(lambda call=call: b"%d" % crc32(call().tobytes()))
        thread.join()
        assert int(in_child) == crc32(made[0].tobytes()), number


@pytest.mark.parametrize("kind", ["renderer", "field", "camera", "simulation"])
def test_a_fork_may_come_in_the_middle_of_a_call(kind: str) -> None:
    """In a process of its own, so that nothing has been used before."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=fork_in_the_middle, args=(kind, 25))
    process.start()
    process.join(SECONDS)
    process.kill()
    process.join()
    assert process.exitcode == 0
