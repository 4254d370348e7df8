"""The pages of the documentation do what they show, in both languages, and their code makes their pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pages import PageError, blocks_of, compare, pictures_of, run_page

DOCS = Path(__file__).parents[1] / "docs"
BY_OTHER_TESTS = {"models", "cameras", "emitters", "exchange", "training", "performance", "reliability"}  # test_docs.py
PAGES = sorted(
    page
    for pattern in ("index*.md", "tutorial*.md", "clusters*.md", "how-to/*.md", "reference/*.md", "explanation/*.md")
    for page in DOCS.glob(pattern)
    if page.name.partition(".")[0] not in BY_OTHER_TESTS or page.parent.name != "explanation"
)
ENGLISH = [page for page in PAGES if not page.name.endswith(".zh-CN.md")]


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def twin_of(page: Path) -> Path:
    return page.with_name(f"{page.stem}.zh-CN.md")


def code_of(page: Path) -> list[tuple[str, str | None, str]]:
    """Return what a page runs, without comments and descriptions, which are translated."""
    blocks = [block for block in blocks_of(page) if block.language != "text"]
    return [(block.language, block.title, re.sub(r"(#|//).*|\"description\": .*", "", block.text)) for block in blocks]


@pytest.mark.parametrize("page", ENGLISH, ids=name_of)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)
    for name in pictures_of(page):
        made, kept = ((Image.open(folder / name)) for folder in (tmp_path, DOCS / "images" / "how-to"))
        assert made.size == kept.size, f"{name}: make it anew with docs/make_pictures.py"
        difference = np.subtract(made.convert("RGB"), kept.convert("RGB"), dtype=float)
        assert np.abs(difference).mean() < 4, (
            f"{name}: make it anew with docs/make_pictures.py"
        )  # kept with few colours


@pytest.mark.parametrize("page", ENGLISH, ids=name_of)
def test_the_chinese_page_has_the_same_code(page: Path) -> None:
    assert code_of(twin_of(page)) == code_of(page)
    assert pictures_of(twin_of(page)) == pictures_of(page)


@pytest.mark.parametrize("page", ENGLISH, ids=name_of)
def test_the_chinese_page_shows_what_is_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The English output, which the page in English was run for, or that of the program in Chinese."""
    one, two = ([block.text for block in blocks_of(it) if block.language == "text"] for it in (page, twin_of(page)))
    if one != two:
        monkeypatch.setenv("SIMTIFF_LANG", "zh")
        run_page(twin_of(page), tmp_path)


def test_every_picture_is_shown() -> None:
    kept = {path.name for path in (DOCS / "images" / "how-to").glob("*")}
    assert kept == {name for page in PAGES for name in pictures_of(page)}


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("a 1\nb\n", "a 1\nb"),
        ("a 1\nb\n", "a ...\nb"),
        ("a 1\nb\nc\n", "a 1\n...\n"),
        ("a 1\nb\nc\n", "...\nc"),
        ("a\n", "...\na\n..."),
        ("[1. 2.]\n", "[1. 2.]"),
    ],
)
def test_output_as_shown(printed: str, shown: str) -> None:
    compare(printed, shown, "page")


@pytest.mark.parametrize(
    ("printed", "shown"), [("a 1\nb\n", "a 2\nb"), ("a 1\nb\n", "a 1"), ("a\nb\n", "a...b"), ("", "a"), ("a\n", "b...")]
)
def test_other_output_is_an_error(printed: str, shown: str) -> None:
    with pytest.raises(PageError, match="page"):
        compare(printed, shown, "page")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "x.md:5: the page shows"),
        ("```bash\nsimtiff zmap info none.h5\n```\n", "x.md:1: simtiff zmap info none.h5 ends with 2"),
        ("```bash\nls\n```\n", "only simtiff"),
        ("```text\n2\n```\n", "nothing was run"),
        ("```json\n{}\n```\n", "needs a title"),
        ("```python\nprint(1)\n", "no end"),
        ("```\nprint(1)\n```\n", "no language"),
        ("- a\n  ```python\n  print(1)\n  ```\n", "left edge"),
    ],
)
def test_a_wrong_page_is_found(page: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text(page, encoding="utf-8")
    with pytest.raises(PageError, match=message):
        run_page(path, tmp_path)


def test_blocks_share_files_and_names(tmp_path: Path) -> None:
    blocks = (
        '```csv title="a.csv"\n1\n```',
        '```python\nfrom pathlib import Path\n\na = Path("a.csv").read_text()\n```',
        "```python\nprint(a)\n```",
        "```text\n1\n```",
    )
    path = tmp_path / "x.md"
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    run_page(path, tmp_path)
