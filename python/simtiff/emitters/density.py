"""How many emitters a config means: the number that a density comes to, and how many give light to a frame.

`density_per_um2` is the mean over the movie of emitters in a bright state, in each square micrometre of the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtiff.config.blocks import MOST_EMITTERS
from simtiff.emitters.chain import shares
from simtiff.emitters.given import summary_of
from simtiff.emitters.places import margin_area
from simtiff.emitters.sampling import birth_range
from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig
    from simtiff.config.settings import JobConfig
    from simtiff.emitters.lists import Summary


def with_number(job: JobConfig, given: Summary | None = None) -> EmitterConfig:
    """Return the ``emitters`` section of a job with ``num_emitters`` in place of a density or a list.

    That is the density times the area, over the share of the time that an emitter is on: of a single interval its
    mean length over the time in which emitters are born, of a site on / (on + off), of molecules with states the
    probability of the bright ones, mean over the movie, of emitters that are always on 1.

    `ConfigError` where that is more than ``num_emitters`` may be.

    Molecules of a list (`given`, or that of the job's ``positions_path``) are as many as it has, and there are none in
    the margin; of records the number is 0.
    """
    config = job.emitters
    if (listed := given or summary_of(job)) is not None:
        number = listed.emitters if listed.per_frame is None else 0
        return config.model_copy(update={"num_emitters": number, "density_per_um2": None, "margin_px": 0.0})
    if config.density_per_um2 is None:
        return config
    width, height = config.area
    pixel_um2 = job.optical.pixel_size_nm_x * job.optical.pixel_size_nm_y * 1e-6
    share = share_on(config)
    on = config.density_per_um2 * width * height * pixel_um2
    number = round(on / share) if share > 0 else 0
    if number > MOST_EMITTERS:
        text = Text(
            "emitters.density_per_um2: {density:g} comes to {number:.3g} emitters in the whole movie, of which each is "
            "on for {share:.3g} of the time; allowed: up to {most:,}",
            density=config.density_per_um2,
            number=number,
            share=share,
            most=MOST_EMITTERS,
        )
        raise ConfigError(text)
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


def all_emitters(job: JobConfig, given: Summary | None = None) -> int:
    """Return how many emitters there are in the whole movie: in the field, in the margin, and fiducials.

    Of records that are given (or the job's own) their distinct ids are counted.
    """
    config = with_number(job, given)
    listed = given or summary_of(job)
    number = config.num_emitters + margin_emitters(config) if listed is None else listed.emitters
    return number + fiducials(config)


def emitters_on(job: JobConfig) -> float:
    """Return how many emitters are on at a time, mean over the movie; a frame, in which they come and go, has more.

    Of records, those of a frame count: nothing is known of when in it their emitters are on.
    """
    config, listed = with_number(job), summary_of(job)
    if listed is not None and listed.per_frame is not None:
        return float(listed.per_frame.sum()) / config.frames + fiducials(config)
    return (config.num_emitters + margin_emitters(config)) * share_on(config) + fiducials(config)


def expected_records(job: JobConfig, frames: int, given: Summary | None = None) -> float:
    """Return how many records so many frames of a movie have: an upper mean.

    Of molecules that bleach, the first frames have the most. Of records that are given (or the job's own), so many
    frames on end have this many at most.
    """
    config, listed = with_number(job, given), given or summary_of(job)
    frames = min(frames, config.frames)
    if listed is not None and listed.per_frame is not None:
        return _most_together(listed.per_frame, frames) + fiducials(config) * frames
    number = config.num_emitters + margin_emitters(config)
    return (number * _in_a_frame(config, frames) + fiducials(config)) * frames


def _most_together(per_frame: NDArray[np.int64], frames: int) -> float:
    """Return how many records some frames on end have at most."""
    until = np.concatenate([[0], np.cumsum(per_frame)])
    if frames >= len(per_frame):
        return float(until[-1])
    return float((until[frames:] - until[:-frames]).max())


def expected_blinks(job: JobConfig, given: Summary | None = None) -> float:
    """Return how many rows a movie's blinks have, on average."""
    config = with_number(job, given)
    if not config.blinking.blinks:  # of records num_emitters is 0
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
