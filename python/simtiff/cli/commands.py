"""The commands of ``simtiff``: see `USAGE`.

Each command imports what it needs when it runs, so that ``simtiff --help`` is fast. Only results are written to
stdout; errors are written to stderr as one readable block.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtiff.cli.arguments import UsageError, output_path, whole_number
from simtiff.cli.exchange import export, score
from simtiff.cli.start import demo, init
from simtiff.cli.terminal import DONE, print_text
from simtiff.errors import SimtiffError
from simtiff.language import Text, joined, plural, shown, tr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simtiff.cli.terminal import CountingLine
    from simtiff.config.identity import Job
    from simtiff.config.settings import BatchConfig, JobConfig
    from simtiff.movie.events import Event

Arguments = dict[str, Any]


def _batch(arguments: Arguments) -> int:
    workers = whole_number(arguments, "--max-workers", 1, 1024)

    from simtiff.config.loading import load_batch_config

    output_dir = _output_dir(arguments)
    overrides = list(arguments["--set"])
    config = load_batch_config(arguments["CONFIG"] or arguments["--batch-config"], overrides)
    if arguments["--json"] and not arguments["--dry-run"]:
        raise UsageError(Text("--json needs --dry-run: it prints the plan"))
    if arguments["--dry-run"]:
        print_text(_dry_run(config, output_dir or config.base_output_dir, arguments))
        return DONE

    from simtiff.batch.cluster import connected
    from simtiff.batch.display import display
    from simtiff.batch.run import run_batch

    address = arguments["--scheduler"]
    with connected(address) if address is not None else contextlib.nullcontext() as cluster:
        summary = run_batch(
            config,
            output_dir=output_dir,
            max_workers=workers,
            resume=not arguments["--no-resume"],
            retry_failed=arguments["--retry-failed"],
            overwrite=arguments["--overwrite"],
            progress=display(verbose=arguments["--verbose"], quiet=arguments["--quiet"]),
            force=arguments["--force"],
            log_file=arguments["--log-file"],
            shard=arguments["--shard"],
            executor=cluster,
        )
    print_text(str(summary))
    if summary.interrupted:
        raise KeyboardInterrupt
    return summary.exit_code


def _dry_run(config: BatchConfig, output_dir: str, arguments: Arguments) -> str:
    import json

    from simtiff.batch.run import plan_batch
    from simtiff.config.identity import split_settings
    from simtiff.movie.estimate import pixel_size_note, show_emitters, unused_note

    plan = plan_batch(
        config,
        Path(output_dir).absolute(),
        resume=not arguments["--no-resume"],
        retry_failed=arguments["--retry-failed"],
        shard=arguments["--shard"],
    )
    if arguments["--json"]:
        return json.dumps(plan.as_dict(), indent=1, ensure_ascii=False)
    jobs = list(plan.jobs.values())
    shared, varied = split_settings(jobs)
    totals = _totals(jobs)
    lines = [
        tr("{source}: {totals}, to be written to {folder}", source=config.source, totals=totals, folder=output_dir)
    ]
    lines.append(shown(show_emitters([job.config for job in jobs])))
    notes = (note([job.config for job in jobs]) for note in (pixel_size_note, unused_note))
    lines += [tr("note: {note}", note=note) for note in notes if note is not None]
    lines += [*map(shown, plan.found.notes), *plan.lines()]
    if plan.counts()["replace"] and not (arguments["--overwrite"] or arguments["--no-resume"]):
        lines.append(tr("a run would stop here: it replaces finished jobs only with --overwrite"))
    lines.append(tr("settings of each job:"))
    for job, settings in zip(jobs, varied, strict=True):
        texts = "  ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items())
        lines.append(f"  {job.id}" + (f"  {texts}" if texts else ""))
    lines.append(tr("settings of all jobs:"))
    lines += [f"  {key}={json.dumps(value, ensure_ascii=False)}" for key, value in shared.items()]
    return "\n".join(lines)


def _totals(jobs: Sequence[Job]) -> Text:
    """Return the number of jobs and frames and the size of all movies, as text."""
    from simtiff.movie.estimate import pixel_bytes, show_bytes

    frames = sum(job.config.emitters.frames for job in jobs)
    size = sum(
        job.config.emitters.frames * math.prod(job.config.tiff.frame_shape) * pixel_bytes(job.config) for job in jobs
    )
    return plural(
        "{n:,} job, {frames:,} frames, {size} of uncompressed movies",
        "{n:,} jobs, {frames:,} frames, {size} of uncompressed movies",
        len(jobs),
        frames=frames,
        size=show_bytes(size),
    )


def _pipeline(arguments: Arguments) -> int:
    from simtiff.batch.inputs import check_inputs
    from simtiff.batch.pipeline import run_pipeline
    from simtiff.batch.shards import lock_name
    from simtiff.config.identity import Job, job_files
    from simtiff.config.inputs import input_paths
    from simtiff.config.loading import load_job_config
    from simtiff.emitters.given import with_frames
    from simtiff.io.files import refuse_overwriting
    from simtiff.movie.estimate import pixel_size_note
    from simtiff.movie.events import Message

    output_dir = Path(_output_dir(arguments) or "output")
    overrides = list(arguments["--set"])
    if not (arguments["--zmap"] or arguments["--config"] or overrides):
        raise UsageError(Text("simtiff run needs an aberration map: --zmap=FILE, or --config=FILE with a zmap_path"))
    config = with_frames(load_job_config(arguments["--config"] or {}, overrides, zmap_path=arguments["--zmap"]))
    notes = [note for note in [pixel_size_note([config])] if note is not None]
    if not arguments["--skip-zernike"]:
        named = "--zmap" if arguments["--zmap"] else "zmap_path"
        notes += check_inputs([Job("", config)], keep=True, named=named)
    if not arguments["--skip-tiff"]:
        from simtiff.aberrations.maps import map_under
        from simtiff.movie.estimate import check_disk

        keeps_truth = arguments["--skip-emitters"] or arguments["--skip-zernike"]
        truth = None if keeps_truth else map_under(config)
        check_disk(config, output_dir, truth=truth, replaces=output_dir / config.tiff.filename)
    refuse_overwriting(
        (output_dir / name for name in (*job_files(config), lock_name(None))),
        [arguments["--config"] or "", *input_paths(config).values()],
    )
    with _counting_line() as watch:
        for note in notes:
            watch(Message(Text("note: {note}", note=note)))
        files = run_pipeline(
            config,
            output_dir,
            watch,
            skip_emitters=arguments["--skip-emitters"],
            skip_zernike=arguments["--skip-zernike"],
            skip_tiff=arguments["--skip-tiff"],
        )
    print_text("\n".join(map(str, files)))
    return DONE


def _stream(arguments: Arguments) -> int:
    chunk_size = whole_number(arguments, "--chunk-size", 1, 10**7)
    h5 = Path(arguments["--h5"])
    output = output_path(arguments["--output"], "--output", (".tif", ".tiff"), h5, arguments["--config"])

    from simtiff.config.loading import load_job_config
    from simtiff.movie.job import stream_movie
    from simtiff.movie.truthfile import stored_config

    config = None
    if arguments["--config"]:
        config = load_job_config(arguments["--config"], needs_zmap=False, otherwise=stored_config(h5))
    with _counting_line() as watch:
        stream_movie(h5, output, config, chunk_size, watch)
    print_text(str(output))
    return DONE


def _counting_line() -> CountingLine:
    import gc

    from simtiff.cli.terminal import CountingLine

    gc.freeze()  # imported objects are permanent, so the garbage collector can skip them
    return CountingLine()


def _output_dir(arguments: Arguments) -> str | None:
    """Return the output folder, if given; `UsageError` if its name is not allowed."""
    from simtiff.config.names import folder_problem

    folder: str | None = arguments["--output-dir"]
    if folder and (problem := folder_problem(folder)) is not None:
        text = Text('{option}: "{folder}" {problem}', option="--output-dir", folder=folder, problem=problem)
        if folder.startswith("~"):
            hint = Text("(the shell expands it in --output-dir ~/out, without quotes)")
            raise UsageError(joined([text, hint], " "))
        raise UsageError(text)
    return folder


def _status(arguments: Arguments) -> int:
    from simtiff.batch.overview import Overview

    overview = Overview(Path(arguments["DIR"]))
    print_text(overview.as_json() if arguments["--json"] else str(overview))
    return DONE


def _table(arguments: Arguments) -> int:
    output = arguments["--output"]
    path = output_path(output, "--output", (".csv", ".parquet")) if output else None

    from simtiff.batch.table import JobTable

    table = JobTable.of(arguments["DIR"])
    if path is None:
        print_text(table.as_csv().rstrip("\n"))
    else:
        table.write(path)
        print_text(str(path))
    return DONE


def _verify(arguments: Arguments) -> int:
    frames = whole_number(arguments, "--frames", 0, 10**7)

    from simtiff.batch.verify import Checked, verify_batch

    with _counting_line() as line:

        def watch(event: Event) -> None:
            if isinstance(event, Checked):
                line.clear()  # the counting line stays below the results
                print_text(str(event.check))
            else:
                line(event)

        found = verify_batch(Path(arguments["DIR"]), frames or 0, watch, mark=arguments["--mark"])
    print_text(str(found))
    return found.exit_code


def _clean(arguments: Arguments) -> int:
    from simtiff.batch.clean import clean_folder

    print_text(str(clean_folder(Path(arguments["DIR"]), remove=arguments["--yes"])))
    return DONE


def _validate(arguments: Arguments) -> int:
    from simtiff.batch.inputs import check_inputs, jobs_of
    from simtiff.config.loading import load_batch_config
    from simtiff.movie.camera import camera_notes
    from simtiff.movie.estimate import light_note, pixel_size_note, show_emitters, unused_note
    from simtiff.movie.light import structure_note

    batch = load_batch_config(arguments["CONFIG"], list(arguments["--set"]))
    jobs = jobs_of(batch)
    notes: list[str | None] = [*check_inputs(jobs, batch)]
    if any(_reaches_beyond_field(job.config) for job in jobs):
        notes.append(Text("frames reach beyond the field of view (emitters.area_px) and show background there"))
    configs = [job.config for job in jobs]
    notes += [note(configs) for note in (pixel_size_note, unused_note, light_note, structure_note)]
    notes += camera_notes(configs)
    lines = [tr("{source}: valid; {totals}", source=batch.source, totals=_totals(jobs))]
    lines.append(shown(show_emitters([job.config for job in jobs])))
    lines += [tr("note: {note}", note=note) for note in notes if note is not None]
    print_text("\n".join(lines))
    return DONE


def _reaches_beyond_field(config: JobConfig) -> bool:
    tiff = config.tiff
    sides = zip(tiff.crop_offset, tiff.frame_shape[::-1], config.emitters.area, strict=True)
    return any(offset < 0 or offset + size > area for offset, size, area in sides)


def _schema(_arguments: Arguments) -> int:
    import json

    from simtiff.config.loading import json_schema

    print_text(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return DONE


def _camera(arguments: Arguments) -> int:
    import json

    from simtiff.config.presets import CAMERA_PRESETS

    name = arguments["PRESET"]
    if name is None:
        print_text("\n".join(_preset_table()))
        return DONE
    if name not in CAMERA_PRESETS:
        names = ", ".join(CAMERA_PRESETS)
        raise UsageError(Text('unknown camera preset "{name}"; allowed: {names}', name=name, names=names))
    preset = CAMERA_PRESETS[name]
    block = {"_note": f"{preset.model}: {preset.source}", **preset.settings}
    print_text(json.dumps({"camera": block}, indent=2, ensure_ascii=False))
    return DONE


def _preset_table() -> list[str]:
    """Return the lines of a table of all camera presets."""
    from simtiff.batch.text import aligned
    from simtiff.config.camera import CameraConfig
    from simtiff.config.presets import CAMERA_PRESETS

    keys = ("quantum_efficiency", "em_gain", "read_noise_e", "e_per_adu", "offset_adu", "full_well_e")
    rows = []
    for name, preset in CAMERA_PRESETS.items():
        camera = CameraConfig(preset=name)
        numbers = [getattr(camera, key) for key in keys]
        rows.append([name, *("-" if number is None else f"{number:g}" for number in numbers), preset.model])
    return aligned(("preset", *keys, "model"), rows, left={"preset", "model"})


def _preview(arguments: Arguments) -> int:
    frame = whole_number(arguments, "--frame", 0, 10**7)

    from simtiff.config.identity import TRUTH_NAME
    from simtiff.config.loading import load_job_config
    from simtiff.movie.preview import preview
    from simtiff.movie.truthfile import stored_config

    tiff = Path(arguments["TIFF"])
    output = arguments["--output"]
    png = output_path(output, "--output", (".png",), tiff) if output else Path(f"{tiff}.png")
    h5 = tiff.with_name(TRUTH_NAME) if arguments["--truth"] else arguments["--h5"]
    config = None
    if arguments["--config"]:
        if not h5:
            raise UsageError(Text("--config needs --truth or --h5: it sets the position of the frame in the field"))
        config = load_job_config(arguments["--config"], needs_zmap=False, otherwise=stored_config(h5))
    preview(tiff, png, frame, truth=h5 or False, config=config)
    print_text(str(png))
    return DONE


def _zmap_synth(arguments: Arguments) -> int:
    size = whole_number(arguments, "--size", 1, 8192)
    seed = whole_number(arguments, "--seed", 0, 2**63 - 1)
    out = output_path(arguments["OUT"], "OUT", ("",))

    from simtiff.aberrations.synthetic import synthesize

    _refuse_measured(out)
    synthesize(out, size=size or 256, seed=seed or 0)
    print_text(str(out))
    return DONE


def _refuse_measured(out: Path) -> None:
    """Refuse to replace anything but an earlier synthetic map: a measured map cannot be regenerated."""
    from simtiff.io.hdf5 import attribute, open_hdf5

    if not out.exists() or (out.is_file() and out.stat().st_size == 0):
        return
    with contextlib.suppress(SimtiffError), open_hdf5(out) as file:
        if attribute(file, "source") == "simtiff zmap synth":
            return
    text = Text("{path}: exists and is not a synthetic map; choose another name or remove it first", path=out)
    raise UsageError(text)


def _zmap_info(arguments: Arguments) -> int:
    if arguments["--plot"]:
        output_path(arguments["--plot"], "--plot", (".png",), Path(arguments["FILE"]))

    from simtiff.aberrations.info import map_info
    from simtiff.batch.text import aligned

    info = map_info(arguments["FILE"])
    height, width = info.shape
    about = Text(
        "{name}: {modes} modes, {width} x {height} px, stored in {unit}",
        name=info.name,
        modes=info.modes,
        width=width,
        height=height,
        unit=info.unit,
    )
    if info.wavelength_nm:
        about = Text("{map}, wavelength {wavelength:g} nm", map=about, wavelength=info.wavelength_nm)
    if info.NA:
        about = Text("{map}, NA {NA:g}", map=about, NA=info.NA)
    low, mean, high = info.total_mw
    figures = (Text("mean"), Text("std"), Text("min"), Text("max"))
    head = ("Noll", Text("mode"), *(joined([name, unit], " ") for unit in ("mλ", "rad") for name in figures))
    rows = []
    for row in info.rows:
        milliwaves = [f"{value:.2f}" for value in (row.mean_mw, row.std_mw, row.low_mw, row.high_mw)]
        radians = [f"{value:.4f}" for value in (row.mean, row.std, row.low, row.high)]
        rows.append([str(row.noll), row.name, *milliwaves, *radians])
    lines = [
        shown(about),
        tr(
            "total from Noll 4 on: {mean:.1f} milliwaves rms (from {low:.1f} to {high:.1f} over the field)",
            mean=mean,
            low=low,
            high=high,
        ),
        *map(shown, info.notes),
        *aligned(head, rows, left={"mode"}),
    ]
    if arguments["--plot"]:
        from simtiff.movie.mapplot import plot_map

        plot_map(arguments["FILE"], arguments["--plot"])
        lines.append(arguments["--plot"])
    print_text("\n".join(lines))
    return DONE


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "demo": demo,
    "init": init,
    "batch": _batch,
    "run": _pipeline,
    "stream": _stream,
    "export": export,
    "score": score,
    "status": _status,
    "table": _table,
    "verify": _verify,
    "clean": _clean,
    "validate": _validate,
    "schema": _schema,
    "camera": _camera,
    "preview": _preview,
    "zmap synth": _zmap_synth,
    "zmap info": _zmap_info,
}
