"""The microscope."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from simtiff.errors import ConfigError
from simtiff.imaging.arrays import shown

_INDEX = (1e-6, 100.0)
_LIMITS = {
    "NA": _INDEX,
    "n_immersion": _INDEX,
    "n_sample": _INDEX,
    "n_coverslip": _INDEX,
    "focal_depth_um": (-1e6, 1e6),
}


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
        Camera pixel size in the sample along x (columns) and y (rows), in nanometres.
    n_sample, n_coverslip : float, optional
        Refractive indices of sample and coverslip, for the vectorial model only; default: ``n_immersion``.
    focal_depth_um : float
        Nominal focal depth in the sample (stage displacement), in micrometres, for the vectorial model only. If
        ``n_sample`` differs from ``n_immersion``, z is the height above the coverslip.

    Raises
    ------
    ConfigError
        A length is not in 0.001 to 1e9 nm, aperture or refractive index is not in 1e-6 to 100, or the aperture exceeds
        the refractive index of immersion or coverslip.

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
    n_sample: float | None = None
    n_coverslip: float | None = None
    focal_depth_um: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            low, high = _LIMITS.get(field.name, (1e-3, 1e9))
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
                raise ConfigError(f"{field.name} is {shown(value)}; expected a number from {low:g} to {high:g}")
            object.__setattr__(self, field.name, float(value))
        if self.NA > self.n_immersion:
            raise ConfigError(f"NA is {self.NA}; expected at most n_immersion, {self.n_immersion}")
        if self.n_coverslip is not None and self.NA > self.n_coverslip:
            raise ConfigError(f"NA is {self.NA}; expected at most n_coverslip, {self.n_coverslip}")
