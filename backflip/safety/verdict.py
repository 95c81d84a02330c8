"""What a filter says of a text. Filters compose, and one that fails blocks: what was not checked is not shown."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

from backflip.errors import ConfigError
from backflip.records import Message

__all__ = ["ALLOWED", "FAILED", "AllOf", "Context", "Filter", "Verdict"]

FAILED: Final = "filter failed"  # the category of a verdict that no filter could give

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What stands around a text: who says it, and the dialogue before it, oldest first."""

    role: Literal["user", "assistant"] = "user"
    before: Sequence[Message] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a text is allowed, how strongly it belongs to each category (0 to 1), and why it is blocked.

    `reason` is empty if and only if the text is allowed; it names rules and categories and never repeats the text.
    """

    allowed: bool
    categories: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        if self.allowed == bool(self.reason):
            raise ConfigError(
                f"a verdict is allowed={self.allowed} for reason {self.reason!r}; wanted a reason to block"
            )
        object.__setattr__(self, "categories", MappingProxyType(dict(self.categories)))


ALLOWED: Final = Verdict(True)


class Filter(Protocol):
    """Looks at one text. `name` is what a reason calls it."""

    @property
    def name(self) -> str: ...

    def check(self, text: str, context: Context = ...) -> Verdict: ...


@dataclass(frozen=True)
class AllOf:
    """Allows what every one of its filters allows; each is asked, so that every category has its score.

    A filter that raises counts as one that blocks, and the log says how it failed: it fails closed.
    """

    filters: tuple[Filter, ...]
    name: str = "all of"

    def __post_init__(self) -> None:
        if not self.filters:
            raise ConfigError("no filter is given, and none would allow everything; wanted one or more")

    def check(self, text: str, context: Context = Context()) -> Verdict:
        """The filters' verdicts as one: a category has the highest score that any of them gave it."""
        verdicts = [_asked(one, text, context) for one in self.filters]
        reasons = [verdict.reason for verdict in verdicts if not verdict.allowed]
        return Verdict(not reasons, _highest(verdict.categories for verdict in verdicts), "; ".join(reasons))


def _asked(one: Filter, text: str, context: Context) -> Verdict:
    try:
        return one.check(text, context)
    except Exception:  # noqa: BLE001  whatever it is: an unchecked text must not pass
        _log.exception("the filter %s failed, so what it was asked about is blocked", one.name)
        return Verdict(False, {FAILED: 1.0}, f"{one.name} failed, and what cannot be checked is blocked")


def _highest(categories: Iterable[Mapping[str, float]]) -> dict[str, float]:
    highest: dict[str, float] = {}
    for scores in categories:
        for category, score in scores.items():
            highest[category] = max(score, highest.get(category, 0.0))
    return highest
