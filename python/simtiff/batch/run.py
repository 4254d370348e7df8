"""Run all jobs of a config in worker processes, keep their status, and go on where an earlier run stopped."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections import deque
from concurrent.futures import Executor as FuturesExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.batch._log import JobLog
from simtiff.batch._pool import Pool
from simtiff.batch._task import Task
from simtiff.batch.display import display
from simtiff.batch.events import Begun, Done, Ended, Failed, Gone, Halted, Signalled
from simtiff.batch.folder import clean, clear_away, drop_begun, made_folder, refuse_own_files
from simtiff.batch.found import Found, absorb_parts, close_part, survey
from simtiff.batch.inputs import InputDigests, check_inputs, jobs_of
from simtiff.batch.lock import FolderLock
from simtiff.batch.moves import apply_moves
from simtiff.batch.plan import Plan, make_plan
from simtiff.batch.room import estimate_batch
from simtiff.batch.shards import Shard, part_name
from simtiff.batch.signals import signals_as_news
from simtiff.batch.status import NAME as STATUS_NAME
from simtiff.batch.status import BatchStatus, JobRecord, now
from simtiff.batch.summary import BatchSummary
from simtiff.batch.text import listed
from simtiff.config.identity import DATA_VERSION, Job, job_files, job_hash
from simtiff.config.inputs import input_paths
from simtiff.config.loading import load_batch_config
from simtiff.config.names import JOB_FILE, folder_problem
from simtiff.config.sweeps import with_own_seeds
from simtiff.errors import BatchError, ConfigError, DataError, UnsavedError, in_words
from simtiff.io.files import refuse_overwriting, remove_partials, version
from simtiff.io.system import cores
from simtiff.language import Text, plural
from simtiff.movie.estimate import pixel_size_note
from simtiff.movie.events import Message, ignore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distributed import Client

    from simtiff.batch._executor import Executor
    from simtiff.config.settings import BatchConfig
    from simtiff.movie.events import Event, Watch


def run_batch(
    config: str | os.PathLike[str] | Mapping[str, Any] | BatchConfig,
    max_workers: int | None = None,
    resume: bool = True,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
    progress: Watch | bool = True,
    force: bool = False,
    log_file: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    executor: FuturesExecutor | Client | None = None,
) -> BatchSummary:
    """Run all jobs of a batch config and return what came of them.

    A job's files are in a folder with its id: the truth ``emitters.h5``, the movie as OME-TIFF (frames, y, x), and
    the plots and exports that were asked for; ``job.json`` says what it is. Finished jobs whose config, zmap and files
    have not changed are skipped, also those that stood under another name: they are renamed. One job's failure, or the
    death of its worker, leaves the others running.

    Ctrl-C, SIGTERM and SIGHUP stop the batch at once: workers are ended, the status is saved, and the summary
    says so (``interrupted``). The same call goes on later.

    Parameters
    ----------
    config : path, dict or BatchConfig
        The batch's config.
    max_workers : int, optional
        Worker processes, instead of the config's; default: one for each CPU that this process may use. Each gets its
        share of these CPUs as threads. See `simtiff.set_threads` for what counts.
    resume : bool
        False: run all jobs, also finished ones.
    output_dir : path, optional
        Folder of the results, instead of the config's ``base_output_dir``.
    retry_failed : bool
        Run only the jobs that failed before.
    overwrite : bool
        Replace finished jobs that were made with other settings; without it, and with `resume`, these stop the batch
        before it starts.
    overrides : sequence of str
        ``KEY=VALUE`` texts that replace values of the config.
    progress : bool or callable
        True: shown on stderr; False: not shown; or a function that is called with each event, at once and in the
        thread of the call: small objects of `simtiff.batch.events` and `simtiff.movie.events`, such as
        ``Started``, ``Progress`` (in frames), ``Message``, ``Done`` (in seconds) and ``Failed``, each with its
        ``job``. What the function raises ends the batch.
    force : bool
        Start also if the disk or the memory seems too small.
    log_file : path, optional
        File that one JSON object a line is appended to, for what happens; with seconds, frames and bytes.
    shard : str, optional
        ``I/N``: run only shard I of N, from 1 to N: the jobs j (from 0) with j mod N = I - 1. All shards of one batch
        may run at once, on any number of machines that share the folder; job numbers, names and bytes are those of the
        whole batch.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Runs the jobs in place of worker processes of this machine: a `~concurrent.futures.ProcessPoolExecutor`, one of
        loky or ``mpi4py.futures``, or the client of a dask cluster (the extra ``dask``). Its workers must share the
        output folder and the input files, under the same paths, and have the same simtiff. It stays open.
        `max_workers` is then the most jobs at a time. A `~concurrent.futures.Executor` reports progress only when a job
        ends; if one of its workers exits it takes no more jobs, and the batch ends with an error that says so.

    Returns
    -------
    BatchSummary
        How many jobs were ``completed``, ``failed`` or ``skipped``, the ``errors`` by job, the ``seconds`` it
        took, and the ``exit_code`` of the command.

    Raises
    ------
    ConfigError, DataError
        The config or an input is wrong; nothing was written.
    BatchError
        Finished jobs would be replaced, the output folder or the log file cannot be written, the folder is in use
        by another batch, the disk or the memory is too small, workers cannot start, or an executor is broken.

    Examples
    --------
    Two movies that differ in their background, in photons per pixel:

    >>> import tempfile
    >>> from simtiff import run_batch
    >>> from simtiff.batch.events import Done
    >>> job = {"emitters": {"num_emitters": 20, "frames": 2, "area_px": 32}, "tiff": {"roi_size": 32}}
    >>> config = {
    ...     "base_config": {"zmap_path": "builtin:oil", **job},
    ...     "variables": {"tiff.noise_params.background": [10, 100]},
    ... }
    >>> def watch(event):
    ...     if isinstance(event, Done):
    ...         print(event.job, f"{event.frames} frames", sorted(event.files))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = run_batch(config, max_workers=1, output_dir=folder, progress=watch)
    job_0000_background_10 2 frames ['emitters.h5', 'simulation.ome.tiff']
    job_0001_background_100 2 frames ['emitters.h5', 'simulation.ome.tiff']
    >>> summary.completed, summary.failed
    (2, 0)
    """
    begin = time.monotonic()
    if max_workers is not None and max_workers < 1:
        raise ConfigError(f"max_workers: got {max_workers}, allowed are whole numbers from 1")
    if output_dir is not None and (problem := folder_problem(str(output_dir))) is not None:
        text = Text('{option}: "{folder}" {problem}', option="output_dir", folder=output_dir, problem=problem)
        raise ConfigError(text)
    if retry_failed and not resume:
        raise ConfigError(Text("--no-resume runs all jobs, --retry-failed only those that failed: choose one"))
    part = None if shard is None else Shard.of(shard)
    batch = load_batch_config(config, overrides)
    jobs = jobs_of(batch)
    folder = Path(output_dir if output_dir is not None else batch.base_output_dir).absolute()
    show = progress if not isinstance(progress, bool) else display() if progress else ignore
    inputs = [batch.source, *dict.fromkeys(path for job in jobs for path in input_paths(job.config).values())]
    refuse_own_files(folder, jobs, inputs, log_file)
    with contextlib.ExitStack() as outside, contextlib.ExitStack() as inside:
        inside.enter_context(made_folder(folder))
        lock = inside.enter_context(FolderLock(folder, part))
        run = _Run(lock, show, jobs, resume=resume)
        workers = _executor(executor, lock, max_workers or batch.max_workers, run)
        inside.callback(workers.close, lock.stop_workers)
        if run.is_first:  # every job is to be done: workers start while the inputs are checked
            workers.expect(len(run.mine))
        run.check(batch)
        if lock.taken_over:
            holder = lock.taken_over
            run.tell(Message(Text("the run before this one died at its work ({holder}); taking over", holder=holder)))
        with lock.door():
            run.choose(retry_failed=retry_failed, overwrite=overwrite)
            run.refuse_overwriting(inputs)
            run.check_room(workers, force=force)
            outside.enter_context(signals_as_news(workers.news))
            if log_file is not None:
                run.watchers.append(inside.enter_context(JobLog(Path(log_file), show)).watch)
            run.begin(workers)
        run.work(workers)
    return run.summary(time.monotonic() - begin)


def plan_batch(
    batch: BatchConfig,
    folder: Path,
    *,
    resume: bool = True,
    retry_failed: bool = False,
    shard: str | None = None,
) -> Plan:
    """Return what `run_batch` would do with each job now; nothing is changed.

    Raises
    ------
    ConfigError, DataError
        The config, an input or the folder's status is wrong.
    """
    part = None if shard is None else Shard.of(shard)
    jobs = jobs_of(batch)
    check_inputs(jobs, batch)
    identified, wanted = _identified(batch, jobs)
    plan = make_plan(identified, wanted, survey(folder, resume=resume), resume=resume, retry_failed=retry_failed)
    return plan if part is None else plan.limited_to({job.id for job in jobs if part.has(job.number)})


def _executor(given: FuturesExecutor | Client | None, lock: FolderLock, most: int | None, run: _Run) -> Executor:
    """Return what runs the jobs of a run: worker processes, or what the caller gave."""
    if given is None:
        return Pool(most or cores(), (lock.fd,), run.first_config())
    if isinstance(given, FuturesExecutor):
        from simtiff.batch._futures import Futures

        return Futures(given, lock.fence(), most)
    if type(given).__module__.partition(".")[0] == "distributed":
        from simtiff.batch._dask import Dask

        return Dask(given, lock.fence(), most)
    kind = type(given).__name__
    raise ConfigError(f"executor: got {kind}, allowed: a concurrent.futures.Executor or a distributed.Client")


def _identified(batch: BatchConfig, jobs: Sequence[Job]) -> tuple[dict[str, Job], dict[str, JobRecord]]:
    """Return the jobs with their seeds by id, and what determines the files of each."""
    digest = InputDigests()
    identified = {job.id: job for job in with_own_seeds(batch, jobs, digest)}
    wanted = {}
    for job in identified.values():
        zmap = digest(job.config)
        wanted[job.id] = JobRecord(
            hash=job_hash(job.config, zmap),
            data_version=DATA_VERSION,
            zmap=zmap,
            frames=job.config.emitters.frames,
        )
    return identified, wanted


class _Run:
    """One run of a batch, or of one shard of it, in its locked folder."""

    def __init__(self, lock: FolderLock, show: Watch, jobs: Sequence[Job], *, resume: bool) -> None:
        self.lock = lock
        self.folder = lock.path.parent
        self.jobs = {job.id: job for job in jobs}
        self.mine = [job.id for job in jobs if lock.shard is None or lock.shard.has(job.number)]
        self.wanted: dict[str, JobRecord] = {}
        self.found = Found(self.folder, BatchStatus(self.folder))
        self.plan = Plan(self.found, self.jobs)
        self.status = BatchStatus(self.folder)
        self.pending: deque[str] = deque()
        self.submitted: set[str] = set()
        self.watchers: list[Watch] = [self._note, show]
        self.completed: list[str] = []
        self.errors: dict[str, str] = {}
        self.interrupted = False
        self.skipped = 0
        self.resume = resume
        self._others: list[Shard] = []
        self._digest = ""
        self._warned = False

    @property
    def is_first(self) -> bool:
        """Whether all jobs are to be done, as far as can be told at a glance."""
        return not self.resume or not any(entry.is_dir() or entry.suffix == ".json" for entry in self.folder.iterdir())

    def first_config(self) -> str:
        """Return the config of the first job as JSON."""
        return next(iter(self.jobs.values())).config.model_dump_json()

    def tell(self, event: Event) -> None:
        """Pass an event on to the status, the display and the log."""
        for watch in self.watchers:
            watch(event)

    def _note(self, event: Event) -> None:
        self.status.watch(event)

    def check(self, batch: BatchConfig) -> None:
        """Check the jobs' inputs, and hash what determines the jobs' files."""
        for note in check_inputs(list(self.jobs.values()), batch):
            self.tell(Message(Text("note: {note}", note=note)))
        self.jobs, self.wanted = _identified(batch, list(self.jobs.values()))

    def choose(self, *, retry_failed: bool, overwrite: bool) -> None:
        """Decide which jobs to run, and say why those are run again that once were done.

        The first shard plans for all of them, since finished jobs may have to be renamed.

        Raises
        ------
        BatchError
            Finished jobs would be replaced, and nobody asked for that; or another shard runs with another config.
        """
        shard = self.lock.shard
        if shard is not None:
            digest = hashlib.sha256("".join(f"{name} {record.hash} " for name, record in self.wanted.items()).encode())
            self._digest = digest.hexdigest()
            self._others = self.lock.settled(self._digest)
        jobs = {name: self.jobs[name] for name in self.mine} if self._others else self.jobs
        with contextlib.suppress(OSError):  # left by a run that was killed while it saved the status
            for name in [STATUS_NAME] if shard is None else [STATUS_NAME, part_name(shard)]:
                remove_partials(self.folder, of=name)
        self.found = survey(self.folder, resume=self.resume, only=jobs if self._others else None)
        self.plan = make_plan(
            jobs, self.wanted, self.found, resume=self.resume, retry_failed=retry_failed, moving=not self._others
        )
        if self.resume and not overwrite:
            self.plan.refuse_replacing()
        if shard is not None:
            own = Text("shard {shard}: {n} of {jobs}", shard=shard, n=len(self.mine), jobs=_jobs(len(self.jobs)))
            self.tell(Message(own))
        plan = self.plan if shard is None else self.plan.limited_to(self.mine)
        self.pending.extend(plan.pending)
        self.skipped = len(self.mine) - len(self.pending)
        if (of_pixels := pixel_size_note(job.config for job in self.jobs.values())) is not None:
            self.tell(Message(Text("note: {note}", note=of_pixels)))
        for note in (*self.found.notes, str(plan), *plan.notes):
            self.tell(Message(note))

    def refuse_overwriting(self, inputs: Sequence[str]) -> None:
        """Raise `ConfigError` if a chosen job would overwrite an input."""
        outputs = (
            self.folder / job_id / name
            for job_id in self.pending
            for name in (JOB_FILE, *job_files(self.jobs[job_id].config), *self.plan.replaced.get(job_id, ()))
        )
        refuse_overwriting(outputs, inputs)

    def check_room(self, executor: Executor, *, force: bool) -> None:
        """Say how much disk and memory the chosen jobs need; raise `BatchError` if they cannot have it."""
        todo = [(job_id, self.jobs[job_id].config) for job_id in self.pending if job_id not in self.plan.added_only]
        if not todo:
            return
        workers = min(executor.workers, len(todo))
        threads = max(1, cores() // workers)
        estimate = estimate_batch(self.folder, todo, workers, threads, elsewhere=not executor.on_this_machine)
        if not force:
            estimate.check()
        self.tell(estimate)
        for problem in estimate.problems():
            self.tell(Message(Text("{problem} (going on: --force)", problem=problem), warning=True))

    def begin(self, executor: Executor) -> None:
        """Rename finished jobs, write the status as it is at the start, and clear away what is of no use any more."""
        before = dict(self.found.status.jobs)
        earlier = [*before, *self.found.finished]
        plan, index = self.plan, self.found.status if self.resume else BatchStatus(self.folder)
        if not self._others:
            apply_moves(plan, self.tell)
            index.jobs, index.foreign = plan.records, plan.foreign
        self.status = index
        if self.lock.shard is not None:
            records = {name: plan.records[name] for name in self.mine}
            self.status = BatchStatus(self.folder, records, index.start_time, part_name(self.lock.shard))
            self._keep_unfinished(index, before)
        if self.pending:
            self.status.run_started = now()
            self.status.workers = min(executor.workers, len(self.pending))
        try:
            if not self._others:
                index.save(force=True)
                absorb_parts(index)
            if self.status is not index:
                self.status.save(force=True)
                self.lock.note(jobs=self._digest)  # only now: those that follow rely on the index
        except OSError as error:
            text = Text("{folder}: cannot be written ({reason})", folder=self.folder, reason=in_words(error))
            raise BatchError(text) from error
        if not self._others:
            self._clear_away(before, earlier)

    def _keep_unfinished(self, index: BatchStatus, before: Mapping[str, JobRecord]) -> None:
        """Leave jobs of other shards that failed or were interrupted as they are, for these shards to find."""
        for name in index.jobs.keys() & before.keys() - set(self.mine):
            if index.jobs[name].state == "pending" and before[name].state in {"failed", "interrupted"}:
                index.jobs[name] = before[name]

    def _clear_away(self, before: Mapping[str, JobRecord], earlier: Sequence[str]) -> None:
        """Remove what killed runs left half-written in jobs that nobody runs again."""
        records = self.plan.records
        waiting = {name for name, record in records.items() if record.state != "completed"}  # for another run
        kept = {*self.plan.pending} | waiting
        cleared = clear_away(self.folder, [name for name in (*records, *earlier) if name not in kept])
        begun = {name for name, record in before.items() if record.state in {"running", "interrupted"}}
        drop_begun(self.folder, begun - records.keys() - self.plan.foreign.keys())
        if cleared:
            where = listed(cleared, 1)
            text = Text("removed what a killed run left unfinished in {where}; this one does not need it", where=where)
            self.tell(Message(text))

    def work(self, executor: Executor) -> None:
        """Run the chosen jobs."""
        executor.expect(len(self.pending))
        workers = min(executor.workers, len(self.pending))
        host, pid, folder = socket.gethostname(), os.getpid(), str(self.folder)
        self.tell(Begun(version(), host, pid, folder, len(self.mine), len(self.pending), workers))
        try:
            self._loop(executor)
        finally:
            executor.close(self.lock.stop_workers)
            try:
                self._leave_in_order()
            finally:
                self.tell(Ended(len(self.completed), len(self.errors), self.skipped, self.interrupted))

    def summary(self, seconds: float) -> BatchSummary:
        """Return what came of it."""
        return BatchSummary(
            total=len(self.mine),
            completed=len(self.completed),
            skipped=self.skipped,
            failed=len(self.errors),
            interrupted=self.interrupted,
            seconds=seconds,
            output_dir=self.folder,
            errors=self.errors,
        )

    def _loop(self, executor: Executor) -> None:
        while self.pending or self.submitted:
            while self.pending and executor.room() > 0:
                self._submit(executor)
            event = executor.next(min(1.0, wait) if (wait := self.status.due_in()) is not None else 1.0)
            if isinstance(event, Signalled):
                self.interrupted = True
                return
            if event is not None:
                self._handle(event)
            with contextlib.suppress(OSError):
                self.lock.check()
            self._save()

    def _submit(self, executor: Executor) -> None:
        """Give the next job to a worker."""
        job_id = self.pending.popleft()
        self.submitted.add(job_id)
        if not self.resume:
            clean(self.folder / job_id, keep_journaled=False)
        job, record = self.jobs[job_id], self.status.jobs[job_id]
        added_only = job_id in self.plan.added_only
        executor.submit(
            Task(
                job=job_id,
                number=job.number,
                variables=dict(job.variables),
                config=job.config.model_dump_json(),
                directory=str(self.folder / job_id),
                replaced=(JOB_FILE, *self.plan.replaced.get(job_id, ())),
                added_only=added_only,
                record=asdict(record if added_only else self.wanted[job_id]),
            )
        )
        executor.expect(len(self.pending))

    def _handle(self, event: Event) -> None:
        if event.job and event.job not in self.submitted:  # late news of a job that has ended
            return
        match event:
            case Done():
                self.submitted.remove(event.job)
                self.completed.append(event.job)
            case Failed():
                self.submitted.remove(event.job)
                self.errors[event.job] = event.error
                clean(self.folder / event.job)
            case Halted():  # somebody stopped its worker, but not this run
                self.submitted.remove(event.job)
                self.pending.append(event.job)
                self.status.update(event.job, state="interrupted")
        self.tell(event)

    def _save(self, *, force: bool = False) -> None:
        """Save the status; trouble with that is said once and does not end the batch."""
        try:
            try:
                self.status.save(force=force)
            except FileNotFoundError:  # somebody removed the folder; jobs make their own part of it again
                self.folder.mkdir(parents=True, exist_ok=True)
                self.status.save(force=True)
        except OSError as error:
            message = Text("{path}: cannot be saved ({reason})", path=self.status.path, reason=in_words(error))
            if force:
                text = Text("{problem}; what this run finished is done again by the next", problem=message)
                raise UnsavedError(text) from error
            if not self._warned:
                self._warned = True
                self.tell(Message(Text("{problem}; going on", problem=message), warning=True))

    def _leave_in_order(self) -> None:
        """Write the last status: only jobs whose files are there are done, none is running."""
        for job_id in self.submitted:
            if self.status.jobs[job_id].state == "running":
                self.status.update(job_id, state="interrupted")
            clean(self.folder / job_id)
        self.submitted.clear()
        if not self.lock.held:  # the status is another batch's now
            return
        for job_id in list(self.completed):
            gone = [name for name in self.status.jobs[job_id].files if not (self.folder / job_id / name).exists()]
            if gone:
                error = Text("{files}: gone; removed while the batch was running?", files=", ".join(gone))
                self.completed.remove(job_id)
                self.errors[job_id] = error
                self.tell(Gone(self.wanted[job_id].frames, error, job=job_id))
        self._save(force=True)
        if self.lock.shard is not None:
            try:
                close_part(self.lock, self.status)
            except (OSError, DataError, BatchError) as error:  # readers take the part into account
                self.tell(Message(in_words(error), warning=True))


def _jobs(count: int) -> Text:
    return plural("{n} job", "{n} jobs", count)
