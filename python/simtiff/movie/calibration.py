"""Camera parameters that localization software needs, in the form that each program accepts."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from simtiff.imaging.camera import Camera
from simtiff.movie.camera import camera_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig


@dataclass(frozen=True)
class Calibration:
    """Camera parameters for localization software: counts of a pixel are e- * em_gain / e_per_adu + offset_adu.

    If the camera has per-pixel maps, the numbers are their means.

    Attributes
    ----------
    pixel_size_nm : (float, float)
        Along x and y.
    quantum_efficiency : float
        Photo-electrons per photon.
    qe_map : (y, x) float32, optional
        Quantum efficiency of each pixel.
    em_gain : float, optional
        Gain of the EM register; None without one.
    e_per_adu, offset_adu : float
        Conversion factor in electrons per count, and offset in counts.
    read_noise_e, dark_e : float
        Read noise in electrons rms, and mean dark electrons of a pixel.
    rounded : bool
        Whether counts are rounded to whole numbers.
    has_maps : bool
        Whether a parameter differs from pixel to pixel.
    """

    pixel_size_nm: tuple[float, float]
    quantum_efficiency: float
    qe_map: NDArray[np.float32] | None
    em_gain: float | None
    e_per_adu: float
    offset_adu: float
    read_noise_e: float
    dark_e: float
    rounded: bool
    has_maps: bool

    @classmethod
    def of(cls, config: JobConfig) -> Self:
        """Return the parameters of a job's movie; with ``tiff.add_noise`` false its counts are photons.

        Raises
        ------
        DataError
            The camera's maps are missing or damaged, or do not cover the frame.
        """
        tiff, optical = config.tiff, config.optical
        camera = camera_of(config) if tiff.add_noise else Camera(0.0, 0.0, shot_noise=False, dtype=tiff.dtype)
        maps = camera.maps.in_electrons(camera.e_per_adu) if camera.maps is not None else None

        def mean(name: str, otherwise: float) -> float:
            values = None if maps is None else getattr(maps, name)
            return otherwise if values is None else float(values.mean(dtype="f8"))

        return cls(
            pixel_size_nm=(optical.pixel_size_nm_x, optical.pixel_size_nm_y),
            quantum_efficiency=mean("quantum_efficiency", camera.quantum_efficiency),
            qe_map=None if maps is None else maps.quantum_efficiency,
            em_gain=camera.em_gain,
            e_per_adu=1 / mean("adu_per_e", 1 / camera.e_per_adu),
            offset_adu=mean("offset_adu", camera.offset_adu),
            read_noise_e=mean("read_noise_e", camera.read_noise),
            dark_e=camera.dark_e,
            rounded=tiff.dtype == "uint16",
            has_maps=maps is not None,
        )


def camera_text(kind: str, calibration: Calibration, movie: str) -> str | None:
    """Return the camera settings to enter in a program; None if it needs none."""
    texts: dict[str, Callable[[Calibration, str], str]] = {
        "thunderstorm": _thunderstorm,
        "picasso": _picasso,
        "decode": _decode,
    }
    if kind not in texts:
        return None
    note = "# Camera parameters differ from pixel to pixel: these are means.\n" if calibration.has_maps else ""
    return note + texts[kind](calibration, movie)


def _thunderstorm(camera: Calibration, _movie: str) -> str:
    """Return ThunderSTORM's camera setup, as dialogue entries and as a macro; its photons are before the QE."""
    pixel, register = camera.pixel_size_nm, camera.em_gain is not None
    macro = {
        "offset": camera.offset_adu,
        "quantumefficiency": camera.quantum_efficiency,
        "isemgain": register,
        "photons2adu": camera.e_per_adu,
        **({"gainem": camera.em_gain} if register else {"readoutnoise": camera.read_noise_e}),
        "pixelsize": pixel[0],
    }
    lines = [
        "# ThunderSTORM: Camera setup",
        f"Pixel size [nm]: {_number(pixel[0])}{_other_pixel(pixel)}",
        f"Photoelectrons per A/D count: {_number(camera.e_per_adu)}",
        f"Quantum efficiency: {_number(camera.quantum_efficiency)}",
        f"Base level [A/D counts]: {_number(camera.offset_adu)}",
        f"EM gain: {_number(camera.em_gain) if camera.em_gain is not None else 'off'}",
        f"Readout noise [e-/pixel]: {_number(camera.read_noise_e)}",
        "",
        "# The same as a line for an ImageJ macro",
        f'run("Camera setup", "{" ".join(f"{key}={_plain(value)}" for key, value in macro.items())}");',
    ]
    return "\n".join(lines) + "\n"


def _picasso(camera: Calibration, movie: str) -> str:
    """Return Picasso's command line, which accepts only whole numbers for baseline, gain and pixel size."""
    gain = max(1, round(camera.em_gain or 1))
    baseline, pixel = round(camera.offset_adu), round(camera.pixel_size_nm[0])
    lines = ["# Picasso counts photo-electrons: (counts - baseline) * sensitivity / gain; it does not use the QE."]
    rounded = {"baseline": (baseline, camera.offset_adu), "pixelsize": (pixel, camera.pixel_size_nm[0])}
    lines += [
        f"# It accepts only whole numbers; the {name} is {_number(value)}."
        for name, (whole, value) in rounded.items()
        if whole != value
    ]
    if camera.pixel_size_nm[0] != camera.pixel_size_nm[1]:
        lines += [f"# It supports only square pixels; these are {_number(camera.pixel_size_nm[1])} nm high."]
    options = {
        "baseline": baseline,
        "sensitivity": camera.e_per_adu * gain / (camera.em_gain or 1),
        "gain": gain,
        "qe": camera.quantum_efficiency,
        "pixelsize": pixel,
    }
    words = " ".join(f"--{key} {_number(value)}" for key, value in options.items())
    return "\n".join([*lines, f"picasso localize {shlex.quote(movie)} {words}"]) + "\n"


def _decode(camera: Calibration, _movie: str) -> str:
    """Return DECODE's camera section; DECODE floors counts that simtiff rounds, and its x counts rows."""
    content = {
        "baseline": camera.offset_adu + (0.5 if camera.rounded else 0.0),
        "convert2photons": True,
        "e_per_adu": camera.e_per_adu,
        "em_gain": camera.em_gain,
        "px_size": list(camera.pixel_size_nm[::-1]),
        "qe": camera.quantum_efficiency,
        "read_sigma": camera.read_noise_e,
        "spur_noise": camera.dark_e,
    }
    lines = ["# DECODE: values for the training parameters. px_size is along y, then x.", "Camera:"]
    return "\n".join([*lines, *(f"  {key}: {json.dumps(value)}" for key, value in content.items())]) + "\n"


def _other_pixel(pixel: tuple[float, float]) -> str:
    return "" if pixel[0] == pixel[1] else f" (only square pixels are supported; these are {_number(pixel[1])} nm high)"


def _number(value: float) -> str:
    return f"{value:.9g}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else _number(value)
