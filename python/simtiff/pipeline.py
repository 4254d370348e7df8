"""One job from config to files: truth, movie, plots; and the two single-file ways of the guide."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from simtiff.aberrations.maps import open_field
from simtiff.config.identity import TRUTH_NAME, Job, flat_settings, job_files, job_hash
from simtiff.errors import ConfigError, DataError
from simtiff.estimate import check_disk, show_bytes
from simtiff.imaging.rendering import threads
from simtiff.io.files import (
    FileInfo,
    checksum,
    folders_synced_once,
    refuse_overwriting,
    remove_old,
    remove_partials,
    target_problem,
)
from simtiff.io.tiff import HandOver, write_movie
from simtiff.lock import FolderLock
from simtiff.movie import Buffers, Movie
from simtiff.outputs import made_folder
from simtiff.status import BatchStatus
from simtiff.truth import TruthFile, replace_coefficients, replace_config, write_truth
from simtiff.truthfile import stored_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig


class Report(Protocol):
    """Where a job says how far it is."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Say that `done` of `total` frames of a stage (``truth``, ``frames``) are through."""

    def log(self, message: str) -> None:
        """Say one line that is worth keeping."""


class Silent:
    """A report to nobody."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Say nothing."""

    def log(self, message: str) -> None:
        """Say nothing."""


def run_job(
    config: JobConfig,
    directory: Path,
    report: Report | None = None,
    *,
    resume_key: str | None = None,
    replaced: tuple[str, ...] = (),
    whole: Callable[[dict[str, FileInfo]], object] | None = None,
    buffers: Buffers | None = None,
) -> dict[str, FileInfo]:
    """Make all files of a job and return them by name.

    Parameters
    ----------
    config : JobConfig
        The job.
    directory : Path
        Its folder; made if it is not there. What dead runs left half-written in it is removed.
    report : Report, optional
        Told how far the job is.
    resume_key : str, optional
        The job's hash; with it, a long movie goes on where a killed run of the same job was.
    replaced : tuple of str
        Files of earlier runs to remove first, so that what lies together belongs together.
    whole : callable, optional
        Called with the truth and the movie when these are whole and only plots are left to draw.
    buffers : Buffers, optional
        Memory that one job leaves to the next.

    Raises
    ------
    ConfigError
        The zmap is a file that the job would overwrite.
    DataError
        The zmap is damaged or does not cover the field, or the folder is a symbolic link.
    OSError
        A file cannot be written.
    """
    report = report or Silent()
    _refuse_link(directory)
    directory.mkdir(parents=True, exist_ok=True)
    refuse_overwriting((directory / name for name in job_files(config)), [config.zmap_path])
    remove_partials(directory, keep_journaled=config.tiff.filename if resume_key is not None else False)
    for name in dict.fromkeys((config.tiff.filename, *replaced)):
        remove_old(directory / name)
    truth_path = directory / TRUTH_NAME
    with folders_synced_once():
        make_truth(config, truth_path, report)
        movie = make_movie(config, truth_path, directory, report, resume_key=resume_key, buffers=buffers)
    files = {TRUTH_NAME: checksum(truth_path), config.tiff.filename: movie}
    if len(job_files(config)) > len(files):
        if whole is not None:
            whole(files)
        files |= {name: checksum(directory / name) for name in make_plots(config, truth_path, directory, report)}
    return files


def draw_plots(config: JobConfig, directory: Path, report: Report | None = None) -> dict[str, FileInfo]:
    """Draw the plots of a finished job whose movie and truth stay as they are; return them by name."""
    _refuse_link(directory)
    remove_partials(directory)
    names = make_plots(config, directory / TRUTH_NAME, directory, report or Silent())
    return {name: checksum(directory / name) for name in names}


def _refuse_link(directory: Path) -> None:
    """Raise `DataError` if a job's folder is a link: it may lead out of the output folder."""
    if directory.is_symlink():
        raise DataError(f"{directory}: is a link, which may lead out of the output folder; remove it")


def make_truth(config: JobConfig, path: Path, report: Report) -> None:
    """Write ``emitters.h5``: emitters, records, coefficients."""
    begin = time.perf_counter()
    field = open_field(config)
    made = write_truth(path, config, field, lambda done, total: report.stage("truth", done, total))
    seconds = time.perf_counter() - begin
    report.log(f"emitters made: {made.emitters} emitters, {made.records} records")
    report.log(f"coefficients computed: {field.modes} modes for {made.emitters} emitters ({seconds:.2f} s)")


def make_movie(
    config: JobConfig,
    truth_path: Path,
    directory: Path,
    report: Report,
    *,
    name: str | None = None,
    chunk_size: int | None = None,
    resume_key: str | None = None,
    buffers: Buffers | None = None,
) -> FileInfo:
    """Render a movie from a truth file and write it, chunk by chunk."""
    begin = time.perf_counter()
    path = directory / (name or config.tiff.filename)
    with TruthFile(truth_path, config) as truth:
        movie = Movie(config, truth)
        info = write_movie(
            path,
            _Reported(movie, chunk_size, buffers, report),
            movie.shape,
            movie.dtype,
            pixel_size_um=(config.optical.pixel_size_nm_x / 1000, config.optical.pixel_size_nm_y / 1000),
            compression=config.tiff.compression,
            identity=_without_map(config),
            resume_key=resume_key,
            threads=threads(),
        )
    seconds = time.perf_counter() - begin
    total = movie.shape[0]
    report.log(f"TIFF written: {total} frame{'s' * (total != 1)}, {show_bytes(info.size)} ({seconds:.2f} s)")
    return info


class _Reported:
    """A movie's frames for `write_movie`; reports how many are done."""

    def __init__(self, movie: Movie, chunk_size: int | None, buffers: Buffers | None, report: Report) -> None:
        self._movie = movie
        self._chunk_size = chunk_size
        self._buffers = buffers
        self._report = report

    def stream(self) -> Iterator[NDArray[Any]]:
        total = self._movie.shape[0]
        self._report.stage("frames", 0, total)
        for start, chunk in self._movie.stream(self._chunk_size, self._buffers):
            yield chunk
            self._report.stage("frames", start + len(chunk), total)

    def hand_over(self, to: HandOver, first: int) -> Iterator[int]:
        total = self._movie.shape[0]
        if first:
            self._report.log(f"movie goes on at frame {first} of {total}")
        self._report.stage("frames", first, total)
        for done in self._movie.hand_over(to, first, self._chunk_size, self._buffers):
            yield done
            self._report.stage("frames", done, total)


def make_plots(config: JobConfig, truth_path: Path, directory: Path, report: Report) -> list[str]:
    """Draw the plots that the config asks for and return their names."""
    if config.emitters.no_plot and config.zernike.no_plot:
        return []
    from simtiff.config.identity import plot_names
    from simtiff.plots import write_plots

    report.stage("plots", 0, len(plot_names(config)))
    names = [path.name for path in write_plots(config, truth_path, directory)]
    report.log(f"plots drawn: {', '.join(names)}")
    return names


def run_pipeline(
    config: JobConfig,
    output_dir: Path,
    report: Report | None = None,
    *,
    skip_emitters: bool = False,
    skip_zernike: bool = False,
    skip_tiff: bool = False,
) -> list[Path]:
    """Run the guide's single pipeline (emitters, coefficients, TIFF) in one folder and return its files.

    A skipped stage uses what the folder has from an earlier run.

    Parameters
    ----------
    config : JobConfig
        The job, with its zmap.
    output_dir : Path
        Folder of the results.
    report : Report, optional
        Told how far it is.
    skip_emitters : bool
        Keep the emitters and records of ``emitters.h5`` and compute their coefficients anew.
    skip_zernike : bool
        Keep the coefficients, too. They belong to the emitters, so these are kept as well, and have to be
        those of the config.
    skip_tiff : bool
        Make no movie. One that belonged to an earlier truth is removed.

    Raises
    ------
    DataError
        What is to be used is not there or was made with other settings.
    ConfigError
        The folder belongs to a job of a batch.
    """
    report = report or Silent()
    path = output_dir / TRUTH_NAME
    _refuse_job_folder(output_dir)
    if skip_emitters or skip_zernike:
        check_reuse(config, path, coefficients=skip_zernike)
    with made_folder(output_dir), FolderLock(output_dir):
        remove_partials(output_dir)
        before = _config_before(path)
        kept = skip_zernike and before is not None and _without_map(before) == _without_map(config)
        if not (kept and skip_tiff):
            making = None if skip_tiff else config.tiff.filename
            names = {each.tiff.filename for each in (config, before) if each is not None}
            _remove_movies(output_dir, names, making, report)
        if skip_zernike:
            report.log("emitters and coefficients: those of the folder are used")
            if not kept:  # coefficients stay those of the map they came from
                replace_config(path, config.model_copy(update={"zmap_path": before.zmap_path} if before else {}))
        elif skip_emitters:
            report.log("emitters: those of the folder are used")
            replace_coefficients(path, config, open_field(config))
            report.log("coefficients computed")
        else:
            make_truth(config, path, report)
        files = [path]
        if not skip_tiff:
            make_movie(config, path, output_dir, report)
            files.append(output_dir / config.tiff.filename)
        return files + [output_dir / name for name in make_plots(config, path, output_dir, report)]


def _refuse_job_folder(output_dir: Path) -> None:
    """Raise `ConfigError` if a folder belongs to a job of a batch, whose status would no longer be true."""
    folder = output_dir.resolve()
    try:
        status = BatchStatus.load(folder.parent)
    except DataError:
        return
    if status is not None and folder.name in status.jobs:
        raise ConfigError(
            f"{output_dir}: is the folder of job {folder.name} of the batch in {folder.parent}; choose another folder"
        )


def _config_before(path: Path) -> JobConfig | None:
    """Return the config of the truth that is there, if any."""
    try:
        return stored_config(path)
    except DataError:
        return None


def _without_map(config: JobConfig) -> str:
    """Return what determines a job's files but for its map."""
    return job_hash(Job("", config), "")


def _remove_movies(directory: Path, names: set[str], making: str | None, report: Report) -> None:
    """Remove movies that do not belong to the truth that is made now; say so unless `making` takes the place."""
    for name in sorted(names):
        if (directory / name).exists():
            remove_old(directory / name)
            if name != making:
                report.log(f"{name} removed: it belonged to an earlier {TRUTH_NAME}")


def check_reuse(config: JobConfig, path: Path, *, coefficients: bool) -> None:
    """Raise `DataError` unless a truth file holds the emitters (and coefficients) that a config asks for."""
    if not path.exists():
        skipped = "--skip-zernike" if coefficients else "--skip-emitters"
        raise DataError(f"{path}: no such file, but {skipped} needs it; run once without")
    with TruthFile(path, config) as truth:
        made_with = truth.stored_config
        if truth.n_frames != config.emitters.frames:
            raise DataError(f"{path}: holds {truth.n_frames} frames, emitters.frames asks for {config.emitters.frames}")
    if made_with is None:
        return
    before, wanted = flat_settings(made_with), flat_settings(config)
    sections = ("emitters.", "zernike.") if coefficients else ("emitters.",)
    different = [
        f"{key} (made with {before.get(key)}, now {value})"
        for key, value in wanted.items()
        if key.startswith(sections) and "plot" not in key and before.get(key) != value
    ]
    if different:
        raise DataError(f"{path}: was made with other settings: {'; '.join(different)}; run without skipping")


def stream_movie(
    h5: Path,
    output: Path,
    config: JobConfig | None = None,
    chunk_size: int | None = None,
    report: Report | None = None,
) -> FileInfo:
    """Render the movie of an ``emitters.h5`` in chunks; peak memory is set by the chunk alone.

    Parameters
    ----------
    h5 : Path
        Truth file; it is only read.
    output : Path
        The OME-TIFF to write.
    config : JobConfig, optional
        Settings to use instead of those that the file carries.
    chunk_size : int, optional
        Frames at a time; default: ``memory_optimization.chunk_size``.
    report : Report, optional
        Told how far it is.

    Raises
    ------
    DataError
        The file is damaged, or carries no config and none is given.
    ConfigError
        A chunk size below 1, or an output that cannot be a file.
    BatchError
        The movie does not fit on the disk.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ConfigError(f"--chunk-size: got {chunk_size}, allowed are whole numbers from 1")
    if (problem := target_problem(output)) is not None:
        raise ConfigError(f"--output: {output}: {problem}")
    with TruthFile(h5, config) as truth:
        config, frames = truth.config, truth.n_frames
    if frames != config.emitters.frames:  # a file by hand, with a config that says something else
        emitters = config.emitters.model_copy(update={"frames": frames})
        config = config.model_copy(update={"emitters": emitters})
    check_disk(config, output.parent, replaces=output)
    return make_movie(config, h5, output.parent, report or Silent(), name=output.name, chunk_size=chunk_size)
