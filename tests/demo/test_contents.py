"""What a fresh store opens with: real questions, with their provenance, and no torch to put them there."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from backflip.demo import task
from backflip.demo.contents import QUESTIONS, fill, made, questions
from backflip.feedback.store import Store


def test_the_questions_are_of_the_first_training_prompts() -> None:
    asked = questions()
    assert len(asked) == 48
    assert [q.prompt for q in asked] == list(task.prompts("train")[:48])
    assert all(2 <= len(q.candidates) <= 4 and q.medium == "text" for q in asked)
    assert sum(len(q.candidates) for q in asked) > 180  # four each, but for texts that were drawn twice
    assert any(not c.ended for q in asked for c in q.candidates)
    assert files("backflip.demo").joinpath(QUESTIONS).stat().st_size < 200_000  # type: ignore[attr-defined]


def test_they_say_how_they_were_made() -> None:
    found = made()
    assert found["command"].startswith("python -m backflip.demo.sampling")
    assert found["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert len(found["model_sha256"]) == 64
    assert found["code"]["commit"]
    assert (found["samples"], found["seed"]) == (4, 0)


def test_filling_twice_is_filling_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "feedback.db"
    fill(path, ask=True)
    fill(path, ask=True)
    with Store.open(path) as store:
        counts = store.counts(task.SOURCE)
        assert (counts.questions, counts.open, counts.answers) == (48, 48, 0)
        assert len(list(store.demonstrations(project=task.SOURCE))) == len(task.demonstrations())
        assert len(list(store.prompts(name=task.SOURCE, split="test"))) == len(task.prompts("test"))


def test_a_store_for_training_alone_has_no_question(tmp_path: Path) -> None:
    fill(tmp_path / "feedback.db", most=3)
    with Store.open(tmp_path / "feedback.db") as store:
        assert store.counts(task.SOURCE).questions == 0
        assert len(list(store.prompts(name=task.SOURCE))) == 9


def test_no_torch_is_needed() -> None:
    code = "import sys; from backflip.demo.contents import questions; questions(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
