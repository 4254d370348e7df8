"""Contents of an output folder: its status, corrected by the ``job.json`` of each finished job.

The status is an index. A ``job.json`` takes precedence if it is newer than the index, if the job is not in the index,
or if there is no index. While the shards of a batch run, each shard keeps the status of its jobs in a separate file, a
part, which takes precedence over the index. When the shard ends, it merges its part into the index.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from simtiff.batch.jobfile import JobFile, read_job_file
from simtiff.batch.lock import FolderLock, holders, is_at_work
from simtiff.batch.shards import Shard, lock_name, part_name, shards_in
from simtiff.batch.status import NAME, BatchStatus, DamagedStatusError, JobRecord, is_plain, now
from simtiff.config.identity import ADDED_FILES, TRUTH_NAME, changed_settings
from simtiff.config.names import JOB_FILE
from simtiff.errors import DataError, in_words
from simtiff.language import Text, plural

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MOVED = ".moved-"
"""Prefix of the temporary names of folders that are being renamed."""
_MOST_NOTES = 5
_MOST_READS = 5


@dataclass
class Found:
    """Contents of an output folder.

    Attributes
    ----------
    folder : Path
        The output folder.
    status : BatchStatus
        Its status as stored, with the parts of shards; empty if there is none.
    has_status : bool
        Whether there is a readable status, so that the jobs of the last config are known.
    finished : dict
        The record of each finished job by folder name; whether its files exist is not checked.
    files : dict
        The ``job.json`` contents that were read.
    unlabelled : set of str
        Finished jobs whose ``job.json`` is missing, damaged or contains another name.
    notes : list of str
        Notes for the user.
    """

    folder: Path
    status: BatchStatus
    has_status: bool = False
    finished: dict[str, JobRecord] = field(default_factory=dict)
    files: dict[str, JobFile] = field(default_factory=dict)
    unlabelled: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def job_file(self, name: str) -> JobFile | None:
        """Return the ``job.json`` of a folder; None if it is missing or not readable."""
        if name not in self.files:
            with contextlib.suppress(DataError):
                if (content := read_job_file(self.folder / name)) is not None:
                    self.files[name] = content
        return self.files.get(name)

    def settings(self, name: str) -> dict[str, Any] | None:
        """Return the non-default settings that a job was made with; None if they are not known."""
        if (content := self.job_file(name)) is not None:
            return content.settings
        from simtiff.config.settings import JobConfig
        from simtiff.errors import SimtiffError
        from simtiff.io.hdf5 import attribute, open_hdf5

        try:
            with open_hdf5(self.folder / name / TRUTH_NAME) as file:
                return changed_settings(JobConfig.model_validate_json(attribute(file, "config")))
        except (SimtiffError, ValueError, TypeError, OSError):
            return None

    def current(self) -> BatchStatus:
        """Return the status, updated with jobs that finished later, and with jobs of other configs in `foreign`.

        Without a status file, all finished jobs count as jobs of this config.
        """
        status = self.status
        status.foreign = {}
        for name, record in sorted(self.finished.items(), key=self._order):
            known = status.jobs.get(name)
            if known is None:
                (status.foreign if self.has_status else status.jobs)[name] = record
            elif known.hash == record.hash:
                status.jobs[name] = record
            elif known.state == "completed":  # replaced by another job
                status.jobs[name] = JobRecord(
                    hash=known.hash, data_version=known.data_version, zmap=known.zmap, frames=known.frames
                )
        return status

    def _order(self, item: tuple[str, JobRecord]) -> tuple[int, str]:
        name, _ = item
        return (self.files[name].number if name in self.files else 0), name


def survey(folder: Path, *, resume: bool = True, only: Collection[str] | None = None) -> Found:
    """Read the contents of an output folder; nothing is changed.

    Parameters
    ----------
    folder : Path
        Output folder of a batch; may not exist yet.
    resume : bool
        False: ignore a status that is damaged or of another program.
    only : collection of str, optional
        The jobs whose folders are read; default: all.

    Raises
    ------
    DataError
        The status is of another program or version; or it is damaged, and no job has a ``job.json``.
    """
    for _ in range(_MOST_READS):
        index_ns = _changed_ns(folder / NAME)
        trouble: DataError | None = None
        status = None
        try:
            status = BatchStatus.load(folder)
        except DataError as error:
            if resume and not isinstance(error, DamagedStatusError):
                raise
            trouble = error
        found = Found(folder, status or BatchStatus(folder), has_status=status is not None)
        damaged: list[str] = []
        written_ns = _merge_parts(found, damaged)
        if _changed_ns(folder / NAME) == index_ns:  # else a shard may just have moved its part into it
            break
    # Includes finished jobs whose folder is missing or a link, so that they are reported.
    found.finished = {name: record for name, record in found.status.jobs.items() if record.state == "completed"}
    for entry in _folders(folder):
        if only is None or entry.name in only:
            _look_into(found, entry, written_ns.get(entry.name, index_ns if status is not None else -1), damaged)
    if trouble is not None and resume and not found.files:
        raise trouble
    found.notes += [Text("{problem}; ignored", problem=text) for text in damaged[:_MOST_NOTES]]
    if len(damaged) > _MOST_NOTES:
        found.notes.append(Text("... and {more} more", more=len(damaged) - _MOST_NOTES))
    if status is None and found.files and resume:
        jobs = plural("{n} finished job", "{n} finished jobs", len(found.files))
        values = {"path": folder / NAME, "name": JOB_FILE, "jobs": jobs}
        if trouble is not None:
            note = Text("{path} is damaged; rebuilt from the {name} of {jobs}", **values)
        else:
            note = Text("{path} is missing; rebuilt from the {name} of {jobs}", **values)
        found.notes.append(note)
    return found


def _merge_parts(found: Found, damaged: list[str]) -> dict[str, int]:
    """Merge the parts of shards into the status; return when the part of each job was written, by job."""
    written: dict[str, int] = {}
    living: set[Shard | None] | None = None
    parts: list[BatchStatus] = []
    status = found.status
    for shard in shards_in(found.folder, ".json"):
        name = part_name(shard)
        changed_ns = _changed_ns(found.folder / name)
        try:
            part = BatchStatus.load(found.folder, name)
        except DataError as error:
            damaged.append(in_words(error))
            continue
        if part is None:  # its shard has just merged it into the index
            continue
        if living is None:
            living = {holder.shard for holder in holders(found.folder)}
        parts.append(part)
        states = part.states(running=shard in living)
        for job_id, record in part.jobs.items():
            status.jobs[job_id] = replace(record, state=states[job_id])
            written[job_id] = changed_ns
    if parts:
        status.run_started = min(part.run_started or now() for part in parts)
        status.last_update = max(status.last_update, *(part.last_update for part in parts))
        at_work = [part for part in parts if part.path.name in {part_name(shard) for shard in living or () if shard}]
        status.workers = sum(part.workers for part in at_work or parts)
    return written


def absorb_parts(status: BatchStatus) -> None:
    """Remove parts and locks of shards that are not running; call it after saving the merged status."""
    folder = status.path.parent
    for shard in {*shards_in(folder, ".json"), *shards_in(folder, ".lock")}:
        if not is_at_work(folder, shard):
            for name in (part_name(shard), lock_name(shard)):
                (folder / name).unlink(missing_ok=True)


def close_part(lock: FolderLock, part: BatchStatus) -> None:
    """Merge a shard's part of the status into the index, at the end of the shard."""
    folder = part.path.parent
    with lock.door():
        if (index := BatchStatus.load(folder)) is None:  # somebody removed it
            index = survey(folder).current()
            index.start_time = part.start_time
        index.jobs.update(part.jobs)
        index.run_started, index.workers = part.run_started or index.run_started, part.workers
        index.save(force=True)
        part.path.unlink(missing_ok=True)


def current_status(folder: Path) -> BatchStatus:
    """Return the status of a folder, corrected by its ``job.json`` files; `DataError` if it has neither."""
    found = survey(folder)
    if not found.has_status and not found.files:
        return BatchStatus.of(folder)  # raises
    return found.current()


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _look_into(found: Found, entry: os.DirEntry[str], written_ns: int, damaged: list[str]) -> None:
    """Add one folder to `found`; its ``job.json`` is read only if it may be newer than the status."""
    name = entry.name
    if not is_plain(name) or (name.startswith(".") and not name.startswith(MOVED)):
        return
    record = found.status.jobs.get(name)
    known = record if record is not None and record.state == "completed" else found.status.foreign.get(name)
    if known is not None:
        found.finished[name] = known
    if (changed_ns := _changed_ns(f"{entry.path}{os.sep}{JOB_FILE}")) < 0:
        if known is not None:
            found.unlabelled.add(name)
        return
    # Renaming a folder changes the folder's time, not that of its files.
    changed_ns = max(changed_ns, entry.stat(follow_symlinks=False).st_ctime_ns)
    if known is not None and changed_ns < written_ns:
        return
    try:
        content = read_job_file(found.folder / name)
    except DataError as error:
        damaged.append(in_words(error))
        content = None
    if content is None:
        if known is not None:
            found.unlabelled.add(name)
        return
    failed_later = record is not None and record.state == "failed" and record.hash == content.hash
    if failed_later and changed_ns < written_ns:
        return
    found.finished[name], found.files[name] = content.record(), content
    if content.name != name:
        found.unlabelled.add(name)


def _changed_ns(path: str | Path) -> int:
    """Return the modification time of a file, -1 if it is missing."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns  # noqa: PTH116 - faster, for many files
    except OSError:
        return -1


def whole(record: JobRecord, folder: Path) -> bool:
    """Return whether the movie and the truth of a finished job exist with the right sizes."""
    names = [name for name in record.files if name not in ADDED_FILES]
    if TRUTH_NAME not in names or len(names) < 2:
        return False
    with contextlib.suppress(OSError):
        return all((folder / name).stat().st_size == record.files[name].size for name in names)
    return False
