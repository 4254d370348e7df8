"""How many emitters a config means: the number that a density comes to, and how many give light to a frame.

`density_per_um2` is the mean over the movie of emitters in a bright state, in each square micrometre of the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtiff.emitters.chain import shares
from simtiff.emitters.places import margin_area
from simtiff.emitters.sampling import birth_range

if TYPE_CHECKING:
    from simtiff.config.blocks import EmitterConfig
    from simtiff.config.settings import JobConfig


def with_number(job: JobConfig) -> EmitterConfig:
    """Return the ``emitters`` section of a job with ``num_emitters`` in place of a density.

    That is the density times the area, over the share of the time that an emitter is on: of a single interval its
    mean length over the time in which emitters are born, of a site on / (on + off), of molecules with states the
    probability of the bright ones, mean over the movie, of emitters that are always on 1.
    """
    config = job.emitters
    if config.density_per_um2 is None:
        return config
    width, height = config.area
    pixel_um2 = job.optical.pixel_size_nm_x * job.optical.pixel_size_nm_y * 1e-6
    share = share_on(config)
    on = config.density_per_um2 * width * height * pixel_um2
    number = round(on / share) if share > 0 else 0
    return config.model_copy(update={"num_emitters": number, "density_per_um2": None})


def share_on(config: EmitterConfig) -> float:
    """Return the part of the movie that an emitter is on for, on average."""
    match config.blinking.kind:
        case "once":
            first, last = birth_range(config)
            return config.lifetime_avg / (last - first)
        case "always":
            return 1.0
        case _:
            return shares(config.blinking, config.frames)[0]


def margin_emitters(config: EmitterConfig) -> int:
    """Return how many emitters lie in the margin: as many to an area as in the field."""
    width, height = config.area
    return round(config.num_emitters * margin_area(config) / (width * height))


def fiducials(config: EmitterConfig) -> int:
    """Return how many fiducials there are."""
    return 0 if config.fiducials is None else config.fiducials.count


def all_emitters(job: JobConfig) -> int:
    """Return how many emitters there are in the whole movie: in the field, in the margin, and fiducials."""
    config = with_number(job)
    return config.num_emitters + margin_emitters(config) + fiducials(config)


def emitters_on(job: JobConfig) -> float:
    """Return how many emitters are on at a time, mean over the movie; a frame, in which they come and go, has more."""
    config = with_number(job)
    return (config.num_emitters + margin_emitters(config)) * share_on(config) + fiducials(config)


def expected_records(job: JobConfig, frames: int) -> float:
    """Return how many records so many frames of a movie have: an upper mean.

    Of molecules that bleach, the first frames have the most.
    """
    config = with_number(job)
    number = config.num_emitters + margin_emitters(config)
    frames = min(frames, config.frames)
    return (number * _in_a_frame(config, frames) + fiducials(config)) * frames


def expected_blinks(job: JobConfig) -> float:
    """Return how many rows a movie's blinks have, on average."""
    config = with_number(job)
    if not config.blinking.blinks:
        return 0.0
    return (config.num_emitters + margin_emitters(config)) * shares(config.blinking, config.frames)[2]


def _in_a_frame(config: EmitterConfig, frames: int) -> float:
    """Return the probability that an emitter gives light to a frame, mean over the fullest `frames`."""
    match config.blinking.kind:
        case "once":
            first, last = birth_range(config)
            # An emitter that is on for a time T touches T + 1 frames on average.
            return min(1.0, (1 + config.lifetime_avg) / (last - first))
        case "always":
            return 1.0
        case _:
            return max(shares(config.blinking, number)[1] for number in (max(frames, 1), config.frames))
