"""Garbage in: an answer, or an error of the package that says what is wrong. `make fuzz` tries many more cases.

Never a panic, an abort, a hang, another exception, a traceback, or half a file.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from batch_helpers import TINY_JOB, config
from fuzzing import assert_answered, bounded, damage_hdf5, fuzz, json_values, memory_limited, mutate_bytes, run
from simtiff.aberrations.synthetic import synthesize
from simtiff.batch.run import run_batch
from simtiff.config.loading import json_schema, load_batch_config, load_job_config
from simtiff.config.names import name_problem
from simtiff.config.sweeps import expand_jobs
from simtiff.errors import ConfigError
from simtiff.io.tiff import write_movie
from simtiff.movie.job import run_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def limited() -> Iterator[None]:
    with memory_limited():
        yield


# Configs


def values_of(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a part of the JSON schema allows, its limits and a little beyond among them."""
    if "$ref" in schema:
        return values_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([values_of(part, definitions) for part in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    usual = schema.get("default")
    match schema.get("type"):
        case "integer":
            near = [v for v in (low, high, low and low - 1, high and high + 1, usual, 3) if v is not None]
            return st.sampled_from(near) | st.integers(low, high)
        case "number":
            near = [v for v in (low, high, usual, 2.5) if v is not None]
            return st.sampled_from(near) | st.floats(low, high)
        case "boolean":
            return st.booleans()
        case "string":
            return st.sampled_from([usual or "a", "builtin:oil", "a.tif", "../a.tif", "s_{sample_id:02d}"]) | st.text(
                max_size=9
            )
        case "array":
            items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
            return st.lists(values_of(items, definitions), max_size=3)
        case "object":
            properties = schema.get("properties", {})
            parts = {name: values_of(part, definitions) for name, part in properties.items()}
            required = {name: parts[name] for name in schema.get("required", ()) if name in parts}
            return st.fixed_dictionaries(required, optional={k: v for k, v in parts.items() if k not in required})
        case "null":
            return st.none()
    return json_values


SCHEMA = json_schema()
CONFIGS = values_of(SCHEMA["$defs"]["BatchConfig"], SCHEMA["$defs"])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@fuzz
@given(CONFIGS, st.lists(st.tuples(seeds, json_values), max_size=2))
def test_configs_are_jobs_or_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: Any, changes: list[tuple[int, Any]]
) -> None:
    for seed, value in changes:
        path = random.Random(seed).choice(list(places(content)))
        content = replaced(content, path, value)
    check_config(tmp_path_factory, json.dumps(content))


@fuzz
@given(CONFIGS, seeds)
def test_damaged_texts_are_configs_or_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: Any, seed: int
) -> None:
    chance = random.Random(seed)
    text = json.dumps(content)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(text) + 1)
        insert = chance.choice(
            ["", "{", "}", "[", '"', ",", ":", "//", "/*", "'", "1e999", "\\u", "NaN", "-", "\0", "\n"]
        )
        text = text[:place] + insert + text[place + chance.randrange(3) :]
    check_config(tmp_path_factory, text)


def often(usual: float, low: float, high: float) -> st.SearchStrategy[float]:
    """Draw a usual number, one of the limits, or any between them."""
    return st.sampled_from([usual, usual, low, high]) | st.floats(low, high)


VALID = st.fixed_dictionaries(
    {
        "emitters": st.fixed_dictionaries(
            {
                "num_emitters": st.sampled_from([0, 1, 40, 300]),
                "frames": st.sampled_from([1, 2]),
                "area_px": st.sampled_from([1, 20.5, 64, 300]),
                "intensity_mu": st.sampled_from([0, 1e-3, 2000, 1e9]),
                "intensity_sigma": st.sampled_from([0, 400, 1e9]),
                "lifetime_avg": often(2.5, 1e-3, 1e7),
                "z_range_um": often(1, 0, 60),
                "seed": st.integers(0, 2**63 - 1),
            }
        ),
        "optical": st.fixed_dictionaries(
            {
                "wavelength_nm": often(660, 100, 5000),
                "NA": often(1.4, 1e-3, 1.5),
                "n_immersion": st.sampled_from([1.518, 1.518, 1.33, 5]),
                "pixel_size_nm_x": often(100, 1, 5000),
                "pixel_size_nm_y": often(100, 1, 5000),
            }
        ),
        "psf": st.fixed_dictionaries(
            {
                "size_px": st.sampled_from([3, 21, 41]),
                "defocus": st.sampled_from(["exact", "paraxial"]),
                "pixel_integration": st.booleans(),
            }
        ),
        "tiff": st.fixed_dictionaries(
            {
                "roi_size": st.sampled_from([1, 3, 40]),
                "crop_offset": st.sampled_from([[0, 0], [-2, 0], [0, 5]]),
                "add_noise": st.booleans(),
                "dtype": st.sampled_from(["uint16", "float32"]),
                "noise_params": st.fixed_dictionaries(
                    {"background": often(100, 0, 1e9), "readout_noise": often(10, 0, 1e6), "shot_noise": st.booleans()}
                ),
            }
        ),
    }
)


@fuzz
@given(VALID)
def test_a_valid_config_does_not_fail_for_its_numbers(content: dict[str, Any]) -> None:
    """What a config may say, up to the limits, is rendered: far out of focus, very bright, with large pixels."""
    try:
        sim = simtiff.Simulation({"zmap_path": "builtin:oil"} | content)
    except ConfigError:
        return
    frames = sim.frames(0, sim.shape[0])
    assert frames.shape == sim.shape
    assert np.isfinite(frames).all()


def test_defocus_at_the_limit_is_rendered_with_aberrations() -> None:
    content = {"zmap_path": "builtin:oil", "tiff": {"roi_size": 40}, "psf": {"size_px": 21}}
    emitters = {"num_emitters": 20_000, "frames": 1, "area_px": 40, "z_range_um": 1000}
    with pytest.raises(ConfigError, match="up to about") as caught:
        simtiff.Simulation(content | {"emitters": emitters})
    most = float(str(caught.value).rpartition("up to about ")[2].split()[0])
    for z_um in (most, 0.999 * most):
        try:
            sim = simtiff.Simulation(content | {"emitters": emitters | {"z_range_um": z_um}})
        except ConfigError:
            continue  # the message gives three digits
        assert sim.frames(0, 1).any()
    assert np.abs(sim.emitters.xyz[:, 2]).max() > 0.998 * most


def check_config(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with bounded():
        message, jobs = None, []
        try:
            jobs = expand_jobs(load_batch_config(path))
        except ConfigError as error:
            message = str(error)
    assert message is None or str(path) in message
    assert len({job.id.lower() for job in jobs}) == len(jobs)
    for made in jobs:
        assert name_problem(made.id) is None
        assert name_problem(made.config.tiff.filename) is None


WORDS = ["validate", "batch", "status", "verify", "preview", "stream", "run", "zmap", "info", "schema"]
OPTIONS = ["--set", "--set=", "--json", "-h", "--dry-run", "--verbose", "--h5=x", "--output=y", "--zmap=builtin:oil"]
OPTIONS += ["--max-workers=", "--output-dir", "--force", "--log-file", "c.json", "emitters.frames=", "="]


@fuzz
@given(
    st.lists(
        st.sampled_from(WORDS + OPTIONS) | st.text(st.characters(exclude_characters="/\\"), max_size=5), max_size=6
    )
)
def test_command_lines_are_answered(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    if "run" in words:
        words = [*words, "--skip-tiff", "--skip-zernike"]  # nothing there to skip to: refused before it computes
    with contextlib.chdir(tmp_path_factory.mktemp("empty", numbered=True)):
        if "--verbose" not in words:
            assert_answered(run(*words))


# Files


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    run_job(load_job_config(TINY_JOB), folder)
    return folder / "emitters.h5"


@pytest.fixture(scope="module")
def zmap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zmap") / "map.h5"
    synthesize(path, size=40)
    return path


@fuzz
@given(seeds)
def test_truth_files_give_a_movie_or_an_error(tmp_path_factory: pytest.TempPathFactory, truth: Path, seed: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "stream"
    folder.mkdir(exist_ok=True)
    path, movie = folder / "fuzz.h5", folder / "movie.tiff"
    damage_hdf5(path, truth.read_bytes(), random.Random(seed))
    answer = run("stream", f"--h5={path}", f"--output={movie}")
    assert_answered(answer, str(path))
    assert movie.exists() == (answer[0] == 0)
    movie.unlink(missing_ok=True)
    assert [left.name for left in folder.iterdir()] == ["fuzz.h5"]


@fuzz
@given(seeds)
def test_maps_give_a_job_or_an_error(tmp_path_factory: pytest.TempPathFactory, zmap: Path, seed: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "mapped"
    folder.mkdir(exist_ok=True)
    path = folder / "fuzz.h5"
    damage_hdf5(path, zmap.read_bytes(), random.Random(seed))
    assert_answered(run("zmap", "info", path), str(path))
    settings = {
        "emitters": {"num_emitters": 5, "frames": 1, "area_px": 32},
        "tiff": {"roi_size": 8},
        "psf": {"size_px": 7},
    }
    (folder / "job.json").write_text(json.dumps(settings))
    answer = run("run", f"--zmap={path}", f"--config={folder / 'job.json'}", f"--output-dir={folder / 'out'}")
    assert_answered(answer, "fuzz.h5" if answer[0] == 2 else "")
    left = sorted(item.name for item in (folder / "out").iterdir()) if (folder / "out").exists() else []
    if answer[0] == 0:
        assert left == ["emitters.h5", "simulation.ome.tiff"]
    else:
        assert not [name for name in left if name.startswith(".") or name.endswith(".tiff")]
    for name in left:
        (folder / "out" / name).unlink()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished")
    run_batch(config(), output_dir=output, max_workers=1, progress=False)
    return output


@fuzz
@given(seeds, json_values)
def test_status_files_are_read_or_refused(finished: Path, seed: int, value: Any) -> None:
    path, chance = finished / "batch_status.json", random.Random(seed)
    good = path.read_bytes()
    try:
        if chance.random() < 0.5:
            path.write_bytes(mutate_bytes(good, chance))
        else:
            content = json.loads(good)
            path.write_text(json.dumps(replaced(content, chance.choice(list(places(content))), value)))
        for words in (("status", finished), ("status", finished, "--json"), ("verify", finished)):
            assert_answered(run(*words))
    finally:
        path.write_bytes(good)


@fuzz
@given(seeds)
def test_movies_give_a_picture_or_an_error(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """A damaged TIFF: the first words on stderr are ours, not those of the library that reads it."""
    folder = tmp_path_factory.mktemp("preview")
    chance = random.Random(seed)
    pixels = np.random.default_rng(seed).integers(0, 999, (3, 20, 20), np.uint16)
    movie = folder / "movie.tif"
    write_movie(movie, [pixels], pixels.shape, pixels.dtype, pixel_size_um=(0.1, 0.1))
    data = bytearray(movie.read_bytes())
    for _ in range(chance.choice([1, 2, 4])):
        place = chance.choice([chance.randrange(300), chance.randrange(1600), chance.randrange(len(data))])
        place = min(place, len(data) - 9)
        if chance.random() < 0.5:
            data[place] = chance.randrange(256)
        else:
            wild = chance.choice([0, 1, 2**31, 2**32 - 1, 2**30, 8])
            data[place : place + 4] = wild.to_bytes(4, "little")
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    movie.write_bytes(data)
    code, out, err = run("preview", movie)
    assert_answered((code, out, err), "movie.tif")
    assert not err or err.startswith("simtiff: "), err
    assert {path.name for path in folder.iterdir()} == ({"movie.tif"} if code else {"movie.tif", "movie.tif.png"})
