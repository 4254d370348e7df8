"""Run all jobs of a config in worker processes, keep their status, and resume an earlier run."""

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
    """Run all jobs of a batch config and return a summary.

    The files of a job are in a folder named after its id: the truth ``emitters.h5``, the movie as OME-TIFF (frames, y,
    x), the requested plots and exports, and the job's description ``job.json``. Finished jobs whose config, zmap and
    files have not changed are skipped; if they have another name now, they are renamed. If a job fails or its worker
    exits, the other jobs continue.

    Ctrl-C, SIGTERM and SIGHUP stop the batch at once: the workers are stopped, the status is saved, and the summary has
    ``interrupted`` set. Repeat the call to resume.

    Parameters
    ----------
    config : path, dict or BatchConfig
        Config of the batch.
    max_workers : int, optional
        Number of worker processes, instead of the config's; default: one per CPU available to this process. The CPUs
        are shared equally between the workers as threads; `simtiff.set_threads` explains which CPUs count.
    resume : bool
        False: run all jobs, also finished ones.
    output_dir : path, optional
        Output folder, instead of the config's ``base_output_dir``.
    retry_failed : bool
        Run only jobs that failed before.
    overwrite : bool
        Replace finished jobs that were made with other settings. By default such jobs raise an error before the batch
        starts (unless `resume` is False).
    overrides : sequence of str
        ``KEY=VALUE`` texts that replace values of the config.
    progress : bool or callable
        True: show progress on stderr; False: do not; or a function called with each event in the calling thread.
        Events are objects of `simtiff.batch.events` and `simtiff.movie.events`, such as ``Started``, ``Progress``
        (in frames), ``Message``, ``Done`` (in seconds) and ``Failed``, each with its ``job``. An exception in the
        function stops the batch.
    force : bool
        Start even if the disk space or memory seems insufficient.
    log_file : path, optional
        Append events to this file, one JSON object per line, with seconds, frames and bytes.
    shard : str, optional
        ``I/N``: run only shard I (from 1 to N): the jobs j (from 0) with j mod N = I - 1. The shards of a batch may
        run at the same time on any number of machines that share the folder. Job numbers, names and files are identical
        to those of the whole batch.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Runs the jobs instead of worker processes on this machine: a `~concurrent.futures.ProcessPoolExecutor`, an
        executor of loky or ``mpi4py.futures``, or the client of a dask cluster (optional dependency ``dask``). Its
        workers must see the output folder and the input files under the same paths and have the same version of
        simtiff. It is not shut down. `max_workers` then limits the number of jobs at a time. With a
        `~concurrent.futures.Executor`, progress is reported only when a job ends; if one of its workers exits, it
        accepts no more jobs, and the batch raises an error.

    Returns
    -------
    BatchSummary
        The numbers of jobs ``completed``, ``failed`` and ``skipped``, the ``errors`` by job, the ``seconds`` elapsed,
        and the ``exit_code`` of the command.

    Raises
    ------
    ConfigError, DataError
        The config or an input file is invalid; nothing was written.
    BatchError
        Finished jobs would be replaced, the output folder or the log file is not writable, another batch is using the
        folder, disk space or memory is insufficient, workers cannot start, or an executor is broken.

    Examples
    --------
    Two movies with different backgrounds, in photons per pixel:

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
        if run.is_first:  # all jobs are run, so workers start while the inputs are checked
            workers.expect(len(run.mine))
        run.check(batch)
        if lock.taken_over:
            holder = lock.taken_over
            text = Text("the previous run exited without finishing ({holder}); taking over its lock", holder=holder)
            run.tell(Message(text))
        with lock.door(lambda: run.tell(Message(Text("waiting for another shard to start or end")))):
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
    """Return what `run_batch` would do with each job; nothing is changed.

    Raises
    ------
    ConfigError, DataError
        The config, an input file or the status is invalid.
    """
    part = None if shard is None else Shard.of(shard)
    jobs = jobs_of(batch)
    check_inputs(jobs, batch)
    identified, wanted = _identified(batch, jobs)
    plan = make_plan(identified, wanted, survey(folder, resume=resume), resume=resume, retry_failed=retry_failed)
    return plan if part is None else plan.limited_to({job.id for job in jobs if part.has(job.number)})


def _executor(given: FuturesExecutor | Client | None, lock: FolderLock, most: int | None, run: _Run) -> Executor:
    """Return the executor of a run: worker processes, or the one that the caller provides."""
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
    """Return the jobs with their seeds by id, and for each a record with the hash of its config and inputs."""
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
        """Whether all jobs are run; a quick check for existing results."""
        return not self.resume or not any(entry.is_dir() or entry.suffix == ".json" for entry in self.folder.iterdir())

    def first_config(self) -> str:
        """Return the config of the first job as JSON."""
        return next(iter(self.jobs.values())).config.model_dump_json()

    def tell(self, event: Event) -> None:
        """Pass an event to the status, the display and the log."""
        for watch in self.watchers:
            watch(event)

    def _note(self, event: Event) -> None:
        self.status.watch(event)

    def check(self, batch: BatchConfig) -> None:
        """Check the input files of the jobs, and compute the hashes of the jobs."""
        for note in check_inputs(list(self.jobs.values()), batch):
            self.tell(Message(Text("note: {note}", note=note)))
        self.jobs, self.wanted = _identified(batch, list(self.jobs.values()))

    def choose(self, *, retry_failed: bool, overwrite: bool) -> None:
        """Decide which jobs to run, and report why jobs are rerun.

        The first shard plans for all shards, since finished jobs may have to be renamed.

        Raises
        ------
        BatchError
            Finished jobs would be replaced without `overwrite`, or another shard runs with another config.
        """
        shard = self.lock.shard
        if shard is not None:
            digest = hashlib.sha256("".join(f"{name} {record.hash} " for name, record in self.wanted.items()).encode())
            self._digest = digest.hexdigest()
            self._others = self.lock.settled(self._digest)
        jobs = {name: self.jobs[name] for name in self.mine} if self._others else self.jobs
        with contextlib.suppress(OSError):  # from a run that was killed while saving the status
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
        """Report the disk space and memory that the chosen jobs need; raise `BatchError` if they do not fit."""
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
            self.tell(Message(Text("{problem} (continuing because of --force)", problem=problem), warning=True))

    def begin(self, executor: Executor) -> None:
        """Rename finished jobs, write the initial status, and remove leftovers of earlier runs."""
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
        """Remove temporary files of killed runs from jobs that are not run again."""
        records = self.plan.records
        waiting = {name for name, record in records.items() if record.state != "completed"}  # kept for another run
        kept = {*self.plan.pending} | waiting
        cleared = clear_away(self.folder, [name for name in (*records, *earlier) if name not in kept])
        begun = {name for name, record in before.items() if record.state in {"running", "interrupted"}}
        drop_begun(self.folder, begun - records.keys() - self.plan.foreign.keys())
        if cleared:
            where = listed(cleared, 1)
            text = Text("removed unfinished files of a killed run in {where}; this run does not need them", where=where)
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
        """Return the summary of the run."""
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
        """Submit the next job."""
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
        if event.job and event.job not in self.submitted:  # late event of a job that has ended
            return
        match event:
            case Done():
                self.submitted.remove(event.job)
                self.completed.append(event.job)
            case Failed():
                self.submitted.remove(event.job)
                self.errors[event.job] = event.error
                clean(self.folder / event.job)
            case Halted():  # its worker was stopped, but not this run
                self.submitted.remove(event.job)
                self.pending.append(event.job)
                self.status.update(event.job, state="interrupted")
        self.tell(event)

    def _save(self, *, force: bool = False) -> None:
        """Save the status; a failure is reported once and does not stop the batch."""
        try:
            try:
                self.status.save(force=force)
            except FileNotFoundError:  # the folder was removed; jobs create their own folders again
                self.folder.mkdir(parents=True, exist_ok=True)
                self.status.save(force=True)
        except OSError as error:
            message = Text("{path}: cannot be saved ({reason})", path=self.status.path, reason=in_words(error))
            if force:
                text = Text("{problem}; the next run will redo the jobs that this run finished", problem=message)
                raise UnsavedError(text) from error
            if not self._warned:
                self._warned = True
                self.tell(Message(Text("{problem}; continuing", problem=message), warning=True))

    def _leave_in_order(self) -> None:
        """Write the final status: no job is running, and completed jobs have all their files."""
        for job_id in self.submitted:
            if self.status.jobs[job_id].state == "running":
                self.status.update(job_id, state="interrupted")
            clean(self.folder / job_id)
        self.submitted.clear()
        if not self.lock.held:  # another batch has locked the folder and writes the status
            return
        for job_id in list(self.completed):
            gone = [name for name in self.status.jobs[job_id].files if not (self.folder / job_id / name).exists()]
            if gone:
                error = Text("{files}: missing; removed while the batch was running?", files=", ".join(gone))
                self.completed.remove(job_id)
                self.errors[job_id] = error
                self.tell(Gone(self.wanted[job_id].frames, error, job=job_id))
        self._save(force=True)
        if self.lock.shard is not None:
            try:
                close_part(self.lock, self.status)
            except (OSError, DataError, BatchError) as error:  # not critical: readers merge the part
                self.tell(Message(in_words(error), warning=True))


def _jobs(count: int) -> Text:
    return plural("{n} job", "{n} jobs", count)
