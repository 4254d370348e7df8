"""Make the parts of the reference that follow from the code: settings, commands, Python.

Run it from anywhere: ``python docs/make_reference.py``. What stands between two comments in a page,
``made by make docs: NAME`` and ``end of what is made``, is replaced; all else is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

REFERENCE = Path(__file__).with_name("reference")
sys.path.insert(0, str(REFERENCE))

from make_commands import commands  # noqa: E402
from make_config import tables  # noqa: E402
from make_python import groups  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = {"config": tables, "commands": commands, "python": groups}
MADE = re.compile(r"(<!-- made by make docs: ([\w ]+) -->\n).*?(<!-- end of what is made -->\n)", flags=re.DOTALL)


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each page in each language with what it must hold."""
    for name, make in PAGES.items():
        for language, suffix in (("en", ".md"), ("zh", ".zh-CN.md")):
            path = REFERENCE / f"{name}{suffix}"
            parts = make(language)
            text = path.read_text(encoding="utf-8")
            if (places := sorted(match[2] for match in MADE.finditer(text))) != sorted(parts):
                raise ValueError(f"{path.name} has places for {places}, but there is {sorted(parts)}")
            yield path, MADE.sub(lambda match, parts=parts: f"{match[1]}\n{parts[match[2]]}\n\n{match[3]}", text)


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
