"""Common cameras, for ``camera.preset``.

The values are typical for a model and do not replace a calibration. Dark current, which depends on the exposure time,
is omitted. The quantum efficiency is for the wavelength given in the source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CameraPreset:
    """A camera model.

    Attributes
    ----------
    model : str
        Manufacturer and name.
    source : str
        Source of the values, and their conditions.
    settings : dict
        Keys of ``camera`` that differ from their defaults.
    """

    model: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)


CAMERA_PRESETS: dict[str, CameraPreset] = {
    "evolve_delta_512": CameraPreset(
        "Photometrics Evolve Delta 512 (EMCCD)",
        "Sage et al., Nat. Methods 16, 387 (2019), Online Methods: the camera of the SMLM challenge, in far-red light",
        {
            "quantum_efficiency": 0.9,
            "em_gain": 300.0,
            "read_noise_e": 74.4,
            "e_per_adu": 45.0,
            "offset_adu": 100.0,
            "dark_e": 0.002,
        },
    ),
    "prime_95b": CameraPreset(
        "Photometrics Prime 95B (back-illuminated sCMOS)",
        "Teledyne Photometrics, Prime 95B Datasheet (2020): 16 bits, combined gain; median read noise; quantum "
        "efficiency at 660 nm, read off its curve (0.95 at the peak); e-/ADU: the full well over 16 bits",
        {
            "quantum_efficiency": 0.88,
            "read_noise_e": 1.6,
            "e_per_adu": 1.22,
            "offset_adu": 100.0,
            "full_well_e": 80_000.0,
        },
    ),
    "orca_flash4_v3": CameraPreset(
        "Hamamatsu ORCA-Flash4.0 V3 C13440-20CU (sCMOS)",
        "Hamamatsu, ORCA-Flash4.0 V3 Technical note SCAS0134E: standard scan, read noise rms; quantum efficiency at "
        "its peak, 560 nm (lower at 660 nm)",
        {
            "quantum_efficiency": 0.82,
            "read_noise_e": 1.6,
            "e_per_adu": 0.46,
            "offset_adu": 100.0,
            "full_well_e": 30_000.0,
        },
    ),
    "orca_fusion_bt": CameraPreset(
        "Hamamatsu ORCA-Fusion BT C15440-20UP (back-thinned sCMOS)",
        "Hamamatsu, ORCA-Fusion / ORCA-Fusion BT Technical note (August 2021): ultra quiet scan, read noise rms; "
        "quantum efficiency at its peak, 550 nm (lower at 660 nm)",
        {
            "quantum_efficiency": 0.95,
            "read_noise_e": 0.7,
            "e_per_adu": 0.24,
            "offset_adu": 100.0,
            "full_well_e": 15_000.0,
        },
    ),
}
