"""Make the fixture with the function of DECODE that writes its files: ``make_decode.py EMITTER_IO VERSION``.

EMITTER_IO is the path of ``decode/utils/emitter_io.py`` in DECODE's source. DECODE itself is not on PyPI and needs
PyTorch, of which this function uses ``isnan`` and ``numpy`` alone; NumPy stands in for these here.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).parent
EMPTY = [np.nan, np.nan]


class Tensor(np.ndarray[Any, Any]):
    """An array with the one method of a tensor that is used."""

    def numpy(self) -> np.ndarray[Any, Any]:
        return np.asarray(self)


def tensor(values: Any, kind: str = "f4") -> Tensor:
    return np.asarray(values, kind).view(Tensor)


def stand_in(name: str, **content: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    vars(module).update(content)


def main(source: str, version: str) -> None:
    stand_in("torch", isnan=np.isnan, Tensor=Tensor)
    stand_in("decode")
    stand_in("decode.generic")
    stand_in("decode.generic.emitter", EmitterSet=object)
    stand_in("decode.utils", bookkeeping=SimpleNamespace(decode_state=lambda: version))
    spec = importlib.util.spec_from_file_location("emitter_io", source)
    assert spec is not None
    assert spec.loader is not None
    emitter_io = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emitter_io)
    unknown = tensor([[np.nan] * 3] * 2)
    data = {
        "xyz": tensor([[20.75, 10.25, 300], [0.125, 3.5, -200]]),  # x counts rows
        "xyz_sig": tensor([[0.06, 0.05, 30], [0.11, 0.1, 60]]),
        "xyz_cr": unknown,
        "phot": tensor([1000, 250]),
        "phot_sig": tensor([40, 20]),
        "phot_cr": tensor(EMPTY),
        "frame_ix": tensor([3, 7], "i8"),
        "id": tensor([0, 1], "i8"),
        "prob": tensor([1, 0.9]),
        "bg": tensor([10, 12]),
        "bg_sig": tensor(EMPTY),
        "bg_cr": tensor(EMPTY),
    }
    emitter_io.save_h5(HERE / "decode.h5", data, {"xy_unit": "px", "px_size": tensor([120, 100])})


if __name__ == "__main__":
    main(*sys.argv[1:])
