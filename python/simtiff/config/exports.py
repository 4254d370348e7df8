"""Exports of the truth in formats of other software: their names and files in a job's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ExportName = Literal["thunderstorm", "picasso", "decode", "smlm-challenge", "parquet"]
EXPORT_NAMES: tuple[ExportName, ...] = get_args(ExportName)

_IN_A_JOB: dict[str, str] = {
    "thunderstorm": "thunderstorm.csv",
    "picasso": "picasso_locs.hdf5",
    "decode": "decode.h5",
    "smlm-challenge": "challenge.csv",
    "parquet": "localizations.parquet",
}
# Companion files: the rest of the format, and camera parameters that users would otherwise type in.
_BESIDE: dict[str, tuple[str, ...]] = {
    "thunderstorm": ("{stem}_camera.txt",),
    "picasso": ("{stem}.yaml", "{stem}_camera.txt"),
    "decode": ("{stem}_camera.yaml",),
}


def export_name(kind: str) -> str:
    """Return the name of a format's file in a job's folder."""
    return _IN_A_JOB[kind]


def export_files(kind: str, path: Path) -> list[Path]:
    """Return the files that an export to a path writes: first that file; last the camera file, if there is one."""
    return [path, *(path.with_name(name.format(stem=path.stem)) for name in _BESIDE.get(kind, ()))]


def names_in_job(kinds: Iterable[str]) -> list[str]:
    """Return the names of the files that exports write in a job's folder."""
    from pathlib import Path

    return [file.name for kind in dict.fromkeys(kinds) for file in export_files(kind, Path(_IN_A_JOB[kind]))]
