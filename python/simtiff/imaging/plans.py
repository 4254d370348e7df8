"""Cache of transform plans: loops over wavelengths, sizes and numbers of modes compute each plan once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from simtiff._core import Psf
from simtiff.io.locks import ProcessLock

if TYPE_CHECKING:
    from simtiff._core import Spec

KEPT_BYTES = 32 << 20
"""Size of the matrices that a process keeps in its cache."""

MOST_PLANS = 64


class Plans:
    """A cache of the most recently used plans, limited by their total size.

    A plan computes its matrices when emitters first need them. With 21 modes and z up to 1 um they take about 1 MB for
    stamps of 41 px, 2 MB for 101 px and 25 MB for 511 px, so limiting only the number of plans would not limit the
    memory. The limit is small compared to the 84 MB that a worker process uses before its first frame, and allows
    about thirty plans of 41 px.

    Parameters
    ----------
    most_bytes : int
        Maximum size that is kept when a new plan is added.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[Spec, int], Psf] = OrderedDict()
        self._lock = ProcessLock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, spec: Spec, modes: int) -> Psf:
        """Return the plan for these stamps and this number of modes."""
        key = (spec, modes)
        with self._lock:
            plan = self._kept.pop(key, None)
            if plan is None:
                plan = Psf(*key)
                self._make_room()
            self._kept[key] = plan
            return plan

    def _make_room(self) -> None:
        held = sum(plan.held_bytes() for plan in self._kept.values())
        while self._kept and (held > self._most_bytes or len(self._kept) >= MOST_PLANS):
            held -= self._kept.popitem(last=False)[1].held_bytes()
