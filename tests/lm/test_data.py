"""From records to trees, and the order of an epoch."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from backflip.lm.data import MicroBatches, answer_tree, cut_left, demonstration_tree, epoch_order
from backflip.lm.packing import Tree
from backflip.lm.tokens import Tokens
from backflip.records import Demonstration, Labeller, Prompt

AUTHOR = Labeller("makers", "maker")


def test_a_demonstration_ends_and_the_loss_falls_on_its_answer(tiny_folder: Path) -> None:
    tokens = Tokens.load(tiny_folder)
    prompt = Prompt.ask("Why is the sky blue?")
    tree = demonstration_tree(tokens, Demonstration(prompt, "It is the sun.", AUTHOR))
    assert tree.prompt == tokens.prompt(prompt)
    assert tree.responses == (tokens.answer("It is the sun."),)
    assert tree.responses[0][-1] == tokens.eos


def test_answers_that_were_cut_off_have_no_end(tiny_folder: Path) -> None:
    tokens = Tokens.load(tiny_folder)
    tree = answer_tree(tokens, Prompt(text="The moon"), ["is a", "is the"], ended=False)
    assert len(tree.responses) == 2
    assert all(response[-1] != tokens.eos for response in tree.responses)


def test_cut_left_by_hand() -> None:
    tree = Tree((1, 2, 3, 4), ((5, 6), (7,)))
    assert cut_left(tree, 0) == tree
    assert cut_left(tree, 6) == tree
    assert cut_left(tree, 4) == Tree((3, 4), ((5, 6), (7,)))
    assert cut_left(tree, 2) == Tree((), ((5, 6), (7,)))
    assert cut_left(tree, 1) == Tree((), ((5,), (7,)))


@given(st.integers(0, 12), st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 20))
def test_cut_left_stays_within_the_length(prompt: int, responses: list[int], limit: int) -> None:
    tree = cut_left(Tree(tuple(range(prompt)), tuple(tuple(range(n)) for n in responses)), limit)
    assert len(tree.prompt) + max(len(r) for r in tree.responses) <= limit
    assert all(r for r in tree.responses)
    assert tree.prompt == tuple(range(prompt))[prompt - len(tree.prompt) :]  # the newest tokens


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(20, seed=1, epoch=0)
    assert sorted(first) == list(range(20))
    assert first == epoch_order(20, seed=1, epoch=0)
    assert first != epoch_order(20, seed=1, epoch=1)
    assert first != epoch_order(20, seed=2, epoch=0)


def test_micro_batches_hold_every_tree_once() -> None:
    trees = [Tree((1,) * n, ((2,),)) for n in (1, 5, 2, 9, 1)]
    passes = list(MicroBatches(trees, tokens=8, row_length=8))
    assert [indices for indices, _ in passes] == [[0, 1], [2], [3], [4]]  # 2 + 6 <= 8 < 8 + 3; 10 is alone
    assert sum(packed.scored for _, packed in passes) == 5
