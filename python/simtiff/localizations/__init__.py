"""Read and write tables of localizations in formats of other software, and score them against the truth.

Independent of configs. Public functions: `read`, `iter_read`, `opened`, `write` and `score`.

- `files`: reading and writing
- `format`: base class of all formats
- `registry`: list of all formats; each is in its own module
- `scoring`, `matching`: compare localizations with the truth
- `table`: the table, NumPy columns with fixed units
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
