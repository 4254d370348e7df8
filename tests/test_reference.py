"""The reference is made from the code: its pages are as `make docs` makes them now, and hold all there is."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import h5py
import pytest
from pydantic import BaseModel

import simtiff
from simtiff.config.settings import BatchConfig, JobConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = DOCS / "reference"
sys.path.insert(0, str(DOCS))

import make_reference  # noqa: E402
from make_config import allowed, settings  # noqa: E402


def rows_of(page: str, columns: int) -> dict[str, list[str]]:
    """Return the rows of a page's tables with so many columns whose first cell is a name, by this name."""
    rows = {}
    for line in (REFERENCE / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == columns and re.fullmatch(r"`[A-Za-z_.0-9/]+`", cells[0]) and cells[0] != "`key`":
            rows[cells[0].strip("`")] = cells[1:]
    return rows


def test_the_pages_are_current() -> None:
    for path, text in make_reference.pages():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make docs"


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of a model by its dotted key (of a job without ``base_config``), with its field."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is not None:
            yield from fields_of(inner, "" if inner is JobConfig else f"{prefix}{name}.")
        elif name not in {"description", "version"}:
            yield prefix + name, field


@pytest.mark.parametrize("page", ["config.md", "config.zh-CN.md"])
def test_the_tables_of_settings_are_the_config(page: str) -> None:
    rows, fields, schema = rows_of(page, 5), dict(fields_of(BatchConfig)), settings()
    assert sorted(rows) == sorted(fields) == sorted(schema)
    for key, (default, _, range_text, _) in rows.items():
        if schema[key].get("required"):
            assert default == "-", key
        else:
            wanted = fields[key].get_default(call_default_factory=True)
            assert json.loads(default.strip("`")) == json.loads(json.dumps(wanted)), key
        if re.search(r"\d \.\. ", range_text) or range_text.startswith("`"):
            assert range_text == allowed(schema[key], "zh" if "zh" in page else "en"), key


@pytest.mark.parametrize("page", ["python.md", "python.zh-CN.md"])
def test_every_public_name_has_its_heading(page: str) -> None:
    headings = re.findall(r"^### ([\w.]+)$", (REFERENCE / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(simtiff.__all__) - {"__version__"} <= set(headings)


JOB = {
    "zmap_path": "builtin:oil",
    "emitters": {"num_emitters": 20, "frames": 3, "area_px": 40},
    "tiff": {"roi_size": [32, 24]},
    "drift": {"velocity_nm": [1, 0, 0]},
    "background": {"photons": 20},
    "truth": {"crlb": True},
}
PAINT = {"emitters": JOB["emitters"] | {"blinking": {"kind": "paint", "on_frames": 2, "off_frames": 2}}}


@pytest.mark.parametrize("page", ["files.md", "files.zh-CN.md"])
def test_the_table_of_datasets_is_that_of_the_files(page: str, tmp_path: Path) -> None:
    rows = rows_of(page, 5)
    found: set[str] = set()
    for name, config in (("once", JOB), ("paint", JOB | PAINT)):
        simtiff.Simulation(config).write(tmp_path / name)
        with h5py.File(tmp_path / name / "emitters.h5") as file:
            counts = {
                "n": len(file["emitters/xyz"]),
                "b": len(file["blinks/t0"]) if "blinks" in file else 0,
                "r": len(file["records/xyz"]),
                "t": 3,
                "t + 1": 4,
                "m": file["zernike_coeffs/phase"].shape[1],
                "y": 24,
                "x": 32,
            }
            for path in rows:
                if path in file:
                    shape, dtype, unit, _ = rows[path]
                    numbers = [counts.get(part, part) for part in shape.strip("()").split(", ")]
                    assert tuple(map(int, numbers)) == file[path].shape, path
                    assert dtype == file[path].dtype, path
                    assert (unit or "1") == file[path].attrs["unit"].decode(), path
            file.visititems(lambda path, item: found.add(path) if isinstance(item, h5py.Dataset) else None)
    assert found == set(rows)
