"""Run all jobs of a config in worker processes, keep their status, and go on where an earlier run stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.batch._log import JobLog
from simtiff.batch._pool import Pool, Worker, describe_exit, signals_as_news
from simtiff.batch.display import display
from simtiff.batch.events import Begun, Broken, Done, Ended, Exited, Failed, Gone, Ready, Signalled, Started
from simtiff.batch.folder import FolderLock, clean, clear_away, drop_begun, made_folder, refuse_own_files
from simtiff.batch.found import Found, survey
from simtiff.batch.inputs import InputDigests, check_inputs, jobs_of
from simtiff.batch.moves import apply_moves
from simtiff.batch.plan import Plan, make_plan
from simtiff.batch.room import estimate_batch
from simtiff.batch.status import NAME as STATUS_NAME
from simtiff.batch.status import BatchStatus, JobRecord, now
from simtiff.batch.summary import BatchSummary
from simtiff.batch.text import listed
from simtiff.config.identity import DATA_VERSION, Job, job_files, job_hash
from simtiff.config.inputs import input_paths
from simtiff.config.loading import load_batch_config
from simtiff.config.names import JOB_FILE, folder_problem
from simtiff.config.sweeps import with_own_seeds
from simtiff.errors import BatchError, ConfigError, UnsavedError, in_words
from simtiff.io.files import refuse_overwriting, remove_partials, version
from simtiff.io.system import cores
from simtiff.language import Text
from simtiff.movie.estimate import pixel_size_note
from simtiff.movie.events import Message, ignore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simtiff.config.settings import BatchConfig
    from simtiff.movie.events import Event, Watch

_STARTS_WITHOUT_SUCCESS = 3


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
        by another batch, the disk or the memory is too small, or workers cannot start.

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
    batch = load_batch_config(config, overrides)
    jobs = jobs_of(batch)
    folder = Path(output_dir if output_dir is not None else batch.base_output_dir).absolute()
    show = progress if not isinstance(progress, bool) else display() if progress else ignore
    inputs = [batch.source, *dict.fromkeys(path for job in jobs for path in input_paths(job.config).values())]
    refuse_own_files(folder, jobs, inputs, log_file)
    with contextlib.ExitStack() as until_all_is_in_order, made_folder(folder), FolderLock(folder) as lock:
        with contextlib.suppress(OSError):  # left by a run that was killed while it saved the status
            remove_partials(folder, of=STATUS_NAME)
        found = survey(folder, resume=resume)
        run = _Run(lock, show, found, jobs, max_workers or batch.max_workers or cores(), resume=resume)
        with contextlib.closing(Pool((lock.fd,))) as pool:
            if not (
                resume and (found.status.jobs or found.finished)
            ):  # every job is to be done: workers start up while the inputs are checked
                run.start_workers(pool, len(jobs))
            run.check(batch)
            if lock.taken_over:
                holder = lock.taken_over
                run.tell(
                    Message(Text("the run before this one died at its work ({holder}); taking over", holder=holder))
                )
            run.choose(retry_failed=retry_failed, overwrite=overwrite)
            run.refuse_overwriting(inputs)
            run.check_room(force=force)
            until_all_is_in_order.enter_context(signals_as_news(pool.news))
            with contextlib.ExitStack() as while_it_works:
                if log_file is not None:
                    run.watchers.append(while_it_works.enter_context(JobLog(Path(log_file), show)).watch)
                run.begin()
                run.work(pool)
    return run.summary(time.monotonic() - begin)


def plan_batch(batch: BatchConfig, folder: Path, *, resume: bool = True, retry_failed: bool = False) -> Plan:
    """Return what `run_batch` would do with each job now; nothing is changed.

    Raises
    ------
    ConfigError, DataError
        The config, an input or the folder's status is wrong.
    """
    jobs = jobs_of(batch)
    check_inputs(jobs, batch)
    identified, wanted = _identified(batch, jobs)
    return make_plan(identified, wanted, survey(folder, resume=resume), resume=resume, retry_failed=retry_failed)


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
    """One run of a batch in its locked folder."""

    def __init__(
        self,
        lock: FolderLock,
        show: Watch,
        found: Found,
        jobs: Sequence[Job],
        max_workers: int,
        *,
        resume: bool,
    ) -> None:
        self.lock = lock
        self.folder = lock.path.parent
        self.found = found
        self.status = found.status if resume else BatchStatus(self.folder)
        self.jobs = {job.id: job for job in jobs}
        self.max_workers = max_workers
        self.wanted: dict[str, JobRecord] = {}
        self.pending: deque[str] = deque()
        self.running: dict[Worker, str] = {}
        self.watchers: list[Watch] = [self.status.watch, show]
        self.completed: list[str] = []
        self.errors: dict[str, str] = {}
        self.interrupted = False
        self.skipped = 0
        self.resume = resume
        self.plan = Plan(found, self.jobs)
        self._failed_starts = 0
        self._why_not_started = ""
        self._warned = False

    def tell(self, event: Event) -> None:
        """Tell all who watch what happened."""
        for watch in self.watchers:
            watch(event)

    def check(self, batch: BatchConfig) -> None:
        """Check the jobs' inputs, and hash what determines the jobs' files."""
        for note in check_inputs(list(self.jobs.values()), batch):
            self.tell(Message(Text("note: {note}", note=note)))
        self.jobs, self.wanted = _identified(batch, list(self.jobs.values()))

    def start_workers(self, pool: Pool, jobs: int) -> None:
        """Start as many workers as `jobs` jobs can use, each with its share of the cores."""
        workers = min(self.max_workers, jobs)
        first = next(iter(self.jobs.values())).config.model_dump_json()
        for _ in range(workers):
            pool.start(max(1, cores() // workers), prepare=first)

    def choose(self, *, retry_failed: bool, overwrite: bool) -> None:
        """Decide which jobs to run, and say why those are run again that once were done.

        Raises
        ------
        BatchError
            Finished jobs would be replaced, and nobody asked for that.
        """
        self.plan = make_plan(self.jobs, self.wanted, self.found, resume=self.resume, retry_failed=retry_failed)
        if self.resume and not overwrite:
            self.plan.refuse_replacing()
        self.pending.extend(self.plan.pending)
        self.skipped = len(self.jobs) - len(self.pending)
        if (of_pixels := pixel_size_note(job.config for job in self.jobs.values())) is not None:
            self.tell(Message(Text("note: {note}", note=of_pixels)))
        for note in (*self.found.notes, str(self.plan), *self.plan.notes):
            self.tell(Message(note))

    def refuse_overwriting(self, inputs: Sequence[str]) -> None:
        """Raise `ConfigError` if a chosen job would overwrite an input."""
        outputs = (
            self.folder / job_id / name
            for job_id in self.pending
            for name in (JOB_FILE, *job_files(self.jobs[job_id].config), *self.plan.replaced.get(job_id, ()))
        )
        refuse_overwriting(outputs, inputs)

    def check_room(self, *, force: bool) -> None:
        """Say how much disk and memory the chosen jobs need; raise `BatchError` if they cannot have it."""
        todo = [(job_id, self.jobs[job_id].config) for job_id in self.pending if job_id not in self.plan.added_only]
        if not todo:
            return
        workers = min(self.max_workers, len(todo))
        estimate = estimate_batch(self.folder, todo, workers, max(1, cores() // workers))
        if not force:
            estimate.check()
        self.tell(estimate)
        for problem in estimate.problems():
            self.tell(Message(Text("{problem} (going on: --force)", problem=problem), warning=True))

    def begin(self) -> None:
        """Rename finished jobs, write the status as it is at the start, and clear away what is of no use any more."""
        before = dict(self.found.status.jobs)
        earlier = [*before, *self.found.finished]
        apply_moves(self.plan, self.tell)
        self.status.jobs, self.status.foreign = self.plan.records, self.plan.foreign
        if self.pending:
            self.status.run_started = now()
            self.status.workers = min(self.max_workers, len(self.pending))
        try:
            self.status.save(force=True)
        except OSError as error:
            text = Text("{folder}: cannot be written ({reason})", folder=self.folder, reason=in_words(error))
            raise BatchError(text) from error
        records, chosen = self.status.jobs, set(self.pending)
        waiting = {name for name, record in records.items() if record.state != "completed"}  # for another run
        cleared = clear_away(self.folder, [name for name in (*records, *earlier) if name not in chosen | waiting])
        begun = {name for name, record in before.items() if record.state in {"running", "interrupted"}}
        drop_begun(self.folder, begun - records.keys() - self.status.foreign.keys())
        if cleared:
            where = listed(cleared, 1)
            text = Text("removed what a killed run left unfinished in {where}; this one does not need it", where=where)
            self.tell(Message(text))

    def work(self, pool: Pool) -> None:
        """Run the chosen jobs."""
        if not pool.workers:
            self.start_workers(pool, len(self.pending))
        workers = min(len(pool.workers), len(self.pending))
        host, pid, folder = socket.gethostname(), os.getpid(), str(self.folder)
        self.tell(Begun(version(), host, pid, folder, len(self.jobs), len(self.pending), workers))
        try:
            self._loop(pool)
        finally:
            pool.close()
            try:
                self._leave_in_order()
            finally:
                self.tell(Ended(len(self.completed), len(self.errors), self.skipped, self.interrupted))

    def summary(self, seconds: float) -> BatchSummary:
        """Return what came of it."""
        return BatchSummary(
            total=len(self.jobs),
            completed=len(self.completed),
            skipped=self.skipped,
            failed=len(self.errors),
            interrupted=self.interrupted,
            seconds=seconds,
            output_dir=self.folder,
            errors=self.errors,
        )

    def _loop(self, pool: Pool) -> None:
        while self.pending or self.running:
            event, worker = pool.next(min(1.0, wait) if (wait := self.status.due_in()) is not None else 1.0)
            if isinstance(event, Signalled):
                self.interrupted = True
                return
            if event is not None and worker is not None:
                self._handle(event, worker, pool)
            with contextlib.suppress(OSError):
                self.lock.check()
            self._save()

    def _handle(self, event: Event, worker: Worker, pool: Pool) -> None:
        match event:
            case Ready():
                worker.ready, self._failed_starts = True, 0
                self._assign(worker)
            case Broken():
                self._why_not_started = event.error
            case Exited():
                self._replace(worker, describe_exit(event.returncode), pool)
            case Done():
                self.completed.append(self.running.pop(worker))
                self.tell(event)
                self._assign(worker)
            case Failed():
                self._fail(worker, event)
                self._assign(worker)
            case _:
                self.tell(event)

    def _assign(self, worker: Worker) -> None:
        """Give a worker the next job, or let it end."""
        if not self.pending:
            worker.end()
            return
        job_id = self.pending.popleft()
        self.running[worker] = job_id
        if not self.resume:
            clean(self.folder / job_id, keep_journaled=False)
        self.tell(Started(worker.pid, job=job_id))
        record = self.status.jobs[job_id]
        added_only = job_id in self.plan.added_only
        worker.run(
            {
                "job": job_id,
                "number": self.jobs[job_id].number,
                "variables": dict(self.jobs[job_id].variables),
                "config": self.jobs[job_id].config.model_dump_json(),
                "directory": str(self.folder / job_id),
                "replaced": (JOB_FILE, *self.plan.replaced.get(job_id, ())),
                "added_only": added_only,
                "record": asdict(record if added_only else self.wanted[job_id]),
            },
        )

    def _fail(self, worker: Worker, event: Failed) -> None:
        self.errors[self.running.pop(worker)] = event.error
        self.tell(event)

    def _replace(self, worker: Worker, why: str, pool: Pool) -> None:
        """Let go of a worker that has ended, and of its job, and start another if there is something to do for it."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS_WITHOUT_SUCCESS:
                raise BatchError(Text("workers cannot start: {reason}", reason=self._why_not_started or why))
        pool.workers.remove(worker)
        worker.end()
        if (job_id := self.running.get(worker)) is not None:
            self._fail(worker, Failed(0.0, self.wanted[job_id].frames, None, why, job=job_id))
            clean(self.folder / job_id)
        if len(self.pending) > sum(other not in self.running for other in pool.workers):
            pool.start(worker.threads)

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
        for job_id in self.running.values():
            if self.status.jobs[job_id].state != "completed":
                self.status.update(job_id, state="interrupted")
            clean(self.folder / job_id)
        self.running.clear()
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
