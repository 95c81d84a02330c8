"""A reply under way: tokens come in, and out goes the text that may be shown by now.

A small window of text is held back, so that a filter sees what comes next before anybody sees what it belongs to:
nothing of what is blocked is ever shown, as long as it is no longer than the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from backflip.lm.engine import Ended
from backflip.lm.tokens import Tokens
from backflip.safety.verdict import Context, Filter, Verdict

__all__ = ["Finish", "Reason", "Reply", "Shown"]

Reason = Literal["stop", "length", "content_filter", "cancelled", "failed"]

HELD: Final = 48  # characters held back: longer than any term of the lists that ship
STEP: Final = 24  # characters after which the filter looks again
_TORN: Final = "\ufffd"  # what half of a character decodes to


class Shown(NamedTuple):
    """Text that may be shown, following what was shown before."""

    text: str


class Finish(NamedTuple):
    """The reply is over. `verdict` is the one that blocked it; `tokens` counts what was drawn, the end excepted."""

    reason: Reason
    tokens: int
    verdict: Verdict | None = None


@dataclass
class Reply:
    """Feed it what the engine says (`push`); it answers with what to show. After `Finish` it says nothing more.

    `stop`: texts at which the reply ends; they are not shown. Without a filter only these are held back for.
    """

    tokens: Tokens
    filter: Filter | None = None
    context: Context = field(default_factory=lambda: Context("assistant"))
    stop: Sequence[str] = ()
    held: int = HELD
    _ids: list[int] = field(default_factory=list)
    _text: str = ""
    _shown: int = 0
    _checked: int = 0
    _over: bool = False

    @property
    def text(self) -> str:
        """All that was shown."""
        return self._text[: self._shown]

    @property
    def written(self) -> str:
        """All that the model wrote, for the log of what was blocked; not to be shown."""
        return self._text

    @property
    def over(self) -> bool:
        """Whether it has finished; what the engine says after that is of no interest."""
        return self._over

    def push(self, token: int | None, why: Ended | None) -> list[Shown | Finish]:
        """A token, or None and why there are no more."""
        if self._over:
            return []
        if token is not None:
            self._ids.append(token)
        self._text = self._decoded(final=token is None)
        if (place := self._stopped()) is not None:
            self._text, why = self._text[:place], "stop"
        if why is not None:
            return self._finish(why)
        return self._release(len(self._text) - self._window)

    @property
    def _window(self) -> int:
        longest = max(map(len, self.stop), default=1) - 1
        return max(self.held, longest) if self.filter else longest

    def _decoded(self, *, final: bool) -> str:
        text = self.tokens.raw(self._ids).lstrip()
        return text if final else text.rstrip(_TORN)  # the rest of the character comes with the next token

    def _stopped(self) -> int | None:
        places = [place for text in self.stop if (place := self._text.find(text)) >= 0]
        return min(places, default=None)

    def _release(self, upto: int, *, last: bool = False) -> list[Shown | Finish]:
        """Shows the text up to a place, once what stands behind it was checked too."""
        if upto <= self._shown and not last:
            return []
        if self.filter is not None and (last or len(self._text) - self._checked >= STEP):
            self._checked = len(self._text)
            verdict = self.filter.check(self._text, self.context)
            if not verdict.allowed:
                self._over = True
                return [Finish("content_filter", len(self._ids), verdict)]
        upto = upto if self.filter is None or last else min(upto, self._checked - self._window)
        if upto <= self._shown:
            return []
        new, self._shown = self._text[self._shown : upto], upto
        return [Shown(new)]

    def _finish(self, why: Ended) -> list[Shown | Finish]:
        if why in ("cancelled", "failed"):  # what was held back was never checked whole
            self._over = True
            return [Finish(why, len(self._ids))]
        said = self._release(len(self._text), last=True)
        if not self._over:
            self._over = True
            said.append(Finish(why, len(self._ids)))
        return said
