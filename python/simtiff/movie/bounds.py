"""The Cramér-Rao bound of every record of a movie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simtiff.errors import ConfigError, DataError, in_words
from simtiff.imaging.camera import Detector
from simtiff.io.hdf5 import describe
from simtiff.language import Text, joined
from simtiff.movie.frames import renderer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene
    from simtiff.movie.truthfile import TruthFile

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


def write_bounds(
    file: h5py.File, config: JobConfig, scene: Callable[[int, int], Scene], check: Callable[[], object]
) -> None:
    """Add the bounds that a job's config asks for to a truth file that is being written and has its records.

    Parameters
    ----------
    file
        The file.
    config
        The job.
    scene
        Gives the scene of frames ``start..stop - 1``, in the order of the file's records.
    check
        Called after each chunk of frames; what it raises ends the writing.
    """
    if not config.truth.crlb:
        return
    bounds, chunk = RecordBounds(config), config.memory_optimization.chunk_size
    records = file["records"]
    dataset = records.create_dataset(CRLB, (len(records["phot"]), CRLB_COLUMNS), "f4", track_times=False)
    describe(dataset, unit=CRLB_UNIT)
    done = 0
    for start in range(0, config.emitters.frames, chunk):
        stop = min(start + chunk, config.emitters.frames)
        found = bounds.of(scene(start, stop), stop - start)
        dataset[done : done + len(found)] = found
        done += len(found)
        check()


def refuse_disorder(truth: TruthFile) -> None:
    """Raise `DataError` if bounds are asked for of a truth file whose records are not ordered by frame."""
    if truth.config.truth.crlb and not truth.in_order:
        text = Text(
            "{path}: records/frame_ix is not in order; truth.crlb needs records ordered by frame", path=truth.path
        )
        raise DataError(text)
