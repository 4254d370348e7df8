"""The measurements, each in a fresh process: ``python benches/tasks.py NAME JSON`` prints the figures as JSON.

A fresh process has its own instruction set (``SIMTIFF_SIMD``), cores, caches and peak memory.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import training, training_baseline, training_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

SIDE = 1200
BACKGROUND, READ_NOISE = 100.0, 10.0
MODES = 21
_LEAST_RUNS = 3

Figures = dict[str, float]


def best_s(function: Callable[[], object], budget_s: float) -> float:
    """Return the shortest of several runs in seconds: the time of an undisturbed run."""
    function()
    runs: list[float] = []
    end = time.perf_counter() + budget_s
    while len(runs) < _LEAST_RUNS or time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        runs.append(time.perf_counter() - begin)
    return min(runs)


def peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    try:  # getrusage would also count the parent that started us
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def emitters(count: int, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Return positions in a frame with |z| up to 1 um, photons, and the built-in map's aberrations there."""
    import numpy as np

    from simtiff import FieldMap

    random = np.random.default_rng(seed)
    xyz = random.uniform(-0.5, SIDE - 0.5, (count, 3))
    xyz[:, 2] = random.uniform(-1, 1, count)
    phase, _ = FieldMap.open("builtin:oil", size=SIDE).coefficients(xyz[:, 0], xyz[:, 1])
    light = np.maximum(random.normal(1, 0.2, count), 0).astype(np.float32)
    return xyz, light, phase


def _baseline(size: int) -> Any:
    from baseline import Baseline

    from simtiff import Optics

    optics = Optics()
    pixel = (optics.pixel_size_nm_x, optics.pixel_size_nm_y)
    return Baseline(optics.wavelength_nm, optics.NA, pixel, MODES, size)


def psf(budget_s: float, size: int = 31, modes: int = MODES, z_um: float = 1.0) -> Figures:
    """Measure PSFs per second on one thread; modes that the built-in map does not have are zero."""
    import numpy as np

    import simtiff

    simtiff.set_threads(1)
    xyz, _, phase = emitters(4000)
    xyz[:, :2] -= np.rint(xyz[:, :2])
    xyz[:, 2] *= z_um
    phase = np.ascontiguousarray(np.pad(phase, [(0, 0), (0, max(0, modes - MODES))])[:, :modes])
    out = np.empty((len(xyz), size, size), np.float32)
    seconds = best_s(lambda: simtiff.psf(simtiff.Optics(), xyz, phase, size=size, out=out), budget_s)
    return {"psfs_per_s": len(xyz) / seconds}


def psf_error(count: int) -> Figures:
    """Measure the errors against the converged sum, as fractions of the stamp's peak."""
    import numpy as np
    from baseline import reference_psf

    import simtiff

    optics = simtiff.Optics()
    xyz, _, phase = emitters(count)
    xyz[:, :2] -= np.rint(xyz[:, :2])
    pixel = (optics.pixel_size_nm_x, optics.pixel_size_nm_y)
    exact = reference_psf(optics.wavelength_nm, optics.NA, optics.n_immersion, pixel, xyz, phase, 31)
    errors = np.abs(simtiff.psf(optics, xyz, phase, size=31) - exact).max((1, 2)) / exact.max((1, 2))
    return {"largest": float(errors.max()), "mean": float(errors.mean())}


def psf_baseline(budget_s: float) -> Figures:
    """Measure PSFs per second of the FFT."""
    import numpy as np

    xyz, _, phase = emitters(50)
    xyz[:, :2] -= np.rint(xyz[:, :2])
    baseline = _baseline(31)
    rows = list(zip(*xyz.T, phase, strict=True))
    seconds = best_s(lambda: [baseline.psf(*row) for row in rows], budget_s)
    return {"psfs_per_s": len(rows) / seconds}


def models(budget_s: float) -> Figures:
    """Measure microseconds per emitter for every model, for derivatives and for bounds, on one thread."""
    import numpy as np

    import simtiff

    simtiff.set_threads(1)
    count, random = 1024, np.random.default_rng(1)
    xy = random.uniform(-0.5, 0.5, (count, 2))
    phase = random.normal(0, 0.3 / np.sqrt(MODES), (count, MODES)).astype(np.float32)

    def optics(na: float, sample: float | None = None) -> simtiff.Optics:
        return simtiff.Optics(660, na, 1.518, 100, 100, sample, focal_depth_um=0 if sample is None else 0.3)

    oil, water, evanescent = optics(1.4), optics(1.2, 1.33), optics(1.45, 1.33)
    near = np.c_[xy, random.uniform(-0.5, 0.5, count)]
    above = np.c_[xy, random.uniform(0, 0.6, count)]
    far = np.c_[xy, random.uniform(-1.5, 1.5, count)]
    mask = {6: 1.15, 12: -1.1}
    modes = range(4, 16)
    planes = np.empty((count, 4 + len(modes), 31, 31), np.float32)
    stamps = {size: np.empty((count, size, size), np.float32) for size in (31, 61)}

    def psf(optics: simtiff.Optics, xyz: Any, model: str, size: int = 31, **options: Any) -> Callable[[], object]:
        coefficients = None if model == "gaussian" else phase
        return lambda: simtiff.psf(optics, xyz, coefficients, size=size, model=model, out=stamps[size], **options)

    def gradient(model: str) -> Callable[[], object]:
        return lambda: simtiff.psf_gradient(oil, near, phase, modes=modes, size=31, model=model, out=planes)

    def bound(model: str) -> Callable[[], object]:
        return lambda: simtiff.crlb(oil, near, 1000, 10, phase, size=31, model=model, read_noise=1)

    measured = {
        "scalar": psf(oil, near, "scalar"),
        "vectorial": psf(oil, near, "vectorial"),
        "vectorial, from water, NA 1.2": psf(water, above, "vectorial"),
        "vectorial, from water, NA 1.45 (light above the critical angle)": psf(evanescent, above, "vectorial"),
        "vectorial tetrapod, 61 px, z to 1.5 um": psf(oil, far, "vectorial", 61, phase_noll=mask),
        "Gaussian": psf(oil, near, "gaussian"),
        "scalar, blurred by 0.8 px": psf(oil, near, "scalar", blur_nm=80.0),
        "vectorial, blurred by 0.8 px": psf(oil, near, "vectorial", blur_nm=80.0),
        "scalar, with its derivatives by x, y, z and 12 modes": gradient("scalar"),
        "vectorial, with its derivatives by x, y, z and 12 modes": gradient("vectorial"),
        "bound, scalar": bound("scalar"),
        "bound, vectorial": bound("vectorial"),
    }
    return {name: 1e6 * best_s(function, budget_s) / count for name, function in measured.items()}


def camera(budget_s: float, photons: float) -> Figures:
    """Measure megapixels per second on one thread; `photons` per emitter (20,000 of them), 0 for a flat frame."""
    import numpy as np

    import simtiff

    simtiff.set_threads(1)
    image = np.zeros((2, SIDE, SIDE), np.float32)
    if photons:
        image[...] = _expected(20_000, photons)
    camera = simtiff.Camera(BACKGROUND, READ_NOISE)
    out = np.empty(image.shape, np.uint16)
    return {"mpx_per_s": image.size / best_s(lambda: camera.expose(image, out=out), budget_s) / 1e6}


def camera_baseline(budget_s: float, photons: float) -> Figures:
    """Measure megapixels per second of NumPy."""
    import numpy as np
    from baseline import expose

    image = _expected(20_000, photons).astype(np.float64) if photons else np.zeros((SIDE, SIDE))
    random = np.random.default_rng(1)
    return {"mpx_per_s": image.size / best_s(lambda: expose(image, BACKGROUND, READ_NOISE, random), budget_s) / 1e6}


def cameras(budget_s: float, photons: float) -> Figures:
    """Measure megapixels per second of several cameras on one thread, and of NumPy; `photons` as in `camera`."""
    import numpy as np
    from baseline import expose_emccd, expose_scmos

    import simtiff

    simtiff.set_threads(1)
    random = np.random.default_rng(1)
    image = np.zeros((2, SIDE, SIDE), np.float32)
    if photons:
        image[...] = _expected(20_000, photons)
    out = np.empty(image.shape, np.uint16)
    maps = {
        "offset_adu": random.normal(100, 2, (SIDE, SIDE)),
        "gain_adu_per_e": random.normal(2.2, 0.05, (SIDE, SIDE)),
        "read_noise_e": random.gamma(8, 0.2, (SIDE, SIDE)),
        "quantum_efficiency": random.uniform(0.7, 0.9, (SIDE, SIDE)),
    }
    emccd = {"quantum_efficiency": 0.9, "em_gain": 300, "e_per_adu": 12, "offset_adu": 200}
    kinds = {
        "plain, background 100": simtiff.Camera(BACKGROUND, READ_NOISE),
        "gain of 0.46 e/ADU, background 20": simtiff.Camera(20, 1.6, e_per_adu=0.46, offset_adu=100),
        "sCMOS with maps, background 20": simtiff.Camera(20, maps=maps),
        "EMCCD, background 20": simtiff.Camera(20, 50, **emccd),
        "EMCCD, background 1": simtiff.Camera(1, 50, **emccd),
    }
    one = image[0].astype(np.float64)
    numpy = {
        "NumPy, sCMOS": lambda: expose_scmos(one, 20, maps, random),
        "NumPy, EMCCD": lambda: expose_emccd(one, 20, 50, 300, random),
    }
    rates = {
        name: image.size / best_s(lambda camera=kind: camera.expose(image, out=out), budget_s) / 1e6
        for name, kind in kinds.items()
    }
    return rates | {name: one.size / best_s(function, budget_s) / 1e6 for name, function in numpy.items()}


def _expected(count: int, photons: float) -> NDArray[np.float32]:
    import simtiff

    xyz, light, phase = emitters(count)
    return simtiff.render(simtiff.Optics(), xyz, photons * light, (SIDE, SIDE), phase, size=31)


def frame(budget_s: float, count: int, photons: float) -> Figures:
    """Measure seconds to render and expose one frame of `count` emitters on one thread."""
    import numpy as np

    import simtiff
    from simtiff.imaging.renderer import Renderer
    from simtiff.imaging.scene import Scene

    simtiff.set_threads(1)
    xyz, light, phase = emitters(count)
    light *= np.float32(photons)
    renderer, camera = Renderer(simtiff.Optics(), size=31), simtiff.Camera(BACKGROUND, READ_NOISE)
    image, out = np.empty((1, SIDE, SIDE), np.float32), np.empty((1, SIDE, SIDE), np.uint16)
    scene = Scene.from_arrays(xyz, light, phase)

    def render() -> None:
        renderer.render(scene, image.shape, out=image)

    def both() -> None:
        renderer.expose(scene, image.shape, camera, space=image, out=out)

    return {"seconds": best_s(both, budget_s), "render_s": best_s(render, budget_s)}


def frame_baseline(budget_s: float, count: int, photons: float, measured: int) -> Figures:
    """Measure seconds of NumPy for the same frame, scaled up from `measured` rendered emitters."""
    import numpy as np
    from baseline import expose

    xyz, light, phase = emitters(measured)
    baseline, random = _baseline(31), np.random.default_rng(1)
    image = np.zeros((SIDE, SIDE))
    per_emitter = best_s(lambda: baseline.add(image, xyz, photons * light, phase), budget_s) / measured
    bright = _expected(count, photons).astype(np.float64)
    noise = best_s(lambda: expose(bright, BACKGROUND, READ_NOISE, random), budget_s)
    return {"seconds": count * per_emitter + noise, "emitter_s": per_emitter, "noise_s": noise}


def chunk(budget_s: float, config: dict[str, Any]) -> Figures:
    """Measure seconds to render and expose a short, dense movie in one chunk on one thread."""
    import numpy as np

    import simtiff
    from simtiff.aberrations.maps import open_field
    from simtiff.config.loading import load_job_config
    from simtiff.movie.frames import Movie
    from simtiff.movie.truth import MemoryTruth

    simtiff.set_threads(1)
    checked = load_job_config(config)
    truth = MemoryTruth(checked, open_field(checked))
    movie, frames = Movie(checked, truth), checked.emitters.frames
    space, out = np.empty(movie.shape, np.float32), np.empty(movie.shape, np.uint16)
    seconds = best_s(lambda: movie.frames_into(0, frames, out, space), budget_s)
    return {"seconds": seconds, "records": len(truth.records), "emitters": len(np.unique(truth.records.id))}


def job(config: dict[str, Any], directory: str, runs: int) -> Figures:
    """Measure the median seconds of a job after other jobs, as in a running batch, and the peak memory."""
    from simtiff.config.identity import job_hash
    from simtiff.config.loading import load_job_config
    from simtiff.movie.frames import Buffers
    from simtiff.movie.job import run_job

    checked = load_job_config(config)
    key, buffers = job_hash(checked, ""), Buffers()
    gc.collect()
    gc.freeze()  # as a worker does
    times = []
    for _ in range(runs):
        shutil.rmtree(directory, ignore_errors=True)
        begin = time.perf_counter()
        run_job(checked, Path(directory), resume_key=key, buffers=buffers)
        times.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(times[1:] or times), "peak_mb": peak_mb()}


def profile(config: dict[str, Any], directory: str) -> Figures:
    """Measure the parts of a job in milliseconds, on one thread, with the map in memory."""
    import numpy as np

    import simtiff
    from simtiff import _core
    from simtiff.aberrations.maps import open_field
    from simtiff.config.loading import load_job_config
    from simtiff.imaging.renderer import Renderer
    from simtiff.movie.frames import Movie
    from simtiff.movie.truth import write_truth
    from simtiff.movie.truthfile import TruthFile

    simtiff.set_threads(1)
    checked = load_job_config(config)
    field, step = open_field(checked), checked.memory_optimization.chunk_size
    truth_path, movie_path = Path(directory) / "emitters.h5", Path(directory) / "movie"
    write_truth_s = best_s(lambda: write_truth(truth_path, checked, field), 0.5)
    with TruthFile(truth_path, checked) as truth:
        movie = Movie(checked, truth)
        starts = range(0, movie.shape[0], step)
        out = np.empty((step, *movie.shape[1:]), movie.dtype)
        space = np.zeros(out.shape, np.float32)
        renderer = Renderer(simtiff.Optics(), size=checked.psf.size_px)
        scenes = [truth.scene(start, start + step) for start in starts]
        middles = [np.rint(scene.xyz) * [1, 1, 0] for scene in scenes]
        centred = [replace(a, xyz=a.xyz - b) for a, b in zip(scenes, middles, strict=True)]
        camera = simtiff.Camera(BACKGROUND, READ_NOISE)

        read_s = best_s(lambda: [truth.scene(start, start + step) for start in starts], 0.5)
        psf_s = best_s(lambda: [renderer.stamps(scene) for scene in centred], 0.5)
        background_s = len(starts) * best_s(lambda: camera.expose(space, out=out), 0.5)
        all_s = best_s(lambda: [movie.frames_into(start, start + step, out, space) for start in starts], 1.0)

    crc_s = len(starts) * best_s(lambda: _core.crc32(out.reshape(-1).view(np.uint8)), 0.5)
    written, synced = [], []
    for _ in range(8):
        movie_path.unlink(missing_ok=True)
        with movie_path.open("wb", buffering=0) as file:
            begin = time.perf_counter()
            for _ in starts:
                file.write(out.data)
            written.append(time.perf_counter() - begin)
            os.fsync(file.fileno())
            synced.append(time.perf_counter() - begin)
    write_s, sync_s = statistics.median(written), statistics.median(synced) - statistics.median(written)
    seconds = {
        "emitters, records and coefficients to emitters.h5": write_truth_s,
        "reading them, chunk by chunk": read_s,
        "PSFs": psf_s,
        "camera: background and read noise": background_s,
        "adding PSFs to frames, and their shot noise": all_s - read_s - psf_s - background_s,
        "checksum of the movie": crc_s,
        "movie to the system's memory": write_s,
        "movie to the disk (a job waits for the last part alone)": sync_s,
    }
    return {name: 1e3 * s for name, s in seconds.items()}


def write_tifffile(path: str, frames: int, runs: int) -> Figures:
    """Measure the median seconds to write frames with tifffile, without and with fsync."""
    import numpy as np
    import tifffile

    movie = np.random.default_rng(1).integers(0, 2**16, (frames, SIDE, SIDE), np.uint16)
    written, synced = [], []
    for _ in range(runs):
        Path(path).unlink(missing_ok=True)
        begin = time.perf_counter()
        tifffile.imwrite(path, movie, ome=True, metadata={"axes": "TYX"})
        written.append(time.perf_counter() - begin)
        with Path(path).open("rb+") as file:
            os.fsync(file.fileno())
        synced.append(time.perf_counter() - begin)
    return {"written_s": statistics.median(written), "synced_s": statistics.median(synced)}


def stream(config: dict[str, Any]) -> Figures:
    """Measure seconds for a job's frames, with the truth in memory and nothing written."""
    from simtiff.aberrations.maps import open_field
    from simtiff.config.loading import load_job_config
    from simtiff.movie.frames import Buffers, Movie
    from simtiff.movie.truth import MemoryTruth

    checked = load_job_config(config)
    movie, buffers = Movie(checked, MemoryTruth(checked, open_field(checked))), Buffers()

    gc.collect()
    gc.freeze()  # as a worker does

    def frames() -> None:
        for _ in movie.stream(buffers=buffers):
            pass

    return {"seconds": best_s(frames, 0.5)}


def batch(config: dict[str, Any], directory: str, workers: int) -> Figures:
    """Measure seconds of a whole batch call."""
    import simtiff

    summary = simtiff.run_batch(config, output_dir=directory, max_workers=workers, resume=False, progress=False)
    if summary.failed:
        raise RuntimeError(str(summary.errors))
    return {"seconds": summary.seconds, "jobs": summary.completed}


def truth(config: dict[str, Any], path: str) -> Figures:
    """Measure seconds and memory to write a truth file."""
    from simtiff.aberrations.maps import open_field
    from simtiff.config.loading import load_job_config
    from simtiff.movie.truth import write_truth

    checked = load_job_config(config)
    field = open_field(checked)
    begin = time.perf_counter()
    made = write_truth(path, checked, field)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_mb": peak_mb(), "records": made.records, "bytes": Path(path).stat().st_size}


def zmap(path: str, count: int) -> Figures:
    """Measure seconds for the coefficients of `count` emitters: with a map not yet read, and again."""
    import numpy as np

    from simtiff import FieldMap

    random = np.random.default_rng(1)
    times = []
    for _ in range(4):
        x, y = random.uniform(-0.5, SIDE - 0.5, (2, count))
        begin = time.perf_counter()
        FieldMap.open(path, size=SIDE).coefficients(x, y)
        times.append(time.perf_counter() - begin)
    return {"first_s": times[0], "next_s": min(times[1:])}


def zmap_baseline(path: str, count: int) -> Figures:
    """Measure seconds of `scipy.ndimage.map_coordinates` for the same."""
    import h5py
    import numpy as np
    from baseline import coefficients

    begin = time.perf_counter()
    with h5py.File(path) as file:
        planes = file["z_maps/phase"][...]
    xyz = np.random.default_rng(1).uniform(-0.5, SIDE - 0.5, (count, 3))
    coefficients(planes, xyz)
    return {"first_s": time.perf_counter() - begin}


def crops(path: str, frames: int, side: int = 64) -> Figures:
    """Measure frames per second when every frame is on a different crop of a map."""
    import numpy as np

    import simtiff
    from simtiff.config.loading import load_job_config

    config = load_job_config(
        {
            "zmap_path": path,
            "emitters": {"frames": 1, "num_emitters": 20, "area_px": side},
            "tiff": {"roi_size": side},
        }
    )
    offsets = np.random.default_rng(1).integers(0, SIDE - side, (frames + 2, 2)).tolist()
    for index, offset in enumerate(offsets):
        if index == 2:  # the first ones read the map
            begin = time.perf_counter()
        zernike = config.zernike.model_copy(update={"crop_offset": tuple(offset)})
        simtiff.Simulation(config.model_copy(update={"zernike": zernike})).frames(0, 1)
    return {"frames_per_s": frames / (time.perf_counter() - begin)}


def environment() -> dict[str, str]:
    """Return the instruction set and the versions that the figures depend on."""
    from importlib.metadata import version

    from simtiff import _core

    packages = ("simtiff", "numpy", "scipy", "tifffile", "h5py")
    return {"simd": _core.simd_level(), "python": sys.version.split()[0]} | {name: version(name) for name in packages}


TASKS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        psf,
        psf_error,
        psf_baseline,
        models,
        camera,
        camera_baseline,
        cameras,
        frame,
        frame_baseline,
        chunk,
        job,
        profile,
        write_tifffile,
        stream,
        batch,
        truth,
        zmap,
        zmap_baseline,
        crops,
        training,
        training_memory,
        training_baseline,
        environment,
    )
}

if __name__ == "__main__":
    task = functools.partial(TASKS[sys.argv[1]], **json.loads(sys.argv[2]))
    sys.stdout.write(json.dumps(task()))
