"""``python -m simtiff`` is the command ``simtiff``."""

from __future__ import annotations

import sys

from simtiff.cli import main

# Worker processes import this module under another name and must not start the command again.
if __name__ == "__main__":
    sys.exit(main())
