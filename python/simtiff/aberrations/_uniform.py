"""A uniform aberration map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.mapfile import MapHeader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class UniformMap:
    """The same coefficients everywhere.

    Parameters
    ----------
    phase, magnitude
        (modes,) each: phase in radians rms, amplitude coefficients dimensionless; None: no amplitude aberrations.
    """

    def __init__(self, phase: NDArray[np.float32], magnitude: NDArray[np.float32] | None) -> None:
        self.header = MapHeader("uniform", len(phase), (1, 1))
        self.has_magnitudes = magnitude is not None
        self._phase, self._magnitude = phase, magnitude

    def planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield the phase planes, each of a single pixel."""
        return (np.full((1, 1), value, np.float32) for value in self._phase)

    def check(self, *_: object, **__: object) -> None:
        """Do nothing: the values were checked when the map was created."""

    def coefficients(
        self, x: NDArray[np.float64], *_: object
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return phase and amplitude coefficients, (n, modes) float32 each."""
        rows = (x.size, 1)
        return np.tile(self._phase, rows), None if self._magnitude is None else np.tile(self._magnitude, rows)

    def held_bytes(self, *_: object, **__: object) -> float:
        """Return 0."""
        return 0.0
