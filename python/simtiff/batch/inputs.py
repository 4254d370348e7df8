"""Check the input files of a batch, and the libraries for its plots and exports, before it starts."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simtiff.aberrations.maps import check_field, digest_of, map_digest, map_notes, map_under
from simtiff.config.inputs import POSITIONS, ZMAP, input_paths, joined_digest
from simtiff.config.messages import Problem, listing
from simtiff.config.sweeps import expand_jobs
from simtiff.emitters.drift import check_drift, read_path
from simtiff.emitters.given import check_given, list_notes, with_frames, z_limits
from simtiff.errors import ConfigError, DataError, in_words, os_reason
from simtiff.io.files import open_regular
from simtiff.language import Text, joined, plural
from simtiff.movie.camera import camera_maps
from simtiff.movie.light import check_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simtiff.config.identity import Job
    from simtiff.config.settings import BatchConfig, JobConfig


class InputDigests:
    """Digests of the contents of input files; each file is read once."""

    def __init__(self) -> None:
        self._of_map = functools.cache(map_digest)  # cached by map and wavelength
        self._of_file = functools.cache(file_digest)

    def __call__(self, config: JobConfig) -> str:
        """Return the digest of all input files of a job; `DataError` if one cannot be read."""
        return joined_digest(digest_of(config, self._of_map), self.of_others(config))

    def of_others(self, config: JobConfig) -> dict[str, str]:
        """Return the digests of the input files except the aberration map, by dotted key."""
        return {key: self._of_file(path) for key, path in _other_files(config)}


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file's bytes as hex digits; `DataError` if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(Text("{path}: cannot be read ({reason})", path=path, reason=os_reason(error))) from error


def jobs_of(batch: BatchConfig) -> list[Job]:
    """Return the jobs of a batch; if the config sets no number of frames, it follows from a job's list of records."""
    return [replace(job, config=with_frames(job.config)) for job in expand_jobs(batch)]


def _other_files(config: JobConfig) -> list[tuple[str, str]]:
    """Return key and path of each input file except the aberration map."""
    return [(key, path) for key, path in input_paths(config).items() if key != ZMAP]


def _check_readable(_config: JobConfig, path: str) -> None:
    """Raise `DataError` if a file cannot be opened."""
    try:
        open_regular(path).close()
    except OSError as error:
        raise DataError(Text("{path}: cannot be read ({reason})", path=path, reason=os_reason(error))) from error


_CHECKS: dict[str, Callable[[JobConfig, str], object]] = {
    "camera.maps_path": lambda config, _: camera_maps(config),
    "background.image_path": lambda config, _: check_image(config),
    POSITIONS: lambda config, _: check_given(config),
    "drift.path": lambda config, path: read_path(path, config.emitters.frames),
}
"""Checks by key of the input file; other files are only checked to be readable."""


def check_inputs(
    jobs: Sequence[Job], batch: BatchConfig | None = None, *, keep: bool = False, named: str = "--zmap"
) -> list[str]:
    """Check the maps, which must cover the fields or frames, and the other input files; return notes for the user.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    batch : BatchConfig, optional
        Their batch, for messages; default: a single job, whose map was given as `named`.
    keep : bool
        Keep the required part of the last map in memory, so that `open_field` does not read it again.
    named : str
        Option or key of the map of the single job.

    Raises
    ------
    DataError
        An input file is invalid; the message lists all problems.
    ConfigError
        Plots need matplotlib, or a Parquet export needs pyarrow, which is not installed.
    """
    good: dict[str, bool] = {}
    problems: list[Problem] = []
    seen: set[tuple[object, ...]] = set()
    unreadable: set[tuple[object, ...]] = set()
    plots = False
    for job in jobs:
        config, readable = job.config, True
        plots = plots or not (config.emitters.no_plot and config.zernike.no_plot)
        for key, file in _other_files(config):
            fields = (config.emitters.area_px, config.tiff.crop_offset, config.tiff.frame_shape)
            use: tuple[object, ...] = (key, file, *fields, config.camera and config.camera.maps_offset)
            if key == POSITIONS:
                use = (*use, config.emitters.frames, config.optical, config.psf.model_dump_json())
            if use in seen:
                readable = readable and use not in unreadable
                continue
            seen.add(use)
            try:
                _CHECKS.get(key, _check_readable)(config, file)
            except DataError as error:
                readable = False
                unreadable.add(use)
                where = key if batch is None else _key(key, file, batch)
                problems.append(Problem(f"{where}, {job.id}" if len(jobs) > 1 else where, in_words(error)))
        if config.drift is not None and readable and (use := _drift_use(config)) not in seen:
            seen.add(use)
            try:
                check_drift(config)
            except DataError as error:
                where = "drift" if batch is None else f"{batch.prefix}drift"
                problems.append(Problem(f"{where}, {job.id}" if len(jobs) > 1 else where, in_words(error)))
        if not config.has_zmap:
            continue
        path, zernike = config.zmap_path, config.zernike
        method = zernike.interpolation_method
        need = (path, config.emitters.area_px, zernike.crop_size, zernike.crop_offset, zernike.extrapolate, method)
        if need in seen:
            continue
        seen.add(need)
        where = named if batch is None else _key(ZMAP, path, batch)
        try:
            if path not in good:
                good[path] = False
                map_under(config).check(method if keep else None, method=method)
                good[path] = True
            if good[path]:
                where += f", {job.id}" if len(jobs) > 1 else ""
                field = map_under(config)
                field.check(method=method)
                check_field(config, field)
        except DataError as error:
            text = in_words(error)
            problems.append(Problem(where, text.replace("\n", "\n    ") if "\n" in text else text))
    if problems and batch is None:
        raise DataError(joined(problem.text for problem in problems))
    if problems and batch is not None:
        source, count = batch.source, len(problems)
        head = plural("{source}: {n} error in the inputs", "{source}: {n} errors in the inputs", count, source=source)
        raise DataError(listing(head, problems))
    if plots and importlib.util.find_spec("matplotlib") is None:
        text = Text(
            "emitters.no_plot, zernike.no_plot: plots need matplotlib; install it (pip install matplotlib) or set both "
            "to true"
        )
        raise ConfigError(joined([batch.source, text], ": ") if batch is not None else text)
    if any("parquet" in job.config.export for job in jobs) and importlib.util.find_spec("pyarrow") is None:
        text = Text("export: parquet needs pyarrow; install it (pip install pyarrow) or remove it")
        raise ConfigError(joined([batch.source, text], ": ") if batch is not None else text)
    configs = [job.config for job in jobs]
    return [*map_notes(configs), *list_notes(configs)]


def _drift_use(config: JobConfig) -> tuple[object, ...]:
    """Return the settings that determine whether a job's drift moves emitters too far."""
    blocks = (config.drift, config.optical, config.psf, config.tiff)
    return (config.emitters.frames, z_limits(config), *(block and block.model_dump_json() for block in blocks))


def _key(key: str, path: str, batch: BatchConfig) -> str:
    """Return the key of an input file in the config: in a variable, in a section that is varied, or in the base."""
    for variable, values in batch.variables.items():
        if key == variable or key.startswith(f"{variable}."):
            rest = key.removeprefix(variable)
            for index, value in enumerate(values):
                inner: Any = value
                for part in rest.split(".")[1:]:
                    inner = inner.get(part) if isinstance(inner, dict) else None
                if inner == path:
                    return f"variables.{variable}[{index}]{rest}"
    return f"{batch.prefix}{key}"
