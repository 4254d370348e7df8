"""What a map of field-dependent aberrations can do: coefficients of the pupil at any place of the field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import numpy as np

from simtiff.errors import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Method = Literal["cubic", "linear", "nearest"]
METHODS: tuple[Method, ...] = ("cubic", "linear", "nearest")
MAX_MODES = 500
"""Most Zernike modes of a map or a truth file: as many as the core computes."""


class FieldMap(ABC):
    """Zernike coefficients of the pupil as functions of the place in the field.

    Attributes
    ----------
    name : str
        The file, or ``builtin:oil``.
    modes : int
        Number of Zernike modes; index i is Noll i + 1.
    shape : tuple of int
        Height and width in px; the map covers [-0.5, width - 0.5) x [-0.5, height - 0.5).
    """

    name: str
    modes: int
    shape: tuple[int, int]

    def coefficients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        method: Method = "cubic",
        extrapolate: Literal["nearest"] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the pupil's coefficients at places of the map.

        Within half a pixel of the rim, outside the outermost pixel centres, the rim's value holds. A place's
        coefficients do not depend on the places it is asked together with.

        Parameters
        ----------
        x, y
            (n,) positions in px of the map; integers are pixel centres.
        method
            How values between the map's pixels are found: cubic spline, linear, or nearest pixel.
        extrapolate
            ``"nearest"``: places beyond the map get the value of the nearest place of its rim.

        Returns
        -------
        phase : ndarray
            (n, modes) float32, radians rms.
        magnitude : ndarray or None
            (n, modes) float32, dimensionless; None where the map has no magnitudes or all are zero.

        Raises
        ------
        DataError
            If a place is beyond the map and `extrapolate` is None, or if the map's file is damaged.
        ConfigError
            If `method` is none of the above.
        ShapeError
            If x and y are not 1-D, of one length and finite.
        """
        if method not in METHODS:
            raise ConfigError(f"zernike.interpolation_method: {method!r} is not known; allowed: {', '.join(METHODS)}")
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if x.ndim != 1 or x.shape != y.shape:
            raise ShapeError(f"x and y have shapes {x.shape} and {y.shape}; allowed: 1-D of one length")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ShapeError("x and y hold NaN or infinity; allowed: finite positions")
        height, width = self.shape
        if extrapolate is None and x.size:
            self._refuse_outside(x, "x", width)
            self._refuse_outside(y, "y", height)
        return self._evaluate(np.clip(x, 0, width - 1), np.clip(y, 0, height - 1), method)

    def check(self, method: Method) -> None:  # noqa: B027 - a map that is computed has nothing to read
        """Read the whole map and check every number of it; what `coefficients` needs for `method` is kept.

        Raises
        ------
        DataError
            If the map's file is damaged.
        """

    def _refuse_outside(self, values: NDArray[np.float64], axis: str, length: int) -> None:
        low, high = float(values.min()), float(values.max())
        if low < -0.5 or high >= length - 0.5:
            raise DataError(outside_message(self.name, axis, low, high, length))

    @abstractmethod
    def _evaluate(
        self, x: NDArray[np.float64], y: NDArray[np.float64], method: Method
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Evaluate at places between the outermost pixel centres."""


def outside_message(name: str, axis: str, low: float, high: float, length: float, first: float = 0) -> str:
    """Return the error for a field that is larger than the map, with its cures."""
    return (
        f"{name}: the field reaches from {axis} = {low:g} to {high:g} px of the map, but the map covers only "
        f"{first - 0.5:g} to {first + length - 0.5:g}; allowed: a smaller emitters.area_px, a "
        'zernike.crop_offset that fits, or zernike.extrapolate: "nearest" (the rim\'s value beyond the rim)'
    )
