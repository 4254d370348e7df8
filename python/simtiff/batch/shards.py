"""Shards: parts of a batch that run at the same time on several machines that share a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simtiff.config.names import OWN_NAMES
from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_SHARDS = 100_000
_OF_SHARD = re.compile(r"\.simtiff-([1-9][0-9]{0,5})-of-([1-9][0-9]{0,5})")


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, from 1: the jobs j (from 0) with j mod `count` = `index` - 1."""

    index: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """Return the shard for a text such as ``2/3``; `ConfigError` if it is invalid."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text, re.ASCII)
        index, count = map(int, match.groups()) if match is not None else (0, 0)
        if not 1 <= index <= count <= MOST_SHARDS:
            raise ConfigError(
                Text(
                    '--shard: "{text}" is not allowed; allowed: I/N, whole numbers, I from 1 to N, N up to {most:,}',
                    text=text,
                    most=MOST_SHARDS,
                )
            )
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, number: int) -> bool:
        """Return whether the shard runs the job with this number, from 0."""
        return number % self.count == self.index - 1


def lock_name(shard: Shard | None) -> str:
    """Return the name of the lock file of a shard, or of a run of the whole batch."""
    return OWN_NAMES[1] if shard is None else f".simtiff-{shard.index}-of-{shard.count}.lock"


def part_name(shard: Shard) -> str:
    """Return the file name of a shard's part of the status."""
    return f".simtiff-{shard.index}-of-{shard.count}.json"


def shards_in(folder: Path, suffix: str) -> Iterator[Shard]:
    """Yield the shards that have a file in a folder: a lock (``.lock``) or a part of the status (``.json``)."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == suffix)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if match := _OF_SHARD.fullmatch(name.removesuffix(suffix)):
            yield Shard(*map(int, match.groups()))
