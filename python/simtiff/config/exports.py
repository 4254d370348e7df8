"""The truth in the formats of other tools, beside a job's movie: what may be asked for, and the files that it makes."""

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
# What lies beside a file of such a name: the rest of the format, and what the tool's user would otherwise type.
_BESIDE: dict[str, tuple[str, ...]] = {
    "thunderstorm": ("{stem}_camera.txt",),
    "picasso": ("{stem}.yaml", "{stem}_camera.txt"),
    "decode": ("{stem}_camera.yaml",),
}


def export_name(kind: str) -> str:
    """Return the name of a format's file in a job's folder."""
    return _IN_A_JOB[kind]


def export_files(kind: str, path: Path) -> list[Path]:
    """Return the files that an export to a path makes: first that file, last, if there is one, that of the camera."""
    return [path, *(path.with_name(name.format(stem=path.stem)) for name in _BESIDE.get(kind, ()))]


def names_in_job(kinds: Iterable[str]) -> list[str]:
    """Return the names of the files that exports make in a job's folder."""
    from pathlib import Path

    return [file.name for kind in dict.fromkeys(kinds) for file in export_files(kind, Path(_IN_A_JOB[kind]))]
