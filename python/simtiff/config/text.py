"""Config text: JSON5 to plain Python values, with clear errors for everything a file can be."""

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
    """An object of the file that remembers which of its keys came more than once."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        pairs = list(pairs)
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


@dataclass(frozen=True)
class ConfigFile:
    """What was read of a config file.

    Attributes
    ----------
    text, source : str
        All of it, and its name for messages.
    folder : Path
        The folder that paths in it are relative to; of stdin and other pipes the current directory.
    """

    text: str
    source: str
    folder: Path


def read_config_file(path: str | os.PathLike[str]) -> ConfigFile:
    """Read a config file, a pipe, or stdin where `path` is ``-``; see `parse_config_text`.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no UTF-8 text.
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
            Text("{source}: is larger than {size} MiB, which is no config file", source=source, size=MAX_BYTES >> 20)
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = Text("{source}: is not UTF-8 text (byte {byte}); save it as UTF-8", source=source, byte=error.start)
        raise ConfigError(text) from None
    return ConfigFile(text, source, Path.cwd() if is_stdin or is_pipe else Path(path).absolute().parent)


def _read_pipe(path: str | os.PathLike[str]) -> bytes:
    """Read a pipe until its writer is done; one that nobody has opened for writing might never end, and is refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # only POSIX has pipes with paths; elsewhere this is not reached
    with open(fd, "rb") as pipe:  # noqa: PTH123 - a descriptor
        begin = b""
        with contextlib.suppress(BlockingIOError):
            begin = os.read(fd, 1 << 16)
            if not begin:
                raise OSError(errno.EPIPE, Text("is a pipe that nothing writes to"))
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
        With line and column for a syntax error; for keys that occur twice; for anything but an object.
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
    """Parse one value of the command line: JSON5, or else the text itself."""
    try:
        return plain(_parse(text, ""), "", [])
    except ConfigError:
        return text


def plain(value: Any, source: str, problems: list[Problem], loc: tuple[object, ...] = ()) -> Any:
    """Return a deep copy of plain dicts, lists and Python values; keys that came twice go to `problems`.

    What a caller of the Python functions may well use becomes plain: NumPy's numbers, booleans and texts, arrays of
    them (also those of pandas and the like), tuples, ranges and paths.
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
            problems += [Problem(path, Text("the key is there more than once")) for path in repeated]
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
    """Return an array of booleans, numbers, texts or objects as NumPy has it; None for anything else."""
    if not hasattr(value, "__array__") or isinstance(value, np.ma.MaskedArray):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # another library's object; what it is will be said
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
                f"{source}: {error} (comments are read in files up to {MAX_JSON5_BYTES >> 20} MiB)"
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
    """Split ``a.b=value`` into the key path and the value's text, or return what is wrong with it."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        return Problem(f"--set {show_key(override)}", Text("must be KEY=VALUE, such as emitters.frames=3"))
    return key, text.strip()
