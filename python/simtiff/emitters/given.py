"""The user's own molecules or localizations: from ``emitters.positions_path`` or from a table.

Molecules are at the listed positions, in the order of the list, and blink according to the config. Records are used
unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.config.blocks import EmitterConfig
from simtiff.emitters.lists import KEPT_ROWS, Given, Summary, Table, read_list, refuse_late
from simtiff.emitters.places import heights
from simtiff.errors import DataError, SimtiffError
from simtiff.language import Text
from simtiff.localizations import Localizations, iter_read, opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig

_MOST_KNOWN = 256
_known: dict[tuple[Any, ...], Summary] = {}  # summaries of files already read
_last: dict[tuple[Any, ...], Given] = {}  # the last list, if small: jobs of a sweep read the same file


def open_given(job: JobConfig) -> Given | None:
    """Read the molecules or records of a job's ``emitters.positions_path``; None if it has none.

    Raises
    ------
    DataError
        The file is damaged, or a row has a value out of range or a frame after the movie's last; names row and column.
    """
    if job.emitters.positions_path is None:
        return None
    key = _key(job)
    given = _last.get(key)
    if given is None:
        given = read_list(_file(job), job.emitters.area)
        _last.clear()
        if given.summary.rows <= KEPT_ROWS:
            _last[key] = given
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[key] = given.summary
    _check_frames(job, given.summary, None)
    return given


def given_table(rows: Any, job: JobConfig) -> Given:
    """Read a pandas table, a mapping of columns or `Localizations` as a job's list; raises as `open_given`."""
    whole = Localizations.of(rows, "emitters")
    table = Table("emitters", whole.columns, lambda: iter([whole]))
    given = read_list(table, job.emitters.area)
    _check_frames(job, given.summary, table)
    return given


def summary_of(job: JobConfig) -> Summary | None:
    """Return the summary of a job's ``emitters.positions_path``; raises as `open_given`. Each file is read once."""
    if job.emitters.positions_path is None:
        return None
    found = _known.get(_key(job))
    if found is not None:
        _check_frames(job, found, None)
        return found
    given = open_given(job)
    return None if given is None else given.summary


def with_frames(job: JobConfig) -> JobConfig:
    """Return a job with the number of frames of its records, if its config sets none.

    A list that cannot be read raises later, when it is opened.
    """
    if "frames" in job.emitters.model_fields_set:
        return job
    try:
        summary = summary_of(job)
    except SimtiffError:
        return job
    return job if summary is None else with_frames_of(job, summary)


def with_frames_of(job: JobConfig, summary: Summary) -> JobConfig:
    """Return a job with the number of frames of the given records, if its config sets none."""
    if summary.per_frame is None or "frames" in job.emitters.model_fields_set:
        return job
    emitters = job.emitters.model_copy(update={"frames": len(summary.per_frame)})
    return job.model_copy(update={"emitters": emitters})


def with_list(job: JobConfig, path: str) -> JobConfig:
    """Return a job with another ``positions_path``, and without its own number or density of emitters."""
    emitters = job.emitters.model_copy(update={"positions_path": path, "density_per_um2": None})
    emitters.model_fields_set.discard("num_emitters")
    return job.model_copy(update={"emitters": emitters})


def without_list(job: JobConfig, number: int | None = None) -> JobConfig:
    """Return a job without a ``positions_path``, and with `number` emitters if given."""
    own = {} if number is None else {"num_emitters": number, "density_per_um2": None}
    if job.emitters.positions_path is None and not own:
        return job
    return job.model_copy(update={"emitters": job.emitters.model_copy(update={"positions_path": None, **own})})


def check_given(job: JobConfig) -> None:
    """Raise `DataError` if a job's list is missing or damaged, or has a z at which no PSF can be computed."""
    summary = summary_of(job)
    if summary is not None:
        check_heights(job, summary)


def check_heights(job: JobConfig, summary: Summary) -> None:
    """Raise `DataError` if a list has a z at which no PSF can be computed with a job's optics."""
    if summary.heights is None:
        return
    low, high = summary.heights
    if job.psf.model == "vectorial" and job.optical.has_mismatch and low < 0:
        text = Text(
            "{path}: column z_um: goes down to {low:g} um, into the coverslip: optical.n_sample differs from "
            "n_immersion, so z is the height above the coverslip; allowed: 0 or more",
            path=summary.name,
            low=low,
        )
        raise DataError(text)
    size_px = job.psf.size_px
    for z_um in (high, low):
        if not job.computes(size_px, z_um):
            text = Text(
                "{path}: column z_um: goes to {z:g} um, which is too far out of focus to be computed; is it in um?",
                path=summary.name,
                z=z_um,
            )
            raise DataError(text)


def list_notes(jobs: Iterable[JobConfig]) -> list[str]:
    """Return warnings about the lists of jobs, a sentence each.

    They are the number of rows outside the field, and that the photons of molecules are not used where each binding
    event draws its own.
    """
    notes: dict[tuple[str, str], str] = {}
    for job in jobs:
        summary = summary_of(job)
        if summary is None:
            continue
        if summary.outside:
            notes[summary.name, "outside"] = Text(
                "{path}: {outside} of {rows} rows are outside the field of view (emitters.area_px); their signal that "
                "reaches a frame is rendered, with the coefficients at the nearest position in the field",
                path=summary.name,
                outside=f"{summary.outside:,}",
                rows=f"{summary.rows:,}",
            )
        if summary.per_frame is None and summary.has_photons and job.emitters.blinking.kind == "paint":
            notes[summary.name, "photons"] = Text(
                "{path}: column photons is not used: with emitters.blinking.kind paint, each binding event draws its "
                "own photon rate",
                path=summary.name,
            )
    return list(notes.values())


def unused_keys(job: JobConfig) -> list[str]:
    """Return the non-default keys of ``emitters`` that have no effect with a job's list."""
    summary, emitters = summary_of(job), job.emitters
    if summary is None:
        return []
    keys = ["margin_px"]
    if summary.per_frame is not None or (summary.has_photons and emitters.blinking.kind != "paint"):
        keys += ["intensity_mu", "intensity_sigma", "photon_distribution"]
    if summary.per_frame is not None:
        keys += ["blinking", "lifetime_avg"]
    if summary.per_frame is not None or summary.heights is not None:
        keys += ["z_range_um", "z_um"]
    defaults = EmitterConfig()
    return [key for key in keys if getattr(emitters, key) != getattr(defaults, key)]


def z_limits(job: JobConfig) -> tuple[float, float]:
    """Return the lowest and the highest z of a job's emitters in um: of its list if it has one, else of its config."""
    summary = summary_of(job)
    return job.emitters.z_limits if summary is None or summary.heights is None else summary.heights


class Handed:
    """Supplies listed molecules instead of drawn ones, each once and in order; see `simtiff.emitters.places`.

    Parameters
    ----------
    given
        The molecules.
    config
        The job's ``emitters`` section.
    """

    def __init__(self, given: Given, config: EmitterConfig) -> None:
        self._given, self._config = given, config
        self._next = 0
        self._rows = slice(0, 0)

    @property
    def has_photons(self) -> bool:
        """Whether the list has photons per molecule."""
        return self._given.photons is not None

    def places(self, random: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Return the positions of the next molecules (n, 3); z is drawn if the list has none."""
        self._rows = slice(self._next, self._next + count)
        self._next += count
        xyz: NDArray[np.float32] = self._given.xyz[self._rows].copy()
        if self._given.summary.heights is None:
            xyz[:, 2] = heights(self._config, random.random(count))
        return xyz

    def photons(self, _random: np.random.Generator, _count: int) -> NDArray[np.float32]:
        """Return the photons per frame of the molecules that `places` returned last."""
        if self._given.photons is None:
            raise ValueError(self._given.summary.name)
        photons: NDArray[np.float32] = self._given.photons[self._rows]
        return photons


def _file(job: JobConfig) -> Table:
    path, size = str(job.emitters.positions_path), _pixel_size(job)
    with opened(path, pixel_size_nm=size) as source:
        columns = source.columns
    return Table(path, columns, lambda: iter_read(path, pixel_size_nm=size))


def _pixel_size(job: JobConfig) -> tuple[float, float]:
    return job.optical.pixel_size_nm_x, job.optical.pixel_size_nm_y


def _key(job: JobConfig) -> tuple[Any, ...]:
    """Return what determines a summary; a missing file counts as empty."""
    path = str(job.emitters.positions_path)
    try:
        found = Path(path).stat()
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:
        state = (0, 0, 0)
    return path, state, _pixel_size(job), job.emitters.area


def _check_frames(job: JobConfig, summary: Summary, table: Table | None) -> None:
    """Raise `DataError` if records are after the last frame that a job's config sets."""
    frames = job.emitters.frames
    if summary.per_frame is None or "frames" not in job.emitters.model_fields_set or len(summary.per_frame) <= frames:
        return
    refuse_late(_file(job) if table is None else table, frames)
