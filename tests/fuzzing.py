"""What the fuzz tests share: how many cases, limits on time and memory, strange values, damaged HDF5 files."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from simtiff.cli import process as cli

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

CASES = int(os.environ.get("SIMTIFF_FUZZ_CASES", "100"))
"""Cases of each property; `make fuzz` asks for many more."""

# The same cases in every run, so that a failure is of the change that was made; `make fuzz` draws new ones.
settings.register_profile(
    "tests", derandomize="SIMTIFF_FUZZ_CASES" not in os.environ, max_examples=CASES, deadline=None, database=None
)
settings.load_profile("tests")

SECONDS_PER_CASE = 120.0
_SPARE_BYTES = 6 << 30

fuzz = settings(suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """End the whole test run, with a traceback, if the block hangs, also deep inside a library."""
    faulthandler.dump_traceback_later(SECONDS_PER_CASE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def memory_limited() -> Iterator[None]:
    """Let this process have a few GiB more than it has, so that a bomb goes off as an error."""
    try:
        import resource
        from pathlib import Path

        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _SPARE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def run(*words: object) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with bounded(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def assert_answered(answer: tuple[int, str, str], names: str = "") -> None:
    """Check that a command did its work, or refused in words that name the file."""
    code, out, err = answer
    assert code in {0, 1, 2}, answer
    assert "Traceback" not in err
    assert "internal error" not in err
    assert "PanicException" not in err
    if code:
        assert (out + err).strip(), answer
        assert names in out + err, answer


scalars = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        15,
        511,
        512,
        2**31,
        2**63,
        2**64,
        10**30,
        10**5000,
        0.5,
        3.0,
        -0.0,
        5e-324,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "exact",
        "float32",
        "\0",
        b"x",
        1j,
        (),
        [],
        {},
        [1, [2]],
        object(),
        np.float32(3),
        np.int8(-1),
        np.datetime64("2020-01-01"),
    ]
)
json_values = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "a/b", ".."]
    )
    | st.integers()
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some of them changed, left out, doubled, or the end cut off."""
    changed = bytearray(data)
    # Half of the changes go into the first part, where the structure is.
    for _ in range(chance.choice([1, 2, 4, 8, 16, 64])):
        place = chance.randrange(min(len(changed), 4096) if chance.random() < 0.5 else len(changed))
        match chance.randrange(4):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + 8] = chance.choice([0, 2**31, 2**63, 2**64 - 1]).to_bytes(8, "little")
            case _:
                changed[place] = chance.choice([0, 255])
    if chance.random() < 0.1:
        del changed[chance.randrange(1, len(changed)) :]
    return bytes(changed)


_DTYPES = ["f4", "f8", "f2", ">f8", "i1", "i8", "u8", ">u2", "?", "c8", "S3", "V4"]
_SHAPES = [(), (0,), (1,), (3,), (0, 3), (4, 3), (3, 4), (1, 0, 5), (2, 3, 4), (1, 1, 1, 1)]


def damage_hdf5(path: Path, good: bytes, chance: random.Random) -> None:
    """Write an HDF5 file with its end cut off, or with other types and shapes, wild values, links and attributes.

    Its structure stays one that HDF5 itself writes: with bytes of that changed, the library may hang.
    """
    if chance.random() < 0.1:
        path.write_bytes(good[: chance.randrange(len(good))])
        return
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice(names)
            with contextlib.suppress(Exception):  # what an earlier change has made of the file
                chance.choice(_CHANGES)(file, name, chance)


def _retype(file: h5py.File, name: str, chance: random.Random) -> None:
    del file[name]
    file.create_dataset(name, chance.choice(_SHAPES), chance.choice(_DTYPES))


def _wild(file: h5py.File, name: str, chance: random.Random) -> None:
    data = file[name]
    # A row of one that was made huge would be written for hours.
    if isinstance(data, h5py.Dataset) and 0 < data.size < 10**6 and data.dtype.kind in "iuf" and data.ndim:
        values = [0, -1, 2**31 - 1, 1e9] + ([np.nan, np.inf, -np.inf, 1e30, 5e-324] if data.dtype.kind == "f" else [])
        with np.errstate(all="ignore"):
            value = np.float64(chance.choice(values)).astype(data.dtype)
        data[chance.randrange(data.shape[0])] = value


def _scramble(file: h5py.File, name: str, chance: random.Random) -> None:
    data = file[name]
    if isinstance(data, h5py.Dataset) and 0 < data.nbytes < 10**7 and data.dtype.kind in "iuf" and data.ndim:
        row = data[0]
        data[chance.randrange(data.shape[0])] = np.frombuffer(chance.randbytes(row.nbytes), row.dtype).reshape(
            row.shape
        )


def _huge(file: h5py.File, name: str, chance: random.Random) -> None:
    data = file[name]
    shape = tuple(max(1, n) for n in getattr(data, "shape", None) or (3,))
    del file[name]
    grown = tuple(n * chance.choice([1, 1000, 2**31]) for n in shape)
    with contextlib.suppress(ValueError, OSError, OverflowError):
        file.create_dataset(name, grown, "f4", chunks=True, compression=chance.choice([None, "gzip"]))


def _link(file: h5py.File, name: str, chance: random.Random) -> None:
    del file[name]
    links = [
        h5py.SoftLink(f"/{name}"),
        h5py.SoftLink("/"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink("/etc/passwd", "/"),
        h5py.ExternalLink(file.filename, f"/{name}"),
        h5py.ExternalLink("../other.h5", "/records"),
    ]
    file[name] = chance.choice(links)


def _outside(file: h5py.File, name: str, chance: random.Random) -> None:
    del file[name]
    file.create_dataset(name, (4, 3), "u1", external=[("/etc/passwd", 0, 12)])


def _attribute(file: h5py.File, name: str, chance: random.Random) -> None:
    key = chance.choice(["unit", "wavelength", "index", "config", "version", "seed", "source"])
    values: list[Any] = ["", "nm", "{}", "[" * 10_000, 1e308, np.nan, -1, np.zeros(3), h5py.Empty("f4"), b"\xff", True]
    chance.choice([file, file[name]]).attrs[key] = chance.choice(values)


def _remove(file: h5py.File, name: str, chance: random.Random) -> None:
    del file[name]


def _group(file: h5py.File, name: str, chance: random.Random) -> None:
    del file[name]
    file.create_group(name)


_CHANGES: list[Callable[[h5py.File, str, random.Random], None]] = [
    _retype,
    _wild,
    _scramble,
    _huge,
    _link,
    _outside,
    _attribute,
    _remove,
    _group,
]
