"""A job's field on its aberration map: open and check the map, and get the emitters' coefficients."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from simtiff.aberrations.fieldmap import FieldMap, outside_message
from simtiff.aberrations.measured import measured_map
from simtiff.aberrations.synthetic import BUILTIN, builtin_digest
from simtiff.errors import DataError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

_MOST_SHOWN = 5


def map_under(config: JobConfig) -> FieldMap:
    """Open a job's map for its field and wavelength, and add ``psf.phase_noll``.

    Without a map, only ``psf.phase_noll`` is used. See `FieldMap.open`.
    """
    if not config.has_zmap:
        field = FieldMap.uniform([0.0])
    else:
        field = FieldMap.open(
            config.zmap_path,
            size=config.emitters.area,
            offset=config.zernike.crop_offset,
            wavelength_nm=config.optical.wavelength_nm,
        )
    return field.plus({int(noll): radians for noll, radians in config.psf.phase_noll.items()})


def open_field(config: JobConfig) -> FieldMap:
    """Open a job's map and check that it covers the job's field; see `map_under` and `check_field`."""
    field = map_under(config)
    check_field(config, field)
    return field


def check_field(config: JobConfig, field: FieldMap) -> None:
    """Raise `DataError` if a job's field, or the cropped part of the map, extends outside the map.

    The field may extend outside if the config allows extrapolation. The built-in map is always large enough.
    """
    if not config.has_zmap:
        return
    zernike, (height, width) = config.zernike, field.shape
    (x0, y0), (across, down) = zernike.crop_offset, config.emitters.area
    sides = ("x", width, x0, across), ("y", height, y0, down)
    if config.zmap_path != BUILTIN:
        for axis, length, offset, _ in sides:
            _check_crop(field.name, axis, length, offset, zernike.crop_size)
    if zernike.extrapolate is not None:
        return
    for axis, length, offset, area in sides:
        stop = offset + area
        end = length if zernike.crop_size is None else min(length, offset + zernike.crop_size)
        if stop > end:
            name = field.name
            first = 0
            if zernike.crop_size is not None:
                name, first = f"{name} (cut to zernike.crop_size {zernike.crop_size})", offset
            raise DataError(outside_message(name, axis, offset - 0.5, stop - 0.5, end - first, first))


def _check_crop(name: str, axis: str, length: int, offset: int, size: int | None) -> None:
    """Raise `DataError` if the cropped part of a map starts or ends outside the map."""
    if offset >= length:
        text = Text(
            "{name}: zernike.crop_offset is {axis} = {offset}, but the map has {length} px along {axis}; "
            "allowed: 0 to {most}",
            name=name,
            axis=axis,
            offset=offset,
            length=length,
            most=length - 1,
        )
        raise DataError(text)
    if size is not None and offset + size > length:
        text = Text(
            "{name}: zernike.crop_size {size} from zernike.crop_offset {axis} = {offset} ends at {end}, but the map "
            "has {length} px along {axis}; allowed: up to {most}",
            name=name,
            size=size,
            axis=axis,
            offset=offset,
            end=offset + size,
            length=length,
            most=length - offset,
        )
        raise DataError(text)


def map_notes(configs: Iterable[JobConfig]) -> list[str]:
    """Return notes on maps that were measured with optics other than those of the jobs, one sentence each.

    `DataError` if a map cannot be read.
    """
    wavelengths: dict[str, set[float]] = {}
    apertures: dict[str, set[float]] = {}
    headers = {}
    for config in configs:
        path = config.zmap_path
        if config.has_zmap and path != BUILTIN:
            headers[path] = measured_map(path).header
            wavelengths.setdefault(path, set()).add(config.optical.wavelength_nm)
            apertures.setdefault(path, set()).add(config.optical.NA)
    notes: list[str] = []
    for path, header in headers.items():
        others = wavelengths[path] - {header.wavelength_nm}
        if header.wavelength_nm is not None and others:
            unit = header.unit
            what = (
                Text("coefficients in {unit} are path differences, converted to radians at this wavelength", unit=unit)
                if header.are_lengths
                else Text(
                    "coefficients in {unit} are used unchanged (path differences in nm would be converted)", unit=unit
                )
            )
            text = Text(
                "{path}: measured at a wavelength of {measured:g} nm, optical.wavelength_nm is {others}: {what}",
                path=path,
                measured=header.wavelength_nm,
                others=_numbers(others),
                what=what,
            )
            notes.append(text)
        others = apertures[path] - {header.NA}
        if header.NA is not None and others:
            text = Text(
                "{path}: measured with NA {measured:g}, optical.NA is {others}: coefficients are used unchanged, "
                "over the pupil of optical.NA",
                path=path,
                measured=header.NA,
                others=_numbers(others),
            )
            notes.append(text)
    return notes


def _numbers(values: set[float]) -> str:
    """Return the first few numbers as text."""
    first = [f"{value:g}" for value in sorted(values)]
    return ", ".join(first if len(first) <= _MOST_SHOWN else [*first[:_MOST_SHOWN], "..."])


def field_coefficients(
    config: JobConfig, field: FieldMap, xy: NDArray[np.float32], *, everywhere: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return phase and amplitude coefficients, (n, modes) float32 each, of a job's emitters.

    The map has to cover only the field: emitters in the margin around it (``emitters.margin_px``), and emitters of a
    list that are outside the field, get the coefficients at the nearest position in the field.

    Parameters
    ----------
    config
        The job's config; ``zernike`` places the field on the map.
    field
        The job's map, from `open_field`.
    xy
        (n, 2) or wider: x and y in px of the field.
    everywhere
        Whether the positions come from a list and may be anywhere; always True for ``emitters.positions_path``.
    """
    zernike = config.zernike
    x0, y0 = zernike.crop_offset
    x, y = xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)
    is_list = everywhere or config.emitters.positions_path is not None
    if margin := np.inf if is_list else config.emitters.margin_px:
        width, height = np.broadcast_to(config.emitters.area_px, 2)
        x, y = _out_of_margin(x, width, margin), _out_of_margin(y, height, margin)
    x, y = x + x0, y + y0
    if zernike.crop_size is not None:
        x = np.clip(x, x0, x0 + zernike.crop_size - 1)
        y = np.clip(y, y0, y0 + zernike.crop_size - 1)
    return field.coefficients(x, y, method=zernike.interpolation_method, extrapolate=zernike.extrapolate)


def _out_of_margin(place: NDArray[np.float64], side: float, margin: float) -> NDArray[np.float64]:
    """Return positions; those in the margin are moved to the edge of the field, the half-open [-0.5, side - 0.5)."""
    is_near = (place >= -0.5 - margin) & (place <= side - 0.5 + margin)
    return np.where(is_near, np.clip(place, -0.5, side - 0.5 - 1e-6), place)


def digest_of(config: JobConfig, digest: Callable[[str, float], str] | None = None) -> str:
    """Return the digest of a job's map, from `map_digest` or another function; empty if the job has no map."""
    if not config.has_zmap:
        return ""
    return (digest or map_digest)(config.zmap_path, config.optical.wavelength_nm)


def map_digest(zmap_path: str, wavelength_nm: float | None = None) -> str:
    """Return the SHA-256, as hex digits, of a map's content, which determines the coefficients besides the settings.

    For the built-in map, this is the digest of its recipe. The digest also depends on whether MATLAB saved the map,
    and on the wavelength if path differences are converted to another wavelength: older versions ignored both and
    gave other coefficients.

    Parameters
    ----------
    zmap_path
        HDF5 file or ``builtin:oil``.
    wavelength_nm
        Wavelength of the job; default: that of the map.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    if zmap_path == BUILTIN:
        return builtin_digest()
    source = measured_map(zmap_path)
    header = source.header
    reads = ["in MATLAB's order"] if header.matlab else []
    if header.are_lengths and wavelength_nm not in (None, header.wavelength_nm):
        reads.append(f"at {wavelength_nm!r} nm")
    return hashlib.sha256(" ".join([source.digest, *reads]).encode()).hexdigest() if reads else source.digest
