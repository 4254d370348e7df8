"""A PyTorch DataLoader gives the parent's frames, from any number of workers, forked and spawned.

PyTorch is an extra of its own (``pip install -e .[torch]``), since it is large.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from batch_helpers import TINY_JOB
from simtiff import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra torch)")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of PyTorch, and of any fork of a process with threads

SECONDS = 60  # longer than anything here takes; then it hangs
WAYS: list[dict[str, Any]] = [
    {"num_workers": 0},
    *({"num_workers": 2, "multiprocessing_context": how, "timeout": SECONDS} for how in ("fork", "spawn")),
]


class Frames(torch.utils.data.Dataset):
    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    def __len__(self) -> int:
        return self.sim.shape[0]

    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(self.sim.frames(index, index + 1)[0].astype(np.int32))


class Stream(torch.utils.data.IterableDataset):
    """Each worker has a movie of its own."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    def __iter__(self) -> Iterator[Any]:
        for _, chunk in self.sim.stream(1):
            yield torch.from_numpy(chunk[0].astype(np.int32))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['num_workers']} {way.get('multiprocessing_context', '')}")
def test_a_data_loader_gives_the_frames_of_its_parent(way: dict[str, Any]) -> None:
    sim = Simulation(TINY_JOB)
    expected = sim.frames(0, 3)
    for _ in range(2):
        loader = torch.utils.data.DataLoader(Frames(sim), batch_size=1, **way)
        np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader]), expected)
    loader = torch.utils.data.DataLoader(Stream(sim), batch_size=3, **way)
    batches = [batch.numpy() for batch in loader]
    assert len(batches) == max(1, way["num_workers"])
    for batch in batches:
        np.testing.assert_array_equal(batch, expected)
