"""Prompt sets: what is dropped and why, and that no user is in two splits."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import ConfigError, DependencyError
from backflip.feedback.prompts import PromptReport, prompt_sets
from backflip.records import Prompt

PROMPTS = st.lists(
    st.builds(Prompt.ask, st.text("ab ", max_size=6), user=st.none() | st.sampled_from("uvwxyz")), max_size=30
)


def test_each_reason_is_counted() -> None:
    start = "s" * 20
    prompts = [
        Prompt.ask("Why is the sky blue?", user="a"),
        Prompt.ask("  why IS the\nsky blue? ", user="b"),  # equal when normalised
        Prompt.ask(start + " one", user="a"),
        Prompt.ask(start + " two", user="b"),  # shares 20 characters
        Prompt.ask("write to ann@example.org", user="a"),
        Prompt.ask("third", user="a"),
        Prompt.ask("fourth", user="a"),
        Prompt.ask("fourth", user="c"),  # equal
    ]
    sets = prompt_sets(prompts, seed=0, validation=0, test=0, prefix=20, max_per_user=3, drop_personal=True)
    # 8 seen - 2 equal - 1 near - 1 personal = 4, all of user a, of which 3 may stay.
    assert sets.report == PromptReport(
        seen=8, exact_duplicates=2, near_duplicates=1, personal=1, over_user_limit=1, train=3, validation=0, test=0
    )
    assert sets.report.kept == len(sets.train) == 3


def test_without_prefix_only_equal_prompts_are_dropped() -> None:
    prompts = [Prompt(text="a" * 300 + str(i)) for i in range(3)] + [Prompt(text="A" * 300 + "0")]
    assert prompt_sets(prompts, seed=0, prefix=None).report.kept == 3
    assert prompt_sets(prompts, seed=0).report.kept == 1


@given(PROMPTS, st.integers(0, 5), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_users_are_in_one_split_and_nothing_is_lost(prompts: list[Prompt], seed: int, limit: int) -> None:
    sets = prompt_sets(prompts, seed=seed, validation=0.3, test=0.3, prefix=3, max_per_user=limit)
    splits = [sets.train, sets.validation, sets.test]
    users = [{p.user for p in split if p.user} for split in splits]
    assert sum(map(len, users)) == len(set().union(*users))
    assert all(sum(p.user == u for p in split) <= limit for split, own in zip(splits, users, strict=True) for u in own)
    r = sets.report
    assert r.seen == len(prompts) == r.kept + r.exact_duplicates + r.near_duplicates + r.personal + r.over_user_limit
    assert sets == prompt_sets(prompts, seed=seed, validation=0.3, test=0.3, prefix=3, max_per_user=limit)


def test_a_users_split_does_not_move_when_data_come() -> None:
    few = [Prompt.ask(f"{i} asks", user=str(i)) for i in range(50)]
    more = [Prompt.ask(f"more {i}", user=str(i)) for i in range(300)]
    old, new = (prompt_sets(p, seed=3, validation=0.2, test=0.2) for p in (few, more + few))
    for name in ("train", "validation", "test"):
        assert {p.user for p in getattr(old, name)} <= {p.user for p in getattr(new, name)}
    # 300 users, share 0.2: standard deviation sqrt(300 * 0.2 * 0.8) = 6.9 users; 60 +- 4 of them.
    assert 32 < len({p.user for p in new.test}) < 88
    assert {p.user for p in new.test} != {p.user for p in prompt_sets(more + few, seed=4, test=0.2).test}


def test_the_limit_draws_by_seed_not_by_order() -> None:
    prompts = [Prompt.ask(f"{i} things", user="u") for i in range(40)]
    kept = prompt_sets(prompts, seed=1, validation=0, test=0, max_per_user=10).train
    assert set(kept) == set(prompt_sets(prompts[::-1], seed=1, validation=0, test=0, max_per_user=10).train)
    assert kept != tuple(prompts[:10])


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(DependencyError, match=r"backflip\[pii\]"):
        prompt_sets([Prompt.ask("q")], seed=0, drop_personal=True)
    assert prompt_sets([Prompt.ask("q")], seed=0).report.kept == 1


@pytest.mark.parametrize(
    "wrong", [{"validation": -0.1}, {"validation": 0.6, "test": 0.6}, {"max_per_user": 0}, {"prefix": 0}]
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        prompt_sets([], seed=0, **wrong)
