"""A single job in its own folder (``simtiff run``), with stages that can be skipped."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from simtiff.aberrations.maps import open_field
from simtiff.batch.folder import made_folder
from simtiff.batch.jobfile import read_job_file
from simtiff.batch.lock import FolderLock
from simtiff.batch.status import BatchStatus
from simtiff.config.identity import TRUTH_NAME, flat_settings
from simtiff.errors import ConfigError, DataError
from simtiff.io.files import remove_old, remove_partials
from simtiff.language import Text, joined
from simtiff.movie.events import Message, ignore
from simtiff.movie.job import make_added, make_movie, make_truth, without_map
from simtiff.movie.light import beam_of
from simtiff.movie.truth import replace_coefficients, replace_config
from simtiff.movie.truthfile import TruthFile, stored_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simtiff.config.settings import JobConfig
    from simtiff.movie.events import Watch


def run_pipeline(
    config: JobConfig,
    output_dir: Path,
    watch: Watch = ignore,
    *,
    skip_emitters: bool = False,
    skip_zernike: bool = False,
    skip_tiff: bool = False,
) -> list[Path]:
    """Run a single job (emitters, coefficients, TIFF) in one folder and return its files.

    A skipped stage uses the results of an earlier run in the folder.

    Parameters
    ----------
    config : JobConfig
        Config of the job.
    output_dir : Path
        Folder of the results.
    watch : callable, optional
        Called with each event (`simtiff.movie.events`).
    skip_emitters : bool
        Keep the emitters and records of ``emitters.h5`` and recompute their coefficients.
    skip_zernike : bool
        Keep the coefficients and the emitters that they belong to, which must match the config.
    skip_tiff : bool
        Write no movie. A movie of an earlier truth is removed.

    Raises
    ------
    DataError
        Results to be reused are missing or were made with other settings.
    ConfigError
        The folder belongs to a job of a batch.
    """
    path = output_dir / TRUTH_NAME
    _refuse_job_folder(output_dir)
    if skip_emitters or skip_zernike:
        check_reuse(config, path, coefficients=skip_zernike)
    with made_folder(output_dir), FolderLock(output_dir):
        remove_partials(output_dir)
        before = _config_before(path)
        kept = skip_zernike and before is not None and without_map(before) == without_map(config)
        if not (kept and skip_tiff):
            making = None if skip_tiff else config.tiff.filename
            names = {each.tiff.filename for each in (config, before) if each is not None}
            _remove_movies(output_dir, names, making, watch)
        if skip_zernike:
            watch(Message(Text("emitters and coefficients: reusing those in the folder")))
            if not kept:  # coefficients still belong to their original map
                replace_config(path, config.model_copy(update={"zmap_path": before.zmap_path} if before else {}))
        elif skip_emitters:
            watch(Message(Text("emitters: reusing those in the folder")))
            replace_coefficients(path, config, open_field(config))
            watch(Message(Text("coefficients computed")))
        else:
            make_truth(config, path, watch)
        files = [path]
        if not skip_tiff:
            make_movie(config, path, output_dir, watch)
            files.append(output_dir / config.tiff.filename)
        return files + [output_dir / name for name in make_added(config, path, output_dir, watch)]


def _refuse_job_folder(output_dir: Path) -> None:
    """Raise `ConfigError` if a folder belongs to a job of a batch, as its status would become wrong."""
    folder = output_dir.resolve()
    ours = False
    with contextlib.suppress(DataError):
        ours = read_job_file(folder) is not None
    with contextlib.suppress(DataError):
        status = BatchStatus.load(folder.parent)
        ours = ours or (status is not None and folder.name in {*status.jobs, *status.foreign})
    if ours:
        text = Text(
            "{path}: is the folder of job {job} of the batch in {batch}; choose another folder",
            path=output_dir,
            job=folder.name,
            batch=folder.parent,
        )
        raise ConfigError(text)


def _config_before(path: Path) -> JobConfig | None:
    """Return the config of the existing truth, if any."""
    try:
        return stored_config(path)
    except DataError:
        return None


def _remove_movies(directory: Path, names: set[str], making: str | None, watch: Watch) -> None:
    """Remove movies of an earlier truth; report each one except `making`, which is replaced."""
    for name in sorted(names):
        if (directory / name).exists():
            remove_old(directory / name)
            if name != making:
                watch(Message(Text("{name} removed: it belonged to an earlier {truth}", name=name, truth=TRUTH_NAME)))


def check_reuse(config: JobConfig, path: Path, *, coefficients: bool) -> None:
    """Raise `DataError` unless a truth file contains the emitters (and coefficients) of a config."""
    if not path.exists():
        skipped = "--skip-zernike" if coefficients else "--skip-emitters"
        text = Text(
            "{path}: file not found, but {option} needs it; run once without {option}", path=path, option=skipped
        )
        raise DataError(text)
    with TruthFile(path, config, coefficients="stored" if coefficients else "unused") as truth:
        made_with, frames = truth.stored_config, config.emitters.frames
        if truth.n_frames != frames and (truth.states_frames or truth.n_frames > frames):
            text = Text(
                "{path}: contains {frames} frames, emitters.frames is {asked}",
                path=path,
                frames=truth.n_frames,
                asked=frames,
            )
            raise DataError(text)
    if made_with is None:
        if coefficients and config.psf.phase_noll:
            text = Text(
                "{path}: does not state whether its coefficients include psf.phase_noll; run with --skip-emitters to "
                "recompute them",
                path=path,
            )
            raise DataError(text)
        return
    before, wanted = flat_settings(made_with), flat_settings(config)
    sections: tuple[str, ...] = ("emitters.", "drift", "zernike.") if coefficients else ("emitters.", "drift")
    if beam_of(made_with) != beam_of(config):  # the beam affects the records
        sections += ("illumination", "optical.pixel_size_nm")
    different: list[str] = [
        Text("{key} (made with {before}, now {now})", key=key, before=before.get(key), now=wanted.get(key))
        for key in dict.fromkeys((*wanted, *before))
        if (key.startswith(sections) and "plot" not in key and before.get(key) != wanted.get(key))
        or (coefficients and key in wanted and _other_coefficients(key, before, wanted))
    ]
    if different:
        settings = joined(different, "; ")
        text = Text("{path}: made with other settings: {settings}; run without skipping", path=path, settings=settings)
        raise DataError(text)


def _other_coefficients(key: str, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a setting outside ``zernike`` makes coefficients different from the stored ones."""
    if key == "psf.model":
        return wanted[key] != "gaussian" and before.get(key) == "gaussian"  # the gaussian model has no coefficients
    return key == "psf.phase_noll" and wanted["psf.model"] != "gaussian" and bool(before.get(key) != wanted[key])
