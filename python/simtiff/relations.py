"""Which values of a config go together: what each rule says, and the keys that it looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic_core import PydanticCustomError

from simtiff.config_errors import show
from simtiff.names import name_problem, sample_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel

    from simtiff.settings import JobConfig, OpticalConfig, SampleConfigs

    Model = TypeVar("Model", bound=BaseModel)

_MAX_ROWS = 512
_OPTICS = ("optical.NA", "optical.wavelength_nm", "optical.pixel_size_nm_x", "optical.pixel_size_nm_y")


@dataclass(frozen=True)
class Relation:
    """Values that do not go together.

    Attributes
    ----------
    keys : tuple of str
        Dotted keys of these values; the first is the one to look at.
    message : str
        What is wrong with its value.
    """

    keys: tuple[str, ...]
    message: str


def checked_relations(model: Model, relations: Iterable[Relation]) -> Model:
    """Return the model, or raise the error, for a validator of pydantic, that carries all relations."""
    if found := tuple(relations):
        text = "; ".join(relation.message for relation in found)
        raise PydanticCustomError("relations", "{text}", {"text": text, "relations": found})
    return model


def job_relations(job: JobConfig) -> Iterator[Relation]:
    """Yield what does not go together in a job."""
    optical, tiff = job.optical, job.tiff
    if optical.NA > optical.n_immersion:
        yield Relation(
            ("optical.NA", "optical.n_immersion"),
            f"{optical.NA:g} is larger than the index n_immersion {optical.n_immersion:g}",
        )
    else:
        yield from _integration(job)
    if tiff.samples_per_pixel == 0:
        yield Relation(
            ("tiff.hr_size", "tiff.roi_size", "tiff.use_direct_rendering"),
            f"{tiff.hr_size} is less than one sample for each of roi_size {tiff.roi_size} pixels; "
            f"allowed with use_direct_rendering false: from {tiff.roi_size // 2 + 1}",
        )
    area, size = job.emitters.area_px, tiff.roi_size
    if any(offset >= area or offset + size <= 0 for offset in tiff.crop_offset):
        yield Relation(
            ("tiff.crop_offset", "tiff.roi_size", "emitters.area_px"),
            f"{show(tiff.crop_offset)} puts the frame of {size} px outside the field of view of "
            f"{area:g} px (emitters.area_px); allowed: a frame that overlaps the field",
        )


def _integration(job: JobConfig) -> Iterator[Relation]:
    # The core refuses an emitter that needs too many quadrature rows. Aberrations add to these, but a
    # stamp or a defocus that is too much alone, most likely by a mistake of units, is found here.
    optical, z_um, size_px = job.optical, job.emitters.z_range_um, job.psf.size_px
    pixel_nm = max(optical.pixel_size_nm_x, optical.pixel_size_nm_y)
    rows = 9 + 0.54 * math.pi * optical.NA * pixel_nm * size_px / optical.wavelength_nm
    if rows > _MAX_ROWS:
        largest = int(size_px * (_MAX_ROWS - 9) / (rows - 9)) // 2 * 2 - 1
        yield Relation(
            ("psf.size_px", *_OPTICS),
            f"{size_px} px of {pixel_nm:g} nm are too large a stamp for NA {optical.NA:g} and "
            f"{optical.wavelength_nm:g} nm; allowed: " + (f"up to {largest} px" if largest >= 3 else "smaller pixels"),
        )
        return
    exact = job.psf.defocus == "exact"
    per_um = sum(part * _defocus_slope(optical, radius, exact=exact) for radius, part in ((1, 0.26), (0.75, 0.25)))
    if rows + per_um * z_um > _MAX_ROWS:
        yield Relation(
            ("emitters.z_range_um", "psf.size_px", "psf.defocus", "optical.n_immersion", *_OPTICS),
            f"{z_um:g} um is too far out of focus to be computed; allowed with these optics: up to about "
            f"{(_MAX_ROWS - rows) / per_um:.3g} um",
        )


def _defocus_slope(optical: OpticalConfig, radius: float, *, exact: bool) -> float:
    """Return the slope of the defocus phase at a radius of the pupil, in radians per micrometre of z."""
    index = optical.n_immersion
    axial = math.sqrt(max(index**2 - (optical.NA * radius) ** 2, (0.02 * index) ** 2)) if exact else 1.0
    return 2000 * math.pi / optical.wavelength_nm * optical.NA**2 * radius / axial


def sample_relations(samples: SampleConfigs) -> Iterator[Relation]:
    """Yield what is wrong with the samples' names."""
    naming, keys = samples.sample_naming, ("sample_naming", "num_samples")
    last = sample_name(naming, samples.num_samples)
    if samples.num_samples > 1 and last == sample_name(naming, 1):
        message = f"gives all {samples.num_samples} samples the same name; allowed: a name with {{sample_id}}"
        yield Relation(keys, f"{show(naming)} {message}")
    elif (problem := name_problem(last)) is not None:
        yield Relation(keys, f"{show(last)} {problem}")
