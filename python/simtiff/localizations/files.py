"""Read and write localizations in files of other software."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.errors import ConfigError, DataError
from simtiff.io.files import target_problem
from simtiff.language import Text, joined
from simtiff.localizations.format import PIXEL_SIZE, View, WrittenFormat, as_pixel_size
from simtiff.localizations.registry import format_named, format_of
from simtiff.localizations.table import Localizations

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from simtiff.localizations.format import Source

ROWS = 1 << 18
"""Rows that are read or written at a time."""


def read(
    path: str | os.PathLike[str], kind: str | None = None, *, pixel_size_nm: float | Sequence[float] | None = None
) -> pd.DataFrame:
    """Return the localizations of a file as a pandas DataFrame (needs the optional dependencies ``tables``).

    Parameters
    ----------
    path : path
        The file.
    kind : str, optional
        ``thunderstorm``, ``picasso``, ``decode``, ``smlm-challenge``, ``parquet``, ``csv``, ``npy``, ``simtiff`` (the
        records of an ``emitters.h5``) or ``simtiff-emitters``; default: detected from the file's content.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or along x and y. Needed if a file has lengths in nm and does not contain the pixel size.

    Returns
    -------
    pandas.DataFrame
        The columns ``frame`` (from 0), ``x_px``, ``y_px`` (the centre of pixel (0, 0) is at 0), ``z_um``,
        ``photons``, ``id``, ``sigma_x_px``, ``sigma_y_px``, ``sigma_z_um``, ``sigma_photons`` and ``background``, as
        far as the file has them. ``attrs["pixel_size_nm"]`` is the pixel size along x and y, if known.

    Raises
    ------
    ConfigError
        An argument is wrong or missing, or pandas (pyarrow, for Parquet) is not installed.
    DataError
        The file is missing, damaged, of unknown format, or has invalid values (names the row and the column).
    """
    pandas = need_pandas()
    with opened(path, kind, pixel_size_nm=pixel_size_nm) as source:
        table = pandas.DataFrame(Localizations.concatenate(list(source.chunks(ROWS))).as_dict(), copy=False)
        if source.pixel_size_nm is not None:
            table.attrs[PIXEL_SIZE] = source.pixel_size_nm
    return table


def iter_read(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    rows: int = ROWS,
    pixel_size_nm: float | Sequence[float] | None = None,
) -> Iterator[Localizations]:
    """Yield the localizations of a file in tables of at most `rows` rows, without pandas and in bounded memory.

    Yields at least one table, which is empty if the file has no rows; all have the same columns. Arguments and errors
    are those of `read`.
    """
    with opened(path, kind, pixel_size_nm=pixel_size_nm) as source:
        yield from source.chunks(rows)


@contextmanager
def opened(
    path: str | os.PathLike[str], kind: str | None = None, *, pixel_size_nm: float | Sequence[float] | None = None
) -> Iterator[Source]:
    """Open a file for reading, to inspect its `columns` and `pixel_size_nm` before reading its `chunks`.

    Arguments and errors are those of `read`.
    """
    size = as_pixel_size(pixel_size_nm)
    chosen = None if kind is None else format_named(kind)
    path = Path(path)
    if not path.is_file():
        problem = Text("not a file") if path.exists() else Text("no such file")
        raise DataError(joined([str(path), problem], ": "))
    try:
        if path.stat().st_size == 0:
            raise DataError(Text("{path}: is empty; a file of localizations is needed", path=path))
        with (chosen or format_of(path)).open(path, size) as source:
            yield source
    except PermissionError as error:
        raise DataError(Text("{path}: permission denied", path=path)) from error


def write(
    table: pd.DataFrame | Mapping[str, Any] | Localizations | Iterable[Any],
    path: str | os.PathLike[str],
    kind: str,
    *,
    pixel_size_nm: float | Sequence[float] | None = None,
    size_px: tuple[int, int] | None = None,
    frames: int | None = None,
) -> None:
    """Write localizations in a format of other software; the file is written atomically.

    Parameters
    ----------
    table : pandas.DataFrame, mapping of arrays, or iterable of these
        Columns are named as in `read`. An iterable of tables with the same columns is written piece by piece, in
        bounded memory. Columns that the format does not support are omitted.
    path : path
        The file; for Picasso, a ``.yaml`` file of the same name is also written.
    kind : str
        ``thunderstorm``, ``picasso``, ``decode``, ``smlm-challenge``, ``parquet``, ``csv`` or ``npy``.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or along x and y; required by all formats except ``csv`` and ``npy``.
    size_px : (int, int), optional
        Width and height of the frames, for Picasso; default: the smallest that contain all localizations.
    frames : int, optional
        Number of frames, for Picasso; default: the smallest that contains all localizations.

    Raises
    ------
    ConfigError
        An argument is wrong or missing, or pyarrow, for Parquet, is not installed.
    DataError
        The table lacks a required column, or has invalid values (names the row and the column).
    OSError
        The file cannot be written.
    """
    for name, numbers in {"size_px": size_px, "frames": None if frames is None else (frames,)}.items():
        if numbers is not None and not all(isinstance(number, int) and number > 0 for number in numbers):
            text = Text("{name}: {found}; allowed: whole numbers above 0", name=name, found=numbers)
            raise ConfigError(text)
    view = View(as_pixel_size(pixel_size_nm), size_px, frames)
    chosen = format_named(kind)
    path = Path(path)
    if not isinstance(chosen, WrittenFormat):
        raise ConfigError(Text("kind: {name} can be read, but not written", name=kind))
    if (problem := target_problem(path)) is not None:
        raise ConfigError(joined([str(path), problem], ": "))
    single = isinstance(table, Localizations) or hasattr(table, "keys")
    tables = iter([table] if single else table)
    first = next(tables, None)
    if first is None:
        raise DataError(Text("{path}: there is no table to write; allowed: one without rows", path=path))
    head = Localizations.of(first)
    for name in chosen.needs:
        if name not in head.columns:
            text = Text(
                "{path}: {kind} needs column {name}; the table has {names}",
                path=path,
                kind=kind,
                name=name,
                names=", ".join(head.columns),
            )
            raise DataError(text)
    chosen.write(path, _pieces(itertools.chain([head], tables)), head.columns, view)


def _pieces(tables: Iterable[Any]) -> Iterator[Localizations]:
    """Yield tables in pieces small enough to format as text; `DataError` if their columns differ."""
    columns = None
    for number, each in enumerate(tables):
        table = Localizations.of(each, "table" if number == 0 else f"table {number}")
        columns = columns or table.columns
        if table.columns != columns:
            found, wanted = ", ".join(table.columns), ", ".join(columns)
            text = Text(
                "table {n}: has columns {found}; allowed: {wanted}, as in the first table",
                n=number,
                found=found,
                wanted=wanted,
            )
            raise DataError(text)
        for start in range(0, max(1, len(table)), ROWS):
            yield table[start : start + ROWS]


def need_pandas() -> Any:
    """Return pandas; `ConfigError` with install instructions if it is missing."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigError("tables need pandas, which is not installed: pip install pandas") from error
    return pd
