"""The records that people, simulated judges, imports and trainers share. Standard library only.

A `Question` shows candidates; an `Answer` puts them in tiers from best to worst. Pairs are derived from an answer
(`backflip.feedback.pairs`), never stored. Ids are sha256 of the content, so that the same question asked twice is one
question. Records are frozen and validate themselves: a record that exists is a valid one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backflip.errors import DataError

__all__ = [
    "MAX_CANDIDATES",
    "MIN_CANDIDATES",
    "Answer",
    "Candidate",
    "Demonstration",
    "Labeller",
    "LabellerKind",
    "Medium",
    "Message",
    "Prompt",
    "Question",
    "Role",
    "content_id",
]

MIN_CANDIDATES, MAX_CANDIDATES = 2, 9  # InstructGPT's labellers ranked K = 4..9 (P, 3.5); two clips are K = 2

Role = Literal["system", "user", "assistant"]
Medium = Literal["text", "clip"]
LabellerKind = Literal["person", "simulated", "import", "maker"]


def content_id(*parts: Any) -> str:
    """sha256 (hex, 64 characters) of the parts as canonical JSON: equal content, equal id, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DataError(message)


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        _require(
            self.role in ("system", "user", "assistant"),
            f"message role is {self.role!r}; wanted system, user or assistant",
        )


@dataclass(frozen=True)
class Prompt:
    """What a policy is asked: a dialogue that ends with the user's turn, or plain text to be continued.

    `user` names who wrote it (prompt sets are split by user); `source` the data set that it came from. Neither is
    part of the id.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    user: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        _require(bool(self.messages) != (self.text is not None), "a prompt is messages or text; not both, not neither")
        if self.messages:
            last = self.messages[-1].role
            _require(last == "user", f"a dialogue prompt ends with role {last!r}; wanted 'user'")

    @classmethod
    def ask(cls, content: str, *, system: str | None = None, user: str | None = None, source: str = "") -> Prompt:
        """A dialogue of one user turn, with an optional system message before it."""
        opening = (Message("system", system),) if system is not None else ()
        return cls(messages=(*opening, Message("user", content)), user=user, source=source)

    @property
    def id(self) -> str:
        return content_id("prompt", [[m.role, m.content] for m in self.messages], self.text)


@dataclass(frozen=True)
class Candidate:
    """One thing to be judged: a text, or a clip by the key of its media.

    `origin` says who made it (never shown). `ended` is false where a length limit cut a sampled text off: a reward
    model must not read an end that the policy did not write. Neither is part of the id.
    """

    text: str | None = None
    media: str | None = None
    origin: str = ""
    ended: bool = True

    def __post_init__(self) -> None:
        _require((self.text is None) != (self.media is None), "a candidate is text or media; not both, not neither")

    @property
    def id(self) -> str:
        return content_id("candidate", self.text, self.media)


@dataclass(frozen=True)
class Question:
    """A request to compare 2..9 candidates, in canonical order (sorted by id; the shown order is the answer's)."""

    medium: Medium
    candidates: tuple[Candidate, ...]
    prompt: Prompt | None = None
    purpose: str = "train"
    priority: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.candidates)
        _require(
            MIN_CANDIDATES <= n <= MAX_CANDIDATES,
            f"a question has {n} candidates; wanted {MIN_CANDIDATES} to {MAX_CANDIDATES}",
        )
        _require(self.medium in ("text", "clip"), f"medium is {self.medium!r}; wanted text or clip")
        _require(self.medium == "clip" or self.prompt is not None, "a question about texts needs its prompt")
        ordered = tuple(sorted(self.candidates, key=lambda c: c.id))
        ids = [c.id for c in ordered]
        _require(len(set(ids)) == n, "a question shows the same candidate twice; drop duplicates before asking")
        object.__setattr__(self, "candidates", ordered)

    @property
    def id(self) -> str:
        prompt = self.prompt.id if self.prompt else None
        return content_id("question", self.medium, prompt, [c.id for c in self.candidates], self.purpose)


@dataclass(frozen=True)
class Labeller:
    """Who answers. `groups` are free attributes (language, region, ...), each the labeller's own choice."""

    id: str
    kind: LabellerKind
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(bool(self.id), "a labeller needs an id")
        _require(
            self.kind in ("person", "simulated", "import", "maker"),
            f"labeller kind is {self.kind!r}; wanted person, simulated, import or maker",
        )


@dataclass(frozen=True)
class Answer:
    """One labeller's answer to one question.

    `tiers` lists candidate ids from best to worst, each tier a group of tied candidates: {1} > {2,3,4} is a best-of-4,
    four tiers of one are InstructGPT's full ranking. An empty `tiers` is "cannot tell". `shown` is the order in which
    this labeller saw the candidates. `ratings` (1..7) and `flags` are by candidate id.
    """

    question: str
    labeller: Labeller
    tiers: tuple[tuple[str, ...], ...]
    shown: tuple[str, ...] = ()
    ratings: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float | None = None
    time: str = ""
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        ranked = [c for tier in self.tiers for c in tier]
        _require(all(self.tiers), "an answer has an empty tier; a tier is one or more tied candidates")
        _require(len(set(ranked)) == len(ranked), "an answer ranks the same candidate twice")
        bad = {c: r for c, r in self.ratings.items() if not 1 <= r <= 7}
        _require(not bad, f"ratings {bad} are outside 1..7")

    @property
    def cannot_tell(self) -> bool:
        return not self.tiers

    def check(self, question: Question) -> None:
        """Raises DataError unless the tiers, shown order, ratings and flags name exactly this question's candidates."""
        _require(self.question == question.id, f"answer is to question {self.question[:12]}, not {question.id[:12]}")
        known = {c.id for c in question.candidates}
        ranked = {c for tier in self.tiers for c in tier}
        named = ranked | set(self.shown) | set(self.ratings) | set(self.flags)
        _require(
            named <= known,
            f"answer names candidate {next(iter(sorted(named - known)), '')[:12]!r}, which question "
            f"{question.id[:12]} does not have; its candidates are {sorted(c[:12] for c in known)}",
        )
        missing = known - ranked
        _require(
            self.cannot_tell or not missing,
            f"answer leaves out {len(missing)} of {len(known)} candidates; rank all, or give no tiers (cannot tell)",
        )


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the answer that its author holds to be good. `author.kind` is `maker` for texts that we wrote."""

    prompt: Prompt
    answer: str
    author: Labeller
    source: str = ""

    def __post_init__(self) -> None:
        _require(bool(self.answer.strip()), "a demonstration's answer is empty")

    @property
    def id(self) -> str:
        return content_id("demonstration", self.prompt.id, self.answer)
