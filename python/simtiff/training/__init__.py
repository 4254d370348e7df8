"""Endless batches of frames and targets for networks, without files.

- `frames`: batches of crops of a job's field, each with its emitters
- `torch`: the same as a data set of PyTorch
"""

from __future__ import annotations

from simtiff.training.frames import Batch, Frames

__all__ = ["Batch", "Frames", "frames", "torch"]
