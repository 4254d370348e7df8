"""Run all jobs of a config in worker processes, keep their status, and go on where an earlier run stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.aberrations.maps import map_digest
from simtiff.batch._log import JobLog
from simtiff.batch._plan import Selection, select_jobs
from simtiff.batch._pool import Event, Pool, Worker, describe_exit, signals_as_events
from simtiff.batch.folder import FolderLock, clean, clear_away, made_folder, refuse_own_files
from simtiff.batch.inputs import check_inputs
from simtiff.batch.progress import BatchSummary, Progress, console
from simtiff.batch.room import estimate_batch
from simtiff.batch.status import NAME as STATUS_NAME
from simtiff.batch.status import BatchStatus, JobRecord, job_ids, now
from simtiff.config.identity import DATA_VERSION, Job, job_files, job_hash
from simtiff.config.loading import load_batch_config
from simtiff.config.names import folder_problem
from simtiff.config.sweeps import expand_jobs
from simtiff.errors import BatchError, ConfigError, UnsavedError
from simtiff.io.files import FileInfo, describe_os_error, refuse_overwriting, remove_partials, version
from simtiff.movie.estimate import map_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simtiff.config.settings import BatchConfig

_STARTS_WITHOUT_SUCCESS = 3


def run_batch(
    config: str | os.PathLike[str] | Mapping[str, Any] | BatchConfig,
    max_workers: int | None = None,
    resume: bool = True,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    retry_failed: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | bool = True,
    force: bool = False,
    log_file: str | os.PathLike[str] | None = None,
) -> BatchSummary:
    """Run all jobs of a batch config and return what came of them.

    A job's files are in a folder with its id. Finished jobs whose config, zmap and files have not changed are
    skipped. One job's failure, or the death of its worker, leaves the others running.

    Ctrl-C, SIGTERM and SIGHUP stop the batch at once: workers are ended, the status is saved, and the summary
    says so (``interrupted``). The same call goes on later.

    Parameters
    ----------
    config : path, dict or BatchConfig
        The batch's config.
    max_workers : int, optional
        Worker processes, instead of the config's; default: the number of cores. Each gets its share of the
        cores as threads.
    resume : bool
        False: run all jobs, also finished ones.
    output_dir : path, optional
        Folder of the results, instead of the config's ``base_output_dir``.
    retry_failed : bool
        Run only the jobs that failed before.
    overrides : sequence of str
        ``KEY=VALUE`` texts that replace values of the config.
    progress : bool or Progress
        True: on stderr; False: nowhere; or an object that is told.
    force : bool
        Start also if the disk or the memory seems too small.
    log_file : path, optional
        File that one JSON object a line is appended to, for what happens (see `JobLog`).

    Raises
    ------
    ConfigError, DataError
        The config or an input is wrong; nothing was written.
    BatchError
        The output folder or the log file cannot be written, the folder is in use by another batch, the disk
        or the memory is too small, or workers cannot start.
    """
    begin = time.monotonic()
    if max_workers is not None and max_workers < 1:
        raise ConfigError(f"max_workers: got {max_workers}, allowed are whole numbers from 1")
    if output_dir is not None and (problem := folder_problem(str(output_dir))) is not None:
        raise ConfigError(f'output_dir: "{output_dir}" {problem}')
    if retry_failed and not resume:
        raise ConfigError("--no-resume runs all jobs, --retry-failed only those that failed: choose one")
    batch = load_batch_config(config, overrides)
    jobs = expand_jobs(batch)
    folder = Path(output_dir if output_dir is not None else batch.base_output_dir).absolute()
    show = progress if not isinstance(progress, bool) else console() if progress else Progress()
    inputs = [batch.source, *dict.fromkeys(job.config.zmap_path for job in jobs)]
    refuse_own_files(folder, jobs, inputs, log_file)
    with contextlib.ExitStack() as until_all_is_in_order, made_folder(folder), FolderLock(folder) as lock:
        with contextlib.suppress(OSError):  # left by a run that was killed while it saved the status
            remove_partials(folder, of=STATUS_NAME)
        status = BatchStatus.load(folder) if resume else None
        earlier = list(status.jobs) if status is not None else job_ids(folder)
        run = _Run(lock, show, status or BatchStatus(folder), jobs, max_workers or batch.max_workers or cores())
        with contextlib.closing(Pool((lock.fd,))) as pool:
            if status is None:  # every job is to be done: workers start up while the inputs are checked
                run.start_workers(pool, len(jobs))
            run.check(batch)
            if lock.taken_over:
                show.note(f"the run before this one died at its work ({lock.taken_over}); taking over")
            run.choose(resume=resume, retry_failed=retry_failed)
            run.refuse_overwriting(inputs)
            run.check_room(force=force)
            until_all_is_in_order.enter_context(signals_as_events(pool.events))
            with JobLog(Path(log_file) if log_file is not None else None) as run.log:
                run.begin(earlier)
                run.work(pool)
    return run.summary(time.monotonic() - begin)


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Run:
    """One run of a batch in its locked folder."""

    def __init__(
        self,
        lock: FolderLock,
        show: Progress,
        status: BatchStatus,
        jobs: Sequence[Job],
        max_workers: int,
    ) -> None:
        self.lock = lock
        self.folder = lock.path.parent
        self.show = show
        self.status = status
        self.jobs = {job.id: job for job in jobs}
        self.max_workers = max_workers
        self.wanted: dict[str, JobRecord] = {}
        self.pending: deque[str] = deque()
        self.running: dict[Worker, str] = {}
        self.completed: list[str] = []
        self.errors: dict[str, str] = {}
        self.interrupted = False
        self.skipped = 0
        self.resume = True
        self.selection = Selection()
        self.log = JobLog(None)
        self._warned = False

    def check(self, batch: BatchConfig) -> None:
        """Check the jobs' inputs, and hash what determines the jobs' files."""
        check_inputs(list(self.jobs.values()), batch)
        digests = {path: map_digest(path) for path in {job.config.zmap_path for job in self.jobs.values()}}
        self.wanted = {
            job.id: JobRecord(
                hash=job_hash(job, digests[job.config.zmap_path]),
                data_version=DATA_VERSION,
                zmap=digests[job.config.zmap_path],
                frames=job.config.emitters.frames,
            )
            for job in self.jobs.values()
        }

    def start_workers(self, pool: Pool, jobs: int) -> None:
        """Start as many workers as `jobs` jobs can use, each with its share of the cores."""
        workers = min(self.max_workers, jobs)
        first = next(iter(self.jobs.values())).config.model_dump_json()
        for _ in range(workers):
            pool.start(max(1, cores() // workers), prepare=first)

    def choose(self, *, resume: bool, retry_failed: bool) -> None:
        """Decide which jobs to run, and say why those are run again that once were done."""
        self.resume = resume
        self.selection = select_jobs(
            self.jobs, self.wanted, self.status, self.folder, resume=resume, retry_failed=retry_failed
        )
        self.pending.extend(self.selection.pending)
        self.skipped = len(self.jobs) - len(self.pending)
        for note in self.selection.notes:
            self.show.note(note)

    def refuse_overwriting(self, inputs: Sequence[str]) -> None:
        """Raise `ConfigError` if a chosen job would overwrite an input."""
        outputs = (
            self.folder / job_id / name
            for job_id in self.pending
            for name in (*job_files(self.jobs[job_id].config), *self.selection.replaced.get(job_id, ()))
        )
        refuse_overwriting(outputs, inputs)

    def check_room(self, *, force: bool) -> None:
        """Say how much disk and memory the chosen jobs need; raise `BatchError` if they cannot have it."""
        todo = [
            (job_id, self.jobs[job_id].config) for job_id in self.pending if job_id not in self.selection.plots_only
        ]
        if not todo:
            return
        sizes = map_sizes(config.zmap_path for _, config in todo)
        workers = min(self.max_workers, len(todo))
        estimate = estimate_batch(self.folder, todo, sizes, workers, max(1, cores() // workers))
        if not force:
            estimate.check()
        self.show.estimated(str(estimate))
        for problem in estimate.problems():
            self.show.note(f"{problem} (going on: --force)")

    def begin(self, earlier: Sequence[str]) -> None:
        """Write the status as it is at the start, and clear away what is of no use any more."""
        self.status.jobs = self.selection.records
        if self.pending:
            self.status.run_started = now()
            self.status.workers = min(self.max_workers, len(self.pending))
        try:
            self.status.save(force=True)
        except OSError as error:
            raise BatchError(f"{self.folder}: cannot be written ({describe_os_error(error)})") from error
        records, chosen = self.status.jobs, set(self.pending)
        waiting = {name for name, record in records.items() if record.state != "completed"}  # for another run
        cleared = clear_away(self.folder, [name for name in (*records, *earlier) if name not in chosen | waiting])
        if cleared:
            more = f" and {len(cleared) - 1} more" if len(cleared) > 1 else ""
            self.show.note(
                f"removed what a killed run left unfinished in {cleared[0]}{more}; this one does not need it"
            )

    def work(self, pool: Pool) -> None:
        """Run the chosen jobs."""
        if not pool.workers:
            self.start_workers(pool, len(self.pending))
        workers = min(len(pool.workers), len(self.pending))
        self.show.begin(len(self.jobs), self.skipped, workers)
        self._log(
            "begin",
            simtiff=version(),
            host=socket.gethostname(),
            pid=os.getpid(),
            output_dir=str(self.folder),
            jobs=len(self.jobs),
            to_do=len(self.pending),
            workers=workers,
        )
        try:
            self._loop(pool)
        finally:
            pool.close()
            try:
                self._leave_in_order()
            finally:
                done = {"completed": len(self.completed), "failed": len(self.errors), "skipped": self.skipped}
                self._log("end", **done, interrupted=self.interrupted)
                self.show.end()

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
        starts_without_success, trouble = 0, ""
        while self.pending or self.running:
            event = pool.next_event(min(1.0, wait) if (wait := self.status.due_in()) is not None else 1.0)
            if event is not None:
                if event.kind == "signal":
                    self.interrupted = True
                    return
                if event.worker is not None:
                    if event.kind == "broken":
                        trouble = event.data["error"]
                    elif event.kind == "ready":
                        starts_without_success = 0
                    elif event.kind == "exited" and not event.worker.ready:
                        starts_without_success += 1
                    if starts_without_success >= _STARTS_WITHOUT_SUCCESS:
                        raise BatchError(f"workers cannot start: {trouble or describe_exit(event.data['returncode'])}")
                    self._handle(event, event.worker, pool)
            with contextlib.suppress(OSError):
                self.lock.check()
            self._save()

    def _handle(self, event: Event, worker: Worker, pool: Pool) -> None:
        job_id = self.running.get(worker)
        match event.kind:
            case "ready":
                worker.ready = True
                self._assign(worker)
            case "stage" if job_id is not None:
                self.show.stage(job_id, event.data["name"], event.data["done"], event.data["total"])
                if event.data["name"] == "frames":
                    self.status.progress(job_id, event.data["done"])
            case "stage_done" if job_id is not None:
                self._log("stage", job=job_id, **event.data)
            case "log" if job_id is not None:
                self.show.log(job_id, event.data["message"])
            case "whole" if job_id is not None:
                files = _infos(event.data["files"])
                self.status.update(job_id, files=files, frames_done=self.wanted[job_id].frames)
            case "done" if job_id is not None:
                self._complete(worker, **event.data)
                self._assign(worker)
            case "failed" if job_id is not None:
                self._fail(worker, **event.data)
                self._assign(worker)
            case "exited":
                pool.workers.remove(worker)
                worker.end()
                if job_id is not None:
                    self._fail(worker, describe_exit(event.data["returncode"]))
                    clean(self.folder / job_id)
                if len(self.pending) > sum(not other.job_id for other in pool.workers):
                    pool.start(worker.threads)

    def _assign(self, worker: Worker) -> None:
        worker.job_id = None
        if not self.pending:
            worker.end()
            return
        job_id = self.pending.popleft()
        self.running[worker] = job_id
        if not self.resume:
            clean(self.folder / job_id, keep_journaled=False)
        plots_only = job_id in self.selection.plots_only
        if not plots_only:
            self.status.update(job_id, state="running", started=now(), files={}, error="")
        elif self.status.jobs[job_id].state != "completed":  # else it is and stays so
            self.status.update(job_id, state="running", started=now(), error="")
        self.show.started(job_id)
        self._log("started", job=job_id, worker_pid=worker.pid)
        worker.run(
            job_id,
            {
                "config": self.jobs[job_id].config.model_dump_json(),
                "directory": str(self.folder / job_id),
                "resume_key": self.wanted[job_id].hash,
                "replaced": self.selection.replaced.get(job_id, ()),
                "plots_only": plots_only,
            },
        )

    def _complete(
        self, worker: Worker, files: Mapping[str, Any], seconds: float, peak_memory_bytes: int | None
    ) -> None:
        job_id = self.running.pop(worker)
        record, made = self.status.jobs[job_id], _infos(files)
        if job_id in self.selection.plots_only:
            made = {**record.files, **made}
        if record.state == "completed":
            self.status.update(job_id, files=made)
        else:
            total = self._seconds(job_id, seconds)
            self.status.update(job_id, finished=now(), state="completed", files=made, seconds=total)
        self.completed.append(job_id)
        self.show.done(job_id, seconds)
        frames = self.wanted[job_id].frames
        self._log("done", job=job_id, seconds=seconds, frames=frames, peak_memory_bytes=peak_memory_bytes)

    def _fail(
        self,
        worker: Worker,
        error: str,
        seconds: float = 0.0,
        details: str = "",
        peak_memory_bytes: int | None = None,
    ) -> None:
        job_id = self.running.pop(worker)
        if self.status.jobs[job_id].state != "completed":
            total = self._seconds(job_id, seconds)
            self.status.update(job_id, finished=now(), state="failed", error=error, seconds=total)
        self.errors[job_id] = error
        self.show.failed(job_id, error, details)
        frames = self.wanted[job_id].frames
        self._log(
            "failed",
            job=job_id,
            seconds=seconds,
            frames=frames,
            peak_memory_bytes=peak_memory_bytes,
            error=error,
            traceback=details or None,
        )

    def _seconds(self, job_id: str, seconds: float) -> float:
        """Return how long a job took: where only plots were left to draw, its movie was made before."""
        return seconds + (self.status.jobs[job_id].seconds if job_id in self.selection.plots_only else 0.0)

    def _log(self, event: str, **data: Any) -> None:
        if (trouble := self.log.write(event, **data)) is not None:
            self.show.note(trouble)

    def _save(self, *, force: bool = False) -> None:
        """Save the status; trouble with that is said once and does not end the batch."""
        try:
            try:
                self.status.save(force=force)
            except FileNotFoundError:  # somebody removed the folder; jobs make their own part of it again
                self.folder.mkdir(parents=True, exist_ok=True)
                self.status.save(force=True)
        except OSError as error:
            message = f"{self.status.path}: cannot be saved ({describe_os_error(error)})"
            if force:
                raise UnsavedError(f"{message}; what this run finished is done again by the next") from error
            if not self._warned:
                self._warned = True
                self.show.note(f"{message}; going on")

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
                error = f"{', '.join(gone)}: gone; removed while the batch was running?"
                self.status.update(job_id, state="failed", error=error, files={})
                self.completed.remove(job_id)
                self.errors[job_id] = error
                self.show.failed(job_id, error)
                self._log("failed", job=job_id, frames=self.wanted[job_id].frames, error=error)
        self._save(force=True)


def _infos(files: Mapping[str, Any]) -> dict[str, FileInfo]:
    return {name: FileInfo(*info) for name, info in files.items()}
