"""The public names of the package, from their docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import simtiff

GROUPS = {
    "psfs": ["Optics", "psf", "psf_gradient", "crlb", "imaging.options.PsfOptions"],
    "images": ["render", "Renderer", "Scene", "set_threads", "threads"],
    "aberrations": ["FieldMap"],
    "cameras": ["Camera", "imaging.cameramaps.CameraMaps"],
    "movies": ["Simulation", "run_batch", "batch.summary.BatchSummary", "table"],
    "events": [
        *("movie.events." + name for name in ("Event", "Progress", "Message", "MovieMade")),
        *("batch.events." + name for name in ("Begun", "Started", "StageEnded", "Done", "Failed", "Gone", "Ended")),
    ],
    "truth": ["open_truth", "movie.opentruth.OpenTruth"],
    "localizations": [
        *("localizations." + name for name in ("read", "iter_read", "opened", "write", "Localizations")),
        *("localizations." + name for name in ("score", "scoring.Score", "scoring.Metrics", "scoring.Bin")),
    ],
    "training": ["training.Frames", "training.Batch"],
    "errors": ["SimtiffError", "ConfigError", "ShapeError", "DataError", "BatchError"],
}
TITLES = {
    "Parameters": "参数",
    "Attributes": "属性",
    "Returns": "返回",
    "Yields": "产生",
    "Raises": "异常",
    "Notes": "说明",
    "Examples": "示例",
}


def groups(language: str) -> dict[str, str]:
    """Return the names of each group, with what their docstrings say, as Markdown."""
    if missing := set(simtiff.__all__) - {"__version__"} - {name for names in GROUPS.values() for name in names}:
        raise ValueError(f"make_python.py has no group for {', '.join(sorted(missing))}")
    return {group: "\n\n".join(_described(name, language) for name in names) for group, names in GROUPS.items()}


def _described(name: str, language: str) -> str:
    thing = _found(name)
    short = name if re.match(r"(localizations|training)\.[^.]+$", name) else name.rpartition(".")[2]
    parts = [f"### {short}"]
    if not (inspect.isclass(thing) and issubclass(thing, (Exception, dict))):
        parts.append(f"```py\n{_signature(f'simtiff.{name}', thing)}\n```")
    parts.append(_text(thing, language))
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not member.startswith("_") and inspect.isfunction(function) and function.__doc__:
                full = f"{name.rpartition('.')[2]}.{member}"
                line = full if isinstance(value, property) else _signature(full, function)
                parts += [f"#### {full}", f"```py\n{line}\n```", _text(function, language)]
    return "\n\n".join(parts)


def _found(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(f"simtiff.{module}" if module else "simtiff"), last)


def _signature(name: str, thing: Any) -> str:
    """Return how a name is called, without types, which the parameters have."""
    parameters = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in inspect.signature(thing).parameters.values()
        if each.name not in {"self", "cls"}
    ]
    words = str(inspect.Signature(parameters))[1:-1].replace("'", '"').split(", ")
    line = f"{name}({', '.join(words)})"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(words) + ",\n)"


def _text(thing: Any, language: str) -> str:
    """Return a docstring as Markdown."""
    text = inspect.getdoc(thing) or ""
    pieces = re.split(r"^(\w+)\n-{3,}\n", text, flags=re.MULTILINE)
    parts = [pieces[0].strip()]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        parts.append(f"**{TITLES[title] if language == 'zh' else title}**")
        match title:
            case "Examples":
                parts.append(_examples(body))
            case "Notes":
                parts.append(body.strip())
            case _:
                parts.append(_items(body))
    return "\n\n".join(part for part in parts if part)


def _items(body: str) -> str:
    """Return parameters and the like, ``name : type`` and an indented text, as a list."""
    lines = []
    for item in re.split(r"\n(?=\S)", body.strip()):
        head, _, rest = item.partition("\n")
        names, _, kind = head.partition(" : ")
        names = ", ".join(f"`{name}`" for name in names.split(", ")) if re.fullmatch(r"[\w*, ]+", names) else names
        about = " ".join(filter(None, [f"({kind})" if kind else "", " ".join(rest.split())]))
        lines.append(f"- {names}: {about}" if about else f"- {names}")
    return "\n".join(lines)


def _examples(body: str) -> str:
    """Return text and examples, these in blocks."""
    parts = []
    for paragraph in re.split(r"\n\n+", body.strip()):
        before, mark, code = paragraph.partition(">>>")
        parts += [before.strip(), f"```pycon\n{mark}{code.rstrip()}\n```" if mark else ""]
    return "\n\n".join(part for part in parts if part)
