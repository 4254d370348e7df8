"""Endless batches of frames and targets for training networks, without files.

- `frames`: batches of crops of a job's field, with their emitters as targets
- `torch`: the same as a PyTorch data set
"""

from __future__ import annotations

from simtiff.training.frames import Batch, Frames

__all__ = ["Batch", "Frames", "frames", "torch"]
