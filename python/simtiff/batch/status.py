"""The status of a batch: ``batch_status.json`` in its output folder, written atomically."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from simtiff.batch.events import Done, Failed, Gone, Started
from simtiff.config.inputs import ZMAP, changed_files
from simtiff.config.names import OWN_NAMES
from simtiff.errors import DataError, os_reason, printable
from simtiff.io.files import FileInfo, read_regular, version, write_whole
from simtiff.language import Text
from simtiff.movie.events import MovieMade, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from simtiff.movie.events import Event

NAME = OWN_NAMES[0]
SCHEMA = 1
_CURE = Text("move it elsewhere, or rerun all jobs with --no-resume")
_LARGEST_BYTES = 1 << 30
# Maximum fraction of the time spent on saving; jobs that a crash loses are rerun.
_SAVE_SHARE = 0.05
_SAVE_SECONDS = 0.25
_PROGRESS_SECONDS = 10.0


CONFIG_CHANGED = Text("config changed")


class DamagedStatusError(DataError):
    """A status file is damaged; it can be rebuilt from the jobs' ``job.json``."""


State = Literal["pending", "running", "completed", "failed", "interrupted"]


def is_plain(name: str) -> bool:
    """Return whether a name is a single, printable file name, as simtiff writes it."""
    return name not in {"", ".", ".."} and name.isprintable() and not any(character in "/\\" for character in name)


def _plain(name: str) -> str:
    if not is_plain(name):
        raise ValueError("is not a name of a job or a file")
    return name


def _sized(info: FileInfo) -> FileInfo:
    if not (0 <= info.size < 1 << 63 and 0 <= info.crc32 < 1 << 32):
        raise ValueError("is not a size and CRC-32 of a file")
    return info


Name = Annotated[str, AfterValidator(_plain)]
Whole = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
Files = Mapping[Name, Annotated[FileInfo, AfterValidator(_sized)]]


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class JobRecord:
    """The record of one job.

    Attributes
    ----------
    hash, data_version, zmap : str, int, str
        Hash of everything that determines its files, and two parts of that, to explain why a job is rerun.
    frames : int
        Frames of its movie.
    frames_done : int
        While it runs: frames rendered so far, updated every few seconds.
    files : dict
        Finished files by name.
    started, finished : str
        ISO 8601, UTC; empty if it did not start or finish.
    seconds : float
        Run time.
    error : str
        Why it failed.
    """

    state: State = "pending"
    hash: str = ""
    data_version: Whole = 0
    zmap: str = ""
    frames: Whole = 0
    frames_done: Whole = 0
    files: Files = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    seconds: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0
    error: str = ""


@dataclass(frozen=True)
class _Stored:
    """The part of the file that is read; the rest is derived from it."""

    start_time: str
    last_update: str
    jobs: dict[Name, JobRecord]
    run_started: str = ""
    workers: Whole = 0
    simtiff_version: str = ""
    foreign: dict[Name, JobRecord] = field(default_factory=dict)


class BatchStatus:
    """The status of all jobs of an output folder, in memory and on disk.

    Parameters
    ----------
    folder : Path
        Output folder of the batch.
    jobs : dict
        Records by job id, in the order of the batch.
    start_time : str
        When the batch was first started.
    name : str
        Name of the file; each shard has a separate one (`simtiff.batch.shards.part_name`).

    Attributes
    ----------
    run_started : str
        When the last run of the batch started its jobs.
    workers : int
        Its number of workers.
    version : str
        The version of simtiff that wrote the file; empty if it was not written yet.
    foreign : dict
        Finished jobs of other configs in the same folder, by folder name.
    """

    def __init__(
        self, folder: Path, jobs: Mapping[str, JobRecord] | None = None, start_time: str = "", name: str = NAME
    ) -> None:
        self.path = folder / name
        self.run_started = ""
        self.workers = 0
        self.version = ""
        self.jobs: dict[str, JobRecord] = dict(jobs or {})
        self.foreign: dict[str, JobRecord] = {}
        self.start_time = start_time or now()
        self.last_update = self.start_time
        self._changed = True
        self._due = 0.0
        self._progress_due = 0.0

    @classmethod
    def load(cls, folder: Path, name: str = NAME) -> BatchStatus | None:
        """Return the status of a folder, or of one shard in it; None if there is none.

        Raises
        ------
        DamagedStatusError
            The file is damaged.
        DataError
            It was written by another version or program, or cannot be read.
        """
        path = folder / name
        try:
            data = read_regular(path, _LARGEST_BYTES)
            if len(data) > _LARGEST_BYTES:
                raise DataError(Text("{path}: too large for a status file; {cure}", path=path, cure=_CURE))
            content = json.loads(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(Text("{path}: cannot be read ({reason})", path=path, reason=os_reason(error))) from error
        except (ValueError, RecursionError) as error:
            text = Text("{path}: damaged, not valid JSON ({reason}); {cure}", path=path, reason=error, cure=_CURE)
            raise DamagedStatusError(text) from error
        if not isinstance(content, dict) or "schema" not in content:
            raise DataError(Text("{path}: not a simtiff status file; {cure}", path=path, cure=_CURE))
        if content["schema"] != SCHEMA:
            raise DataError(
                Text(
                    "{path}: written by simtiff {version} with schema {schema}; this version reads schema {own}; "
                    "{cure}",
                    path=path,
                    version=repr(content.get("simtiff_version")),
                    schema=repr(content["schema"]),
                    own=SCHEMA,
                    cure=_CURE,
                )
            )
        stored = _stored(path, content)
        status = cls(folder, stored.jobs, stored.start_time, name)
        status.last_update = stored.last_update
        status.run_started = stored.run_started
        status.workers = stored.workers
        status.version = stored.simtiff_version
        status.foreign = stored.foreign
        status._changed = False
        return status

    @classmethod
    def of(cls, folder: Path) -> BatchStatus:
        """Return the status of a folder; `DataError` as from `load`, or if there is none."""
        if (status := cls.load(folder)) is None:
            text = Text("{folder}: no {name}; is it the output folder of a batch?", folder=folder, name=NAME)
            raise DataError(text)
        return status

    def update(self, job_id: str, **changes: Any) -> None:
        """Change fields of a job's record."""
        changes = {"frames_done": 0} | changes
        self.jobs[job_id] = replace(self.jobs.get(job_id, JobRecord()), **changes)
        self._changed = True

    def watch(self, event: Event) -> None:
        """Update the record of a job from an event; progress alone is saved at most every ten seconds."""
        if (record := self.jobs.get(event.job)) is None:
            return
        done = record.state == "completed"  # only its plots or exports are written: it stays completed
        match event:
            case Started() if not done:
                self.update(event.job, state="running", started=now(), error="")
            case Progress(stage="frames"):
                self.jobs[event.job] = replace(record, frames_done=event.done)
                if time.monotonic() >= self._progress_due:
                    self._changed = True
            case MovieMade():
                self.update(event.job, files=event.files, frames_done=record.frames)
            case Done():
                files = {**record.files, **event.files}  # the new files may be only plots or exports
                seconds = record.seconds + (0 if done else event.seconds)
                finished = record.finished if done else now()
                self.update(event.job, finished=finished, state="completed", files=files, seconds=seconds)
            case Failed() if not done:
                seconds = record.seconds + event.seconds
                self.update(event.job, finished=now(), state="failed", error=event.error, seconds=seconds)
            case Gone():
                self.update(event.job, state="failed", error=event.error, files={})

    def ids(self, *states: State) -> list[str]:
        """Return the ids of the jobs in one of these states, in the order of the batch."""
        return [name for name, record in self.jobs.items() if record.state in states]

    def states(self, *, running: bool) -> dict[str, State]:
        """Return the jobs' states; if no batch is `running`, jobs recorded as running were interrupted."""
        return {
            name: "interrupted" if record.state == "running" and not running else record.state
            for name, record in self.jobs.items()
        }

    def due_in(self) -> float | None:
        """Return in how many seconds `save` is due, None if nothing changed."""
        return max(0.0, self._due - time.monotonic()) if self._changed else None

    def save(self, *, force: bool = False) -> None:
        """Write the file if it is due, or with `force`; OSError if that fails."""
        begin = time.monotonic()
        if not force and not (self._changed and begin >= self._due):
            return
        self.last_update = now()
        text = json.dumps(self.as_dict(), indent=1, allow_nan=False)
        self._due = begin + _SAVE_SECONDS  # also limits retries after an error
        write_whole(self.path, text.encode())
        self._changed = False
        end = time.monotonic()
        self._due = end + max(_SAVE_SECONDS, (end - begin) / _SAVE_SHARE)
        self._progress_due = end + _PROGRESS_SECONDS

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "schema": SCHEMA,
            "simtiff_version": version(),
            "start_time": self.start_time,
            "last_update": self.last_update,
            "run_started": self.run_started,
            "workers": self.workers,
            "total_jobs": len(self.jobs),
            "completed_jobs": self.ids("completed"),
            "failed_jobs": [
                {"job_id": name, "error": record.error, "timestamp": record.finished}
                for name, record in self.jobs.items()
                if record.state == "failed"
            ],
            "jobs": _as_plain(self.jobs),
            **({"foreign": _as_plain(self.foreign)} if self.foreign else {}),
        }


def _as_plain(jobs: Mapping[str, JobRecord]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in asdict(record).items() if value not in ("", {}, 0)}
        for name, record in jobs.items()
    }


def _stored(path: Path, content: dict[str, Any]) -> _Stored:
    """Return the content of a status file; `DataError` with the key if it is not valid."""
    try:
        return TypeAdapter(_Stored).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = printable(".".join(str(part) for part in first["loc"] if part != "[key]"))
        what = first["msg"].removeprefix("Value error, ")
        text = Text("{path}: damaged, {key}: {what}; {cure}", path=path, key=key, what=what, cure=_CURE)
        raise DamagedStatusError(text) from None


def why_not_done(record: JobRecord | None, wanted: JobRecord, folder: Path, names: Iterable[str]) -> str | None:
    """Return why a job has to be run (again), None if it is finished.

    Parameters
    ----------
    record : JobRecord or None
        The job's record in the status.
    wanted : JobRecord
        The record according to the config: hash, data_version and zmap.
    folder : Path
        The job's folder.
    names : iterable of str
        Files that the job must have.
    """
    if record is None or record.state == "pending":
        return "new"
    changed = what_changed(record, wanted) if record.hash != wanted.hash else ""
    if record.state == "failed":
        return Text("failed before")
    if record.state in {"running", "interrupted"}:
        if changed and record.hash:
            return Text("interrupted before; {change}", change=changed)
        return Text("interrupted before")
    if changed:
        return changed
    for name in names:
        if name not in record.files:
            return Text("{name} was not requested before", name=name)
    for name, info in record.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return Text("{name} is missing", name=name)
        if size != info.size:
            return Text("{name} has {size} bytes, expected {written}", name=name, size=size, written=info.size)
    return None


def what_changed(record: JobRecord, wanted: JobRecord) -> str:
    """Return what differs between a job and its config: data version, input files or settings."""
    if record.data_version != wanted.data_version:
        before, now_is = record.data_version, wanted.data_version
        return Text("made with data version {before}, now {now}", before=before, now=now_is)
    files = changed_files(record.zmap, wanted.zmap)
    if not files:
        return CONFIG_CHANGED
    if files[0] == ZMAP:
        return Text("content of the zmap changed")
    return Text("content of {keys} changed", keys=", ".join(files))
