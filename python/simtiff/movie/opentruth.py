"""Public access to the truth of a movie: any part of ``emitters.h5`` as arrays or pandas tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from simtiff.errors import DataError, ShapeError
from simtiff.imaging.arrays import is_whole
from simtiff.io.hdf5 import find_dataset
from simtiff.io.rows import Rows, check_numbers, read_rows
from simtiff.language import Text
from simtiff.localizations.files import need_pandas
from simtiff.movie.bounds import CRLB, CRLB_COLUMNS
from simtiff.movie.export import SIGMAS, background_light, stored_bounds
from simtiff.movie.truthfile import TruthFile, gather

if TYPE_CHECKING:
    import os

    import pandas as pd
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

Columns = dict[str, "NDArray[Any]"]

_EMITTERS = {"xyz": np.float32, "intensity": np.float32, "t0": np.float64, "on_time": np.float64}
_BLINKS = {
    "emitter": np.int64,
    "t0": np.float64,
    "on_time": np.float64,
    "state": np.int64,
    "intensity": np.float32,
}
_BLINK_ROWS = 1 << 18
# Table names of the columns of a file, as in tables of localizations.
_IN_TABLES = {"frame_ix": "frame", "phot": "photons", "intensity": "photons"}
_PLACES = ("x_px", "y_px", "z_um")


def open_truth(path: str | os.PathLike[str]) -> OpenTruth:
    """Open the truth of a movie to read any part of it.

    Parameters
    ----------
    path : path
        ``emitters.h5``, or another file that `simtiff stream` accepts.

    Returns
    -------
    OpenTruth
        The open file; close it, or use it in a ``with`` block.

    Raises
    ------
    DataError
        The file is missing, damaged, or not a truth file.

    Examples
    --------
    >>> import simtiff
    >>> sim = simtiff.Simulation({"zmap_path": "builtin:oil", "emitters": {"frames": 4, "area_px": 64},
    ...                           "tiff": {"roi_size": 64}})
    >>> _ = sim.write("job")
    >>> with simtiff.open_truth("job/emitters.h5") as truth:
    ...     records = truth.records(1, 3)  # those of frames 1 and 2
    ...     aberrations = truth.coefficients(1, 3)
    ...     table = truth.records(as_pandas=True)
    >>> sorted(records)
    ['frame_ix', 'id', 'phot', 'xyz']
    >>> bool(((records["frame_ix"] >= 1) & (records["frame_ix"] < 3)).all())
    True
    >>> aberrations["phase"].shape == (len(aberrations["id"]), 21)
    True
    >>> list(table)
    ['frame', 'id', 'x_px', 'y_px', 'z_um', 'photons']
    """
    return OpenTruth(path)


class OpenTruth:
    """The truth of a movie, open for reading; see `open_truth`.

    Each method accepts a range of frames ``start..stop - 1`` and reads only the data of these frames; by default it
    returns all. Positions are in field coordinates: px, px, um, integers are pixel centres. Subtract
    ``tiff.crop_offset`` for frame coordinates.

    Parameters
    ----------
    path : path
        The file.

    Attributes
    ----------
    n_frames : int
        Number of frames of the movie.
    config : JobConfig or None
        The config stored in the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import os

        self._truth = TruthFile(os.fspath(path), coefficients="computed")
        self.n_frames = self._truth.n_frames
        self.config: JobConfig | None = self._truth.stored_config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<truth {self._truth.path}: {self._truth.record_count} records in {self.n_frames} frames>"

    def close(self) -> None:
        """Close the file."""
        self._truth.close()

    @overload
    def records(self, start: int = ..., stop: int | None = ..., *, as_pandas: Literal[False] = ...) -> Columns: ...
    @overload
    def records(self, start: int = ..., stop: int | None = ..., *, as_pandas: Literal[True]) -> pd.DataFrame: ...
    def records(self, start: int = 0, stop: int | None = None, *, as_pandas: bool = False) -> Columns | pd.DataFrame:
        """Return the records of frames: a row for each emitter and each frame in which it emits, by frame.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= n_frames``; default: all.
        as_pandas : bool
            Return a pandas table (optional dependencies ``tables``).

        Returns
        -------
        dict of arrays
            ``frame_ix`` (m,) int32; ``id`` (m,) int64, the emitter; ``xyz`` (m, 3) float32; ``phot`` (m,) float32,
            photons that reach the camera.
        pandas.DataFrame
            ``frame``, ``id``, ``x_px``, ``y_px``, ``z_um``, ``photons``, and, if the file has bounds, ``sigma_x_px``,
            ``sigma_y_px``, ``sigma_z_um``, ``sigma_photons``.

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged.
        """
        start, stop = self._range(start, stop)
        found = self._truth.records_of(start, stop)
        columns: Columns = {"frame_ix": found.frame_ix, "id": found.id, "xyz": found.xyz, "phot": found.phot}
        if not as_pandas:
            return columns
        bounds = self.bounds(start, stop)
        return _table(columns | ({} if bounds is None else dict(zip(SIGMAS, bounds.T, strict=False))))

    def bounds(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32] | None:
        """Return the Cramér-Rao bounds of the records of frames, None if the file has none.

        Returns
        -------
        (m, 5) float32 or None
            Standard deviations of x px, y px, z um, photons, and background in photons per pixel; a row for each row of
            `records`; infinite where the data do not determine a parameter.
        """
        start, stop = self._range(start, stop)
        dataset = find_dataset(self._truth.file, f"records/{CRLB}")
        if dataset is None:
            return None
        rows = check_numbers(dataset, (self._truth.record_count, CRLB_COLUMNS), Text("one row per record"))
        return stored_bounds(self._truth, rows, start, stop)

    @overload
    def emitters(
        self, start: int | None = ..., stop: int | None = ..., *, as_pandas: Literal[False] = ...
    ) -> Columns: ...
    @overload
    def emitters(
        self, start: int | None = ..., stop: int | None = ..., *, as_pandas: Literal[True]
    ) -> pd.DataFrame: ...
    def emitters(
        self, start: int | None = None, stop: int | None = None, *, as_pandas: bool = False
    ) -> Columns | pd.DataFrame:
        """Return emitters: all in the file, or those that emit in frames ``start..stop - 1``.

        Returns
        -------
        dict of arrays
            ``id`` (n,) int64; ``xyz`` (n, 3) float32; and, if the file has them, ``intensity`` (n,), photons in a frame
            during which the emitter is on throughout, and ``t0`` and ``on_time`` (n,), in frames.
        pandas.DataFrame
            The same; ``xyz`` as ``x_px``, ``y_px``, ``z_um``, and ``intensity`` as ``photons``.

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged, or has only records.
        """
        sets = self._sets("emitters", {**_EMITTERS, "id": np.int64})
        if "xyz" not in sets:
            raise DataError(Text("{path}: has only records, no emitters", path=self._truth.path))
        count = len(sets["xyz"])
        ids = read_rows(sets["id"], 0, count, np.int64) if "id" in sets else np.arange(count)
        if start is None and stop is None:
            rows = np.arange(count)
        else:
            low, high = self._range(0 if start is None else start, stop)
            rows = np.flatnonzero(np.isin(ids, self._truth.records_of(low, high).id))
        columns: Columns = {"id": ids[rows]}
        for name, dtype in _EMITTERS.items():
            if name in sets:
                columns[name] = _gathered(sets[name], rows, dtype)
        return _table(columns) if as_pandas else columns

    @overload
    def blinks(
        self, start: int | None = ..., stop: int | None = ..., *, as_pandas: Literal[False] = ...
    ) -> Columns | None: ...
    @overload
    def blinks(
        self, start: int | None = ..., stop: int | None = ..., *, as_pandas: Literal[True]
    ) -> pd.DataFrame | None: ...
    def blinks(
        self, start: int | None = None, stop: int | None = None, *, as_pandas: bool = False
    ) -> Columns | pd.DataFrame | None:
        """Return the blinks that extend into frames; None if each emitter is on only once.

        If emitters are on once, `emitters` has ``t0`` and ``on_time``.

        Returns
        -------
        dict of arrays, or pandas.DataFrame
            ``emitter`` (k,) int64, the emitter's id; ``t0`` (k,) float64, in frames, may be below 0; ``on_time`` (k,)
            float64, in frames; ``state`` (k,) int64; ``intensity`` (k,) float32, photons in a full frame (in a table
            ``photons``).

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged.
        """
        sets = self._sets("blinks", _BLINKS)
        if not sets:
            return None
        for name in _BLINKS:
            if name not in sets:
                raise DataError(Text("{path}: no dataset blinks/{name}", path=self._truth.path, name=name))
        low, high = self._range(0 if start is None else start, stop)
        pieces = []
        for first in range(0, max(1, len(sets["t0"])), _BLINK_ROWS):
            last = min(first + _BLINK_ROWS, len(sets["t0"]))
            piece = {name: read_rows(rows, first, last, _BLINKS[name]) for name, rows in sets.items()}
            if start is not None or stop is not None:
                kept = (piece["t0"] < high) & (piece["t0"] + piece["on_time"] > low) & (low < high)
                piece = {name: values[kept] for name, values in piece.items()}
            pieces.append(piece)
        columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in _BLINKS}
        return _table(columns) if as_pandas else columns

    @overload
    def coefficients(self, start: int = ..., stop: int | None = ..., *, as_pandas: Literal[False] = ...) -> Columns: ...
    @overload
    def coefficients(self, start: int = ..., stop: int | None = ..., *, as_pandas: Literal[True]) -> pd.DataFrame: ...
    def coefficients(
        self, start: int = 0, stop: int | None = None, *, as_pandas: bool = False
    ) -> Columns | pd.DataFrame:
        """Return the Zernike coefficients of the emitters that emit in frames.

        If the file has none, they are computed from the config's map. A moving emitter has a row for each of its
        positions, since the coefficients differ there.

        Returns
        -------
        dict of arrays
            ``id`` (n,) int64; ``phase`` (n, modes) float32, radians rms, Noll index = column + 1 (columns count from
            0); ``magnitude``, the same for amplitude coefficients, dimensionless, if there are any.
        pandas.DataFrame
            ``id``, ``phase_1``, ``phase_2``, ... by Noll index, and ``magnitude_1``, ...

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged, or has neither coefficients nor a config with a map.
        """
        start, stop = self._range(start, stop)
        scene = self._truth.scene(start, stop)
        _, first = np.unique(scene.emitter_ix, return_index=True)
        columns: Columns = {"id": self._truth.records_of(start, stop).id[first], "phase": scene.phase}
        if scene.magnitude is not None:
            columns["magnitude"] = scene.magnitude
        return _table(columns) if as_pandas else columns

    def background(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32] | None:
        """Return the expected background of frames, (frames, y, x) photons per pixel; None if it is unknown.

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged, or contains no config.
        """
        start, stop = self._range(start, stop)
        known = background_light(self._truth)
        if known is None:
            return None
        image, factor = known
        return (image * factor[start:stop, None, None]).astype(np.float32)

    def drift(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64] | None:
        """Return the drift of frames, (frames, 3) in px, px, um, included in the records; None without drift.

        Raises
        ------
        ShapeError
            No such frames.
        DataError
            The file is damaged.
        """
        start, stop = self._range(start, stop)
        drift = self._truth.drift()
        return None if drift is None else drift[start:stop]

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = self.n_frames if stop is None else stop
        if not (is_whole(start) and is_whole(stop) and 0 <= start <= stop <= self.n_frames):
            text = Text(
                "frames {start} to {stop}: expected 0 <= start <= stop <= {frames}",
                start=start,
                stop=stop,
                frames=self.n_frames,
            )
            raise ShapeError(text)
        return start, stop

    def _sets(self, group: str, names: dict[str, Any]) -> dict[str, Rows]:
        """Return the columns of a group that the file has, all of the same length."""
        found = {}
        for name in names:
            if (dataset := find_dataset(self._truth.file, f"{group}/{name}")) is not None:
                shape = (None, 3) if name == "xyz" else (None,)
                found[name] = check_numbers(dataset, shape, Text("one row each"))
        lengths = {f"{group}/{name}": len(rows) for name, rows in found.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            text = Text(
                "{path}: lengths disagree: {lengths}; allowed: one length", path=self._truth.path, lengths=shown
            )
            raise DataError(text)
        return found


def _gathered(columns: Rows, rows: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """Return some rows of a column."""
    width = columns.shape[1] if len(columns.shape) > 1 else 0

    def read(low: int, high: int) -> NDArray[Any]:
        values: NDArray[Any] = read_rows(columns, low, high, dtype)
        return values if width else values[:, None]

    found = gather(rows, read, width or 1, dtype=dtype)
    return found if width else found[:, 0]


def _table(columns: Columns) -> pd.DataFrame:
    """Return columns as a pandas table, with a separate column for each coordinate and each coefficient."""
    plain: Columns = {}
    for name, values in columns.items():
        if name == "xyz":
            plain |= dict(zip(_PLACES, values.T, strict=True))
        elif values.ndim > 1:
            plain |= {f"{name}_{noll}": each for noll, each in enumerate(values.T, start=1)}
        else:
            plain[_IN_TABLES.get(name, name)] = values
    return need_pandas().DataFrame(plain)
