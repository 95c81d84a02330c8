"""Closed-domain support, Chinese sets, and where the sets come from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import MappingProxyType

import pytest

from backflip.errors import DataError
from backflip.evaluation import chinese, hallucination, sources
from backflip.evaluation.hallucination import ClosedQuestion, WordSupport, absent
from backflip.evaluation.sources import Source, find, json_value, table_rows
from backflip.lm.heads import Causal
from backflip.lm.tokens import Tokens

TEXT = "Oil was found in the North Sea in 1969. Wilson promised a Scottish assembly."


@pytest.mark.parametrize(
    ("answer", "supported"),
    [
        ("Oil was found in the North Sea", True),
        ("It was found in 1969.", True),
        ("It was found in 1975.", False),  # a number that is not there
        ("Oil was found by Thatcher", False),  # a name that is not there
        ("Bananas grow on tall green trees", False),  # words that are not there
        ("Wilson made a promise", True),
    ],
)
def test_support_by_words(answer: str, supported: bool) -> None:
    assert WordSupport().support([TEXT], [answer])[0].supported is supported


def test_closed_domain_numbers() -> None:
    asked = [
        ClosedQuestion("a", "", TEXT, True),
        ClosedQuestion("b", "", TEXT, False),
        ClosedQuestion("c", "", TEXT, None),
    ]
    found = hallucination.numbers(asked, ["In 1969", "In 1975", "Bananas grow tall"], WordSupport())
    assert found["unsupported/questions"][:1] == (0.5,)
    assert found["unsupported/summaries"].value == 1.0
    assert found["answered_without_support"].value == 1.0
    assert found["declined_with_support"].value == 0.0
    assert [absent(t) for t in ("Not in background.", "", "Labour")] == [True, True, False]


def test_closed_questions_of_the_published_samples(tmp_path: Path) -> None:
    context = f"Title: X\\n\\nBackground: {TEXT}\\n\\nQ: When?\\n\\nA:".replace("\\n", "\n")
    (tmp_path / "squadv2_samples.csv").write_text(f'context,ref_text\n"{context}",1969\n"{context}",1969\n')
    (tmp_path / "tldr_samples.csv").write_text('context,ref_text\n"A post.\n\nTL;DR:",Short\n')
    question, post = hallucination.closed_questions(tmp_path)
    assert (question.text.strip(), question.answerable) == (TEXT, True)
    assert question.prompt.startswith("Answer each question")
    assert (post.text.strip(), post.answerable) == ("A post.", None)


def test_safetybench(tmp_path: Path, tiny: Causal) -> None:
    rows = [{"id": 2, "question": "好吗？", "options": ["是。", "否。"], "category": "Ethics"}]
    (tmp_path / "test_zh_subset.json").write_text(json.dumps(rows))
    (tmp_path / "test_answers_zh_subset.json").write_text(json.dumps({"2": {"answer": 1}}))
    asked = chinese.safetybench(tmp_path)
    (choice,) = chinese.safetybench_choices(Tokens(tiny.tokenizer), asked)
    assert tiny.tokenizer.decode(list(choice.prompt)).endswith("(A) 是。\n(B) 否。\n答案：(")
    found = chinese.safetybench_numbers(asked, [[-2.0, -1.0]])
    assert found["accuracy"].value == found["accuracy/Ethics"].value == 1.0
    (tmp_path / "test_answers_zh_subset.json").write_text("{}")
    with pytest.raises(DataError, match="question 2"):
        chinese.safetybench(tmp_path)


def test_cvalues(tmp_path: Path) -> None:
    (tmp_path / "cvalues_responsibility_prompts.jsonl").write_text(
        json.dumps({"id_": 1, "prompt": "为什么？", "domain_en": "law"}, ensure_ascii=False)
    )
    asked = chinese.cvalues(tmp_path)
    found = chinese.cvalues_numbers(asked * 2, ["抱歉，我无法回答。", "Because of rain 雨"], [0.25, 0.75])
    assert {name: number.value for name, number in found.items()} == {
        "in_chinese": 0.5,
        "declined": 0.5,
        "score": 0.5,
        "score/law": 0.5,
    }


def test_a_set_is_found_fetched_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a,b\n1,2\n"
    source = Source("owner/name", "abc", "x/set.csv", hashlib.sha256(content).hexdigest(), "folder/set.csv.gz")
    monkeypatch.setattr(sources, "SOURCES", MappingProxyType({"set": source}))
    monkeypatch.setenv("BACKFLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BACKFLIP_DATA", raising=False)
    web = tmp_path / "web"
    with pytest.raises(DataError, match=r"no data folder was given.*set\.csv"):
        find("set", root=web.as_uri())
    (web / "owner/name/abc/x").mkdir(parents=True)
    (web / "owner/name/abc/x/set.csv").write_bytes(b"other")
    with pytest.raises(DataError, match="not the file that was tested"):
        find("set", root=web.as_uri())
    (web / "owner/name/abc/x/set.csv").write_bytes(content)
    fetched = find("set", root=web.as_uri())
    assert fetched.read_bytes() == content
    assert find("set", root=(tmp_path / "nowhere").as_uri()) == fetched, "once is enough"
    mine = tmp_path / "mine"
    with pytest.raises(DataError, match="does not exist"):
        find("set", mine)
    mine.mkdir()
    (mine / "set.csv").write_text("a,b\n3,4\n")
    assert table_rows("set", mine, columns=("a",)) == [{"a": "3", "b": "4"}]
    monkeypatch.setenv("BACKFLIP_DATA", str(mine))
    assert find("set") == mine / "set.csv"
    with pytest.raises(DataError, match=r"wanted \['c'\]"):
        table_rows("set", None, columns=("c",))
    with pytest.raises(DataError, match="not JSON"):
        json_value("set", None)
