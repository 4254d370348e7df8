"""Tables of emitters, of their blinks, and of records: an emitter's photons in one frame."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns of equal length."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: Any) -> Self:
        """Return some rows: a slice, a mask, or an index array."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, one after another; needs at least one part."""
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        )


@dataclass(frozen=True, slots=True)
class Emitters(_Table):
    """Emitters that are on once or always, a row each.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    intensity : (n,) float32
        Photons in a frame during which the emitter is on throughout, at the illumination's peak of 1.
    t0 : (n,) float64
        Start of the on-time, in frames; frame k is [k, k + 1). 0 if the emitter is always on.
    on_time : (n,) float64
        On-time in frames. The length of the movie if the emitter is always on.
    id : (n,) int64
        0 to n - 1. Emitters of the field come first, then those of the margin, each ordered by t0, then fiducials.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    t0: NDArray[np.float64]
    on_time: NDArray[np.float64]
    id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Molecules(_Table):
    """Molecules that blink, each with its own intensity, a row each; `Blinks` has their on-times.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    intensity : (n,) float32
        Photons in a frame that the emitter spends entirely in a state of brightness 1; for a fiducial, in any frame.
    id : (n,) int64
        0 to n - 1. Emitters of the field come first, then those of the margin, then fiducials.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sites(_Table):
    """Binding sites, a row each; each binding event has its own intensity, which `Blinks` has with the on-times.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    id : (n,) int64
        0 to n - 1. Emitters of the field come first, then those of the margin, then fiducials.
    """

    xyz: NDArray[np.float32]
    id: NDArray[np.int64]


AnyEmitters = Emitters | Molecules | Sites
"""Table type by kind of blinking: once and always, kinetics, paint."""


@dataclass(frozen=True, slots=True)
class Blinks(_Table):
    """Blinks: sojourns of emitters in bright states, a row each.

    They are ordered by the frame in which they begin (those already on at the start of the movie come first), then by
    emitter, then by start. Fiducials are always on and have none.

    Attributes
    ----------
    emitter : (m,) int64
        The emitter's id.
    t0 : (m,) float64
        Start in frames; below 0 if the blink began before the movie.
    on_time : (m,) float64
        Length in frames, also beyond the movie's end. An absorbing bright state is counted up to that end.
    state : (m,) uint8
        Index of the state in the config (`simtiff.emitters.chain.state_names`).
    intensity : (m,) float32
        Photons in a frame that is entirely within the blink.
    """

    emitter: NDArray[np.int64]
    t0: NDArray[np.float64]
    on_time: NDArray[np.float64]
    state: NDArray[np.uint8]
    intensity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Records(_Table):
    """Photons of emitters in frames: a row for each emitter and each frame in which it emits, by frame, then by id.

    Attributes
    ----------
    xyz : (m, 3) float32
        Position of the emitter in this frame: x and y in px of the field, z in um.
    phot : (m,) float32
        Photons, more than 0; in a movie's truth, after the illumination.
    frame_ix : (m,) int32
        Frame, from 0.
    id : (m,) int64
        The emitter.
    """

    xyz: NDArray[np.float32]
    phot: NDArray[np.float32]
    frame_ix: NDArray[np.int32]
    id: NDArray[np.int64]

    @classmethod
    def none(cls) -> Records:
        """Return an empty table."""
        return cls(np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64))
