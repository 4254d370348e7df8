"""The errors that simtiff raises; all of them are `SimtiffError`."""

from __future__ import annotations

from simtiff.language import Text, joined


class SimtiffError(Exception):
    """Base class of all errors that simtiff raises."""


class ConfigError(SimtiffError, ValueError):
    """A config or an argument is wrong; the message names the file, the key and what is allowed."""


class ShapeError(SimtiffError, ValueError):
    """An array has the wrong shape, dtype or layout."""


class DataError(SimtiffError, ValueError):
    """A data file (zmap, emitters.h5, TIFF, status) is missing, damaged or unsuitable."""


class BatchError(SimtiffError):
    """A batch could not start or could not continue."""


class UnsavedError(BatchError):
    """A batch ran, but its status could not be saved."""


def printable(text: str) -> str:
    """Return text with control characters and lone surrogates escaped, so that it is safe to print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def in_words(error: BaseException) -> str:
    """Return the message of an error for users; a `Text` if the error was raised with one."""
    match error:
        case SimtiffError():
            return error.args[0] if error.args and isinstance(error.args[0], Text) else str(error)
        case OSError():
            reason = os_reason(error)
            names = [str(name) for name in (error.filename, error.filename2) if name]
            return joined([reason, " -> ".join(names)], ": ") if names else reason
        case MemoryError():
            text = Text(
                "out of memory; use fewer workers (--max-workers), a smaller memory_optimization.chunk_size or "
                "tiff.roi_size, or fewer emitters"
            )
            return joined([text, f"({error})"], " ") if str(error) else text
        case ImportError() | SystemError():  # some libraries raise an empty SystemError when memory runs out
            return Text(
                "a library could not be loaded ({reason}); is there enough memory, and is simtiff fully installed?",
                reason=error,
            )
    return f"{type(error).__name__}: {error}"


def os_reason(error: OSError) -> str:
    """Return the operating system's message; common ones as a `Text`, which can be translated."""
    reason = error.strerror or str(error) or type(error).__name__
    return next((text for text in _USUAL_REASONS if text == reason), reason)


_USUAL_REASONS = (
    Text("No space left on device"),
    Text("Disk quota exceeded"),
    Text("No such file or directory"),
    Text("Permission denied"),
    Text("Read-only file system"),
    Text("Input/output error"),
    Text("File exists"),
    Text("Is a directory"),
    Text("Not a directory"),
)
