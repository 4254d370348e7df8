"""Tables of localizations to and from other tools' files, and how good they are.

Knows no config. What users call is here: `read`, `iter_read`, `opened`, `write` and `score`.

- `files`: reading and writing
- `format`: the seam, what a format is
- `registry`: the formats that there are; each has a file of its own
- `scoring`, `matching`: localizations against the truth
- `table`: the table, columns of NumPy with fixed units
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simtiff.localizations.files import iter_read, opened, read, write
    from simtiff.localizations.scoring import score
    from simtiff.localizations.table import Localizations

__all__ = [
    "Localizations",
    "files",
    "format",
    "iter_read",
    "matching",
    "opened",
    "read",
    "registry",
    "score",
    "scoring",
    "table",
    "write",
]

_HOMES = {
    "Localizations": "table",
    "iter_read": "files",
    "opened": "files",
    "read": "files",
    "score": "scoring",
    "write": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simtiff.localizations' has no attribute {name!r}")
    return getattr(importlib.import_module(f"simtiff.localizations.{_HOMES[name]}"), name)
