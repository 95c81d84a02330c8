"""A question as one tree: weights, ties, and the K-wise loss against a slow mean over pairs."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.lm.packing import Tree
from backflip.lm.rankings import Compared, Ranking, kwise_loss, ranking, ranking_metrics
from backflip.lm.tokens import Tokens
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

ANN, BO = Labeller("ann", "person"), Labeller("bo", "person")


def question(*texts: str, ended: bool = True) -> Question:
    return Question("text", tuple(Candidate(t, ended=ended) for t in texts), Prompt.ask("Why?"))


def answer(asked: Question, tiers: list[list[str]], labeller: Labeller = ANN) -> Answer:
    ids = {c.text: c.id for c in asked.candidates}
    return Answer(asked.id, labeller, tuple(tuple(ids[text] for text in tier) for tier in tiers))


def test_the_tree_has_the_candidates_in_their_order(tiny_folder: Path) -> None:
    tokens, asked = Tokens.load(tiny_folder), question("red", "green", "blue")
    made = ranking(tokens, asked, [answer(asked, [["blue"], ["red"], ["green"]])])
    assert made.tree.prompt == tokens.prompt(asked.prompt or Prompt(text=""))
    assert made.tree.responses == tuple(tokens.answer(c.text or "") for c in asked.candidates)
    texts = [c.text for c in asked.candidates]
    named = [(texts[c.better], texts[c.worse], c.distance) for c in made.compared]
    assert named == [("blue", "red", 1), ("blue", "green", 2), ("red", "green", 1)]


def test_a_candidate_that_was_cut_off_has_no_end(tiny_folder: Path) -> None:
    tokens, asked = Tokens.load(tiny_folder), question("red", "blue", ended=False)
    made = ranking(tokens, asked, [answer(asked, [["red"], ["blue"]])])
    assert all(response[-1] != tokens.eos for response in made.tree.responses)


def test_several_answers_share_a_questions_weight(tiny_folder: Path) -> None:
    tokens, asked = Tokens.load(tiny_folder), question("a", "b", "c")
    both = [answer(asked, [["a"], ["b"], ["c"]]), answer(asked, [["c"], ["b"], ["a"]], BO)]
    made = ranking(tokens, asked, both)
    assert [c.weight for c in made.compared] == [1 / 6] * 6  # 1 / C(3,2) / 2 answers
    assert sum(c.weight for c in made.compared) == pytest.approx(1)
    assert [c.labeller.id for c in made.compared] == ["ann"] * 3 + ["bo"] * 3


def test_a_tie_is_dropped_or_is_one_half(tiny_folder: Path) -> None:
    tokens, asked = Tokens.load(tiny_folder), question("a", "b", "c")
    given_answer = answer(asked, [["a"], ["b", "c"]])
    dropped, half = (ranking(tokens, asked, [given_answer], ties=ties) for ties in ("drop", "half"))
    assert [c.target for c in dropped.compared] == [1, 1]
    assert [c.target for c in half.compared] == [1, 1, 0.5]
    scores = torch.tensor([0.3, -0.2, 0.9])
    # with equal scores a tie costs log 2, which weighs one third
    assert float(kwise_loss(torch.zeros(3), [dropped], questions=1)) == pytest.approx(math.log(2) * 2 / 3)
    assert float(kwise_loss(torch.zeros(3), [half], questions=1)) == pytest.approx(math.log(2))
    assert ranking_metrics(scores, [half])["accuracy"] == ranking_metrics(scores, [dropped])["accuracy"]


def test_metrics_by_hand() -> None:
    # scores 2, 0 | 1, 1: the first pair is right by 2, the second is equal, half right
    pair = Compared(0, 1, 1.0, 1, 1.0, ANN)
    rankings = [Ranking(name, Tree((), ((1,), (2,))), (pair,)) for name in ("p", "q")]
    found = ranking_metrics(torch.tensor([2.0, 0.0, 1.0, 1.0]), rankings)
    assert found == pytest.approx(
        {
            "loss": (math.log1p(math.exp(-2)) + math.log(2)) / 2,
            "accuracy": 0.75,
            "margin": 1.0,
            "score_mean": 1.0,
            "score_std": math.sqrt(0.5),
        }
    )


def test_ties_alone_have_no_accuracy() -> None:
    only = Ranking("p", Tree((), ((1,), (2,))), (Compared(0, 1, 0.5, 0, 1.0, ANN),))
    assert "accuracy" not in ranking_metrics(torch.tensor([1.0, 0.0]), [only])


@given(st.data())
def test_the_loss_is_the_mean_over_questions_of_the_mean_over_pairs(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(2, 9), min_size=1, max_size=5))
    rankings, scores, slow = [], [], []
    for size in sizes:
        weight = 1 / math.comb(size, 2)
        order = data.draw(st.permutations(range(size)))
        own = data.draw(st.lists(st.floats(-3, 3), min_size=size, max_size=size))
        pairs = [Compared(a, b, 1.0, 1, weight, ANN) for a, b in combinations(order, 2)]
        rankings.append(Ranking("p", Tree((), tuple((1,) for _ in range(size))), tuple(pairs)))
        scores += own
        losses = [math.log1p(math.exp(own[b] - own[a])) for a, b in combinations(order, 2)]
        slow.append(sum(losses) / len(losses))
    found = kwise_loss(torch.tensor(scores, dtype=torch.float64), rankings, questions=len(sizes))
    assert float(found) == pytest.approx(sum(slow) / len(slow), rel=1e-9)


def test_clips_are_refused(tiny_folder: Path) -> None:
    clips = Question("clip", (Candidate(media="a"), Candidate(media="b")))
    with pytest.raises(DataError, match="shows clips"):
        ranking(Tokens.load(tiny_folder), clips, [])
