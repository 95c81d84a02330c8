"""How good are the answers: agreement, reliability, pace, position bias, gold questions, answers at random.

All work on answers alone, as pure functions: the unit is a question, and within it every pair of candidates, on which
an answer says better, worse or tie. "Cannot tell" says nothing and is left out. Intervals resample questions, because
pairs of one question are not independent. Whatever takes answers can be had by labeller or by group:
`{who: pace(own) for who, own in by_labeller(answers).items()}`.
"""

from backflip.feedback.intervals import wilson
from backflip.feedback.quality.agreement import (
    Disputed,
    agreement,
    agreement_by_group,
    agreement_by_labeller,
    ceiling,
    ceiling_by_group,
    ceiling_by_labeller,
    disputed,
    labeller_matrix,
)
from backflip.feedback.quality.chance import Chance, answers_at_random
from backflip.feedback.quality.gold import Gold, gold, gold_by_labeller, passes, references
from backflip.feedback.quality.pace import Outlier, Pace, answers_by_day, outliers, pace
from backflip.feedback.quality.position import PositionBias, position_bias, position_table
from backflip.feedback.quality.relations import Rate, by_group, by_labeller
from backflip.feedback.quality.reliability import kendall_tau, krippendorff_alpha, mean_tau, preference_alpha

__all__ = [
    "Chance",
    "Disputed",
    "Gold",
    "Outlier",
    "Pace",
    "PositionBias",
    "Rate",
    "agreement",
    "agreement_by_group",
    "agreement_by_labeller",
    "answers_at_random",
    "answers_by_day",
    "by_group",
    "by_labeller",
    "ceiling",
    "ceiling_by_group",
    "ceiling_by_labeller",
    "disputed",
    "gold",
    "gold_by_labeller",
    "kendall_tau",
    "krippendorff_alpha",
    "labeller_matrix",
    "mean_tau",
    "outliers",
    "pace",
    "passes",
    "position_bias",
    "position_table",
    "preference_alpha",
    "references",
    "wilson",
]
