"""Finished jobs of earlier configs in an output folder: listed, and removed when asked."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simtiff.batch.found import MOVED, Found, absorb_parts, survey, whole
from simtiff.batch.lock import FolderLock
from simtiff.batch.moves import clear_job
from simtiff.batch.status import NAME
from simtiff.batch.text import aligned
from simtiff.config.names import JOB_FILE
from simtiff.errors import BatchError, DataError, in_words
from simtiff.language import Text, plural, tr

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ForeignJob:
    """A finished job of an earlier config: the name of its folder, bytes and number of the files that are there."""

    name: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Cleaning:
    """Jobs of earlier configs; as text, what ``simtiff clean`` prints.

    Attributes
    ----------
    folder : Path
        Output folder of a batch.
    jobs : tuple of ForeignJob
    removed : bool
        Whether they were removed.
    kept : tuple of str
        Folders that stay, for there is something else in them.
    """

    folder: Path
    jobs: tuple[ForeignJob, ...]
    removed: bool
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.jobs:
            return tr("{folder}: no finished jobs of earlier configs", folder=self.folder)
        jobs = plural("{n} finished job", "{n} finished jobs", len(self.jobs))
        size = f"{sum(job.bytes for job in self.jobs) / 1e6:.1f} MB"
        rows = [(job.name, str(job.files), f"{job.bytes / 1e6:.1f} MB") for job in self.jobs]
        lines = [
            tr("{folder}: {jobs} of earlier configs, {size}", folder=self.folder, jobs=jobs, size=size),
            *aligned((Text("job"), Text("files"), Text("size")), rows, left={"job"}),
            tr("removed") if self.removed else tr("nothing was changed; --yes removes them"),
        ]
        lines += [tr("{job}: the folder stays, for it holds other files, too", job=name) for name in self.kept]
        return "\n".join(lines)


def clean_folder(folder: Path, *, remove: bool = False) -> Cleaning:
    """List the finished jobs that the last config did not want, and remove them if asked.

    Only folders with a ``job.json`` that can be read count, and none that holds what the last config wants under
    another name; only the files that it names go, itself, and what dead
    runs left half-written. Links are not followed.

    Raises
    ------
    DataError
        The folder has no status: nothing says which jobs are of the last config.
    BatchError
        A batch is at work in the folder, or a file cannot be removed.
    """
    if not remove:
        return Cleaning(folder, tuple(_foreign(_surveyed(folder))), removed=False)
    _surveyed(folder)  # before a lock is put into a folder that is none of a batch
    with FolderLock(folder):
        found = _surveyed(folder)
        jobs = tuple(_foreign(found))
        kept = []
        try:
            for job in jobs:
                if (content := found.job_file(job.name)) is None:
                    continue
                path = folder / job.name
                clear_job(path, [*content.files, JOB_FILE])  # last what says that the others are to go
                with contextlib.suppress(OSError):
                    path.rmdir()
                if path.exists():
                    kept.append(job.name)
            status = found.current()
            status.foreign = {name: record for name, record in status.foreign.items() if (folder / name).exists()}
            for name in kept:
                status.foreign.pop(name, None)
            status.save(force=True)
            absorb_parts(status)
        except OSError as error:
            raise BatchError(
                Text("{folder}: cannot be cleaned ({reason})", folder=folder, reason=in_words(error))
            ) from error
    return Cleaning(folder, jobs, removed=True, kept=tuple(kept))


def _surveyed(folder: Path) -> Found:
    found = survey(folder)
    if not found.has_status:
        raise DataError(
            Text(
                "{folder}: no {name} there that says which jobs are of the last config; is it the output folder of a "
                "batch? simtiff batch writes it again",
                folder=folder,
                name=NAME,
            )
        )
    return found


def _foreign(found: Found) -> list[ForeignJob]:
    status = found.current()
    # What an interrupted run was about to rename is still wanted; the next batch goes on with it.
    lacking = {record.hash for name, record in status.jobs.items() if not whole(record, found.folder / name)}
    jobs = []
    for name, record in status.foreign.items():
        path = found.folder / name
        if name.startswith(MOVED) or record.hash in lacking:
            continue
        if path.is_symlink() or (content := found.job_file(name)) is None or content.name != name:
            continue  # not what a batch put there: a copy, or one that somebody renamed
        sizes = [(path / file).lstat().st_size for file in (*content.files, JOB_FILE) if (path / file).is_file()]
        jobs.append(ForeignJob(name, sum(sizes), len(sizes)))
    return jobs
