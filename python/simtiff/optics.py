"""The microscope."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from simtiff.errors import ConfigError


@dataclass(frozen=True)
class Optics:
    """Optics of a microscope and the pixels of its camera.

    Parameters
    ----------
    wavelength_nm : float
        Emission wavelength in nanometres.
    NA : float
        Numerical aperture; at most ``n_immersion``.
    n_immersion : float
        Refractive index of the immersion medium.
    pixel_size_nm_x, pixel_size_nm_y : float
        Size of a camera pixel in the sample along x (columns) and y (rows), in nanometres.

    Raises
    ------
    ConfigError
        If a number is not positive and finite, or the aperture is larger than the index.
    """

    wavelength_nm: float = 660.0
    NA: float = 1.4
    n_immersion: float = 1.518
    pixel_size_nm_x: float = 101.11
    pixel_size_nm_y: float = 98.83

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{field.name} is {value!r}; expected a positive number")
        if self.NA > self.n_immersion:
            raise ConfigError(f"NA is {self.NA}; expected at most n_immersion, {self.n_immersion}")
