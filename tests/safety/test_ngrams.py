"""The n-gram classifier: equal to a slow one, learns what is there to learn, ignores what is not labelled."""

import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from backflip.errors import DataError, ModelError
from backflip.safety.groups import near_duplicates
from backflip.safety.hashing import BUCKETS
from backflip.safety.ngrams import NgramModel, fit, ngrams
from backflip.safety.trained import SETTINGS, TrainedFilter

TEXTS = ["you are vile", "vile people", "a nice day", "what a nice cat", "vile vile", "nice"]
TARGETS = [[1, 0], [1, math.nan], [0, 1], [0, 1], [1, 0], [math.nan, 1]]


@pytest.fixture(scope="module")
def model() -> NgramModel:
    return fit(TEXTS, TARGETS, labels=("vile", "nice"), steps=20)


def test_the_pieces_of_a_text() -> None:
    pieces = ["#<it", "#it'", "#t's", "#'s>", "#<it'", "#it's", "#t's>", "#<it's", "#it's>", "#<ok", "#ok>", "#<ok>"]
    assert list(ngrams("It's ok")) == ["it's", "ok", "it's ok", *pieces]
    assert list(ngrams("你好"))[:3] == ["你", "好", "你 好"]


def test_scores_equal_a_slow_version(model: NgramModel) -> None:
    text = "what a vile, vile day"
    counts = Counter(zlib.crc32(g.encode()) % BUCKETS for g in ngrams(text))
    weights = {bucket: 1 + math.log(n) for bucket, n in counts.items()}
    length = math.sqrt(sum(w * w for w in weights.values()))
    for i in range(2):
        logit = sum(model.table[bucket, i] * w / length for bucket, w in weights.items()) + model.bias[i]
        assert model.scores([text])[0, i] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_it_learns_and_is_deterministic(model: NgramModel) -> None:
    vile, nice = model.scores(["vile", "nice"])
    assert vile[0] > 0.9 > 0.1 > nice[0]
    assert nice[1] > 0.9 > 0.1 > vile[1]
    again = fit(TEXTS, TARGETS, labels=("vile", "nice"), steps=20)
    assert np.array_equal(model.table, again.table)
    assert model.scores([]).shape == (0, 2)
    assert 0 < model.scores([""])[0, 0] < 1


def test_what_is_not_labelled_says_nothing() -> None:
    with_nan = fit(["vile", "nice", "odd"], [[1], [0], [math.nan]], labels=["vile"], steps=10)
    without = fit(["vile", "nice"], [[1], [0]], labels=["vile"], steps=10)
    assert np.array_equal(with_nan.table, without.table)


def test_bad_targets_are_refused() -> None:
    with pytest.raises(DataError, match="no text is labelled for 'b'"):
        fit(["x"], [[1, math.nan]], labels=["a", "b"])
    with pytest.raises(DataError, match="wanted"):
        fit(["x"], [[1]], labels=["a", "b"])


def test_a_filter_is_saved_and_blocks_from_its_threshold(model: NgramModel, tmp_path: Path) -> None:
    made = TrainedFilter(model, {"vile": 0.5, "nice": 1.1}, name="mine")
    made.save(tmp_path)
    back = TrainedFilter.load(tmp_path)
    for text in TEXTS:
        for label, score in made.check(text).categories.items():
            assert back.check(text).categories[label] == pytest.approx(score, abs=2e-3)  # half precision
    assert made.check("vile").reason == "mine: vile"
    assert made.check("nice").allowed
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(ModelError, match="backflip safety train"):
        TrainedFilter.load(tmp_path)
    with pytest.raises(ModelError, match="no threshold for 'nice'"):
        TrainedFilter(model, {"vile": 0.5})
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="is no n-gram classifier"):
        NgramModel.load(tmp_path / "model.safetensors")


def test_near_duplicates_stay_together() -> None:
    texts = ["one two three four five six", "one two three four five seven", "nothing like it at all here", "hi", "HI"]
    groups = near_duplicates(texts)
    # shingles: 4 each, 3 shared, 5 in all: 3/5 >= 1/2
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3
