"""File and folder names that are valid on Linux, macOS and Windows."""

from __future__ import annotations

import hashlib
import re
import string
from pathlib import PurePath
from typing import Any

from simtiff.language import Text

OWN_NAMES = ("batch_status.json", ".simtiff.lock")
"""Files of a batch in its output folder, next to the job folders."""
JOB_FILE = "job.json"
"""File that a batch writes in the folder of each finished job."""
LONGEST_NAME = 100
LONGEST_VALUE_NAME = 32
DEFAULT_SAMPLE_NAMING = "sample_{sample_id:03d}"

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(\..*)?", re.IGNORECASE)
_FORBIDDEN = '<>:"/\\|?*'
_INTEGER_FORMAT = re.compile(r"(0?[1-9][0-9]?)?d?", re.ASCII)


def name_problem(name: str) -> str | None:
    """Return why `name` is not a valid file or folder name on every system, or None if it is."""
    if not name:
        return Text("is empty")
    if name in {".", ".."} or any(c in "/\\" for c in name):
        return Text("leaves its folder; it must be a name without / and \\")
    if any(c in _FORBIDDEN or not c.isprintable() for c in name):
        return Text(
            "has a character that some systems do not allow in names ({characters} or invisible)",
            characters=" ".join(_FORBIDDEN),
        )
    if name[0] in " ." or name[-1] in " .":
        return Text("must not begin or end with a space or a dot")
    if _RESERVED.fullmatch(name):
        return Text("is a device name that Windows reserves")
    if len(name.encode()) > LONGEST_NAME:
        return Text("is longer than {n} bytes", n=LONGEST_NAME)
    return None


def home_problem(path: str) -> str | None:
    """Return an error message if a path begins with ``~``, which only shells expand; else None."""
    return Text("begins with ~, which is not expanded; write the full path") if path.startswith("~") else None


def folder_problem(path: str) -> str | None:
    """Return why a path is not valid for an output folder on every system, or None if it is."""
    name = PurePath(path).name
    if name not in {"", ".."} and name[-1] in " .":
        return Text("must not end with a space or a dot")
    return home_problem(path)


def shorten(name: str, longest: int) -> str:
    """Return `name`; if it is longer than `longest` bytes, truncated and marked with a hash."""
    data = name.encode()
    if len(data) <= longest:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: longest - 9].decode(errors='ignore').rstrip('._- ')}-{digest}"


def value_name(value: Any) -> str:
    """Return a config value for use in a folder name: ``2.5``, ``true``, ``0-32``."""
    match value:
        case None | bool():
            text = {None: "null", True: "true", False: "false"}[value]
        case list() | tuple():
            text = "-".join(value_name(item) for item in value)
        case float():
            text = repr(value)
        case _:
            text = str(value)
    cleaned = re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("._") or "_"
    return shorten(cleaned, LONGEST_VALUE_NAME)


def sample_naming_problem(naming: str) -> str | None:
    """Return why a sample naming pattern is invalid, or None if it is valid.

    Only the field ``{sample_id}`` is allowed, optionally with an integer format such as ``03d``. Patterns come from
    configs, and Python's full format language would give access to attributes of objects.
    """
    try:
        parts = list(string.Formatter().parse(naming))
    except ValueError as error:
        return Text("is not a valid pattern ({reason})", reason=error)
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field != "sample_id" or conversion:
            shown = f"{field}!{conversion}" if conversion else field
            return Text("allows only the field {{sample_id}}, not {{{field}}}", field=shown)
        if not _INTEGER_FORMAT.fullmatch(spec or ""):
            return Text('allows only an integer format such as "03d" after the colon, not "{spec}"', spec=spec)
    name = sample_name(naming, 1)
    if name.casefold() in OWN_NAMES:
        names = ", ".join(OWN_NAMES)
        return Text("is the name of one of the batch's own files (allowed: any except {names})", names=names)
    return name_problem(name)


def sample_name(naming: str, sample_id: int) -> str:
    """Return the name of one sample; `naming` must have passed `sample_naming_problem`."""
    return naming.format(sample_id=sample_id)
