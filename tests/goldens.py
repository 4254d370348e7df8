"""Digests of pixels and truth: compares those of now with those in data/goldens.json.

Usage:
  goldens.py [--write]
  goldens.py --digests [GROUP]...
  goldens.py --help

Options:
  --write    Store the digests of now. Refused where a stored one changed and no version was raised.
  --digests  Only print the digests of this process, all or some groups of them, as JSON.

Without options it prints which digests differ from the stored ones, and exits with 1 if any do.

There are two sets of digests: "fused" for instruction sets with fused multiply-add (AVX-512, AVX2 and NEON give the
same bits), "scalar" for plain arithmetic (SIMTIFF_SIMD=scalar). Of the second, only what differs from the first is
stored.
"""

# Inputs are made by exact arithmetic and PCG64.random alone, so that no version of NumPy changes them. But for the
# instruction set, only public names are used, so that the package can be rearranged without touching this file.

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import tifffile
from docopt import docopt

import simtiff
from simtiff import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

STORED = Path(__file__).parent / "data" / "goldens.json"
VERSIONS = ("data_version", "recipe_version")
DIGITS = 16

Entries = dict[str, str]  # digest by name
Groups = dict[str, Entries]

BASE: dict[str, Any] = {
    "zmap_path": "builtin:oil",
    "emitters.num_emitters": 300,
    "emitters.frames": 6,
    "emitters.area_px": 48,
    "tiff.roi_size": 48,
    "psf.size_px": 21,
}
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"psf.size_px": 41, "emitters.frames": 12, "emitters.area_px": 64, "tiff.roi_size": 64},
    "float32": {"tiff.dtype": "float32"},
    "without_noise": {"tiff.add_noise": False},
    "without_noise_float32": {"tiff.add_noise": False, "tiff.dtype": "float32"},
    "without_shot_noise": {"tiff.noise_params.shot_noise": False},
    "no_background": {"tiff.noise_params.background": 0, "tiff.noise_params.readout_noise": 0},
    "bright": {"emitters.intensity_mu": 200_000, "tiff.noise_params.background": 20_000},
    "high_resolution": {"tiff.use_direct_rendering": False, "tiff.hr_size": 5 * 48},
    "higher_resolution": {"tiff.use_direct_rendering": False, "tiff.hr_size": 16 * 48, "psf.size_px": 11},
    "paraxial_points": {"psf.defocus": "paraxial", "psf.pixel_integration": False},
    "other_optics": {
        "optical.wavelength_nm": 580,
        "optical.NA": 1.2,
        "optical.n_immersion": 1.33,
        "optical.pixel_size_nm_x": 110,
        "optical.pixel_size_nm_y": 130,
        "emitters.z_range_um": 2.5,
    },
    "zlib": {"tiff.compression": "zlib", "memory_optimization.chunk_size": 4},
    "frame_beside_field": {"tiff.crop_offset": [-5, 11], "tiff.roi_size": 33},
    "map_cubic": {"zmap_path": "synthetic.h5"},
    "map_linear": {"zmap_path": "synthetic.h5", "zernike.interpolation_method": "linear"},
    "map_nearest": {"zmap_path": "synthetic.h5", "zernike.interpolation_method": "nearest"},
    "map_offset": {"zmap_path": "synthetic.h5", "zernike.crop_offset": [40, 17], "emitters.area_px": 30.5},
    "map_cut_and_extrapolated": {
        "zmap_path": "synthetic.h5",
        "zernike.crop_offset": [50, 3],
        "zernike.crop_size": 25,
        "zernike.extrapolate": "nearest",
    },
    "magnitudes": {"zmap_path": "scattered.h5"},
    "short_lifetime": {"emitters.lifetime_avg": 0.2, "emitters.seed": 2**53 + 1},
    "long_lifetime": {"emitters.lifetime_avg": 40, "emitters.num_emitters": 800},
    "several_slabs": {
        "emitters.num_emitters": 1500,
        "emitters.frames": 200,
        "emitters.area_px": 16,
        "tiff.roi_size": 16,
        "psf.size_px": 9,
    },
    "no_emitters": {"emitters.num_emitters": 0},
    # Large frames are rendered and written in other pieces than small ones: few emitters, then many.
    "large_frames": {"emitters.area_px": 420, "tiff.roi_size": 420, "memory_optimization.chunk_size": 4},
    "large_frames_with_many_emitters": {
        "emitters.area_px": 420,
        "tiff.roi_size": 420,
        "emitters.num_emitters": 3000,
        "psf.size_px": 41,
        "emitters.frames": 3,
    },
}
BATCHES: dict[str, dict[str, Any]] = {
    "sweep": {"variables": {"emitters.num_emitters": [50, 100], "tiff.noise_params.background": [0, 50]}},
    "samples": {"sample_configs": {"num_samples": 3, "frames_per_sample": 4}},
}


def digest(*arrays: NDArray[Any]) -> str:
    """Return a digest of the type, shape and bytes of arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:DIGITS]


def uniform(seed: int, *shape: int) -> NDArray[np.float64]:
    """Return numbers in [0, 1) that are the same everywhere."""
    return np.random.Generator(np.random.PCG64(seed)).random(shape)


def config(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the base config with dotted settings in place of its own; maps are made in the folder."""
    whole: dict[str, Any] = {}
    for key, value in (BASE | settings).items():
        *sections, last = key.split(".")
        if key == "zmap_path" and value in MAPS:
            whole[last] = str(MAPS[value](folder))
        else:
            functools.reduce(lambda at, name: at.setdefault(name, {}), sections, whole)[last] = value
    return whole


def synthetic_map(folder: Path) -> Path:
    """Return the file of a synthetic map of 80 x 80 px; made if it is not there."""
    path = folder / "synthetic.h5"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "simtiff", "zmap", "synth", str(path), "--size=80", "--seed=3"],
            check=True,
            capture_output=True,
        )
    return path


def scattered_map(folder: Path) -> Path:
    """Return the file of a map with magnitudes at scattered points, one of them twice; made if it is not there."""
    path = folder / "scattered.h5"
    if not path.exists():
        modes, height, width, points = 15, 50, 60, 40
        coords = uniform(12, points, 2) * [width - 1, height - 1]
        coords[1] = coords[0]
        magnitude = 0.25 * uniform(13, points, modes) - 0.125
        magnitude[:, 10:] = 0
        with h5py.File(path, "w") as file:
            file["z_maps/phase"] = np.float32(80 * uniform(11, modes, height, width) - 40)
            file["z_maps/phase"].attrs["unit"] = "milliwaves"
            file["coords"] = coords
            file["zernike/coeff_mag"] = magnitude
    return path


MAPS = {"synthetic.h5": synthetic_map, "scattered.h5": scattered_map}


def datasets(path: Path) -> dict[str, NDArray[Any]]:
    """Return all datasets of an HDF5 file by name."""
    found: dict[str, NDArray[Any]] = {}

    def take(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = node[()]

    with h5py.File(path) as file:
        file.visititems(take)
    return found


def of_job(settings: dict[str, Any], folder: Path) -> Entries:
    """Return digests of a movie; what is in memory must be what is in the files."""
    simulation = simtiff.Simulation(config(settings, folder))
    count = simulation.shape[0]
    frames = simulation.frames(0, count)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        files = simulation.write(output)
        truth = datasets(files["emitters.h5"])
        written = digest(tifffile.imread(files["simulation.ome.tiff"]))
    entries = {"frames": digest(frames), "expected": digest(simulation.expected(0, count))}
    entries |= {name: digest(array) for name, array in truth.items()}
    held = {
        f"emitters/{name}": getattr(simulation.emitters, name) for name in ("xyz", "intensity", "t0", "on_time", "id")
    }
    held |= {f"records/{name}": getattr(simulation.records, name) for name in ("xyz", "phot", "frame_ix", "id")}
    assert written == entries["frames"], "the pixels of the TIFF are not those of Simulation.frames"
    for name, array in held.items():
        assert digest(array) == entries[name], f"{name} of the file is not that of Simulation"
    return entries


def of_batch(parts: dict[str, Any], folder: Path) -> Entries:
    """Return digests of all movies of a batch."""
    entries = {}
    with tempfile.TemporaryDirectory(dir=folder) as output:
        simtiff.run_batch({"base_config": config({}, folder)} | parts, output_dir=output, max_workers=1, progress=False)
        for job in sorted(path.parent for path in Path(output).glob("*/emitters.h5")):
            entries[f"{job.name}: frames"] = digest(tifffile.imread(job / "simulation.ome.tiff"))
            truth = datasets(job / "emitters.h5")
            for group in ("emitters", "records", "zernike_coeffs"):
                entries[f"{job.name}: {group}"] = digest(*(truth[name] for name in truth if name.startswith(group)))
    return entries


def of_map(folder: Path) -> Entries:
    """Return digests of the synthetic map's datasets."""
    return {name: digest(array) for name, array in datasets(synthetic_map(folder)).items()}


def of_psf(_: Path) -> Entries:
    """Return digests of stamps."""
    count, modes = 37, 21
    oil = simtiff.Optics()
    water = simtiff.Optics(wavelength_nm=580, NA=1.2, n_immersion=1.33, pixel_size_nm_x=65, pixel_size_nm_y=130)
    xyz = uniform(21, count, 3) * [1, 1, 2] - [0.5, 0.5, 1]
    phase = 0.6 * uniform(22, count, modes) - 0.3
    magnitude = 0.2 * uniform(23, count, modes) - 0.1
    tilted = phase.copy()
    tilted[:, 1:3] *= 20
    cases: dict[str, dict[str, Any]] = {f"size {size}": {"size": size} for size in (1, 7, 31, 41, 101)}
    cases |= {
        "one emitter": {"xyz": xyz[:1], "phase": phase[:1]},
        "no emitters": {"xyz": xyz[:0], "phase": phase[:0]},
        "no coefficients": {"phase": None},
        "the same coefficients": {"phase": phase[0]},
        "4 modes": {"phase": phase[:, :4]},
        "66 modes": {"phase": 0.2 * uniform(24, count, 66) - 0.1},
        "tilted": {"phase": tilted},
        "magnitude": {"magnitude": magnitude},
        "the same magnitude": {"magnitude": magnitude[0]},
        "magnitude of few modes": {"magnitude": magnitude[:, :6]},
        "magnitude alone": {"phase": None, "magnitude": magnitude},
        "magnitude that darkens the pupil": {"magnitude": 8 * magnitude},
        "magnitude, size 7": {"magnitude": magnitude, "size": 7},
        "points": {"pixel_integration": False},
        "paraxial": {"defocus": "paraxial"},
        "paraxial points": {"defocus": "paraxial", "pixel_integration": False},
        "defocused": {"xyz": xyz * [1, 1, 6], "size": 41},
        "defocused and paraxial": {"xyz": xyz * [1, 1, 6], "defocus": "paraxial"},
        "off the middle": {"xyz": xyz * [40, 40, 1]},
        "rectangular pixels": {"optics": water},
        "rectangular pixels, points": {"optics": water, "pixel_integration": False},
        "rectangular pixels, magnitude, size 41": {"optics": water, "magnitude": magnitude, "size": 41},
    }
    fixed: dict[str, Any] = {"optics": oil, "xyz": xyz, "phase": phase, "size": 31}
    return {name: digest(simtiff.psf(**fixed | case)) for name, case in cases.items()}


def of_render(_: Path) -> Entries:
    """Return digests of images."""
    count, modes = 120, 15
    height, width = 48, 70
    oil = simtiff.Optics()
    wide = simtiff.Optics(wavelength_nm=580, NA=1.2, n_immersion=1.33, pixel_size_nm_x=130, pixel_size_nm_y=65)
    xyz = uniform(31, count, 3) * [width + 20, height + 20, 2] - [10, 10, 1]
    phase = 0.5 * uniform(32, count, modes) - 0.25
    magnitude = 0.2 * uniform(33, count, modes) - 0.1
    frame_ix = np.arange(count) * 7 % 5
    emitter = np.arange(count) % 30  # each has four records
    same = {"xyz": xyz[emitter], "phase": phase[emitter], "id": emitter}
    cases: dict[str, dict[str, Any]] = {f"size {size}": {"size": size} for size in (1, 7, 31, 41)}
    cases |= {
        "no emitters": {"xyz": xyz[:0], "photons": [], "phase": None},
        "no coefficients": {"phase": None},
        "the same coefficients and photons": {"phase": phase[0], "photons": 1000},
        "magnitude": {"magnitude": magnitude},
        "defocused": {"xyz": xyz * [1, 1, 4]},
        "rectangular pixels": {"optics": wide},
        "on one place": {"xyz": xyz * [0.01, 0.01, 1] + [20, 20, 0]},
        "frames": {"frame_ix": frame_ix},
        "frames in order": {"frame_ix": np.sort(frame_ix)},
        "more frames": {"frame_ix": frame_ix, "n_frames": 8},
        "ids": {**same, "frame_ix": frame_ix},
        "ids and magnitude": {**same, "frame_ix": frame_ix, "magnitude": magnitude[emitter]},
        "ids in one image": same,
        "ids of emitters that move": {"id": emitter, "frame_ix": frame_ix},
        "a small frame": {"shape": (5, 3)},
        "a large frame": {"shape": (500, 300), "xyz": xyz * [3, 7, 1]},
    }
    fixed: dict[str, Any] = {
        "optics": oil,
        "xyz": xyz,
        "photons": 5000 * uniform(34, count),
        "shape": (height, width),
        "phase": phase,
    }
    return {name: digest(simtiff.render(**fixed | case)) for name, case in cases.items()}


def of_camera(_: Path) -> Entries:
    """Return digests of exposed images."""
    image = (np.arange(3 * 33 * 47) * 7919 % 1000 / 8).astype(np.float32).reshape(3, 33, 47)  # 0 to 125
    image[:, ::3] = 0
    large = (np.arange(2 * 190 * 201) * 7919 % 10_007 / 64).astype(np.float32).reshape(2, 190, 201)
    cameras: dict[str, dict[str, Any]] = {
        "default": {},
        "no read noise": {"read_noise": 0},
        "much read noise": {"read_noise": 1000},
        "little of both": {"background": 0.3, "read_noise": 0.7},
        "no background": {"background": 0},
        "neither": {"background": 0, "read_noise": 0},
        "no shot noise": {"shot_noise": False},
        "no noise": {"shot_noise": False, "read_noise": 0},
        "background 3000": {"background": 3000},
        "background 3000, no read noise": {"background": 3000, "read_noise": 0},
        "background 100000": {"background": 1e5},
        "background 100001": {"background": 100_001},
        "background 1e8": {"background": 1e8},
    }
    images: dict[str, dict[str, Any]] = {
        "dim": {"image": image},
        "bright": {"image": 40 * image},
        "dark": {"image": 0 * image},
    }
    entries = {}
    for name, parts in cameras.items():
        for dtype in ("uint16", "float32"):
            camera = simtiff.Camera(**parts, dtype=dtype)
            exposed = [camera.expose(**each, seed=5) for each in images.values()]
            entries |= {f"{name}, {dtype}, {light}": digest(e) for light, e in zip(images, exposed, strict=True)}
    others: dict[str, dict[str, Any]] = {
        "one frame": {"image": image[0]},
        "first frame 1000003": {"image": image, "first_frame": 1_000_003},
        "seed 0": {"image": image, "seed": 0},
        "seed 2^100": {"image": image, "seed": 2**100},
        "a large image": {"image": large},
        "too bright": {"image": 1000 * image},
    }
    for dtype in ("uint16", "float32"):
        camera = simtiff.Camera(dtype=dtype)
        entries |= {f"{name}, {dtype}": digest(camera.expose(**each)) for name, each in others.items()}
    return entries


GROUPS: dict[str, Callable[[Path], Entries]] = {
    **{name: functools.partial(of_job, settings) for name, settings in JOBS.items()},
    **{name: functools.partial(of_batch, parts) for name, parts in BATCHES.items()},
    "synthetic_map": of_map,
    "psf": of_psf,
    "render": of_render,
    "camera": of_camera,
}


def versions(folder: Path) -> dict[str, int]:
    """Return the data version and that of synthetic maps, as they are written to files."""
    with h5py.File(synthetic_map(folder)) as file:
        recipe = int(file.attrs["recipe_version"])
    with tempfile.TemporaryDirectory(dir=folder) as output:
        files = simtiff.Simulation(config(JOBS["no_emitters"], folder)).write(output)
        with h5py.File(files["emitters.h5"]) as file:
            return {"data_version": int(file.attrs["data_version"]), "recipe_version": recipe}


def section() -> str:
    """Return which of the two sets of digests is that of this process."""
    return "scalar" if _core.simd_level() == "scalar" else "fused"


def measure(*groups: str) -> dict[str, Any]:
    """Return versions and digests of this process, of all groups or some."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {group: GROUPS[group](folder) for group in groups or GROUPS}
        return {**versions(folder), section(): made}


def measure_in(*groups: str, **environment: str) -> dict[str, Any]:
    """Return what `measure` does in a process of its own with other environment variables."""
    words = [sys.executable, __file__, "--digests", *groups]
    result = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=os.environ | environment)
    return json.loads(result.stdout)


def load() -> dict[str, Any]:
    """Return what is stored, with whole sets of digests."""
    if not STORED.exists():
        return dict.fromkeys(VERSIONS, 0) | {"fused": {}, "scalar": {}}
    content = json.loads(STORED.read_text(encoding="utf-8"))
    fused, scalar = content["fused"], content["scalar"]
    return content | {"scalar": {group: fused[group] | scalar.get(group, {}) for group in fused}}


def save(made: dict[str, Any]) -> None:
    """Store both sets of digests; of the scalar ones those that differ."""
    fused, scalar = made["fused"], made["scalar"]
    differing = {
        group: {name: value for name, value in entries.items() if value != fused[group][name]}
        for group, entries in scalar.items()
    }
    content = {key: made[key] for key in VERSIONS} | {
        "fused": fused,
        "scalar": {group: entries for group, entries in differing.items() if entries},
    }
    STORED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def differences(stored: Groups, made: Groups) -> Iterator[tuple[str, bool]]:
    """Yield what differs in words, and whether it was stored before."""
    for group in stored | made:
        before, now = stored.get(group, {}), made.get(group, {})
        for name in before | now:
            if before.get(name) != now.get(name):
                change = f"{before.get(name, 'not stored')} -> {now.get(name, 'no longer made')}"
                yield f"{group}: {name}: {change}", name in before


def check(made: dict[str, Any]) -> int:
    """Print what differs from what is stored; return the exit status."""
    stored = load()
    lines = [f"{key}: {stored[key]} -> {made[key]}" for key in VERSIONS if stored[key] != made[key]]
    for part in ("fused", "scalar"):
        if part in made:
            lines += [f"{part}: {line}" for line, _ in differences(stored[part], made[part])]
    say(*lines or ["all digests are as stored"])
    return 1 if lines else 0


def write(made: dict[str, Any]) -> int:
    """Store digests, unless stored ones changed and no version was raised; return the exit status."""
    if not {"fused", "scalar"} <= made.keys():
        say("nothing is stored: this processor has no fused multiply-add, so half of the digests cannot be made")
        return 1
    stored = load()
    lines = [
        f"{part}: {line}"
        for part in ("fused", "scalar")
        for line, was_stored in differences(stored[part], made[part])
        if was_stored
    ]
    if lines and not any(made[key] > stored[key] for key in VERSIONS):
        say(
            *lines,
            f"nothing is stored: pixels or truth changed, but the data version is still {made['data_version']}; "
            "raise it, or find out why",
        )
        return 1
    save(made)
    say(f"stored, of data version {made['data_version']}")
    return 0


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def main() -> int:
    """Run the script; return the exit status."""
    arguments = docopt(__doc__)
    if arguments["--digests"]:
        unknown = set(arguments["GROUP"]) - GROUPS.keys()
        if unknown:
            sys.exit(f"{', '.join(sorted(unknown))}: not known; allowed: {', '.join(GROUPS)}")
        say(json.dumps(measure(*arguments["GROUP"])))
        return 0
    best = "" if os.environ.get("SIMTIFF_SIMD") == "scalar" else os.environ.get("SIMTIFF_SIMD", "")
    made = measure_in(SIMTIFF_SIMD="scalar") | measure_in(SIMTIFF_SIMD=best)
    return write(made) if arguments["--write"] else check(made)


if __name__ == "__main__":
    sys.exit(main())
