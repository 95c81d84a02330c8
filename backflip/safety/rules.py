"""Filters that follow rules: word lists, and personal data. What they block can be read in the list.

A list is a text file: a line `[category]`, then a term a line; `kill*` is every word that begins so, `#` begins a
remark. Terms match whole words of any reading of the text (`backflip.safety.fold`). Chinese has no word boundaries:
there a term must begin and end where a word does, by segmentation (rjieba, whose dictionary comes with it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path

from backflip.errors import ConfigError, DataError, DependencyError
from backflip.feedback.personal import KINDS, REGIONS, personal_data
from backflip.safety.fold import fold, views
from backflip.safety.verdict import ALLOWED, Context, Verdict

__all__ = ["DEFAULT_LISTS", "PersonalData", "WordList", "default_words", "read_words"]

DEFAULT_LISTS = ("en.txt", "zh.txt")

_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_BETWEEN_HAN = re.compile(r"(?<=[\u3400-\u9fff])[\s.*_·,-]+(?=[\u3400-\u9fff])")  # a word spelled with gaps


@dataclass(frozen=True)
class WordList:
    """Blocks a text that holds a listed term. `terms` are by category; `allow` are terms that never count.

    Raises:
        ConfigError: no term is given.
        DependencyError: a term is Chinese, and rjieba is not installed.
    """

    terms: Mapping[str, Sequence[str]]
    allow: Sequence[str] = ()
    name: str = "word list"
    _han: dict[str, tuple[str, ...]] = field(init=False, repr=False)
    _words: dict[str, re.Pattern[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not any(self.terms.values()):
            raise ConfigError(f"{self.name} has no term; wanted one or more, each under a [category]")
        han = {c: tuple(fold(t) for t in terms if _HAN.search(t)) for c, terms in self.terms.items()}
        words = {c: [fold(t) for t in terms if not _HAN.search(t)] for c, terms in self.terms.items()}
        object.__setattr__(self, "_han", {c: terms for c, terms in han.items() if terms})
        object.__setattr__(self, "_words", {c: _pattern(terms) for c, terms in words.items() if terms})
        if self._han:
            _boundaries("")

    @cached_property
    def _allowed(self) -> re.Pattern[str] | None:
        return _pattern([fold(term) for term in self.allow]) if self.allow else None

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: ARG002, B008
        """Each category has 1 or 0; the reason names categories, not words: it may be shown to whoever was blocked."""
        readings = [self._allowed.sub(" ", view) if self._allowed else view for view in views(text)]
        found = {c for c, pattern in self._words.items() if any(pattern.search(reading) for reading in readings)}
        found |= set(_han_found(self._han, readings[0])) if self._han and _HAN.search(text) else set()
        scores = {category: float(category in found) for category in self.terms}
        return Verdict(not found, scores, f"{self.name}: {', '.join(sorted(found))}" if found else "")


@dataclass(frozen=True)
class PersonalData:
    """Blocks a text that holds personal data of these kinds (`backflip.feedback.personal`). Needs `backflip[pii]`."""

    kinds: Sequence[str] = KINDS
    regions: Sequence[str] = REGIONS
    name: str = "personal data"

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - set(KINDS):
            raise ConfigError(f"personal data of kind {min(unknown)!r} is not known; wanted some of {', '.join(KINDS)}")
        personal_data("", regions=self.regions)  # where the packages are missing, this says so now

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: ARG002, B008
        """The category is `personal data`."""
        held = [kind for kind in personal_data(text, regions=self.regions) if kind in self.kinds]
        return Verdict(False, {self.name: 1.0}, f"{self.name}: {', '.join(held)}") if held else ALLOWED


def default_words(*, allow: Sequence[str] = ()) -> WordList:
    """The short English and Chinese lists that ship with the package: unambiguous terms alone."""
    folder = resources.files("backflip.safety") / "words"
    terms: dict[str, list[str]] = {}
    for name in DEFAULT_LISTS:
        for category, more in _parse((folder / name).read_text(encoding="utf-8").splitlines(), name).items():
            terms.setdefault(category, []).extend(more)
    return WordList(terms, allow=allow)


def read_words(path: Path, *, allow: Sequence[str] = ()) -> WordList:
    """A list from a file. Raises DataError at a file that cannot be read, or a term before the first [category]."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a word list ({error}); wanted a text file in UTF-8") from error
    return WordList(_parse(lines, str(path)), allow=allow, name=f"word list {path.name}")


def _parse(lines: Iterable[str], name: str) -> dict[str, list[str]]:
    terms: dict[str, list[str]] = {}
    category = None
    for number, line in enumerate(lines, start=1):
        term = line.split("#", 1)[0].strip()
        if heading := re.fullmatch(r"\[(.+)\]", term):
            category = heading[1].strip()
        elif term and category is None:
            raise DataError(f"{name}, line {number}: a term stands before any [category]; wanted a heading first")
        elif term:
            terms.setdefault(str(category), []).append(term)
    return terms


def _pattern(terms: Sequence[str]) -> re.Pattern[str]:
    """Any of the terms as whole words; a space in a term is any white space or none."""
    longest = sorted(terms, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(_body, longest))})(?!\w)")


def _body(term: str) -> str:
    return re.escape(term.rstrip("*")).replace(r"\ ", r"\s*") + (r"\w*" if term.endswith("*") else "")


def _han_found(terms: Mapping[str, Sequence[str]], text: str) -> Iterator[str]:
    text = _BETWEEN_HAN.sub("", text)
    edges = _boundaries(text)
    for category, listed in terms.items():
        if any({m.start(), m.end()} <= edges for term in listed for m in re.finditer(re.escape(term), text)):
            yield category


def _boundaries(text: str) -> set[int]:
    """Where words begin and end."""
    try:
        import rjieba
    except ImportError as error:
        raise DependencyError(
            "Chinese terms need rjieba to tell words apart: pip install 'backflip[safety]'"
        ) from error
    edges, place = {0}, 0
    for word in rjieba.cut(text):
        place += len(word)
        edges.add(place)
    return edges
