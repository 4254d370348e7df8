"""Words, numbers and tables for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time in words of the right size: ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
