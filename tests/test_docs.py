"""The documentation says what the program does: examples run, tables match the schema, links lead somewhere."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

import simtiff
from simtiff.batch.room import estimate_batch
from simtiff.cli import process as cli
from simtiff.cli.arguments import USAGE, parse_arguments
from simtiff.config.loading import load_batch_config, load_job_config
from simtiff.config.sweeps import expand_jobs
from simtiff.config.text import parse_config_text
from simtiff.emitters.density import all_emitters
from simtiff.language import speaking
from simtiff.movie.estimate import held_light

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
GUIDES = ("docs/guide.md", "docs/guide.zh-CN.md")
MODELS = ("docs/explanation/models.md", "docs/explanation/models.zh-CN.md")
CAMERAS = ("docs/explanation/cameras.md", "docs/explanation/cameras.zh-CN.md")
EMITTERS = ("docs/explanation/emitters.md", "docs/explanation/emitters.zh-CN.md")
EXCHANGE = ("docs/explanation/exchange.md", "docs/explanation/exchange.zh-CN.md")
TRAINING = ("docs/explanation/training.md", "docs/explanation/training.zh-CN.md")
PERFORMANCE = ("docs/explanation/performance.md", "docs/explanation/performance.zh-CN.md")
RELIABILITY = ("docs/explanation/reliability.md", "docs/explanation/reliability.zh-CN.md")
PAGES = (*READMES, *GUIDES, *MODELS, *CAMERAS, *EMITTERS, *EXCHANGE, *TRAINING)
SITE = tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
ALL_PAGES = (*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", *SITE)
TWINS = [(page, page.removesuffix(".md") + ".zh-CN.md") for page in (READMES[0], *SITE) if ".zh-CN." not in page]
COMMANDS = sorted(re.findall(r"^  simtiff ((?:zmap )?[a-z]+)", USAGE, flags=re.MULTILINE))


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```", text(page), flags=re.DOTALL | re.MULTILINE)


def prose(page: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)


def command_lines(page: str) -> list[str]:
    """Return the page's command lines: those of its blocks, and those inside sentences."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(simtiff [^`]+)`", prose(page))
    return [line for line in lines if line.startswith("simtiff ")]


def sections(page: str) -> list[dict[str, Any]]:
    """Return the page's configs; a block that is a part of one (``"variables": {...}``) is completed."""
    found = []
    for block in blocks(page, "json"):
        whole = block if block.lstrip().startswith(("{", "//")) else f"{{{block}}}"
        content = parse_config_text(whole, page)
        if content.keys() <= {"variables", "sample_configs", "max_workers"}:
            content = {"base_config": {"zmap_path": "builtin:oil"}} | content
        found.append(content)
    return found


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if "/how-to/" not in page])  # those are run
def test_configs_load(page: str) -> None:
    configs = sections(page)
    assert configs or page not in PAGES
    for content in configs:
        if "base_config" in content:
            assert expand_jobs(load_batch_config(content))
        else:
            load_job_config(content, needs_zmap=False)


@pytest.mark.parametrize("page", ALL_PAGES)
def test_command_lines_are_the_program_s(page: str) -> None:
    lines = command_lines(page)
    assert lines or page not in PAGES
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if " ".join(words) not in {*COMMANDS, "--help"}:
            parse_arguments(words)


@pytest.mark.parametrize("page", READMES)
def test_the_tour_works(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in the tour is run as it stands there, in one folder."""
    monkeypatch.chdir(tmp_path)
    tour = text(page).partition("<!-- tour -->")[2].partition("<!-- end of tour -->")[0]
    commands = run_blocks(tour, page, "study.json")
    assert commands >= 6
    assert len(list(Path("study").glob("job_*/simulation.ome.tiff"))) == 4
    assert Path("frame.png").read_bytes().startswith(b"\x89PNG")


def run_blocks(part: str, page: str, config: str) -> int:
    """Run what a part of a page shows, in the current folder, with its config; return the number of commands."""
    commands = 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", part, flags=re.DOTALL | re.MULTILINE):
        match language:
            case "json":
                Path(config).write_text(block, encoding="utf-8")
            case "bash":
                for line in block.splitlines():
                    assert line.startswith("simtiff "), line
                    with redirect_stdout(io.StringIO()):
                        assert cli.main(shlex.split(line, comments=True)[1:]) == 0, line
                    commands += 1
            case "python":
                exec(compile(block, page, "exec"), {})
    return commands


@pytest.mark.parametrize("page", GUIDES)
def test_your_own_emitters_make_movies(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest file is written, streamed and simulated as the guide shows it, and serves `run`, too."""
    monkeypatch.chdir(tmp_path)
    part = text(page).partition("<!-- own emitters -->")[2].partition("<!-- end of own emitters -->")[0]
    assert run_blocks(part, page, "mine.json") == 1
    assert tifffile.imread("mine.ome.tiff").shape == (2, 64, 64)
    Path("out").mkdir()
    Path("mine.h5").rename("out/emitters.h5")
    words = ["run", "--zmap=builtin:oil", "--config=mine.json", "--output-dir=out", "--skip-emitters"]
    assert cli.main(words) == 0
    assert Path("out/simulation.ome.tiff").read_bytes() == Path("mine.ome.tiff").read_bytes()


@pytest.mark.parametrize("page", GUIDES)
def test_models_and_bounds_are_used_as_shown(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    part = text(page).partition("<!-- models -->")[2].partition("<!-- end of models -->")[0]
    with redirect_stdout(io.StringIO()) as shown:
        assert run_blocks(part, page, "lens.json") == 2
    x, y, z = map(float, shown.getvalue().strip("[]\n ").split())
    assert 3 < x < 20
    assert 3 < y < 20
    assert 5 < z < 40


@pytest.mark.parametrize(("english", "chinese"), TWINS)
def test_languages_have_the_same_content(english: str, chinese: str) -> None:
    def shape(page: str) -> list[str]:
        return [line.split()[0] for line in prose(page).splitlines() if re.match(r"#+ ", line)]

    def code(page: str, language: str) -> list[str]:
        """Return code without its comments and the texts in it, which are translated."""
        return [re.sub(r"(#|//|%).*|\"description\": .*", "", block) for block in blocks(page, language)]

    def tables(page: str) -> list[list[str]]:
        """Return the cells of tables that hold nothing but code or a number."""
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in prose(page).splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in row if re.fullmatch(r" *(`[^`]*`|[-\d.,]+)? *", cell)] for row in rows]

    assert shape(english) == shape(chinese)
    for language in ("bash", "sh", "json", "csv", "python", "matlab"):
        assert code(english, language) == code(chinese, language)
    assert tables(english) == tables(chinese)


@pytest.mark.parametrize("page", GUIDES)
def test_the_estimate_is_that_of_the_first_config(page: str, tmp_path: Path) -> None:
    content = sections(page)[0]
    content["base_config"]["zmap_path"] = "builtin:oil"
    jobs = expand_jobs(load_batch_config(content))
    todo = [(job.id, job.config) for job in jobs]
    with speaking("zh" if "zh" in page else "en"):
        found = str(estimate_batch(tmp_path, todo, 2))
    shown = re.search(r"^(estimate|估计): .*$", text(page), flags=re.MULTILINE)
    assert shown is not None
    without_machine = r" \([^)]* (free|available)\)| \(可用 [^)]*\)"
    assert re.sub(without_machine, "", shown[0]) == re.sub(without_machine, "", found)


@pytest.mark.parametrize("page", GUIDES)
def test_the_table_of_stamps_is_computed(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \|((?: \d+ % \|)+)$", text(page), flags=re.MULTILINE)
    assert len(rows) == 4
    optical = {"wavelength_nm": 596, "NA": 1.47, "pixel_size_nm_x": 65, "pixel_size_nm_y": 65}
    for size, cells in rows:
        for z_um, cell in zip((0.0, 0.6, 1.0), re.findall(r"\d+", cells), strict=True):
            config = {"optical": optical, "psf": {"size_px": int(size)}, "emitters": {"z_range_um": z_um}}
            assert round(100 * held_light(load_job_config(config, needs_zmap=False))[0]) == int(cell), (size, z_um)


@pytest.mark.parametrize("page", MODELS)
def test_the_page_on_models_runs(page: str) -> None:
    with redirect_stdout(io.StringIO()):
        for block in blocks(page, "python"):
            exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", MODELS)
def test_the_table_of_models_is_computed(page: str) -> None:
    """How far the scalar model is from the vectorial one."""
    rows = re.findall(
        r"^\| ([\d.]+) \| ([\d.]+) \| (\d+) % \| x ([\d.]+) \| x ([\d.]+) \|$", text(page), flags=re.MULTILINE
    )
    assert len(rows) == 5
    xyz = np.c_[np.zeros((11, 2)), np.linspace(-0.5, 0.5, 11)]
    for na, immersion, difference, along_xy, along_z in rows:
        optics = simtiff.Optics(660, float(na), float(immersion), 100, 100)
        scalar, vectorial = (
            simtiff.psf(optics, [[0, 0, 0]], size=31, model=model) for model in ("scalar", "vectorial")
        )
        assert round(100 * float(np.abs(scalar - vectorial).max() / scalar.max())) == int(difference), na
        better, worse = (
            simtiff.crlb(optics, xyz, 1000, 10, size=31, model=model, phase_noll={6: 0.7})
            for model in ("scalar", "vectorial")
        )
        x, y, z = (worse / better)[:, :3].mean(axis=0)
        assert (f"{x:.2f}", f"{y:.2f}", f"{z:.2f}") == (along_xy, along_xy, along_z), na


@pytest.mark.parametrize("page", CAMERAS)
def test_the_page_on_cameras_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe finds the maps that the recordings were made with, and a job takes its frames with them."""
    monkeypatch.chdir(tmp_path)
    before, _, rest = text(page).partition("<!-- maps -->")
    part, _, after = rest.partition("<!-- end of maps -->")
    with redirect_stdout(io.StringIO()) as shown:
        for block in re.findall(r"^```python\n(.*?)^```", before + after, flags=re.DOTALL | re.MULTILINE):
            exec(compile(block, page, "exec"), {})
    mean, variance, *_ = (tuple(map(float, line.split())) for line in shown.getvalue().splitlines()[:2])
    assert mean[0] == pytest.approx(mean[1], rel=1e-3)
    assert variance[0] == pytest.approx(variance[1], rel=0.01)

    assert run_blocks(part, page, "mine.json") == 2
    random, shape, frames = np.random.default_rng(1), (96, 128), 500
    offset, gain = random.normal(100, 1.5, shape), random.normal(0.82, 0.04, shape)
    noise_adu = random.lognormal(0.4, 0.35, shape) * gain
    with h5py.File("maps.h5") as maps:
        found = {name: maps[name][:] for name in maps}
    assert np.std((found["offset_adu"] - offset) / np.sqrt((noise_adu**2 + 1 / 12) / frames)) == pytest.approx(
        1, abs=0.02
    )
    assert np.mean(found["gain_adu_per_e"] / gain) == pytest.approx(1, abs=0.002)
    assert np.std(found["gain_adu_per_e"] / gain) < np.sqrt(2 / frames)
    assert np.mean(found["variance_adu2"] / noise_adu**2) == pytest.approx(1, abs=0.005)
    with h5py.File("mine/single_job/emitters.h5") as truth:
        assert np.isfinite(truth["records/crlb"][:, :2]).any()
    assert tifffile.imread("mine/single_job/simulation.ome.tiff").shape == (4, 64, 96)


def marked(page: str, name: str) -> tuple[str, str]:
    """Return the part of a page between two comments, and the rest of it."""
    before, _, rest = text(page).partition(f"<!-- {name} -->")
    part, _, after = rest.partition(f"<!-- end of {name} -->")
    return part, before + after


@pytest.mark.parametrize("page", EMITTERS)
def test_the_page_on_emitters_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markers stand still without the drift; molecules of a list lie where it says; a file of a track is the track."""
    monkeypatch.chdir(tmp_path)
    part, rest = marked(page, "own molecules")
    with redirect_stdout(io.StringIO()) as shown:
        for block in re.findall(r"^```python\n(.*?)^```", rest, flags=re.DOTALL | re.MULTILINE):
            exec(compile(block, page, "exec"), {})
        assert run_blocks(part, page, "mine.json") == 2
    printed = shown.getvalue().splitlines()
    assert printed[0].startswith("[ True  True  True]")
    assert printed[-1] == "True"
    with simtiff.open_truth("mine/single_job/emitters.h5") as truth:
        x, y, z = truth.emitters()["xyz"].T
    assert (len(x), np.ptp(z)) == (24, 0)
    np.testing.assert_allclose(np.hypot(x[:8] - 9, y[:8] - 11), 0.535, atol=1e-3)


@pytest.mark.parametrize("page", EMITTERS)
def test_the_numbers_of_emitters_are_those_of_the_example(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMTIFF_LANG", "zh" if "zh" in page else "en")
    assert cli.main(["validate", str(ROOT / "configs" / "dstorm_emccd.json")]) == 0
    (shown,) = blocks(page, "text")[:1]
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("page", EMITTERS)
def test_the_table_of_densities_is_computed(page: str) -> None:
    """Emitters that a density comes to, as the page has the formulas."""
    life, frames, on, off = 3.0, 40, 6.0, 90.0
    states = {"states": {"on": {"dark": 1.0}, "dark": {"on": 0.25}}}
    factors = {
        "once": (max(frames, frames - 1 + 3 * life) + 3 * life) / life,
        "kinetics": 5.0,
        "paint": (on + off) / on,
        "always": 1.0,
    }
    rows = re.findall(r"^\| `(once|kinetics|paint|always)` \| .* x .*\|$", text(page), flags=re.MULTILINE)
    assert rows == list(factors)
    more: dict[str, Any] = {"kinetics": states, "paint": {"on_frames": on, "off_frames": off}}
    for kind in rows:
        emitters = {"density_per_um2": 2, "frames": frames, "area_px": [100, 50], "lifetime_avg": life}
        job = load_job_config(
            {
                "zmap_path": "builtin:oil",
                "optical": {"pixel_size_nm": 100},
                "emitters": emitters | {"blinking": {"kind": kind, **more.get(kind, {})}},
                "tiff": {"roi_size": 50},
            }
        )
        assert all_emitters(job) == round(2 * 10 * 5 * factors[kind]), kind


@pytest.mark.parametrize("page", EXCHANGE)
def test_the_page_on_exchange_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the example with Picasso, which `make test-clients` runs."""
    monkeypatch.chdir(tmp_path)
    part, rest = marked(page, "exchange")
    config = re.findall(r"^```json\n(.*?)^```", rest, flags=re.DOTALL | re.MULTILINE)[0]
    Path("job.json").write_text(config, encoding="utf-8")
    with redirect_stdout(io.StringIO()) as shown:
        assert run_blocks(part, page, "none.json") == 2
    printed = shown.getvalue().splitlines()
    assert printed[1] == "True True"
    recall, ratio = map(float, printed[-1].split())
    assert 0.4 < recall <= 0.5
    assert ratio == pytest.approx(1, abs=0.2)
    named = set(re.findall(r"^\| `[a-z-]+` \| .*?`([a-z_]+\.[a-z0-9]+)`", rest, flags=re.MULTILINE))
    named |= set(re.findall(r"`(picasso_locs_camera\.txt)`", rest))
    assert named | {"emitters.h5", "simulation.ome.tiff"} == {path.name for path in Path("job").iterdir()}


@pytest.mark.parametrize("page", TRAINING)
def test_the_page_on_training_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the part on PyTorch, which `training/test_torch_frames.py` runs."""
    monkeypatch.chdir(tmp_path)
    before, _, rest = text(page).partition("<!-- torch -->")
    with redirect_stdout(io.StringIO()) as shown:
        Path("field.json").write_text(blocks(page, "json")[0], encoding="utf-8")
        names: dict[str, Any] = {}
        for block in re.findall(
            r"^```python\n(.*?)^```", before + rest.partition("<!-- end of torch -->")[2], re.M | re.S
        ):
            exec(compile(block, page, "exec"), names)
    assert shown.getvalue().startswith("(16, 3, 64, 64) (16, ")


def anchors(page: Path) -> set[str]:
    """Return the names that headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", prose(page)):
        target, _, anchor = "".join(link).partition("#")
        if target.startswith(("http:", "https:")):
            continue
        path = here.parent / target if target else here
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page}: #{anchor}"


@pytest.mark.parametrize("page", RELIABILITY)
def test_promises_name_tests_that_exist(page: str) -> None:
    """Every test that the page on reliability names is there."""
    named = set(re.findall(r"`([a-z0-9_/]+\.py)::(test_\w+)`", text(page)))
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in text(f"tests/{file}"), f"{file}::{name}"
