"""Numbers of emitters: how many a density gives, and how many emit in a frame.

`density_per_um2` is the number of emitters in a bright state per square micrometre of the field, averaged over the
movie.
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
    """Return the ``emitters`` section of a job with ``num_emitters`` instead of a density or a list.

    The number is the density times the area, divided by the fraction of the time that an emitter is on: for emitters
    that are on once, the mean on-time over the time range in which they are activated; for a binding site,
    on / (on + off); for molecules with states, the probability of the bright ones, averaged over the movie; for
    emitters that are always on, 1.

    A list of molecules (`given`, or the job's ``positions_path``) sets the number to its own, with none in the margin;
    for records the number is 0.

    Raises
    ------
    ConfigError
        The number is more than ``num_emitters`` may be.
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
            "emitters.density_per_um2: {density:g} requires {number:.3g} emitters in the whole movie, each on for "
            "{share:.3g} of the time; allowed: up to {most:,}",
            density=config.density_per_um2,
            number=number,
            share=share,
            most=MOST_EMITTERS,
        )
        raise ConfigError(text)
    return config.model_copy(update={"num_emitters": number, "density_per_um2": None})


def share_on(config: EmitterConfig) -> float:
    """Return the mean fraction of the movie during which an emitter is on."""
    match config.blinking.kind:
        case "once":
            first, last = birth_range(config)
            return config.lifetime_avg / (last - first)
        case "always":
            return 1.0
        case _:
            return shares(config.blinking, config.frames)[0]


def margin_emitters(config: EmitterConfig) -> int:
    """Return the number of emitters in the margin, which has the same density as the field."""
    width, height = config.area
    return round(config.num_emitters * margin_area(config) / (width * height))


def fiducials(config: EmitterConfig) -> int:
    """Return the number of fiducials."""
    return 0 if config.fiducials is None else config.fiducials.count


def all_emitters(job: JobConfig, given: Summary | None = None) -> int:
    """Return the number of emitters in the whole movie: in the field, in the margin, and fiducials.

    For records from a list, the number of distinct ids.
    """
    config = with_number(job, given)
    listed = given or summary_of(job)
    number = config.num_emitters + margin_emitters(config) if listed is None else listed.emitters
    return number + fiducials(config)


def emitters_on(job: JobConfig) -> float:
    """Return the mean number of emitters that are on at a time; more emit during a frame, since some switch within it.

    For records, the mean number of records per frame, since the on-times within a frame are not known.
    """
    config, listed = with_number(job), summary_of(job)
    if listed is not None and listed.per_frame is not None:
        return float(listed.per_frame.sum()) / config.frames + fiducials(config)
    return (config.num_emitters + margin_emitters(config)) * share_on(config) + fiducials(config)


def expected_records(job: JobConfig, frames: int, given: Summary | None = None) -> float:
    """Return the expected number of records in the fullest `frames` consecutive frames of a movie.

    For molecules that bleach, these are the first frames. For records from a list, the number is exact.
    """
    config, listed = with_number(job, given), given or summary_of(job)
    frames = min(frames, config.frames)
    if listed is not None and listed.per_frame is not None:
        return _most_together(listed.per_frame, frames) + fiducials(config) * frames
    number = config.num_emitters + margin_emitters(config)
    return (number * _in_a_frame(config, frames) + fiducials(config)) * frames


def _most_together(per_frame: NDArray[np.int64], frames: int) -> float:
    """Return the largest number of records in so many consecutive frames."""
    until = np.concatenate([[0], np.cumsum(per_frame)])
    if frames >= len(per_frame):
        return float(until[-1])
    return float((until[frames:] - until[:-frames]).max())


def expected_blinks(job: JobConfig, given: Summary | None = None) -> float:
    """Return the expected number of blinks in a movie."""
    config = with_number(job, given)
    if not config.blinking.blinks:  # for records, num_emitters is 0
        return 0.0
    return (config.num_emitters + margin_emitters(config)) * shares(config.blinking, config.frames)[2]


def _in_a_frame(config: EmitterConfig, frames: int) -> float:
    """Return the probability that an emitter emits in a frame, averaged over the fullest `frames` frames."""
    match config.blinking.kind:
        case "once":
            first, last = birth_range(config)
            # An emitter that is on for a time T emits in T + 1 frames on average.
            return min(1.0, (1 + config.lifetime_avg) / (last - first))
        case "always":
            return 1.0
        case _:
            return max(shares(config.blinking, number)[1] for number in (max(frames, 1), config.frames))
