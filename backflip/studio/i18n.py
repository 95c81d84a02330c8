"""The languages of the site: gettext catalogues, and which one a request wants."""

from __future__ import annotations

import gettext
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request

__all__ = ["LANGUAGES", "language_of", "script_catalogue", "translations"]

LANGUAGES: Final = {"en": "English", "zh_CN": "简体中文"}
_LOCALE = Path(__file__).parent / "locale"


@lru_cache(maxsize=8)
def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; English is the text itself."""
    return gettext.translation("messages", _LOCALE, languages=[language], fallback=True)


@lru_cache(maxsize=8)
def script_catalogue(language: str) -> dict[str, Any]:
    """What the pages' scripts say, in this language: text -> its translation, or a list of plural forms."""
    path = _LOCALE / language / "scripts.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def language_of(request: Request, chosen: str = "") -> str:
    """The language that the person chose, else the cookie's, else the one that the browser likes best, else English."""
    for wanted in (chosen, request.cookies.get("language", "")):
        if wanted in LANGUAGES:
            return wanted
    return _accepted(request.headers.get("accept-language", ""))


def _accepted(header: str) -> str:
    """The first of our languages by the header's order of preference (RFC 9110, 12.5.4)."""
    liked = []
    for place, item in enumerate(header.lower().split(",")):
        tag, _, rest = item.partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest.strip() else 1.0
        except ValueError:
            continue
        liked.append((-weight, place, tag.strip()))
    for weight, _, tag in sorted(liked):
        for language in LANGUAGES:
            if weight and tag.partition("-")[0] == language.partition("_")[0]:
                return language
    return "en"
