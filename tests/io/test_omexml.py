"""OME-XML: its content, its validity, and its role in resuming a movie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_types
import pytest
import tifffile

import simtiff
from simtiff.aberrations.synthetic import synthesize
from simtiff.config.identity import job_hash
from simtiff.config.loading import load_job_config
from simtiff.io.omexml import CONFIG_NAMESPACE, Acquisition, ome_xml
from simtiff.io.tiff import write_movie
from simtiff.movie.job import run_job

if TYPE_CHECKING:
    from simtiff.config.settings import JobConfig
    from simtiff.io.tiff import HandOver

MOVIE = "simulation.ome.tiff"


def job(frames: int = 3, **sections: Any) -> JobConfig:
    content: dict[str, Any] = {
        "zmap_path": "builtin:oil",
        "emitters": {"num_emitters": 9, "frames": frames, "area_px": 16},
        "optical": {"wavelength_nm": 580.5, "NA": 1.2, "n_immersion": 1.33, "pixel_size_nm": [65, 70]},
        "tiff": {"roi_size": 16},
        "psf": {"size_px": 15},
    }
    return load_job_config(content | sections)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_readers_find_microscope_camera_and_config(tmp_path: Path, compression: str) -> None:
    config = job(tiff={"roi_size": 16, "filename": "a &é.ome.tif", "compression": compression})
    run_job(config, tmp_path)
    path = tmp_path / config.tiff.filename
    ome = ome_types.from_tiff(path)
    image = ome.images[0]
    channel = image.pixels.channels[0]
    assert (image.pixels.size_t, image.pixels.size_x, image.pixels.physical_size_y) == (3, 16, 0.07)
    assert (channel.emission_wavelength, channel.emission_wavelength_unit.value) == (580.5, "nm")
    objective = ome.instruments[0].objectives[0]
    assert (objective.lens_na, image.objective_settings.refractive_index) == (1.2, 1.33)
    assert image.objective_settings.id == objective.id
    assert (channel.detector_settings.gain, channel.detector_settings.offset) == (1, 0)
    assert channel.detector_settings.id == ome.instruments[0].detectors[0].id
    annotation = ome.structured_annotations[0]
    assert (annotation.namespace, image.annotation_refs[0].id) == (CONFIG_NAMESPACE, annotation.id)
    stored = json.loads(annotation.value)
    assert stored["noise_seed"] == stored["emitters"]["seed"] == 42
    again = load_job_config(stored, zmap_path="builtin:oil")
    assert job_hash(again, "map") == job_hash(config, "map")
    assert np.array_equal(tifffile.imread(path), simtiff.Simulation(again).frames(0, 3))


def test_bytes_are_a_function_of_what_determines_the_pixels(tmp_path: Path) -> None:
    """Chunk size, the path of the map, and an explicit default seed do not change the movie."""
    synthesize(tmp_path / "map.h5", size=16)
    (tmp_path / "copy.h5").write_bytes((tmp_path / "map.h5").read_bytes())
    same = [
        job(zmap_path=str(tmp_path / "map.h5")),
        job(zmap_path=str(tmp_path / "copy.h5"), memory_optimization={"chunk_size": 2}, noise_seed=42),
    ]
    for number, config in enumerate(same):
        run_job(config, tmp_path / str(number))
    one, two = ((tmp_path / str(number) / MOVIE).read_bytes() for number in range(2))
    assert one == two


ACQUISITION = Acquisition(660.0, 1.4, 1.518, 1.0, 0.0, json.dumps({"text": '<"&é'}))


@pytest.mark.parametrize("acquisition", [None, ACQUISITION])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_schema_allows_it(dtype: str, acquisition: Acquisition | None) -> None:
    etree = pytest.importorskip("lxml.etree", reason="the OME schema is checked with lxml")
    schema = etree.XMLSchema(etree.parse(Path(ome_types.__file__).parent / "ome-2016-06.xsd"))
    file_uuid = "55346257-e803-5b92-9d0e-f8658fc0e725"
    xml = ome_xml((3, 16, 20), dtype, (0.1, 0.2), file_uuid, acquisition)
    assert schema.validate(etree.fromstring(xml)), schema.error_log


def test_a_movie_begun_with_another_header_starts_over(tmp_path: Path) -> None:
    """An older version may have written another header; headers and frames of two versions are never mixed."""
    pixels = np.arange(10 * 8 * 8, dtype="uint16").reshape(10, 8, 8)
    starts: list[int] = []

    class Frames:
        def __init__(self, killed_at: int = 99) -> None:
            self.killed_at = killed_at
            self.left: dict[Path, bytes] = {}

        def stream(self) -> Any:
            raise NotImplementedError

        def hand_over(self, to: HandOver, first: int) -> Any:
            starts.append(first)
            for frame in range(first, len(pixels)):
                if frame == self.killed_at:
                    self.left = {path: path.read_bytes() for path in tmp_path.glob(".movie.*")}
                    raise RuntimeError("killed")
                to(frame, pixels[frame : frame + 1], None)
                yield frame + 1

    def write(name: str, frames: Frames, acquisition: Acquisition | None) -> bytes:
        options: dict[str, Any] = {"identity": "x", "resume_key": "key", "journal_seconds": 0.0}
        write_movie(
            tmp_path / name, frames, pixels.shape, "uint16", pixel_size_um=(1, 1), acquisition=acquisition, **options
        )
        return (tmp_path / name).read_bytes()

    whole = write("whole", Frames(), ACQUISITION)
    for begun_with, start in ((None, 0), (ACQUISITION, 4)):
        killed = Frames(killed_at=4)
        with pytest.raises(RuntimeError, match="killed"):
            write("movie", killed, begun_with)
        for path, data in killed.left.items():  # a process that is killed cleans nothing up
            path.write_bytes(data)
        assert write("movie", Frames(), ACQUISITION) == whole
        assert starts[-1] == start
        assert sorted(path.name for path in tmp_path.iterdir()) == ["movie", "whole"]
        (tmp_path / "movie").unlink()
