"""emitters.h5: its contents, scenes from file and memory, files of other software, garbage."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import simtiff
from fuzzing import damage_hdf5
from simtiff.aberrations.maps import field_coefficients, open_field
from simtiff.config.settings import JobConfig
from simtiff.emitters.sources import sample_truth
from simtiff.errors import DataError
from simtiff.imaging.scene import Scene, distinct
from simtiff.movie.frames import Movie
from simtiff.movie.truth import MemoryTruth, replace_coefficients, write_truth
from simtiff.movie.truthfile import TruthFile, gather

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def job(zmap: str = "builtin:oil", zernike: dict[str, Any] | None = None, **emitters: Any) -> JobConfig:
    values = {"num_emitters": 300, "frames": 40, "area_px": 64.0, **emitters}
    return JobConfig.model_validate(
        {"zmap_path": zmap, "emitters": values, "zernike": zernike or {}, "tiff": {"roi_size": 64}}
    )


@pytest.fixture
def magnitude_map(tmp_path: Path) -> str:
    path = tmp_path / "map.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["z_maps/phase"] = random.normal(0, 0.1, (5, 64, 64))
        file["coords"] = random.uniform(0, 63, (20, 2))
        file["zernike/coeff_mag"] = random.normal(0, 0.01, (20, 5))
    return str(path)


def write(path: Path, config: JobConfig | None = None, **options: int) -> Path:
    config = config or job()
    write_truth(path, config, open_field(config), **options)
    return path


def same(a: Scene, b: Scene) -> bool:
    columns = [field.name for field in dataclasses.fields(Scene) if field.name != "origin"]
    pairs = [(getattr(a, name), getattr(b, name)) for name in columns]
    return all(
        x is y if x is None or y is None else (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        for x, y in pairs
    )


def by_frame(truth: Any, size: int, frames: int) -> list[tuple[Any, ...]]:
    """Return (frame, position, photons, coefficients) of every record, in order, for any chunk size."""
    rows: list[tuple[Any, ...]] = []
    for start in range(0, frames, size):
        part = truth.scene(start, min(start + size, frames))
        mag = np.zeros_like(part.phase) if part.magnitude is None else part.magnitude
        for e, f, p in zip(part.emitter_ix, part.frame_ix, part.photons, strict=True):
            rows.append((start + int(f), part.xyz[e].tobytes(), float(p), part.phase[e].tobytes(), mag[e].tobytes()))
    return rows


def test_file_holds_the_truth_in_the_documented_layout(tmp_path: Path) -> None:
    config = job()
    emitters, records = sample_truth(config.emitters)
    size = write_truth(tmp_path / "emitters.h5", config, open_field(config))
    assert (size.emitters, size.records) == (len(emitters), len(records))
    phase, _ = field_coefficients(config, open_field(config), emitters.xyz)
    with h5py.File(tmp_path / "emitters.h5") as file:
        for group, table in (("emitters", emitters), ("records", records)):
            for name in table.__slots__:
                stored = file[f"{group}/{name}"]
                assert stored.dtype == getattr(table, name).dtype
                np.testing.assert_array_equal(stored, getattr(table, name))
                assert stored.attrs["unit"]
        np.testing.assert_array_equal(file["zernike_coeffs/phase"], phase)
        assert not file["zernike_coeffs/mag"][:].any()
        starts = np.searchsorted(records.frame_ix, np.arange(41))
        np.testing.assert_array_equal(file["records/frame_start"], starts)
        assert file.attrs["seed"] == config.emitters.seed
        assert JobConfig.model_validate_json(file.attrs["config"]) == config
    assert [path.name for path in tmp_path.iterdir()] == ["emitters.h5"]


@pytest.mark.parametrize("values", [{}, {"num_emitters": 0}, {"frames": 1}, {"lifetime_avg": 60.0}])
def test_file_and_memory_give_the_same_scenes(tmp_path: Path, magnitude_map: str, values: dict[str, Any]) -> None:
    config = job(magnitude_map, **values)
    memory = MemoryTruth(config, open_field(config))
    frames = config.emitters.frames
    with TruthFile(write(tmp_path / "t.h5", config)) as file:
        assert file.n_frames == memory.n_frames == frames
        assert file.config == config
        for start, stop in [
            (0, frames),
            (0, 1),
            (frames - 1, frames),
            (frames // 3, frames // 2 + 1),
            (0, 0),
        ]:
            assert same(file.scene(start, stop), memory.scene(start, stop))
        whole = by_frame(file, frames, frames)
        assert by_frame(file, 7, frames) == whole
        assert by_frame(memory, 1, frames) == whole
        assert len(whole) == len(memory.records)


def test_pieces_do_not_show_in_the_file(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5").read_bytes()
    assert write(tmp_path / "again.h5").read_bytes() == whole
    with TruthFile(write(tmp_path / "pieces.h5", block_records=20)) as pieces, TruthFile(tmp_path / "whole.h5") as one:
        assert same(pieces.scene(0, 40), one.scene(0, 40))


def test_progress_counts_frames(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    config = job()
    write_truth(tmp_path / "t.h5", config, open_field(config), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40)
    assert calls == sorted(calls)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    config = job()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_truth(tmp_path / "t.h5", config, open_field(config), stop)
    assert not list(tmp_path.iterdir())


_FULL_DISK = """
import resource, signal, sys
from simtiff.config.settings import JobConfig
from simtiff.movie.truth import write_truth
from simtiff.aberrations.maps import open_field; from simtiff.aberrations.synthetic import synthesize
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = JobConfig.model_validate({"zmap_path": "builtin:oil", "emitters": {"num_emitters": 20000}})
for limit in (0, 5000, 300_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for write in (
        lambda: write_truth(sys.argv[1] + "/t.h5", config, open_field(config)),
        lambda: synthesize(sys.argv[1] + "/m.h5"),
    ):
        try:
            write()
        except OSError as error:
            print(error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file size to stand for a full disk")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Runs in a separate process, since HDF5 may crash the process when it cannot write."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(tmp_path / name) for name in ("t.h5", "m.h5")] * 3
    assert not list(tmp_path.iterdir())


def test_coefficients_can_be_replaced(tmp_path: Path, magnitude_map: str) -> None:
    path = write(tmp_path / "t.h5")
    config = job(magnitude_map)
    replace_coefficients(path, config, open_field(config))
    with TruthFile(path) as changed:
        assert same(changed.scene(0, 40), MemoryTruth(config, open_field(config)).scene(0, 40))
        assert changed.config == config


def test_distinct_and_gather_are_what_numpy_says() -> None:
    random = np.random.default_rng(1)
    data = random.normal(size=(5000, 3)).astype(np.float32)
    for high in (30, 5000, 10**15):
        values = random.integers(0, high, 200)
        expected = np.unique(values, return_index=True, return_inverse=True)
        ids, inverse, first = distinct(values)
        for got, want in zip((ids, first, inverse), expected, strict=True):
            np.testing.assert_array_equal(got, want)
        if high <= 5000:
            rows = gather(values, lambda low, stop: data[low:stop], 3, max_gap=3, max_run=50)
            np.testing.assert_array_equal(rows, data[values])
    assert all(part.size == 0 for part in distinct(np.zeros(0, np.int64)))


# Files of other software: none of these changes affects the photons in the frames.


def _no_index(file: h5py.File) -> None:
    del file["records/frame_start"]


def _no_config(file: h5py.File) -> None:
    del file.attrs["config"]


def _shuffled(file: h5py.File) -> None:
    _no_index(file)
    order = np.random.default_rng(0).permutation(len(file["records/id"]))
    for name in ("xyz", "phot", "frame_ix", "id"):
        file[f"records/{name}"][:] = file[f"records/{name}"][:][order]


def _per_record(file: h5py.File) -> None:
    ids = file["records/id"][:]
    for name in ("phase", "mag"):
        values = file[f"zernike_coeffs/{name}"][:][ids]
        del file[f"zernike_coeffs/{name}"]
        file[f"zernike_coeffs/{name}"] = values
    del file["emitters"]


def _per_record_without_ids(file: h5py.File) -> None:
    _per_record(file)
    del file["records/id"]


def _per_record_shuffled(file: h5py.File) -> None:
    _per_record(file)
    order = np.random.default_rng(0).permutation(len(file["records/id"]))
    for name in ("records/xyz", "records/phot", "records/frame_ix", "records/id"):
        file[name][:] = file[name][:][order]
    for name in ("phase", "mag"):
        file[f"zernike_coeffs/{name}"][:] = file[f"zernike_coeffs/{name}"][:][order]
    _no_index(file)


def _per_id(file: h5py.File) -> None:
    ids = np.unique(file["records/id"][:])
    for name in ("phase", "mag"):
        values = file[f"zernike_coeffs/{name}"][:][ids]
        del file[f"zernike_coeffs/{name}"]
        file[f"zernike_coeffs/{name}"] = values
    del file["emitters"]


def _other_ids(file: h5py.File) -> None:
    for name in ("emitters/id", "records/id"):
        file[name][:] = 10**12 - 3 * file[name][:]


def _no_record_positions(file: h5py.File) -> None:
    del file["records/xyz"]


def _other_types(file: h5py.File) -> None:
    for name, dtype in (("records/phot", "f8"), ("records/frame_ix", "u8"), ("zernike_coeffs/phase", "f8")):
        values = file[name][:].astype(dtype)
        del file[name]
        file[name] = values


FOREIGN = [
    _no_index,
    _no_config,
    _shuffled,
    _per_record,
    _per_record_without_ids,
    _per_record_shuffled,
    _per_id,
    _other_ids,
    _no_record_positions,
    _other_types,
]


@pytest.mark.parametrize("change", FOREIGN)
def test_files_of_other_programs_are_understood(
    tmp_path: Path, magnitude_map: str, change: Callable[[h5py.File], None]
) -> None:
    config = job(magnitude_map)
    path = write(tmp_path / "t.h5", config)
    with h5py.File(path, "r+") as file:
        change(file)
    with TruthFile(path, config) as truth:
        assert truth.n_frames == 40
        changed = sorted(by_frame(truth, 7, 40))
    assert changed == sorted(by_frame(MemoryTruth(config, open_field(config)), 40, 40))


@pytest.mark.parametrize(
    "layout", [None, _per_id, _per_record, _shuffled], ids=lambda change: getattr(change, "__name__", "plain")
)
def test_a_moving_emitter_is_at_the_position_of_each_record(
    tmp_path: Path, magnitude_map: str, layout: Callable[[h5py.File], None] | None
) -> None:
    """Every third emitter moves from frame to frame; pixels do not depend on the chunking."""
    config = job(magnitude_map, lifetime_avg=6.0)
    path = write(tmp_path / "t.h5", config)
    with h5py.File(path, "r+") as file:
        moves = file["records/id"][:] % 3 == 0
        file["records/xyz"][:, :2] += (moves * (file["records/frame_ix"][:] % 5))[:, None].astype(np.float32)
        if layout is not None:
            layout(file)
        order = np.argsort(file["records/frame_ix"], kind="stable")
        xyz, frame_ix, phot, ids = (file[f"records/{name}"][:][order] for name in ("xyz", "frame_ix", "phot", "id"))
    with TruthFile(path, config) as truth:
        part = truth.scene(0, 40)
        np.testing.assert_array_equal(part.xyz[part.emitter_ix], xyz)
        assert len(part.xyz) < len(xyz)  # emitters that do not move have one PSF
        movie = Movie(config, truth)
        whole = np.empty(movie.shape, np.float32)
        movie.expected_into(0, 40, whole)
        for size in (1, 7):
            pieces = np.empty_like(whole)
            for start in range(0, 40, size):
                movie.expected_into(start, min(start + size, 40), pieces[start : start + size])
            np.testing.assert_array_equal(pieces, whole)
        phase, magnitude = (
            None if values is None else values[part.emitter_ix] for values in (part.phase, part.magnitude)
        )
    alone = simtiff.render(simtiff.Optics(), xyz, phot, whole.shape[1:], phase, magnitude, frame_ix, n_frames=40)
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-3)
    together = simtiff.render(
        simtiff.Optics(), xyz, phot, whole.shape[1:], phase, magnitude, frame_ix, ids, n_frames=40
    )
    np.testing.assert_array_equal(together, whole)


def test_a_moving_emitter_in_memory_is_at_the_position_of_each_record() -> None:
    config = job()
    memory = MemoryTruth(config, open_field(config))
    memory.records.xyz[:, 0] += memory.records.frame_ix % 5
    part = memory.scene(0, 40)
    np.testing.assert_array_equal(part.xyz[part.emitter_ix], memory.records.xyz)


def test_config_is_the_caller_s_or_the_file_s(tmp_path: Path) -> None:
    path = write(tmp_path / "t.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["config"]
    with TruthFile(path) as truth:
        assert truth.stored_config is None
        with pytest.raises(DataError, match="contains no config"):
            _ = truth.config
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = "of another program"
    with TruthFile(path, job()) as truth:
        assert truth.config == job()
        assert truth.stored_config is None


# Garbage


def _set(name: str, row: Any, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][row] = value

    return change


def _put(name: str, values: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if values is not None:
            file[name] = values

    return change


def _cut(name: str) -> Callable[[h5py.File], None]:
    return lambda file: _put(name, file[name][:-1])(file)


def _both(*changes: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for one in changes:
            one(file)

    return change


GARBAGE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no records": (_put("records", None), r"no dataset records/phot"),
    "no coefficients": (_put("zernike_coeffs", None), r"no dataset zernike_coeffs/phase"),
    "no positions": (_both(_put("records/xyz", None), _put("emitters", None)), r"no dataset records/xyz"),
    "lengths of records": (_cut("records/phot"), r"lengths disagree: .*records/phot"),
    "lengths of emitters": (_cut("emitters/t0"), r"lengths disagree: .*emitters/t0"),
    "length of coefficients": (_cut("zernike_coeffs/phase"), r"zernike_coeffs/(mag|phase): has"),
    "rows of coefficients": (_put("zernike_coeffs", None), r"no dataset zernike_coeffs/phase"),
    "shape": (_put("records/xyz", np.zeros((5, 4))), r"records/xyz: has shape \(5, 4\); allowed: \(any, 3\)"),
    "float frames": (
        lambda file: _put("records/frame_ix", file["records/frame_ix"][:] + 0.5)(file),
        r"records/frame_ix: row 0 is 0.5; allowed: whole numbers",
    ),
    "text": (_put("records/phot", np.full(5, b"x")), r"records/phot: holds .*real numbers"),
    "nan photons": (_set("records/phot", 3, np.nan), r"records/phot: row 3 is NaN"),
    "negative photons": (_set("records/phot", 3, -1), r"records/phot: ranges from -1"),
    "infinite position": (_set("records/xyz", (7, 1), np.inf), r"records/xyz: row 7 is NaN, infinite"),
    "far position": (_set("records/xyz", (7, 1), 1e30), r"records/xyz: x and y up to 1e\+30"),
    "deep position": (_set("records/xyz", (7, 2), 1e6), r"records/xyz: z up to 1e\+06"),
    "nan coefficient": (
        _set("zernike_coeffs/phase", slice(None), np.nan),
        r"zernike_coeffs/phase: row \d+ is NaN",
    ),
    "absurd coefficient": (
        _set("zernike_coeffs/phase", slice(None), 1e6),
        r"zernike_coeffs/phase: values up to 1e\+06",
    ),
    "unknown emitter": (_set("records/id", 0, 300), r"records/id: 300 is not an emitter"),
    "negative id": (_set("records/id", 0, -1), r"records/id: -1 is not an emitter"),
    "twice the same id": (_set("emitters/id", 5, 4), r"emitters/id: has duplicate ids"),
    "frames against index": (_set("records/frame_ix", 0, 17), r"records/frame_ix: does not agree"),
    "index falls": (_set("records/frame_start", 3, 10**6), r"records/frame_start: does not increase"),
    "index ends early": (_set("records/frame_start", -1, 3), r"records/frame_start: does not increase"),
    "index too short": (_put("records/frame_start", np.zeros(0, int)), r"records/frame_start: has 0 rows"),
    "negative frame": (_both(_no_index, _set("records/frame_ix", 0, -4)), r"records/frame_ix: ranges from -4 to"),
    "absurd frame": (
        _both(_no_index, _set("records/frame_ix", 0, 2 * 10**9)),
        r"records/frame_ix: ranges from .* to 2000000000",
    ),
    "beyond config": (
        _both(_no_index, _set("records/frame_ix", -1, 90)),
        r"belong to 91 frames, but .* has 40",
    ),
    "config text": (lambda file: file.attrs.update(config="{"), r"attribute config is not a valid config"),
    "config number": (lambda file: file.attrs.update(config=3), r"attribute config is not a valid config"),
    "huge": (
        lambda file: (
            _put("records/phot", None)(file),
            file.create_dataset("records/phot", (10**15,), "f4", chunks=(9,)),
        ),
        r"records/phot: declares shape",
    ),
    "external link": (
        lambda file: (
            _put("records/phot", None)(file),
            file.update({"records/phot": h5py.ExternalLink("o.h5", "/p")}),
        ),
        r"records/phot: is a link to another file",
    ),
}


@pytest.mark.parametrize("defect", GARBAGE)
def test_every_defect_has_a_clear_error(tmp_path: Path, defect: str) -> None:
    change, message = GARBAGE[defect]
    path = write(tmp_path / "t.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught, TruthFile(path) as truth:
        truth.scene(0, truth.n_frames)
    assert str(path) in str(caught.value)


def test_damage_never_escapes_as_other_errors(tmp_path: Path) -> None:
    whole = write(tmp_path / "good.h5", job(num_emitters=20, frames=5)).read_bytes()
    chance = Random(11)
    path = tmp_path / "damaged.h5"
    refused = 0
    for _ in range(100):
        damage_hdf5(path, whole, chance)
        try:
            with TruthFile(path) as truth:
                truth.scene(0, min(truth.n_frames, 1000))
        except DataError:
            refused += 1
    assert 20 < refused < 100
