"""The summary of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simtiff.batch.text import duration, percent
from simtiff.language import Text, plural, shown, tr

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class BatchSummary:
    """The summary of a batch; as text, what ``simtiff batch`` prints at the end.

    Attributes
    ----------
    total : int
        Number of jobs in the config.
    completed, failed : int
        Number of jobs that finished or failed in this run.
    skipped : int
        Number of jobs not run: already finished, or (with ``retry_failed``) not failed before.
    interrupted : bool
        Whether a signal stopped the run before all jobs had ended.
    seconds : float
        Duration of this run.
    errors : dict
        Error of each failed job, by id.
    output_dir : Path
        Output folder.
    """

    total: int
    completed: int
    skipped: int
    failed: int
    interrupted: bool
    seconds: float
    output_dir: Path
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 all jobs finished, 1 a job failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0

    @property
    def asked(self) -> int:
        """Number of jobs that the run had to do: all except the skipped ones."""
        return self.total - self.skipped

    @property
    def left(self) -> int:
        """Number of jobs that the run did not get to."""
        return self.asked - self.completed - self.failed

    def __str__(self) -> str:
        counts = tr(
            "{jobs}: {completed} completed, {failed} failed, {skipped} skipped",
            jobs=plural("{n} job", "{n} jobs", self.total),
            completed=self.completed,
            failed=self.failed,
            skipped=self.skipped,
        )
        left = tr(", {left} left", left=self.left) if self.left else ""
        left += tr(" (interrupted)") if self.interrupted else ""
        lines = [
            counts + left,
            str(shown(success_rate(self.completed, self.asked))),
            tr("time: {time}", time=duration(self.seconds)),
        ]
        if self.errors:
            lines.append(tr("failed jobs:"))
            for job_id, error in self.errors.items():
                first, *more = shown(error).splitlines() or [""]
                lines.append(f"  {job_id}: {first}")
                lines += [f"    {line}" for line in more]
            lines.append(tr("rerun the same command to retry them (--retry-failed: only these)"))
        lines.append(tr("results: {folder}", folder=self.output_dir))
        return "\n".join(lines)


def success_rate(completed: int, asked: int) -> Text:
    """Return as text the fraction of its jobs that a run has finished."""
    if not asked:
        return Text("success rate: no job was run")
    jobs = plural("{n} job", "{n} jobs", asked)
    rate = percent(completed, asked)
    return Text("success rate: {rate} ({completed} of {jobs} to do)", rate=rate, completed=completed, jobs=jobs)
