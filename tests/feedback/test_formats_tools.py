"""Label Studio and Argilla: round trips, files as the tools write them, changes made in the tool, malformed files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.feedback.formats import Ranked, load, read, write, write_questions
from backflip.feedback.formats.argilla import user_id
from backflip.records import Answer, Candidate, Labeller, Message, Prompt, Question

TOOLS = ("label-studio", "argilla")
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\u2028\u0085\x00\ufeff"\\\r\n\U0001f938:'), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PROMPTS = st.builds(Prompt, text=TEXT, user=st.none() | TEXT, source=TEXT) | st.builds(
    lambda turns, last: Prompt((*turns, Message("user", last))),
    st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "system"]), TEXT), max_size=2),
    TEXT,
)


@st.composite
def questions_with_answers(draw: st.DrawFn) -> list[Ranked]:
    """A question with everything, and answers with everything by different people."""
    texts = draw(st.lists(TEXT, min_size=2, max_size=4, unique=True))
    candidates = tuple(Candidate(t, origin=draw(TEXT), ended=draw(st.booleans())) for t in texts)
    question = Question("text", candidates, draw(PROMPTS), purpose=draw(TEXT), priority=draw(FLOATS))
    people = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=3, unique=True))
    return [Ranked(question, draw(answers(question, who))) for who in people]


@st.composite
def answers(draw: st.DrawFn, question: Question, who: str) -> Answer:
    ids = draw(st.permutations([c.id for c in question.candidates]))
    cuts = sorted(draw(st.sets(st.integers(1, len(ids) - 1))))
    tiers = tuple(tuple(ids[a:b]) for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True))
    kind = draw(st.sampled_from(["person", "simulated", "import", "maker"]))
    return Answer(
        question.id,
        Labeller(who, kind, draw(st.dictionaries(TEXT, TEXT, max_size=1))),
        draw(st.sampled_from([tiers, tiers, ()])),
        shown=tuple(draw(st.permutations(ids))),
        ratings=draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 7), max_size=1)),
        flags=draw(st.dictionaries(st.sampled_from(ids), st.lists(TEXT, max_size=1).map(tuple), max_size=1)),
        seconds=draw(st.none() | FLOATS),
        time=draw(TEXT),
        source=draw(TEXT),
        note=draw(TEXT),
    )


@given(st.lists(questions_with_answers(), min_size=1, max_size=2, unique_by=lambda r: r[0].question.id))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_round_trip_keeps_everything(tool: str, rows: list[list[Ranked]]) -> None:
    every = [ranked for question in rows for ranked in question]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json.gz"
        assert write(path, every, tool) == len(rows)
        back = read(path, tool)
    assert sorted(map(repr, back)) == sorted(map(repr, every))
    assert [r.question.id for r in back] == [r.question.id for r in every]


def put(folder: Path, *rows: Any) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(list(rows)))
    return path


def told(ranked: Ranked) -> str:
    """The ranking by the texts' first letters."""
    text = {c.id: c.text or "?" for c in ranked.question.candidates}
    return ">".join("".join(sorted(text[c][0] for c in tier)) for tier in ranked.answer.tiers)


# --- files as the tools write them


def pairwise(selected: str, who: Any = 7, **more: Any) -> dict[str, Any]:
    result = {"from_name": "pw", "to_name": "answer1,answer2", "type": "pairwise", "value": {"selected": selected}}
    return {"id": 1001, "completed_by": who, "result": [result], "was_cancelled": False, "lead_time": 4.288, **more}


def ranker(ranking: Any, who: Any = 7) -> dict[str, Any]:
    result = {"from_name": "rank", "to_name": "results", "type": "ranker", "value": {"ranker": ranking}}
    return {"completed_by": who, "result": [result], "was_cancelled": False}


ITEMS = [{"id": f"llm_{i}", "title": f"LLM {i}", "body": f"{letter} text"} for i, letter in enumerate("abc")]


def test_label_studio_pairwise(tmp_path: Path) -> None:
    data = {"prompt": "The quick brown fox...", "answer1": "jumps over the lazy dog.", "answer2": "bags few lynx."}
    time = "2021-03-09T22:16:08.728353Z"
    first = pairwise("left", created_at=time, ground_truth=False)
    comment = {"from_name": "why", "to_name": "prompt", "type": "textarea", "value": {"text": ["shorter"]}}
    second = pairwise("right", {"id": 8, "email": "ann@example.org", "first_name": ""})
    second["result"].insert(0, comment)
    cancelled = pairwise("left", 9, was_cancelled=True)
    task = {"id": 1, "project": 83, "data": data, "annotations": [first, second, cancelled], "predictions": []}
    left, right = read(put(tmp_path, task), "label-studio")
    assert [told(left), told(right)] == ["j>b", "b>j"]
    assert left.question.prompt == Prompt.ask("The quick brown fox...", source="export.json")
    assert (left.answer.labeller, left.answer.seconds, left.answer.time) == (Labeller("7", "import"), 4.288, time)
    assert right.answer.labeller.id == "ann@example.org"
    changed = {"data": data, "annotations": [pairwise("left"), pairwise("right")]}
    assert [told(r) for r in read(put(tmp_path, changed), "label-studio")] == ["b>j"]  # one person: the last counts


@pytest.mark.parametrize(
    ("ranking", "wanted"),
    [
        (["llm_1", "llm_2", "llm_0"], "b>c>a"),
        ({"rank": ["llm_1", "llm_2", "llm_0"]}, "b>c>a"),
        ({"1": ["llm_2"], "2": ["llm_0", "llm_1"], "_": []}, "c>ab"),
        ({"10": ["llm_2"], "9": ["llm_0", "llm_1"]}, "ab>c"),
        ({"1": ["llm_2", "llm_0", "llm_1"]}, "abc"),
    ],
)
def test_label_studio_ranker(tmp_path: Path, ranking: Any, wanted: str) -> None:
    task = {"data": {"prompt": "Why?", "items": ITEMS}, "annotations": [ranker(ranking)]}
    (found,) = read(put(tmp_path, task), "label-studio")
    assert told(found) == wanted
    assert sorted(c.origin for c in found.question.candidates) == ["LLM 0", "LLM 1", "LLM 2"]


def test_label_studio_tasks_that_say_nothing_are_named(tmp_path: Path) -> None:
    half = {"data": {"prompt": "Why?", "items": ITEMS}, "annotations": [ranker({"1": ["llm_1"], "_": ["llm_0"]})]}
    data = {"prompt": "Why?", "answer1": "same", "answer2": "same"}
    twice = {"data": data, "annotations": [pairwise("left")]}
    found = load(put(tmp_path, half, twice), "label-studio")
    assert found.ranked == []
    assert [s.place for s in found.skipped] == ["export.json line 1", "export.json line 2"]


def record(*responses: tuple[str, Any], **fields: str) -> dict[str, Any]:
    given = [{"value": value, "user_id": who} for who, value in responses]
    texts = fields or {"instruction": "Why?", "reply-1": "a text", "reply-2": "b text", "reply-3": "c text"}
    rated = [{"value": 4, "user_id": "u1"}]
    return {
        "id": "42",
        "fields": texts,
        "metadata": {},
        "suggestions": {"ranking": {"value": ["reply-1"], "score": None, "agent": "m"}},
        "responses": {"quality": rated, "ranking": given},
        "vectors": {},
        "_server_id": None,
    }


def ranks(**by_name: int | None) -> list[dict[str, Any]]:
    return [{"value": name.replace("_", "-"), "rank": rank} for name, rank in by_name.items()]


def test_argilla_records(tmp_path: Path) -> None:
    row = record(
        ("u1", ["reply-2", "reply-3", "reply-1"]),
        ("u2", ranks(reply_1=2, reply_2=1, reply_3=2)),
        ("u3", ranks(reply_1=1, reply_2=None, reply_3=None)),
    )
    found = read(put(tmp_path, row), "argilla")
    assert [(r.answer.labeller.id, told(r)) for r in found] == [("u1", "b>c>a"), ("u2", "b>ac")]
    assert found[0].question.prompt == Prompt.ask("Why?", source="export.json")
    named = record(("u1", ["Response 2", "Response 1"]), question="Why?", response1="a text", response2="b text")
    assert [told(r) for r in read(put(tmp_path, named), "argilla")] == ["b>a"]
    unanswered = load(put(tmp_path, record()), "argilla")
    assert unanswered.ranked == []
    assert "nobody" in unanswered.skipped[0].reason


# --- asked here, answered there


ASKED = Question("text", tuple(Candidate(f"{c} text", origin=f"model {c}") for c in "abc"), Prompt.ask("Why?"), "gold")


@pytest.mark.parametrize("tool", TOOLS)
def test_questions_go_out_and_answers_come_back_to_them(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "tasks.json"
    assert write_questions(path, [ASKED], tool) == 1
    (row,) = json.loads(path.read_text())
    a, b, c = (x.id for text in "abc" for x in ASKED.candidates if (x.text or "")[0] == text)
    if tool == "label-studio":
        row["annotations"] = [ranker({"rank": [b, a, c]})]
    else:
        name = {text: name for name, text in row["fields"].items()}
        value = [name[f"{letter} text"] for letter in "bac"]
        row["responses"] = {"preference": [{"value": value, "user_id": "7"}]}
    (found,) = read(put(tmp_path, row), tool)
    assert found.question == ASKED  # purpose, origins and all
    assert found.answer == Answer(ASKED.id, Labeller("7", "import"), ((b,), (a,), (c,)), source="export.json")


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tool_has_the_last_word(tmp_path: Path, tool: str) -> None:
    ids = [c.id for c in ASKED.candidates]
    ann, bob, eve = (Labeller(name, "person", {"language": "en"}) for name in ("ann", "bob", "eve"))
    tiers = ((ids[0],), (ids[1], ids[2]))
    out = [Ranked(ASKED, Answer(ASKED.id, who, tiers, note="why")) for who in (ann, bob)]
    out.append(Ranked(ASKED, Answer(ASKED.id, eve, (), note="cannot tell")))
    path = tmp_path / "out.json"
    write(path, out, tool)
    (row,) = json.loads(path.read_text())
    if tool == "label-studio":
        row["annotations"][1]["result"][0]["value"] = {"ranker": {"rank": ids[::-1]}}
        del row["annotations"][0]
    else:
        given = row["responses"]["preference"]
        assert [g["user_id"] for g in given] == [user_id(ann), user_id(bob)]
        given[1]["value"] = given[1]["value"][::-1]
        del given[0]
    back = {r.answer.labeller.id: r.answer for r in read(put(tmp_path, row), tool)}
    assert back.keys() == {"bob", "eve"}  # ann's was deleted there
    assert back["bob"].tiers[0] != (ids[0],)
    assert (back["bob"].note, back["bob"].labeller) == ("", bob)
    assert back["eve"] == out[2].answer
    # A text that was edited there makes another question, whose answers are the tool's.
    for shown in row["data"]["items"] if tool == "label-studio" else [row["fields"]]:
        shown.update({name: "a text, edited" for name, text in shown.items() if text == "a text"})
    edited = read(put(tmp_path, row), tool)
    assert [r.question.purpose for r in edited] == ["train"]


# --- malformed


def broken(task: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(task)), **changes}


TASK = {"data": {"prompt": "Why?", "items": ITEMS}, "annotations": [ranker(["llm_1", "llm_2", "llm_0"])]}


@pytest.mark.parametrize(
    ("tool", "row", "message"),
    [
        ("label-studio", broken(TASK, data=[]), "'data'"),
        ("label-studio", broken(TASK, annotations=None), "'annotations'"),
        ("label-studio", broken(TASK, data={"prompt": "Why?", "answer1": "a"}), r"'data\.answer2'.*missing"),
        ("label-studio", broken(TASK, data={"items": ITEMS, "x": "", "y": ""}), r"'data\.prompt'.*missing"),
        ("label-studio", broken(TASK, data={"prompt": 1, "items": ITEMS}), r"'data\.prompt'"),
        ("label-studio", broken(TASK, data={"prompt": "", "items": [{"id": "llm_0"}]}), r"'data\.items\[0\]\.body'"),
        ("label-studio", broken(TASK, annotations=[ranker(["llm_9"])]), r"annotations\[0\]\.result\[0\].*llm_9"),
        ("label-studio", broken(TASK, annotations=[ranker({"good": ["llm_0"], "bad": []})]), "no order"),
        ("label-studio", broken(TASK, annotations=[ranker(["llm_0", "llm_0", "llm_1"])]), "twice"),
        ("label-studio", broken(TASK, annotations=[ranker({"1": "llm_0"})]), "no list"),
        ("label-studio", broken(TASK, annotations=[ranker(["llm_1", "llm_2", "llm_0"], None)]), "completed_by"),
        ("label-studio", broken(TASK, annotations=[pairwise("up")]), r"value\.selected.*left or right"),
        ("label-studio", broken(TASK, data={**TASK["data"], "backflip": {"question": {}}}), "'data.backflip"),
        ("argilla", broken(record(), fields=None), "'fields'"),
        ("argilla", broken(record(("u", ["reply-9", "reply-1"]))), "reply-9"),
        ("argilla", broken(record(("u", ["reply-1", "reply-1"]))), "twice"),
        ("argilla", broken(record(("u", ranks(reply_1=1, reply_2=2)), ("v", ["reply-1"]))), r"\[1\]\.value"),
        ("argilla", broken(record(("u", [{"value": "reply-1", "rank": "1"}]))), r"value\[0\]\.rank"),
        ("argilla", broken(record(), metadata={"backflip": "{"}), r"metadata\.backflip.*not JSON"),
        ("argilla", broken(record(), responses={"p": [{"value": []}], "q": [{"value": []}]}), "second ranking"),
    ],
)  # fmt: skip
def test_malformed_records_are_named(tmp_path: Path, tool: str, row: Any, message: str) -> None:
    good = TASK if tool == "label-studio" else record(("u", ["reply-1", "reply-2", "reply-3"]))
    with pytest.raises(DataError, match=r"export\.json line 2") as caught:
        read(put(tmp_path, good, row), tool)
    assert caught.match(message)


@pytest.mark.parametrize("tool", TOOLS)
def test_clips_are_refused(tmp_path: Path, tool: str) -> None:
    clips = Question("clip", (Candidate(media="a"), Candidate(media="b")))
    with pytest.raises(DataError, match="shows clips"):
        write_questions(tmp_path / "x.json", [clips], tool)
    with pytest.raises(DataError, match="label-studio"):
        write_questions(tmp_path / "x.json", [ASKED], "hh")
