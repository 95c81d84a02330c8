"""The languages of the site: gettext catalogues, and which one a request wants."""

from __future__ import annotations

import gettext
from functools import lru_cache
from pathlib import Path
from typing import Final

from starlette.requests import Request

__all__ = ["LANGUAGES", "language_of", "translations"]

LANGUAGES: Final = {"en": "English", "zh_CN": "简体中文"}
_LOCALE = Path(__file__).parent / "locale"


@lru_cache(maxsize=8)
def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; English is the text itself."""
    return gettext.translation("messages", _LOCALE, languages=[language], fallback=True)


def language_of(request: Request, chosen: str = "") -> str:
    """The language that the person chose, else the cookie's, else the browser's, else English."""
    for wanted in (chosen, request.cookies.get("language", "")):
        if wanted in LANGUAGES:
            return wanted
    return "zh_CN" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
