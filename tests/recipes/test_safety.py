"""`backflip safety train`: from labels, or from labellers' flags, to a filter that finds them on texts it never saw."""

import json
import random
from pathlib import Path

import pytest

from backflip import cli
from backflip.errors import ConfigError, DataError
from backflip.feedback.store import Store
from backflip.recipes import safety
from backflip.records import Answer, Candidate, Labeller, Prompt, Question
from backflip.safety.trained import TrainedFilter

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "house",
    "river",
    "walks",
    "sings",
    "eats",
    "blue",
    "green",
    "old",
    "new",
    "over",
    "under",
    "with",
    "and",
    "then",
]


def sentences(count: int) -> list[tuple[str, int]]:
    draw = random.Random(0)
    made = []
    for i in range(count):
        words = draw.choices(WORDS, k=10)
        if i % 3 == 0:
            words[draw.randrange(10)] = draw.choice(("vileness", "vilely", "vile"))
        made.append((" ".join(words), int(i % 3 == 0)))
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.jsonl"
    rows = [{"text": text, "labels": {"vile": label, "old": float("old" in text)}} for text, label in sentences(150)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_finds_what_it_learned_at_the_stated_rate(tmp_path: Path, file: Path) -> None:
    config = safety.Config(folder=tmp_path / "run", data=(file,), steps=15, validation_share=0.25, test_share=0.25)
    result = safety.run(config)
    vile = result.categories["vile"]
    assert vile["auprc"] == pytest.approx(1.0, abs=0.05)
    assert vile["recall"] == pytest.approx(1.0, abs=0.15)
    assert vile["false_positives"] <= 0.25  # 5 % of some 25 validation texts; of as many test texts a few more
    assert sum(result.texts.values()) == 150
    made = TrainedFilter.load(Path(result.filter))
    assert not made.check("the vile cat").categories["vile"] < 0.5
    assert safety.run(config) == result
    assert "finds" in str(result)


def test_flags_of_labellers_are_labels(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        a, b = Candidate(text="vile words"), Candidate(text="good words")
        question = Question("text", (a, b), Prompt.ask("Say something."))
        store.add_questions([question], overlap=3)
        for name, flags in (("ann", {a.id: ("hate",), b.id: ()}), ("bob", {a.id: (), b.id: ()}), ("eve", {})):
            tiers = ((b.id,), (a.id,))
            store.answer(Answer(question.id, Labeller(name, "person"), tiers, flags=flags), key=name)
        found = {row.text: row.labels for row in safety.flagged(store, project="default")}
    # eve gave no flag to anything: she may not have been asked
    assert found == {"vile words": {"hate": 0.5}, "good words": {"hate": 0.0}}


def test_what_a_labeller_who_flags_leaves_without_a_flag_is_harmless(tmp_path: Path) -> None:
    """The studio sends the flags of flagged answers alone."""
    with Store.open(tmp_path / "s.db") as store:
        texts = [("vile words", "good words"), ("kind words", "fine words")]
        questions = [
            Question("text", tuple(Candidate(text=t) for t in pair), Prompt.ask(f"Say something {i}."))
            for i, pair in enumerate(texts)
        ]
        store.add_questions(questions, overlap=2)
        vile = next(c.id for c in questions[0].candidates if c.text == "vile words")
        for name, flags in (("ann", {vile: ("hate",)}), ("eve", {})):
            for question in questions:
                tiers = tuple((c.id,) for c in question.candidates)
                own = flags if question is questions[0] else {}
                store.answer(
                    Answer(question.id, Labeller(name, "person"), tiers, flags=own), key=f"{name}{question.id}"
                )
        found = {row.text: row.labels["hate"] for row in safety.flagged(store, project="default")}
    assert found == {"vile words": 1.0, "good words": 0.0, "kind words": 0.0, "fine words": 0.0}


def test_bad_input_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x", "labels": {"a": 1}}\n{"text": "y", "labels": {"a": 7}}\n')
    with pytest.raises(DataError, match="line 2, field 'labels'"):
        safety.run(safety.Config(folder=tmp_path / "run", data=(bad,)))
    with pytest.raises(ConfigError, match="data"):
        safety.Config(folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="test_share"):
        safety.Config(folder=tmp_path / "run", data=(bad,), validation_share=0.5, test_share=0.5)
    bad.write_text('{"text": "x", "labels": {"a": 1}}\n')
    with pytest.raises(DataError):
        safety.run(safety.Config(folder=tmp_path / "run", data=(bad,)))


def test_a_text_is_checked_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["safety", "check", "k1ll y0urself", "--filters", "words"]) == 0
    assert "blocked: word list: harassment\n" in capsys.readouterr().out
    assert cli.main(["safety", "check", "Tell me of the moon."]) == 0
    assert capsys.readouterr().out.startswith("allowed\n")
