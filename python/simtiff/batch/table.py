"""All jobs of a batch as one table: varied parameters, results, paths of the files."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.batch.found import current_status
from simtiff.batch.jobfile import read_job_file
from simtiff.config.blocks import OF_NUMBER
from simtiff.config.identity import TRUTH_NAME, default_settings, flat_settings, without_effect
from simtiff.config.settings import JobConfig
from simtiff.errors import ConfigError, DataError, printable
from simtiff.io.files import replacing, write_whole
from simtiff.io.hdf5 import need_dataset, open_hdf5
from simtiff.movie.truthfile import stored_config

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

    from simtiff.batch.status import JobRecord

# Column types, as pandas names them; the columns of settings are between the two groups.
_OF_EVERY_JOB = {"number": "int64", "name": "string", "state": "string"}
_OF_THE_FINISHED = {"frames": "Int64", "records": "Int64", "seconds": "float64", "movie": "string", "truth": "string"}


def table(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Return a table of all jobs of a batch as a pandas DataFrame, one row per job (optional dependency ``tables``).

    The columns are ``number`` (from 0), ``name`` and ``state``; one for each varied parameter and each setting that
    differs between finished jobs, named by its dotted key; ``frames``, ``records``, ``seconds``, and the paths
    ``movie`` and ``truth``. For unfinished jobs only the first three are known. Lists are given as JSON.

    Parameters
    ----------
    folder : path
        Output folder of a batch.

    Raises
    ------
    ConfigError
        pandas is not installed.
    DataError
        The status is missing or damaged, or the truth of a finished job is damaged.
    """
    return JobTable.of(folder).as_pandas()


@dataclass(frozen=True)
class JobTable:
    """The table of all jobs, without pandas.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns.
    rows : list of dict
        For each job the values by column: numbers, texts, booleans or None.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> JobTable:
        """Return the table of an output folder; errors as in `table`."""
        from simtiff.batch.lock import is_locked

        folder = Path(folder)
        status = current_status(folder)
        states = status.states(running=is_locked(folder))
        made = {name: _Made.of(folder / name, record) for name, record in status.jobs.items()}
        keys = _shown_keys([one for one in made.values() if one is not None])
        columns = (*_OF_EVERY_JOB, *keys, *_OF_THE_FINISHED)
        rows = []
        for number, (name, one) in enumerate(made.items()):
            row: dict[str, Any] = dict.fromkeys(columns) | {"number": number, "name": name, "state": states[name]}
            if one is not None:
                row |= {key: _plain(one.settings.get(key)) for key in keys} | one.results
            rows.append(row)
        return cls(columns, rows)

    def as_csv(self) -> str:
        """Return the table as CSV: a header, then one line per job; missing values are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(printable, self.columns))
        for row in self.rows:
            writer.writerow([_text(row[column]) for column in self.columns])
        return text.getvalue()

    def as_pandas(self) -> pd.DataFrame:
        """Return the table as a DataFrame; `ConfigError` if pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError("tables need pandas, which is not installed: pip install pandas") from error
        fixed = _OF_EVERY_JOB | _OF_THE_FINISHED
        columns = {}
        for column in self.columns:
            values = [row[column] for row in self.rows]
            kind = fixed.get(column) or _kind(values)
            if kind == "string":
                values = [None if value is None else _text(value) for value in values]
            columns[column] = pd.Series(values, dtype=kind)
        return pd.DataFrame(columns)

    def write(self, path: Path) -> None:
        """Write the table atomically, as Parquet if the name ends in ``.parquet``, else as CSV.

        Raises
        ------
        ConfigError
            Parquet needs pandas and pyarrow, which are not installed.
        OSError
            The file cannot be written.
        """
        if path.suffix.lower() != ".parquet":
            write_whole(path, self.as_csv().encode())
            return
        try:
            import pyarrow  # noqa: F401 - used by pandas
        except ImportError as error:
            raise ConfigError(
                "Parquet needs pandas and pyarrow, which are not installed: pip install pandas pyarrow"
            ) from error
        frame = self.as_pandas()
        with replacing(path) as file:
            frame.to_parquet(file, engine="pyarrow", index=False)


@dataclass(frozen=True)
class _Made:
    """A finished job: its settings by dotted key, the keys that the batch varies, and its results."""

    settings: dict[str, Any]
    variables: tuple[str, ...]
    results: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, record: JobRecord) -> _Made | None:
        """Read the files in a job's folder; None if the job is not finished."""
        if record.state != "completed":
            return None
        truth = folder / TRUTH_NAME
        settings: dict[str, Any] = {}
        variables: dict[str, Any] = {}
        records = None
        described = None
        with contextlib.suppress(DataError):  # the truth has most of it, too
            described = read_job_file(folder)
        if described is not None:
            variables = described.variables
            settings = _defaults() | described.settings | variables
            if any(settings.get(f"emitters.{key}") is not None for key in OF_NUMBER if key != "num_emitters"):
                settings["emitters.num_emitters"] = None  # not the default: the number follows from another key
            records = described.records
        elif truth.exists():  # made by a version that did not write job.json
            config = stored_config(truth)
            settings = {} if config is None else flat_settings(config)
            with open_hdf5(truth) as file:
                records = len(need_dataset(file, "records/frame_ix"))
        movie = next((name for name in record.files if name.lower().endswith((".tif", ".tiff"))), None)
        results = {
            "frames": record.frames,
            "records": records,
            "seconds": record.seconds,
            "movie": None if movie is None else str(folder / movie),
            "truth": str(truth) if TRUTH_NAME in record.files else None,
        }
        return cls(settings, tuple(variables), results)


@functools.cache
def _defaults() -> dict[str, Any]:
    """Return the default settings of a job, except those that a ``job.json`` omits."""
    return {key: value for key, value in default_settings(JobConfig).items() if not without_effect(key)}


def _shown_keys(made: Sequence[_Made]) -> list[str]:
    """Return the varied parameters, then the settings that differ between jobs, in the order of the config."""
    variables = dict.fromkeys(key for one in made for key in one.variables)
    first: dict[str, Any] = {}
    varied = {key for one in made for key, value in one.settings.items() if first.setdefault(key, value) != value}
    known = [*variables, *(key.rpartition(".")[0] for key in variables)]  # for psf.phase_noll.6 also psf.phase_noll
    return [*variables, *(key for key in first if key in varied and key not in known)]


def _plain(value: Any) -> Any:
    """Return a setting as one cell; lists and dicts as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) else json.dumps(value)


def _kind(values: Sequence[Any]) -> str:
    """Return the pandas type for all values, some of which may be None."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return "boolean"
    if kinds <= {int}:
        return "Int64"
    return "float64" if kinds <= {int, float} else "string"
