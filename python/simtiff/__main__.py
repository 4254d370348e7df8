"""Entry point of the command ``simtiff`` or ``python -m simtiff``, with fast startup and exit."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from simtiff.cli.process import main

_GC_THRESHOLD = 100_000  # imports create tens of thousands of permanent objects, which are slow to scan


def command() -> NoReturn:
    """Run the command and exit with its exit code."""
    gc.set_threshold(_GC_THRESHOLD)
    code = main()
    # os._exit skips the interpreter's teardown, which takes a fifth of the time of a short command.
    atexit._run_exitfuncs()  # handlers that libraries registered still run
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


# Worker processes of other programs may import this module under another name; they must not start the command.
if __name__ == "__main__":
    command()
