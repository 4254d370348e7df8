"""Check what a batch needs before anything starts: its maps, and the libraries for its plots."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from simtiff.aberrations.maps import check_field, map_notes, map_under
from simtiff.config.messages import Problem, listing
from simtiff.emitters.drift import check_drift
from simtiff.errors import ConfigError, DataError, in_words
from simtiff.language import Text, joined, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simtiff.config.identity import Job
    from simtiff.config.settings import BatchConfig


def check_inputs(
    jobs: Sequence[Job], batch: BatchConfig | None = None, *, keep: bool = False, named: str = "--zmap"
) -> list[str]:
    """Read each map once, check that it covers the fields, and return what a user should know of them.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    batch : BatchConfig, optional
        Where they are from, for messages; default: one job, whose map is from where `named` says.
    keep : bool
        Keep in memory what the jobs need of the last map; `open_field` then reads nothing again.
    named : str
        Option or key that names the map of that one job.

    Raises
    ------
    DataError
        With everything that is wrong with the maps, or with the first drift file that is wrong.
    ConfigError
        Plots are asked for, but matplotlib is not installed.
    """
    good: dict[str, bool] = {}
    problems: list[Problem] = []
    seen: set[tuple[object, ...]] = set()
    plots = False
    for job in jobs:
        config = job.config
        plots = plots or not (config.emitters.no_plot and config.zernike.no_plot)
        if not config.has_zmap:
            continue
        path, zernike = config.zmap_path, config.zernike
        method = zernike.interpolation_method
        need = (path, config.emitters.area_px, zernike.crop_size, zernike.crop_offset, zernike.extrapolate, method)
        if need in seen:
            continue
        seen.add(need)
        where = named if batch is None else _key(path, batch)
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
        head = plural("{source}: {n} error in the maps", "{source}: {n} errors in the maps", count, source=source)
        raise DataError(listing(head, problems))
    check_drift(job.config for job in jobs)
    if plots and importlib.util.find_spec("matplotlib") is None:
        text = Text(
            "emitters.no_plot, zernike.no_plot: plots need matplotlib; install it (pip install matplotlib) or set both "
            "to true"
        )
        raise ConfigError(joined([batch.source, text], ": ") if batch is not None else text)
    return map_notes(job.config for job in jobs)


def _key(path: str, batch: BatchConfig) -> str:
    """Return where the path of a map stands."""
    values = batch.variables.get("zmap_path", ())
    return f"variables.zmap_path[{values.index(path)}]" if path in values else f"{batch.prefix}zmap_path"
