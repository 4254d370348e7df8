from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Camera",
    "Psf",
    "crc32",
    "crc32_joined",
    "exponential",
    "inflate_tiles",
    "interpolate",
    "normal",
    "set_threads",
    "simd_level",
    "spline_filter",
    "threads",
]

def crc32(data: NDArray[np.uint8], value: int = 0) -> int: ...
def crc32_joined(first: int, second: int, length: int) -> int: ...
def inflate_tiles(
    tiles: list[bytes],
    tile: tuple[int, int],
    shuffled: bool,
    shape: tuple[int, int],
    out: NDArray[np.float32],
) -> None: ...
def exponential(uniform: NDArray[np.float64]) -> None: ...
def normal(uniform: NDArray[np.float64], second: NDArray[np.float64]) -> None: ...
def spline_filter(plane: NDArray[np.float32], width: int) -> None: ...
def interpolate(
    planes: list[NDArray[np.float32]],
    shape: tuple[int, int],
    method: str,
    places: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None: ...
def set_threads(n: int, /) -> None: ...
def threads() -> int: ...
def simd_level() -> str: ...

@final
class Psf:
    def __new__(
        cls,
        wavelength_nm: float,
        na: float,
        n_immersion: float,
        pixel_size_nm: tuple[float, float],
        size: int,
        modes: int,
        defocus: str,
        sampling: int,
    ) -> Psf: ...
    def stamps(
        self,
        xyz: NDArray[np.float64],
        phase: NDArray[np.float32],
        magnitude: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> None: ...
    def render(
        self,
        xyz: NDArray[np.float64],
        phase: NDArray[np.float32],
        magnitude: NDArray[np.float32] | None,
        emitter_ix: NDArray[np.uint32],
        frame_ix: NDArray[np.uint32],
        photons: NDArray[np.float32],
        frame_shape: tuple[int, int],
        out: NDArray[np.float32],
    ) -> None: ...
    def expose(
        self,
        xyz: NDArray[np.float64],
        phase: NDArray[np.float32],
        magnitude: NDArray[np.float32] | None,
        emitter_ix: NDArray[np.uint32],
        frame_ix: NDArray[np.uint32],
        photons: NDArray[np.float32],
        camera: Camera,
        key: int,
        first_frame: int,
        frame_shape: tuple[int, int],
        space: NDArray[np.float32],
        out: NDArray[np.uint16] | NDArray[np.float32],
        finished: Callable[[int, int], object] | None,
    ) -> None: ...

@final
class Camera:
    def __new__(cls, background: float, read_noise_e: float, shot_noise: bool) -> Camera: ...
    def expose(
        self,
        image: NDArray[np.float32],
        key: int,
        first_frame: int,
        frame_shape: tuple[int, ...],
        out: NDArray[np.uint16] | NDArray[np.float32],
    ) -> None: ...
