"""Progress of a batch as text and as JSON: counts, rates, estimated end and a table of jobs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from simtiff.batch.found import current_status
from simtiff.batch.status import JobRecord, State
from simtiff.batch.summary import success_rate
from simtiff.batch.text import STATES, aligned, cells, cut, cut_middle, duration, listed, percent, shown_rate
from simtiff.errors import printable
from simtiff.language import Text, plural, shown, tr
from simtiff.movie.estimate import show_bytes

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 80
"""Width of the table of jobs: longer texts are cut, names in the middle; the JSON is complete."""
_SHORTEST_NAME = 12


@dataclass(frozen=True)
class Rates:
    """Speed of a batch.

    Attributes
    ----------
    worker_frames_per_s, seconds_per_job : float or None
        Per worker, over all finished jobs; None before the first one.
    frames_per_s, jobs_per_hour : float or None
        Of the last run, all workers together.
    seconds_left : float or None
        Until the running batch ends; None if not known or if no batch is running.
    """

    worker_frames_per_s: float | None = None
    seconds_per_job: float | None = None
    frames_per_s: float | None = None
    jobs_per_hour: float | None = None
    seconds_left: float | None = None


class Overview:
    """The report of ``simtiff status`` on an output folder; nothing is changed.

    Parameters
    ----------
    folder : Path
        Output folder of a batch.
    time : datetime, optional
        The current time.

    Raises
    ------
    DataError
        The folder has no status, or a damaged one.
    """

    def __init__(self, folder: Path, time: datetime | None = None) -> None:
        from simtiff.batch.lock import holders

        self.status = current_status(folder)
        self.folder = folder
        at_work = holders(folder)
        self.running = bool(at_work)
        self.shards = [str(holder.shard) for holder in at_work if holder.shard is not None]
        self.states = self.status.states(running=self.running)
        self._now = time or datetime.now(UTC)
        self._run = self._done_in_run()
        self.rates = self._rates()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; unknown values are None."""
        status, rates = self.status, self.rates
        return {
            "output_dir": str(self.folder),
            "running": self.running,
            "shards": self.shards,
            "simtiff_version": status.version,
            "start_time": status.start_time,
            "run_started": status.run_started or None,
            "last_update": status.last_update,
            "workers": status.workers or None,
            "total_jobs": len(status.jobs),
            "counts": self._counts(),
            "foreign_jobs": len(status.foreign),
            "run": {"completed": len(self._run), "to_do": self._asked()},
            "worker_frames_per_s": rates.worker_frames_per_s,
            "seconds_per_job": rates.seconds_per_job,
            "frames_per_s": rates.frames_per_s,
            "jobs_per_hour": rates.jobs_per_hour,
            "seconds_left": rates.seconds_left,
            "estimated_end": self._end(),
            "jobs": [self._job(name, record) for name, record in status.jobs.items()],
        }

    def as_json(self) -> str:
        """Return `as_dict` as text."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        status, rates, counts = self.status, self.rates, self._counts()
        total = len(status.jobs)
        lines = [
            tr(
                "{folder}: {done}/{total} jobs completed ({share})",
                folder=self.folder,
                done=counts["completed"],
                total=total,
                share=percent(counts["completed"], total),
            ),
            tr(", ").join(f"{shown(STATES[state])} {count}" for state, count in counts.items() if count)
            or tr("no jobs"),
            tr("started {start}, updated {update}", start=_shown(status.start_time), update=_shown(status.last_update)),
            tr("a batch is running with {workers}", workers=plural("{n} worker", "{n} workers", status.workers))
            if self.running
            else tr("no batch is running"),
        ]
        if self.shards:
            lines.append(tr("running shards: {shards}", shards=listed(self.shards, 8)))
        if status.foreign:
            jobs = plural("{n} finished job", "{n} finished jobs", len(status.foreign))
            lines.append(tr("also {jobs} from other configs (see simtiff clean)", jobs=jobs))
        which = Text("this run") if self.running else Text("last run")
        if self._asked() and _time(status.run_started) is not None:
            rate = success_rate(len(self._run), self._asked())
            if self.running:
                rate = Text("{rate} so far", rate=rate)
            lines.append(tr("{run}: {rate}", run=which, rate=rate))
        if rates.worker_frames_per_s is not None and rates.seconds_per_job is not None:
            frames, time = shown_rate(rates.worker_frames_per_s), duration(rates.seconds_per_job)
            lines.append(tr("per worker: {frames} frames/s, {time} per job", frames=frames, time=time))
        if rates.frames_per_s is not None and rates.jobs_per_hour is not None:
            frames, hourly = shown_rate(rates.frames_per_s), shown_rate(rates.jobs_per_hour)
            lines.append(tr("{run}: {frames} frames/s, {jobs} jobs/h", run=which, frames=frames, jobs=hourly))
        if self.running:
            left, end = rates.seconds_left, self._end()
            text = Text("not known yet")
            if left is not None and end:
                text = Text("{time} (in about {left})", time=end, left=duration(left))
            lines.append(tr("estimated end: {time}", time=text))
        return "\n".join([*lines, "", *self._table()])

    def _counts(self) -> dict[str, int]:
        states = list(self.states.values())
        return {state: states.count(state) for state in get_args(State)}

    def _end(self) -> str | None:
        left = self.rates.seconds_left
        if left is None:
            return None
        try:
            return (self._now + timedelta(seconds=left)).isoformat(timespec="seconds")
        except OverflowError:
            return None

    def _rates(self) -> Rates:
        jobs = self.status.jobs
        done = [record for record in jobs.values() if record.state == "completed" and record.seconds > 0]
        seconds, frames = sum(record.seconds for record in done), sum(record.frames for record in done)
        run = [record for record in self._run if record.seconds > 0]
        elapsed = self._run_seconds(run)
        return Rates(
            worker_frames_per_s=_rate(frames, seconds) if done else None,
            seconds_per_job=_rate(seconds, len(done)) if done else None,
            frames_per_s=_rate(sum(record.frames for record in run), elapsed) if run and elapsed else None,
            jobs_per_hour=_rate(len(run) * 3600, elapsed) if run and elapsed else None,
            seconds_left=self._seconds_left(seconds / frames if frames else None),
        )

    def _done_in_run(self) -> list[JobRecord]:
        """Return the records of the jobs finished in the last run."""
        begin = _time(self.status.run_started)
        done = [record for record in self.status.jobs.values() if record.state == "completed"]
        return [record for record in done if begin and (end := _time(record.finished)) and end >= begin]

    def _asked(self) -> int:
        """Return the number of jobs that were not done when the last run began."""
        return len(self._run) + len(self.status.jobs) - self._counts()["completed"]

    def _run_seconds(self, run: list[JobRecord]) -> float | None:
        """Return the time since the last run started, or, if it has ended, the time until its last job finished."""
        begin = _time(self.status.run_started)
        ends = [end for record in run if (end := _time(record.finished)) is not None]
        end = self._now if self.running else max(ends, default=None)
        seconds = 0.0 if begin is None or end is None else (end - begin).total_seconds()
        return seconds if seconds > 0 else None

    def _seconds_left(self, seconds_per_frame: float | None) -> float | None:
        """Return the remaining time, from the speed of the finished jobs and the number of workers.

        Before the first job has finished, the speed of the running jobs is used, as of the last update.
        """
        updated = _time(self.status.last_update)
        if not self.running or updated is None:
            return None
        left = [record for name, record in self.status.jobs.items() if self.states[name] in {"pending", "running"}]
        if seconds_per_frame is None:
            pace = [
                (updated - begin).total_seconds() / record.frames_done
                for record in left
                if record.frames_done and (begin := _time(record.started)) is not None
            ]
            if not pace:
                return None
            seconds_per_frame = max(0.0, sum(pace) / len(pace))
        frames = [max(0, record.frames - record.frames_done) for record in left]
        workers = max(1, min(self.status.workers or 1, len(left)))
        # At least the longest job, and at least all of them spread over the workers.
        at_update = seconds_per_frame * max(sum(frames) / workers, max(frames, default=0))
        seconds = max(0.0, at_update - (self._now - updated).total_seconds())
        return seconds if math.isfinite(at_update) else None

    def _job(self, name: str, record: JobRecord) -> dict[str, Any]:
        done = record.state == "completed"
        return {
            "job": name,
            "state": self.states[name],
            "frames": record.frames,
            "frames_done": record.frames if done else record.frames_done,
            "started": record.started or None,
            "finished": record.finished or None,
            "seconds": record.seconds or None,
            "frames_per_s": _rate(record.frames, record.seconds) if done and record.seconds > 0 else None,
            "bytes": sum(info.size for info in record.files.values()) if done else None,
            "error": record.error or None,
        }

    def _table(self) -> list[str]:
        """Return the lines of the table of jobs, at most `WIDTH` wide, with errors below their jobs."""
        head = (Text("job"), Text("state"), Text("frames"), Text("time"), Text("frames/s"), Text("size"))
        rows: list[tuple[str, ...]] = []
        for name, record in self.status.jobs.items():
            job = self._job(name, record)
            part = f"{record.frames_done}/" if job["state"] == "running" and record.frames_done else ""
            rows.append(
                (
                    name,
                    STATES[job["state"]],
                    f"{part}{record.frames}",
                    "" if job["seconds"] is None else duration(record.seconds),
                    "" if job["frames_per_s"] is None else shown_rate(job["frames_per_s"]),
                    "" if job["bytes"] is None else show_bytes(job["bytes"]),
                )
            )
        others = max(map(cells, aligned(head[1:], [row[1:] for row in rows], {"state"})))
        most = max(_SHORTEST_NAME, WIDTH - others - 2)
        lines = aligned(head, [(cut_middle(row[0], most), *row[1:]) for row in rows], {"job", "state"})
        table = [lines[0]]
        for line, record in zip(lines[1:], self.status.jobs.values(), strict=True):
            table.append(line)
            if record.error:
                table.append(cut("    " + printable(record.error.partition("\n")[0]), WIDTH))
        return table


def _rate(what: float, per: float) -> float | None:
    """Return what / per, None if the values in a damaged file make it infinite."""
    rate = what / per
    return rate if math.isfinite(rate) else None


def _time(text: str) -> datetime | None:
    """Return a time from the status; None if it is not a time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _shown(text: str) -> str:
    """Return a time from the status to the second; if it is not a time, the text in printable form."""
    time = _time(text)
    return printable(text) if time is None else time.isoformat(timespec="seconds")
