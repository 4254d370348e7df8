"""A job: its name and config, its files, and the hash of everything that determines them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from simtiff.config.settings import JobConfig


DATA_VERSION: int = 3
"""Raised whenever a change alters pixels or truth for an unchanged config."""

# Settings that change no byte of the movie or its truth.
_WITHOUT_EFFECT = (
    "emitters.no_plot",
    "zernike.no_plot",
    "zernike.num_plot",
    "memory_optimization",
    "zmap_path",
)


TRUTH_NAME = "emitters.h5"
POSITIONS_PLOT = "emitter_positions.png"
TIMELINE_PLOT = "blinking_timeline.png"
COEFFICIENTS_PLOT = "zernike_coefficients.png"


@dataclass(frozen=True)
class Job:
    """One movie of a batch: the name of its folder and everything that determines its pixels."""

    id: str
    config: JobConfig


def job_files(config: JobConfig) -> list[str]:
    """Return the names of the files that a finished job has in its folder."""
    return [TRUTH_NAME, config.tiff.filename, *plot_names(config)]


def plot_names(config: JobConfig) -> list[str]:
    """Return the names of the plots that a job's config asks for."""
    names = [] if config.emitters.no_plot else [POSITIONS_PLOT, TIMELINE_PLOT]
    return names if config.zernike.no_plot or not config.zernike.num_plot else [*names, COEFFICIENTS_PLOT]


def sample_seed(seed: int, sample_id: int) -> int:
    """Return the seed of one sample: 53 bits (exact in every JSON reader), unrelated between samples."""
    return int(np.random.SeedSequence([seed, sample_id]).generate_state(1, np.uint64)[0] >> np.uint64(11))


def job_hash(job: Job, zmap_digest: str) -> str:
    """Return the hash (64 hex digits) of everything that determines a job's files.

    Parameters
    ----------
    job
        The job; its name is not part of the hash.
    zmap_digest
        Hash of the map's content. Where the map lies is not part of the hash.
    """
    config = job.config.model_dump(mode="json")
    for path in _WITHOUT_EFFECT:
        *sections, last = path.split(".")
        target = config
        for section in sections:
            target = target[section]
        del target[last]
    content = {"config": config, "data_version": DATA_VERSION, "zmap": zmap_digest}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def without_effect(key: str) -> bool:
    """Say whether a dotted key changes no byte of the movie or its truth."""
    return any(key == path or key.startswith(f"{path}.") for path in _WITHOUT_EFFECT)


def flat_settings(config: BaseModel) -> dict[str, Any]:
    """Return a config as dotted keys with plain values."""
    result: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else key)
        else:
            result[path] = value

    walk(config.model_dump(mode="json"), "")
    return result


def split_settings(jobs: Sequence[Job]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings that all jobs share, and for each job those that differ between jobs."""
    all_settings = [flat_settings(job.config) for job in jobs]
    if not all_settings:
        return {}, []
    first = all_settings[0]
    varied = [key for key, value in first.items() if any(other[key] != value for other in all_settings)]
    shared = {key: value for key, value in first.items() if key not in varied}
    return shared, [{key: settings[key] for key in varied} for settings in all_settings]
