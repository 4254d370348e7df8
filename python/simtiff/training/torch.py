"""Batches for PyTorch: a data set that works with or without worker processes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from simtiff.training.frames import Batch
from simtiff.training.frames import Frames as _Frames

if TYPE_CHECKING:
    from collections.abc import Iterator


class Frames(IterableDataset[dict[str, Any]]):
    """`simtiff.training.Frames` as an iterable data set: batches as dicts of tensors.

    It yields whole batches: pass it to a `DataLoader` with ``batch_size=None``. Threads make batches ahead, so worker
    processes are not needed. With N workers, each makes every Nth batch, and the loader yields the same batches in the
    same order. Each iteration restarts at batch `start`: split a single iteration into epochs.

    Parameters
    ----------
    *args, **parameters
        Parameters of `simtiff.training.Frames`.
    pin_memory : bool, optional
        Whether tensors are in pinned memory, so that copies to a GPU overlap with computation; default: if there is a
        GPU. It has no effect in worker processes: use the loader's ``pin_memory`` there.

    Examples
    --------
    ``loader = torch.utils.data.DataLoader(simtiff.training.torch.Frames("config.json", size=64), batch_size=None)``
    """

    def __init__(self, *args: Any, pin_memory: bool | None = None, **parameters: Any) -> None:
        super().__init__()
        self.frames = _Frames(*args, **parameters)
        self.pin_memory = pin_memory

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield dicts of tensors with the names of the attributes of `Batch`, from batch ``start`` on, without end."""
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        wanted = torch.cuda.is_available() if self.pin_memory is None else self.pin_memory
        pin = wanted and worker is None  # a forked worker must not touch CUDA
        for batch in self.frames.batches(self.frames.start + first, step):
            yield _tensors(batch, pin=pin)


def _tensors(batch: Batch, *, pin: bool) -> dict[str, Any]:
    tensors: dict[str, Any] = {"index": batch.index}
    for field in fields(batch):
        values = getattr(batch, field.name)
        if isinstance(values, np.ndarray):
            tensor = torch.from_numpy(values)
            tensors[field.name] = tensor.pin_memory() if pin else tensor
    return tensors
