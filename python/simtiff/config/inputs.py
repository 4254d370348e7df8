"""The files that a config names: what their paths may be, and what they are relative to.

A path of a config file is relative to that file, one of the command line to the current directory. What a file holds
counts in a job's identity, where it lies does not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from simtiff.config.blocks import checked_text
from simtiff.config.names import home_problem
from simtiff.language import Text

if TYPE_CHECKING:
    from pathlib import Path

INPUT_FILES = ("zmap_path", "camera.maps_path", "background.image_path")
"""Dotted keys of a job that hold the path of a file, the aberration map's first."""


def path_text(value: str) -> str:
    """Return a path, or raise the error, for a validator of pydantic, that says why it is none."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return checked_text(Text("has characters that no path can have"), value)
    return checked_text(Text("is not a path") if not value.strip() or "\0" in value else home_problem(value), value)


def stored_path_text(value: str) -> str:
    """Return a path as `path_text` does, of an input file: it is stored as JSON."""
    try:
        value.encode()
    except UnicodeEncodeError:
        text = Text("is not UTF-8, as the path of an input file must be; rename what it leads through")
        return checked_text(text, value)
    return path_text(value)


InputPath = Annotated[str, AfterValidator(stored_path_text)]


def absolute_path(value: Any, folder: Path) -> Any:
    """Return an input file's path made absolute from `folder`; what is no path to a file stays as it is."""
    if not isinstance(value, str) or not value.strip() or value.startswith(("builtin:", "~")):
        return value
    return str((folder / value).absolute())
