"""Words, numbers and tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Return a time in words of the right size: ``0.04 s``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if 0 < seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(part: int, whole: int) -> str:
    """Return a part of a whole in percent, rounded down: ``100.0%`` is all of it, and of nothing, too."""
    return f"{part * 1000 // whole / 10:.1f}%" if whole else "100.0%"


def shown_rate(value: float) -> str:
    """Return a rate with what digits it needs: ``1,250``, ``12.5``, ``0.042``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def cut(text: str, most: int) -> str:
    """Return a text of one line, cut at its end and marked with an ellipsis where it is longer than `most`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def cut_middle(name: str, most: int) -> str:
    """Return a name without its middle where it is longer than `most`: both of its ends tell it from others."""
    end = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 job``, ``2 jobs``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas, the first `most` of them: ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], left: set[str]) -> list[str]:
    """Return the lines of a table; columns named in `left` begin at their left, the others end at their right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return lines
