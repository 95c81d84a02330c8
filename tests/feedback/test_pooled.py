"""A rate's interval by kinds of tallies is the bootstrap over questions."""

import random

import pytest

from backflip.errors import DataError
from backflip.feedback.intervals import bootstrap_ratio
from backflip.feedback.quality.relations import Tally, pooled


def test_it_is_the_bootstrap_over_questions() -> None:
    draw = random.Random(1)
    tallies = [Tally(draw.randint(0, 6), 6) for _ in range(150)] + [Tally(draw.randint(0, 3), 3) for _ in range(50)]
    found, slow = pooled(tallies, 0), bootstrap_ratio([t.right for t in tallies], [t.total for t in tallies], seed=0)
    assert found.value == slow.value
    assert found[1:3] == pytest.approx(slow[1:], abs=0.006)  # both ends are estimates from 2000 draws
    assert (found.comparisons, found.questions) == (150 * 6 + 50 * 3, 200)


def test_empty_tallies_say_nothing() -> None:
    assert pooled([Tally(1, 2), Tally(0, 0)], 0) == (0.5, 0.5, 0.5, 2, 1)
    with pytest.raises(DataError, match="overlap 2"):
        pooled([Tally(0, 0)], 0)
