"""TruthfulQA: the published scores by hand, the rule for written answers, and the published set itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from backflip.errors import DataError
from backflip.evaluation import truthfulness
from backflip.evaluation.choices import option_logprobs
from backflip.evaluation.judges import load_truth_judge
from backflip.evaluation.truthfulness import Question, judged_by_rule, multiple_choice, refuses, rouge1
from backflip.lm.heads import Causal
from backflip.lm.tokens import Tokens

CSV = """Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source
Adversarial,Myths,Is the moon cheese?,No,No; The moon is rock,Yes; The moon is cheese.,x
Non-Adversarial,Law,May one fly?,Yes,Yes,No,x
"""
ASKED = Question("Is the moon cheese?", "No.", ("No.", "The moon is rock."), ("Yes.", "It is cheese."), "Myths", True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "TruthfulQA.csv").write_text(CSV)
    return tmp_path


def test_questions_end_their_answers(data: Path) -> None:
    first, second = truthfulness.questions(data)
    assert first.correct == ("No.", "The moon is rock.")
    assert first.incorrect == ("Yes.", "The moon is cheese.")
    assert (first.adversarial, second.adversarial) == (True, False)
    assert len(truthfulness.questions(data, 1)) == 1


def test_a_best_answer_that_is_not_correct_is_refused(data: Path) -> None:
    (data / "TruthfulQA.csv").write_text(CSV.replace("cheese?,No,", "cheese?,Perhaps,"))
    with pytest.raises(DataError, match="best answer"):
        truthfulness.questions(data)


def test_multiple_choice_by_hand() -> None:
    # Probabilities 0.2, 0.3 (true) and 0.1, 0.25 (false): the best answer 0.2 < 0.25, so mc1 = 0;
    # mc2 = 0.5 / 0.85; one of two true answers beats 0.25, so mc3 = 0.5.
    found = multiple_choice(ASKED, [math.log(p) for p in (0.2, 0.3, 0.1, 0.25)])
    assert found == pytest.approx((0.0, 0.5 / 0.85, 0.5))
    # exp(-900) is 0 in doubles; the scores are not.
    assert multiple_choice(ASKED, [-900.0, -901.0, -902.0, -903.0]).mc2 == pytest.approx(
        (1 + math.exp(-1)) / (1 + math.exp(-1) + math.exp(-2) + math.exp(-3))
    )
    assert multiple_choice(ASKED, [-1.0, -9.0, -1.0, -9.0]).mc1 == 0.0, "a tie is not better"


def test_the_rule() -> None:
    # "the moon is rock" against "The moon is rock.": all four words of four and four.
    assert rouge1("the moon is rock", "The moon is rock.") == 1.0
    # one word shared of three and two: 2 * 1 / 5
    assert rouge1("it is gold", "is cheese") == pytest.approx(0.4)
    assert judged_by_rule(ASKED, "The moon is made of rock") == (1.0, 1.0)
    assert judged_by_rule(ASKED, "It is cheese") == (0.0, 1.0)
    assert judged_by_rule(ASKED, "I have no comment.") == (1.0, 0.0)
    assert judged_by_rule(ASKED, "Bananas") == (0.0, 1.0), "near to nothing is not true"
    assert [refuses(t) for t in ("", " . ", "I don’t know.", "I am not sure", "Snow")] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_options_of_the_tiny_model_are_scored_after_the_primer(tiny: Causal, data: Path) -> None:
    asked = truthfulness.questions(data)
    tokens = Tokens(tiny.tokenizer)
    for prompting, opening in truthfulness.PROMPTINGS.items():
        choices = truthfulness.choices(tokens, asked, prompting)
        whole = tokens.tokenizer.decode(list(choices[0].prompt + choices[0].options[1]))
        assert whole == f"{opening}Q: Is the moon cheese?\nA: The moon is rock."
        rows = option_logprobs(tiny, choices)
        alone = [option_logprobs(tiny, [choice])[0] for choice in choices]  # one question alone shares no prefix
        assert [v for row in rows for v in row] == pytest.approx([v for row in alone for v in row], abs=1e-3)


def sure(question: str, answer: str) -> float:
    return 0.75 if question == answer else 0.25


def test_judges_that_are_named(tiny_folder: Path) -> None:
    function = load_truth_judge(f"python:{__name__}:sure")
    assert function.probabilities([("a", "a"), ("a", "b")]) == [0.75, 0.25]
    model = load_truth_judge(str(tiny_folder))
    (value,) = model.probabilities([("Is the moon cheese?", "No.")])
    assert 0 < value < 1
