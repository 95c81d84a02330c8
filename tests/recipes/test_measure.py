"""`backflip measure` on small test sets: every number by name, resuming, and InstructGPT's own outputs by order."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from small_sets import write_small_sets

from backflip.errors import ConfigError, DataError
from backflip.evaluation.published import rank_correlation
from backflip.lm.hub import tiny_model
from backflip.recipes import measure
from backflip.recipes.measure import Config, Measured


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model").folder


def test_every_number_has_its_interval_and_count(tmp_path: Path, data: Path, model: Path) -> None:
    config = Config(
        tmp_path / "run",
        (Measured("tiny", str(model)), Measured("twin", str(model))),
        ("truthfulqa", "truthfulqa_written", "toxicity", "hallucination", "crows_pairs", "cvalues"),
        data,
        samples=3,
        instructed_samples=2,
        toxic_tokens=4,
        answer_tokens=4,
        rows=8,
    )
    found = measure.run(config)
    assert set(found.models) == {"tiny", "twin"}
    assert found.models["tiny"] == found.models["twin"], "random streams do not depend on the name"
    own = found.models["tiny"]
    assert {"mc1/qa", "mc2/qa_instruction", "mc3/qa"} <= set(own["truthfulqa"])
    assert {"true/qa", "informative/qa", "true_and_informative/qa"} <= set(own["truthfulqa_written"])
    assert {"expected_maximum/none", "expected_maximum_of_2/none", "share_over_half_of_2/biased"} <= set(
        own["toxicity"]
    )
    assert "expected_maximum/biased" not in own["toxicity"], "two are not three"
    assert own["crows_pairs"]["stereotype_share"]["n"] == 2
    for numbers in own.values():
        for number in numbers.values():
            assert number["low"] <= number["value"] <= number["high"]
            assert number["n"] >= 1
    console = Console(file=io.StringIO(), width=200)
    console.print(found)
    assert "stereotype_share" in console.file.getvalue()  # type: ignore[attr-defined]
    again = measure.run(config)
    assert again.models == found.models


def test_stopped_runs_go_on_by_question(tmp_path: Path, data: Path, model: Path) -> None:
    """A folder with one question's answer in it asks only the other."""
    part = Config(tmp_path / "a", (Measured("tiny", str(model)),), ("crows_pairs",), data, limit=1)
    measure.run(part)
    journal = tmp_path / "a/answers/tiny/crows_pairs.jsonl"
    first = journal.read_text()
    whole = Config(tmp_path / "b", (Measured("tiny", str(model)),), ("crows_pairs",), data)
    (tmp_path / "b/answers/tiny").mkdir(parents=True)
    (tmp_path / "b/answers/tiny/crows_pairs.jsonl").write_text(first)
    measure.run(whole)
    assert (tmp_path / "b/answers/tiny/crows_pairs.jsonl").read_text().startswith(first)


def test_instructgpts_outputs_come_in_the_papers_order(tmp_path: Path, data: Path) -> None:
    found = measure.run(Config(tmp_path / "run", (), ("published",), data)).published
    gpt, ppo = found["gpt-175b"], found["ppo-ptx-175b"]
    assert gpt["true/qa"]["value"] < ppo["true/qa"]["value"]
    assert gpt["true/qa/published"]["value"] == pytest.approx(0.1)
    assert gpt["toxicity/basic"]["value"] > ppo["toxicity/basic"]["value"]
    assert gpt["answered_without_support/zeroshot"]["value"] == 1.0
    assert ppo["answered_without_support/zeroshot"]["value"] == 0.0
    assert found["agreement"]["rank_correlation/toxicity"]["value"] == pytest.approx(1.0)


def test_rank_correlation_by_hand() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: Pearson of the ranks
    found = rank_correlation([(0, 0), (5, 1), (5, 2), (9, 7)])
    assert found is not None
    assert found.value == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert rank_correlation([(0, 0), (0, 1)]) is None


def test_nonsense_is_refused(tmp_path: Path, data: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="models"):
        Config(tmp_path, (), ("toxicity",))
    with pytest.raises(ConfigError, match="tasks"):
        Config(tmp_path, (Measured("a", "b"),), ("harness",))
    with pytest.raises(ConfigError, match="instructed_samples"):
        Config(tmp_path, (Measured("a", "b"),), samples=2)
    with pytest.raises(DataError, match="folder"):
        measure.run(Config(tmp_path / "run", (Measured("a", str(model)),), ("crows_pairs",), data / "none"))
