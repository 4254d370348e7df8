"""Run all jobs of a config in worker processes, keep their status, and go on where an earlier run stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.config import load_batch_config
from simtiff.errors import BatchError, ConfigError
from simtiff.files import FileInfo, describe_os_error, job_files, remove_partials
from simtiff.inputs import check_inputs
from simtiff.jobs import DATA_VERSION, Job, expand_jobs, job_hash
from simtiff.lock import FolderLock
from simtiff.pool import Event, Pool, Worker, describe_exit
from simtiff.progress import Progress, console
from simtiff.status import BatchStatus, JobRecord, now, why_not_done
from simtiff.summary import BatchSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from simtiff.config import BatchConfig

__all__ = ["BatchSummary", "run_batch"]

_STARTS_WITHOUT_SUCCESS = 3
_MOST_REASONS = 20


def run_batch(
    config: str | os.PathLike[str] | Mapping[str, Any] | BatchConfig,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    max_workers: int | None = None,
    resume: bool = True,
    retry_failed: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | bool = True,
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
    output_dir : path, optional
        Folder of the results, instead of the config's ``base_output_dir``.
    max_workers : int, optional
        Worker processes, instead of the config's; default: the number of cores. Each gets its share of the
        cores as threads.
    resume : bool
        False: run all jobs, also finished ones.
    retry_failed : bool
        Run only the jobs that failed before.
    overrides : sequence of str
        ``KEY=VALUE`` texts that replace values of the config.
    progress : bool or Progress
        True: on stderr; False: nowhere; or an object that is told.

    Raises
    ------
    ConfigError, DataError
        The config or an input is wrong; nothing was written.
    BatchError
        The output folder cannot be written or is in use by another batch, or workers cannot start.
    """
    begin = time.monotonic()
    if max_workers is not None and max_workers < 1:
        raise ConfigError(f"max_workers: got {max_workers}, allowed are whole numbers from 1")
    if retry_failed and not resume:
        raise ConfigError("--no-resume runs all jobs, --retry-failed only those that failed: choose one")
    batch = load_batch_config(config, overrides)
    jobs = expand_jobs(batch)
    folder = Path(output_dir if output_dir is not None else batch.base_output_dir).absolute()
    show = progress if not isinstance(progress, bool) else console() if progress else Progress()
    with _made(folder), FolderLock(folder) as lock:
        status = BatchStatus.load(folder) if resume else None
        run = _Run(folder, show, status or BatchStatus(folder), jobs, max_workers or batch.max_workers or cores())
        with contextlib.closing(Pool((lock.fd,))) as pool:
            if status is None:  # every job is to be done: workers start up while the inputs are checked
                run.start_workers(pool, len(jobs))
            run.check()
            if lock.taken_over:
                show.note(f"the run before this one died at its work ({lock.taken_over}); taking over")
            run.choose(resume=resume, retry_failed=retry_failed)
            run.work(pool)
    return run.summary(time.monotonic() - begin)


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the output folder; if a wrong input ends the block, take it away again, as far as it is empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BatchError(
            f"{folder}: cannot be made ({describe_os_error(error)}); choose another output folder"
        ) from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise


class _Run:
    """One run of a batch in its locked folder."""

    def __init__(
        self,
        folder: Path,
        show: Progress,
        status: BatchStatus,
        jobs: Sequence[Job],
        max_workers: int,
    ) -> None:
        self.folder = folder
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
        self._replaced: dict[str, tuple[str, ...]] = {}
        self._warned = False

    def check(self) -> None:
        """Check the jobs' inputs, and hash what determines the jobs' files."""
        digests = check_inputs(job.config for job in self.jobs.values())
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
        before = self.status.jobs
        reasons: dict[str, str] = {}
        for job_id, job in self.jobs.items():
            record = before.get(job_id)
            if retry_failed and (record is None or record.state != "failed"):
                continue
            reason = why_not_done(record, self.wanted[job_id], self.folder / job_id, job_files(job.config))
            if reason is None and resume:
                continue
            self.pending.append(job_id)
            if record is not None:
                self._replaced[job_id] = tuple(record.files)
                if reason is not None and reason != "new":
                    reasons[job_id] = reason
        self.skipped = len(self.jobs) - len(self.pending)
        for job_id, reason in list(reasons.items())[:_MOST_REASONS]:
            self.show.note(f"{job_id} is done again: {reason}")
        if len(reasons) > _MOST_REASONS:
            self.show.note(f"... and {len(reasons) - _MOST_REASONS} more jobs are done again")
        todo = set(self.pending)
        # First the jobs of this config in their order, then finished ones that it no longer has.
        self.status.jobs = {
            job_id: self.wanted[job_id] if job_id in todo else before.get(job_id, self.wanted[job_id])
            for job_id in self.jobs
        } | {name: record for name, record in before.items() if name not in self.jobs and record.state == "completed"}
        try:
            self.status.save(force=True)
        except OSError as error:
            raise BatchError(f"{self.folder}: cannot be written ({describe_os_error(error)})") from error

    def work(self, pool: Pool) -> None:
        """Run the chosen jobs."""
        if not pool.workers:
            self.start_workers(pool, len(self.pending))
        self.show.begin(len(self.jobs), self.skipped, min(len(pool.workers), len(self.pending)))
        try:
            with _signals(pool):
                self._loop(pool)
        finally:
            pool.close()
            self._leave_in_order()
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
        starts_without_success = 0
        while self.pending or self.running:
            event = pool.next_event(min(1.0, wait) if (wait := self.status.due_in()) is not None else 1.0)
            if event is not None:
                if event.kind == "signal":
                    self.interrupted = True
                    return
                if event.worker is not None:
                    if event.kind == "ready":
                        starts_without_success = 0
                    elif event.kind == "exited" and not event.worker.ready:
                        starts_without_success += 1
                    if starts_without_success >= _STARTS_WITHOUT_SUCCESS:
                        raise BatchError(f"workers cannot start: {describe_exit(event.data['returncode'])}")
                    self._handle(event, event.worker, pool)
            self._save()

    def _handle(self, event: Event, worker: Worker, pool: Pool) -> None:
        job_id = self.running.get(worker)
        match event.kind:
            case "ready":
                worker.ready = True
                self._assign(worker)
            case "stage" if job_id is not None:
                self.show.stage(job_id, event.data["name"], event.data["done"], event.data["total"])
            case "log" if job_id is not None:
                self.show.log(job_id, event.data["message"])
            case "done" if job_id is not None:
                files = {name: FileInfo(*info) for name, info in event.data["files"].items()}
                seconds = event.data["seconds"]
                self._finish(worker, state="completed", files=files, seconds=seconds)
                self.completed.append(job_id)
                self.show.done(job_id, seconds)
                self._assign(worker)
            case "failed" if job_id is not None:
                self._fail(worker, event.data["error"], event.data["seconds"], event.data["details"])
                self._assign(worker)
            case "exited":
                pool.workers.remove(worker)
                worker.end()
                if job_id is not None:
                    self._fail(worker, describe_exit(event.data["returncode"]))
                    _clean(self.folder / job_id)
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
            _clean(self.folder / job_id, keep_journaled=False)
        self.status.update(job_id, state="running", started=now())
        self.show.started(job_id)
        worker.run(
            job_id,
            {
                "config": self.jobs[job_id].config.model_dump_json(),
                "directory": str(self.folder / job_id),
                "resume_key": self.wanted[job_id].hash,
                "replaced": self._replaced.get(job_id, ()),
            },
        )

    def _fail(self, worker: Worker, error: str, seconds: float = 0.0, details: str = "") -> None:
        job_id = self._finish(worker, state="failed", error=error, seconds=seconds)
        self.errors[job_id] = error
        self.show.failed(job_id, error, details)

    def _finish(self, worker: Worker, **changes: Any) -> str:
        job_id = self.running.pop(worker)
        self.status.update(job_id, finished=now(), **changes)
        return job_id

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
                raise BatchError(f"{message}; what this run finished is done again by the next") from error
            if not self._warned:
                self._warned = True
                self.show.note(f"{message}; going on")

    def _leave_in_order(self) -> None:
        """Write the last status: only jobs whose files are there are done, none is running."""
        for job_id in self.running.values():
            self.status.update(job_id, state="interrupted")
            _clean(self.folder / job_id)
        self.running.clear()
        for job_id in list(self.completed):
            gone = [name for name in self.status.jobs[job_id].files if not (self.folder / job_id / name).exists()]
            if gone:
                error = f"{', '.join(gone)}: gone; removed while the batch was running?"
                self.status.update(job_id, state="failed", error=error, files={})
                self.completed.remove(job_id)
                self.errors[job_id] = error
                self.show.failed(job_id, error)
        self._save(force=True)


def _clean(folder: Path, *, keep_journaled: bool = True) -> None:
    """Remove what a dead worker left half-written, but usually not a movie that the next run can continue."""
    with contextlib.suppress(OSError):
        remove_partials(folder, keep_journaled=keep_journaled)


@contextlib.contextmanager
def _signals(pool: Pool) -> Iterator[None]:
    """Turn signals to stop into events, so that nothing is torn in the middle of a step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        pool.events.put(Event("signal", {"number": number}))  # SimpleQueue.put may be called from a handler

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
