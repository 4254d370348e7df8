"""A job from config to files: truth, movie, plots and exports; and streaming a movie from a truth file."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simtiff.aberrations.maps import open_field
from simtiff.config.exports import export_name, names_in_job
from simtiff.config.identity import TRUTH_NAME, job_files, job_hash, plot_names, settings_with_effect
from simtiff.config.inputs import input_paths
from simtiff.emitters.given import open_given
from simtiff.errors import ConfigError, DataError
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
from simtiff.io.omexml import Acquisition
from simtiff.io.tiff import HandOver, write_movie
from simtiff.language import Text, plural
from simtiff.movie.estimate import check_disk, file_size, show_bytes
from simtiff.movie.events import Message, MovieMade, Progress, ignore
from simtiff.movie.frames import Buffers, Movie
from simtiff.movie.giventruth import write_given_records
from simtiff.movie.light import cut_note
from simtiff.movie.truth import write_truth
from simtiff.movie.truthfile import Coefficients, TruthFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.movie.events import Watch


def run_job(
    config: JobConfig,
    directory: Path,
    watch: Watch = ignore,
    *,
    resume_key: str | None = None,
    replaced: tuple[str, ...] = (),
    buffers: Buffers | None = None,
    given: Callable[[Path], object] | None = None,
) -> dict[str, FileInfo]:
    """Write all files of a job and return them by name.

    Parameters
    ----------
    config : JobConfig
        The job.
    directory : Path
        Its folder, created if missing. Incomplete files of runs that no longer exist are removed from it.
    watch : callable, optional
        Called with each event of the job (`simtiff.movie.events`).
    resume_key : str, optional
        The job's hash; with it, a long movie resumes where an interrupted run of the same job stopped.
    replaced : tuple of str
        Files of earlier runs to remove first, in this order, so that the folder never mixes files of two runs.
    buffers : Buffers, optional
        Frame buffers reused from job to job.
    given : callable, optional
        Writes the truth to a path, instead of making it from the config.

    Raises
    ------
    ConfigError
        The job would overwrite one of its input files.
    DataError
        The aberration map is damaged or does not cover the field, or the folder is a symbolic link.
    OSError
        A file cannot be written.
    """
    _refuse_link(directory)
    directory.mkdir(parents=True, exist_ok=True)
    refuse_overwriting((directory / name for name in job_files(config)), input_paths(config).values())
    remove_partials(directory, keep_journaled=config.tiff.filename if resume_key is not None else False)
    for name in dict.fromkeys((*replaced, config.tiff.filename)):
        remove_old(directory / name)
    truth_path = directory / TRUTH_NAME
    with folders_synced_once():
        if given is None:
            make_truth(config, truth_path, watch)
        else:
            given(truth_path)
        movie = make_movie(config, truth_path, directory, watch, resume_key=resume_key, buffers=buffers)
    files = {TRUTH_NAME: checksum(truth_path), config.tiff.filename: movie}
    if len(job_files(config)) > len(files):
        watch(MovieMade(dict(files)))
        files |= {name: checksum(directory / name) for name in make_added(config, truth_path, directory, watch)}
    return files


def add_files(
    config: JobConfig, directory: Path, watch: Watch = ignore, there: Mapping[str, FileInfo] | None = None
) -> dict[str, FileInfo]:
    """Add plots and exports to a finished job without changing its movie and truth; return them by name.

    Files in `there` that exist with the given size are kept, unless they have to be rewritten together with others.
    """
    _refuse_link(directory)
    remove_partials(directory)
    whole = {name for name, info in (there or {}).items() if file_size(directory / name) == info.size}
    names = make_added(config, directory / TRUTH_NAME, directory, watch, whole)
    return {name: checksum(directory / name) for name in names}


def _refuse_link(directory: Path) -> None:
    """Raise `DataError` if a job's folder is a link, which may point outside the output folder."""
    if directory.is_symlink():
        raise DataError(Text("{path}: is a link, which may point outside the output folder; remove it", path=directory))


def make_truth(config: JobConfig, path: Path, watch: Watch) -> None:
    """Write ``emitters.h5``: emitters, records and coefficients."""
    begin = time.perf_counter()
    field = open_field(config)
    given = open_given(config)

    def progress(done: int, total: int) -> None:
        watch(Progress("truth", done, total))

    if given is None or given.records is None:
        made = write_truth(path, config, field, progress, given=given)
    else:
        made = write_given_records(path, config, field, given, progress)
    seconds = time.perf_counter() - begin
    if (note := cut_note(made.background)) is not None:
        watch(Message(Text("note: {note}", note=note)))
    emitters, records, modes = made.emitters, made.records, field.modes
    watch(Message(Text("emitters made: {emitters} emitters, {records} records", emitters=emitters, records=records)))
    text = Text(
        "coefficients computed: {modes} modes for {emitters} emitters ({seconds:.2f} s)",
        modes=modes,
        emitters=emitters,
        seconds=seconds,
    )
    watch(Message(text))


def make_movie(
    config: JobConfig,
    truth_path: Path,
    directory: Path,
    watch: Watch,
    *,
    name: str | None = None,
    chunk_size: int | None = None,
    resume_key: str | None = None,
    buffers: Buffers | None = None,
    coefficients: Coefficients = "stored",
) -> FileInfo:
    """Render a movie from a truth file and write it, chunk by chunk."""
    begin = time.perf_counter()
    path = directory / (name or config.tiff.filename)
    with TruthFile(truth_path, config, coefficients=coefficients) as truth:
        movie = Movie(config, truth)
        info = write_movie(
            path,
            _Watched(movie, chunk_size, buffers, watch),
            movie.shape,
            movie.dtype,
            pixel_size_um=(config.optical.pixel_size_nm_x / 1000, config.optical.pixel_size_nm_y / 1000),
            compression=config.tiff.compression,
            identity=without_map(config),
            acquisition=acquisition(config),
            resume_key=resume_key,
            threads=threads(),
        )
    seconds = time.perf_counter() - begin
    text = plural(
        "TIFF written: {n} frame, {size} ({seconds:.2f} s)",
        "TIFF written: {n} frames, {size} ({seconds:.2f} s)",
        movie.shape[0],
        size=show_bytes(info.size),
        seconds=seconds,
    )
    watch(Message(text))
    return info


class _Watched:
    """A movie's frames for `write_movie`; reports progress."""

    def __init__(self, movie: Movie, chunk_size: int | None, buffers: Buffers | None, watch: Watch) -> None:
        self._movie = movie
        self._chunk_size = chunk_size
        self._buffers = buffers
        self._watch = watch

    def stream(self) -> Iterator[NDArray[Any]]:
        total = self._movie.shape[0]
        self._watch(Progress("frames", 0, total))
        for start, chunk in self._movie.stream(self._chunk_size, self._buffers):
            yield chunk
            self._watch(Progress("frames", start + len(chunk), total))

    def hand_over(self, to: HandOver, first: int) -> Iterator[int]:
        total = self._movie.shape[0]
        if first:
            self._watch(Message(Text("movie resumes at frame {first} of {total}", first=first, total=total)))
        self._watch(Progress("frames", first, total))
        for done in self._movie.hand_over(to, first, self._chunk_size, self._buffers):
            yield done
            self._watch(Progress("frames", done, total))


def acquisition(config: JobConfig) -> Acquisition:
    """Return the acquisition metadata of a job's movie; without a section ``camera``, one ADU is one electron.

    With per-pixel maps, gain and offset are not single numbers and are omitted.
    """
    optical, camera = config.optical, config.camera
    plain = Acquisition(
        wavelength_nm=optical.wavelength_nm,
        numerical_aperture=optical.NA,
        n_immersion=optical.n_immersion,
        gain_adu_per_e=1.0,
        offset_adu=0.0,
        config=json.dumps(settings_with_effect(config)),
    )
    if camera is None:
        return plain
    taken = replace(
        plain,
        em_gain=camera.em_gain if camera.has_register and config.tiff.add_noise else None,
        exposure_ms=camera.exposure_ms,
        bit_depth=camera.bit_depth if config.tiff.add_noise and config.tiff.dtype == "uint16" else None,
    )
    if not config.tiff.add_noise:  # expected photons
        return taken
    if camera.maps_path is not None:
        return replace(taken, gain_adu_per_e=None, offset_adu=None)
    return replace(taken, gain_adu_per_e=1 / camera.e_per_adu, offset_adu=camera.offset_adu)


def without_map(config: JobConfig) -> str:
    """Return all settings that determine a job's files, except its map."""
    return job_hash(config, "")


def make_added(
    config: JobConfig, truth_path: Path, directory: Path, watch: Watch, there: Collection[str] = ()
) -> list[str]:
    """Make the plots and exports that the config requests and return the names of their files.

    All plots are drawn unless all exist (`there`). The same holds for the files of each export.
    """
    names = [] if set(plot_names(config)) <= set(there) else _make_plots(config, truth_path, directory, watch)
    wanted = [kind for kind in dict.fromkeys(config.export) if not set(names_in_job([kind])) <= set(there)]
    return names + _make_exports(config, wanted, truth_path, directory, watch)


def _make_exports(
    config: JobConfig, kinds: Sequence[str], truth_path: Path, directory: Path, watch: Watch
) -> list[str]:
    if not kinds:
        return []
    from simtiff.movie.export import export_truth

    names: list[str] = []
    for done, kind in enumerate(kinds):
        watch(Progress("exports", done, len(kinds)))
        names += [path.name for path in export_truth(truth_path, kind, directory / export_name(kind), config).files]
    watch(Message(Text("exports written: {names}", names=", ".join(names))))
    return names


def _make_plots(config: JobConfig, truth_path: Path, directory: Path, watch: Watch) -> list[str]:
    if config.emitters.no_plot and config.zernike.no_plot:
        return []
    from simtiff.movie.plots import write_plots

    watch(Progress("plots", 0, len(plot_names(config))))
    names = [path.name for path in write_plots(config, truth_path, directory)]
    watch(Message(Text("plots drawn: {names}", names=", ".join(names))))
    return names


def stream_movie(
    h5: Path,
    output: Path,
    config: JobConfig | None = None,
    chunk_size: int | None = None,
    watch: Watch = ignore,
) -> FileInfo:
    """Render the movie of an ``emitters.h5`` in chunks; peak memory depends only on the chunk size.

    Parameters
    ----------
    h5 : Path
        Truth file; it is only read. ``records/{xyz, phot, frame_ix}`` are enough: missing coefficients are computed
        from the config's map.
    output : Path
        The OME-TIFF to write.
    config : JobConfig, optional
        Used instead of the config stored in the file. If it has other background settings, the background is made from
        these; the photons of the file, after its own illumination, do not change.
    chunk_size : int, optional
        Frames at a time; default: ``memory_optimization.chunk_size``.
    watch : callable, optional
        Called with each event (`simtiff.movie.events`).

    Raises
    ------
    DataError
        The file is damaged, or contains no config and none is given.
    ConfigError
        A chunk size below 1, or an output that cannot be a file or is also an input.
    BatchError
        The movie does not fit on the disk.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ConfigError(f"--chunk-size: got {chunk_size}; allowed: whole numbers from 1")
    if (problem := target_problem(output)) is not None:
        raise ConfigError(f"--output: {output}: {problem}")
    with TruthFile(h5, config, coefficients="computed") as truth:
        config, frames, computed = truth.config, truth.n_frames, truth.computes
    if frames != config.emitters.frames:  # a hand-made file and a config that differ
        emitters = config.emitters.model_copy(update={"frames": frames})
        config = config.model_copy(update={"emitters": emitters})
    refuse_overwriting([output], input_paths(config).values())
    check_disk(config, output.parent, replaces=output)
    if computed and config.psf.model != "gaussian":
        text = (
            Text("the file has no coefficients; they are computed from {path}", path=config.zmap_path)
            if config.has_zmap
            else Text("the file has no coefficients and the config no map: PSFs have no aberrations")
        )
        watch(Message(text))
    return make_movie(
        config, h5, output.parent, watch, name=output.name, chunk_size=chunk_size, coefficients="computed"
    )
