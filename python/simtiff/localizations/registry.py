"""List of all localization formats, and format detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py

from simtiff.errors import ConfigError, DataError
from simtiff.io.hdf5 import open_hdf5, reading
from simtiff.language import Text
from simtiff.localizations._csv import fields_of
from simtiff.localizations.challenge import Challenge
from simtiff.localizations.decode import Decode
from simtiff.localizations.format import Head
from simtiff.localizations.npy import Npy
from simtiff.localizations.parquet import Parquet
from simtiff.localizations.picasso import Picasso
from simtiff.localizations.plaincsv import PlainCsv
from simtiff.localizations.thunderstorm import ThunderStorm
from simtiff.localizations.truth import TruthEmitters, TruthRecords

if TYPE_CHECKING:
    from pathlib import Path

    from simtiff.localizations.format import Format

FORMATS: tuple[Format, ...] = (
    ThunderStorm(),
    Picasso(),
    Decode(),
    Challenge(),
    Parquet(),
    PlainCsv(),
    Npy(),
    TruthRecords(),
    TruthEmitters(),
)
"""All formats; add new ones here."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES = 1 << 13
_OTHER_SEPARATORS = (";", "\t")  # from spreadsheets with other locales, or saved as text


def format_named(name: str) -> Format:
    """Return the format with this name; `ConfigError` with a list of all formats if there is none."""
    for each in FORMATS:
        if each.name == name:
            return each
    text = Text("kind: {found!r}; allowed: {names}", found=name, names=_names(FORMATS))
    raise ConfigError(text)


def format_of(path: Path) -> Format:
    """Detect the format of a file from its content; `DataError` with a list of formats if that fails."""
    head = _head(path)
    found = [each for each in FORMATS if each.recognizes(head)]
    if len(found) == 1:
        return found[0]
    if found:
        text = Text("{path}: could have several formats; choose one: {names}", path=path, names=_names(found))
        raise DataError(text)
    if head.nodes:
        shown = Text("it contains {names}", names=", ".join(sorted(head.nodes)[:12]))
    elif any(mark in "".join(head.fields) for mark in _OTHER_SEPARATORS):
        shown = Text("its columns are not separated by commas; save it as CSV with commas and decimal points")
    elif head.fields:
        shown = Text("its first line is {line}", line=f"{', '.join(head.fields)!r:.200}")
    else:
        shown = Text("its content is not recognised")
    text = Text("{path}: unknown format ({shown}); allowed: {names}", path=path, shown=shown, names=_names(FORMATS))
    raise DataError(text)


def _names(formats: tuple[Format, ...] | list[Format]) -> str:
    return ", ".join(each.name for each in formats)


def _head(path: Path) -> Head:
    """Return the start of a file, for format detection."""
    with path.open("rb") as file:
        start = file.read(_HEAD_BYTES)
    if start.startswith(_HDF5):
        with open_hdf5(path) as opened, reading(str(path), "its content"):
            nodes = set(opened)
            for name in opened:
                node = opened.get(name)
                if isinstance(node, h5py.Group):
                    nodes |= {f"{name}/{inner}" for inner in node}
        return Head(start, nodes=frozenset(nodes))
    try:
        line = start.split(b"\n", 1)[0].decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return Head(start)
    return Head(start, fields_of(line) if line.replace("\t", " ").isprintable() else ())
