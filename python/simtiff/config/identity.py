"""A job: its name and config, its files, and the hash of everything that determines them."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from simtiff.config.exports import EXPORT_NAMES, names_in_job
from simtiff.config.inputs import INPUT_FILES
from simtiff.config.messages import is_optional, model_of, section_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simtiff.config.settings import JobConfig, SeedsConfig


DATA_VERSION: int = 4
"""Increased whenever a change alters pixels or truth for an unchanged config."""

# Settings that do not change the movie or its truth. Input files are identified by their content, not by their path.
_WITHOUT_EFFECT = (
    "emitters.no_plot",
    "zernike.no_plot",
    "zernike.num_plot",
    "memory_optimization",
    "export",
    "camera.exposure_ms",
    "camera.preset",  # its parameters count instead
    *INPUT_FILES,
)


TRUTH_NAME = "emitters.h5"
POSITIONS_PLOT = "emitter_positions.png"
TIMELINE_PLOT = "blinking_timeline.png"
COEFFICIENTS_PLOT = "zernike_coefficients.png"
PLOTS = (POSITIONS_PLOT, TIMELINE_PLOT, COEFFICIENTS_PLOT)
ADDED_FILES = frozenset({*PLOTS, *names_in_job(EXPORT_NAMES)})
"""Names of files derived from a finished truth and movie; they can be added or removed without a rerun."""


@dataclass(frozen=True)
class Job:
    """One movie of a batch.

    Attributes
    ----------
    id : str
        Name of its folder.
    config : JobConfig
        Everything that determines its pixels.
    number : int
        Index in the batch, from 0.
    variables : dict
        What the batch varies: dotted key to the value of this job, and ``sample_id`` if there are samples.
    """

    id: str
    config: JobConfig
    number: int = 0
    variables: Mapping[str, Any] = field(default_factory=dict)


def job_files(config: JobConfig) -> list[str]:
    """Return the names of the files that a finished job has in its folder."""
    return [TRUTH_NAME, config.tiff.filename, *plot_names(config), *names_in_job(config.export)]


def plot_names(config: JobConfig) -> list[str]:
    """Return the names of the plots that a job's config requests."""
    names = [] if config.emitters.no_plot else [POSITIONS_PLOT, TIMELINE_PLOT]
    return names if config.zernike.no_plot or not config.zernike.num_plot else [*names, COEFFICIENTS_PLOT]


def sample_seed(seed: int, sample_id: int) -> int:
    """Return the seed of one sample: 53 bits (exact in every JSON reader), independent between samples."""
    return int(np.random.SeedSequence([seed, sample_id]).generate_state(1, np.uint64)[0] >> np.uint64(11))


def with_seeds(job: Job, input_digest: str, seeds: SeedsConfig) -> Job:
    """Return a job of a sweep with its own seeds, according to `seeds`.

    They are derived from ``emitters.seed`` and from the job's identity: non-default settings and the content of input
    files. They do not depend on the job's number or on other keys of the sweep.
    """
    config = job.config
    seed = config.emitters.seed
    if seeds.emitters == "independent":
        emitters = config.emitters.model_copy(update={"seed": _derived_seed("emitters", config, input_digest)})
        config = config.model_copy(update={"emitters": emitters})
    if config.noise_seed is None:
        noise_seed = _derived_seed("noise", config, input_digest) if seeds.noise == "independent" else seed
        config = config.model_copy(update={"noise_seed": noise_seed})
    return replace(job, config=config)


def noise_seed(config: JobConfig) -> int:
    """Return the seed of a job's camera noise: ``noise_seed`` if set, else ``emitters.seed``."""
    return config.emitters.seed if config.noise_seed is None else config.noise_seed


def with_noise_seed(config: JobConfig) -> JobConfig:
    """Return a config with its ``noise_seed`` set explicitly."""
    return config.model_copy(update={"noise_seed": noise_seed(config)})


def _derived_seed(purpose: str, config: JobConfig, input_digest: str) -> int:
    """Return a 53-bit seed for one purpose of a job."""
    settings = {key: value for key, value in changed_settings(config).items() if key != "noise_seed"}
    content = {"purpose": purpose, "seed": config.emitters.seed, "settings": settings, "zmap": input_digest}
    return int(_digest(content)[:16], 16) >> 11


def job_hash(config: JobConfig, input_digest: str) -> str:
    """Return the hash (64 hex digits) of everything that determines a job's files.

    It covers the non-default settings that affect movie or truth, the content of input files, and the data version.
    So a new setting with a default does not change existing hashes.

    Parameters
    ----------
    config
        The job's settings.
    input_digest
        Digest of the content of the input files: the map first, then the others. Their paths are not part of the hash.
    """
    settings = changed_settings(with_noise_seed(config))
    return _digest({"settings": settings, "data_version": DATA_VERSION, "zmap": input_digest})


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def changed_settings(config: BaseModel) -> dict[str, Any]:
    """Return the non-default settings that affect movie or truth, by dotted key.

    An optional section that is present, such as ``camera``, counts as a setting too.
    """
    defaults, present = default_settings(type(config)), dict.fromkeys(_present(config, ""), True)
    return {
        key: value
        for key, value in (present | flat_settings(config)).items()
        if not without_effect(key) and not (key in defaults and defaults[key] == value)
    }


def _present(config: BaseModel, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of the optional sections that are present."""
    for name, (inner, optional) in _sections(type(config)).items():
        if inner is not None and isinstance(value := getattr(config, name), BaseModel):
            if optional:
                yield f"{prefix}{name}"
            yield from _present(value, f"{prefix}{name}.")


@functools.cache
def default_settings(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults of a model and its nested models as dotted keys with plain values."""
    result: dict[str, Any] = {}
    for name, setting in model.model_fields.items():
        inner = model_of(setting.annotation)
        if inner is not None:
            if is_optional(setting.annotation):
                result[name] = None
            result |= {f"{name}.{key}": value for key, value in default_settings(inner).items()}
        elif not setting.is_required():
            result[name] = to_jsonable_python(setting.get_default(call_default_factory=True))
    return result


@functools.lru_cache(maxsize=1024)
def without_effect(key: str) -> bool:
    """Return whether a dotted key has no effect on the movie and its truth."""
    return any(key == path or key.startswith(f"{path}.") for path in _WITHOUT_EFFECT)


def flat_settings(config: BaseModel) -> dict[str, Any]:
    """Return a config as dotted keys with plain values; a dict such as ``psf.phase_noll`` is one value."""
    return dict(_walk(type(config), config.model_dump(mode="json"), ""))


def _walk(model: type[BaseModel], values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    sections = _sections(model)
    for key, value in values.items():
        inner, _ = sections[key]
        if inner is None or value is None:
            yield f"{prefix}{key}", value
        else:
            yield from _walk(inner, value, f"{prefix}{key}.")


@functools.cache
def _sections(model: type[BaseModel]) -> dict[str, tuple[type[BaseModel] | None, bool]]:
    """Return the model of each field, None for a plain value, and whether the field may be null."""
    fields = model.model_fields.items()
    return {name: (model_of(field.annotation), is_optional(field.annotation)) for name, field in fields}


def settings_with_effect(config: JobConfig) -> dict[str, Any]:
    """Return all settings that affect movie or truth, including defaults, as a job's config.

    ``noise_seed`` is explicit. Paths of input files are omitted, since only their content counts, and so are absent
    sections.
    """
    result: dict[str, Any] = {}
    absent = section_paths(type(config))
    for key, value in flat_settings(with_noise_seed(config)).items():
        if not without_effect(key) and key not in absent:
            *sections, last = key.split(".")
            inner = result
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[last] = value
    return result


def setting_changes(before: Mapping[str, Any], config: JobConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from those of an earlier job, by dotted key: the old and the new value.

    Parameters
    ----------
    before
        The earlier job's `changed_settings`.
    config
        The job as it is now.
    """
    defaults, now = default_settings(type(config)), changed_settings(config)
    changes = {}
    for key in dict.fromkeys((*now, *before)):
        pair = before.get(key, defaults.get(key)), now.get(key, defaults.get(key))
        if pair[0] != pair[1]:
            changes[key] = pair
    # In a sweep the noise seed is derived from the settings, so show only the changed settings.
    return {key: pair for key, pair in changes.items() if key != "noise_seed"} or changes


def split_settings(jobs: Sequence[Job]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings shared by all jobs, and for each job those that vary between jobs."""
    all_settings = [flat_settings(job.config) for job in jobs]
    if not all_settings:
        return {}, []
    first = {key: value for settings in reversed(all_settings) for key, value in settings.items()}
    absent = object()  # a Gaussian may have no map
    varied = [key for key, value in first.items() if any(other.get(key, absent) != value for other in all_settings)]
    shared = {key: value for key, value in first.items() if key not in varied}
    return shared, [{key: settings[key] for key in varied if key in settings} for settings in all_settings]
