"""What came of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simtiff.batch.text import duration, percent
from simtiff.language import Text, plural, shown, tr

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class BatchSummary:
    """What came of a batch; as text, what ``simtiff batch`` prints at its end.

    Attributes
    ----------
    total : int
        Jobs of the config.
    completed, failed : int
        Jobs that were finished, or failed, in this run.
    skipped : int
        Jobs that were not run: done before, or (with ``retry_failed``) not among the failed ones.
    interrupted : bool
        Whether a signal ended the run before all jobs were through.
    seconds : float
        Time of this run.
    errors : dict
        Why jobs failed, by id.
    output_dir : Path
        Folder of the results.
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
        """Exit code of the command: 0 all done, 1 a job failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0

    @property
    def asked(self) -> int:
        """Jobs that the run was to make: all but those that it skipped."""
        return self.total - self.skipped

    @property
    def left(self) -> int:
        """Jobs that the run did not come to."""
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
            lines.append(tr("run the same command again to try them once more (--retry-failed: them alone)"))
        lines.append(tr("results: {folder}", folder=self.output_dir))
        return "\n".join(lines)


def success_rate(completed: int, asked: int) -> Text:
    """Return in words how many of the jobs that a run was to make it has finished."""
    if not asked:
        return Text("success rate: no job was run")
    jobs = plural("{n} job", "{n} jobs", asked)
    rate = percent(completed, asked)
    return Text("success rate: {rate} ({completed} of {jobs} to do)", rate=rate, completed=completed, jobs=jobs)
