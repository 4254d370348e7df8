"""Rename the folders of finished jobs; a kill at any moment loses none of them.

Every folder is first renamed to a unique temporary name, so that swaps and cycles work. Its ``job.json`` identifies it
under any name, so that the next run finds it and resumes.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from simtiff.batch.found import MOVED
from simtiff.batch.jobfile import describe
from simtiff.config.identity import job_files
from simtiff.config.names import JOB_FILE
from simtiff.errors import BatchError, DataError, in_words
from simtiff.io.files import remove_old, remove_partials, sync_folder
from simtiff.language import Text
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from simtiff.batch.plan import Plan
    from simtiff.movie.events import Watch


def apply_moves(plan: Plan, watch: Watch) -> None:
    """Rename the folders of a plan, and write each ``job.json`` that is missing or contains another name.

    Raises
    ------
    BatchError
        A folder cannot be renamed.
    """
    folder = plan.found.folder
    try:
        for job_id in plan.labels:
            try:
                _label(plan, job_id, folder / job_id)
            except DataError as error:  # its truth is damaged; verify reports it
                watch(Message(in_words(error), job=job_id))
        hidden = {_hide(plan, source): target for source, target in plan.moves.items()}
        if hidden:
            sync_folder(folder)
        for name, target in hidden.items():
            path = folder / name
            if target in plan.jobs:
                _label(plan, target, path)  # makes it newer than the status
            _make_way(plan, target, path)
            path.rename(folder / target)
        if hidden:
            sync_folder(folder)
    except OSError as error:
        text = Text("{folder}: finished jobs cannot be renamed ({reason})", folder=folder, reason=in_words(error))
        raise BatchError(text) from error


def _label(plan: Plan, job_id: str, path: Path) -> None:
    """Write the ``job.json`` of a finished job whose files are in `path`."""
    job, record = plan.jobs[job_id], plan.records[job_id]
    content = plan.found.job_file(path.name)
    if content is None or content.hash != record.hash:
        content = describe(job, record, path)
    content = replace(content, number=job.number, name=job.id, variables=dict(job.variables), files=record.files)
    content.write(path)


def _hide(plan: Plan, source: str) -> str:
    """Rename a folder to a temporary name and return that name."""
    if source.startswith(MOVED):
        return source
    folder = plan.found.folder
    if plan.found.job_file(source) is None:
        _label(plan, plan.moves[source], folder / source)
    name = f"{MOVED}{plan.found.finished[source].hash[:16]}-{secrets.token_hex(4)}"
    (folder / source).rename(folder / name)
    return name


def _make_way(plan: Plan, target: str, incoming: Path) -> None:
    """Remove files of killed runs or of a replaced job from a target folder; keep the user's files."""
    path = plan.found.folder / target
    if not path.exists():
        return
    names = [JOB_FILE, *plan.replaced.get(target, ())]
    clear_job(path, [*names, *(job_files(plan.jobs[target].config) if target in plan.jobs else ())])
    for entry in list(path.iterdir()):
        if os.path.lexists(incoming / entry.name):
            text = Text("{path}: blocks renaming a finished job to this folder; move it elsewhere", path=entry)
            raise BatchError(text)
        entry.rename(incoming / entry.name)
    path.rmdir()


def clear_job(path: Path, names: Iterable[str]) -> None:
    """Remove some files of a job, and temporary files of killed runs."""
    for name in dict.fromkeys(names):
        remove_old(path / name)
    remove_partials(path)
