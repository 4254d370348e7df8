"""Cramér-Rao bounds of all records of a movie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simtiff.errors import ConfigError, in_words
from simtiff.io.hdf5 import describe
from simtiff.language import joined
from simtiff.movie.camera import camera_of
from simtiff.movie.frames import renderer_of
from simtiff.movie.truthfile import TruthFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene
    from simtiff.movie.light import Background

CRLB = "crlb"
CRLB_COLUMNS = 5
CRLB_UNIT = "px, px, um, photons, photons per pixel"


class RecordBounds:
    """Computes the bounds of a job's records from its PSF, background and camera, on the pixels of its frames.

    Parameters
    ----------
    config
        The job; ``truth.crlb`` selects single-emitter bounds or joint bounds of overlapping emitters.
    background
        The movie's background, unless it is a single number of its camera.

    Raises
    ------
    DataError
        The camera's maps are missing or damaged, or do not cover the frames.
    """

    def __init__(self, config: JobConfig, background: Background | None) -> None:
        camera = camera_of(config)
        self._renderer = renderer_of(config)
        self._origin = config.tiff.crop_offset
        self._shape = config.tiff.frame_shape
        self._flat = camera.background
        self._background = background
        self._detector = camera.detector
        self._joint = config.truth.crlb == "joint"

    def of(self, scene: Scene, start: int, stop: int) -> NDArray[np.float32]:
        """Return the bounds of a scene's records, (m, 5) float32: sigma of x px, y px, z um, photons, background.

        Parameters
        ----------
        scene
            The records of frames ``start..stop - 1``, in field coordinates.

        Raises
        ------
        ConfigError
            The stamps of more emitters overlap than a joint bound allows.
        """
        here = replace(scene, origin=self._origin)
        if self._background is not None:
            here = self._background.under(here, start, stop)
        flat = np.full(stop - start, self._flat)
        try:
            bounds = self._renderer.record_bounds(here, flat, self._shape, self._detector, joint=self._joint)
        except ConfigError as error:
            if not self._joint:
                raise
            raise ConfigError(joined([in_words(error), '(truth.crlb: "joint"; psf.size_px)'], " ")) from None
        return bounds.astype(np.float32)


def add_bounds(file: h5py.File, path: str | Path, config: JobConfig, check: Callable[[], None]) -> None:
    """Write the bounds that a job's config requests into a truth file that is being written, as its last part.

    Parameters
    ----------
    file
        The file, complete except for the bounds.
    path
        Its final name, for messages.
    config
        The job.
    check
        Raises if writing has failed so far.

    Raises
    ------
    DataError
        If the file is damaged.
    ConfigError
        The stamps of more emitters overlap than a joint bound allows.
    """
    if not config.truth.crlb:
        return
    chunk = config.memory_optimization.chunk_size
    with TruthFile(path, config, file=file) as truth:
        bounds = RecordBounds(config, truth.background)
        dataset = file["records"].create_dataset(CRLB, (truth.record_count, CRLB_COLUMNS), "f4", track_times=False)
        describe(dataset, unit=CRLB_UNIT)
        in_any_order = None if truth.in_order else np.empty(dataset.shape, np.float32)
        for start in range(0, truth.n_frames, chunk):
            stop = min(start + chunk, truth.n_frames)
            rows = truth.rows_of(start, stop)
            found = bounds.of(truth.scene(start, stop), start, stop)
            if in_any_order is not None:
                in_any_order[rows] = found
            elif len(rows):
                dataset[rows[0] : rows[-1] + 1] = found
            check()
        if in_any_order is not None:
            dataset[...] = in_any_order
