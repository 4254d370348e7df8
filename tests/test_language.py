"""Texts that people read: marked, translated one and all, English wherever they are kept."""

from __future__ import annotations

import ast
import copy
import io
import json
import pickle
import re
import string
import subprocess
import sys
from gettext import GNUTranslations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from batch_helpers import config
from simtiff.batch.events import Failed, as_json, from_json, to_json
from simtiff.batch.run import run_batch
from simtiff.batch.text import aligned, cells, cut, cut_middle, listed
from simtiff.errors import DataError, in_words
from simtiff.language import Text, joined, language_of, plural, shown, speaking, tr
from simtiff.movie.events import Message

if TYPE_CHECKING:
    from pathlib import Path


def placeholders(text: str) -> list[tuple[str, str]]:
    """Return the values that a text shows, with their formats, in an order that does not depend on the language."""
    return sorted({(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name is not None})


def forms(text: Any) -> tuple[str, ...]:
    """Return the forms of a text: one and many, or the only one."""
    return tuple(text) if isinstance(text, tuple | list) else (text,)


def test_every_text_has_its_translation_and_every_translation_its_text() -> None:
    catalog = messages.translated()
    assert messages.untranslated(catalog) == [], "fill in simtiff.po, then `make messages`"
    marked = {message.id for message in messages.marked() if message.id}
    assert {message.id for message in catalog if message.id} == marked, "run `make messages`"


def test_translations_show_the_same_values() -> None:
    for message in messages.translated():
        if not message.id:
            continue
        for translation in forms(message.string):
            assert placeholders(translation) == placeholders(forms(message.id)[-1]), message.id
            assert translation.rstrip() == translation, message.id


def test_the_compiled_catalogue_is_that_of_the_texts() -> None:
    compiled, written = (
        GNUTranslations(io.BytesIO(data))
        for data in (messages.compiled(messages.translated()), messages.MO.read_bytes())
    )
    for message in messages.translated():
        one, *many = forms(message.id)
        if many:
            assert written.ngettext(one, *many, 2) == compiled.ngettext(one, *many, 2), "run `make messages`"
        elif one:
            assert written.gettext(one) == compiled.gettext(one), "run `make messages`"
    assert written.gettext("completed") == "已完成"


def bare_texts(path: Path) -> list[str]:
    """Return where a file shows words that are not marked: strings where only `tr` and the like belong."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called = ast.unparse(node.func)
        if called in {"Message", "UsageError", "_print", "self._print", "lines.append", "notes.append"}:
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else node.args[:1]
            words = "".join(part.value for part in parts if isinstance(part, ast.Constant) and type(part.value) is str)
            if re.search(r"[A-Za-z]{2}", words):
                found.append(f"{path}:{node.lineno}: {words}")
    return found


def test_what_is_shown_is_marked(tmp_path: Path) -> None:
    for path in messages.PACKAGE.rglob("*.py"):
        assert bare_texts(path) == []
    (tmp_path / "bare.py").write_text("""watch(Message(f"{name} removed"))\nself._print(f"{job}: {text}")\n""")
    assert len(bare_texts(tmp_path / "bare.py")) == 1


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_SG"}, "zh"),
        ({"LANG": "zh-Hans"}, "zh"),
        ({"LC_MESSAGES": "zh_CN.GB18030"}, "zh"),
        ({"LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "fr:en:zh"}, "en"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "zh_CN"}, "en"),
        ({"LANG": "en_US.UTF-8", "SIMTIFF_LANG": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "SIMTIFF_LANG": "en"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "SIMTIFF_LANG": "klingon"}, "zh"),
    ],
)
def test_the_language_of_an_environment(environment: dict[str, str], language: str) -> None:
    assert language_of(environment) == language


def test_texts_are_english_until_they_are_shown() -> None:
    jobs = plural("{n} job", "{n} jobs", 1)
    text = Text(
        "{jobs}: {completed} completed, {failed} failed, {skipped} skipped", jobs=jobs, completed=1, failed=0, skipped=0
    )
    english, chinese = "1 job: 1 completed, 0 failed, 0 skipped", "1 个作业: 完成 1，失败 0，跳过 0"
    with speaking("zh"):
        assert (text, shown(text)) == (english, chinese)
        assert shown(joined(["a {b}", text])) == f"a {{b}}\n{chinese}"
        assert in_words(DataError(text)) is text
        assert str(DataError(text)) == json.loads(json.dumps(text)) == english
        assert tr("time: {time}", time=Text("{seconds:.1f} s", seconds=2.26)) == "用时: 2.3 秒"
        assert shown("completed") == "completed"  # a value, not a text
        for copied in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
            assert type(copied) is str
            assert copied == english
        with speaking("en"):
            assert shown(text) == english
        assert shown(text) == chinese
    assert (shown(text), tr("failed jobs:")) == (english, "failed jobs:")


@given(st.integers(0, 5), st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_texts_cross_the_pipe_of_a_worker(number: int, name: str, seconds: float) -> None:
    time = Text("{seconds:.2f} s", seconds=seconds)
    for text in (
        plural("TIFF written: {n} frame, {size} ({seconds:.2f} s)", "{n}{size}{seconds}", number, size=name, seconds=1),
        Text("✗ job {job} failed: {error}", job=name, error=time),
    ):
        for event in (Message(text, job=name), Failed(0.5, 3, None, text, job=name)):
            line = to_json(event)
            assert from_json(line) == event
            assert json.loads(line).items() >= as_json(event).items()
            got = from_json(line)
            assert isinstance(got, Message | Failed)
            with speaking("zh"):
                assert shown(got.text if isinstance(got, Message) else got.error) == shown(text)


def test_who_uses_the_library_gets_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SIMTIFF_LANG", raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    texts: list[str] = []
    summary = run_batch(config(), output_dir=tmp_path, max_workers=1, progress=lambda event: texts.append(str(event)))
    texts.append(str(summary))
    assert "".join(texts).replace("Ω", "").isascii()
    assert "2 jobs: 2 completed" in texts[-1]


def test_the_catalogue_is_read_only_where_it_is_needed() -> None:
    code = "import sys; from simtiff.cli.process import main; main(['--help']); sys.exit('gettext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_columns_of_wide_characters_align() -> None:
    rows = [("a", "6", Text("completed")), ("job_é_作业", "1200", Text("interrupted"))]
    head = (Text("job"), Text("frames"), Text("state"))
    with speaking("zh"):
        lines = aligned(head, rows, {"job", "state"})
    assert lines == ["作业          帧  状态", "a              6  已完成", "job_é_作业  1200  被中断"]
    assert aligned(head, rows, {"job", "state"})[0] == "job         frames  state"


@given(st.text("ab作业é\u0301…", max_size=30), st.integers(3, 20))
def test_cut_texts_fit(text: str, most: int) -> None:
    for short in (cut(text, most), cut_middle(text, most)):
        assert cells(short) <= most
        assert (short == text) == (cells(text) <= most)


def test_lists_of_names() -> None:
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "{b}"], 2) == "a, {b}"
    with speaking("zh"):
        assert shown(listed(["a", "b", "c"], 2)) == "a, b 等，另有 1 个"
