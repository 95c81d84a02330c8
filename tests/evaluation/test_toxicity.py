"""Toxicity: the published figures by hand, agreement, the shipped classifier, and other classifiers by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from backflip.errors import DataError, ModelError
from backflip.evaluation import toxicity
from backflip.evaluation.toxicity import agreement, load_classifier, numbers
from backflip.evaluation.toxicity_model import NgramClassifier, fit, ngrams
from backflip.lm.labels import LabelModel

ROWS = [
    {
        "filename": "a.txt",
        "begin": 0,
        "prompt": {"text": "You are", "toxicity": 0.1},
        "continuation": {"text": " kind", "toxicity": 0.2},
    },
    {
        "filename": "a.txt",
        "begin": 9,
        "prompt": {"text": "They say", "toxicity": None},
        "continuation": {"text": " no", "toxicity": 0.9},
    },
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "rtp_val.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def test_numbers_by_hand() -> None:
    found = numbers([[0.1, 0.7], [0.5, 0.3], [0.2, 0.2]])
    # maxima 0.7, 0.5, 0.2; two of three are 0.5 or more; the means are 0.4, 0.4, 0.2
    assert found["expected_maximum"].value == pytest.approx(1.4 / 3)
    assert found["share_over_half"].value == pytest.approx(2 / 3)
    assert found["mean"].value == pytest.approx(1 / 3)
    assert {number.n for number in found.values()} == {3}


def test_prompts_and_published_scores(data: Path) -> None:
    assert [p.key for p in toxicity.prompts(data)] == ["a.txt:0", "a.txt:9"]
    assert toxicity.published_scores(data) == [("You are", 0.1), (" kind", 0.2), (" no", 0.9)]
    assert toxicity.published_scores(data, start=1) == [(" no", 0.9)]


class Fixed:
    def __init__(self, values: list[float]) -> None:
        self.values = values

    def scores(self, texts: object) -> list[float]:
        return self.values


def test_agreement_by_hand() -> None:
    published = [("a", 0.0), ("b", 0.2), ("c", 0.6), ("d", 1.0)]
    # of 4 (toxic, not) pairs 0.4 > 0.1, 0.4 = 0.4 (half), 0.9 beats both: 3.5 of 4; same side: a, b, d
    found = agreement(Fixed([0.1, 0.4, 0.4, 0.9]), published)
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["same_side"] == 0.75
    with pytest.raises(DataError, match="both kinds"):
        agreement(Fixed([0.1]), [("a", 0.0)])


def test_the_shipped_classifier_knows_an_insult() -> None:
    rude, kind = load_classifier(None).scores(["You are a stupid idiot", "You are a kind neighbour"])
    assert rude > 0.5 > kind


def test_fit_is_deterministic_and_is_saved(tmp_path: Path) -> None:
    texts = ["you fool", "dear friend", "what a fool", "a good friend"]
    model = fit(texts, [1.0, 0.0, 1.0, 0.0])
    assert (model.weights == fit(texts, [1.0, 0.0, 1.0, 0.0]).weights).all()
    model.save(tmp_path / "m.safetensors")
    back = NgramClassifier.load(tmp_path / "m.safetensors")
    assert back.scores(["the fool", "my friend", ""]) == pytest.approx(
        model.scores(["the fool", "my friend", ""]), abs=1e-3
    )
    assert back.scores(["the fool"])[0] > 0.5 > back.scores(["my friend"])[0]
    with pytest.raises(ModelError, match="no toxicity model"):
        NgramClassifier.load(tmp_path / "none")


def test_ngrams_fold_case_and_width() -> None:
    assert list(ngrams("ＡＢc d")) == list(ngrams("abc D"))
    assert "abc d" in list(ngrams("abc d"))
    assert "#<ab" in list(ngrams("abc"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A random text classification model of three labels with the tiny tokenizer."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("labels")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        initializer_range=0.5,
        num_labels=3,
        id2label={0: "entailment", 1: "toxic", 2: "neutral"},
        label2id={"entailment": 0, "toxic": 1, "neutral": 2},
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    return folder


def test_a_classification_model_by_id(labelled: Path) -> None:
    model = LabelModel.load(labelled)
    texts = ["The moon is big", "Rain", "It rains on the earth and the moon"]
    together, alone = model.probabilities(texts), [model.probabilities([text])[0] for text in texts]
    for row, one in zip(together, alone, strict=True):
        assert row == pytest.approx(one, abs=1e-5), "padding changes nothing"
        assert sum(row.values()) == pytest.approx(1.0)
    named = load_classifier(f"{labelled}#neutral")
    assert named.scores(texts) == pytest.approx([row["neutral"] for row in together])
    assert load_classifier(str(labelled)).scores(texts) == pytest.approx([row["toxic"] for row in together])
    with pytest.raises(ModelError, match="labels entailment, toxic, neutral"):
        load_classifier(f"{labelled}#rude")


def test_a_function_as_classifier() -> None:
    assert load_classifier(f"python:{__name__}:shouts").scores(["HEY", "hey"]) == [1.0, 0.0]


def shouts(text: str) -> float:
    return float(text.isupper())
