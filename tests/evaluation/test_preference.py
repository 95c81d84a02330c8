"""What held-out pairs say of a reward model."""

import json
import math

import pytest

from backflip.errors import DataError
from backflip.evaluation.preference import (
    Judged,
    accuracy,
    agreement_ceiling,
    breakdown,
    preference_calibration,
)
from backflip.records import Answer, Labeller

ANN = Labeller("ann", "person", {"language": "en"})
BO = Labeller("bo", "person")
PAIRS = [
    Judged("p1", ANN, 1, 2.0),
    Judged("p1", ANN, 2, -1.0),
    Judged("p2", BO, 1, 0.0),
    Judged("p3", BO, 1, 0.5),
]


def test_accuracy_by_hand() -> None:
    found = accuracy(PAIRS)  # right, wrong, equal (half), right
    assert found["value"] == 2.5 / 4
    assert (found["pairs"], found["prompts"]) == (4, 3)
    assert found["low"] <= found["value"] <= found["high"]


def test_breakdown_by_hand() -> None:
    found = breakdown(PAIRS)
    assert {k: v["value"] for k, v in found["by_distance"].items()} == {"1": 2.5 / 3, "2": 0.0}
    assert {k: v["value"] for k, v in found["by_labeller"].items()} == {"ann": 0.5, "bo": 0.75}
    assert {k: v["pairs"] for k, v in found["by_group"]["language"].items()} == {"": 2, "en": 2}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_distances_stand_in_the_order_of_numbers() -> None:
    pairs = [Judged("p", ANN, distance, 1.0) for distance in (10, 2, 1)]
    assert list(breakdown(pairs)["by_distance"]) == ["1", "2", "10"]


def test_calibration_is_of_the_sigmoid_with_its_lapse() -> None:
    # sigmoid(log 4) = 0.8; with lapse 0.1 it is 0.9 * 0.8 + 0.05 = 0.77. All right: ECE = 1 - confidence.
    sure = [Judged("p", ANN, 1, math.log(4))]
    assert preference_calibration(sure).ece == pytest.approx(0.2)
    assert preference_calibration(sure, lapse=0.1).ece == pytest.approx(0.23)


def test_no_pair_is_refused() -> None:
    with pytest.raises(DataError):
        breakdown([])


def test_the_ceiling_needs_two_labellers() -> None:
    one = Answer("q", ANN, (("a",), ("b",)))
    assert agreement_ceiling([one]) is None
    both = agreement_ceiling([one, Answer("q", BO, (("a",), ("b",)))])
    assert both is not None
    assert both["value"] == 1.0
    groups = both["by_group"]["language"]
    assert {value: (rate["value"], rate["comparisons"]) for value, rate in groups.items()} == {"": (1, 1), "en": (1, 1)}
    assert json.loads(json.dumps(both)) == both
