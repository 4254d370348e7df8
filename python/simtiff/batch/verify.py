"""Check the finished jobs of a batch: all files against the status, some frames by rendering them again."""

from __future__ import annotations

import errno
import hashlib
import itertools
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simtiff.batch.found import absorb_parts, current_status
from simtiff.batch.jobfile import read_job_file
from simtiff.batch.lock import DOOR_NAME, FolderLock, is_locked
from simtiff.batch.shards import lock_name, part_name, shards_in
from simtiff.batch.status import NAME, BatchStatus, JobRecord
from simtiff.batch.text import STATES, listed
from simtiff.config.identity import ADDED_FILES, TRUTH_NAME
from simtiff.config.names import JOB_FILE
from simtiff.errors import BatchError, DataError, SimtiffError, in_words
from simtiff.io.files import JOURNAL_SUFFIX, PARTIAL_SUFFIX, FileInfo, checksum
from simtiff.io.tiff import tifffile_silenced
from simtiff.language import Text, joined, plural, shown, tr
from simtiff.movie.events import Event, Progress, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.movie.events import Watch

FRAMES = 3
"""Default number of frames per job that are rendered again."""

_RENDERED_WITH = ("camera.maps_path",)
"""Keys of the input files used for rendering; the effect of other files is stored in the truth."""

_AGAIN = Text("rerun simtiff batch with its config to redo this job")


def _rewrite(path: Path) -> Text:
    return Text("remove {path}, then rerun simtiff batch with its config to write this file", path=path)


def _remove(path: Path) -> Text:
    return Text("remove {path}, then rerun simtiff batch with its config to redo this job", path=path)


@dataclass
class JobCheck:
    """The result of checking one job.

    Attributes
    ----------
    job_id : str
    files : int
        Number of unchanged files.
    frames : int
        Number of frames rendered again with identical pixels.
    problems : list of (str, str)
        Each problem, and how to fix it.
    notes : list of str
        Notes that are not problems.
    wrong_files : set of str
        Files with problems; ``""`` means the whole job.
    """

    job_id: str
    files: int = 0
    frames: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong_files: set[str] = field(default_factory=set)

    @property
    def is_good(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def wrong(self, problem: str, cure: str, name: str | None = "") -> None:
        """Add a problem of a file, of the whole job (``""``), or of no file of the job (None)."""
        self.problems.append((problem, cure))
        if name is not None:
            self.wrong_files.add(name)

    def __str__(self) -> str:
        parts = []
        if self.files:
            parts.append(shown(plural("{n} file", "{n} files", self.files)))
        if self.frames:
            frames = plural("{n} frame rerendered, identical", "{n} frames rerendered, identical", self.frames)
            parts.append(shown(frames))
        checked = f": {tr(', ').join(parts)}" if parts and self.is_good else ""
        lines = [f"{tr('ok   ') if self.is_good else tr('WRONG')} {self.job_id}{checked}"]
        lines += [f"      {shown(problem)}\n        -> {shown(cure)}" for problem, cure in self.problems]
        lines += [f"      {tr('note: {note}', note=note)}" for note in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True)
class Checked(Event):
    """A finished job was checked."""

    kind = "checked"
    check: JobCheck


@dataclass(frozen=True)
class Verification:
    """The result of ``simtiff verify``; as text, its last lines.

    Attributes
    ----------
    folder : Path
    jobs : tuple of JobCheck
        The check of each finished job.
    unfinished : dict
        State of each job that is not finished.
    strays : tuple of str
        Files and folders that do not belong to the batch.
    running : bool
        Whether a batch is running in the folder.
    foreign : int
        Number of finished jobs of other configs, which are not checked.
    marked : bool
        Whether the problems are marked, so that the next run of the batch repairs them.
    """

    folder: Path
    jobs: tuple[JobCheck, ...]
    unfinished: Mapping[str, str]
    strays: tuple[str, ...]
    running: bool
    foreign: int = 0
    marked: bool = False

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 all jobs are finished and correct, 1 something is wrong or missing."""
        return int(bool(self.unfinished) or not all(job.is_good for job in self.jobs))

    def __str__(self) -> str:
        good = sum(job.is_good for job in self.jobs)
        lines = [
            tr(
                "{folder}: {jobs}: {good} ok, {wrong} wrong",
                folder=self.folder,
                jobs=plural("{n} finished job", "{n} finished jobs", len(self.jobs)),
                good=good,
                wrong=len(self.jobs) - good,
            )
        ]
        if self.marked and good < len(self.jobs):
            lines.append(tr("marked: rerun simtiff batch with its config to repair them"))
        elif good < len(self.jobs):
            lines.append(tr("to repair all: simtiff verify --mark, then simtiff batch with its config"))
        if self.foreign:
            jobs = plural("{n} finished job", "{n} finished jobs", self.foreign)
            lines.append(tr("not checked: {jobs} from other configs (see simtiff clean)", jobs=jobs))
        if self.unfinished:
            states = list(self.unfinished.values())
            counts = tr(", ").join(
                tr("{n} {words}", n=states.count(state), words=STATES[state]) for state in dict.fromkeys(states)
            )
            todo = Text("rerun simtiff batch to finish them")
            if self.running:
                todo = Text("a batch is running")
            jobs = plural("{n} job", "{n} jobs", len(states))
            lines.append(tr("{jobs} not finished ({states}): {what}", jobs=jobs, states=counts, what=todo))
        if self.strays:
            lines.append(tr("not part of this batch: {names}", names=listed(self.strays, 5)))
        return "\n".join(lines)


def verify_batch(
    folder: Path,
    frames: int = FRAMES,
    watch: Watch = ignore,
    *,
    mark: bool = False,
) -> Verification:
    """Check every finished job of an output folder; nothing is changed unless `mark` is set.

    Parameters
    ----------
    folder : Path
        Output folder of a batch.
    frames : int
        Number of frames of each movie that are rendered again from its ``emitters.h5`` and compared with the file,
        pixel by pixel. The choice of frames depends only on the job.
    watch : callable, optional
        Called with each event: `Progress` of the stage ``jobs``, and `Checked` after each job.
    mark : bool
        Mark the problems, so that the next run of the batch repairs them: a job with a wrong movie or truth is marked
        as failed; a wrong plot, export or ``job.json`` is removed.

    Raises
    ------
    DataError
        The folder has no status and no finished jobs, or the status was written by another program.
    BatchError
        With `mark`: a batch is running in the folder, or it is not writable.
    """
    if not mark:
        return _verify(folder, current_status(folder), frames, watch, running=is_locked(folder))
    current_status(folder)  # raises before a lock file is created in a folder without a batch
    with FolderLock(folder):
        status = current_status(folder)
        found = _verify(folder, status, frames, watch, running=False)
        try:
            for check in found.jobs:
                _mark(folder / check.job_id, check, status)
            status.save(force=True)
            absorb_parts(status)
        except OSError as error:
            text = Text("{folder}: jobs cannot be marked ({reason})", folder=folder, reason=in_words(error))
            raise BatchError(text) from error
        return replace(found, marked=True)


def _mark(folder: Path, check: JobCheck, status: BatchStatus) -> None:
    """Change a job with problems so that the next run does not skip it."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return  # only the user can remove it
    names = check.wrong_files & {*ADDED_FILES, JOB_FILE}
    if names != check.wrong_files:
        error = joined([problem for problem, _ in check.problems], "; ")
        status.update(check.job_id, state="failed", error=error, files={})
        names.add(JOB_FILE)
    for path in (folder / name for name in names):
        if path.is_symlink() or path.is_file():
            path.unlink()


def _verify(folder: Path, status: BatchStatus, frames: int, watch: Watch, *, running: bool) -> Verification:
    """Check the finished jobs of a status."""
    finished = status.ids("completed")
    checks = []
    for index, job_id in enumerate(finished):
        watch(Progress("jobs", index, len(finished)))
        check = check_job(folder / job_id, job_id, status.jobs[job_id], frames)
        checks.append(check)
        watch(Checked(check, job=job_id))
    states = {name: state for name, state in status.states(running=running).items() if state != "completed"}
    known = {NAME, lock_name(None), *status.jobs, *status.foreign}
    known |= {part_name(shard) for shard in shards_in(folder, ".json")}
    known |= {lock_name(shard) for shard in shards_in(folder, ".lock")} | {DOOR_NAME}
    strays = sorted(path.name for path in folder.iterdir() if path.name not in known)
    return Verification(folder, tuple(checks), states, tuple(strays), running, len(status.foreign))


def check_job(folder: Path, job_id: str, record: JobRecord, frames: int = FRAMES) -> JobCheck:
    """Check one finished job; see `verify_batch`."""
    check = JobCheck(job_id)
    if not record.files:
        check.wrong(Text("the status file lists no files for this job"), _AGAIN)
        return check
    if (wrong := _no_folder(folder)) is not None:
        check.wrong(wrong, _remove(folder))
        return check
    for name, info in record.files.items():
        _check_file(check, folder / name, info)
    _check_job_file(check, folder, record)
    if folder.is_symlink() and not check.is_good:
        check.wrong(Text("its folder is a link, which simtiff batch does not write to"), _remove(folder))
    _check_folder(check, folder, record)
    if check.is_good and frames > 0:
        try:
            _check_frames(check, folder, record, frames)
        except OSError as error:
            check.wrong(in_words(error), _AGAIN)
    return check


def _no_folder(folder: Path) -> str | None:
    """Return an error text if a job's folder is something else; None if it is a folder or missing."""
    if folder.is_dir() or not (folder.is_symlink() or folder.exists()):
        return None
    if folder.is_symlink():
        return Text("{name} is a link that does not point to a folder", name=folder.name)
    return Text("{name} is not a folder", name=folder.name)


def _check_file(check: JobCheck, path: Path, info: FileInfo) -> None:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            check.wrong(Text("{name} is not a file", name=path.name), _remove(path), path.name)
            return
        if found.st_size != info.size:
            text = Text(
                "{name} has {size:,} bytes, expected {written:,}",
                name=path.name,
                size=found.st_size,
                written=info.size,
            )
            check.wrong(text, _AGAIN, path.name)
            return
        content = checksum(path)
    except (FileNotFoundError, NotADirectoryError):
        check.wrong(Text("{name} is missing", name=path.name), _AGAIN, path.name)
        return
    except OSError as error:
        cure = _remove(path) if error.errno == errno.ELOOP else Text("make it readable, then verify again")
        check.wrong(Text("{name} cannot be read: {reason}", name=path.name, reason=in_words(error)), cure)
        return
    if content != info:
        text = Text(
            "{name} has changed since it was written: CRC-32 {found:08x}, expected {expected:08x}",
            name=path.name,
            found=content.crc32,
            expected=info.crc32,
        )
        check.wrong(text, _remove(path), path.name)  # its size is right, so resuming would not detect it
        return
    check.files += 1


def _check_job_file(check: JobCheck, folder: Path, record: JobRecord) -> None:
    path = folder / JOB_FILE
    try:
        content = read_job_file(folder)
    except DataError as error:
        check.wrong(in_words(error), _rewrite(path), JOB_FILE)
        return
    if content is None:
        if check.is_good:  # else the job is rerun with all its files
            cure = Text("rerun simtiff batch with its config to write this file")
            check.wrong(Text("{name} is missing", name=JOB_FILE), cure, JOB_FILE)
    elif (content.hash, content.files) != (record.hash, record.files):
        check.wrong(
            Text("{name} lists other files than {status}", name=JOB_FILE, status=NAME), _rewrite(path), JOB_FILE
        )


def _check_folder(check: JobCheck, folder: Path, record: JobRecord) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name not in {*record.files, JOB_FILE})
    except OSError:  # already reported for its files
        return
    temporary = [name for name in names if name.endswith((PARTIAL_SUFFIX, JOURNAL_SUFFIX))]
    if temporary:
        problem = Text("temporary files of a killed run: {names}", names=listed(temporary, 5))
        check.wrong(problem, Text("rerun simtiff batch with its config to clean them up"), None)
    if extra := [name for name in names if name not in temporary]:
        check.notes.append(Text("not part of this job: {names}", names=listed(extra, 5)))


def _check_frames(check: JobCheck, folder: Path, record: JobRecord, count: int) -> None:
    from simtiff.config.identity import DATA_VERSION, job_hash
    from simtiff.movie.truthfile import TruthFile

    if record.data_version != DATA_VERSION:
        note = Text(
            "frames not compared: made with data version {before}, this simtiff renders data version {now}; the files "
            "are unchanged",
            before=record.data_version,
            now=DATA_VERSION,
        )
        check.notes.append(note)
        return
    path = folder / TRUTH_NAME
    try:
        with TruthFile(path) as truth:
            config = truth.config
            if job_hash(config, record.zmap) != record.hash:
                check.wrong(Text("{name} belongs to another config than the status", name=TRUTH_NAME), _remove(path))
                return
            if (files := _other_files(config, record)) is not None:
                check.notes.append(Text("frames not compared: {files}", files=files))
                return
            _compare(
                check, config, truth, folder / config.tiff.filename, sample_frames(record.hash, truth.n_frames, count)
            )
    except SimtiffError as error:
        check.wrong(in_words(error), _remove(path))


def _other_files(config: JobConfig, record: JobRecord) -> str | None:
    """Return which input files used for rendering have changed, as text; None if none has."""
    from simtiff.batch.inputs import file_digest
    from simtiff.config.inputs import input_paths, split_digest

    before = split_digest(record.zmap)
    paths = {key: path for key, path in input_paths(config).items() if key in _RENDERED_WITH}
    try:
        changed = [key for key, path in paths.items() if file_digest(path) != before.get(key)]
    except DataError as error:
        return in_words(error)
    return Text("content of {keys} changed", keys=", ".join(changed)) if changed else None


def _compare(check: JobCheck, config: JobConfig, truth: Any, path: Path, frames: list[int]) -> None:
    from simtiff.movie.frames import Movie

    movie = Movie(config, truth)
    rendered = np.empty((1, *movie.shape[1:]), movie.dtype)
    different = []
    for frame, stored in read_frames(path, frames, movie.shape[0]):
        movie.frames_into(frame, frame + 1, rendered)
        if stored.dtype != rendered.dtype or stored.shape != rendered.shape[1:]:
            text = Text(
                "{name}: frames are {found}, expected {expected}",
                name=path.name,
                found=f"{stored.dtype.name} {stored.shape}",
                expected=f"{rendered.dtype.name} {rendered.shape[1:]}",
            )
            check.wrong(text, _remove(path))
            return
        if not np.array_equal(stored, rendered[0]):
            different.append((frame, int(np.count_nonzero(stored != rendered[0]))))
    check.frames = len(frames) - len(different)
    if different:
        text = Text(
            "{name}: these frames differ when rerendered from {truth}: {frames}",
            name=path.name,
            truth=TRUTH_NAME,
            frames=", ".join(f"{frame} ({pixels:,} px)" for frame, pixels in different),
        )
        cure = Text(
            "the files are unchanged since they were written, so either another build or type of processor made them, "
            "or one of the two runs computed something wrong: {cure}",
            cure=_remove(path),
        )
        check.wrong(text, cure)


def sample_frames(key: str, total: int, count: int) -> list[int]:
    """Return `count` of `total` frames in order, spread over the movie, determined by the key."""
    count = min(count, total)
    if count < 1:
        return []
    edges = [total * part // count for part in range(count + 1)]
    frames = []
    for part, (start, stop) in enumerate(itertools.pairwise(edges)):
        chance = int.from_bytes(hashlib.sha256(f"{key} {part}".encode()).digest()[:8])
        frames.append(start + chance % (stop - start))
    return frames


def read_frames(path: Path, frames: list[int], total: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield some frames of a movie file that has `total` frames; `DataError` if they cannot be read."""
    import tifffile

    try:
        with tifffile_silenced(), tifffile.TiffFile(path) as tiff:
            if (found := len(tiff.pages)) != total:
                text = Text("{path}: has {found} frames, expected {total}", path=path, found=found, total=total)
                raise DataError(text)  # noqa: TRY301 - not caught here
            for frame in frames:
                yield frame, np.asarray(tiff.pages[frame].asarray())
    except (SimtiffError, OSError, MemoryError):
        raise
    except Exception as error:  # with a damaged file, tifffile may raise nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(Text("{path}: cannot be read as TIFF ({reason})", path=path, reason=reason)) from error
