"""What a run of a batch does with each job, and why: nothing, rename it, write plots and exports, or run it.

Jobs are identified by their hash. A finished job under another name is renamed to the name in the config.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from simtiff.batch.found import MOVED, Found, whole
from simtiff.batch.status import CONFIG_CHANGED, JobRecord, what_changed, why_not_done
from simtiff.batch.text import listed
from simtiff.config.identity import DATA_VERSION, TRUTH_NAME, job_files, setting_changes
from simtiff.config.names import JOB_FILE, OWN_NAMES, name_problem
from simtiff.errors import BatchError, printable
from simtiff.io.files import version
from simtiff.language import Text, joined, plural, shown, tr

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from simtiff.config.identity import Job

Action = Literal["done", "new", "again", "replace", "rename", "plots", "left"]

_MOST_JOBS = 20
_MOST_SETTINGS = 3
_IN_WORDS: dict[Action, Text] = {
    "done": Text("done"),
    "new": Text("new"),
    "again": Text("to be rerun"),
    "replace": Text("to be replaced"),
    "rename": Text("to be renamed"),
    "plots": Text("with plots or exports to write"),
    "left": Text("left alone"),
}


@dataclass(frozen=True)
class Step:
    """What a run does with one job.

    Attributes
    ----------
    action : str
        ``done``: nothing; ``plots``: only plots and exports are written; ``rename``: a folder is renamed; ``new``: it
        is run; ``again``: it is rerun, because it failed, was interrupted, or files are missing; ``replace``: it
        replaces a finished job with other settings; ``left``: not requested.
    reason : str
        Why a job is rerun or replaced, or why plots and exports are written.
    source : str
        The folder that is renamed, if any.
    """

    action: Action
    reason: str = ""
    source: str = ""


@dataclass
class Plan:
    """The plan of one run of a batch.

    Attributes
    ----------
    steps : dict
        The step of each job, in the order of the config.
    pending : list of str
        Jobs to run, in order.
    added_only : set of str
        Those of them whose movie and truth are complete, so that only plots or exports are written.
    replaced : dict
        Files of earlier runs by job, removed before the job writes its own.
    moves : dict
        Folders to rename: old name to new name.
    labels : list of str
        Finished jobs whose ``job.json`` is rewritten.
    records, foreign : dict
        The status at the start: of the config's jobs, and of finished jobs that are not in the config.
    resume : bool
        Whether finished jobs are skipped.
    """

    found: Found
    jobs: Mapping[str, Job]
    steps: dict[str, Step] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    added_only: set[str] = field(default_factory=set)
    replaced: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moves: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    records: dict[str, JobRecord] = field(default_factory=dict)
    foreign: dict[str, JobRecord] = field(default_factory=dict)
    resume: bool = True

    @property
    def notes(self) -> list[str]:
        """Notes for the user."""
        if not self.resume:
            return []
        return [*_version_notes(self.found), *_added_notes(self), *_reason_notes(self)]

    def limited_to(self, names: Collection[str]) -> Plan:
        """Return the plan of only some of the jobs."""
        steps = {job_id: step for job_id, step in self.steps.items() if job_id in names}
        return replace(self, steps=steps, pending=[job_id for job_id in self.pending if job_id in names])

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are of each action, and how many of other configs (``foreign``)."""
        counts = Counter(step.action for step in self.steps.values())
        return {**{action: counts[action] for action in get_args(Action)}, "foreign": len(self.foreign)}

    def __str__(self) -> str:
        counts = self.counts()
        parts = [
            tr("{n} {words}", n=counts[action], words=words) for action, words in _IN_WORDS.items() if counts[action]
        ]
        if self.foreign:
            parts.append(tr("{n} from other configs (kept; simtiff clean lists them)", n=len(self.foreign)))
        return tr("plan: {counts}", counts=tr(", ").join(parts))

    def changes(self, job_id: str) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from those of the job in the folder: old value, new value."""
        if self.steps[job_id].action not in {"again", "replace"}:
            return {}
        before = self.found.settings(job_id)
        changes = {} if before is None else setting_changes(before, self.jobs[job_id].config)
        if CONFIG_CHANGED not in self.steps[job_id].reason:  # the seed also depends on the content of the map
            changes.pop("noise_seed", None)
        return changes

    def why(self, job_id: str) -> str:
        """Return the reason of a step, with the settings that differ."""
        reason = self.steps[job_id].reason
        changed = [printable(f"{key} {then} -> {now}") for key, (then, now) in self.changes(job_id).items()]
        if not changed:
            return reason
        return Text("{reason} ({settings})", reason=reason, settings=listed(changed, _MOST_SETTINGS))

    def lines(self) -> Iterator[str]:
        """Yield the plan as text: the counts, and each job that is neither done nor new."""
        yield str(self)
        for action in ("again", "replace", "rename", "plots"):
            jobs = [job_id for job_id, step in self.steps.items() if step.action == action]
            for job_id in jobs[:_MOST_JOBS]:
                step = self.steps[job_id]
                why = Text("from {folder}", folder=step.source) if step.action == "rename" else self.why(job_id)
                what = Text("plots or exports to write") if step.action == "plots" else _IN_WORDS[step.action]
                yield f"  {job_id}: {shown(what)}: {shown(why)}"
            if len(jobs) > _MOST_JOBS:
                yield tr("  ... and {more} more {words}", more=len(jobs) - _MOST_JOBS, words=_IN_WORDS[action])
        if self.foreign:
            yield tr("  from other configs: {jobs}", jobs=listed(list(self.foreign), 3))

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        jobs = []
        for job_id, step in self.steps.items():
            job: dict[str, Any] = {"job": job_id, "action": step.action}
            if step.reason:
                job["reason"] = step.reason
            if step.source:
                job["from"] = step.source
            if changes := self.changes(job_id):
                job["settings"] = {key: list(pair) for key, pair in changes.items()}
            jobs.append(job)
        return {
            "output_dir": str(self.found.folder),
            "counts": self.counts(),
            "jobs": jobs,
            "foreign": list(self.foreign),
        }

    def refuse_replacing(self) -> None:
        """Raise `BatchError` if finished jobs would be replaced."""
        jobs = [job_id for job_id, step in self.steps.items() if step.action == "replace"]
        if not jobs:
            return
        groups: dict[str, list[str]] = {}
        for job_id in jobs[:_MOST_JOBS]:
            groups.setdefault(self.why(job_id), []).append(job_id)
        lines: list[str] = [
            plural(
                "{folder}: {n} finished job would be replaced:",
                "{folder}: {n} finished jobs would be replaced:",
                len(jobs),
                folder=self.found.folder,
            )
        ]
        lines += [joined(["  ", listed(names, 2), ": ", why], "") for why, names in groups.items()]
        if len(jobs) > _MOST_JOBS:
            lines.append(Text("  ... and {more} more", more=len(jobs) - _MOST_JOBS))
        lines.append(Text("nothing was changed; choose another --output-dir, or --overwrite to replace them"))
        raise BatchError(joined(lines))


def make_plan(
    jobs: Mapping[str, Job],
    wanted: Mapping[str, JobRecord],
    found: Found,
    *,
    resume: bool,
    retry_failed: bool,
    moving: bool = True,
) -> Plan:
    """Decide what to do with each job.

    Parameters
    ----------
    jobs : dict
        All jobs of the config by id.
    wanted : dict
        Their records according to the config (hash, data version, zmap, frames).
    found : Found
        Contents of the folder.
    resume : bool
        False: run all jobs, also finished ones.
    retry_failed : bool
        Run only jobs that failed; nothing is renamed.
    moving : bool
        False: rename nothing.
    """
    moving = moving and resume and not retry_failed
    return _Planner(jobs, wanted, found, resume=resume, retry_failed=retry_failed, moving=moving).plan()


class _Planner:
    """Makes one plan."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        wanted: Mapping[str, JobRecord],
        found: Found,
        *,
        resume: bool,
        retry_failed: bool,
        moving: bool,
    ) -> None:
        self.jobs = jobs
        self.wanted = wanted
        self.found = found
        self.resume = resume
        self.retry_failed = retry_failed
        self.moving = moving
        self.result = Plan(found, jobs, resume=resume)
        self.why: dict[str, tuple[str | None, bool]] = {}

    def plan(self) -> Plan:
        """Return the plan."""
        result, found = self.result, self.found
        if self.resume:
            self.why = {job_id: self._why(job_id) for job_id in self.jobs}
        at_home = {job_id for job_id, (reason, added_only) in self.why.items() if reason is None or added_only}
        moves = self._find_elsewhere(at_home) if self.moving else {}
        leaving = set(moves.values())
        for job_id in self.jobs:
            step = self._step(job_id, job_id in at_home, moves.get(job_id, ""), leaving)
            result.steps[job_id] = step
            self._take(job_id, step)
        gone = {*self.jobs, *leaving}
        for name, record in found.finished.items():
            if name not in gone and (found.folder / name).is_dir():
                result.foreign[self._home(name) if self.resume else name] = record
        return result

    def _record(self, job_id: str) -> JobRecord | None:
        """Return the record of the job in a folder, or of the job that was to be run there."""
        return self.found.finished.get(job_id) or self.found.status.jobs.get(job_id)

    def _why(self, job_id: str) -> tuple[str | None, bool]:
        """Return why a job is run, and whether only plots or exports are missing."""
        config, wanted, folder = self.jobs[job_id].config, self.wanted[job_id], self.found.folder / job_id
        record = self._record(job_id)
        names, every = [TRUTH_NAME, config.tiff.filename], job_files(config)
        if record is None:
            return "new", False
        # A job that failed or was killed during its plots or exports has a complete truth and movie.
        at_plots = record.files and record.state in {"failed", "running", "interrupted"}
        done = replace(record, state="completed") if at_plots else record
        if why_not_done(_only(done, names), wanted, folder, names) is not None:
            return why_not_done(_only(record, names), wanted, folder, names), False
        reason = why_not_done(_only(done, every), wanted, folder, every)
        return reason, reason is not None

    def _find_elsewhere(self, at_home: set[str]) -> dict[str, str]:
        """Return by job the folders that contain finished jobs under another name."""
        spare: dict[str, list[str]] = {}
        for name, record in self.found.finished.items():
            if name not in at_home:
                spare.setdefault(record.hash, []).append(name)
        moves = {}
        for job_id in self.jobs:
            folder = self.found.folder
            if job_id in at_home or (folder / job_id).is_symlink() or (folder / job_id).is_file():
                continue
            names = spare.get(self.wanted[job_id].hash, [])
            while names and job_id not in moves:
                name = names.pop(0)
                path = folder / name
                if name == job_id or path.is_symlink() or not whole(self.found.finished[name], path):
                    continue
                # Without a job.json, only a readable truth identifies it.
                if name not in self.found.unlabelled or self.found.settings(name) is not None:
                    moves[job_id] = name
        return moves

    def _step(self, job_id: str, is_home: bool, source: str, leaving: set[str]) -> Step:
        record = self._record(job_id)
        if self.retry_failed and (record is None or record.state != "failed"):
            known = self.found.status.jobs.get(job_id)
            if known is None or known.state != "failed" or is_home:
                return Step("left")
        reason, added_only = self.why.get(job_id, (Text("rerun with --no-resume"), False))
        if is_home:
            return Step("plots", reason or "") if added_only else Step("done")
        standing = self.found.finished.get(job_id) if job_id not in leaving else None
        if standing is not None and not whole(standing, self.found.folder / job_id):
            if not (self.found.folder / job_id).exists() and standing.hash != self.wanted[job_id].hash:
                reason = "new"
            standing = None
        if standing is not None and standing.hash != self.wanted[job_id].hash:
            return Step("replace", what_changed(standing, self.wanted[job_id]), source)
        if source:
            return Step("rename", source=source)
        if record is None and self.resume and job_id not in leaving and not self.found.has_status:
            return self._unknown(job_id)
        if record is None or reason == "new" or job_id in leaving:
            return Step("new")
        return Step("again", reason or "")

    def _unknown(self, job_id: str) -> Step:
        """Return the step of a job that has no record but may have a movie in its folder."""
        config = self.jobs[job_id].config
        if not (self.found.folder / job_id / config.tiff.filename).is_file():
            return Step("new")
        settings = self.found.settings(job_id)
        if settings is None:  # no readable truth, so no finished movie
            return Step("new")
        reason = Text("no readable {name}, so it is not known whether the movie is complete", name=JOB_FILE)
        return Step("replace" if setting_changes(settings, config) else "again", reason)

    def _take(self, job_id: str, step: Step) -> None:
        """Enter a step into the plan."""
        result, wanted, record = self.result, self.wanted[job_id], self._record(job_id)
        folder = self.found.folder / job_id
        config = self.jobs[job_id].config
        result.records[job_id] = wanted
        if step.action == "left":
            result.records[job_id] = record or wanted
            return
        if step.source:
            result.moves[step.source] = job_id
            there = self.found.folder / step.source
            moved = _without_gone(self.found.finished[step.source], there)
            result.records[job_id] = moved
            missing = why_not_done(moved, wanted, there, job_files(config))
            if missing is not None:
                result.pending.append(job_id)
                result.added_only.add(job_id)
        elif step.action in {"done", "plots"} and record is not None:
            settled = _without_gone(_settled(record, added_only=step.action == "plots"), folder)
            result.records[job_id] = settled
            if step.action == "plots":
                result.pending.append(job_id)
                result.added_only.add(job_id)
            elif not folder.is_symlink() and (job_id in self.found.unlabelled or settled != record):
                result.labels.append(job_id)
        else:
            result.pending.append(job_id)
        if record is not None and step.action not in {"done", "plots"}:
            result.replaced[job_id] = tuple(record.files)

    def _home(self, name: str) -> str:
        """Plan to rename a folder with a temporary name back to its old name, if that is free; return its name."""
        content = self.found.job_file(name) if name.startswith(MOVED) else None
        if content is None or content.name in {*self.jobs, *self.result.moves.values()}:
            return name
        taken = (self.found.folder / content.name).exists() or content.name in OWN_NAMES
        if taken or name_problem(content.name) is not None:
            return name
        self.result.moves[name] = content.name
        return content.name


def _settled(record: JobRecord, *, added_only: bool) -> JobRecord:
    """Return the record of a job with a complete movie: completed, or, if plots are missing, not running."""
    if record.state == "completed":
        return record
    if not added_only:
        return replace(record, state="completed", error="")
    return replace(record, state="interrupted") if record.state == "running" else record


def _only(record: JobRecord, names: list[str]) -> JobRecord:
    return replace(record, files={name: info for name, info in record.files.items() if name in names})


def _without_gone(record: JobRecord, folder: Path) -> JobRecord:
    """Return the record without plots and exports that were removed."""
    return replace(record, files={name: info for name, info in record.files.items() if (folder / name).exists()})


def _version_notes(found: Found) -> list[str]:
    if found.status.version in {"", version()}:
        return []
    same = sum(record.data_version == DATA_VERSION for record in found.finished.values())
    note = Text(
        "the folder was last written by simtiff {before}, this is {now}: {same} of {jobs} finished jobs have the "
        "current data version {data_version}",
        before=printable(found.status.version),
        now=version(),
        same=same,
        jobs=len(found.finished),
        data_version=DATA_VERSION,
    )
    return [note]


def _added_notes(plan: Plan) -> list[str]:
    notes: list[str] = [
        Text("{job}: only plots and exports are written: {reason}", job=job_id, reason=step.reason)
        for job_id, step in plan.steps.items()
        if step.action == "plots"
    ]
    more = len(notes) - _MOST_JOBS
    return [*notes[:_MOST_JOBS], Text("... and those of {more} more jobs", more=more)] if more > 0 else notes


def _reason_notes(plan: Plan) -> list[str]:
    jobs = [job_id for job_id, step in plan.steps.items() if step.action in {"again", "replace"}]
    notes: list[str] = [Text("{job} is rerun: {why}", job=job_id, why=plan.why(job_id)) for job_id in jobs[:_MOST_JOBS]]
    if rest := Counter(plan.steps[job_id].reason for job_id in jobs[_MOST_JOBS:]):
        reasons = joined((joined([reason, str(count)], ": ") for reason, count in rest.most_common(5)), ", ")
        notes.append(Text("... and {more} more jobs are rerun ({reasons})", more=rest.total(), reasons=reasons))
    return notes
