"""Positions and intensities of emitters, drawn from derived streams of uniform random numbers.

A stream is derived from the seed and a purpose: emitters of the field, of the margin, or fiducials. Draws for one
purpose do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from simtiff._core import photons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig

FIELD = 0x656D6974  # "emit"
MARGIN = 0x6D617267  # "marg"
FIDUCIALS = 0x66696475  # "fidu"

Places = Callable[[np.random.Generator, int], "NDArray[np.float32]"]
"""Draws the positions of n emitters, (n, 3) in px, px, um."""

Brightness = Callable[[np.random.Generator, int], "NDArray[np.float32]"]
"""Draws the photons per frame, (n,), of the n emitters whose positions were drawn last."""


def generator(seed: int, purpose: int, stream: int) -> np.random.Generator:
    """Return the generator of uniform random numbers for one stream of a purpose."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(purpose, stream))))


def field_places(config: EmitterConfig) -> Places:
    """Return a function that draws positions uniformly in the field [-0.5, side - 0.5), and z in its range."""
    sides = config.area

    def draw(random: np.random.Generator, count: int) -> NDArray[np.float32]:
        xyz = np.empty((count, 3), np.float32)
        for axis, side in enumerate(sides):
            xyz[:, axis] = side * random.random(count) - 0.5
            np.minimum(xyz[:, axis], _last_before(side - 0.5), out=xyz[:, axis])
        xyz[:, 2] = heights(config, random.random(count))
        return xyz

    return draw


def margin_area(config: EmitterConfig) -> float:
    """Return the area of the margin around the field, in px^2."""
    (width, height), margin = config.area, config.margin_px
    return 2 * margin * (width + 2 * margin) + 2 * margin * height


def margin_places(config: EmitterConfig) -> Places:
    """Return a function that draws positions uniformly within `margin_px` around the field, and z in its range."""
    (width, height), margin = config.area, config.margin_px
    below, beside = margin * (width + 2 * margin), margin * height

    def draw(random: np.random.Generator, count: int) -> NDArray[np.float32]:
        # Two strips along x across field and margins, then two along y between them.
        along, across = margin_area(config) * random.random(count), margin * random.random(count)
        is_below = along < 2 * below
        along = np.where(is_below, along, along - 2 * below)
        area, length = np.where(is_below, below, beside), np.where(is_below, width + 2 * margin, height)
        second = along >= area
        along = np.minimum((along - np.where(second, area, 0.0)) / margin, length)
        far = np.where(second, np.where(is_below, height, width), -margin) + across
        near = along - np.where(is_below, margin, 0.0)
        xyz = np.empty((count, 3), np.float32)
        xyz[:, 0] = np.where(is_below, near, far) - 0.5
        xyz[:, 1] = np.where(is_below, far, near) - 0.5
        xyz[:, 2] = heights(config, random.random(count))
        return xyz

    return draw


def intensities(config: EmitterConfig, random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Draw photons per frame for `count` emitters."""
    drawn = random.random(count)
    photons(drawn, random.random(count), config.photon_law)
    return drawn.astype(np.float32)


def heights(config: EmitterConfig, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map uniform numbers to z in a config's range, in um."""
    if config.z_um is None:
        return config.z_range_um * (2 * uniform - 1)
    low, high = config.z_um
    return np.maximum(low + (high - low) * uniform, low)


def _last_before(bound: float) -> np.float32:
    """Return the largest float32 below `bound`: the field is a half-open interval."""
    value = np.float32(bound)
    return value if float(value) < bound else np.nextafter(value, np.float32(-np.inf))
