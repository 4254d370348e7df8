"""The process of the command: language, signals, errors and exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
from typing import TYPE_CHECKING

from simtiff.batch.signals import Interrupts, open_closed_streams
from simtiff.cli.arguments import USAGE, parse_arguments
from simtiff.cli.commands import COMMANDS
from simtiff.cli.terminal import DONE, FAILED, INTERRUPTED, WRONG, print_text
from simtiff.errors import SimtiffError, UnsavedError, in_words, os_reason
from simtiff.language import Text, joined, language_of, shown, speaking

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_SAMPLES = {"zh": "中文"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv
        Arguments without the program's name; default: those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names with any character must be printable; a closed stream is None
            stream.reconfigure(errors="backslashreplace")
    verbose = "--verbose" in words
    words = [word for word in words if word != "--verbose"]
    with speaking(_language()), Interrupts(ends_process=argv is None) as interrupts:
        try:
            code = _run(words, verbose=verbose)
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            interrupts.ignore()
            _report(_how_to_go_on(words), verbose=verbose)
            code = INTERRUPTED
        except BrokenPipeError:
            _drop_output()
            code = FAILED
        except Exception as error:
            message, code = _explain(error)
            _report(message, verbose=verbose)
            _drop_output()
    return code


def _language() -> str:
    """Return the output language: the user's, if both streams can encode it, else English."""
    language = language_of(os.environ)
    for stream in (sys.stdout, sys.stderr):
        try:
            _SAMPLES.get(language, "").encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return "en"
    return language


def _drop_output() -> None:
    """Discard what stdout could not write (closed pipe, full disk), as Python would try again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str], *, verbose: bool) -> int:
    if any(word in {"-h", "--help"} for word in words):
        print_text(USAGE.rstrip())
        return DONE
    if "--version" in words:
        from simtiff.io.files import software

        print_text(software())
        return DONE
    command, arguments = parse_arguments(words)
    return COMMANDS[command](arguments | {"--verbose": verbose})


def _explain(error: Exception) -> tuple[str, int]:
    """Return the message of an error and the exit code."""
    match error:
        case SimtiffError():
            return in_words(error), FAILED if isinstance(error, UnsavedError) else WRONG
        case OSError():
            code, reason = FAILED if error.errno in _NO_SPACE else WRONG, os_reason(error)
            return (joined([str(error.filename), reason], ": ") if error.filename is not None else reason), code
        case MemoryError() | ImportError() | SystemError():
            return in_words(error), FAILED
    return Text("internal error: {error} (--verbose shows where)", error=in_words(error)), FAILED


def _report(message: str, *, verbose: bool) -> None:
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        if verbose:
            import traceback

            traceback.print_exc()
        sys.stderr.write(f"simtiff: {shown(message)}\n")
        sys.stderr.flush()


def _how_to_go_on(words: list[str]) -> Text:
    # Jobs that --no-resume has not replaced yet still exist, possibly with other settings.
    instead = [] if "--overwrite" in words else ["--overwrite"]
    parts = (instead if word in {"--no-resume", "--no_resume"} else [word] for word in words)
    again = shlex.join(["simtiff", *(word for part in parts for word in part)])
    if words and words[0] == "batch":
        return Text("interrupted; finished jobs are kept; rerun to resume: {command}", command=again)
    return Text(
        "interrupted; no incomplete file was left under its final name; to start again: {command}", command=again
    )
