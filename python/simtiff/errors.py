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


def printable(text: str) -> str:
    """Return text with everything a terminal might act on (control characters, lone surrogates) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def not_loaded(error: ImportError | SystemError) -> str:
    """Return the message for a library that cannot be loaded, or fails without a word as some do without memory."""
    return f"a library cannot be loaded ({error}); is there enough memory, and is simtiff installed as a whole?"


class UnsavedError(BatchError):
    """A batch ran, but could not save what it did."""
