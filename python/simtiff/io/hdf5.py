"""Read HDF5 files from any source, also damaged ones, and write HDF5 files atomically.

Any problem with a file's content raises a `DataError` that names the file and the dataset.

A file may refer to data outside of it (external links, external storage, virtual datasets), or declare huge
shapes without storing any data. Such files are rejected: data are read only from the named file, and never
more than it can hold.
"""

from __future__ import annotations

import io
import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from simtiff.errors import DataError
from simtiff.io._filters import missing_filter
from simtiff.io.files import replacing
from simtiff.io.matlab import empty_shape, is_matlab, is_nothing, is_old_matlab, matlab_class, text_of
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What h5py raises for damaged files; MemoryError for impossible sizes.
H5PY_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
# gzip compresses at most about 1000:1; unwritten (zero) data are accepted up to 1 GiB.
_MAX_RATIO = 1100
_MAX_UNWRITTEN_BYTES = 2**30
# Reading any part of a compressed chunk inflates all of it, again and again if it is not cached. So the cache is
# enlarged to hold a layer (all chunks with the same rows or planes) where HDF5's default cache is too small.
_KEPT_BY_HDF5_BYTES = 2**20
_MAX_LAYER_BYTES = 2**30


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn errors that h5py raises in the block into a `DataError` about `what` in the file `path`."""
    try:
        yield
    except DataError:
        raise
    except H5PY_ERRORS as error:
        reason = str(error).strip() or type(error).__name__
        text = Text(
            "{path}: {what}: cannot be read; the file is damaged or incomplete ({reason})",
            path=path,
            what=what,
            reason=reason,
        )
        raise DataError(text) from error


class _Sink:
    """The file that HDF5 writes to; hides write errors from HDF5.

    HDF5 crashes the process if it cannot write while it closes a file, for example on a full disk. So the first
    error is stored, and every later call pretends to succeed.
    """

    def __init__(self, raw: io.FileIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self.error: OSError | None = None

    def __repr__(self) -> str:
        return self._name  # h5py shows this as the file's name

    def _attempt(self, action: Callable[[], int], otherwise: int) -> int:
        if self.error is None:
            try:
                return action()
            except OSError as error:
                self.error = OSError(error.errno, error.strerror, self._name)
        return otherwise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._attempt(lambda: self._raw.seek(offset, whence), offset)

    def tell(self) -> int:
        return self._attempt(self._raw.tell, 0)

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""

    def truncate(self, size: int) -> int:
        return self._attempt(lambda: self._raw.truncate(size), size)

    def read(self, size: int = -1) -> bytes:
        """Return bytes. HDF5 uses `readinto`, but h5py accepts only file objects that have `read`."""
        return self._raw.read(size)

    def readinto(self, buffer: memoryview) -> int:
        return self._attempt(lambda: self._raw.readinto(buffer) or 0, len(buffer))

    def write(self, data: memoryview) -> int:
        def whole() -> int:
            done = 0
            while done < len(data):  # one call writes at most 2 GiB
                done += self._raw.write(data[done:])
            return done

        return self._attempt(whole, len(data))

    def check(self) -> None:
        """Raise the stored error, if any."""
        if self.error is not None:
            raise self.error


@contextmanager
def writing_hdf5(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Create an HDF5 file; it is renamed to `path` when complete, and removed if anything fails.

    Yields
    ------
    file : h5py.File
        The file to fill.
    check : callable
        Raises `OSError` if a write has failed so far. If it is not called, the error is raised at the end.

    Raises
    ------
    OSError
        The file cannot be written; this is the operating system's error.
    """
    with replacing(Path(path)) as partial, io.FileIO(partial.name, "r+b") as raw:
        sink = _Sink(raw, str(path))
        try:
            with h5py.File(sink, "w") as file:
                yield file, sink.check
        except H5PY_ERRORS:
            sink.check()
            raise
        sink.check()


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; `DataError` if it is missing, truncated, or not an HDF5 file."""
    path = Path(path)
    try:
        file = h5py.File(path, "r", locking=False) if path.is_file() else None
    except PermissionError as error:
        raise DataError(Text("{path}: permission denied", path=path)) from error
    except H5PY_ERRORS as error:
        if is_old_matlab(path):
            text = Text("{path}: is in MATLAB's old format; allowed: a file saved with -v7.3 (HDF5)", path=path)
            raise DataError(text) from error
        reason = str(error).strip() or type(error).__name__
        text = Text("{path}: not a readable HDF5 file, or truncated ({reason})", path=path, reason=reason)
        raise DataError(text) from error
    if file is None and path.exists():
        raise DataError(Text("{path}: not a file; an HDF5 file is needed", path=path))
    if file is None:
        raise DataError(Text("{path}: no such file", path=path))
    with file:
        yield file


def find(file: h5py.File, name: str) -> h5py.Dataset | h5py.Group | None:
    """Return the object `name`, or None if it does not exist; raises `DataError` for links out of the file."""
    path = file.filename
    outside = DataError(f"{path}: {name}: is a link to another file; allowed: data stored in the file itself")
    parts = name.split("/")
    with reading(path, name):
        for depth in range(1, len(parts) + 1):
            link = file.get("/".join(parts[:depth]), getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise outside
        node = _open(file, name)
        if node.file.filename != path:  # through a soft link
            raise outside
    return node if isinstance(node, h5py.Dataset | h5py.Group) else None


def _layer_bytes(dataset: h5py.Dataset) -> int:
    """Return the inflated size in bytes of the chunks that hold the first row (or plane); 0 if no cache helps."""
    chunks, shape = dataset.chunks, dataset.shape
    if not chunks or chunks[0] == 1 or not dataset.id.get_create_plist().get_nfilters():
        return 0
    across = (-(-length // chunk) * chunk for length, chunk in zip(shape[1:], chunks[1:], strict=True))
    return int(math.prod(across, start=chunks[0] * dataset.dtype.itemsize))


def _open(file: h5py.File, name: str) -> Any:
    """Return an object of a file; a dataset with a cache for one layer of chunks if that helps."""
    node = file[name]
    size = _layer_bytes(node) if isinstance(node, h5py.Dataset) else 0
    if not _KEPT_BY_HDF5_BYTES < size <= _MAX_LAYER_BYTES:
        return node
    del node  # a dataset that is already open keeps its cache size
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(521, size, 1.0)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return the dataset `name`, or None if it does not exist (or is MATLAB's ``[]``).

    Raises `DataError` for data stored outside the file, or with a filter that is not installed.
    """
    node = find(file, name)
    if node is None:
        return None
    if not isinstance(node, h5py.Dataset):
        raise DataError(f"{file.filename}: {name}: is a group; a dataset is needed")
    with reading(file.filename, name):
        if node.external or node.is_virtual:
            raise DataError(
                f"{file.filename}: {name}: stores its data in other files; allowed: data stored in the file itself"
            )
        if (problem := missing_filter(node)) is not None:
            raise DataError(joined([file.filename, name, problem], ": "))
        return None if is_nothing(node) else node


def need_dataset(file: h5py.File, name: str, also: str = "") -> h5py.Dataset:
    """Return the dataset `name`; if it is missing, the `DataError` lists what the file has."""
    dataset = find_dataset(file, name)
    if dataset is None:
        with reading(file.filename, name):
            there = ", ".join(sorted(map(str, file))[:12]) or Text("nothing")
        text = Text(
            "{path}: no dataset {name}; it is needed{also} (the file has: {there})",
            path=file.filename,
            name=name,
            also=also,
            there=there,
        )
        raise DataError(text)
    return dataset


def check_stored(dataset: h5py.Dataset) -> None:
    """Raise `DataError` if a dataset declares more data than its file can hold."""
    path, name = dataset.file.filename, str(dataset.name).lstrip("/")
    stored = dataset.file.id.get_filesize()
    if dataset.nbytes > _MAX_RATIO * stored + _MAX_UNWRITTEN_BYTES:
        shape, size = dataset.shape, dataset.nbytes
        raise DataError(f"{path}: {name}: declares shape {shape}, {size:.3g} bytes, but the file holds only {stored}")


def describe(node: h5py.Dataset | h5py.Group, **attributes: str | float) -> None:
    """Set attributes; strings as fixed-length UTF-8."""
    for name, value in attributes.items():
        if isinstance(value, str):
            data = value.encode()
            node.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))
        else:
            node.attrs[name] = value


def attribute(node: h5py.Dataset | h5py.Group, name: str) -> Any:
    """Return attribute `name` of an object as str, int or float; None if it does not exist."""
    path = node.file.filename
    what = f"attribute {name} of {node.name}"
    with reading(path, what):
        if name not in node.attrs:
            return None
        stored = value = node.attrs[name]
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        elif isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, str | int | float):
            text = Text("{name}: holds {found}; allowed: one text or number", name=what, found=f"{stored!r:.60}")
            raise DataError(joined([path, text], ": "))
        return value


def stated(file: h5py.File, places: tuple[str, ...], *names: str) -> Any:
    """Return the value stored under one of `names`, as str, int or float; None if there is none.

    Looks at the attributes of the objects at `places` and of the file itself; in MATLAB files, which have no
    attributes, also at fields and variables. NaN counts as missing.
    """
    for place in (*places, ""):
        node = find(file, place) if place else file
        for name in names if node is not None else ():
            value = attribute(node, name)
            if value is None and isinstance(node, h5py.Group):
                value = _variable(file, f"{place}/{name}".lstrip("/"))
            if value is not None and value == value:  # not NaN
                return value
    return None


def _variable(file: h5py.File, name: str) -> Any:
    """Return a string or number saved by MATLAB; None if there is none."""
    node = find(file, name)
    if not isinstance(node, h5py.Dataset) or not is_matlab(node):
        return None
    dataset = find_dataset(file, name)
    if dataset is None or 0 in (empty_shape(dataset) or ()):
        return None
    with reading(file.filename, name):
        kind = matlab_class(dataset)
        if kind == "string":
            text = Text("{name}: is a MATLAB string; allowed: a char array ('...')", name=name)
            raise DataError(joined([file.filename, text], ": "))
        if dataset.dtype.kind not in "iuf" or (kind != "char" and dataset.size != 1):
            found = Text("{dtype} of shape {shape}", dtype=dataset.dtype, shape=dataset.shape[::-1])
            text = Text("{name}: holds {found}; allowed: one text or number", name=name, found=found)
            raise DataError(joined([file.filename, text], ": "))
        check_stored(dataset)
        return text_of(dataset[...].T) if kind == "char" else dataset[...].reshape(-1)[0].item()
