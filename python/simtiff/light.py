"""How much of an emitter's light its stamp holds; what falls beside it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff.errors import SimtiffError
from simtiff.imaging.optics import Optics
from simtiff.imaging.rendering import psf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simtiff.config.settings import JobConfig

_ENOUGH = 0.9


def held_light(config: JobConfig) -> float:
    """Return the part of the light of an emitter without aberrations at z = ``z_range_um`` that its stamp holds."""
    optics = Optics(**{name: getattr(config.optical, name) for name in type(config.optical).model_fields})
    xyz = np.array([[0.0, 0.0, config.emitters.z_range_um]])
    size, defocus = config.psf.size_px, config.psf.defocus
    return float(psf(optics, xyz, np.zeros(1), size=size, defocus=defocus).sum())


def light_note(configs: Iterable[JobConfig]) -> str | None:
    """Return a note on the stamp that holds the least light, or None where all of them hold enough.

    Each combination of optics, stamp and defocus is computed once.
    """
    distinct = {(each.optical, each.psf.size_px, each.psf.defocus, each.emitters.z_range_um): each for each in configs}
    try:
        least, config = min(((held_light(each), each) for each in distinct.values()), key=lambda found: found[0])
    except SimtiffError:  # the core refuses it, which the job will say
        return None
    if least >= _ENOUGH:
        return None
    return (
        f"a stamp of {config.psf.size_px} px (psf.size_px) holds {100 * least:.0f} % of the light of an emitter "
        f"without aberrations at z = {config.emitters.z_range_um:g} um (emitters.z_range_um); the rest is lost"
    )
