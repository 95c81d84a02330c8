"""Projects, on every database."""

from __future__ import annotations

import pytest

from backflip.errors import ConfigError
from backflip.feedback.projects import FLAGS, Flag, Project, Projects
from backflip.feedback.store import Store
from backflip.records import Candidate, Prompt, Question

QUESTION = Question("text", (Candidate(text="a"), Candidate(text="b")), Prompt.ask("which?"))


def test_a_project_is_there_with_its_questions_or_when_it_was_saved(store: Store) -> None:
    projects = Projects(store)
    assert projects.find("asked") is None
    store.add_questions([QUESTION], project="asked")
    assert projects.find("asked") == Project("asked")
    described = Project("described", title="A title", flags=(Flag("odd", "Odd"),), groups=("language",), gold=0.5)
    projects.save(described)
    projects.save(Project("asked", state="paused"))
    assert projects.find("described") == described
    assert [(project.name, project.state) for project in projects.all()] == [("asked", "paused"), ("described", "open")]
    projects.save(Project("asked"))
    assert projects.find("asked") == Project("asked")


def test_the_flags_are_instructgpts_unless_told_otherwise() -> None:
    assert len(FLAGS) == 11
    assert Project("p").flags == FLAGS
    assert Project("p").prompt_set == "p"
    assert Project("p", prompts="set").prompt_set == "set"


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "a/b"), ("overlap", 0), ("gold", 1.5), ("qualification", -0.1), ("state", "shut")],
)
def test_nonsense_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is"):
        Project(**({"name": "p"} | {field: value}))  # type: ignore[arg-type]


def test_flags_have_different_names() -> None:
    with pytest.raises(ConfigError, match="flags is"):
        Project("p", flags=(Flag("a", "A"), Flag("a", "B")))
