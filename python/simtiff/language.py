"""Translation of user-facing texts: the source texts are English, and the command can show them in another language.

Mark every user-facing text where it is created: ``tr("{done} of {total} jobs", done=3, total=9)`` if it is printed
immediately, ``Text(...)`` or ``plural(...)`` if it is kept, stored or raised first. Call ``shown(text)`` when such a
text is finally printed. A `Text` is the English string: files, logs, JSON and exceptions are English in any language.

The catalogues are gettext catalogues in ``locale/``; see CONTRIBUTING.md. English needs no catalogue and no import.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from gettext import NullTranslations

_CATALOGUES = {"zh": "zh_CN"}
"""Languages other than English, and their folders in ``locale/``."""

_catalogue: NullTranslations | None = None
_language = "en"


class Text(str):
    """A text in English that can be `shown` in another language.

    Parameters
    ----------
    template : str
        The text, with ``{names}`` for values as in `str.format`. Must be a literal, so that translations find it.
    **values
        The values: numbers, texts (shown in the same language), or objects, which are converted to strings.
    """

    __slots__ = ("_number", "_plural", "_template", "_values")

    _template: str
    _plural: str
    _number: int
    _values: dict[str, Any]

    def __new__(cls, template: str, /, **values: object) -> Text:
        """Format the English text."""
        return cls._made(template, "", 1, values)

    @classmethod
    def _made(cls, template: str, plural: str, number: int, values: Mapping[str, object]) -> Text:
        plain = {name: value if isinstance(value, str | int | float) else str(value) for name, value in values.items()}
        text = str.__new__(cls, (template if number == 1 or not plural else plural).format(**plain))
        text._template, text._plural, text._number, text._values = template, plural, number, plain
        return text

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # copies keep only the English string

    def translated(self, catalogue: NullTranslations) -> str:
        """Return the text in the language of a catalogue, or in English if the catalogue lacks it."""
        if self._plural:
            template = catalogue.ngettext(self._template, self._plural, self._number)
        else:
            template = catalogue.gettext(self._template)
        return template.format(**{name: shown(value) for name, value in self._values.items()})

    def packed(self) -> dict[str, Any]:
        """Return the text as plain values for JSON; see `unpacked`."""
        values = {name: value.packed() if isinstance(value, Text) else value for name, value in self._values.items()}
        return {"text": self._template, "plural": self._plural, "number": self._number, "values": values}


def unpacked(packed: Mapping[str, Any]) -> Text:
    """Return the text that `Text.packed` converted to plain values."""
    values = {name: unpacked(value) if isinstance(value, dict) else value for name, value in packed["values"].items()}
    return Text._made(packed["text"], packed["plural"], packed["number"], values)


def plural(one: str, many: str, n: int, /, **values: object) -> Text:
    """Return a text about ``{n}`` things, with a singular and a plural form."""
    return Text._made(one, many, n, {"n": n, **values})


def joined(parts: Iterable[str], separator: str = "\n") -> str:
    """Join texts into one that can still be translated part by part."""
    named = {f"part{number}": part for number, part in enumerate(parts)}
    return Text(separator.join(f"{{{name}}}" for name in named), **named) if named else ""


def shown(value: Any) -> Any:
    """Return a `Text` in the language of the command; anything else unchanged."""
    return value.translated(_catalogue) if _catalogue is not None and isinstance(value, Text) else value


def tr(template: str, /, **values: object) -> str:
    """Return a text in the language of the command; the arguments are those of `Text`."""
    return str(shown(Text(template, **values)))


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Show texts in a language (``en``, ``zh``) inside a ``with`` block; outside of it, texts are English."""
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
    """Return the language set in the environment, if it is available; else English.

    ``SIMTIFF_LANG`` has precedence. Next comes the locale for messages, found as gettext does: ``LC_ALL``,
    ``LC_MESSAGES`` or ``LANG``, overridden by the list ``LANGUAGE`` unless the locale is ``C``.
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
