"""Events: unchanged by a worker's pipe, and passed to a callback, which may stop the batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from batch_helpers import config, status, stray_files
from simtiff.batch.events import Broken, Done, Failed, Gone, Ready, StageEnded, Started, as_json, from_json
from simtiff.batch.run import run_batch
from simtiff.io.files import FileInfo
from simtiff.movie.events import Event, Message, MovieMade, Progress

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"emitters.h5": FileInfo(3, 1), "größe \udcff.tif": FileInfo(2**40, 2**32 - 1)}
OF_WORKERS = [
    Ready(),
    Broken("no memory"),
    Progress("frames", 3, 5, job="a"),
    Message("line 1\nline 2 \u2028 \x00", job="a"),
    StageEnded("truth", 0.25, 5, None, job="a"),
    MovieMade(FILES, job="a"),
    Done(0.1 + 0.2, 5, 2**40, FILES, job="a"),
    Failed(1e-9, 5, None, "no space", "Traceback ...", job="a"),
]


@pytest.mark.parametrize("event", OF_WORKERS, ids=lambda event: event.kind)
def test_an_event_is_the_same_after_the_pipe(event: Event) -> None:
    line = json.dumps(as_json(event))
    assert "\n" not in line
    assert from_json(line) == event
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        from_json(line[:-1])


def test_what_is_logged_has_its_keys_in_their_order() -> None:
    assert list(as_json(Started(7, job="a"))) == ["event", "job", "worker_pid"]
    assert as_json(Gone(5, "gone", job="a")) == {"event": "failed", "job": "a", "frames": 5, "error": "gone"}
    failed = ["event", "job", "seconds", "frames", "peak_memory_bytes", "error", "traceback"]
    assert list(as_json(Failed(0.5, 5, None, "no space", job="a"))) == failed


def test_an_error_of_who_watches_ends_the_batch_in_order(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def watch(event: Event) -> None:
        if isinstance(event, Done):
            raise EnoughError

    with pytest.raises(EnoughError):
        run_batch(config(), output_dir=tmp_path, max_workers=1, progress=watch)
    assert stray_files(tmp_path) == []
    states = [record["state"] for record in status(tmp_path)["jobs"].values()]
    assert states == ["completed", "pending"]
    assert run_batch(config(), output_dir=tmp_path, progress=False).skipped == 1
