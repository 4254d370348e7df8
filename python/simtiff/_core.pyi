from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "Psf", "crc32", "set_threads", "simd_level", "threads"]

def crc32(data: NDArray[np.uint8], value: int = 0) -> int: ...
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

@final
class Camera:
    def __new__(cls, background: float, read_noise_e: float, shot_noise: bool) -> Camera: ...
    def expose_u16(
        self,
        image: NDArray[np.float32],
        key: int,
        first_frame: int,
        frame_shape: tuple[int, ...],
        out: NDArray[np.uint16],
    ) -> None: ...
    def expose_f32(
        self,
        image: NDArray[np.float32],
        key: int,
        first_frame: int,
        frame_shape: tuple[int, ...],
        out: NDArray[np.float32],
    ) -> None: ...
