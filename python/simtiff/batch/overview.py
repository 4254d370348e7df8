"""How far a batch is: counts, rates, an estimate of its end and a table of jobs, as text and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from simtiff.batch.status import BatchStatus, JobRecord, State
from simtiff.batch.text import aligned, counted, duration
from simtiff.errors import printable

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Rates:
    """How fast a batch is.

    Attributes
    ----------
    worker_frames_per_s, seconds_per_job : float or None
        Of one worker, over all finished jobs; None before the first.
    frames_per_s, jobs_per_hour : float or None
        Of the last run as a whole, all its workers together.
    seconds_left : float or None
        Of the running batch, if that can be told; None where no batch runs.
    """

    worker_frames_per_s: float | None = None
    seconds_per_job: float | None = None
    frames_per_s: float | None = None
    jobs_per_hour: float | None = None
    seconds_left: float | None = None


class Overview:
    """What `simtiff status` shows of an output folder; only looks.

    Parameters
    ----------
    folder : Path
        Output folder of a batch.
    time : datetime, optional
        Now.

    Raises
    ------
    DataError
        The folder has no status, or a damaged one.
    """

    def __init__(self, folder: Path, time: datetime | None = None) -> None:
        from simtiff.batch.folder import is_locked

        self.status = BatchStatus.of(folder)
        self.folder = folder
        self.running = is_locked(folder)
        self.states = self.status.states(running=self.running)
        self._now = time or datetime.now(UTC)
        self.rates = self._rates()

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON; what is not known is None."""
        status, rates = self.status, self.rates
        return {
            "output_dir": str(self.folder),
            "running": self.running,
            "simtiff_version": status.version,
            "start_time": status.start_time,
            "run_started": status.run_started or None,
            "last_update": status.last_update,
            "workers": status.workers or None,
            "total_jobs": len(status.jobs),
            "counts": self._counts(),
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
        share = counts["completed"] / total if total else 1.0
        lines = [
            f"{self.folder}: {counts['completed']}/{total} jobs completed ({share:.1%})",
            ", ".join(f"{state} {count}" for state, count in counts.items() if count) or "no jobs",
            printable(f"started {status.start_time}, updated {status.last_update}, ")
            + (
                f"a batch is running with {counted(status.workers, 'worker')}"
                if self.running
                else "no batch is running"
            ),
        ]
        if rates.worker_frames_per_s is not None and rates.seconds_per_job is not None:
            lines.append(f"one worker: {rates.worker_frames_per_s:.1f} frames/s, {rates.seconds_per_job:.2f} s/job")
        if rates.frames_per_s is not None and rates.jobs_per_hour is not None:
            which = "this run" if self.running else "last run"
            lines.append(f"{which}: {rates.frames_per_s:.1f} frames/s, {rates.jobs_per_hour:,.0f} jobs/h")
        if self.running:
            left = rates.seconds_left
            end = self._end()
            text = f"{end} (in about {duration(left)})" if left is not None and end else "not known yet"
            lines.append(f"estimated end: {text}")
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
        run = [record for record in done if record.finished >= self.status.run_started]
        elapsed = self._run_seconds(run)
        return Rates(
            worker_frames_per_s=_rate(frames, seconds) if done else None,
            seconds_per_job=_rate(seconds, len(done)) if done else None,
            frames_per_s=_rate(sum(record.frames for record in run), elapsed) if run and elapsed else None,
            jobs_per_hour=_rate(len(run) * 3600, elapsed) if run and elapsed else None,
            seconds_left=self._seconds_left(seconds / frames if frames else None),
        )

    def _run_seconds(self, run: list[JobRecord]) -> float | None:
        """Return for how long the last run has been at it, or was until it finished the last of its jobs."""
        begin = _time(self.status.run_started)
        end = self._now if self.running else _time(max((record.finished for record in run), default=""))
        if begin is None or end is None:
            return None
        return max(1.0, (end - begin).total_seconds())  # times are kept to the second

    def _seconds_left(self, seconds_per_frame: float | None) -> float | None:
        """Return the work that is left, at the pace of the finished jobs, shared by the workers.

        Before the first job is finished, the pace of the running ones counts. How far these are is known of
        the last update.
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
        # No sooner than the longest job, and than all of them side by side.
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
        head = ("job", "state", "frames", "time", "frames/s", "size", "error")
        rows: list[tuple[str, ...]] = []
        for name, record in self.status.jobs.items():
            job = self._job(name, record)
            part = f"{record.frames_done}/" if job["state"] == "running" and record.frames_done else ""
            rows.append(
                (
                    name,
                    job["state"],
                    f"{part}{record.frames}",
                    "" if job["seconds"] is None else f"{record.seconds:.1f} s",
                    "" if job["frames_per_s"] is None else f"{job['frames_per_s']:.1f}",
                    "" if job["bytes"] is None else f"{job['bytes'] / 1e6:.1f} MB",
                    printable(record.error.partition("\n")[0]),
                )
            )
        return aligned(head, rows, left={"job", "state", "error"})


def _rate(what: float, per: float) -> float | None:
    """Return what / per, None where a strange file makes that no number."""
    rate = what / per
    return rate if math.isfinite(rate) else None


def _time(text: str) -> datetime | None:
    """Return a time of the status; None for what is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
