"""A batch's output folder: made, and cleared of what killed runs left."""

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
    """Make the output folder; if an error ends the block, take it away again, as far as it is empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = in_words(error)
        text = Text("{folder}: cannot be made ({reason}); choose another output folder", folder=folder, reason=reason)
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
    """Raise an error if one of a batch's own files is an input, or its log."""
    refuse_overwriting((folder / name for name in OWN_NAMES), inputs)
    if log_file is None:
        return
    path, there = Path(os.path.realpath(log_file)), Path(os.path.realpath(folder))
    first, *more = path.relative_to(there).parts if path.is_relative_to(there) else ("",)
    if (not more and first in OWN_NAMES) or first in {job.id for job in jobs}:
        text = Text("--log-file: {path}: is one of the batch's own files; choose another name", path=log_file)
        raise BatchError(text)


def clear_away(folder: Path, job_ids: Iterable[str]) -> list[str]:
    """Remove what killed runs left half-written in some jobs' folders, and return where there was something."""
    return [job_id for job_id in dict.fromkeys(job_ids) if clean(folder / job_id, keep_journaled=False)]


def drop_begun(folder: Path, job_ids: Iterable[str]) -> None:
    """Remove the folders of jobs that no config wants any more, where these got no further than the truth."""
    for job_id in dict.fromkeys(job_ids):
        path = folder / job_id
        if path.is_symlink() or (path / JOB_FILE).exists():
            continue
        with contextlib.suppress(OSError):
            names = {entry.name for entry in path.iterdir()}
            if names <= {TRUTH_NAME}:  # neither a movie, which may be whole, nor a user's files
                (path / TRUTH_NAME).unlink(missing_ok=True)
                path.rmdir()


def clean(folder: Path, *, keep_journaled: bool = True) -> list[Path]:
    """Remove what a dead worker left half-written, but usually not a movie that the next run can continue."""
    with contextlib.suppress(OSError):
        if not folder.is_symlink():  # not a folder that a job has made
            return remove_partials(folder, keep_journaled=keep_journaled)
    return []
