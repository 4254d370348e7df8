"""Per-pixel calibration maps of a camera: offset, gain, read noise and quantum efficiency."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np

from simtiff.errors import ConfigError, DataError, ShapeError
from simtiff.imaging.arrays import numbers
from simtiff.io.hdf5 import find_dataset, open_hdf5
from simtiff.io.rows import check_numbers, read_rows
from simtiff.language import Text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

NAMES = ("offset_adu", "e_per_adu", "gain_adu_per_e", "read_noise_e", "variance_adu2", "quantum_efficiency")
"""Maps that a file may contain."""

_GAIN = (1e-6, 1e6, Text("numbers from 1e-6 to 1e6"))
_NOISE = (0.0, 1e6, Text("numbers from 0 to 1e6"))
_ALLOWED = {
    "offset_adu": (-1e6, 1e6, Text("numbers from -1e6 to 1e6")),
    "e_per_adu": _GAIN,
    "gain_adu_per_e": _GAIN,
    "read_noise_e": _NOISE,
    "variance_adu2": _NOISE,
    "quantum_efficiency": (0.0, 1.0, Text("numbers from 0 to 1")),
}
_EITHER = (("e_per_adu", "gain_adu_per_e"), ("read_noise_e", "variance_adu2"))


@dataclass(frozen=True, eq=False)
class CameraMaps:
    """Per-pixel values, which replace the parameters of a `Camera`; None if all pixels have the same value.

    If each frame has its own maps, such as crops of a field, maps have the shape (t, y, x).

    Attributes
    ----------
    offset_adu : (y, x) float32, or None
        Offset in counts.
    adu_per_e : (y, x) float32, or None
        Counts per electron.
    read_noise_e : (y, x) float32, or None
        Standard deviation of the read noise, in electrons.
    quantum_efficiency : (y, x) float32, or None
        Electrons per photon.
    read_noise_adu : (y, x) float32, or None
        Standard deviation of the read noise in counts, if there is no map of the gain.

    Examples
    --------
    >>> import numpy as np
    >>> from simtiff.imaging.cameramaps import CameraMaps
    >>> maps = CameraMaps.from_arrays(offset_adu=np.full((4, 6), 100.0), gain_adu_per_e=np.full((4, 6), 2.0),
    ...                               variance_adu2=np.full((4, 6), 9.0))
    >>> maps.shape, float(maps.read_noise_e[0, 0])
    ((4, 6), 1.5)
    """

    offset_adu: NDArray[np.float32] | None = None
    adu_per_e: NDArray[np.float32] | None = None
    read_noise_e: NDArray[np.float32] | None = None
    quantum_efficiency: NDArray[np.float32] | None = None
    read_noise_adu: NDArray[np.float32] | None = None

    @classmethod
    def from_arrays(cls, **arrays: ArrayLike) -> Self:
        """Create maps from arrays (y, x), any of `NAMES`; gain and read noise can be given in either of two ways.

        Raises
        ------
        ConfigError
            There is no map, a name is unknown, or gain or read noise is given in both ways.
        DataError
            A value is not allowed.
        ShapeError
            Arrays have different shapes.
        """
        if not arrays:
            raise ConfigError(f"maps: there are none; expected any of {', '.join(NAMES)}")
        if unknown := [name for name in arrays if name not in NAMES]:
            raise ConfigError(f"maps: unknown name {', '.join(unknown)}; expected any of {', '.join(NAMES)}")
        found = {name: numbers(f"maps: {name}", array, np.float64, 2) for name, array in arrays.items()}
        if len({array.shape for array in found.values()}) > 1:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in found.items())
            raise ShapeError(f"maps have different shapes: {shapes}; expected equal shapes")
        for pair in _EITHER:
            if all(name in found for name in pair):
                raise ConfigError(f"maps: both {pair[0]} and {pair[1]} are given; expected one of them")
        return cls._of(found, "maps")

    @classmethod
    def _of(cls, found: dict[str, NDArray[np.float64]], where: str) -> Self:
        for name, array in found.items():
            low, high, words = _ALLOWED[name]
            allowed = (array >= low) & (array <= high)
            if not allowed.all():
                y, x = (int(place) for place in np.argwhere(~allowed)[0])
                text = Text(
                    "{where}: {name}: pixel x = {x}, y = {y} is {value:g}; allowed: {words}",
                    where=where, name=name, x=x, y=y, value=float(array[y, x]), words=words,
                )  # fmt: skip
                raise DataError(text)
        gain = found.get("gain_adu_per_e")
        if "e_per_adu" in found:
            gain = 1 / found["e_per_adu"]
        noise, noise_adu = found.get("read_noise_e"), None
        if "variance_adu2" in found:
            noise_adu = np.sqrt(found["variance_adu2"])
            noise, noise_adu = (None, noise_adu) if gain is None else (noise_adu / gain, None)
        columns = (found.get("offset_adu"), gain, noise, found.get("quantum_efficiency"), noise_adu)
        return cls(*(None if column is None else np.require(column, np.float32, "C") for column in columns))

    @classmethod
    def open(
        cls,
        path: str | Path,
        offset: tuple[int, int] = (0, 0),
        shape: tuple[int, int] | None = None,
    ) -> Self:
        """Read maps from an HDF5 file: datasets (y, x) at its root, any of `NAMES`.

        Parameters
        ----------
        path : path
            The file.
        offset : (x, y)
            Map pixel of frame pixel (0, 0).
        shape : (y, x), optional
            Shape of the frame; default: from `offset` to the end of the maps.

        Raises
        ------
        DataError
            The file is missing or damaged, has no map or maps of different shapes, or does not cover the frame.
        """
        with open_hdf5(path) as file:
            datasets = {name: found for name in NAMES if (found := find_dataset(file, name)) is not None}
            if not datasets:
                names = ", ".join(NAMES)
                raise DataError(Text("{path}: has no camera map; allowed: any of {names}", path=path, names=names))
            for pair in _EITHER:
                if all(name in datasets for name in pair):
                    text = Text(
                        "{path}: has both {one} and {other}; allowed: one of them",
                        path=path,
                        one=pair[0],
                        other=pair[1],
                    )
                    raise DataError(text)
            words = Text("(y, x)")
            stored = {name: check_numbers(dataset, (None, None), words) for name, dataset in datasets.items()}
            if len({rows.shape for rows in stored.values()}) > 1:
                shapes = ", ".join(f"{name} {rows.shape}" for name, rows in stored.items())
                text = Text(
                    "{path}: has maps of different shapes: {shapes}; allowed: equal shapes", path=path, shapes=shapes
                )
                raise DataError(text)
            found = {}
            for name, rows in stored.items():
                height, width = rows.shape
                (x, y), (down, across) = offset, shape or (height - offset[1], width - offset[0])
                for axis, first, length, there in (("x", x, across, width), ("y", y, down, height)):
                    if first < 0 or first + length > there:
                        text = Text(
                            "{path}: {name}: has {there} px along {axis}, but the frame covers {first} to {last}",
                            path=path, name=name, there=there, axis=axis, first=first, last=first + length - 1,
                        )  # fmt: skip
                        raise DataError(text)
                found[name] = read_rows(rows, y, y + down, np.float64)[:, x : x + across]
        return cls._of(found, str(path))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frame, (y, x), or of all frames, (t, y, x)."""
        maps = (getattr(self, field.name) for field in fields(self))
        shape: tuple[int, ...] = next((each.shape for each in maps if each is not None), (0, 0))
        return shape

    def crops(self, origins: NDArray[np.int64], size: int, each: int = 1) -> CameraMaps:
        """Return the maps of square crops, (k, y, x).

        Parameters
        ----------
        origins : (n, 2)
            Map pixel x, y of pixel (0, 0) of each crop.
        size : int
            Side of a crop.
        each : int
            Number of consecutive frames of each crop; k is n times that.
        """
        rows = origins[:, 1, None, None] + np.arange(size)[:, None]
        columns = origins[:, 0, None, None] + np.arange(size)
        maps = (getattr(self, field.name) for field in fields(self))
        return CameraMaps(
            *(None if each_map is None else np.repeat(each_map[rows, columns], each, 0) for each_map in maps)
        )

    def in_electrons(self, e_per_adu: float) -> CameraMaps:
        """Return the maps with read noise in electrons, using the camera's gain if there is no map of the gain."""
        if self.read_noise_adu is None:
            return self
        noise = np.require(self.read_noise_adu * np.float32(e_per_adu), np.float32, "C")
        return CameraMaps(self.offset_adu, self.adu_per_e, noise, self.quantum_efficiency)

    def check_frame(self, shape: tuple[int, ...], what: str = "frames") -> None:
        """Raise `ShapeError` if the maps do not match frames of this shape, (..., y, x)."""
        if self.shape not in (tuple(shape[-2:]), tuple(shape)):
            raise ShapeError(
                f"{what} are {tuple(shape[-2:])} px (y, x); expected {self.shape}, the shape of the camera's maps"
            )
