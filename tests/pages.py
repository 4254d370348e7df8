"""The code of a page of the documentation: what its blocks mean, and how they are run.

Blocks are run in order, in one folder and one Python namespace for each page. The word after the fence says how:

- a block with a title (``json title="study.json"``) is a file of that name
- ``bash``: each line is a command line of simtiff and must succeed
- ``python``: code
- ``text``: what the block before it printed, line by line; ``...`` stands for anything
- ``sh`` and ``console`` for what a test cannot run, ``py`` for how a name is called, ``pycon`` for the examples of
  docstrings, which `test_doctests.py` runs: shown only
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simtiff.cli.process import main

SHOWN_ONLY = {"sh", "console", "py", "pycon"}


class PageError(AssertionError):
    """A page does not do what it shows."""


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its title, its text, and the line of the page that it begins on."""

    language: str
    title: str | None
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    blocks = []
    for match in found:
        title = re.search(r'title="([^"]+)"', match[2])
        line = text.count("\n", 0, match.start()) + 1
        blocks.append(Block(match[1], title[1] if title else None, match[3], line))
    if 2 * len(blocks) != len(re.findall(r"^\s*```", text, flags=re.MULTILINE)):
        raise PageError(f"{page.name}: a block has no language, no end, or does not begin at the left edge")
    return blocks


def pictures_of(page: Path) -> list[str]:
    """Return the names of the pictures that a page shows and its code makes."""
    return re.findall(r"\]\((?:\.\./)?images/how-to/([^)]+)\)", page.read_text(encoding="utf-8"))


def run_page(page: Path, folder: Path) -> None:
    """Run all blocks of a page in an empty folder; `PageError` where they do not do what the page shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    os.environ.setdefault("MPLBACKEND", "Agg")
    with contextlib.chdir(folder):
        for block in blocks_of(page):
            where = f"{page.name}:{block.line}"
            if block.title is not None:
                Path(block.title).write_text(block.text, encoding="utf-8")
                printed = None
            elif block.language == "text":
                if printed is None:
                    raise PageError(f"{where}: nothing was run just before this output")
                compare(printed, block.text, where)
                printed = None
            elif block.language == "bash":
                printed = "".join(run_command(line, where) for line in commands_of(block.text))
            elif block.language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as stdout:
                    exec(compile("\n" * block.line + block.text, page, "exec"), names)
                printed = stdout.getvalue()
            elif block.language in SHOWN_ONLY:
                printed = None
            else:
                raise PageError(f"{where}: a block of {block.language} needs a title, the name of its file")
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def commands_of(text: str) -> list[str]:
    """Return the command lines of a block, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def run_command(line: str, where: str) -> str:
    """Run a command line of simtiff; return what it wrote to stdout."""
    program, *words = shlex.split(line, comments=True)
    if program != "simtiff":
        raise PageError(f"{where}: only simtiff is run here, show the rest in a block of sh: {line}")
    with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main(words)
    if code:
        raise PageError(f"{where}: {line} ends with {code}: {stderr.getvalue()}")
    return stdout.getvalue()


def compare(printed: str, shown: str, where: str) -> None:
    """Compare what was printed with what a page shows.

    ``...`` alone on a line stands for any lines, also none; within a line for any characters.
    """

    def lines_of(text: str) -> list[str]:
        return [line.rstrip() for line in text.strip("\n").splitlines()]

    patterns = []
    for line in lines_of(shown):
        any_text = ".*".join(re.escape(part) for part in line.split("..."))
        patterns.append(r"(?:.*\n)*" if line == "..." else any_text + r"\n")
    if not re.fullmatch("".join(patterns), "".join(f"{line}\n" for line in lines_of(printed))):
        raise PageError(f"{where}: the page shows\n{shown}\nbut this was printed:\n{printed}")
