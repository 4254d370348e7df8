"""The language of what people read: every text is English, and the command may show it in another.

A text that people read is marked where it is made: ``tr("{done} of {total} jobs", done=3, total=9)`` where it is shown
at once, ``Text(...)`` or ``plural(...)`` where it is kept, stored or raised first, and ``shown(text)`` where such a
text is shown at last. A `Text` is the English string: files, logs, JSON and exceptions hold English in any language.

The catalogues are gettext's, in ``locale/``; see CONTRIBUTING.md. English needs none, and nothing is imported for it.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from gettext import NullTranslations

_CATALOGUES = {"zh": "zh_CN"}
"""Languages besides English, with the names of their folders in ``locale/``."""

_catalogue: NullTranslations | None = None
_language = "en"


class Text(str):
    """A text in English that can be `shown` in another language.

    Parameters
    ----------
    template : str
        The text, with ``{names}`` for values as in `str.format`; a literal, so that it is found for translation.
    **values
        The values: numbers, texts (which are shown in the same language), or what is turned into a string.
    """

    __slots__ = ("_number", "_plural", "_template", "_values")

    _template: str
    _plural: str
    _number: int
    _values: dict[str, Any]

    def __new__(cls, template: str, /, **values: object) -> Text:
        """Make the English text."""
        return cls._made(template, "", 1, values)

    @classmethod
    def _made(cls, template: str, plural: str, number: int, values: Mapping[str, object]) -> Text:
        plain = {name: value if isinstance(value, str | int | float) else str(value) for name, value in values.items()}
        text = str.__new__(cls, (template if number == 1 or not plural else plural).format(**plain))
        text._template, text._plural, text._number, text._values = template, plural, number, plain
        return text

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # copies are the English alone

    def translated(self, catalogue: NullTranslations) -> str:
        """Return it in the language of a catalogue; in English as far as that does not have it."""
        if self._plural:
            template = catalogue.ngettext(self._template, self._plural, self._number)
        else:
            template = catalogue.gettext(self._template)
        return template.format(**{name: shown(value) for name, value in self._values.items()})

    def packed(self) -> dict[str, Any]:
        """Return it as plain values for JSON; see `unpacked`."""
        values = {name: value.packed() if isinstance(value, Text) else value for name, value in self._values.items()}
        return {"text": self._template, "plural": self._plural, "number": self._number, "values": values}


def unpacked(packed: Mapping[str, Any]) -> Text:
    """Return a text from what `Text.packed` made of it."""
    values = {name: unpacked(value) if isinstance(value, dict) else value for name, value in packed["values"].items()}
    return Text._made(packed["text"], packed["plural"], packed["number"], values)


def plural(one: str, many: str, n: int, /, **values: object) -> Text:
    """Return a text about ``{n}`` things, which has a form for one and a form for any other number of them."""
    return Text._made(one, many, n, {"n": n, **values})


def joined(parts: Iterable[str], separator: str = "\n") -> str:
    """Return texts one after another as one that can be shown in another language like each of them."""
    named = {f"part{number}": part for number, part in enumerate(parts)}
    return Text(separator.join(f"{{{name}}}" for name in named), **named) if named else ""


def shown(value: Any) -> Any:
    """Return a `Text` in the language of the command; anything else as it is."""
    return value.translated(_catalogue) if _catalogue is not None and isinstance(value, Text) else value


def tr(template: str, /, **values: object) -> str:
    """Return a text in the language of the command; arguments as of `Text`."""
    return str(shown(Text(template, **values)))


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Show texts in a language (``en``, ``zh``) in a ``with`` block; the rest of the process goes on in English."""
    global _catalogue, _language
    before = _catalogue, _language
    _catalogue, _language = _opened(language), language
    try:
        yield
    finally:
        _catalogue, _language = before


def spoken() -> str:
    """Return the language that texts are shown in now: ``en``, ``zh``."""
    return _language


def _opened(language: str) -> NullTranslations | None:
    if language not in _CATALOGUES:
        return None
    import gettext
    from pathlib import Path

    return gettext.translation("simtiff", Path(__file__).parent / "locale", [_CATALOGUES[language]], fallback=True)


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language that a user's environment asks for, of those that there are.

    ``SIMTIFF_LANG`` counts first, then the locale for messages as gettext finds it: ``LC_ALL``, ``LC_MESSAGES`` or
    ``LANG``, and before it the list ``LANGUAGE`` unless the locale is ``C``.
    """
    locales = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, locales), "C")
    asked = [environment.get("SIMTIFF_LANG", "")]
    if locale.partition(".")[0] not in {"C", "POSIX"}:
        asked += [*environment.get("LANGUAGE", "").split(":"), locale]
    for name in asked:
        language = re.split("[-_.@]", name)[0].lower()
        if language == "en" or language in _CATALOGUES:
            return language
    return "en"
