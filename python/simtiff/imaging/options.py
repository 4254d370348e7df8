"""What is seldom asked for of a PSF: options as users give them, checked."""

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
    """What is seldom asked for of a PSF: keyword arguments of all that computes one.

    Attributes
    ----------
    phase_noll : mapping
        Noll index to a phase coefficient in radians rms that is added to those of all emitters: a cylindrical lens, a
        phase mask. Not for a Gaussian.
    blur_nm : float or (x, y)
        Standard deviation of a Gaussian blur, in nanometres, at most 5 pixels: motion, the size of a bead (diameter d
        adds d^2 / 20 to its square), the bandwidth of the fluorophore.
    sigma_nm : float or (x, y)
        Of a Gaussian: standard deviation in focus, in nanometres; 130 where it is not given.
    depth_nm : float or None
        Of a Gaussian: the depth d over which it widens, ``sigma_x(z) = sigma_x sqrt(1 + ((z - a) / d)^2)``; None: not
        at all.
    astigmatism_nm : float
        Of a Gaussian: a, half the distance between the focus along x, above, and that along y, below.
    """

    phase_noll: Mapping[int, float] | Mapping[str, float]
    blur_nm: float | tuple[float, float]
    sigma_nm: float | tuple[float, float]
    depth_nm: float | None
    astigmatism_nm: float


def refuse_coefficients(model: str, phase: ArrayLike | None, magnitude: ArrayLike | None) -> None:
    """Raise `ConfigError` if coefficients are given to a model without a pupil."""
    if model == "gaussian" and not (phase is None and magnitude is None):
        raise ConfigError("phase or magnitude is given, but a Gaussian has no pupil; expected neither")


def noll_coefficients(given: Mapping[int, float] | Mapping[str, float]) -> NDArray[np.float32]:
    """Return what is to be added to phases, from Noll 1 on."""
    try:
        found = {int(noll): float(value) for noll, value in dict(given).items()}
    except (TypeError, ValueError):
        raise ConfigError(f"phase_noll is {shown(given)}; expected Noll indices and radians, as {{6: 0.8}}") from None
    if not all(1 <= noll <= MOST_MODES and abs(value) <= _LARGEST_ADDED for noll, value in found.items()):
        raise ConfigError(
            f"phase_noll is {shown(given)}; expected Noll indices from 1 to {MOST_MODES} and at most 1000 radians"
        )
    coefficients = np.zeros(max(found, default=0), np.float32)
    for noll, value in found.items():
        coefficients[noll - 1] = value
    return coefficients


def pair(name: str, value: object) -> tuple[float, float]:
    """Return a number of each axis, given as one of both or as two."""
    try:
        pair = tuple(float(v) for v in np.broadcast_to(np.asarray(value, np.float64), 2))
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {shown(value)}; expected a number or two, of x and y") from None
    return pair[0], pair[1]


def number(name: str, value: object) -> float | None:
    """Return a number, or None where that is meant."""
    if value is None and name == "depth_nm":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ConfigError(f"{name} is {shown(value)}; expected a number")
    return float(value)
