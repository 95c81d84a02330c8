"""Packing moves tokens and changes nothing: who sees whom, positions, what is scored."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from backflip.lm.packing import Packed, Tree, batches_by_tokens, pack, split_responses

tokens = st.lists(st.integers(1, 99), max_size=6).map(tuple)
some_tokens = st.lists(st.integers(1, 99), min_size=1, max_size=6).map(tuple)
trees = st.lists(st.builds(Tree, tokens, st.lists(some_tokens, max_size=3).map(tuple)), min_size=1, max_size=6)


def test_one_tree_by_hand() -> None:
    # prompt 5 6, responses 7 8 and 9: the row 5 6 7 8 9. Response 9 continues the prompt: its position is 2, it is
    # predicted by the prompt's last state (column 1), and it does not see 7 8.
    packed = pack([Tree((5, 6), ((7, 8), (9,)))])
    assert packed.tokens.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.sources.tolist() == [1, 2, 1]
    assert packed.targets.tolist() == [7, 8, 9]
    assert packed.lengths == (2, 1)
    assert packed.last.tolist() == [3, 4]
    assert packed.mask()[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_first_token_of_a_plain_document_is_not_scored() -> None:
    packed = pack([Tree((), ((3, 4, 5),)), Tree((), ((6,),))], row_length=8)
    assert packed.tokens.tolist() == [[3, 4, 5, 6]]
    assert packed.targets.tolist() == [4, 5]
    assert packed.lengths == (2, 0)


def test_two_documents_in_a_row_do_not_see_each_other_and_padding_is_alone() -> None:
    packed = pack([Tree((1, 2), ((3,),)), Tree((4,), ((5,),)), Tree((6,), ((7, 8, 9),))], row_length=5)
    # longest first: 6 7 8 9 alone (4 of 5; the tree of 2 does not fit beside), then 1 2 3 4 5
    assert packed.tokens.tolist() == [[6, 7, 8, 9, 0], [1, 2, 3, 4, 5]]
    assert packed.tree.tolist() == [[2, 2, 2, 2, -1], [0, 0, 0, 1, 1]]
    mask = packed.mask()[:, 0]
    assert mask[0, 4].tolist() == [False, False, False, False, True]
    assert mask[1, 4].tolist() == [False, False, False, True, True]


def paths(packed: Packed, batch: list[Tree]) -> list[list[int]]:
    """For each response: the flat places of its prompt and then of itself, by their tree and branch."""
    tree, branch = packed.tree.flatten(), packed.branch.flatten()
    found = []
    for index, one in enumerate(batch):
        for k in range(len(one.responses)):
            mine = (tree == index) & ((branch == 0) | (branch == k + 1))
            found.append(mine.nonzero().flatten().tolist())
    return found


@given(trees, st.integers(0, 40))
def test_every_token_sees_its_own_path_and_nothing_else(batch: list[Tree], row_length: int) -> None:
    packed = pack(batch, row_length=row_length)
    length = packed.tokens.shape[1]
    flat, positions = packed.tokens.flatten(), packed.positions.flatten()
    mask = packed.mask()[:, 0].flatten(0, 1)
    whole = [(*tree.prompt, *response) for tree in batch for response in tree.responses]
    for path, text, count in zip(paths(packed, batch), whole, packed.lengths, strict=True):
        assert tuple(flat[path].tolist()) == text
        assert positions[path].tolist() == list(range(len(text)))
        for t, place in enumerate(path):
            row = place // length
            assert (row * length + mask[place].nonzero().flatten()).tolist() == path[: t + 1]
        assert count <= len(text) - 1 or count == 0


@given(trees, st.integers(0, 40))
def test_scored_tokens_are_the_responses_in_order(batch: list[Tree], row_length: int) -> None:
    packed = pack(batch, row_length=row_length)
    scored = [response[0 if tree.prompt else 1 :] for tree in batch for response in tree.responses]
    assert packed.targets.tolist() == [token for response in scored for token in response]
    assert packed.lengths == tuple(len(response) for response in scored)
    places = paths(packed, batch)
    assert packed.last.tolist() == [path[-1] for path in places]
    before = [place for path, response in zip(places, scored, strict=True) for place in path[-len(response) - 1 : -1]]
    assert packed.sources.tolist() == (before if packed.scored else [])


@given(trees, st.integers(1, 40))
def test_rows_hold_every_tree_once_within_the_length(batch: list[Tree], row_length: int) -> None:
    packed = pack(batch, row_length=row_length)
    counts = [int((packed.tree == index).sum()) for index in range(len(batch))]
    assert counts == [tree.length for tree in batch]
    longest = max(tree.length for tree in batch)
    assert packed.tokens.shape[1] <= max(row_length, longest)


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 40))
def test_batches_by_tokens(sizes: list[int], budget: int) -> None:
    batches = batches_by_tokens(sizes, budget)
    assert [i for batch in batches for i in batch] == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(sizes[i] for i in batch) <= budget for batch in batches)
    for one, following in pairwise(batches):  # no batch could have taken the next item
        assert sum(sizes[i] for i in one) + sizes[following[0]] > budget


def test_split_responses() -> None:
    rows, mask = split_responses(torch.tensor([1.0, 2.0, 3.0]), (2, 0, 1), fill=-1.0)
    assert rows.tolist() == [[1.0, 2.0], [-1.0, -1.0], [3.0, -1.0]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]


def test_to_moves_every_tensor() -> None:
    packed = pack([Tree((1,), ((2,),))])
    moved = packed.to(torch.device("meta"))
    assert {value.device.type for value in vars(moved).values() if isinstance(value, torch.Tensor)} == {"meta"}
    assert moved.lengths == packed.lengths
