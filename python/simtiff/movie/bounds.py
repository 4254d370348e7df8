"""The Cramér-Rao bound of every record of a movie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simtiff.errors import ConfigError, DataError, in_words
from simtiff.imaging.camera import Detector
from simtiff.io.hdf5 import describe, open_hdf5, reading, writing_hdf5
from simtiff.language import Text, joined
from simtiff.movie.frames import renderer_of
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene

CRLB = "crlb"
CRLB_COLUMNS = 5
CRLB_UNIT = "px, px, um, photons, photons per pixel"


class RecordBounds:
    """Bounds the records of a job by its own PSF, background and camera, on the pixels of its frames.

    Parameters
    ----------
    config
        The job; ``truth.crlb`` says whether each record is bound alone or with the others of its frame.
    """

    def __init__(self, config: JobConfig) -> None:
        noise, size = config.tiff.noise_params, config.tiff.roi_size
        self._renderer = renderer_of(config)
        self._origin = config.tiff.crop_offset
        self._shape = (size, size)
        self._background = noise.background
        self._detector = Detector(read_noise_e=noise.readout_noise)
        self._joint = config.truth.crlb == "joint"

    def of(self, scene: Scene, frames: int) -> NDArray[np.float32]:
        """Return the bounds of a scene's records, (m, 5) float32: sigma of x px, y px, z um, photons, background.

        Parameters
        ----------
        scene
            Records of whole frames, in field coordinates.
        frames
            How many frames it has.

        Raises
        ------
        ConfigError
            If more emitters touch each other than can be bound together.
        """
        background = np.full(frames, self._background)
        here = replace(scene, origin=self._origin)
        try:
            bounds = self._renderer.record_bounds(here, background, self._shape, self._detector, joint=self._joint)
        except ConfigError as error:
            if not self._joint:
                raise
            raise ConfigError(joined([in_words(error), '(truth.crlb: "joint"; psf.size_px)'], " ")) from None
        return bounds.astype(np.float32)


def add_bounds(path: str | Path, config: JobConfig) -> None:
    """Put the bounds that a job's config asks for into its truth file; the old file stays until the new one is whole.

    Raises
    ------
    DataError
        If the file is damaged, or its records are not ordered by frame.
    """
    if not config.truth.crlb:
        return
    bounds, chunk = RecordBounds(config), config.memory_optimization.chunk_size
    with TruthFile(path, config) as truth, open_hdf5(path) as old, writing_hdf5(path) as (file, check):
        if not truth.in_order:
            text = Text(
                "{path}: records/frame_ix is not in order; truth.crlb needs records ordered by frame", path=path
            )
            raise DataError(text)
        with reading(path, "its content"):
            for name in old:
                old.copy(name, file)
            for name, value in old.attrs.items():
                file.attrs[name] = value
        records = file["records"]
        if CRLB in records:
            del records[CRLB]
        dataset = records.create_dataset(CRLB, (len(records["phot"]), CRLB_COLUMNS), "f4", track_times=False)
        describe(dataset, unit=CRLB_UNIT)
        done = 0
        for start in range(0, truth.n_frames, chunk):
            stop = min(start + chunk, truth.n_frames)
            found = bounds.of(truth.scene(start, stop), stop - start)
            dataset[done : done + len(found)] = found
            done += len(found)
            check()
