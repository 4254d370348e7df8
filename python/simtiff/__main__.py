"""The process of the command ``simtiff`` or ``python -m simtiff``, quickly begun and ended."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from simtiff.cli.process import main

_GC_THRESHOLD = (
    100_000  # what is imported is tens of thousands of objects that stay; to look for garbage there takes long
)


def command() -> NoReturn:
    """Run the command of this process and end it with the exit code."""
    gc.set_threshold(_GC_THRESHOLD)
    code = main()
    # Modules need not be taken apart one by one, which takes a fifth of the time of a short command.
    atexit._run_exitfuncs()  # what libraries asked for is done all the same
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


# Worker processes of a library's user may import this module under another name and must not start the command again.
if __name__ == "__main__":
    command()
