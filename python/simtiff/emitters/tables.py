"""Tables of emitters and of the light that they give to frames."""

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
        return len(self.id)  # type: ignore[attr-defined]

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
    """Emitters, a row each.

    Attributes
    ----------
    xyz : (n, 3) float32
        x and y in px of the field (integers are pixel centres), z in um.
    intensity : (n,) float32
        Photons in a frame that the emitter is on for the whole of, where the illumination has its peak of 1.
    t0 : (n,) float64
        Start of its time on, in frames; frame k is [k, k + 1).
    on_time : (n,) float64
        How long it is on, in frames.
    id : (n,) int64
        0 to n - 1, in the order of t0.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    t0: NDArray[np.float64]
    on_time: NDArray[np.float64]
    id: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Records(_Table):
    """What emitters give to frames, a row for each emitter and frame with light, ordered by frame, then id.

    Attributes
    ----------
    xyz : (m, 3) float32
        Position of the emitter: x and y in px of the field, z in um.
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
