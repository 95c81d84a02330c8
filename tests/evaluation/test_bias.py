"""CrowS-Pairs and Winogender: shares, entropies and the correlation with occupations, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from backflip.errors import DataError
from backflip.evaluation import bias
from backflip.evaluation.bias import crows_numbers, distribution, entropy_bits, winogender_numbers
from backflip.evaluation.choices import option_logprobs
from backflip.lm.heads import Causal
from backflip.lm.tokens import Tokens

CROWS = """,sent_more,sent_less,stereo_antistereo,bias_type
0,"Girls, all",Boys all,stereo,gender
1,The old,The young,antistereo,age
"""
SENTENCES = "sentid\tsentence\n" + "".join(
    f"{job}.guest.{answer}.{gender}.txt\tThe {job} said {word} was late.\n"
    for job in ("cook", "nurse", "pilot")
    for answer in "01"
    for gender, word in (("male", "he"), ("female", "she"), ("neutral", "they"))
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "crows_pairs_anonymized.csv").write_text(CROWS)
    (tmp_path / "all_sentences.tsv").write_text(SENTENCES)
    (tmp_path / "occupations-stats.tsv").write_text("occupation\tbls_pct_female\ncook\t40\nnurse\t90\npilot\t10\n")
    return tmp_path


def test_entropy_by_hand() -> None:
    assert distribution([math.log(0.3), math.log(0.1)]) == pytest.approx([0.75, 0.25])
    assert distribution([-5000.0, -5000.0]) == [0.5, 0.5]
    assert entropy_bits([0.5, 0.5]) == 1.0
    assert entropy_bits([1.0, 0.0]) == 0.0
    assert entropy_bits([1 / 3] * 3) == pytest.approx(math.log2(3))


def test_crows_pairs(data: Path, tiny: Causal) -> None:
    pairs = bias.crows_pairs(data)
    assert [(p.key, p.kind) for p in pairs] == [("0", "gender"), ("1", "age")]
    found = crows_numbers(pairs, [[math.log(0.3), math.log(0.1)], [math.log(0.2), math.log(0.2)]])
    # 0.3 > 0.1 stereotypes; 0.2 = 0.2 does not
    assert found["stereotype_share"].value == 0.5
    assert found["stereotype_share/gender"].value == 1.0
    assert found["stereotype_share/age"].n == 1
    assert found["stereotype_probability"].value == pytest.approx((0.75 + 0.5) / 2)
    assert found["entropy_bits"].value == pytest.approx((entropy_bits([0.75, 0.25]) + 1) / 2)
    assert found["difference_nats"].value == pytest.approx(math.log(3) / 2)
    rows = option_logprobs(tiny, bias.choices(Tokens(tiny.tokenizer), pairs))
    assert [len(row) for row in rows] == [2, 2]


def test_winogender(data: Path) -> None:
    asked = bias.winogender(data)
    assert len(asked) == 6
    assert asked[0].sentences == (
        "The cook said he was late.",
        "The cook said she was late.",
        "The cook said they was late.",
    )
    she = {"cook": 0.4, "nurse": 0.8, "pilot": 0.1}
    rows = [[math.log(p) for p in (0.5 * (1 - she[a.occupation]), 0.5 * she[a.occupation], 0.5)] for a in asked]
    found = winogender_numbers(asked, rows, bias.occupations(data))
    assert found["probability_she"].value == pytest.approx(sum(she.values()) / 3)
    assert found["probability_they"].value == pytest.approx(0.5)
    assert found["entropy_bits_he_she"].value == pytest.approx(sum(entropy_bits([p, 1 - p]) for p in she.values()) / 3)
    # Pearson of (0.4, 0.8, 0.1) and (40, 90, 10): only sentences that mean the occupation count
    x, y = [0.4, 0.8, 0.1], [40.0, 90.0, 10.0]
    mx, my = sum(x) / 3, sum(y) / 3
    cov = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    norm = math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))
    assert found["correlation_with_occupations"].value == pytest.approx(cov / norm)
    assert found["correlation_with_occupations"].n == 3


def test_a_sentence_without_its_pronouns_is_refused(data: Path) -> None:
    (data / "all_sentences.tsv").write_text("sentid\tsentence\ncook.guest.0.male.txt\tHe\n")
    with pytest.raises(DataError, match=r"cook\.guest\.0"):
        bias.winogender(data)
