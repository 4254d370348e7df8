"""The tables of all settings, from the config's schema and ``config.toml``."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from simtiff.config.loading import json_schema

NOTES = Path(__file__).with_name("config.toml")
HEADS = {
    "en": "| `key` | default | unit | allowed | meaning |\n|---|---|---|---|---|",
    "zh": "| `key` | 默认值 | 单位 | 允许的值 | 含义 |\n|---|---|---|---|---|",
}
WORDS = {  # what is allowed where it is no number
    "path": {"en": "a path", "zh": "路径"},
    "object": {"en": "an object", "zh": "对象"},
    "list": {"en": "a list of {names}", "zh": "由{names}组成的列表"},
    "odd": {"en": ", odd", "zh": "，奇数"},
    "needed": {"en": " Required with `{block}`.", "zh": "；使用`{block}`时必需"},
}
UNITS = {
    "photons": "光子",
    "photon": "光子",
    "frames": "帧",
    "frame": "帧",
    "samples": "样本",
    "chunks": "块",
    "bits": "位",
    "map": "像差图",
    "field": "视场",
}
OF_NO_JOB = {"description", "version"}


def settings() -> dict[str, dict[str, Any]]:
    """Return the schema of every setting by its dotted key (of a job without ``base_config``), and if it is a job's."""
    schema = json_schema()
    definitions = schema["$defs"]
    found: dict[str, dict[str, Any]] = {}

    def walk(model: dict[str, Any], prefix: str, of_job: bool) -> None:
        options = [model, *model.get("anyOf", ())]  # what is required but in some cases counts
        needed = {name for option in options for name in option.get("required", ())}
        for name, field in model["properties"].items():
            options = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
            names = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
            inner = next((name for name in names if "properties" in definitions[name]), None)
            if inner is None:
                found[prefix + name] = field | {"of_job": of_job} | ({"required": True} if name in needed else {})
            elif name == "base_config":
                walk(definitions[inner], "", True)
            else:
                walk(definitions[inner], f"{prefix}{name}.", of_job)

    walk(definitions["BatchConfig"], "", False)
    return {key: field for key, field in found.items() if key not in OF_NO_JOB}


def number(value: float) -> str:
    """Return a bound as the tables have it: ``65536``, ``1e9``, ``2^63 - 1``."""
    if value == 2**63 - 1:
        return "2^63 - 1"
    if abs(value) >= 1_000_000 and float(f"{value:.0e}") == value:
        return f"{value:.0e}".replace("e+0", "e")
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def allowed(field: dict[str, Any], language: str) -> str:
    """Return what a setting may be."""
    if "enum" in field:
        return _names(field["enum"])
    return ", ".join(_allowed(option, language) for option in field.get("anyOf", [field]))


def _allowed(option: dict[str, Any], language: str) -> str:
    if "const" in option or "enum" in option:
        return _names(option.get("enum", [option.get("const")]))
    if "prefixItems" in option:
        return f"[{', '.join(allowed(item, language) for item in option['prefixItems'])}]"
    match option["type"]:
        case "null":
            return "`null`"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number":
            low = number(option["minimum"]) if "minimum" in option else f"> {number(option['exclusiveMinimum'])}"
            return f"{low} .. {number(option['maximum'])}{WORDS['odd'][language] if 'not' in option else ''}"
        case "array":
            return WORDS["list"][language].format(names=_names(option["items"]["enum"]))
        case "object":
            return WORDS["object"][language]
        case _:
            return WORDS["path"][language]


def _names(values: list[Any]) -> str:
    return ", ".join(f"`{json.dumps(value)}`" for value in values)


def as_code(text: str) -> str:
    """Return a description with its keys, values and files as code."""
    quoted, keys, files = r'"[a-z:]+"|\{"[^`]*\}', r"\{?\b[A-Za-z]+_[A-Za-z_0-9]+\b\}?", r"\b[a-z]+\.[A-Za-z_0-9]+\b"
    text = re.sub(f"(?<!`)({quoted}|{files}|{keys})", r"`\1`", text)
    return re.sub(r"(?<![\w`])(null|true|false)(?=[:,])", r"`\1`", text)


def tables(language: str) -> dict[str, str]:
    """Return the tables of a batch's settings and of a job's, these block by block, as Markdown."""
    notes = tomllib.loads(NOTES.read_text(encoding="utf-8"))
    schema = settings()
    if missing := notes.keys() ^ schema.keys():
        raise ValueError(f"{NOTES.name} and the schema do not have the same settings: {', '.join(sorted(missing))}")
    batch: list[str] = []
    blocks: dict[str, list[str]] = {}
    for key, field in schema.items():
        row = _row(key, field, notes[key], language)
        block = key.partition(".")[0] if "." in key else ""
        (blocks.setdefault(block, []) if field["of_job"] else batch).append(row)
    parts = []
    for block, rows in blocks.items():
        heading = [f"### {block}", ""] if block else []
        parts.append("\n".join([*heading, HEADS[language], *rows]))
    return {"batch": "\n".join([HEADS[language], *batch]), "job": "\n\n".join(parts)}


def _row(key: str, field: dict[str, Any], note: dict[str, str], language: str) -> str:
    default = "-" if field.get("required") else f"`{json.dumps(_plain(field.get('default', {})))}`"
    meaning = note["zh"] if language == "zh" else f"{as_code(field['description'])} {note.get('more', '')}".strip()
    if field.get("required") and "." in key:
        meaning += WORDS["needed"][language].format(block=key.rpartition(".")[0])
    words = note.get("zh_allowed" if language == "zh" else "allowed") or allowed(field, language)
    unit = note.get("unit", "")
    if language == "zh":
        unit = " ".join(UNITS.get(word, word) for word in unit.split())
    return f"| `{key}` | {default} | {unit} | {words} | {meaning} |"


def _plain(value: Any) -> Any:
    """Return a default with whole numbers as integers, as users write them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
