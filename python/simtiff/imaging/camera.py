"""The camera: expected photons to counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff._core import Camera as CoreCamera
from simtiff.errors import ConfigError
from simtiff.imaging.arrays import borrowed, is_whole, numbers, output, shown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

DTYPES = ("uint16", "float32")


@dataclass(frozen=True)
class Detector:
    """What light becomes before it is counted.

    A pixel has ``QE (N h + b) + dark`` electrons in the mean, and a variance of ``F mean + read noise^2``.

    Attributes
    ----------
    quantum_efficiency : float
        Electrons per photon, above 0, at most 1.
    dark_e : float
        Electrons per pixel without light.
    read_noise_e : float
        Standard deviation of the read noise, over the gain of an EM register, in electrons.
    excess_noise : float
        F: 1, or 2 with an EM register.
    """

    quantum_efficiency: float = 1.0
    dark_e: float = 0.0
    read_noise_e: float = 0.0
    excess_noise: float = 1.0


class Camera:
    """A camera with a flat background, Poisson shot noise and Gaussian read noise.

    Parameters
    ----------
    background : float
        Expected background photons per pixel, 0 to 1e9.
    read_noise : float
        Standard deviation of the read noise in e-, 0 to 1e6.
    shot_noise : bool
        Draw the electrons of a pixel from a Poisson distribution, exact for every mean; False takes the mean.
    dtype : {"uint16", "float32"}
        uint16 counts are rounded and clipped to 0..65535; float32 ones are neither.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the frames.
    background, read_noise, shot_noise
        The parameters.
    core : simtiff._core.Camera
        The compiled camera.

    Raises
    ------
    ConfigError
        If a parameter is not allowed.

    Notes
    -----
    Counts are ``Poisson(image + background) + Normal(0, read_noise)``, the usual model of a camera without gain noise
    (Foi et al., IEEE Trans. Image Process. 17, 1737, 2008).

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
    """

    def __init__(
        self,
        background: float = 100.0,
        read_noise: float = 10.0,
        shot_noise: bool = True,
        dtype: str = "uint16",
    ) -> None:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ConfigError(f"dtype is {shown(dtype)}; expected {' or '.join(map(repr, DTYPES))}")
        try:
            self.core = CoreCamera(background, read_noise, bool(shot_noise))
        except (TypeError, OverflowError) as error:
            raise ConfigError(f"background or read_noise is no number: {error}") from None
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.background, self.read_noise, self.shot_noise = float(background), float(read_noise), bool(shot_noise)

    @property
    def detector(self) -> Detector:
        """What bounds need to know of it."""
        return Detector(read_noise_e=self.read_noise)

    def expose(
        self,
        image: ArrayLike,
        seed: int = 1,
        first_frame: int = 0,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Expose frames of expected photons.

        The noise of a pixel is a pure function of the seed, the frame's number, the pixel's place and the shape of
        a frame: frames may be exposed in any order and in any chunks.

        Parameters
        ----------
        image : array (y, x) or (t, y, x)
            Expected photons, at least 0, without background.
        seed : int
            Any integer from 0 up (below 2^1024); different seeds give unrelated noise.
        first_frame : int
            The movie's frame that ``image`` starts with.
        out : array like ``image`` with the camera's dtype, optional
            Filled in place and returned; in part where Ctrl-C ends the call, which takes less than a second.

        Returns
        -------
        array
            Counts in ADU (one per e-), shaped like ``image``.

        Raises
        ------
        ConfigError
            If the seed or the first frame is not allowed, or a pixel is negative or not a number.
        ShapeError
            If ``image`` or ``out`` has the wrong shape or dtype.
        """
        expected = numbers("image", image, np.float32, (2, 3))
        out = output(out, expected.shape, self.dtype)
        key, first = exposure(seed, first_frame)
        if out.size:
            with borrowed():
                self.core.expose(expected, key, first, out)
        return out


def exposure(seed: int, first_frame: int) -> tuple[int, int]:
    """Check a user's seed and the number of a frame, and return them as the core takes them."""
    key = scramble(seed)
    if not is_whole(first_frame) or not 0 <= first_frame < 2**40:
        raise ConfigError(f"first_frame is {shown(first_frame)}; expected an integer, 0 to 2^40 - 1")
    return key, int(first_frame)


def scramble(seed: int) -> int:
    """Turn a user's seed into 64 bits that have nothing in common with those of any other seed."""
    if not is_whole(seed) or not 0 <= seed < 2**1024:
        raise ConfigError(f"seed is {shown(seed)}; expected an integer, at least 0 and below 2^1024")
    return int(np.random.SeedSequence(int(seed)).generate_state(1, np.uint64)[0])
