"""Nothing in a config, a map, or an output folder makes a batch read or write outside the folders it was given."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import h5py
import pytest

from batch_helpers import config, movie_bytes, stray_files
from fuzzing import run
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch.run import run_batch
from simtiff.errors import BatchError, ConfigError, DataError
from simtiff.io.tiff import write_movie

if TYPE_CHECKING:
    from pathlib import Path

A, B = "job_0000_num_emitters_20", "job_0001_num_emitters_40"
ESCAPES = ["../x.tif", "/tmp/x.tif", "a/b.tif", "..\\x.tif", "C:\\x.tif", "C:x.tif", "~/x.tif", "..tif", "a\0.tif"]
ESCAPES += ["NUL.tif", "con.tif"]
links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ESCAPES)
def test_movies_stay_in_their_job(tmp_path: Path, name: str) -> None:
    for changes in ({"variables": {"tiff.filename": [name]}}, {}):
        content: dict[str, Any] = config(**changes)
        if not changes:
            content["base_config"]["tiff"]["filename"] = name
        with pytest.raises(ConfigError, match="filename"):
            run_batch(content, output_dir=tmp_path / "out", progress=False)
    with pytest.raises(ConfigError, match="filename"):
        run_batch(config(), output_dir=tmp_path / "out", overrides=[f"tiff.filename={name}"], progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "naming",
    ["../s{sample_id}", "/s{sample_id}", "{sample_id.__class__}", "{sample_id!r}", "{0}", "{sample_id:>{sample_id}}",
     "{x}", "{sample_id:99999999d}", "s/{sample_id}", "{sample_id[0]}", "%s", "{sample_id:n}"],
)  # fmt: skip
def test_samples_stay_in_the_output_folder(tmp_path: Path, naming: str) -> None:
    samples = {"num_samples": 2, "sample_naming": naming}
    with pytest.raises(ConfigError, match="sample_naming"):
        run_batch(config(variables={}, sample_configs=samples), output_dir=tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_values_of_variables_make_safe_names(tmp_path: Path) -> None:
    """A map may lie anywhere; the folder that is named after it is in the output folder."""
    maps = tmp_path / "maps .."
    maps.mkdir()
    names = ["..h5", "a:b*c?.h5", "x" * 120 + ".h5", "дл\u202eина.h5"]
    for name in names:
        synthesize(maps / name, size=70)
    output = tmp_path / "out"
    content = config(frames=1, variables={"zmap_path": [str(maps / name) for name in names]})
    assert run_batch(content, output_dir=output, progress=False).completed == len(names)
    folders = [path.name for path in output.iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    assert all(name.isascii() and len(name) <= 100 and ":" not in name for name in folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps ..", "out"]


@links
def test_a_job_s_folder_that_leads_outside_is_refused(tmp_path: Path) -> None:
    output, outside = tmp_path / "out", tmp_path / "outside"
    for folder in (output, outside):
        folder.mkdir()
    (outside / "emitters.h5").write_text("precious")
    (outside / ".simulation.ome.tiff.0123.partial").write_text("another's")
    before = tree(outside)
    (output / A).symlink_to(outside, target_is_directory=True)
    for resume in (True, False):
        summary = run_batch(config(), output_dir=output, resume=resume, progress=False)
        assert summary.failed == 1
        assert "is a link, which may point outside the output folder" in summary.errors[A]
        assert tree(outside) == before
    (output / A).unlink()
    assert run_batch(config(), output_dir=output, progress=False).exit_code == 0


@links
def test_files_that_lead_outside_are_replaced_not_followed(tmp_path: Path) -> None:
    output, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    run_batch(config(), output_dir=output, progress=False)
    expected = movie_bytes(output)
    for name in ("emitters.h5", "simulation.ome.tiff"):
        (outside / name).write_text("precious")
        (output / A / name).unlink()
        (output / A / name).symlink_to(outside / name)
    (outside / "status").write_bytes((output / "batch_status.json").read_bytes())
    (output / "batch_status.json").unlink()
    (output / "batch_status.json").symlink_to(outside / "status")
    before = tree(outside)
    assert run_batch(config(), output_dir=output, progress=False).exit_code == 0
    assert tree(outside) == before
    assert movie_bytes(output) == expected
    assert not [path for path in output.rglob("*") if path.is_symlink()]


@links
def test_hidden_files_that_lead_outside_are_not_followed(tmp_path: Path) -> None:
    import numpy as np

    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / ".simtiff.lock").symlink_to(outside)
    with pytest.raises(BatchError, match="cannot be written"):
        run_batch(config(), output_dir=tmp_path, progress=False)
    (tmp_path / ".simtiff.lock").unlink()

    from simtiff.io import tiff as ometiff

    movie = tmp_path / "movie.ome.tiff"
    frames = np.zeros((2, 4, 4), np.uint16)
    opened: list[str] = []
    key = {"resume_key": "a job's hash"}  # with it the hidden name is known beforehand
    before = ometiff.os.open

    def planted(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(".partial") and not os.path.lexists(path):
            opened.append(str(path))
            os.symlink(outside, path)  # noqa: PTH211
        return before(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ometiff.os, "open", planted)
        with pytest.raises(OSError, match="symbolic"):
            write_movie(
                movie, lambda *_: [frames], frames.shape, frames.dtype, pixel_size_um=(1, 1), identity="", **key
            )
    assert opened
    assert outside.read_text() == "precious"


def test_links_in_files_are_not_followed(tmp_path: Path) -> None:
    """What a map or a truth file keeps in other files is not read, wherever these are."""
    other, path = tmp_path / "other.h5", tmp_path / "map.h5"
    synthesize(other, size=70)
    synthesize(path, size=70)
    with h5py.File(path, "r+") as file:
        del file["z_maps/phase"]
        file["z_maps/phase"] = h5py.ExternalLink("other.h5", "z_maps/phase")
    content = config()
    content["base_config"]["zmap_path"] = str(path)
    with pytest.raises(DataError, match="is a link to another file"):
        run_batch(content, output_dir=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("job_files", [True, False])
def test_a_status_cannot_point_outside(tmp_path: Path, job_files: bool) -> None:
    """Without a job's own file it is refused, with them made again."""
    output, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    run_batch(config(), output_dir=output, progress=False)
    (outside / "emitters.h5").write_text("precious")
    good = json.loads((output / "batch_status.json").read_text())
    for file in () if job_files else output.glob("*/job.json"):
        file.unlink()
    for place in ("../outside", "/etc", ".", "", "a/b"):
        bad = good | {"jobs": good["jobs"] | {place: good["jobs"][A]}}
        (output / "batch_status.json").write_text(json.dumps(bad))
        for command in ("batch", "status", "verify"):
            words = (
                [command, output] if command != "batch" else ["batch", tmp_path / "c.json", f"--output-dir={output}"]
            )
            (tmp_path / "c.json").write_text(json.dumps(config()))
            code, _, err = run(*words)
            assert code == (0 if job_files else 2), (place, command)
            assert job_files or "no name of a job" in err
    assert (outside / "emitters.h5").read_text() == "precious"
    assert stray_files(output) == []
