"""Input files named in a config: valid paths, and how relative paths are resolved.

Paths in a config file are relative to that file, paths on the command line to the current directory. A job's identity
depends on the content of its input files, not on their paths.
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
"""Dotted keys of a job that are paths of input files; the aberration map comes first."""


def path_text(value: str) -> str:
    """Return a path if it is valid; for pydantic validators, raise an error if not."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return checked_text(Text("has characters that are not allowed in paths"), value)
    return checked_text(Text("is not a path") if not value.strip() or "\0" in value else home_problem(value), value)


def stored_path_text(value: str) -> str:
    """Like `path_text`, for input files: their paths must be UTF-8, since they are stored as JSON."""
    try:
        value.encode()
    except UnicodeEncodeError:
        text = Text("is not UTF-8, as paths of input files must be; rename the file or its folders")
        return checked_text(text, value)
    return path_text(value)


InputPath = Annotated[str, AfterValidator(stored_path_text)]


def absolute_path(value: Any, folder: Path) -> Any:
    """Return the absolute path of an input file, resolved from `folder`; other values are returned unchanged."""
    if not isinstance(value, str) or not value.strip() or value.startswith(("builtin:", "~")):
        return value
    return str((folder / value).absolute())


def absolute_paths(key: str, value: Any, folder: Path) -> Any:
    """Return the raw value of a setting or section with all paths in it made absolute.

    The key of a whole job is the empty string.
    """
    if key in INPUT_FILES:
        return absolute_path(value, folder)
    if not isinstance(value, dict) or (key and not any(path.startswith(f"{key}.") for path in INPUT_FILES)):
        return value
    return {name: absolute_paths(f"{key}.{name}" if key else name, item, folder) for name, item in value.items()}


def input_paths(config: BaseModel) -> dict[str, str]:
    """Return the paths of a job's input files by dotted key."""
    found = {}
    for key in INPUT_FILES:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part, None)
        if value is not None:
            found[key] = value
    return found


def joined_digest(zmap: str, others: Mapping[str, str]) -> str:
    """Return the digest of all input files of a job, from that of its map and those of the others by key.

    It is the map's digest, followed by ``key=digest`` for each other file, so that changes can be told apart.
    """
    return " ".join([zmap, *(f"{key}={digest}" for key, digest in others.items())])


def split_digest(digest: str) -> dict[str, str]:
    """Return the digests of a job's input files by dotted key."""
    zmap, *others = digest.split(" ")
    return {ZMAP: zmap, **dict(other.split("=", 1) for other in others if "=" in other)}


def changed_files(before: str, now: str) -> list[str]:
    """Return the keys of the input files that are in both digests and whose content differs."""
    then, current = split_digest(before), split_digest(now)
    return [key for key, digest in current.items() if key in then and then[key] != digest]
