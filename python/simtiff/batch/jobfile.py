"""``job.json`` in the folder of a finished job; the status of a batch can be rebuilt from these files."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from simtiff.batch.status import Files, JobRecord, Name, Whole
from simtiff.config.identity import TRUTH_NAME, changed_settings, noise_seed
from simtiff.config.names import JOB_FILE
from simtiff.errors import DataError, os_reason, printable
from simtiff.io.files import read_regular, version, write_whole
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simtiff.config.identity import Job

_LARGEST_BYTES = 1 << 24

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class JobFile:
    """The content of a ``job.json``.

    Attributes
    ----------
    hash, data_version, zmap : str, int, str
        Hash of everything that determines its files, and two parts of that: the data version, and the digest of its
        input files, with the map's first (`simtiff.config.inputs.joined_digest`).
    number, name : int, str
        Its index in the batch, from 0, and the name of its folder.
    variables : dict
        The varied parameters: the job's values by dotted key.
    settings : dict
        Non-default settings that affect the movie or the truth, by dotted key.
    noise_seed : int
        Seed of the camera noise.
    files : dict
        Size and CRC-32 of its files by name.
    frames, records : int
        Number of frames and of emitter records.
    started, finished : str
        ISO 8601, UTC.
    seconds : float
        Run time.
    simtiff_version : str
        The version of simtiff that made it.
    """

    hash: Digest
    data_version: Whole
    zmap: str
    number: Whole
    name: Name
    variables: dict[str, Any]
    settings: dict[str, Any]
    noise_seed: Whole
    files: Files
    frames: Whole
    records: Whole
    started: str
    finished: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    simtiff_version: str
    schema: Literal[1] = 1

    def record(self) -> JobRecord:
        """Return the job's record in the status of a batch."""
        return JobRecord(
            state="completed",
            hash=self.hash,
            data_version=self.data_version,
            zmap=self.zmap,
            frames=self.frames,
            files=self.files,
            started=self.started,
            finished=self.finished,
            seconds=self.seconds,
        )

    def write(self, folder: Path) -> None:
        """Write it to a job's folder; OSError if that fails."""
        content = asdict(self)
        text = json.dumps({"schema": content.pop("schema"), **content}, indent=1, allow_nan=False)
        write_whole(folder / JOB_FILE, text.encode())


@functools.cache
def _checked() -> TypeAdapter[JobFile]:
    """Return the validator of a file's content; building it takes 10 ms, so it is built on first use."""
    return TypeAdapter(JobFile)


def describe(job: Job, record: JobRecord, folder: Path) -> JobFile:
    """Return the ``job.json`` of a job whose files in `folder` are complete.

    Parameters
    ----------
    job : Job
        The job.
    record : JobRecord
        Its hash, files and times.
    folder : Path
        Its folder; the number of records is read from the truth.

    Raises
    ------
    DataError
        The truth cannot be read.
    """
    from simtiff.io.hdf5 import open_hdf5

    with open_hdf5(folder / TRUTH_NAME) as file:
        records = int(file["records/frame_ix"].shape[0])
    return JobFile(
        hash=record.hash,
        data_version=record.data_version,
        zmap=record.zmap,
        number=job.number,
        name=job.id,
        variables=dict(job.variables),
        settings=changed_settings(job.config),
        noise_seed=noise_seed(job.config),
        files=record.files,
        frames=record.frames,
        records=records,
        started=record.started,
        finished=record.finished,
        seconds=record.seconds,
        simtiff_version=version(),
    )


def read_job_file(folder: Path) -> JobFile | None:
    """Return the content of a folder's ``job.json``, None if there is none.

    Raises
    ------
    DataError
        It is damaged or not a ``job.json`` of simtiff.
    """
    path = folder / JOB_FILE
    try:
        content: Mapping[str, Any] = json.loads(read_regular(path, _LARGEST_BYTES))
        return _checked().validate_python(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(Text("{path}: cannot be read ({reason})", path=path, reason=os_reason(error))) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = printable(".".join(str(part) for part in first["loc"]))
        raise DataError(Text("{path}: damaged, {key}: {what}", path=path, key=key, what=first["msg"])) from None
    except (ValueError, RecursionError) as error:
        raise DataError(Text("{path}: damaged, not valid JSON", path=path)) from error
