"""The commands with their options, from the usage text and ``commands.toml``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from simtiff.cli.arguments import USAGE

NOTES = Path(__file__).with_name("commands.toml")
HEADS = {"en": "| option | meaning |\n|---|---|", "zh": "| 选项 | 含义 |\n|---|---|"}
OVERVIEW = {"en": "| command | what it does |\n|---|---|", "zh": "| 命令 | 作用 |\n|---|---|"}
OF_ALL = ("--verbose", "--version", "--help")


def part(title: str) -> str:
    """Return the part of the usage text under a title."""
    return USAGE.split(f"{title}:\n")[1].split("\n\n", maxsplit=1)[0]


def usages() -> dict[str, str]:
    """Return the usage of each command, as ``zmap info``, with its line breaks."""
    found = {}
    for text in re.split(r"\n  (?=simtiff )", "\n" + part("Usage")):
        if text.strip():
            lines = [line.strip() for line in text.strip().splitlines()]
            name = re.findall(r"simtiff (zmap \w+|\w+)", lines[0])[0]
            found[name] = ("\n" + " " * len(f"simtiff {name} ")).join(lines)
    return found


def entries(title: str) -> dict[str, str]:
    """Return the text of each command or option under a title."""
    found: dict[str, str] = {}
    last = ""
    for line in part(title).splitlines():
        if head := re.match(r"  (\S+(?:, \S+)?)  +(\S.*)", line):
            last = re.sub(r"^-h, ", "", head[1])
            found[last] = head[2]
        else:
            found[last] += " " + line.strip()
    return found


def commands(language: str) -> dict[str, str]:
    """Return the table of the commands, and what each of them takes, as Markdown."""
    notes = tomllib.loads(NOTES.read_text(encoding="utf-8"))
    usage, about, options = usages(), entries("Commands"), entries("Options")
    names = {name.partition("=")[0] for name in options}
    if missing := (notes["commands"].keys() ^ usage.keys()) | (notes["options"].keys() ^ names):
        raise ValueError(f"{NOTES.name} and the usage do not have the same names: {', '.join(sorted(missing))}")

    def meaning(option: str) -> str:
        return str(notes["options"][option.partition("=")[0]]) if language == "zh" else options[option]

    rows, parts = [OVERVIEW[language]], []
    for name, text in usage.items():
        note = notes["commands"][name]
        english = [about.get(name, ""), note.get("more", "")]
        summary = note["zh"] if language == "zh" else " ".join(filter(None, english))
        rows.append(f"| [`simtiff {name}`](#{name.replace(' ', '-')}) | {summary} |")
        taken = [option for option in options if re.search(rf"{option.partition('=')[0]}\b(?!-)", text)]
        table = [HEADS[language], *(f"| `{option}` | {as_code(meaning(option))} |" for option in taken)]
        parts += [f"## {name}", f"```console\n{text}\n```", *(["\n".join(table)] if taken else [])]
    of_all = [HEADS[language], *(f"| `{option}` | {as_code(meaning(option))} |" for option in OF_ALL)]
    return {"commands": "\n".join(rows), "options": "\n\n".join(parts), "of all": "\n".join(of_all)}


def as_code(text: str) -> str:
    """Return the text of an option with other options, files and names as code."""
    return re.sub(r"(?<![`\w])(--[a-z-]+|\w+\.h5|\w+_\w+|emitters\.frames=5)", r"`\1`", text)
