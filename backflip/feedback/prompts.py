"""Prompt sets as in the paper (P, 3.2 and A.2): no near-duplicates, a limit a user, no user in two splits.

What is dropped is counted, with the reason. All choices depend on the seed and on the content, never on the order in
which prompts come, except that of two near-duplicates the first stays.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from backflip.errors import ConfigError
from backflip.feedback.personal import personal_data
from backflip.records import Prompt

__all__ = ["PromptReport", "PromptSets", "normalised", "prompt_sets"]


@dataclass(frozen=True)
class PromptReport:
    """How many prompts came, why some were dropped, and where the rest went."""

    seen: int
    exact_duplicates: int
    near_duplicates: int
    personal: int
    over_user_limit: int
    train: int
    validation: int
    test: int

    @property
    def kept(self) -> int:
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class PromptSets:
    """Three sets without a common user; prompts in the order in which they came."""

    train: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    report: PromptReport


def prompt_sets(
    prompts: Iterable[Prompt],
    *,
    seed: int,
    validation: float = 0.1,
    test: float = 0.1,
    prefix: int | None = 100,
    max_per_user: int = 200,
    drop_personal: bool = False,
    regions: Sequence[str] = ("US", "GB"),
) -> PromptSets:
    """Drops duplicates, then personal data if asked, then what is over the limit a user; splits the rest by user.

    Two prompts are near-duplicates if their normalised texts share the first `prefix` characters; None drops only
    those that are equal when normalised. `validation` and `test` are the expected shares of users; a user's split
    depends on seed and name alone, so more data never moves anyone. A prompt without user is its own user.
    P filters personal data from the training split only; here it is dropped everywhere.

    Raises ConfigError at shares or limits out of range, DependencyError if `drop_personal` lacks its package.
    """
    _check(validation, test, prefix, max_per_user)
    seen = list(prompts)
    exact = _first_by(seen, normalised)
    near = exact if prefix is None else _first_by(exact, lambda p: normalised(p)[:prefix])
    clean = (
        [p for p in near if not any(personal_data(t, regions=regions) for t in _texts(p))] if drop_personal else near
    )
    kept = _limited(clean, seed, max_per_user)
    splits: dict[str, list[Prompt]] = {"train": [], "validation": [], "test": []}
    for prompt in kept:
        splits[_split(prompt, seed, validation, test)].append(prompt)
    report = PromptReport(
        seen=len(seen),
        exact_duplicates=len(seen) - len(exact),
        near_duplicates=len(exact) - len(near),
        personal=len(near) - len(clean),
        over_user_limit=len(clean) - len(kept),
        **{name: len(chosen) for name, chosen in splits.items()},
    )
    return PromptSets(**{name: tuple(chosen) for name, chosen in splits.items()}, report=report)


def normalised(prompt: Prompt) -> str:
    """The prompt's text with one form for each character (NFKC), no case, and runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", "\n".join(_texts(prompt))).casefold().split())


def _check(validation: float, test: float, prefix: int | None, max_per_user: int) -> None:
    if validation < 0 or test < 0 or validation + test > 1:
        raise ConfigError(f"validation {validation} and test {test} are no shares; wanted two numbers >= 0 of sum <= 1")
    if max_per_user < 1:
        raise ConfigError(f"max_per_user is {max_per_user}; wanted at least 1")
    if prefix is not None and prefix < 1:
        raise ConfigError(f"prefix is {prefix}; wanted at least 1 character, or None to drop only equal prompts")


def _texts(prompt: Prompt) -> Iterator[str]:
    yield from (m.content for m in prompt.messages)
    if prompt.text is not None:
        yield prompt.text


def _first_by(prompts: Iterable[Prompt], key: Callable[[Prompt], str]) -> list[Prompt]:
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        first.setdefault(key(prompt), prompt)
    return list(first.values())


def _limited(prompts: list[Prompt], seed: int, limit: int) -> list[Prompt]:
    """At most `limit` a user, drawn by the seed and not by who came first (people change over time)."""
    by_user: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_user.setdefault(_user(prompt), []).append(prompt)
    kept: set[str] = set()
    for own in by_user.values():
        kept.update(p.id for p in sorted(own, key=lambda p: _draw(seed, "limit", p.id))[:limit])
    return [p for p in prompts if p.id in kept]


def _user(prompt: Prompt) -> str:
    return f"user {prompt.user}" if prompt.user is not None else f"prompt {prompt.id}"


def _split(prompt: Prompt, seed: int, validation: float, test: float) -> str:
    draw = _draw(seed, "split", _user(prompt))
    return "validation" if draw < validation else "test" if draw < validation + test else "train"


def _draw(seed: int, purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on the arguments alone, on every machine."""
    digest = hashlib.sha256(f"{seed} {purpose} {name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
