"""The commands ``simtiff demo`` and ``simtiff init``: a first movie, and a config file to start from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from string import Template
from typing import Any

from simtiff.cli.arguments import UsageError, output_path
from simtiff.cli.terminal import DONE, CountingLine, print_text
from simtiff.language import Text, joined, shown, spoken, tr

KINDS = ("dstorm", "paint", "tracking", "sweep", "training")
"""The types of config that `init` writes."""

_DEMO_FOLDER = "simtiff_demo"
_DEMO_CONFIG = "demo.json"
_PREVIEW = "preview.png"
_TEMPLATES = Path(__file__).parent / "templates"
_LANGUAGES = {"en": "", "zh": ".zh"}  # between a template's name and .json


def demo(arguments: dict[str, Any]) -> int:
    """Make a small movie and a picture of its brightest frame; print their paths and the next commands."""
    from simtiff.batch.pipeline import run_pipeline
    from simtiff.config.identity import TRUTH_NAME
    from simtiff.config.loading import load_job_config
    from simtiff.config.names import folder_problem
    from simtiff.io.files import write_whole
    from simtiff.movie.preview import preview

    folder = Path(arguments["--output-dir"] or _DEMO_FOLDER)
    if (problem := folder_problem(str(folder))) is not None:
        raise UsageError(joined(["--output-dir", str(folder), problem], ": "))
    settings = folder / _DEMO_CONFIG
    config = load_job_config(_TEMPLATES / _DEMO_CONFIG)
    movie, truth, picture = folder / config.tiff.filename, folder / TRUTH_NAME, folder / _PREVIEW
    _refuse_other_files(settings, (movie, truth, picture))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(settings, _template("demo").encode())
    with CountingLine() as line:
        run_pipeline(config, folder, line)
        preview(movie, picture)
    files = {
        movie: Text("the movie, for Fiji, napari or any reader of TIFF files"),
        picture: Text("its brightest frame"),
        truth: Text("the ground truth: position and photons of each molecule in each frame"),
        settings: Text("the config that the movie was made from"),
    }
    commands = {
        f"simtiff preview {shlex.quote(str(movie))} --truth": Text("mark the molecules (needs matplotlib)"),
        "simtiff init study.json": Text("write a config to start from"),
    }
    lines = [tr("made in {folder}:", folder=folder), *_columns({path.name: text for path, text in files.items()})]
    print_text("\n".join([*lines, tr("next:"), *_columns(commands)]))
    return DONE


def _refuse_other_files(settings: Path, others: tuple[Path, ...]) -> None:
    """Raise `UsageError` if the demo would replace files not made by it, as its unchanged config file shows."""
    own = {_template("demo", language).encode() for language in _LANGUAGES}
    if settings.is_file() and settings.read_bytes() in own:
        return
    for path in (settings, *others):
        if os.path.lexists(path):
            text = Text(
                "{path}: exists and was not made by simtiff demo; choose another folder with --output-dir", path=path
            )
            raise UsageError(text)


def init(arguments: dict[str, Any]) -> int:
    """Write a config file and the files it needs; print the next commands."""
    kind, path = arguments["--kind"], _config_path(arguments["NAME"])
    if kind not in KINDS:
        allowed = ", ".join(KINDS)
        raise UsageError(
            Text('{option}: "{text}" is not allowed; allowed: {allowed}', option="--kind", text=kind, allowed=allowed)
        )
    files = _files(path, kind)
    for file in files:
        if os.path.lexists(file):
            raise UsageError(Text("{path}: exists; choose another name, or remove it first", path=file))
    for file, text in files.items():
        _write_new(file, text)
    name = shlex.quote(str(path))
    commands = {
        f"simtiff validate {name}": Text("check it, and count movies, frames and molecules"),
        f"simtiff batch {name}": Text("make the movies"),
    }
    print_text("\n".join([*map(str, files), tr("next:"), *_columns(commands)]))
    return DONE


def _config_path(name: str) -> Path:
    """Return the path of the config to write; `UsageError` if the name is not allowed."""
    from simtiff.config.names import name_problem

    path = Path(name)
    if not path.suffix and path.name:
        path = path.with_name(f"{path.name}.json")
    problem = name_problem(path.name)
    if problem is None and path.name.startswith("-"):
        problem = Text("must not begin with a hyphen")
    if problem is not None:
        raise UsageError(Text('{option}: "{folder}" {problem}', option="NAME", folder=name, problem=problem))
    return output_path(str(path), "NAME", (".json", ".json5"))


def _files(path: Path, kind: str) -> dict[Path, str]:
    """Return the contents of the files to write by path: the files that the config needs, then the config."""
    values: dict[str, object] = {"name": path.name, "stem": path.stem}
    files: dict[Path, str] = {}
    if kind == "tracking":
        from simtiff.emitters import tracks

        beside = path.with_name(f"{path.stem}_tracks.csv")
        files[beside] = tracks.example_tracks()
        values |= {"tracks": beside.name, "side_px": tracks.SIDE_PX, "pixel_nm": tracks.PIXEL_NM}
        values |= {"interval_ms": tracks.INTERVAL_MS, "diffusion": tracks.DIFFUSION_UM2_PER_S}
    return files | {path: Template(_template(kind)).substitute(values)}


def _template(name: str, language: str | None = None) -> str:
    """Return the text of a template, by default in the language of the command."""
    middle = _LANGUAGES.get(language or spoken(), "")
    return (_TEMPLATES / f"{name}{middle}.json").read_text(encoding="utf-8")


def _write_new(path: Path, text: str) -> None:
    """Write a new file; raise `FileExistsError` if it exists; leave nothing behind on failure."""
    try:
        with path.open("xb") as file:
            file.write(text.encode())
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _columns(texts: dict[str, Text]) -> list[str]:
    """Return one line per name with its description, aligned."""
    from simtiff.batch.text import cells

    width = max(map(cells, texts))
    return [f"  {name}{' ' * (width - cells(name))}  {shown(text)}" for name, text in texts.items()]
