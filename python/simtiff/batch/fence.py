"""What stops the jobs of a run on workers that the run itself cannot end, perhaps on other machines."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE_SECONDS = 2.0
_never_seen: set[str] = set()


class StoppedError(KeyboardInterrupt):
    """The run that a job belongs to has ended."""


class UnsharedFolderError(Exception):
    """The output folder of a run does not exist on the machine of a worker."""


@dataclass
class Fence:
    """Stops jobs when the run that they belong to has ended.

    Attributes
    ----------
    path : str
        The lock file of the run.
    token : str
        Token in the file while the run is active.
    """

    path: str
    token: str

    def __post_init__(self) -> None:
        self._due = 0.0
        self._seen = False
        self._missing_since: float | None = None

    def check(self) -> None:
        """Read the lock file, at most every two seconds.

        Raises
        ------
        StoppedError
            The run has requested a stop, or another run has replaced it.
        UnsharedFolderError
            The file was never found.
        """
        if time.monotonic() < self._due:
            return
        while (content := self._content()) is None and not self._seen:
            time.sleep(0.1)  # a new file may appear late on network file systems
        self._due = time.monotonic() + _FENCE_SECONDS
        if content is not None:
            self._seen, self._missing_since = True, None
            if content and (content.get("token") != self.token or content.get("stop")):
                raise StoppedError
        elif self._missing_for() > 3 * _FENCE_SECONDS:
            raise StoppedError

    def _content(self) -> dict[str, Any] | None:
        """Return the content of the lock file; None if it is missing, empty if it cannot be read now."""
        try:
            data = Path(self.path).read_bytes()
        except FileNotFoundError:
            if not self._seen and (self.token in _never_seen or self._missing_for() > 3 * _FENCE_SECONDS):
                _never_seen.add(self.token)  # the next job need not wait as long
                raise UnsharedFolderError from None
            return None
        except OSError:
            return {}
        return lock_content(data)

    def _missing_for(self) -> float:
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since


def lock_content(data: bytes) -> dict[str, Any]:
    """Return what a lock file says; empty if that cannot be read."""
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
