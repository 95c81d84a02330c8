"""The public data sets themselves, counted. Needs BACKFLIP_DATA; no text of them is shown or copied."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from backflip.feedback.formats import Ranked, load, read, read_demonstrations, write
from backflip.feedback.quality import agreement, krippendorff_alpha, preference_alpha

DATA = os.environ.get("BACKFLIP_DATA", "")
pytestmark = pytest.mark.skipif(
    not DATA, reason="BACKFLIP_DATA is not set: it names the folder of the public data sets"
)


@pytest.fixture(scope="module")
def comparisons() -> list[Ranked]:
    return read(Path(DATA, "pref_summarize_from_feedback/batch13.jsonl.gz"), "openai")


@pytest.fixture(scope="module")
def pandalm() -> list[Ranked]:
    return read(Path(DATA, "pref_pandalm/testset-v1.json.gz"), "pandalm")


@pytest.mark.parametrize(("name", "rows", "equal"), [("helpful", 2354, 2), ("harmless", 2312, 0)])
def test_hh_counts_and_exact_export(tmp_path: Path, name: str, rows: int, equal: int) -> None:
    source = Path(DATA, f"pref_hh_rlhf/{name}-base_test.jsonl.gz")
    ranked, skipped = load(source, "hh")
    assert (len(ranked) + len(skipped), len(skipped)) == (rows, equal)
    assert {s.reason for s in skipped} <= {"both sides are the same text: there is nothing to prefer"}
    assert len({(q.id, a.labeller.id) for q, a in ranked}) == len(ranked)  # a store takes them all
    path = tmp_path / "back.jsonl"
    write(path, ranked, "hh")
    dropped = {int(s.place.split()[-1]) for s in skipped}
    original = gzip.decompress(source.read_bytes()).decode().split("\n")
    kept = [json.loads(line) for number, line in enumerate(original, 1) if line and number not in dropped]
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] == kept


def test_oasst_groups(tmp_path: Path) -> None:
    source = Path(DATA, "sft_oasst1_en_validation/en-validation.jsonl.gz")
    ranked, skipped = load(source, "oasst")
    # 419 messages have ranked replies: 137 have two, 267 three, 14 four or five, and one a single ranked reply, which
    # is skipped. One group of three holds the same text twice and becomes a group of two.
    assert Counter(len(q.candidates) for q, _ in ranked) == {2: 138, 3: 266, 4: 13, 5: 1}
    assert sorted(s.reason.split(";")[0].split(":")[0] for s in skipped) == [
        "1 different ranked replies",
        "a ranked sibling has the same text",
    ]
    assert len({q.prompt.user for q, _ in ranked}) > 50
    assert len(read_demonstrations(source, "oasst")) == 419
    write(tmp_path / "back.jsonl", ranked, "oasst")
    back = read(tmp_path / "back.jsonl", "oasst")
    assert {(q.id, a.tiers) for q, a in back} == {(q.id, a.tiers) for q, a in ranked}


def test_batch13_counts_winner_and_exact_export(comparisons: list[Ranked], tmp_path: Path) -> None:
    assert len(comparisons) == 1097
    winners = [next(c.origin for c in q.candidates if c.id == a.tiers[0][0]) for q, a in comparisons]
    assert winners.count("sup4_ppo_rm4_t.7") / 1097 == pytest.approx(0.718, abs=5e-4)
    assert len({a.labeller.id for _, a in comparisons}) == 27
    for _, answer in comparisons:
        assert (json.loads(answer.note)["extra"]["confidence"] > 5) == (answer.tiers[0][0] == answer.shown[1])
    write(tmp_path / "back.jsonl", comparisons, "openai")
    source = gzip.decompress(Path(DATA, "pref_summarize_from_feedback/batch13.jsonl.gz").read_bytes()).decode()
    back = (tmp_path / "back.jsonl").read_text(encoding="utf-8")
    assert [json.loads(x) for x in back.split("\n") if x] == [json.loads(x) for x in source.split("\n") if x]


def test_batch13_agreement(comparisons: list[Ranked]) -> None:
    rate = agreement(a for _, a in comparisons)
    assert (rate.questions, rate.comparisons) == (40, 773)
    assert rate.value == pytest.approx(0.726, abs=5e-4)
    assert rate.low < rate.value < rate.high
    # The published alpha calls the alphabetically first text 0; ours does not depend on the order.
    units: dict[str, list[int]] = {}
    for question, answer in comparisons:
        texts = {c.id: c.text for c in question.candidates}
        units.setdefault(question.id, []).append(sorted(texts, key=texts.__getitem__).index(answer.tiers[0][0]))
    assert krippendorff_alpha(units.values()) == pytest.approx(0.371, abs=5e-4)
    assert 0.2 < preference_alpha(a for _, a in comparisons) < 0.45


def test_pandalm_agreement(pandalm: list[Ranked]) -> None:
    assert len(pandalm) == 3 * 999
    rows = [pandalm[i : i + 3] for i in range(0, len(pandalm), 3)]
    units = [[0 if len(a.tiers) == 1 else 1 + a.shown.index(a.tiers[0][0]) for _, a in row] for row in rows]
    assert krippendorff_alpha(units) == pytest.approx(0.864, abs=5e-4)
    same = [x == y for a, b, c in units for x, y in ((a, b), (a, c), (b, c))]
    assert sum(same) / len(same) == pytest.approx(0.920, abs=5e-4)
    # 136 rows repeat a question: as one question with more annotators they agree a little better.
    assert len({q.id for q, _ in pandalm}) == 863
    assert agreement(a for _, a in pandalm).value == pytest.approx(0.9296, abs=5e-4)
    assert preference_alpha(a for _, a in pandalm) == pytest.approx(0.870, abs=2e-3)
    assert len({(q.id, a.labeller.id) for q, a in pandalm}) == len(pandalm)


@pytest.mark.parametrize(("model", "alpha"), [("gpt4", 0.970), ("mistralinstruct", 0.920), ("llama2orig", 0.929)])
def test_xstest_alpha(model: str, alpha: float) -> None:
    with gzip.open(
        Path(DATA, f"moderation_xstest/xstest_v2_completions_{model}.csv.gz"), "rt", encoding="utf-8"
    ) as file:
        units = [(row["annotation_1"], row["annotation_2"]) for row in csv.DictReader(file)]
    assert krippendorff_alpha(units) == pytest.approx(alpha, abs=5e-4)
