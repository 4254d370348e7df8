"""The microscope."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from simtiff.errors import ConfigError
from simtiff.imaging.arrays import shown


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
        If a length is not from 0.001 to 1e9 nm, aperture or index not from 1e-6 to 100, or the aperture larger than
        the index.

    Examples
    --------
    >>> import simtiff
    >>> optics = simtiff.Optics(wavelength_nm=580, NA=1.2, n_immersion=1.33, pixel_size_nm_x=108, pixel_size_nm_y=108)
    >>> optics.NA
    1.2
    >>> simtiff.Optics(NA=1.6)
    Traceback (most recent call last):
    simtiff.errors.ConfigError: NA is 1.6; expected at most n_immersion, 1.518
    """

    wavelength_nm: float = 660.0
    NA: float = 1.4
    n_immersion: float = 1.518
    pixel_size_nm_x: float = 101.11
    pixel_size_nm_y: float = 98.83

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = (1e-6, 100) if field.name in {"NA", "n_immersion"} else (1e-3, 1e9)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
                raise ConfigError(f"{field.name} is {shown(value)}; expected a number from {low:g} to {high:g}")
            object.__setattr__(self, field.name, float(value))
        if self.NA > self.n_immersion:
            raise ConfigError(f"NA is {self.NA}; expected at most n_immersion, {self.n_immersion}")
