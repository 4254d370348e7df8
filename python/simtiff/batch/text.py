"""Durations, numbers, names and tables as text."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from simtiff.language import Text, joined, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATES: Mapping[str, Text] = {
    "pending": Text("pending"),
    "running": Text("running"),
    "completed": Text("completed"),
    "failed": Text("failed"),
    "interrupted": Text("interrupted"),
}
"""The states of jobs, as shown to the user."""


def duration(seconds: float) -> str:
    """Return a duration in suitable units: ``0.04 s``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if 0 < seconds < 0.995:
        return Text("{seconds:.2f} s", seconds=seconds)
    if seconds < 59.95:
        return Text("{seconds:.1f} s", seconds=seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return Text("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
    return Text("{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)


def percent(part: int, whole: int) -> str:
    """Return a fraction in percent, rounded down, so that ``100.0%`` means all; also if the whole is 0."""
    return f"{part * 1000 // whole / 10:.1f}%" if whole else "100.0%"


def shown_rate(value: float) -> str:
    """Return a rate with a suitable number of digits: ``1,250``, ``12.5``, ``0.042``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def cut(text: str, most: int) -> str:
    """Return a line, cut at its end with an ellipsis if it is wider than `most` cells."""
    return text if cells(text) <= most else _start(text, most - 1) + "…"


def cut_middle(name: str, most: int) -> str:
    """Return a name, with its middle replaced by an ellipsis if it is wider than `most` cells."""
    end = (most - 1) // 2
    return name if cells(name) <= most else f"{_start(name, most - 1 - end)}…{_start(name[::-1], end)[::-1]}"


def cells(text: str) -> int:
    """Return the width of a text in terminal cells: 2 per Chinese character, 0 per combining mark."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _start(text: str, most: int) -> str:
    """Return the start of a text that fits into `most` cells."""
    used = 0
    for place, character in enumerate(text):
        used += cells(character)
        if used > most:
            return text[:place]
    return text


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names with commas: ``a, b and 3 more``."""
    more = len(names) - most
    first = joined(names[:most], ", ")
    return Text("{names} and {more} more", names=first, more=more) if more > 0 else first


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], left: set[str]) -> list[str]:
    """Return the lines of a table; columns named in `left` are left-aligned, the others right-aligned."""
    table = [[str(shown(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        parts = []
        for name, cell, width in zip(head, row, widths, strict=True):
            space = " " * (width - cells(cell))
            parts.append(cell + space if name in left else space + cell)
        lines.append("  ".join(parts).rstrip())
    return lines
