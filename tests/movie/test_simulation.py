"""A movie from Python: any range of frames, the same for any chunk size, equal to the written movie."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import simtiff
from simtiff.errors import ConfigError, ShapeError
from simtiff.movie.frames import camera_seed

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, SIZE = 11, 48


def job(**tiff: Any) -> dict[str, Any]:
    return {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 300, "frames": FRAMES, "area_px": SIZE, "seed": 3},
        "psf": {"size_px": 21},
        "tiff": {"roi_size": SIZE} | tiff,
    }


@pytest.fixture(scope="module")
def sim() -> simtiff.Simulation:
    return simtiff.Simulation(job())


def test_truth_and_shape(sim: simtiff.Simulation) -> None:
    assert sim.shape == (FRAMES, SIZE, SIZE)
    assert len(sim.emitters) == 300
    assert set(np.unique(sim.records.frame_ix)) <= set(range(FRAMES))
    assert "300 emitters" in repr(sim)


def test_expected_photons_are_those_of_the_records(sim: simtiff.Simulation) -> None:
    """Some signal is outside stamps and frame, but little: most emitters are far from the edge."""
    image = sim.expected(0, FRAMES)
    assert image.shape == sim.shape
    assert image.dtype == np.float32
    for frame in range(FRAMES):
        emitted = sim.records.phot[sim.records.frame_ix == frame].sum()
        assert 0.6 * emitted < image[frame].sum() < emitted


def test_frames_do_not_depend_on_how_they_are_asked_for(sim: simtiff.Simulation) -> None:
    whole = sim.frames(0, FRAMES)
    assert whole.dtype == np.uint16
    assert np.array_equal(sim.frames(4, 7), whole[4:7])
    out = np.full((3, SIZE, SIZE), 7, np.uint16)
    assert sim.frames(4, 7, out=out) is out
    assert np.array_equal(out, whole[4:7])
    assert np.array_equal(sim.expected(4, 7), sim.expected(0, FRAMES)[4:7])
    for chunk_size in (1, 7, 100, None):
        chunks = list(sim.stream(chunk_size))
        assert [first for first, _ in chunks] == list(range(0, FRAMES, min(chunk_size or 10, FRAMES)))
        assert np.array_equal(np.concatenate([frames for _, frames in chunks]), whole)
    assert sim.frames(3, 3).shape == (0, SIZE, SIZE)


def test_chunks_belong_to_the_caller(sim: simtiff.Simulation) -> None:
    stream = sim.stream(4)
    _, first = next(stream)
    copy = first.copy()
    list(stream)
    assert np.array_equal(first, copy)


def test_a_stream_may_be_left_early(sim: simtiff.Simulation) -> None:
    for first, _ in sim.stream(1):
        if first == 2:
            break
    assert np.array_equal(sim.frames(0, 1), simtiff.Simulation(job()).frames(0, 1))


def test_camera_noise_is_that_of_the_camera(sim: simtiff.Simulation) -> None:
    camera = simtiff.Camera(background=100, read_noise=10)
    expected = sim.expected(2, 5)
    assert np.array_equal(camera.expose(expected, seed=camera_seed(3), first_frame=2), sim.frames(2, 5))
    assert len({camera_seed(seed) for seed in range(100)}) == 100


def test_without_noise_there_are_the_expected_photons_alone(sim: simtiff.Simulation) -> None:
    expected = sim.expected(0, 3)
    real = simtiff.Simulation(job(add_noise=False, dtype="float32")).frames(0, 3)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real, expected)
    whole = simtiff.Simulation(job(add_noise=False)).frames(0, 3)
    np.testing.assert_array_equal(whole, np.clip(np.rint(expected), 0, 65535).astype(np.uint16))


def test_the_frame_is_cut_from_the_field(sim: simtiff.Simulation) -> None:
    """A frame of another position and size has the same signal where both overlap."""
    cut = simtiff.Simulation(job(roi_size=20, crop_offset=[9, 17])).expected(0, FRAMES)
    np.testing.assert_allclose(cut, sim.expected(0, FRAMES)[:, 17:37, 9:29], rtol=2e-4, atol=0.02)


def test_binned_rendering_agrees_with_direct_rendering(sim: simtiff.Simulation) -> None:
    direct = sim.expected(0, 4)
    binned = simtiff.Simulation(job(use_direct_rendering=False, hr_size=SIZE * 7)).expected(0, 4)
    np.testing.assert_allclose(binned, direct, atol=0.01 * direct.max())
    assert not np.array_equal(binned, direct)


def test_a_stream_leaves_the_program_s_own_heap_alone() -> None:
    """A program with torch or pandas has millions of objects; a full collection every few chunks takes seconds."""
    collected: list[int] = []
    gc.callbacks.append(lambda phase, info: collected.append(info["generation"]) if phase == "start" else None)
    try:
        frames = simtiff.Simulation(job() | {"memory_optimization": {"chunk_size": 1, "gc_frequency": 1}}).stream()
        gc.collect(0)
        collected.clear()
        assert len(list(frames)) == FRAMES
    finally:
        gc.callbacks.pop()
    assert collected.count(0) >= FRAMES - 1
    assert 2 not in collected


def test_arguments_are_checked(sim: simtiff.Simulation) -> None:
    for start, stop in [(-1, 2), (3, 2), (0, FRAMES + 1)]:
        with pytest.raises(ShapeError, match="expected 0 <= start <= stop <= 11"):
            sim.frames(start, stop)
    good = np.empty((2, SIZE, SIZE), np.uint16)
    for out in (good.astype(np.int16), good[:1], good[:, ::-1], good.tolist()):
        with pytest.raises(ShapeError):
            sim.frames(0, 2, out=out)
    with pytest.raises(ShapeError):
        sim.expected(0, 2, out=good)
    with pytest.raises(ShapeError, match="chunk_size"):
        sim.stream(0)
    with pytest.raises(ConfigError, match="frames"):
        simtiff.Simulation({"zmap_path": "builtin:oil", "emitters": {"frames": 0}})


def test_written_files_are_the_same_movie(sim: simtiff.Simulation, tmp_path: Path) -> None:
    files = sim.write(tmp_path / "new" / "folder")
    assert sorted(files) == ["emitters.h5", "simulation.ome.tiff"]
    assert np.array_equal(tifffile.imread(files["simulation.ome.tiff"]), sim.frames(0, FRAMES))


@pytest.mark.parametrize("emitters", [100, 5000])  # stamps that fit into the frame buffers, and stamps that do not
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_large_frames_are_written_one_by_one(tmp_path: Path, emitters: int, dtype: str) -> None:
    size = 400
    large = simtiff.Simulation(
        {
            "zmap_path": "builtin:oil",
            "emitters": {"num_emitters": emitters, "frames": 7, "area_px": size},
            "tiff": {"roi_size": size, "dtype": dtype},
            "memory_optimization": {"chunk_size": 3},
        }
    )
    files = large.write(tmp_path)
    assert np.array_equal(tifffile.imread(files["simulation.ome.tiff"]), large.frames(0, 7))


def test_frames_can_be_asked_for_while_streaming() -> None:
    sim = simtiff.Simulation(
        {
            "zmap_path": "builtin:oil",
            "emitters": {"num_emitters": 20, "frames": 9, "area_px": 32},
            "tiff": {"roi_size": 32},
        }
    )
    for first, chunk in sim.stream(chunk_size=2):
        np.testing.assert_array_equal(sim.frames(first, first + len(chunk)), chunk)
