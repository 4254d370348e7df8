"""The baseline for simtiff: the guide's original algorithm in plain NumPy, with one FFT per record.

A record's PSF is the squared modulus of the Fourier transform of a 128 x 128 pupil: Zernike modes sampled once,
paraxial defocus, and a tilt for the position within the pixel. It is cropped to the stamp and added to the frame.
Shot noise is `Generator.poisson`, read noise `Generator.normal`; tifffile writes the frames. Everything that is the
same for all records is computed once.

PSF errors are measured against a converged PSF, summed in double precision from its definition (`reference_psf`).

Run as a program, it makes the movie of one job from start to end; `benches/compare.py` times that.
"""

from __future__ import annotations

import json
import sys
import time
from math import factorial, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = 128
_ROWS, _NODES, _SAMPLES = 96, 96, 5  # quadrature of the disk; samples per pixel and axis (Gauss-Legendre)


def noll_indices(j: int) -> tuple[int, int]:
    """Return radial order n and azimuthal order m of Noll's mode j = 1, 2, ...; m < 0 is a sine."""
    n = 0
    while (n + 1) * (n + 2) // 2 < j:
        n += 1
    place = j - n * (n + 1) // 2
    m = 2 * (place // 2) if n % 2 == 0 else 2 * ((place - 1) // 2) + 1
    return n, m if j % 2 == 0 else -m


def zernike(j: int, xi: NDArray[np.float64], eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Noll's mode j at pupil coordinates, with rms 1 over the unit disk."""
    n, m = noll_indices(j)
    order = abs(m)
    rho, phi = np.hypot(xi, eta), np.arctan2(eta, xi)
    radial = np.zeros_like(rho)
    for k in range((n - order) // 2 + 1):
        below = factorial(k) * factorial((n + order) // 2 - k) * factorial((n - order) // 2 - k)
        radial += (-1) ** k * factorial(n - k) / below * rho ** (n - 2 * k)
    if m == 0:
        return sqrt(n + 1) * radial
    return sqrt(2 * (n + 1)) * radial * (np.cos(order * phi) if m > 0 else np.sin(order * phi))


class Baseline:
    """Render records one by one, each with an FFT.

    Parameters
    ----------
    wavelength_nm, NA : float
        Optics of the microscope.
    pixel_nm : (float, float)
        Pixel size along x and y.
    modes : int
        Number of Zernike modes, from Noll 1.
    size : int
        Side of the stamp in pixels.
    """

    def __init__(self, wavelength_nm: float, NA: float, pixel_nm: tuple[float, float], modes: int, size: int) -> None:
        # Cycles per pixel in FFT order, as fractions of the pupil radius.
        cutoff_x, cutoff_y = (NA * pixel / wavelength_nm for pixel in pixel_nm)
        frequency = np.fft.fftfreq(GRID)
        eta, xi = np.meshgrid(frequency / cutoff_y, frequency / cutoff_x, indexing="ij")
        inside = xi**2 + eta**2 <= 1
        self.size = size
        self.aperture = inside.astype(np.float64)
        # Phase per unit of each coefficient, then of x (px), y (px) and z (um).
        planes = [zernike(j, xi, eta) for j in range(1, modes + 1)]
        planes += [-2 * pi * cutoff_x * xi, -2 * pi * cutoff_y * eta]
        planes += [pi * NA**2 / wavelength_nm * 1000 * (xi**2 + eta**2)]
        self.planes = np.stack(planes) * self.aperture
        self.scale = 1 / (GRID**2 * self.aperture.sum())

    def psf(self, x: float, y: float, z: float, phase: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the stamp of an emitter at x and y (px from the middle pixel) and z (um)."""
        pupil = self.aperture * np.exp(1j * np.tensordot([*phase, x, y, z], self.planes, 1))
        image = np.fft.fftshift(np.abs(np.fft.fft2(pupil)) ** 2)
        first = GRID // 2 - self.size // 2
        # The sign of the FFT's exponent mirrors the image, so flip it.
        stamp = image[first : first + self.size, first : first + self.size]
        return self.scale * stamp[::-1, ::-1]

    def add(
        self,
        frame: NDArray[np.float64],
        xyz: NDArray[np.floating[Any]],
        photons: NDArray[np.floating[Any]],
        phase: NDArray[np.float32],
    ) -> None:
        """Add records, one per row, to a frame."""
        height, width = frame.shape
        half = self.size // 2
        for (x, y, z), light, coefficients in zip(xyz, photons, phase, strict=True):
            column, row = round(float(x)), round(float(y))
            stamp = light * self.psf(x - column, y - row, z, coefficients)
            top, left = row - half, column - half
            y0, y1 = max(top, 0), min(top + self.size, height)
            x0, x1 = max(left, 0), min(left + self.size, width)
            if y0 < y1 and x0 < x1:
                frame[y0:y1, x0:x1] += stamp[y0 - top : y1 - top, x0 - left : x1 - left]


def expose(
    frame: NDArray[np.float64], background: float, read_noise: float, random: np.random.Generator
) -> NDArray[np.uint16]:
    """Return a camera frame: Poisson photons, Gaussian read noise, rounded and clipped."""
    counts = random.poisson(frame + background) + random.normal(0, read_noise, frame.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def expose_emccd(
    frame: NDArray[np.float64], background: float, read_noise: float, gain: float, random: np.random.Generator
) -> NDArray[np.uint16]:
    """Return an EMCCD frame: Poisson photons, gamma-distributed EM gain, read noise, 12 e-/ADU."""
    electrons = random.poisson(frame + background)
    multiplied = random.gamma(np.maximum(electrons, 1e-9), gain)
    counts = (multiplied + random.normal(0, read_noise, frame.shape)) / 12 + 200
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def expose_scmos(
    frame: NDArray[np.float64], background: float, maps: dict[str, NDArray[np.float64]], random: np.random.Generator
) -> NDArray[np.uint16]:
    """Return an sCMOS frame: Poisson photons, then read noise, gain and offset of each pixel."""
    electrons = random.poisson(maps["quantum_efficiency"] * (frame + background))
    read = maps["read_noise_e"] * random.standard_normal(frame.shape)
    counts = (electrons + read) * maps["gain_adu_per_e"] + maps["offset_adu"]
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


class SplinePsf:
    """Stamps from cubic splines, as in DECODE and similar programs: one z stack for the whole field.

    Parameters
    ----------
    stack : (z, size + 3, size + 3) float32
        The PSF sampled every pixel and every z step; its centre is the middle pixel of the last size + 2 rows.
    first_um, step_um : float
        z of the first plane, and the z step.
    """

    def __init__(self, stack: NDArray[np.float32], first_um: float, step_um: float) -> None:
        # Catmull-Rom: the cubic through the middle two of four samples, with slopes from their neighbours.
        cubic = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], np.float32) / 2
        cells = np.lib.stride_tricks.sliding_window_view(stack, (4, 4, 4))
        of_cells = np.einsum("zyxabc,ia,jb,kc->zyxijk", cells, cubic, cubic, cubic, optimize=True)
        self.size = of_cells.shape[1]
        self.of_cells = np.ascontiguousarray(of_cells.reshape(len(cells), self.size**2, 64))
        self.first_um, self.step_um = first_um + step_um, step_um

    def add(
        self,
        frames: NDArray[np.float32],
        frame: NDArray[np.int64],
        xyz: NDArray[np.float64],
        photons: NDArray[np.float32],
    ) -> None:
        """Add emitters whose stamps are entirely inside their frames."""
        corner = np.ceil(xyz[:, :2]).astype(np.int64)
        height = (xyz[:, 2] - self.first_um) / self.step_um
        plane = height.astype(np.int64)
        powers = [
            within[:, None] ** np.arange(4)
            for within in (height - plane, corner[:, 1] - xyz[:, 1], corner[:, 0] - xyz[:, 0])
        ]
        terms = np.einsum("ni,nj,nk->nijk", *powers).reshape(-1, 64).astype(np.float32) * photons[:, None]
        half, size = self.size // 2, self.size
        for at, (x, y), z, term in zip(frame, corner - half, plane, terms, strict=True):
            frames[at, y : y + size, x : x + size] += (self.of_cells[z] @ term).reshape(size, size)


def coefficients(planes: NDArray[np.float32], xyz: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the coefficients at each emitter, interpolated with cubic splines."""
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(p, [xyz[:, 1], xyz[:, 0]], order=3, mode="nearest") for p in planes], axis=1)


def make_movie(zmap: str, output: str, config: dict[str, Any], frames: int) -> dict[str, float]:
    """Make the first frames of a job's movie; return the seconds for the map, the coefficients and the frames."""
    import h5py
    import tifffile

    begin = time.perf_counter()
    with h5py.File(zmap) as file:
        planes = file["z_maps/phase"][...]
    loaded = time.perf_counter()

    emitters, optical, noise = config["emitters"], config["optical"], config["tiff"]["noise_params"]
    count, lifetime, side = emitters["num_emitters"], emitters["lifetime_avg"], config["tiff"]["roi_size"]
    random = np.random.default_rng(emitters["seed"])
    xyz = random.uniform(-0.5, side - 0.5, (count, 3))
    xyz[:, 2] = random.uniform(-emitters["z_range_um"], emitters["z_range_um"], count)
    light = np.maximum(random.normal(emitters["intensity_mu"], emitters["intensity_sigma"], count), 0)
    begins = random.uniform(-3 * lifetime, emitters["frames"] - 1 + 3 * lifetime, count)
    ends = begins + random.exponential(lifetime, count)
    phase = coefficients(planes, xyz)
    interpolated = time.perf_counter()

    pixel = (optical["pixel_size_nm_x"], optical["pixel_size_nm_y"])
    baseline = Baseline(optical["wavelength_nm"], optical["NA"], pixel, len(planes), config["psf"]["size_px"])
    with tifffile.TiffWriter(output, ome=True) as tiff:

        def camera_frames() -> Any:
            for t in range(frames):
                share = np.minimum(ends, t + 1) - np.maximum(begins, t)
                on = np.flatnonzero(share > 0)
                frame = np.zeros((side, side))
                baseline.add(frame, xyz[on], light[on] * share[on], phase[on])
                yield expose(frame, noise["background"], noise["readout_noise"], random)

        tiff.write(camera_frames(), shape=(frames, side, side), dtype=np.uint16, metadata={"axes": "TYX"})
    end = time.perf_counter()
    return {"load_s": loaded - begin, "coefficients_s": interpolated - loaded, "frames_s": end - interpolated}


def reference_psf(
    wavelength_nm: float,
    NA: float,
    n_immersion: float,
    pixel_nm: tuple[float, float],
    xyz: NDArray[np.float64],
    phase: NDArray[np.floating],
    size: int,
) -> NDArray[np.float64]:
    """Return stamps (n, size, size) with exact defocus, integrated over pixels, for emitters at x, y (px), z (um)."""
    t, weight_t = np.polynomial.legendre.leggauss(_ROWS)
    eta = np.sin(pi / 2 * t)
    chord = np.cos(pi / 2 * t)
    u, weight_u = np.polynomial.legendre.leggauss(_NODES)
    xi = chord[:, None] * u
    weights = (weight_t * pi / 2 * chord * chord)[:, None] * weight_u
    etas = np.broadcast_to(eta[:, None], xi.shape)
    modes = np.stack([zernike(j, xi, etas) for j in range(1, phase.shape[1] + 1)])
    root = np.sqrt(n_immersion**2 - NA**2 * (xi**2 + etas**2))
    defocus = 2 * pi / wavelength_nm * 1000 * (n_immersion - root)

    part, weight_part = np.polynomial.legendre.leggauss(_SAMPLES)
    places = (np.arange(size)[:, None] - size // 2 + part / 2).ravel()
    cutoff_x, cutoff_y = (NA * pixel / wavelength_nm for pixel in pixel_nm)
    stamps = np.empty((len(xyz), size, size))
    for stamp, (x, y, z), coefficients in zip(stamps, xyz, phase, strict=True):
        pupil = weights * np.exp(1j * (np.tensordot(coefficients, modes, 1) + defocus * z))
        along_x = np.exp(2j * pi * cutoff_x * xi[:, :, None] * (places - x))
        rows = np.einsum("kl,klx->kx", pupil, along_x)
        field = np.exp(2j * pi * cutoff_y * eta * (places[:, None] - y)) @ rows
        density = np.abs(field) ** 2 * cutoff_x * cutoff_y / pi
        per_pixel = density.reshape(size, _SAMPLES, size, _SAMPLES)
        stamp[...] = np.einsum("yaxb,a,b->yx", per_pixel, weight_part / 2, weight_part / 2)
    return stamps


if __name__ == "__main__":
    sys.stdout.write(json.dumps(make_movie(**json.loads(sys.argv[1]))))
