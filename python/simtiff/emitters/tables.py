"""Tables of emitters, of the times that they are on, and of the light that they give to frames."""

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
        """Return the rows of all parts, one after another; there must be at least one part."""
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        )


@dataclass(frozen=True, slots=True)
class Emitters(_Table):
    """Emitters that are on once, a row each.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    intensity : (n,) float32
        Photons in a frame that the emitter is on for the whole of, where the illumination has its peak of 1.
    t0 : (n,) float64
        Start of its time on, in frames; frame k is [k, k + 1). Of one that is always on, 0.
    on_time : (n,) float64
        How long it is on, in frames. Of one that is always on, the length of the movie.
    id : (n,) int64
        0 to n - 1. Those of the field come first, then those of the margin, each in the order of t0, then fiducials.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    t0: NDArray[np.float64]
    on_time: NDArray[np.float64]
    id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Molecules(_Table):
    """Emitters that blink and have a brightness of their own, a row each; `Blinks` says when they are on.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    intensity : (n,) float32
        Photons in a frame that the emitter is in a state of brightness 1 for the whole of; of a fiducial, in any frame.
    id : (n,) int64
        0 to n - 1. Those of the field come first, then those of the margin, then fiducials.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sites(_Table):
    """Binding sites, whose brightness is another for each binding, a row each; `Blinks` says when they are on.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um; without drift.
    id : (n,) int64
        0 to n - 1. Those of the field come first, then those of the margin, then fiducials.
    """

    xyz: NDArray[np.float32]
    id: NDArray[np.int64]


AnyEmitters = Emitters | Molecules | Sites
"""Emitters as a kind of blinking has them: once and always, kinetics, paint."""


@dataclass(frozen=True, slots=True)
class Blinks(_Table):
    """Sojourns of emitters in bright states, a row each.

    They are ordered by the frame that they begin in (first those which last when the movie begins), then by emitter,
    then by begin. Fiducials, which are always on, have none.

    Attributes
    ----------
    emitter : (m,) int64
        Its id.
    t0 : (m,) float64
        Begin in frames; below 0 where it lasts when the movie begins.
    on_time : (m,) float64
        Length in frames, also beyond the movie's end. A bright state that is never left counts up to that end.
    state : (m,) uint8
        The state, by its number among those of the config (`simtiff.emitters.chain.state_names`).
    intensity : (m,) float32
        Photons in a frame that lies within the sojourn.
    """

    emitter: NDArray[np.int64]
    t0: NDArray[np.float64]
    on_time: NDArray[np.float64]
    state: NDArray[np.uint8]
    intensity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Records(_Table):
    """What emitters give to frames, a row for each emitter and frame with light, ordered by frame, then id.

    Attributes
    ----------
    xyz : (m, 3) float32
        Position of the emitter in this frame: x and y in px of the field, z in um.
    phot : (m,) float32
        Photons, more than 0; in a movie's truth as its illumination lights them.
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
        """Return no records."""
        return cls(np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int64))
