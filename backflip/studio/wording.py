"""Figures, times and durations as pages show them: filters of the templates."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from backflip.studio.i18n import translations

__all__ = ["FILTERS", "duration", "moment", "number", "percent", "plain_value", "translated"]

NOTHING: Final = "–"


def moment(value: float | str | None) -> Markup | str:
    """A time, by the clock of the server in UTC; the page's script puts it into the reader's own zone and language."""
    if value is None or value == "":
        return NOTHING
    when = datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else datetime.fromisoformat(value)
    exact = when.astimezone(UTC)
    shown = exact.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}">{}</time>').format(exact.isoformat(timespec="seconds"), shown)


def number(value: float | None, digits: int | None = None) -> str:
    """With separators of thousands; `digits` after the point, or as many as four significant figures want."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if digits is None:
        size = abs(value)
        digits = 0 if float(value).is_integer() or size >= 1000 else max(0, 3 - math.floor(math.log10(size)))
        digits = min(digits, 6)
    return f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share of 1 as per cent."""
    return NOTHING if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


@pass_context
def duration(context: Context, seconds: float | None) -> Any:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return NOTHING
    _ = partial(context.call, context.resolve("gettext"))
    if seconds < 120:
        return _("%(n)s s", n=number(seconds, 1 if seconds < 10 else 0))
    if seconds < 2 * 3600:
        return _("%(n)s min", n=number(seconds / 60, 0))
    return _("%(n)s h", n=number(seconds / 3600, 1))


@pass_context
def translated(context: Context, text: str) -> str:
    """A message of the program in the page's language, where the catalogue has it. It is no format."""
    return translations(context["language"]).gettext(text)


def plain_value(value: Any) -> str:
    """A configuration's value as JSON, texts without their quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "moment": moment,
        "number": number,
        "percent": percent,
        "duration": duration,
        "plain_value": plain_value,
        "translated": translated,
    }
)
