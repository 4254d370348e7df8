"""Less common options of PSFs, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from simtiff._core import MOST_MODES
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

_LARGEST_ADDED = 1000.0


class PsfOptions(TypedDict, total=False):
    """Less common options: keyword arguments of all functions that compute PSFs.

    Attributes
    ----------
    phase_noll : mapping
        Noll index to phase coefficient in radians rms, added to the coefficients of all emitters, for example for a
        cylindrical lens or a phase mask. Not for the Gaussian.
    blur_nm : float or (x, y)
        Standard deviation of an additional Gaussian blur, in nanometres, at most 5 pixels: for motion, bead size (a
        diameter d adds d^2 / 20 to its square), or the emission bandwidth.
    sigma_nm : float or (x, y)
        For the Gaussian: standard deviation in focus, in nanometres; default 130.
    depth_nm : float or None
        For the Gaussian: depth d in ``sigma_x(z) = sigma_x sqrt(1 + ((z - a) / d)^2)``; None: the width does not
        depend on z.
    astigmatism_nm : float
        For the Gaussian: a, half the distance between the focus along x (above) and along y (below).
    """

    phase_noll: Mapping[int, float] | Mapping[str, float]
    blur_nm: float | tuple[float, float]
    sigma_nm: float | tuple[float, float]
    depth_nm: float | None
    astigmatism_nm: float


def refuse_coefficients(model: str, phase: ArrayLike | None, magnitude: ArrayLike | None) -> None:
    """Raise `ConfigError` if coefficients are given for a model without a pupil."""
    if model == "gaussian" and not (phase is None and magnitude is None):
        raise ConfigError("phase or magnitude is given, but a Gaussian has no pupil; expected neither")


def noll_coefficients(given: Mapping[int, float] | Mapping[str, float]) -> NDArray[np.float32]:
    """Return the added phase coefficients as an array, from Noll 1 on."""
    try:
        found = {int(noll): float(value) for noll, value in dict(given).items()}
    except (TypeError, ValueError):
        text = f"phase_noll is {shown(given)}; expected Noll indices and radians, such as {{6: 0.8}}"
        raise ConfigError(text) from None
    if not all(1 <= noll <= MOST_MODES and abs(value) <= _LARGEST_ADDED for noll, value in found.items()):
        raise ConfigError(
            f"phase_noll is {shown(given)}; expected Noll indices from 1 to {MOST_MODES} and at most 1000 radians"
        )
    coefficients = np.zeros(max(found, default=0), np.float32)
    for noll, value in found.items():
        coefficients[noll - 1] = value
    return coefficients


def pair(name: str, value: object) -> tuple[float, float]:
    """Return one number per axis, from one number for both or two."""
    try:
        pair = tuple(float(v) for v in np.broadcast_to(np.asarray(value, np.float64), 2))
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {shown(value)}; expected one number, or two for x and y") from None
    return pair[0], pair[1]


def number(name: str, value: object) -> float | None:
    """Return a number, or None if the option allows it."""
    if value is None and name == "depth_nm":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ConfigError(f"{name} is {shown(value)}; expected a number")
    return float(value)
