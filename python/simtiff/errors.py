"""The errors simtiff raises; every one is a `SimtiffError`."""

from __future__ import annotations


class SimtiffError(Exception):
    """Base of all errors that simtiff raises on purpose."""


class ConfigError(SimtiffError, ValueError):
    """A config or an argument is wrong; the message names the file, the key and what is allowed."""


class ShapeError(SimtiffError, ValueError):
    """An array has the wrong shape, dtype or layout."""


class DataError(SimtiffError, ValueError):
    """A data file (zmap, emitters.h5, TIFF, status) is missing, damaged or does not fit."""


class BatchError(SimtiffError):
    """A batch could not start or could not go on."""


class UnsavedError(BatchError):
    """A batch ran, but could not save what it did."""


def printable(text: str) -> str:
    """Return text with everything a terminal might act on (control characters, lone surrogates) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def in_words(error: BaseException) -> str:
    """Return what went wrong in words for a user."""
    match error:
        case SimtiffError():
            return str(error)
        case OSError():
            reason = error.strerror or str(error) or type(error).__name__
            names = [str(name) for name in (error.filename, error.filename2) if name]
            return f"{reason}: {' -> '.join(names)}" if names else reason
        case MemoryError():
            more = f" ({error})" if str(error) else ""
            cure = "use fewer workers (--max-workers), a smaller memory_optimization.chunk_size or tiff.roi_size"
            return f"out of memory; {cure}, or fewer emitters{more}"
        case ImportError() | SystemError():  # some libraries fail with the latter, without a word, for want of memory
            return f"a library cannot be loaded ({error}); is there enough memory, and is simtiff installed as a whole?"
    return f"{type(error).__name__}: {error}"
