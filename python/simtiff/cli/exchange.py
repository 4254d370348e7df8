"""The commands ``simtiff export`` and ``simtiff score``: export the truth, score localizations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.cli.arguments import UsageError, output_path, pixel_size, positive_number
from simtiff.cli.terminal import DONE, print_text
from simtiff.language import Text

if TYPE_CHECKING:
    from simtiff.config.settings import JobConfig


def export(arguments: dict[str, Any]) -> int:
    """Export the truth of a movie to the format of other software, and print the files."""
    from simtiff.config.exports import EXPORT_NAMES

    h5, kind = Path(arguments["EMITTERS"]), arguments["--format"]
    if kind not in EXPORT_NAMES:
        names = ", ".join(EXPORT_NAMES)
        raise UsageError(Text('--format: "{name}" is not allowed; allowed: {names}', name=kind, names=names))

    from simtiff.localizations.registry import format_named
    from simtiff.movie.export import export_truth

    suffix = format_named(kind).suffix
    output = output_path(arguments["--output"], "--output", (suffix,), h5, arguments["--config"])
    made = export_truth(h5, kind, output, _config(arguments, h5))
    print_text("\n".join(map(str, made.files)))
    return DONE


def score(arguments: dict[str, Any]) -> int:
    """Score localizations and print the result."""
    truth, found = Path(arguments["TRUTH"]), Path(arguments["LOCS"])
    size = pixel_size(arguments, "--pixel-size")
    radius, dz = positive_number(arguments, "--radius"), positive_number(arguments, "--dz")
    png = arguments["--plot"]
    if png:
        png = output_path(png, "--plot", (".png",), truth, found)

    from simtiff.movie.scores import score_files

    result = score_files(truth, found, radius, dz, pixel_size_nm=size, config=_config(arguments, truth))
    if arguments["--json"]:
        import json

        print_text(json.dumps(result.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        from simtiff.cli.scoretable import score_lines

        print_text("\n".join(score_lines(result)))
    if png:
        from simtiff.movie.scoreplot import plot_score

        plot_score(result, png)
        if not arguments["--json"]:
            print_text(str(png))
    return DONE


def _config(arguments: dict[str, Any], h5: Path) -> JobConfig | None:
    """Return the config given with ``--config``, if any; unset values are taken from the truth file."""
    if not arguments["--config"]:
        return None

    from simtiff.config.loading import load_job_config
    from simtiff.movie.truthfile import stored_config

    return load_job_config(arguments["--config"], needs_zmap=False, otherwise=stored_config(h5))
