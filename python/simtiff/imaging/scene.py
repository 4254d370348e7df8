"""Scenes: emitters with their coefficients, and their photons in each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.errors import ConfigError, ShapeError
from simtiff.imaging.arrays import asarray, indices, numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MOST_FRAMES = 2**32


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Emitters and their photons in frames: the input of a `Renderer`.

    The core reads these arrays without conversion, so they must have exactly these types and be C-contiguous.
    `from_arrays` converts arrays of other types.

    Attributes
    ----------
    xyz : (n, 3) float64
        Emitters: x and y in px (integers are pixel centres), z in um.
    phase : (n, modes) or (modes,) float32
        Phase coefficients of each emitter, or of all, in radians rms; column i is Noll i + 1.
    magnitude : like `phase`, or None
        Amplitude coefficients, dimensionless; None if all are zero.
    emitter_ix : (m,) uint32
        Emitter of each record, a row of `xyz`.
    frame_ix : (m,) uint32
        Frame of each record, counted from the first rendered frame.
    photons : (m,) float32
        Photons of the emitter in the frame.
    origin : (x, y)
        Position of pixel (0, 0) of the frames in emitter coordinates, in px.
    background : (y, x) or (t, y, x) float32, or None
        Mean background photons of each pixel, the same for all frames or for each frame; in addition to the camera's.
    background_factor : (t,) float64, or None
        Factor of the background for each frame; None: 1.

    Examples
    --------
    Two emitters, one of them on in both frames:

    >>> import simtiff
    >>> scene = simtiff.Scene.from_arrays([[10, 12, 0], [30.5, 8, 0.3]], [900, 500, 700],
    ...                                   emitter_ix=[0, 1, 1], frame_ix=[0, 0, 1])
    >>> scene.xyz.shape, scene.photons
    ((2, 3), array([900., 500., 700.], dtype=float32))
    """

    xyz: NDArray[np.float64]
    phase: NDArray[np.float32]
    magnitude: NDArray[np.float32] | None
    emitter_ix: NDArray[np.uint32]
    frame_ix: NDArray[np.uint32]
    photons: NDArray[np.float32]
    origin: tuple[float, float] = (0.0, 0.0)
    background: NDArray[np.float32] | None = None
    background_factor: NDArray[np.float64] | None = None

    @classmethod
    def from_arrays(
        cls,
        xyz: ArrayLike,
        photons: ArrayLike | None = None,
        phase: ArrayLike | None = None,
        magnitude: ArrayLike | None = None,
        *,
        emitter_ix: ArrayLike | None = None,
        frame_ix: ArrayLike | None = None,
        id: ArrayLike | None = None,  # noqa: A002 - the name in the files
        n_frames: int | None = None,
    ) -> Scene:
        """Create a scene from arrays of any numeric type.

        Parameters
        ----------
        xyz : array (n, 3)
            Position of each emitter: x, y in pixels, z in micrometres.
        photons : array (m,) or a number, optional
            Photons of each record; default: there are no records.
        phase, magnitude : array (n, modes) or (modes,), optional
            Zernike coefficients of each emitter, or of all.
        emitter_ix : integer array (m,), optional
            Emitter of each record, a row of ``xyz``; default: record i belongs to row i.
        frame_ix : integer array (m,), optional
            Frame of each record, from 0; default: all records are in frame 0.
        id : integer array (n,), optional
            Instead of ``emitter_ix``, if ``xyz`` and coefficients are given for each record: its emitter. The PSF is
            computed once for records with the same id, position and coefficients.
        n_frames : int, optional
            Number of frames; ``frame_ix`` must be below it.

        Raises
        ------
        ConfigError
            Both ``id`` and ``emitter_ix`` are given.
        ShapeError
            An array has the wrong shape or type.
        """
        positions = numbers("xyz", xyz, np.float64, 2)
        if positions.shape[1] != 3:
            raise ShapeError(f"xyz has shape {positions.shape}; expected (n, 3)")
        count = len(positions)
        phases, magnitudes = _coefficients(count, phase, magnitude)
        if emitter_ix is not None and id is not None:
            raise ConfigError("both id and emitter_ix are given; expected one of them")
        rows = np.arange(0 if photons is None else count, dtype=np.uint32)
        if emitter_ix is not None:
            rows = indices("emitter_ix", emitter_ix, None, count)
        light = numbers("photons", () if photons is None else photons, np.float32, (0, 1))
        light = np.ascontiguousarray(np.broadcast_to(light, len(rows))) if light.ndim == 0 else light
        if len(light) != len(rows):
            of_each = "row of xyz" if emitter_ix is None else "element of emitter_ix"
            raise ShapeError(f"photons has {len(light)} elements; expected {len(rows)}, one for each {of_each}")
        if frame_ix is None:
            frames = np.zeros(len(rows), np.uint32)
        else:
            frames = indices("frame_ix", frame_ix, len(rows), MOST_FRAMES if n_frames is None else n_frames)
        if id is not None:
            first, rows = _emitters(asarray("id", id), positions, phases, magnitudes)
            positions = np.ascontiguousarray(positions[first])
            phases = phases if phases.ndim == 1 else np.ascontiguousarray(phases[first])
            if magnitudes is not None and magnitudes.ndim == 2:
                magnitudes = np.ascontiguousarray(magnitudes[first])
        return cls(positions, phases, magnitudes, rows, frames, light)

    def with_modes(self, modes: int) -> Scene:
        """Return the scene with at least this number of modes; added coefficients are zero."""
        if self.phase.shape[-1] >= modes:
            return self
        magnitude = None if self.magnitude is None else padded(self.magnitude, modes)
        return replace(self, phase=padded(self.phase, modes), magnitude=magnitude)


def _coefficients(
    count: int, phase: ArrayLike | None, magnitude: ArrayLike | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return phase and magnitude with the same number of modes."""
    phases = numbers("phase", np.zeros(0) if phase is None else phase, np.float32, (1, 2))
    magnitudes = None if magnitude is None else numbers("magnitude", magnitude, np.float32, (1, 2))
    for name, array in (("phase", phases), ("magnitude", magnitudes)):
        if array is not None and array.ndim == 2 and len(array) != count:
            raise ShapeError(f"{name} has shape {array.shape}; expected ({count}, modes) or (modes,)")
    if magnitudes is None:
        return phases, None
    modes = max(phases.shape[-1], magnitudes.shape[-1])
    return padded(phases, modes), padded(magnitudes, modes)


def padded(coefficients: NDArray[np.float32], modes: int) -> NDArray[np.float32]:
    """Append modes with coefficient zero."""
    missing = modes - coefficients.shape[-1]
    widths = [(0, 0)] * (coefficients.ndim - 1) + [(0, missing)]
    return np.pad(coefficients, widths) if missing else coefficients


def _emitters(
    ids: NDArray[Any],
    xyz: NDArray[np.float64],
    phase: NDArray[np.float32],
    magnitude: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the records for which PSFs are computed, and the PSF of each record."""
    if ids.shape != (len(xyz),) or (ids.dtype.kind not in "ui" and ids.size):
        raise ShapeError(f"id is {ids.dtype} {ids.shape}; expected integers ({len(xyz)},)")
    of_each = (part for part in (phase, magnitude) if part is not None and part.ndim == 2)
    return same_psf(ids.astype(np.int64), xyz, *of_each)


def distinct(
    values: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted distinct values, the index of each value among them, and their first occurrences."""
    if not values.size:
        return values, values.copy(), values.copy()
    low, span = int(values.min()), int(values.max()) - int(values.min()) + 1
    if span <= 8 * values.size + 1024:  # a table is much faster than sorting
        shifted = values - low
        there = np.zeros(span, np.bool_)
        there[shifted] = True
        sorted_values = np.flatnonzero(there) + low
        inverse = (np.cumsum(there) - 1)[shifted]
    else:
        sorted_values, inverse = np.unique(values, return_inverse=True)
    first = np.empty(len(sorted_values), np.int64)
    first[inverse[::-1]] = np.arange(values.size - 1, -1, -1)  # the last write wins
    return sorted_values, inverse, first


def same_psf(
    ids: NDArray[np.int64], *columns: NDArray[np.float64] | NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Group records with the same PSF: same emitter, position and coefficients.

    Parameters
    ----------
    ids : (m,) int64
        Emitter of each record.
    *columns : array (m, k) or None
        What the PSF depends on, one row per record: position, coefficients.

    Returns
    -------
    first : (n,) int64
        One record of each group. Groups are ordered by id, then by their values, so that their order in a frame does
        not depend on the other frames.
    group : (m,) uint32
        Group of each record.
    """
    given = [column for column in columns if column is not None]
    _, group, first = distinct(ids)
    if all(np.array_equal(column[first][group], column) for column in given):  # no emitter moves
        return first, group.astype(np.uint32)
    # Rows of bytes start with big-endian ranks, so sorting them sorts by id.
    parts = [np.ascontiguousarray(part).view(np.uint8).reshape(len(ids), -1) for part in (group.astype(">u8"), *given)]
    rows = np.concatenate(parts, axis=1)
    keys = rows.view(np.dtype((np.void, rows.shape[1])))[:, 0]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first, group.astype(np.uint32)
