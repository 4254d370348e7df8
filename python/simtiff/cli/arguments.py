"""The command line: usage, and parsing with a word about what is wrong."""

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

USAGE = """Single-molecule localization microscopy movies with the exact PSF of every place in the field.

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
  demo      Make a first movie and a picture of it, to see that all works; takes a few seconds.
  init      Write a commented config to start from, never replacing a file.
  batch     Make all movies of a config: variables, samples or one job; finished jobs are skipped.
  run       Make one movie: emitters, coefficients, TIFF.
  stream    Make the movie of an existing emitters.h5, chunk by chunk in constant memory.
  export    Write the truth of a movie in another tool's format, and its camera's numbers beside it.
  score     Compare localizations with the truth: how many were found, and how precisely.
  status    Show what a batch has done, how fast it is, and when it will end.
  table     Print a table of all jobs as CSV, or write it: variables, results, paths.
  verify    Check the files of finished jobs, and render some of their frames again.
  clean     List the finished jobs of earlier configs in a folder, and remove them if asked.
  validate  Check a config and its map without running it; count jobs, frames and emitters in a frame.
  schema    Print the JSON schema of the config, for editors.
  camera    List the camera presets, or print one as a block of the config.
  preview   Save a frame of a movie as a PNG, the brightest or a given one.
  zmap      Write the built-in synthetic aberration map, or show what a map holds.

Options:
  --batch-config=FILE  The config, as CONFIG: a batch's or a job's; - reads it from stdin.
  --config=FILE        A job's config, or a batch's base_config (run: default settings without it; else its
                       values replace those of the h5 file's own config); - reads it from stdin.
  --output-dir=DIR     Folder of the results (batch: instead of base_output_dir; run: default "output";
                       demo: default "simtiff_demo").
  --kind=KIND          What the config is for: dstorm, paint, tracking, sweep or training [default: dstorm].
  --max-workers=N      Worker processes, instead of the config's max_workers.
  --no-resume          Make every job again, also finished ones.
  --retry-failed       Only jobs that failed.
  --overwrite          Replace finished jobs of other settings; else these stop the batch.
  --set=KEY=VALUE      Replace a value of the config, such as emitters.frames=5; may be repeated.
  --dry-run            Print what would be done with each job, and all settings, and touch nothing.
  --force              Start even if the disk or the memory seems too small.
  --log-file=FILE      Append what happens as JSON, one object a line: stages, times, memory, errors.
  --shard=I/N          Run only part I of N of the jobs; the other parts may run at once on other machines
                       that share the folder.
  --scheduler=ADDRESS  Run the jobs on the dask cluster of this scheduler (tcp://HOST:8786).
  --quiet              Show only what goes wrong, and the summary.
  --json               Print the score, the status, or with --dry-run the plan, as JSON, with names and
                       errors as they are; the table of the status cuts them to fit 80 columns.
  --frames=N           Frames of each movie to render again and compare [default: 3].
  --mark               Mark the jobs that are wrong, so that the next simtiff batch mends them.
  --yes                Remove what is listed.
  --zmap=FILE          Aberration map (HDF5), or builtin:oil, instead of the config's zmap_path.
  --skip-emitters      Keep the emitters of the emitters.h5 that is in the output folder.
  --skip-zernike       Keep its coefficients.
  --skip-tiff          Make no movie.
  --truth              Mark the emitters that shine in the frame: of the emitters.h5 beside the movie.
  --h5=FILE            The emitters.h5 to render; with preview, the one to mark the emitters of.
  --output=FILE        The movie (.tif, .tiff), the picture (.png), the table (.csv, .parquet) or the export
                       (.csv, .hdf5, .h5 or .parquet, as its format has it) to write.
  --format=NAME        thunderstorm, picasso, decode, smlm-challenge or parquet.
  --radius=NM          How far an emitter and its localization may be apart, in the plane [default: 250].
  --dz=NM              And along z, where both have one [default: 500].
  --pixel-size=NM      Size of a pixel, or x,y, where no file says it.
  --frame=N            Frame to show, from 0; without it the brightest of up to 32 evenly spread frames.
  --chunk-size=N       Frames rendered and written at a time.
  --size=N             Side of the map in pixels [default: 256].
  --seed=N             Seed of the map [default: 0].
  --plot=PNG           Save pictures of the coefficient planes, or of the score.
  --verbose            Show every stage of every job, and add the traceback to an error.
  --version            Print the version.
  -h, --help           Print this help.

Underscores may stand for hyphens: --max_workers, --no_resume, --chunk_size.
Exit codes: 0 all done, 1 a job failed (verify: something is wrong), 2 command line, config or input is wrong,
130 interrupted.
"""


class UsageError(SimtiffError):
    """The command line is wrong; the message says what, and what was probably meant."""


def _usage_lines() -> dict[str, str]:
    """Return each command's usage, with the option values' names: from ``batch`` to its line of `USAGE`."""
    block = USAGE.split("Usage:\n")[1].split("\n\n", maxsplit=1)[0]
    lines = [" ".join(part.split()) for part in re.split(r"\n  (?=simtiff )", "\n" + block) if part.strip()]
    usage: dict[str, str] = {}
    for line in lines:
        words = line.split()
        name = " ".join(words[1:3]) if words[1] == "zmap" else words[1]
        usage[name] = line
    return usage


def parse_arguments(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the command (``batch``, ``zmap info``, ...) and its arguments as docopt names them.

    Raises
    ------
    UsageError
        If the arguments fit no usage; with the nearest command or option for a misspelt one.
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
        raise UsageError(Text("the arguments do not fit; usage: {usage}", usage=line)) from None
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
        problem = Text("zmap needs a second word")
        if second:
            problem = Text('unknown command "{word}"', word=f"zmap {second}")
        raise UsageError(_with_nearest(problem, second, second_words))
    return f"zmap {second}"


def _check_options(words: Sequence[str], command: str, takes_value: dict[str, bool]) -> None:
    # docopt would guess at misspelt options; a guess that starts hours of work must be refused.
    position = 0
    given: set[str] = set()
    while position < len(words) and words[position] != "--":
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "-":
            continue
        name, equals, _ = word.partition("=")
        if name not in takes_value:
            problem = Text('simtiff {command} has no option "{option}"', command=command, option=name)
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
    """Return what is wrong with a word, and what was probably meant, or what is allowed."""
    matches = difflib.get_close_matches(word[:200].lower(), valid, n=1, cutoff=0.6)
    if matches:
        return Text('{problem}; did you mean "{match}"?', problem=problem, match=matches[0])
    if valid:
        return Text("{problem}; allowed: {allowed}", problem=problem, allowed=", ".join(valid))
    return Text("{problem}; it takes no options", problem=problem)


def whole_number(arguments: dict[str, Any], option: str, low: int, high: int) -> int | None:
    """Return an option's value as an integer from `low` to `high`, or None where it is not given."""
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
    """Return the value of an option that has a default as a number above 0."""
    return _positive(option, arguments[option], Text("a number above 0"))


def pixel_size(arguments: dict[str, Any], option: str) -> tuple[float, float] | None:
    """Return an option's value, one number or ``x,y``, as a size along x and y; None where it is not given."""
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
    """Return the path of a file to write; `UsageError` if it cannot be written or is an input itself."""
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
