"""Example tracks for single-particle tracking: molecules that diffuse in a plane and bleach, as a CSV file."""

from __future__ import annotations

import numpy as np

from simtiff._core import exponential, normal
from simtiff.emitters.places import generator

SIDE_PX = 128
PIXEL_NM = 100
INTERVAL_MS = 20
DIFFUSION_UM2_PER_S = 0.2
FRAMES = 100

_COUNT = 40
_MEAN_FRAMES = 30.0
_PHOTONS = 900
_TRACKS = 0x7472636B  # "trck": an independent random stream


def example_tracks() -> str:
    """Return the tracks as CSV text for ``emitters.positions_path``; every call returns the same text.

    Tracks begin uniformly in the field and in time, have an exponential length, and end early if the molecule leaves
    the field. Steps along x and y are drawn from a normal distribution of variance 2 D dt; z is 0.
    """
    random = generator(0, _TRACKS, 0)
    first = np.floor((FRAMES + _MEAN_FRAMES) * random.random(_COUNT) - _MEAN_FRAMES).astype(int)
    lengths = random.random(_COUNT)
    exponential(lengths)
    last = first + np.ceil(_MEAN_FRAMES * lengths).astype(int)
    step_nm = 1e3 * np.sqrt(2 * DIFFUSION_UM2_PER_S * INTERVAL_MS / 1e3)
    rows: list[tuple[int, int, float, float]] = []
    for track in range(_COUNT):
        frames = np.arange(max(first[track], 0), min(last[track], FRAMES))
        steps = random.random((2, len(frames)))
        for axis in steps:
            normal(axis, random.random(len(frames)))
        begin = SIDE_PX * random.random((2, 1)) - 0.5
        x, y = PIXEL_NM * begin + step_nm * np.cumsum(steps, axis=1)
        inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= PIXEL_NM * (SIDE_PX - 1))
        stay = len(frames) if inside.all() else int(np.argmin(inside))
        rows += [(int(frames[k]), track, float(x[k]), float(y[k])) for k in range(stay)]
    lines = (f"{frame},{track},{x:.1f},{y:.1f},0,{_PHOTONS}" for frame, track, x, y in sorted(rows))
    return "\n".join(["frame,id,x_nm,y_nm,z_nm,photons", *lines, ""])
