"""The catalogue of Chinese texts: bring it up to date with the package's texts, and compile it (`make messages`).

New texts get an empty entry, for a translator to fill in; texts that are no longer there lose theirs.
"""

from __future__ import annotations

import ast
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "python" / "simtiff"
PO = PACKAGE / "locale" / "zh_CN" / "LC_MESSAGES" / "simtiff.po"
MO = PO.with_suffix(".mo")
HEADER = """# Simplified Chinese texts of simtiff. After a change, `make messages` writes this file and simtiff.mo.
msgid ""
msgstr ""
"Language: zh_CN\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"Content-Type: text/plain; charset=utf-8\\n"

"""
# The functions of simtiff.language that mark a text, and how many of their arguments are texts.
MARKS = {"tr": 1, "Text": 1, "plural": 2}
NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # the same texts give the same bytes


def marked() -> Catalog:
    """Return all texts of the package that are marked."""
    catalog = Catalog()
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in _texts(path):
            catalog.add(text if len(text) > 1 else text[0])
    return catalog


def _texts(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what is marked in a file; `xgettext` and the like look into no f-strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS):
            continue
        if path.name == "language.py":  # makes texts of others
            continue
        texts = [part.value for part in node.args[: MARKS[node.func.id]] if isinstance(part, ast.Constant)]
        if len(texts) != MARKS[node.func.id]:
            raise ValueError(f"{path}:{node.lineno}: {node.func.id}() needs a text in quotes, without an f before it")
        yield tuple(texts)


def translated() -> Catalog:
    """Return the texts with their translations."""
    with PO.open("rb") as file:
        catalog = read_po(file, locale="zh_CN", abort_invalid=True)
    catalog.creation_date = catalog.revision_date = NO_TIME
    return catalog


def compiled(catalog: Catalog) -> bytes:
    """Return a catalogue as gettext reads it."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """Return the texts that have no translation."""
    forms = {message.id: message.string for message in catalog if message.id}
    return [str(text) for text, form in forms.items() if not (all(form) if isinstance(form, tuple) else form)]


def main() -> int:
    """Write both files; return 1 if texts wait for their translation."""
    catalog = translated()
    catalog.update(marked(), no_fuzzy_matching=True, update_creation_date=False)
    file = io.BytesIO()
    write_po(file, catalog, width=120, omit_header=True, no_location=True, ignore_obsolete=True)
    PO.write_bytes(HEADER.encode() + file.getvalue())
    MO.write_bytes(compiled(translated()))
    waiting = untranslated(catalog)
    for text in waiting:
        sys.stdout.write(f"not translated: {text}\n")
    return int(bool(waiting))


if __name__ == "__main__":
    sys.exit(main())
