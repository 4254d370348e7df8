"""Which jobs of a batch are to be done, and why those are done again that once were done."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from simtiff.batch.status import BatchStatus, JobRecord, why_not_done
from simtiff.batch.text import listed
from simtiff.config.identity import DATA_VERSION, TRUTH_NAME, flat_settings, job_files, without_effect
from simtiff.io.files import version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simtiff.config.identity import Job
    from simtiff.config.settings import JobConfig

_MOST_REASONS = 20
_MOST_SETTINGS = 3
_CONFIG_CHANGED = "config changed"


@dataclass
class Selection:
    """What one run of a batch does.

    Attributes
    ----------
    pending : list of str
        Jobs to run, in their order.
    plots_only : set of str
        Those whose movie and truth are good, and only plots are to be drawn.
    replaced : dict
        Files of earlier runs by job, which go before the job writes its own.
    records : dict
        The status of all jobs at the start.
    notes : list of str
        What a user should know about it.
    """

    pending: list[str] = field(default_factory=list)
    plots_only: set[str] = field(default_factory=set)
    replaced: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records: dict[str, JobRecord] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def select_jobs(
    jobs: Mapping[str, Job],
    wanted: Mapping[str, JobRecord],
    status: BatchStatus,
    folder: Path,
    *,
    resume: bool,
    retry_failed: bool,
) -> Selection:
    """Decide which jobs to run.

    Parameters
    ----------
    jobs : dict
        All jobs of the config by id.
    wanted : dict
        Their records as they are wanted now (hash, data version, zmap, frames).
    status : BatchStatus
        What earlier runs did.
    folder : Path
        Output folder.
    resume : bool
        False: run all jobs, also finished ones.
    retry_failed : bool
        Only jobs that failed before.
    """
    chosen = Selection()
    reasons: dict[str, str] = {}
    stale: list[JobRecord] = []
    for job_id, job in jobs.items():
        record = status.jobs.get(job_id)
        chosen.records[job_id] = wanted[job_id]
        if retry_failed and (record is None or record.state != "failed"):
            chosen.records[job_id] = record or wanted[job_id]
            continue
        if record is not None and resume and _is_stale(record, wanted[job_id], folder / job_id):
            chosen.records[job_id] = record
            stale.append(record)
            continue
        reason, plots_only = _reason(record, wanted[job_id], folder / job_id, job.config)
        if record is not None and resume and (reason is None or plots_only):
            chosen.records[job_id] = _without_gone(_settled(record, plots_only=plots_only), folder / job_id)
            if plots_only:
                chosen.pending.append(job_id)
                chosen.plots_only.add(job_id)
                chosen.notes.append(f"{job_id}: plots are drawn, the rest is kept: {reason}")
            continue
        chosen.pending.append(job_id)
        if record is not None:
            chosen.replaced[job_id] = tuple(record.files)
            if reason is not None and reason != "new":
                reasons[job_id] = reason
    # First the jobs of this config in their order, then finished ones that it no longer has.
    kept = {name: record for name, record in status.jobs.items() if name not in jobs and record.state == "completed"}
    chosen.records |= kept
    if resume:
        chosen.notes = [
            *_version_notes(status),
            *_stale_notes(stale),
            *_shortened(chosen.notes),
            *_reason_notes(reasons, folder, jobs),
        ]
        if kept:
            names = listed(list(kept), 1)
            chosen.notes.append(f"finished jobs that this config does not have are kept: {names}")
    return chosen


def _reason(record: JobRecord | None, wanted: JobRecord, folder: Path, config: JobConfig) -> tuple[str | None, bool]:
    """Return why a job is to be done, and whether that is only for plots."""
    names = [TRUTH_NAME, config.tiff.filename]
    every = job_files(config)
    if record is None:
        return "new", False
    # A job that failed or was killed at its plots has a truth and a movie that are whole.
    at_plots = record.files and record.state in {"failed", "running", "interrupted"}
    whole = replace(record, state="completed") if at_plots else record
    reason = why_not_done(_only(whole, names), wanted, folder, names)
    if reason is not None:
        return why_not_done(_only(record, names), wanted, folder, names), False
    reason = why_not_done(_only(whole, every), wanted, folder, every)
    return reason, reason is not None


def _is_stale(record: JobRecord, wanted: JobRecord, folder: Path) -> bool:
    """Say whether a job was finished with another data version, and its files are still there."""
    if record.state != "completed" or record.data_version == wanted.data_version:
        return False
    return why_not_done(record, replace(wanted, hash=record.hash), folder, record.files) is None


def _settled(record: JobRecord, *, plots_only: bool) -> JobRecord:
    """Return the record of a job whose movie is whole: done, if that was all, else no longer running."""
    if record.state == "completed":
        return record
    if not plots_only:
        return replace(record, state="completed", error="")
    return replace(record, state="interrupted") if record.state == "running" else record


def _only(record: JobRecord, names: list[str]) -> JobRecord:
    return replace(record, files={name: info for name, info in record.files.items() if name in names})


def _without_gone(record: JobRecord, folder: Path) -> JobRecord:
    """Return the record without plots that somebody removed."""
    return replace(record, files={name: info for name, info in record.files.items() if (folder / name).exists()})


def _version_notes(status: BatchStatus) -> list[str]:
    if status.version in {"", version()}:
        return []
    finished = [record for record in status.jobs.values() if record.state == "completed"]
    same = sum(record.data_version == DATA_VERSION for record in finished)
    note = f"the folder was last written by simtiff {status.version}, this is {version()}"
    return [f"{note}: {same} of {len(finished)} finished jobs have data version {DATA_VERSION} as this one has"]


def _stale_notes(stale: list[JobRecord]) -> list[str]:
    if not stale:
        return []
    versions = ", ".join(map(str, sorted({record.data_version for record in stale})))
    jobs = "1 finished job" if len(stale) == 1 else f"{len(stale)} finished jobs"
    note = f"{jobs} of data version {versions} kept, though pixels or truth of data version {DATA_VERSION} differ"
    return [f"{note}: choose another output folder to make new ones, or --no-resume to make all jobs again"]


def _reason_notes(reasons: Mapping[str, str], folder: Path, jobs: Mapping[str, Job]) -> list[str]:
    notes = []
    items = list(reasons.items())
    for job_id, reason in items[:_MOST_REASONS]:
        settings = _changed_settings(folder / job_id, jobs[job_id].config) if reason.endswith(_CONFIG_CHANGED) else ""
        notes.append(f"{job_id} is done again: {reason}{settings}")
    if rest := Counter(reason for _, reason in items[_MOST_REASONS:]):
        shown = ", ".join(f"{reason}: {count}" for reason, count in rest.most_common(5))
        notes.append(f"... and {rest.total()} more jobs are done again ({shown})")
    return notes


def _shortened(notes: list[str]) -> list[str]:
    more = len(notes) - _MOST_REASONS
    return [*notes[:_MOST_REASONS], f"... and the plots of {more} more jobs"] if more > 0 else notes


def _changed_settings(folder: Path, config: JobConfig) -> str:
    """Return which settings differ from those that the job's truth was made with, as far as it tells."""
    from simtiff.config.settings import JobConfig
    from simtiff.errors import SimtiffError
    from simtiff.io.hdf5 import attribute, open_hdf5

    with contextlib.suppress(SimtiffError, ValueError, TypeError, OSError):
        with open_hdf5(folder / TRUTH_NAME) as file:
            before = flat_settings(JobConfig.model_validate_json(attribute(file, "config")))
        changed = [
            f"{key} {before.get(key)} -> {value}"
            for key, value in flat_settings(config).items()
            if before.get(key) != value and not without_effect(key)
        ]
        # In a sweep the noise follows from the settings; a change of these is what a user should see.
        changed = [setting for setting in changed if not setting.startswith("noise_seed ")] or changed
        if changed:
            return f" ({listed(changed, _MOST_SETTINGS)})"
    return ""
