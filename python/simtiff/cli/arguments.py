"""The command line: usage text, and parsing with helpful error messages."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.errors import SimtiffError
from simtiff.language import Text, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """Simulate single-molecule localization microscopy movies with the exact PSF at every field position.

Usage:
  simtiff demo [--output-dir=DIR]
  simtiff init NAME [--kind=KIND]
  simtiff batch (CONFIG | --batch-config=FILE) [--output-dir=DIR] [--max-workers=N] [--no-resume]
                [--retry-failed] [--overwrite] [--set=KEY=VALUE]... [--dry-run] [--json] [--force]
                [--log-file=FILE] [--quiet] [--shard=I/N] [--scheduler=ADDRESS]
  simtiff run [--zmap=FILE] [--config=FILE] [--set=KEY=VALUE]... [--output-dir=DIR]
              [--skip-emitters] [--skip-zernike] [--skip-tiff]
  simtiff stream --h5=FILE --output=FILE [--config=FILE] [--chunk-size=N]
  simtiff export EMITTERS --format=NAME --output=FILE [--config=FILE]
  simtiff score TRUTH LOCS [--radius=NM] [--dz=NM] [--pixel-size=NM] [--config=FILE] [--json] [--plot=PNG]
  simtiff status DIR [--json]
  simtiff table DIR [--output=FILE]
  simtiff verify DIR [--frames=N] [--mark]
  simtiff clean DIR [--yes]
  simtiff validate CONFIG [--set=KEY=VALUE]...
  simtiff schema
  simtiff camera [PRESET]
  simtiff preview TIFF [--output=PNG] [--frame=N] [--truth | --h5=FILE] [--config=FILE]
  simtiff zmap synth OUT [--size=N] [--seed=N]
  simtiff zmap info FILE [--plot=PNG]

Commands:
  demo      Make a first movie and a picture of it, to test the installation; takes a few seconds.
  init      Write a commented config to start from; existing files are not overwritten.
  batch     Make all movies of a config: parameter sweeps, repeats or one job; skips finished jobs.
  run       Make one movie: emitters, coefficients, TIFF.
  stream    Render the movie of an existing emitters.h5, chunk by chunk in constant memory.
  export    Export the ground truth of a movie, and its camera parameters, for other software.
  score     Score localizations against the ground truth: detection and precision.
  status    Show the progress, speed and estimated end of a batch.
  table     Print or save a table of all jobs: varied parameters, results, paths.
  verify    Check the files of finished jobs, and rerender some frames for comparison.
  clean     List the finished jobs of earlier configs in a folder; remove them with --yes.
  validate  Check a config and its map without running it; count jobs, frames and emitters per frame.
  schema    Print the JSON schema of the config, for editors.
  camera    List the camera presets, or print one as a section of the config.
  preview   Save the brightest or a given frame of a movie as PNG.
  zmap      Write the built-in synthetic aberration map, or summarize a map.

Options:
  --batch-config=FILE  Same as CONFIG: the config of a batch or a job; - reads it from stdin.
  --config=FILE        Config of a job, or of a batch, whose base_config is used; - reads it from stdin.
                       run: default settings without it; else: its values replace those stored in the h5 file.
  --output-dir=DIR     Output folder (batch: instead of base_output_dir; run: default "output"; demo: default
                       "simtiff_demo").
  --kind=KIND          Type of config: dstorm, paint, tracking, sweep or training [default: dstorm].
  --max-workers=N      Number of worker processes, instead of the config's max_workers.
  --no-resume          Rerun all jobs, also finished ones.
  --retry-failed       Run only jobs that failed.
  --overwrite          Replace finished jobs with other settings; by default these stop the batch.
  --set=KEY=VALUE      Replace a value of the config, such as emitters.frames=5; may be repeated.
  --dry-run            Print what would be done with each job, and all settings; change nothing.
  --force              Start even if the disk space or memory seems insufficient.
  --log-file=FILE      Append events as JSON, one object per line: stages, times, memory, errors.
  --shard=I/N          Run only shard I of N of the jobs; the others may run at the same time on other
                       machines that share the folder.
  --scheduler=ADDRESS  Run the jobs on the dask cluster of this scheduler (tcp://HOST:8786).
  --quiet              Show only errors, warnings and the summary.
  --json               Print the score, the status, or with --dry-run the plan, as JSON, with full names and
                       errors; the table of the status cuts them to fit 80 columns.
  --frames=N           Number of frames of each movie to rerender and compare [default: 3].
  --mark               Mark jobs with errors, so that the next simtiff batch repairs them.
  --yes                Remove the listed jobs.
  --zmap=FILE          Aberration map (HDF5), or builtin:oil, instead of the config's zmap_path.
  --skip-emitters      Keep the emitters of the emitters.h5 in the output folder.
  --skip-zernike       Keep its coefficients, too.
  --skip-tiff          Write no movie.
  --truth              Mark the emitters that are on in the frame, from the emitters.h5 beside the movie.
  --h5=FILE            The emitters.h5 to render; with preview, the one whose emitters are marked.
  --output=FILE        File to write: movie (.tif, .tiff), picture (.png), table (.csv, .parquet) or export
                       (.csv, .hdf5, .h5 or .parquet, depending on the format).
  --format=NAME        thunderstorm, picasso, decode, smlm-challenge or parquet.
  --radius=NM          Maximum lateral distance between an emitter and its localization [default: 250].
  --dz=NM              Maximum axial distance, if both have a z [default: 500].
  --pixel-size=NM      Pixel size, or x,y, if no file contains it.
  --frame=N            Frame to show, from 0; default: the brightest of up to 32 evenly spaced frames.
  --chunk-size=N       Number of frames rendered and written at a time.
  --size=N             Side length of the map in pixels [default: 256].
  --seed=N             Seed of the map [default: 0].
  --plot=PNG           Save a picture of the map's coefficients, or of the score.
  --verbose            Show every stage of every job, and the traceback of an error.
  --version            Print the version.
  -h, --help           Print this help.

Options may be written with underscores: --max_workers, --no_resume, --chunk_size.
Exit codes: 0 success, 1 a job failed (verify: errors found), 2 invalid command line, config or input,
130 interrupted.
"""


class UsageError(SimtiffError):
    """The command line is invalid; the message says why, and suggests a correction."""


def _usage_lines() -> dict[str, str]:
    """Return the usage line of each command in `USAGE`, by name such as ``batch``."""
    block = USAGE.split("Usage:\n")[1].split("\n\n", maxsplit=1)[0]
    lines = [" ".join(part.split()) for part in re.split(r"\n  (?=simtiff )", "\n" + block) if part.strip()]
    usage: dict[str, str] = {}
    for line in lines:
        words = line.split()
        name = " ".join(words[1:3]) if words[1] == "zmap" else words[1]
        usage[name] = line
    return usage


def parse_arguments(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the command (``batch``, ``zmap info``, ...) and its arguments, keyed as in docopt.

    Raises
    ------
    UsageError
        The arguments are invalid; the message suggests the nearest command or option for a misspelt one.
    """
    from docopt import DocoptExit, docopt

    words = _with_hyphens(argv)
    usage = _usage_lines()
    command = _command(words, list(usage))
    line = usage[command]
    takes_value = {name: bool(value) for name, value in re.findall(r"(--[a-z0-9-]+)(=?)", line)}
    _check_options(words, command, takes_value)
    try:
        arguments = docopt(USAGE, argv=words, default_help=False)
    except DocoptExit:
        raise UsageError(Text("invalid arguments; usage: {usage}", usage=line)) from None
    return command, dict(arguments)


def _with_hyphens(argv: Sequence[str]) -> list[str]:
    words: list[str] = []
    for position, word in enumerate(argv):
        if word == "--":
            return words + list(argv[position:])
        name, equals, value = word.partition("=")
        words.append(name.replace("_", "-") + equals + value if name.startswith("--") else word)
    return words


def _command(words: Sequence[str], commands: Sequence[str]) -> str:
    first_words = list(dict.fromkeys(command.split()[0] for command in commands))
    if not words:
        raise UsageError(
            Text("no command; commands are {names} (simtiff --help shows more)", names=", ".join(first_words))
        )
    first = words[0]
    if first.startswith("-"):
        names = ", ".join(first_words)
        raise UsageError(Text("{option} must come after a command: {names}", option=first, names=names))
    if first not in first_words:
        problem = Text('unknown command "{word}"', word=first)
        raise UsageError(_with_nearest(problem, first, first_words))
    if first != "zmap":
        return first
    second_words = [command.split()[1] for command in commands if command.startswith("zmap ")]
    second = words[1] if len(words) > 1 else ""
    if second not in second_words:
        problem = Text("zmap needs a subcommand")
        if second:
            problem = Text('unknown command "{word}"', word=f"zmap {second}")
        raise UsageError(_with_nearest(problem, second, second_words))
    return f"zmap {second}"


def _check_options(words: Sequence[str], command: str, takes_value: dict[str, bool]) -> None:
    # docopt accepts abbreviated options; a wrong guess could start hours of work.
    position = 0
    given: set[str] = set()
    while position < len(words) and words[position] != "--":
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "-":
            continue
        name, equals, _ = word.partition("=")
        if name not in takes_value:
            problem = Text('simtiff {command}: unknown option "{option}"', command=command, option=name)
            raise UsageError(_with_nearest(problem, name, list(takes_value)))
        if takes_value[name] and not equals:
            if position >= len(words):
                raise UsageError(Text("{option} needs a value: {option}=...", option=name))
            position += 1
        elif equals and not takes_value[name]:
            raise UsageError(Text("{option} takes no value", option=name))
        if name in given and name != "--set":
            raise UsageError(Text("{option} is given twice", option=name))
        given.add(name)


def _with_nearest(problem: Text, word: str, valid: Sequence[str]) -> Text:
    """Return the problem with a word, and the closest valid word, or all valid ones."""
    matches = difflib.get_close_matches(word[:200].lower(), valid, n=1, cutoff=0.6)
    if matches:
        return Text('{problem}; did you mean "{match}"?', problem=problem, match=matches[0])
    if valid:
        return Text("{problem}; allowed: {allowed}", problem=problem, allowed=", ".join(valid))
    return Text("{problem}; this command has no options", problem=problem)


def whole_number(arguments: dict[str, Any], option: str, low: int, high: int) -> int | None:
    """Return an option's value as an integer from `low` to `high`; None if it is not given."""
    text = arguments[option]
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text, re.ASCII) or not low <= int(text) <= high:
        problem = Text(
            '{option}: "{text}" is not allowed; allowed: an integer from {low:,} to {high:,}',
            option=option,
            text=text,
            low=low,
            high=high,
        )
        raise UsageError(problem)
    return int(text)


def positive_number(arguments: dict[str, Any], option: str) -> float:
    """Return the value of an option with a default as a number above 0."""
    return _positive(option, arguments[option], Text("a number above 0"))


def pixel_size(arguments: dict[str, Any], option: str) -> tuple[float, float] | None:
    """Return an option's value, a number or ``x,y``, as sizes along x and y; None if it is not given."""
    text = arguments[option]
    if text is None:
        return None
    allowed = Text("a number of nm above 0, or x,y")
    sizes = [_positive(option, part, allowed, text) for part in text.split(",")]
    if len(sizes) > 2:
        raise UsageError(_not_allowed(option, text, allowed))
    return sizes[0], sizes[-1]


def _positive(option: str, text: str, allowed: Text, whole: str | None = None) -> float:
    value = 0.0
    with contextlib.suppress(ValueError):
        value = float(text)
    if not 0 < value < math.inf:
        raise UsageError(_not_allowed(option, whole or text, allowed))
    return value


def _not_allowed(option: str, text: str, allowed: Text) -> Text:
    return Text('{option}: "{text}" is not allowed; allowed: {allowed}', option=option, text=text, allowed=allowed)


def output_path(text: str, option: str, endings: tuple[str, ...], *sources: str | Path | None) -> Path:
    """Return the path of an output file; `UsageError` if it cannot be written or is an input."""
    from simtiff.io.files import target_problem

    path = Path(text)
    for source in sources:
        with contextlib.suppress(OSError):
            if source is not None and path.samefile(source):
                raise UsageError(
                    Text("{option}: {path} is the input itself; choose another name", option=option, path=path)
                )
    if not path.name.lower().endswith(endings):
        allowed = Text("{one} or {other}", one=endings[0], other=endings[1]) if len(endings) == 2 else endings[0]
        raise UsageError(Text("{option}: {path} must end in {endings}", option=option, path=path, endings=allowed))
    if (problem := target_problem(path)) is not None:
        raise UsageError(joined([option, str(path), problem], ": "))
    return path
