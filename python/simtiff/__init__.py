"""Simulated single-molecule localization microscopy movies, with the exact PSF at every emitter's field position.

Names are imported on first use, so ``import simtiff`` itself is fast.

Conventions: images are (t, y, x); integer coordinates are pixel centres; x and y in camera pixels, z in
micrometres, wavelengths and pixel sizes in nanometres, phases in radians, light in photons.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simtiff import localizations as localizations
    from simtiff import training as training
    from simtiff.aberrations.fieldmap import FieldMap
    from simtiff.batch.run import run_batch
    from simtiff.batch.table import table
    from simtiff.errors import BatchError, ConfigError, DataError, ShapeError, SimtiffError
    from simtiff.imaging.bounds import crlb, psf_gradient
    from simtiff.imaging.camera import Camera
    from simtiff.imaging.optics import Optics
    from simtiff.imaging.renderer import Renderer
    from simtiff.imaging.rendering import psf, render, set_threads, threads
    from simtiff.imaging.scene import Scene
    from simtiff.movie.opentruth import open_truth
    from simtiff.movie.simulation import Simulation

    __version__: str

__all__ = [
    "BatchError",
    "Camera",
    "ConfigError",
    "DataError",
    "FieldMap",
    "Optics",
    "Renderer",
    "Scene",
    "ShapeError",
    "SimtiffError",
    "Simulation",
    "__version__",
    "crlb",
    "open_truth",
    "psf",
    "psf_gradient",
    "render",
    "run_batch",
    "set_threads",
    "table",
    "threads",
]

_HOMES = {
    "BatchError": "errors",
    "Camera": "imaging.camera",
    "ConfigError": "errors",
    "DataError": "errors",
    "FieldMap": "aberrations.fieldmap",
    "Optics": "imaging.optics",
    "Renderer": "imaging.renderer",
    "Scene": "imaging.scene",
    "ShapeError": "errors",
    "Simulation": "movie.simulation",
    "SimtiffError": "errors",
    "crlb": "imaging.bounds",
    "open_truth": "movie.opentruth",
    "psf": "imaging.rendering",
    "psf_gradient": "imaging.bounds",
    "render": "imaging.rendering",
    "run_batch": "batch.run",
    "set_threads": "imaging.rendering",
    "table": "batch.table",
    "threads": "imaging.rendering",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from simtiff.io.files import version

        value: Any = version()
    elif name in ("localizations", "training"):
        value = importlib.import_module(f"simtiff.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"simtiff.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'simtiff' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
