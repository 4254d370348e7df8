"""The camera: from expected photons to counts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import Camera as CoreCamera
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import borrowed, is_whole, numbers, output, shown
from simtiff.imaging.cameramaps import CameraMaps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

DTYPES = ("uint16", "float32")
_MAY_BE_NONE = ("em_gain", "full_well_e", "register_full_well_e")


@dataclass(frozen=True)
class Detector:
    """Mean and variance of the electrons in a pixel, as needed for bounds.

    A pixel has a mean of ``QE (N h + b) + dark`` electrons, and a variance of ``F mean + read noise^2``.

    Attributes
    ----------
    quantum_efficiency : float
        Electrons per photon, above 0, at most 1.
    dark_e : float
        Mean electrons per pixel without light.
    read_noise_e : float
        Standard deviation of the read noise in electrons, divided by the gain of an EM register.
    excess_noise : float
        F: 1, or 2 with an EM register.
    maps : CameraMaps, optional
        QE and read noise of each pixel, which replace the numbers.
    """

    quantum_efficiency: float = 1.0
    dark_e: float = 0.0
    read_noise_e: float = 0.0
    excess_noise: float = 1.0
    maps: CameraMaps | None = None

    def check_frame(self, shape: tuple[int, ...], what: str = "frames") -> None:
        """Raise `ShapeError` if the maps do not match frames of this shape, (..., y, x)."""
        if self.maps is not None:
            self.maps.check_frame(shape, what)


class Camera:
    """A camera: from expected photons to counts.

    The signal passes through these stages, all of which are optional: photons and background times QE, plus dark
    charge; Poisson noise; full-well capacity; the EM register, with gamma-distributed gain and its own full-well
    capacity; read noise; conversion to counts, and offset; rounding and clipping (uint16).

    Parameters
    ----------
    background : float
        Expected background photons per pixel, 0 to 1e9.
    read_noise : float
        Standard deviation of the read noise in e-, 0 to 1e6.
    shot_noise : bool
        Draw the electrons of a pixel from a Poisson distribution, exact for every mean; False: use the mean.
    dtype : {"uint16", "float32"}
        uint16 counts are rounded and clipped to 0..2^bit_depth - 1; float32 counts are not.
    quantum_efficiency : float
        Electrons per photon, above 0, at most 1.
    em_gain : float, optional
        Mean gain of the electron-multiplying (EM) register, up to 1e5; None, 0 or 1: no register. Below 10, the gamma
        distribution is a poor model.
    e_per_adu : float
        Conversion factor: electrons (at the output, after any register) per count.
    offset_adu : float
        Offset (baseline) in counts.
    bit_depth : int
        8 to 16.
    full_well_e, register_full_well_e : float, optional
        Full-well capacities of a pixel and of the register, in electrons; None: no limit.
    dark_e : float
        Mean dark current and clock-induced charge, in electrons per pixel and frame.
    maps : CameraMaps, path or dict, optional
        Per-pixel calibration maps: any of offset, gain, read noise and QE; see `CameraMaps`.

    Attributes
    ----------
    dtype : numpy.dtype
        Data type of the frames.
    background, read_noise, shot_noise, quantum_efficiency, em_gain, e_per_adu, offset_adu, bit_depth, full_well_e, \
register_full_well_e, dark_e, maps
        The parameters; `em_gain` is None if there is no register, and `maps` is a `CameraMaps` or None.
    core : simtiff._core.Camera
        The compiled camera.

    Raises
    ------
    ConfigError
        A parameter is not allowed.
    DataError, ShapeError
        Maps are damaged or inconsistent.

    Notes
    -----
    Without a register, counts are ``(Poisson(QE (image + background) + dark) + Normal(0, read_noise)) / e_per_adu +
    offset`` (Foi et al., IEEE Trans. Image Process. 17, 1737, 2008). The register turns n electrons into a gamma
    variate of shape n and scale `em_gain`, and 0 electrons into 0 (Basden et al., MNRAS 345, 985, 2003); without shot
    noise it multiplies by `em_gain`. Each stage has an independent random stream, so switching one does not change
    the draws of another. The exception are uint16 counts without register, full wells and maps, where background and
    read noise are drawn together.

    Examples
    --------
    >>> import numpy as np
    >>> import simtiff
    >>> camera = simtiff.Camera(background=20, read_noise=1.5)
    >>> counts = camera.expose(np.zeros((64, 64)), seed=1)
    >>> counts.dtype, counts.shape
    (dtype('uint16'), (64, 64))
    >>> bool(abs(counts.mean() - 20) < 0.5)
    True
    >>> simtiff.Camera(20, 50, quantum_efficiency=0.9, em_gain=300, e_per_adu=12, offset_adu=200)
    Camera(background=20.0, read_noise=50.0, quantum_efficiency=0.9, em_gain=300.0, e_per_adu=12.0, offset_adu=200.0)
    """

    def __init__(
        self,
        background: float = 100.0,
        read_noise: float = 10.0,
        shot_noise: bool = True,
        dtype: str = "uint16",
        *,
        quantum_efficiency: float = 1.0,
        em_gain: float | None = None,
        e_per_adu: float = 1.0,
        offset_adu: float = 0.0,
        bit_depth: int = 16,
        full_well_e: float | None = None,
        register_full_well_e: float | None = None,
        dark_e: float = 0.0,
        maps: CameraMaps | str | Path | Mapping[str, ArrayLike] | None = None,
    ) -> None:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ConfigError(f"dtype is {shown(dtype)}; expected {' or '.join(map(repr, DTYPES))}")
        if _is_number(em_gain) and em_gain in (0, 1):
            em_gain = None
        if register_full_well_e is not None and em_gain is None:
            raise ConfigError("register_full_well_e is given without em_gain; expected both or neither")
        if maps is not None and not isinstance(maps, CameraMaps):
            if not isinstance(maps, (str, os.PathLike, Mapping)):
                raise ConfigError(f"maps is {shown(maps)}; expected CameraMaps, a path, or a dict of arrays")
            if isinstance(maps, Mapping):
                maps = CameraMaps.from_arrays(**{str(name): array for name, array in maps.items()})
            else:
                maps = CameraMaps.open(maps)
        stages: dict[str, Any] = {
            "quantum_efficiency": quantum_efficiency,
            "em_gain": em_gain,
            "e_per_adu": e_per_adu,
            "offset_adu": offset_adu,
            "bit_depth": bit_depth,
            "full_well_e": full_well_e,
            "register_full_well_e": register_full_well_e,
            "dark_e": dark_e,
        }
        for name, value in {"background": background, "read_noise": read_noise, **stages}.items():
            none = value is None and name in _MAY_BE_NONE
            allowed = is_whole(value) and 8 <= value <= 16 if name == "bit_depth" else none or _is_number(value)
            if not allowed:
                expected = "an integer from 8 to 16" if name == "bit_depth" else "a number"
                raise ConfigError(f"{name} is {shown(value)}; expected {expected}")
        in_electrons = None if maps is None else maps.in_electrons(float(e_per_adu))
        try:
            self.core = CoreCamera(background, read_noise, bool(shot_noise), **stages, maps=in_electrons)
        except OverflowError as error:
            raise ConfigError(f"a parameter of the camera is too large: {error}") from None
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.background, self.read_noise, self.shot_noise = float(background), float(read_noise), bool(shot_noise)
        self.quantum_efficiency, self.dark_e = float(quantum_efficiency), float(dark_e)
        self.em_gain, self.e_per_adu = _number(em_gain), float(e_per_adu)
        self.offset_adu, self.bit_depth = float(offset_adu), int(bit_depth)
        self.full_well_e, self.register_full_well_e = _number(full_well_e), _number(register_full_well_e)
        self.maps = maps

    @property
    def parameters(self) -> dict[str, Any]:
        """Constructor arguments by name."""
        names = list(inspect.signature(Camera).parameters)
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype.name}

    def __repr__(self) -> str:
        defaults = {name: parameter.default for name, parameter in inspect.signature(Camera).parameters.items()}
        values = {name: value for name, value in self.parameters.items() if name != "maps"}
        always = ("background", "read_noise")
        told = [f"{name}={value!r}" for name, value in values.items() if name in always or value != defaults[name]]
        if self.maps is not None:
            height, width = self.maps.shape[-2:]
            told.append(f"maps=({width} x {height} px)")
        return f"Camera({', '.join(told)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _camera_of, (self.parameters,)

    @property
    def detector(self) -> Detector:
        """Mean and variance of the electrons, for bounds."""
        gain, maps = self.em_gain or 1.0, self.maps
        if maps is not None:
            maps = maps.in_electrons(self.e_per_adu)
            if maps.read_noise_e is not None:
                maps = replace(maps, read_noise_e=maps.read_noise_e / np.float32(gain))
        excess = 1.0 if self.em_gain is None or not self.shot_noise else 2.0
        return Detector(self.quantum_efficiency, self.dark_e, self.read_noise / gain, excess, maps)

    def check_frame(self, shape: tuple[int, ...]) -> None:
        """Raise `ShapeError` if the camera's maps do not match frames of this shape (y, x)."""
        if self.maps is not None:
            self.maps.check_frame(shape)

    def expose(
        self,
        image: ArrayLike,
        seed: int = 1,
        first_frame: int = 0,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Expose frames of expected photons.

        The noise of a pixel depends only on the seed, the frame index, the pixel's position and the shape of a frame.
        So frames may be exposed in any order and in any chunks.

        Parameters
        ----------
        image : array (y, x) or (t, y, x)
            Expected photons, at least 0, without background.
        seed : int
            Any non-negative integer below 2^1024; different seeds give independent noise.
        first_frame : int
            Index of the first frame of ``image`` in the movie.
        out : array like ``image`` with the camera's dtype, optional
            Filled in place and returned; contents undefined if Ctrl-C ends the call, which takes less than a second.

        Returns
        -------
        array
            Counts in ADU, shaped like ``image``.

        Raises
        ------
        ConfigError
            The seed or the first frame is not allowed, or a pixel is negative or NaN.
        ShapeError
            ``image`` or ``out`` has the wrong shape or dtype.
        """
        expected = numbers("image", image, np.float32, (2, 3))
        out = output(out, expected.shape, self.dtype)
        key, first = exposure(seed, first_frame)
        self.check_frame(expected.shape)
        if out.size:
            with borrowed():
                self.core.expose(expected, key, first, out)
        return out


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _camera_of(parameters: dict[str, Any]) -> Camera:
    return Camera(**parameters)


def exposure(seed: int, first_frame: int) -> tuple[int, int]:
    """Check a user's seed and a frame index, and return them as the core expects them."""
    key = scramble(seed)
    if not is_whole(first_frame) or not 0 <= first_frame < 2**40:
        raise ConfigError(f"first_frame is {shown(first_frame)}; expected an integer, 0 to 2^40 - 1")
    return key, int(first_frame)


def scramble(seed: int) -> int:
    """Hash a user's seed to 64 bits, independent of those of other seeds."""
    if not is_whole(seed) or not 0 <= seed < 2**1024:
        raise ConfigError(f"seed is {shown(seed)}; expected an integer, at least 0 and below 2^1024")
    return int(np.random.SeedSequence(int(seed)).generate_state(1, np.uint64)[0])
