"""Plans of the transform, kept between calls: a loop over wavelengths, sizes and numbers of modes makes each once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from simtiff._core import Psf
from simtiff.io.locks import ProcessLock

if TYPE_CHECKING:
    from simtiff._core import Spec

KEPT_BYTES = 32 << 20
"""Matrices that a process keeps for calls to come."""

MOST_PLANS = 64


class Plans:
    """The plans used last: when a new one comes, as many stay as have so many bytes together.

    A plan makes its matrices when emitters first need them. With 21 modes and z to 1 um it then takes about 1 MB for
    stamps of 41 px, 2 MB for 101 px and 25 MB for 511 px, so a number of plans alone would bound no memory. The
    bound is small beside the 84 MB that a worker process takes before its first frame, and room for about thirty.

    Parameters
    ----------
    most_bytes : int
        What stays at most when a new plan comes.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[Spec, int], Psf] = OrderedDict()
        self._lock = ProcessLock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, spec: Spec, modes: int) -> Psf:
        """Return the plan for these stamps and so many coefficients."""
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
