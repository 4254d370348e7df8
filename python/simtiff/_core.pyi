from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MOST_MODES",
    "MOST_ROWS",
    "MOST_SAMPLES_PER_PIXEL",
    "MOST_STATES",
    "MOST_THREADS",
    "Blinking",
    "Camera",
    "Cost",
    "Psf",
    "Spec",
    "beam",
    "bleach",
    "crc32",
    "crc32_joined",
    "exponential",
    "inflate_tiles",
    "interpolate",
    "normal",
    "photons",
    "poisson",
    "random_field",
    "set_threads",
    "simd_level",
    "spline_filter",
    "threads",
]

MOST_MODES: Final[int]
MOST_ROWS: Final[int]
MOST_SAMPLES_PER_PIXEL: Final[int]
MOST_STATES: Final[int]
MOST_THREADS: Final[int]

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
def poisson(uniform: NDArray[np.float64], second: NDArray[np.float64], mean: NDArray[np.float64]) -> None: ...
def photons(uniform: NDArray[np.float64], second: NDArray[np.float64], law: tuple[str, float, float]) -> None: ...
def spline_filter(planes: list[NDArray[np.float32]], width: int) -> None: ...
def interpolate(
    planes: list[NDArray[np.float32]],
    shape: tuple[int, int],
    method: str,
    places: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None: ...
def beam(
    places: NDArray[np.float64],
    centre: tuple[float, float],
    fwhm: tuple[float, float],
    out: NDArray[np.float64],
) -> None: ...
def bleach(frames: float, factor: NDArray[np.float64]) -> None: ...
def random_field(key: int, length: float, origin: tuple[int, int], out: NDArray[np.float32]) -> None: ...
def set_threads(n: int, /) -> None: ...
def threads() -> int: ...
def simd_level() -> str: ...

class _Maps(Protocol):
    @property
    def quantum_efficiency(self) -> NDArray[np.float32] | None: ...
    @property
    def read_noise_e(self) -> NDArray[np.float32] | None: ...
    @property
    def adu_per_e(self) -> NDArray[np.float32] | None: ...
    @property
    def offset_adu(self) -> NDArray[np.float32] | None: ...

class _Optics(Protocol):
    @property
    def wavelength_nm(self) -> float: ...
    @property
    def NA(self) -> float: ...
    @property
    def n_immersion(self) -> float: ...
    @property
    def pixel_size_nm_x(self) -> float: ...
    @property
    def pixel_size_nm_y(self) -> float: ...
    @property
    def n_sample(self) -> float | None: ...
    @property
    def n_coverslip(self) -> float | None: ...
    @property
    def focal_depth_um(self) -> float: ...

class _Detector(Protocol):
    @property
    def quantum_efficiency(self) -> float: ...
    @property
    def dark_e(self) -> float: ...
    @property
    def read_noise_e(self) -> float: ...
    @property
    def excess_noise(self) -> float: ...
    @property
    def maps(self) -> _Maps | None: ...

class _Scene(Protocol):
    @property
    def xyz(self) -> NDArray[np.float64]: ...
    @property
    def phase(self) -> NDArray[np.float32]: ...
    @property
    def magnitude(self) -> NDArray[np.float32] | None: ...
    @property
    def emitter_ix(self) -> NDArray[np.uint32]: ...
    @property
    def frame_ix(self) -> NDArray[np.uint32]: ...
    @property
    def photons(self) -> NDArray[np.float32]: ...
    @property
    def origin(self) -> tuple[float, float]: ...
    @property
    def background(self) -> NDArray[np.float32] | None: ...
    @property
    def background_factor(self) -> NDArray[np.float64] | None: ...

@final
class Blinking:
    def __new__(
        cls,
        rates: NDArray[np.float64],
        brightness: Sequence[float],
        start: Sequence[float],
        frames: int,
        key: int,
        photons: NDArray[np.float32] | int,
        law: tuple[str, float, float] | None = None,
    ) -> Blinking: ...
    def advance(self, frame: int) -> tuple[int, int]: ...
    def records_into(
        self,
        places: NDArray[np.float32],
        frame: NDArray[np.int32],
        molecule: NDArray[np.int64],
        photons: NDArray[np.float32],
        xyz: NDArray[np.float32],
    ) -> None: ...
    def sojourns_into(
        self,
        molecule: NDArray[np.int64],
        t0: NDArray[np.float64],
        on_time: NDArray[np.float64],
        state: NDArray[np.uint8],
        photons: NDArray[np.float32],
    ) -> None: ...

@final
class Spec:
    def __new__(
        cls,
        optics: _Optics,
        size: int,
        model: str,
        defocus: str,
        sampling: str | int,
        blur_nm: Sequence[float] = ...,
        sigma_nm: Sequence[float] = ...,
        depth_nm: float | None = None,
        astigmatism_nm: float = 0.0,
    ) -> Spec: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Cost:
    def __new__(cls, spec: Spec, modes: int) -> Cost: ...
    def rows(self, x: float, y: float, z: float, phase: Sequence[float] = ...) -> float: ...
    def transform_bytes(self, fewest_rows: float, most_rows: float, threads: int) -> int: ...
    def expose_bytes(self, emitters: int, pixels: int) -> int: ...

@final
class Psf:
    def __new__(cls, spec: Spec, modes: int) -> Psf: ...
    def held_bytes(self) -> int: ...
    def stamps(self, scene: _Scene, out: NDArray[np.float32]) -> None: ...
    def gradients(self, scene: _Scene, modes: Sequence[int], out: NDArray[np.float32]) -> None: ...
    def bounds(
        self,
        scene: _Scene,
        photons: NDArray[np.float64],
        background: NDArray[np.float64],
        detector: _Detector,
        out: NDArray[np.float64],
    ) -> None: ...
    def record_bounds(
        self,
        scene: _Scene,
        background: NDArray[np.float64],
        shape: tuple[int, int],
        detector: _Detector,
        joint: bool,
        out: NDArray[np.float64],
    ) -> None: ...
    def render(self, scene: _Scene, out: NDArray[np.float32]) -> None: ...
    def expose(
        self,
        scene: _Scene,
        camera: Camera,
        key: int,
        first_frame: int,
        space: NDArray[np.float32],
        out: NDArray[np.uint16] | NDArray[np.float32],
        finished: Callable[[int, int], object] | None,
        check: Callable[[], object] | None,
    ) -> None: ...

@final
class Camera:
    def __new__(
        cls,
        background: float,
        read_noise_e: float,
        shot_noise: bool,
        *,
        quantum_efficiency: float = 1.0,
        em_gain: float | None = None,
        e_per_adu: float = 1.0,
        offset_adu: float = 0.0,
        bit_depth: int = 16,
        full_well_e: float | None = None,
        register_full_well_e: float | None = None,
        dark_e: float = 0.0,
        maps: _Maps | None = None,
    ) -> Camera: ...
    def expose(
        self,
        image: NDArray[np.float32],
        key: int,
        first_frame: int,
        out: NDArray[np.uint16] | NDArray[np.float32],
    ) -> None: ...
