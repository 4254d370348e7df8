"""List the finished jobs of earlier configs in an output folder, and remove them on request."""

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
    """A finished job of an earlier config: folder name, total size in bytes and number of files."""

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
        Folders that were not removed, because they contain other files.
    """

    folder: Path
    jobs: tuple[ForeignJob, ...]
    removed: bool
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.jobs:
            return tr("{folder}: no finished jobs from earlier configs", folder=self.folder)
        jobs = plural("{n} finished job", "{n} finished jobs", len(self.jobs))
        size = f"{sum(job.bytes for job in self.jobs) / 1e6:.1f} MB"
        rows = [(job.name, str(job.files), f"{job.bytes / 1e6:.1f} MB") for job in self.jobs]
        lines = [
            tr("{folder}: {jobs} from earlier configs, {size}", folder=self.folder, jobs=jobs, size=size),
            *aligned((Text("job"), Text("files"), Text("size")), rows, left={"job"}),
            tr("removed") if self.removed else tr("nothing was changed; --yes removes them"),
        ]
        lines += [tr("{job}: folder kept, it contains other files", job=name) for name in self.kept]
        return "\n".join(lines)


def clean_folder(folder: Path, *, remove: bool = False) -> Cleaning:
    """List the finished jobs that are not in the last config, and remove them on request.

    A folder counts if its ``job.json`` is readable, and if it is not a job of the last config that is still to be
    renamed. Only the files listed in ``job.json``, ``job.json`` itself and temporary files of killed runs are removed.
    Links are not followed.

    Raises
    ------
    DataError
        The folder has no status, so the jobs of the last config are not known.
    BatchError
        A batch is running in the folder, or a file cannot be removed.
    """
    if not remove:
        return Cleaning(folder, tuple(_foreign(_surveyed(folder))), removed=False)
    _surveyed(folder)  # raises before a lock file is created in a folder without a batch
    with FolderLock(folder):
        found = _surveyed(folder)
        jobs = tuple(_foreign(found))
        kept = []
        try:
            for job in jobs:
                if (content := found.job_file(job.name)) is None:
                    continue
                path = folder / job.name
                clear_job(path, [*content.files, JOB_FILE])  # job.json last, so that a rerun finds the rest
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
                "{folder}: no {name}, so the jobs of the last config are not known; is it the output folder of a "
                "batch? simtiff batch writes this file again",
                folder=folder,
                name=NAME,
            )
        )
    return found


def _foreign(found: Found) -> list[ForeignJob]:
    status = found.current()
    # A job that an interrupted run was about to rename is still needed by the next batch.
    lacking = {record.hash for name, record in status.jobs.items() if not whole(record, found.folder / name)}
    jobs = []
    for name, record in status.foreign.items():
        path = found.folder / name
        if name.startswith(MOVED) or record.hash in lacking:
            continue
        if path.is_symlink() or (content := found.job_file(name)) is None or content.name != name:
            continue  # not written by a batch under this name: copied or renamed by a user
        sizes = [(path / file).lstat().st_size for file in (*content.files, JOB_FILE) if (path / file).is_file()]
        jobs.append(ForeignJob(name, sum(sizes), len(sizes)))
    return jobs
