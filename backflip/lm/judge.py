"""A simulated judge of short explanations for a small child: it reads a text and says how good it is, from 0 to 1.

It stands in for labellers in the demo and is always called simulated. Its value is

    length x fresh x (w_plain plain + w_sentences sentences + w_ends ends + w_topic topic)

A weighted sum alone can be bought with one cheap merit (a policy learns to be brief, or to say one plain sentence again
and again), so the two cheats are factors: no other merit makes up for them. It knows nothing of truth or of sense.
`backflip.feedback.oracle` turns its values into rankings and adds the noise of a person's choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from typing import NamedTuple

from backflip.errors import ConfigError, DependencyError
from backflip.records import Prompt

__all__ = ["JudgeWeights", "Judgement", "SimulatedJudge", "content_stems", "stem", "whole_sentences"]

SHORTEST, LONGEST = 20, 70  # words: shorter loses steeply, longer gently
FEWEST, MOST = 2, 4  # "a few sentences"
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+(?:[.,]\d+)*")
_SENTENCE_END = re.compile(r"""(?<=[.!?])["')]*\s+|\n+""")
_WHOLE = re.compile(r"""["'(]*[A-Z0-9].*[.!?]["')]*""", re.DOTALL)
_LIST_ITEM = re.compile(r"\s*(?:[-*•#]|\d+[.)]\s)")
_ENDING = re.compile(r"^(?=..)(.*[aeiouy].*)(?:ing|ed|er|est|ly)$")
_LAST_VOWEL = re.compile(r"^(..+?)(?:ie|i|y|e)$")
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all also an and any are as at away be because been being but by can could did do does down each "
        "for from get gets had has have he her him his how i if in into is it its just like made make makes many may "
        "more most much my no not of off on one or other our out over she so some than that the their them then there "
        "these they this those to too up us very was we were what when where which who why will with would you your",
    )
)


@dataclass(frozen=True)
class JudgeWeights:
    """How much each part weighs; they sum to 1. `ends` is light: stopping is learnt first, and leaves nothing to show.

    Raises ConfigError for a negative weight or another sum.
    """

    plain: float = 0.50
    sentences: float = 0.20
    ends: float = 0.10
    topic: float = 0.20

    def __post_init__(self) -> None:
        weights = asdict(self)
        if min(weights.values()) < 0 or not math.isclose(sum(weights.values()), 1.0, abs_tol=1e-9):
            raise ConfigError(f"judge weights are {weights}; wanted none below 0 and a sum of 1: scale them")


class Judgement(NamedTuple):
    """What the judge says: `value` in [0, 1], and each part of it in [0, 1], by name (`SimulatedJudge.parts`)."""

    value: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class SimulatedJudge:
    """Scores explanations by rules; deterministic, and reads nothing from the network.

    Parts: `plain` (few words off the Dale-Chall list, and a low Automated Readability Index: `textstat` brings both),
    `sentences` (two to four whole ones), `ends` (the policy stopped by itself), `topic` (names what was asked about),
    and the factors `length` (20 to 70 words) and `fresh` (says nothing twice, and does not copy the prompt).
    """

    weights: JudgeWeights = field(default_factory=JudgeWeights)

    def score(self, prompt: Prompt, text: str, *, ended: bool, topic: str) -> Judgement:
        """Judges `text` as an answer to `prompt`, which asks about `topic`; `ended`: by the end token, not the limit.

        Raises DependencyError where textstat is missing.
        """
        words, on_topic = _words(text), content_stems(topic)
        parts = {
            "plain": _plain(text, words, on_topic),
            "sentences": _few_sentences(text),
            "ends": float(ended and bool(words)),
            "topic": _on_topic(words, on_topic),
        }
        merit = sum(weight * parts[name] for name, weight in asdict(self.weights).items())
        factors = {"length": _length(len(words)), "fresh": _fresh(words, _words(_question(prompt)), on_topic)}
        return Judgement(merit * math.prod(factors.values()), {**parts, **factors})


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'"))


def _question(prompt: Prompt) -> str:
    return prompt.messages[-1].content if prompt.messages else prompt.text or ""


@lru_cache(maxsize=2**16)
def stem(word: str) -> str:
    """A light stem, as a key: `skies` meets `sky`, and `running` meets `runs`.

    Off come s, then ing, ed, er, est or ly if the rest has a vowel, then e, i, y or ie; a last double is halved.
    """
    word = word.partition("'")[0]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    word = _ENDING.sub(r"\1", word)
    word = _LAST_VOWEL.sub(r"\1", word)
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def content_stems(text: str) -> frozenset[str]:
    """The stems of the words that carry meaning: `why the sky is blue` -> {sk, blu}."""
    return frozenset(stem(word) for word in _words(text) if word not in _FUNCTION_WORDS)


def whole_sentences(text: str) -> tuple[int, int]:
    """(pieces, whole): a whole one has three words or more, a capital first, . ! or ? last, and is no list item."""
    pieces = [piece for piece in _SENTENCE_END.split(text.strip()) if piece.strip()]
    whole = [p for p in pieces if _WHOLE.fullmatch(p.strip()) and not _LIST_ITEM.match(p) and len(_words(p)) >= 3]
    return len(pieces), len(whole)


def _few_sentences(text: str) -> float:
    """1 for two to four sentences, less 0.25 for each too few or too many; times the whole ones' share, squared."""
    pieces, whole = whole_sentences(text)
    beyond = max(FEWEST - whole, 0) + max(pieces - MOST, 0)
    return max(0.0, 1 - 0.25 * beyond) * (whole / max(pieces, 1)) ** 2


def _length(words: int) -> float:
    """1 from 20 to 70 words; below, (words / 20)^2, so that brevity cannot win; above, 70 / words."""
    return min(1.0, (words / SHORTEST) ** 2, LONGEST / max(words, 1))


def _on_topic(words: Sequence[str], topic: Collection[str]) -> float:
    """The share of the topic's content words that the text names; 1 for a topic without any."""
    return len({stem(word) for word in words} & set(topic)) / len(topic) if topic else 1.0


def _plain(text: str, words: Sequence[str], topic: Collection[str]) -> float:
    """The geometric mean of two graded halves, neither of which is ever quite 1 nor 0.

    Words: exp(-share / 0.15), where share is of words off the Dale-Chall list (Chall and Dale 1995; a regular ending
    does not make a word hard, and the topic's own words are free). Grade: a falling logistic of the Automated
    Readability Index (Smith and Senter 1967), one half at grade 6, a step of 2 grades.
    """
    if not words:
        return 0.0
    hard = sum(stem(word) not in topic and not _familiar(word) for word in words)
    familiar = math.exp(-hard / len(words) / 0.15)
    grade = min(max(_textstat().grade(text), -20.0), 60.0)  # one endless word has a grade of thousands
    return math.sqrt(familiar / (1 + math.exp((grade - 6.0) / 2.0)))


def _familiar(word: str) -> bool:
    bare = word.partition("'")[0]
    return not bare.isalpha() or word in _textstat().easy or stem(bare) in _textstat().easy_stems


def _fresh(words: Sequence[str], question: Sequence[str], topic: Collection[str]) -> float:
    """1 for a text that repeats nothing; the product of three ratios.

    New pairs of words: the share of distinct ones over 0.95, squared, at most 1. New content: distinct content words
    over all (each topic word is free twice) over 0.7, at most 1. Own words: 1 - the share of 4-grams from the prompt.
    """
    if not words:
        return 0.0
    pairs = _ngrams(words, 2)
    new = len(set(pairs)) / max(len(pairs), 1) / 0.95
    content = [stem(word) for word in words if word not in _FUNCTION_WORDS]
    free = sum(min(content.count(word), 3) - 1 for word in topic if word in content)
    varied = len(set(content)) / max(len(content) - free, 1) / 0.7
    fours, asked = _ngrams(words, 4), set(_ngrams(question, 4))
    copied = sum(gram in asked for gram in fours) / max(len(fours), 1)
    return min(1.0, new) ** 2 * min(1.0, varied) * (1 - copied)


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


class _Readability:
    """The two things taken from textstat. Its syllable counts are not used: they fetch a dictionary through nltk."""

    def __init__(self) -> None:
        try:
            from textstat.backend import metrics, utils
        except ImportError as error:
            message = "the simulated judge needs textstat, which is not installed; run: pip install 'backflip[demo]'"
            raise DependencyError(message) from error
        self._metrics = metrics
        self.easy: frozenset[str] = frozenset(utils.get_lang_easy_words("en_US"))
        self.easy_stems = frozenset(stem(word) for word in self.easy)

    def grade(self, text: str) -> float:
        return float(self._metrics.automated_readability_index(text))


@cache
def _textstat() -> _Readability:
    return _Readability()
