"""A batch's output folder: create it, and remove temporary files of killed runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from simtiff.config.identity import TRUTH_NAME
from simtiff.config.names import JOB_FILE, OWN_NAMES
from simtiff.errors import BatchError, in_words
from simtiff.io.files import refuse_overwriting, remove_partials
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from simtiff.config.identity import Job


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Create the output folder; if the block raises, remove the created folders that are empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = in_words(error)
        text = Text(
            "{folder}: cannot be created ({reason}); choose another output folder", folder=folder, reason=reason
        )
        raise BatchError(text) from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def refuse_own_files(
    folder: Path, jobs: Sequence[Job], inputs: Iterable[str], log_file: str | os.PathLike[str] | None
) -> None:
    """Raise an error if a file that the batch itself writes is also an input or its log."""
    refuse_overwriting((folder / name for name in OWN_NAMES), inputs)
    if log_file is None:
        return
    path, there = Path(os.path.realpath(log_file)), Path(os.path.realpath(folder))
    first, *more = path.relative_to(there).parts if path.is_relative_to(there) else ("",)
    if (not more and first in OWN_NAMES) or first in {job.id for job in jobs}:
        text = Text("--log-file: {path}: is one of the batch's own files; choose another name", path=log_file)
        raise BatchError(text)


def clear_away(folder: Path, job_ids: Iterable[str]) -> list[str]:
    """Remove temporary files of killed runs from some jobs' folders; return the jobs that had any."""
    return [job_id for job_id in dict.fromkeys(job_ids) if clean(folder / job_id, keep_journaled=False)]


def drop_begun(folder: Path, job_ids: Iterable[str]) -> None:
    """Remove folders of interrupted jobs that are not in the config any more, if they contain only the truth."""
    for job_id in dict.fromkeys(job_ids):
        path = folder / job_id
        if path.is_symlink() or (path / JOB_FILE).exists():
            continue
        with contextlib.suppress(OSError):
            names = {entry.name for entry in path.iterdir()}
            if names <= {TRUTH_NAME}:  # no movie, which may be complete, and no files of the user
                (path / TRUTH_NAME).unlink(missing_ok=True)
                path.rmdir()


def clean(folder: Path, *, keep_journaled: bool = True) -> list[Path]:
    """Remove temporary files of a killed worker; by default keep a movie that the next run can resume."""
    with contextlib.suppress(OSError):
        if not folder.is_symlink():  # a job never creates a link
            return remove_partials(folder, keep_journaled=keep_journaled)
    return []
