"""Labelling at a terminal: prompt, candidates A.., and a ranking typed in. No torch, and works through a pipe.

The answer in hand is stored when the next one is given (or at the end), so that `u` can take it back without a trace.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from string import ascii_uppercase

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from backflip.errors import DataError, LabellingPaused
from backflip.feedback.store import Lease, Store
from backflip.records import Answer, Labeller, Question, content_id

__all__ = ["HELP", "Keyboard", "parse_ranking", "plain"]

HELP = 'best first: "bca"; ties "b=ca" or "b (ca)"; ? cannot tell, s skip, u undo the last, q pause'
_LEASE_SECONDS = 3600.0


def parse_ranking(typed: str, letters: str) -> tuple[tuple[str, ...], ...]:
    """ "b=ca" with letters "ABC" -> (("B", "C"), ("A",)): tiers from best to worst; spaces, commas and > separate.

    Raises DataError that says what is wrong with what was typed.
    """
    tiers: list[list[str]] = []
    grouped = joined = False
    for sign in typed.upper():
        if sign in " ,>\t":
            continue
        if sign in "()":
            if grouped == (sign == "("):
                raise DataError(f"{sign} is out of place; wanted groups such as (ca)")
            grouped, joined = sign == "(", joined if sign == "(" else False
            tiers += [[]] if sign == "(" else []
        elif sign == "=":
            if not tiers or not tiers[-1]:
                raise DataError("= stands first; wanted it between two letters")
            joined = True
        elif sign not in letters:
            raise DataError(f"{sign!r} is none of {', '.join(letters)}")
        elif joined or grouped:
            tiers[-1].append(sign)
            joined = False
        else:
            tiers.append([sign])
    return _checked(tiers, letters, open_end=grouped or joined)


def _checked(tiers: list[list[str]], letters: str, *, open_end: bool) -> tuple[tuple[str, ...], ...]:
    given = [letter for tier in tiers for letter in tier]
    if open_end or not all(tiers):
        raise DataError("a group or = is not finished; wanted such as b=ca or b (ca)")
    if twice := {letter for letter in given if given.count(letter) > 1}:
        raise DataError(f"{', '.join(sorted(twice))} stands twice; wanted each letter once")
    if missing := set(letters) - set(given):
        raise DataError(f"{', '.join(sorted(missing))} is missing; wanted all of {', '.join(letters)}")
    return tuple(tuple(tier) for tier in tiers)


@dataclass
class _Given:
    """A question that was dealt with: its answer, or None if it was skipped."""

    lease: Lease
    answer: Answer | None


@dataclass
class Keyboard:
    """One person at one terminal, working through a store's open questions.

    `read` asks for a line (default: the console's input) and raises EOFError at the end, which pauses.
    """

    store: Store
    labeller: Labeller
    project: str = "default"
    purpose: str | None = None
    seed: int = 0
    console: Console = field(default_factory=Console)
    read: Callable[[str], str] | None = None
    clock: Callable[[], float] = time.monotonic
    _hand: _Given | None = None

    def work(self) -> None:
        """Asks until this person has seen all that is open for them.

        Raises LabellingPaused where they pause or the input ends, KeyboardInterrupt at Ctrl-C; all answers are kept.
        """
        self._say(Text(HELP, style="dim"))
        try:
            for lease in self._leases():
                self._settle(lease)
        finally:
            self._store_hand()

    def _leases(self) -> Iterator[Lease]:
        """First what this person held when they left, then what is open."""
        for lease in self.store.held(self.labeller.id, project=self.project):
            if self.purpose in (None, lease.question.purpose):
                yield lease
        yield from iter(self._next, None)

    def _next(self) -> Lease | None:
        return self.store.lease(self.labeller, project=self.project, purpose=self.purpose, seconds=_LEASE_SECONDS)

    def _settle(self, lease: Lease) -> None:
        """Asks this question until it is dealt with, and on `u` the one before it again."""
        while True:
            typed = self._ask(lease)
            if isinstance(typed, _Given):
                self._store_hand()
                self._hand = typed
                return
            if (last := self._hand) is None:
                self._say(Text("nothing to undo: earlier answers are stored", style="yellow"))
                continue
            self._hand = None
            self._settle(last.lease)

    def _store_hand(self) -> None:
        given, self._hand = self._hand, None
        if given is None:
            return
        if given.answer is None:
            self.store.pass_on(given.lease, "skipped at the keyboard")
        else:
            self.store.answer(given.answer, key=given.lease.token)

    def _ask(self, lease: Lease) -> _Given | None:
        """One question on the screen, until something valid is typed; None is undo."""
        question = lease.question
        shown = self._order(question)
        self._show(question, shown)
        letters, began = ascii_uppercase[: len(shown)], self.clock()
        while True:
            typed = self._line().strip()
            if typed.lower() == "q":
                raise LabellingPaused("labelling is paused; every answer is kept, and the same command goes on")
            if typed.lower() == "u":
                return None
            if typed.lower() == "s":
                return _Given(lease, None)
            try:
                ranked = () if typed == "?" else parse_ranking(typed, letters)
            except DataError as error:
                self._say(Text(f"{error}. {HELP}", style="yellow"))
                continue
            tiers = tuple(tuple(shown[letters.index(letter)] for letter in tier) for tier in ranked)
            return _Given(lease, self._answer(question, shown, tiers, seconds=self.clock() - began))

    def _answer(
        self, question: Question, shown: tuple[str, ...], tiers: tuple[tuple[str, ...], ...], *, seconds: float
    ) -> Answer:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Answer(
            question.id, self.labeller, tiers, shown=shown, seconds=round(seconds, 3), time=now, source="keyboard"
        )

    def _order(self, question: Question) -> tuple[str, ...]:
        """The candidates' ids in an order drawn for this labeller: where a text stands must say nothing of it."""
        draw = random.Random(content_id("keyboard", self.seed, self.labeller.id, question.id))
        ids = [candidate.id for candidate in question.candidates]
        return tuple(draw.sample(ids, len(ids)))

    def _line(self) -> str:
        try:
            return self.read("> ") if self.read else self.console.input("> ")
        except EOFError as end:
            raise LabellingPaused("the input ended; every answer is kept, and the same command goes on") from end

    def _show(self, question: Question, shown: tuple[str, ...]) -> None:
        texts = {c.id: c.text or f"clip {c.media}" for c in question.candidates}
        counts = self.store.counts(self.project, purpose=self.purpose)
        given = counts.answers + (self._hand is not None and self._hand.answer is not None)
        self._say(Rule(f"{given + 1} of {counts.answers + counts.wanted}"))
        if question.prompt:
            for message in question.prompt.messages:
                self._say(Text.assemble((f"{message.role}: ", "bold"), plain(message.content)))
            self._say(Text(plain(question.prompt.text or ""), style="bold"))
        for letter, candidate in zip(ascii_uppercase, shown, strict=False):
            self._say(Panel(Text(plain(texts[candidate])), title=letter, title_align="left"))

    def _say(self, what: Text | Panel | Rule) -> None:
        self.console.print(what)


def plain(text: str) -> str:
    """The text without control characters: what a model wrote must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
