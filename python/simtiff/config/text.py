"""Config text: parse JSON5 into plain Python values, with clear error messages."""

from __future__ import annotations

import contextlib
import errno
import json
import numbers
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from simtiff.config.messages import Problem, join_path, kind, raise_problems, show, show_key
from simtiff.errors import ConfigError, os_reason, printable
from simtiff.io.files import read_regular
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BYTES = 16 << 20
# The JSON5 parser is written in Python and slow; longer files must be strict JSON.
MAX_JSON5_BYTES = 1 << 20
MAX_DEPTH = 32

_JSON5_MESSAGE = re.compile(r"<string>:(\d+) (.*) at column (\d+)\Z", re.DOTALL)


class _Object(dict[str, Any]):
    """An object of the file that records its duplicate keys."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        pairs = list(pairs)
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


@dataclass(frozen=True)
class ConfigFile:
    """The content of a config file.

    Attributes
    ----------
    text, source : str
        The text, and the file's name for messages.
    folder : Path
        Folder for relative paths in the config; for stdin and other pipes, the current directory.
    """

    text: str
    source: str
    folder: Path


def read_config_file(path: str | os.PathLike[str]) -> ConfigFile:
    """Read a config file, a pipe, or stdin if `path` is ``-``; see `parse_config_text`.

    Raises
    ------
    ConfigError
        The file cannot be read, or is not UTF-8 text.
    """
    is_stdin = os.fspath(path) == "-"
    source = "stdin" if is_stdin else printable(os.fspath(path))
    try:
        is_pipe = not is_stdin and Path(path).is_fifo()
        data = _read_stdin() if is_stdin else _read_pipe(path) if is_pipe else read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(Text("{source}: no such config file", source=source)) from None
    except IsADirectoryError:
        raise ConfigError(Text("{source}: is a directory, not a config file", source=source)) from None
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else error
        raise ConfigError(
            Text("{source}: the config file cannot be read ({reason})", source=source, reason=reason)
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            Text("{source}: is larger than {size} MiB, too large for a config", source=source, size=MAX_BYTES >> 20)
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = Text("{source}: is not UTF-8 text (byte {byte}); save it as UTF-8", source=source, byte=error.start)
        raise ConfigError(text) from None
    return ConfigFile(text, source, Path.cwd() if is_stdin or is_pipe else Path(path).absolute().parent)


def _read_pipe(path: str | os.PathLike[str]) -> bytes:
    """Read a pipe to its end; `OSError` if no process has it open for writing, since it might never end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # only POSIX has pipes with paths; elsewhere this is not reached
    with open(fd, "rb") as pipe:  # noqa: PTH123 - a descriptor
        begin = b""
        with contextlib.suppress(BlockingIOError):
            begin = os.read(fd, 1 << 16)
            if not begin:
                raise OSError(errno.EPIPE, Text("is a pipe without a writer"))
        os.set_blocking(fd, True)
        return begin + pipe.read(MAX_BYTES + 1 - len(begin))


def _read_stdin() -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise OSError(errno.EBADF, Text("stdin is closed"))
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def parse_config_text(text: str, source: str) -> dict[str, Any]:
    """Parse a config: JSON, or JSON5 with its comments and trailing commas.

    Parameters
    ----------
    text
        The whole text.
    source
        Name of the file, for messages.

    Returns
    -------
    dict
        The top-level object, of plain dicts, lists, numbers, strings, booleans and None.

    Raises
    ------
    ConfigError
        Syntax error (with line and column), duplicate keys, or not an object.
    """
    value = _parse(text, source)
    if not isinstance(value, dict):
        raise ConfigError(Text("{source}: must be one object {{ ... }}, not {kind}", source=source, kind=kind(value)))
    problems: list[Problem] = []
    result: dict[str, Any] = plain(value, source, problems)
    if problems:
        raise_problems(source, problems)
    return result


def parse_value(text: str) -> Any:
    """Parse one value from the command line as JSON5; if that fails, return the text itself."""
    try:
        return plain(_parse(text, ""), "", [])
    except ConfigError:
        return text


def plain(value: Any, source: str, problems: list[Problem], loc: tuple[object, ...] = ()) -> Any:
    """Return a deep copy as plain dicts, lists and Python values; duplicate keys are added to `problems`.

    Converts what Python callers may pass: NumPy scalars and strings, arrays (also of pandas and similar libraries),
    tuples, ranges and paths.
    """
    if len(loc) > MAX_DEPTH:
        raise ConfigError(Text("{source}: is nested more than {levels} levels deep", source=source, levels=MAX_DEPTH))
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case Mapping():
            repeated = [join_path("", (*loc, key)) for key in getattr(value, "repeated", ())]
            problems += [Problem(path, Text("the key appears more than once")) for path in repeated]
            problems += [
                Problem(
                    join_path("", loc),
                    Text("the key {key} is {kind}; allowed: strings", key=show(key), kind=kind(key)),
                )
                for key in value
                if not isinstance(key, str)
            ]
            items = ((str.__str__(key), item) for key, item in value.items() if isinstance(key, str))
            return {key: plain(item, source, problems, (*loc, key)) for key, item in items}
        case list() | tuple() | range():
            return [plain(item, source, problems, (*loc, i)) for i, item in enumerate(value)]
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case os.PathLike():
            return os.fspath(value)
    array = _array(value)
    if array is None:
        return value
    if array.ndim == 0:
        return array.item()
    return plain(list(array), source, problems, loc)


def _array(value: Any) -> NDArray[Any] | None:
    """Return a NumPy array of booleans, numbers, strings or objects; None if the value is not such an array."""
    if not hasattr(value, "__array__") or isinstance(value, np.ma.MaskedArray):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # an object of another library; reported later by its type
        return None
    return array if array.dtype.kind in ("biufUO" if array.ndim else "biufU") else None


def _parse(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except RecursionError:
        raise ConfigError(Text("{source}: is nested too deeply", source=source)) from None
    except ValueError as error:
        if len(text) > MAX_JSON5_BYTES:
            raise ConfigError(
                f"{source}: {error} (comments are allowed only in files up to {MAX_JSON5_BYTES >> 20} MiB)"
            ) from None
    import json5

    try:
        return json5.loads(text, object_pairs_hook=_Object)
    except RecursionError:
        raise ConfigError(Text("{source}: is nested too deeply", source=source)) from None
    except (ValueError, OverflowError) as error:
        _raise_syntax_error(str(error), source)


def _raise_syntax_error(message: str, source: str) -> NoReturn:
    match = _JSON5_MESSAGE.match(message)
    if match:
        line, what, column = match.groups()
        what = printable(what[0].lower() + what[1:])
        place = Text("line {line}, column {column}", line=line, column=column)
        raise ConfigError(joined([source, place, what], ": ")) from None
    if message.startswith("Empty"):
        raise ConfigError(Text("{source}: is empty", source=source)) from None
    raise ConfigError(
        Text("{source}: not valid JSON5: {reason}", source=source, reason=printable(message[:200]))
    ) from None


def split_override(override: str) -> tuple[str, str] | Problem:
    """Split ``a.b=value`` into key path and value text, or return the problem."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        return Problem(f"--set {show_key(override)}", Text("must be KEY=VALUE, such as emitters.frames=3"))
    return key, text.strip()
