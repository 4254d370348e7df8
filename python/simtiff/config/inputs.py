"""The files that a config names: what their paths may be, and what they are relative to.

A path of a config file is relative to that file, one of the command line to the current directory. What a file holds
counts in a job's identity, where it lies does not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel

from simtiff.config.names import home_problem
from simtiff.config.section import checked_text
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ZMAP = "zmap_path"
POSITIONS = "emitters.positions_path"
INPUT_FILES = (ZMAP, "camera.maps_path", "background.image_path", "drift.path", POSITIONS)
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


def absolute_paths(key: str, value: Any, folder: Path) -> Any:
    """Return the raw value of a dotted key, of a setting or a section, with the paths in it made absolute.

    The key of a whole job is empty.
    """
    if key in INPUT_FILES:
        return absolute_path(value, folder)
    if not isinstance(value, dict) or (key and not any(path.startswith(f"{key}.") for path in INPUT_FILES)):
        return value
    return {name: absolute_paths(f"{key}.{name}" if key else name, item, folder) for name, item in value.items()}


def input_paths(config: BaseModel) -> dict[str, str]:
    """Return the paths of the files that a job's config names, by dotted key."""
    found = {}
    for key in INPUT_FILES:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part, None)
        if value is not None:
            found[key] = value
    return found


def joined_digest(zmap: str, others: Mapping[str, str]) -> str:
    """Return the digest of the files that a job's config names, of that of its map and those of others by key.

    It is that of the map, and after it ``key=digest`` for each other file: so it tells what has changed.
    """
    return " ".join([zmap, *(f"{key}={digest}" for key, digest in others.items())])


def split_digest(digest: str) -> dict[str, str]:
    """Return the digests of a job's input files by dotted key."""
    zmap, *others = digest.split(" ")
    return {ZMAP: zmap, **dict(other.split("=", 1) for other in others if "=" in other)}


def changed_files(before: str, now: str) -> list[str]:
    """Return the keys of the input files whose content differs between two digests of jobs that both name them."""
    then, current = split_digest(before), split_digest(now)
    return [key for key, digest in current.items() if key in then and then[key] != digest]
