"""One movie from Python: truth, expected photons and camera frames of a job's config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.aberrations.maps import open_field
from simtiff.config.loading import load_job_config
from simtiff.emitters.density import all_emitters
from simtiff.emitters.given import check_heights, given_table, open_given, with_frames_of, with_list, without_list
from simtiff.errors import DataError, ShapeError
from simtiff.imaging.arrays import output
from simtiff.movie.frames import Movie
from simtiff.movie.giventruth import GivenTruth
from simtiff.movie.recorded import RecordedTruth, is_recorded
from simtiff.movie.truth import MemoryTruth, write_truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.emitters.lists import Given
    from simtiff.emitters.tables import AnyEmitters, Blinks, Records
    from simtiff.localizations import Localizations
    from simtiff.movie.light import Background


class Simulation:
    """A job's movie and its truth, any range of frames at a time.

    Frames depend on the config and their index alone: not on the range they are asked for in, the chunk size,
    or the number of threads. They are the same as those `simtiff batch` writes. The truth is kept in memory;
    for movies whose truth does not fit, use `write` or the command line, which keep it in a file. A simulation that is
    pickled or copied takes the truth along, if it has been made.

    Parameters
    ----------
    config : path, dict or JobConfig
        A job's config (or a batch's, whose ``base_config`` is taken).
    emitters : path, table or dict, optional
        Emitters or light to use in place of the config's emitters.

        A file of any kind that `simtiff.localizations` reads, or a pandas table (a mapping of arrays, or
        `Localizations`) with columns ``x_px``, ``y_px`` and, optional, ``z_um``, ``frame``, ``photons`` and ``id``,
        is a list as ``emitters.positions_path`` takes it. Rows with frame and photons are records as they stand, to
        which the config's drift and fiducials are added; records of one id share their PSF where it does not move.
        Rows without a frame are molecules that blink by the config, with the photons of the list where it has any.

        A truth file, of which ``records/{xyz, phot, frame_ix}`` are enough, or a dict of these arrays: (m, 3) px, px,
        um; (m,) photons; (m,) frames from 0; and ``id`` (m,) where several records are of one emitter, is light as it
        reached the camera, with any drift. Coefficients that the file does not have are those of the config's map. A
        file's own background is used where it was made with the settings of the config.

        Photons of records are taken as they stand, after any illumination.

    Attributes
    ----------
    config : JobConfig
        The checked config.
    shape : tuple of int
        (t, y, x) of the movie. With `emitters`, t is that of the file; where neither it nor the config says one, it is
        up to the last frame with light.

    Raises
    ------
    ConfigError
        The config is wrong.
    DataError
        The zmap is damaged or does not cover the field (raised when it is first needed; with `emitters`, at once).
    ShapeError
        The arrays of `emitters` do not fit.

    Examples
    --------
    >>> import simtiff
    >>> sim = simtiff.Simulation({"zmap_path": "builtin:oil", "emitters": {"frames": 3, "area_px": 64},
    ...                           "tiff": {"roi_size": 64}})
    >>> sim.shape
    (3, 64, 64)
    >>> sim.frames(1, 3).dtype, sim.frames(1, 3).shape
    (dtype('uint16'), (2, 64, 64))
    >>> sim.expected(0, 3).dtype  # photons, before background and noise
    dtype('float32')

    Two emitters of your own, in frames 0 and 1:

    >>> light = {"xyz": [[10, 12, 0], [30.5, 8, 0.3]], "phot": [900, 700], "frame_ix": [0, 1]}
    >>> sim = simtiff.Simulation({"zmap_path": "builtin:oil", "emitters": {"area_px": 64}, "tiff": {"roi_size": 64}},
    ...                          emitters=light)
    >>> sim.expected(0, 2).sum(axis=(1, 2)).round(-2)
    array([900., 700.], dtype=float32)
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | JobConfig,
        emitters: str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | Localizations | None = None,
    ) -> None:
        self.config = load_job_config(config)
        self._given: Given | None = None
        self._recorded: RecordedTruth | GivenTruth | None = None
        if emitters is not None and is_recorded(emitters):
            self._recorded = RecordedTruth(emitters, without_list(self.config))
        else:
            self._take(emitters)
        if self._recorded is not None:
            self.config = self._recorded.config
        self.shape = (self.config.emitters.frames, *self.config.tiff.frame_shape)
        self._made: tuple[MemoryTruth | RecordedTruth | GivenTruth, Movie] | None = None

    def _take(self, emitters: Any) -> None:
        """Take a list of molecules or records: a file or a table, or else that of the config, if it has one."""
        if emitters is not None:
            if isinstance(emitters, str | os.PathLike):
                self.config = with_list(self.config, os.fspath(emitters))
                self._given = open_given(self.config)
            else:
                self._given = given_table(emitters, self.config)
                self.config = without_list(self.config, self._given.summary.emitters)
        elif self.config.emitters.positions_path is not None:
            self._given = open_given(self.config)
        if self._given is None:
            return
        check_heights(self.config, self._given.summary)
        self.config = with_frames_of(self.config, self._given.summary)
        if self._given.records is not None:
            self._recorded = GivenTruth(self._given, self.config)

    def __repr__(self) -> str:
        emitters = self.config.emitters
        if self._recorded is not None:
            return f"Simulation({len(self._recorded.records)} records, shape {self.shape})"
        number = all_emitters(self.config, None if self._given is None else self._given.summary)
        return f"Simulation({number} emitters, shape {self.shape}, seed {emitters.seed})"

    def _make(self) -> tuple[MemoryTruth | RecordedTruth | GivenTruth, Movie]:
        """Return truth and movie, made when they are first needed."""
        # Without a lock, as `functools.cached_property` had one: a forked child could find it taken.
        if self._made is None:
            truth = self._recorded or MemoryTruth(self.config, open_field(self.config), self._given)
            self._made = truth, Movie(self.config, truth)
        return self._made

    @property
    def _truth(self) -> MemoryTruth | RecordedTruth | GivenTruth:
        return self._make()[0]

    @property
    def _movie(self) -> Movie:
        return self._make()[1]

    @property
    def emitters(self) -> AnyEmitters:
        """All emitters by id: xyz (n, 3) in px, px, um; intensity in photons; t0 and on_time in frames.

        An intensity is that where the illumination has its peak. Those that can blink more than once have no t0 and
        on_time, and for DNA-PAINT no intensity: see `blinks`. `DataError` where records were given.
        """
        if not isinstance(self._truth, MemoryTruth):
            raise DataError("emitters: only records were given, which do not say when emitters are on")
        return self._truth.emitters

    @property
    def blinks(self) -> Blinks | None:
        """When emitters are on: emitter, t0 and on_time in frames, state, intensity in photons per frame.

        None where emitters are on once, or always. `DataError` where records were given.
        """
        if not isinstance(self._truth, MemoryTruth):
            raise DataError("blinks: only records were given, which do not say when emitters are on")
        return self._truth.blinks

    @property
    def drift(self) -> NDArray[np.float64] | None:
        """Drift of each frame, (t, 3) in px, px, um; None where there is none, or light was given that has it."""
        return self._truth.drift

    @property
    def records(self) -> Records:
        """Light in the frames: xyz (m, 3) in px, px, um; phot in photons; frame_ix; id; by frame, then id.

        Photons are after the illumination; those that were given are taken as they stand.
        """
        return self._truth.records

    @property
    def background(self) -> Background | None:
        """Expected background: pixel p of frame t has ``image[p] * factor[t]`` photons; image (y, x), factor (t,).

        None where the config has neither ``background`` nor ``illumination``: it is ``tiff.noise_params.background``.
        """
        return self._truth.background

    def expected(self, start: int, stop: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the expected photons of frames ``start..stop - 1``, without background and noise.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= t``.
        out : ndarray, optional
            Filled in place (in part where Ctrl-C ends the call) and returned: float32, (stop - start, y, x),
            C-contiguous.

        Returns
        -------
        ndarray, shape (stop - start, y, x), float32
            Photons per pixel.

        Raises
        ------
        ShapeError
            No such frames, or `out` does not fit.
        """
        out = output(out, self._range(start, stop), np.float32)
        self._movie.expected_into(start, stop, out)
        return out

    def frames(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return camera frames ``start..stop - 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= t``.
        out : ndarray, optional
            Filled in place (in part where Ctrl-C ends the call) and returned: of the config's ``tiff.dtype``,
            (stop - start, y, x), C-contiguous.

        Returns
        -------
        ndarray, shape (stop - start, y, x), uint16 or float32
            ADU per pixel; without a block ``camera``, one per photo-electron.

        Raises
        ------
        ShapeError
            No such frames, or `out` does not fit.
        """
        out = output(out, self._range(start, stop), np.dtype(self.config.tiff.dtype))
        self._movie.frames_into(start, stop, out)
        return out

    def stream(self, chunk_size: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (index of the first frame, camera frames) for the whole movie, in chunks.

        The next chunk is rendered while the last one is used. Each chunk is an array of its own, which the
        caller may keep or change.

        Parameters
        ----------
        chunk_size : int, optional
            Frames at a time; default: the config's ``memory_optimization.chunk_size``.

        Raises
        ------
        ShapeError
            A chunk size below 1.
        """
        if chunk_size is not None and chunk_size < 1:
            raise ShapeError(f"chunk_size: got {chunk_size}, expected a whole number from 1")
        return ((first, chunk.copy()) for first, chunk in self._movie.stream(chunk_size))

    def write(self, directory: str | os.PathLike[str]) -> dict[str, Path]:
        """Write ``emitters.h5`` and the OME-TIFF (and plots, if asked for) to a folder.

        Parameters
        ----------
        directory : path
            Made if it is not there.

        Returns
        -------
        dict
            Paths of the files by name.

        Raises
        ------
        OSError
            A file cannot be written; nothing half-written is left.
        """
        from simtiff.movie.job import run_job

        folder = Path(directory)
        given = self._molecules_into if self._recorded is None else self._recorded.write
        return {name: folder / name for name in run_job(self.config, folder, given=given)}

    def _molecules_into(self, path: Path) -> None:
        write_truth(path, self.config, open_field(self.config), given=self._given)

    def _range(self, start: int, stop: int) -> tuple[int, int, int]:
        if not 0 <= start <= stop <= self.shape[0]:
            raise ShapeError(f"frames {start} to {stop}: expected 0 <= start <= stop <= {self.shape[0]}")
        return (stop - start, *self.shape[1:])
