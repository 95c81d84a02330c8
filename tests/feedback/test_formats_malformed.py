"""A malformed file is named by file, line and field; what is well formed and says nothing is skipped by name."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from backflip.errors import DataError, OutOfSpace
from backflip.feedback.formats import load, read, read_demonstrations, write, write_demonstrations
from backflip.records import Candidate

GOOD: dict[str, dict[str, Any]] = {
    "hh": {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    "trl": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "openai": {
        "info": {"id": "1", "post": "p", "title": "t", "subreddit": "s"},
        "summaries": [{"text": "a", "policy": "x", "note": "n"}, {"text": "b", "policy": "y", "note": None}],
        "choice": 1,
        "worker": "w",
        "extra": {"confidence": 7},
    },
    "oasst": {"message_id": "1", "parent_id": None, "role": "prompter", "text": "q", "rank": None},
    "pandalm": {
        "idx": 0,
        "cmp_key": "m_n",
        "instruction": "i",
        "input": "",
        "response1": "a",
        "response2": "b",
        "annotator1": 1,
        "annotator2": 2,
        "annotator3": 0,
    },
}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("format", "change", "field"),
    [
        ("hh", {"chosen": 3}, "chosen"),
        ("hh", {"chosen": "q"}, "chosen"),
        ("hh", {"rejected": "\n\nHuman: other\n\nAssistant: b"}, "rejected"),
        ("hh", {"rejected": "\n\nHuman: q"}, "rejected"),
        ("trl", {"prompt": None}, "prompt"),
        ("trl", {"prompt": []}, "prompt"),
        ("trl", {"prompt": [{"role": "user", "content": "q"}]}, "chosen"),
        ("trl", {"prompt": [{"role": "tool", "content": "q"}]}, "prompt[0].role"),
        ("trl", {"prompt": ["q"]}, "prompt[0]"),
        ("openai", {"choice": 2}, "choice"),
        ("openai", {"choice": True}, "choice"),
        ("openai", {"info": "x"}, "info"),
        ("openai", {"info": {"title": "t", "subreddit": "s"}}, "info.post"),
        ("openai", {"summaries": [{"text": "a"}, {"text": 1}]}, "summaries[1].text"),
        ("openai", {"extra": {"confidence": 10}}, "extra.confidence"),
        ("oasst", {"role": "user", "message_id": "2"}, "role"),
        ("oasst", {"rank": "0", "message_id": "2"}, "rank"),
        ("oasst", {}, "message_id"),
        ("pandalm", {"annotator2": 3}, "annotator2"),
        ("pandalm", {"response1": None}, "response1"),
    ],
)
def test_the_place_is_named(tmp_path: Path, format: str, change: dict[str, Any], field: str) -> None:  # noqa: A002
    path = lines(tmp_path / "data.jsonl", GOOD[format], GOOD[format] | change)
    with pytest.raises(DataError) as caught:
        read(path, format)
    assert str(caught.value).startswith(f"data.jsonl line 2, field {field!r}: ")


def test_a_missing_field_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl line 1, field 'rejected': is missing; this row has chosen"):
        read(lines(tmp_path / "x.jsonl", {"chosen": GOOD["hh"]["chosen"]}), "hh")


@pytest.mark.parametrize("where", ["question", "answer"])
def test_our_own_format_refuses_unknown_fields_and_wrong_values(tmp_path: Path, where: str) -> None:
    source, path = lines(tmp_path / "hh.jsonl", GOOD["hh"]), tmp_path / "own.jsonl"
    write(path, read(source, "hh"), "jsonl")
    row = json.loads(path.read_text(encoding="utf-8"))
    row[where]["extra"] = 1
    with pytest.raises(DataError, match=f"own.jsonl line 1, field '{where}': unknown field 'extra'"):
        read(lines(path, row), "jsonl")


def test_our_own_format_refuses_a_ranking_of_what_does_not_exist(tmp_path: Path) -> None:
    source, path = lines(tmp_path / "hh.jsonl", GOOD["hh"]), tmp_path / "own.jsonl"
    write(path, read(source, "hh"), "jsonl")
    row = json.loads(path.read_text(encoding="utf-8"))
    row["answer"]["tiers"] = [["nobody"]]
    with pytest.raises(DataError, match=r"own\.jsonl line 1, field 'answer': answer names candidate 'nobody'"):
        read(lines(path, row), "jsonl")
    row["answer"]["tiers"], row["answer"]["labeller"]["kind"] = [], "robot"
    with pytest.raises(DataError, match=r"field 'answer': labeller.kind is 'robot'; wanted 'person' or [^:]*$"):
        read(lines(path, row), "jsonl")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x.jsonl is empty"),
        (b" \n\n", "x.jsonl is empty"),
        (b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        (b'[{"a": 1},\n {]', "line 2 is not JSON"),
        (b'{"a": 1}\n3\n', "line 2 is 3; wanted a JSON object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2 is not UTF-8"),
        (b'{"prompt": "\\ud800"}\n', "line 1 is not JSON that can be held"),
        (b"[" * 100_000, "line 1 is not JSON that can be held"),
        (gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "damaged gzip"),
        (gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:11] + b"\xff\xff\xff\xff\xff\xff\xff\xff", "damaged gzip"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(path, "trl")


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "none.jsonl", "hh")
    with pytest.raises(DataError, match="cannot write"):
        write(tmp_path / "none" / "x.jsonl", read(lines(tmp_path / "hh.jsonl", GOOD["hh"]), "hh"), "hh")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    rows, path = read(lines(tmp_path / "hh.jsonl", GOOD["hh"]), "hh"), tmp_path / "out.jsonl"
    path.write_text("before")
    # The writer's partial file, led to a device that is always full.
    (tmp_path / f".out.jsonl.{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace, match="disk is full"):
        write(path, rows, "hh")
    assert path.read_text() == "before"


def test_gzip_is_known_by_its_content_and_written_without_a_date(tmp_path: Path) -> None:
    rows = read(lines(tmp_path / "hh.jsonl", GOOD["hh"]), "hh")
    one, two = tmp_path / "one.gz", tmp_path / "two.gz"
    write(one, rows, "hh")
    write(two, rows, "hh")
    assert one.read_bytes() == two.read_bytes()
    one.rename(tmp_path / "named_wrong.jsonl")
    assert [r.question for r in read(tmp_path / "named_wrong.jsonl", "hh")] == [r.question for r in rows]


def test_hh_finds_the_prompt_where_one_side_has_two_assistant_turns(tmp_path: Path) -> None:
    start = "\n\nHuman: q\n\nAssistant: r\n\nHuman: again"
    row = {"chosen": start + "\n\nAssistant: a", "rejected": start + "\n\nAssistant: a\n\nAssistant: b"}
    ((question, answer),) = read(lines(tmp_path / "hh.jsonl", row), "hh")
    assert [m.content for m in question.prompt.messages] == ["q", "r", "again"]
    assert answer.tiers == ((Candidate("a").id,), (Candidate("a\n\nAssistant: b").id,))
    write(tmp_path / "back.jsonl", [(question, answer)], "hh")
    assert json.loads((tmp_path / "back.jsonl").read_text(encoding="utf-8")) == row


def test_hh_sides_that_part_before_the_last_turn_keep_their_turns(tmp_path: Path) -> None:
    start = "\n\nHuman: q\n\nAssistant: "
    row = {"chosen": f"{start}a\n\nHuman: x\n\nAssistant: y", "rejected": f"{start}b\n\nHuman: x\n\nAssistant: y"}
    ((question, _),) = read(lines(tmp_path / "hh.jsonl", row), "hh")
    assert [m.content for m in question.prompt.messages] == ["q"]
    assert {c.text[0] for c in question.candidates} == {"a", "b"}


def test_equal_sides_are_skipped_by_name_and_repeats_are_other_labellers(tmp_path: Path) -> None:
    same = {"chosen": GOOD["hh"]["chosen"], "rejected": GOOD["hh"]["chosen"]}
    ranked, skipped = load(lines(tmp_path / "hh.jsonl", GOOD["hh"], same, GOOD["hh"]), "hh")
    assert [r.answer.labeller.id for r in ranked] == ["hh", "hh#2"]
    assert [s.place for s in skipped] == ["hh.jsonl line 2"]


def test_openai_choice_points_at_the_better_summary(tmp_path: Path) -> None:
    ((question, answer),) = read(lines(tmp_path / "x.jsonl", GOOD["openai"]), "openai")
    assert question.prompt.text == "SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: p\n\nTL;DR:"
    assert answer.tiers == ((Candidate("b").id,), (Candidate("a").id,))
    assert answer.shown == (Candidate("a").id, Candidate("b").id)
    assert json.loads(answer.note)["extra"] == {"confidence": 7}


def oasst(name: str, parent: str | None, text: str, rank: int | None = None, **more: object) -> dict[str, object]:
    role = "assistant" if name.startswith("a") else "prompter"
    return {
        "message_id": name,
        "parent_id": parent,
        "role": role,
        "text": text,
        "rank": rank,
        "user_id": f"u-{name}",
    } | more


def test_oasst_trees_become_rankings_and_demonstrations(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "tree.jsonl",
        oasst("a1", "p1", "worst", 2),  # children may come before their parents
        oasst("p1", None, "q"),
        oasst("a2", "p1", "best", 0),
        oasst("a3", "p1", "best", 3),  # the same text again: the better rank stays
        oasst("a4", "p1", "unranked"),
        oasst("p2", "a1", "and then?"),
        oasst("a5", "p2", "x", 0, deleted=True),
        oasst("a6", "p2", "y", 0),
        oasst("a7", "lost", "orphan", 0),
        oasst("a8", "lost", "orphan too", 1),
        oasst("p3", None, "r"),
        oasst("a9", "p3", "alone", 0),
    )
    ranked, skipped = load(path, "oasst")
    first, second = ranked
    assert first.answer.tiers == ((Candidate("best").id,), (Candidate("worst").id,))
    assert [m.content for m in second.question.prompt.messages] == ["q", "worst", "and then?"]
    assert [sorted(t) for t in second.answer.tiers] == [
        sorted([Candidate("x").id, Candidate("y").id])
    ]  # equal ranks tie
    assert second.question.prompt.user == "u-p1"
    assert [s.place.split()[-1] for s in skipped] == ["3", "9", "12"]
    assert [d.answer for d in read_demonstrations(path, "oasst")] == ["best", "alone"]


def test_an_oasst_circle_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.jsonl", oasst("p1", "a1", "q"), oasst("a1", "p1", "x", 0), oasst("a2", "p1", "y", 1))
    with pytest.raises(DataError, match="circle"):
        read(path, "oasst")


def test_pandalm_reads_a_bare_true_as_its_word(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([GOOD["pandalm"] | {"response2": True}]), encoding="utf-8")
    rows = read(path, "pandalm")
    assert {c.text for c in rows[0].question.candidates} == {"a", "True"}
    assert [len(r.answer.tiers) for r in rows] == [2, 2, 1]
    assert {c.origin for c in rows[0].question.candidates} == {"m", "n"}


def test_only_some_formats_hold_demonstrations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no demonstrations"):
        read_demonstrations(tmp_path / "x", "hh")
    with pytest.raises(DataError, match="cannot write demonstrations"):
        write_demonstrations(tmp_path / "x", [], "oasst")
