"""Export, then import: equal in everything that the format says it keeps."""

from __future__ import annotations

import json
import tempfile
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.feedback.formats import Ranked, read, read_demonstrations, write, write_demonstrations
from backflip.records import Answer, Candidate, Demonstration, Labeller, Message, Prompt, Question

# Line separators, quotes, a byte order mark and astral characters: what breaks careless readers.
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\u2028\u0085\x00\ufeff"\\\r\n\U0001f938:'), max_size=12)
SOME_TEXT = TEXT.filter(bool)
LABELLERS = st.builds(
    Labeller,
    SOME_TEXT,
    st.sampled_from(["person", "simulated", "import", "maker"]),
    st.dictionaries(TEXT, TEXT, max_size=2),
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def dialogues(draw: st.DrawFn, *, system: bool = True) -> Prompt:
    roles = ["user", "assistant", "system"] if system else ["user", "assistant"]
    turns = draw(st.lists(st.builds(Message, st.sampled_from(roles), TEXT), max_size=3))
    return Prompt((*turns, Message("user", draw(TEXT))), user=draw(st.none() | SOME_TEXT), source=draw(TEXT))


PLAIN = st.builds(Prompt, text=TEXT, user=st.none() | TEXT, source=TEXT)


@st.composite
def rankings(
    draw: st.DrawFn, prompts: st.SearchStrategy[Prompt], *, most: int = 4, ties: bool = True, everything: bool = False
) -> Ranked:
    texts = draw(st.lists(TEXT, min_size=2, max_size=most, unique=True))
    candidates = tuple(
        Candidate(t, origin=draw(TEXT), ended=draw(st.booleans()) if everything else True) for t in texts
    )
    extra = {"purpose": draw(TEXT), "priority": draw(FLOATS)} if everything else {}
    question = Question("text", candidates, draw(prompts), **extra)
    ids = draw(st.permutations([c.id for c in candidates]))
    cuts = [True if not ties else draw(st.booleans()) for _ in ids[1:]]
    tiers: list[list[str]] = [[ids[0]]]
    for cut, candidate in zip(cuts, ids[1:], strict=True):
        if cut:
            tiers.append([])
        tiers[-1].append(candidate)
    answer = Answer(question.id, Labeller("w", "import"), tuple(map(tuple, tiers)))
    return Ranked(question, draw(full_answers(answer, ids)) if everything else answer)


@st.composite
def full_answers(draw: st.DrawFn, answer: Answer, ids: list[str]) -> Answer:
    return Answer(
        answer.question,
        draw(LABELLERS),
        answer.tiers if draw(st.booleans()) else (),
        shown=tuple(draw(st.permutations(ids))) if draw(st.booleans()) else (),
        ratings=draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 7))),
        flags=draw(st.dictionaries(st.sampled_from(ids), st.lists(TEXT, max_size=2).map(tuple))),
        seconds=draw(st.none() | FLOATS),
        time=draw(TEXT),
        source=draw(TEXT),
        note=draw(TEXT),
    )


def round_trip(rows: list[Ranked], format: str, suffix: str = ".jsonl") -> list[Ranked]:  # noqa: A002
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        write(path, rows, format)
        assert [p.name for p in Path(folder).iterdir()] == [path.name]
        return read(path, format)


@given(
    st.lists(rankings(dialogues() | PLAIN, everything=True, most=9), min_size=1, max_size=3),
    st.sampled_from([".jsonl", ".jsonl.gz"]),
)
@settings(max_examples=40, deadline=None)
def test_our_own_format_keeps_every_field(rows: list[Ranked], suffix: str) -> None:
    assert round_trip(rows, "jsonl", suffix) == rows


def test_our_own_format_keeps_clips() -> None:
    clips = (Candidate(media="a" * 64, origin="policy 7"), Candidate(media="b" * 64))
    question = Question("clip", clips, purpose="test", priority=0.5)
    answer = Answer(question.id, Labeller("ann", "person", {"language": "zh"}), ())
    assert round_trip([Ranked(question, answer)], "jsonl") == [Ranked(question, answer)]


@given(
    st.lists(
        st.builds(Demonstration, dialogues() | PLAIN, TEXT.filter(str.strip), LABELLERS, TEXT), min_size=1, max_size=3
    )
)
@settings(max_examples=40, deadline=None)
def test_demonstrations_keep_every_field(rows: list[Demonstration]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demonstrations.jsonl.gz"
        assert write_demonstrations(path, rows) == len(rows)
        assert read_demonstrations(path) == rows


def implied(rows: list[Ranked]) -> list[tuple[str, str, str]]:
    """The slow way to the pairs: (prompt id, better text, worse text), best first."""
    found = []
    for question, answer in rows:
        text = {c.id: c.text for c in question.candidates}
        tier = {c: i for i, tied in enumerate(answer.tiers) for c in tied}
        found += [
            (question.prompt.id, text[a], text[b])
            for x, y in combinations(tier, 2)
            for a, b in ((x, y), (y, x))
            if tier[a] < tier[b]
        ]
    return sorted(found)


@given(st.lists(rankings(dialogues(system=False), ties=False), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_hh_keeps_the_pairs(rows: list[Ranked]) -> None:
    assert implied(round_trip(rows, "hh")) == implied(rows)


@given(st.lists(rankings(dialogues() | PLAIN, ties=False), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_trl_keeps_the_pairs(rows: list[Ranked]) -> None:
    assert implied(round_trip(rows, "trl")) == implied(rows)


@given(st.lists(rankings(PLAIN, ties=False), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_openai_keeps_pairs_workers_and_origins(rows: list[Ranked]) -> None:
    back = round_trip(rows, "openai")
    assert implied(back) == implied(rows)
    assert {r.answer.labeller.id for r in back} == {"w"}
    origins = {(r.question.prompt.id, c.text): c.origin for r in rows for c in r.question.candidates}
    if len(origins) == sum(len(r.question.candidates) for r in rows):
        assert all(origins[r.question.prompt.id, c.text] == c.origin for r in back for c in r.question.candidates)


@given(rankings(PLAIN, most=2, ties=False), st.integers(1, 9), st.booleans())
@settings(max_examples=30, deadline=None)
def test_openai_import_is_a_fixed_point(row: Ranked, confidence: int, reverse: bool) -> None:
    (once,) = round_trip([row], "openai")
    shown = once.answer.shown[::-1] if reverse else once.answer.shown
    kept = {"extra": {"confidence": confidence}, "info": {"id": "t3_x"}, "notes": ["n", None], "split": "valid2"}
    note = json.dumps(kept)
    answer = Answer(
        once.question.id, once.answer.labeller, once.answer.tiers, shown=shown, source="rows.jsonl", note=note
    )
    assert round_trip([Ranked(once.question, answer)], "openai") == [Ranked(once.question, answer)]


@given(
    st.lists(
        rankings(dialogues(system=False), most=9), min_size=1, max_size=3, unique_by=lambda r: r.question.prompt.id
    )
)
@settings(max_examples=40, deadline=None)
def test_oasst_keeps_rankings_with_ties(rows: list[Ranked]) -> None:
    def kept(row: Ranked) -> tuple[object, ...]:
        question, answer = row
        return question.id, question.prompt.user, question.candidates, [sorted(t) for t in answer.tiers]

    # A prompt that leads through another one's reply makes that reply a ranked message of the same tree.
    assert sorted(map(kept, round_trip(rows, "oasst")), key=str) == sorted(map(kept, rows), key=str)


ONE_TURN = st.builds(Prompt.ask, TEXT, source=st.just("pandalm"))


@given(st.lists(rankings(ONE_TURN, most=2), min_size=1, max_size=3, unique_by=lambda r: r.question.id))
@settings(max_examples=40, deadline=None)
def test_pandalm_keeps_three_answers_with_ties(rows: list[Ranked]) -> None:
    three = [Ranked(q, Answer(q.id, Labeller(n, "import"), a.tiers)) for q, a in rows for n in "abc"]
    back = round_trip(three, "pandalm", ".json")
    assert [(q.id, [sorted(t) for t in a.tiers]) for q, a in back] == [
        (q.id, [sorted(t) for t in a.tiers]) for q, a in three
    ]
    assert [a.labeller.id for _, a in back] == ["annotator1", "annotator2", "annotator3"] * len(rows)


def test_pandalm_export_of_three_candidates_is_three_rows() -> None:
    question = Question("text", (Candidate("a"), Candidate("b"), Candidate("c")), Prompt.ask("q"))
    ids = [c.id for c in question.candidates]
    tiers = ((ids[0],), (ids[1], ids[2]))
    rows = [Ranked(question, Answer(question.id, Labeller(n, "person"), tiers)) for n in "xyz"]
    back = round_trip(rows, "pandalm", ".json")
    assert len(back) == 9  # C(3,2) pairs times three annotators
    assert sum(len(a.tiers) == 1 for _, a in back) == 3  # the tied pair


def simple(prompt: Prompt, *texts: str, tiers: str = "strict") -> Ranked:
    question = Question("text", tuple(map(Candidate, texts)), prompt)
    ids = tuple(c.id for c in question.candidates)
    shapes = {"strict": tuple((i,) for i in ids), "tied": (ids,), "cannot tell": ()}
    return Ranked(question, Answer(question.id, Labeller("w", "person"), shapes[tiers]))


ASK = Prompt.ask("q")
CLIPS = Question("clip", (Candidate(media="a"), Candidate(media="b")))
CLIP = Ranked(CLIPS, Answer(CLIPS.id, Labeller("w", "person"), tuple((c.id,) for c in CLIPS.candidates)))


@pytest.mark.parametrize(
    ("format", "rows", "said"),
    [
        ("hh", [simple(Prompt.ask("q", system="s"), "a", "b")], "system message"),
        ("hh", [simple(Prompt(text="once"), "a", "b")], "plain text"),
        ("hh", [simple(ASK, "a\n\nHuman: x\n\nAssistant: y", "a\n\nHuman: x\n\nAssistant: z")], "turn's mark"),
        ("hh", [simple(Prompt.ask("q\n\nAssistant: r"), "a", "b")], "turn's mark"),
        ("hh", [simple(ASK, "a", "b", tiers="tied")], "nothing to write"),
        ("trl", [CLIP], "clips"),
        ("trl", [simple(ASK, "a", "b", tiers="cannot tell")], "nothing to write"),
        ("openai", [simple(ASK, "a", "b")], "dialogue"),
        ("oasst", [simple(Prompt(text="once"), "a", "b")], "not a dialogue"),
        ("oasst", [simple(Prompt.ask("q", system="s"), "a", "b")], "not a dialogue"),
        ("oasst", [simple(ASK, "a", "b", tiers="cannot tell")], "cannot tell"),
        ("oasst", [simple(ASK, "a", "b"), simple(ASK, "a", "c")], "two answers"),
        ("pandalm", [simple(ASK, "a", "b")], "1 answers"),
        ("pandalm", [simple(ASK, "a", "b", tiers="cannot tell")] * 3, "cannot tell"),
        ("pandalm", [simple(Prompt(text="once"), "a", "b")] * 3, "one user turn"),
        ("jsonl", [], "nothing to write"),
        ("jsonl", [Ranked(CLIPS, simple(ASK, "a", "b").answer)], "answer is to"),
        ("csv", [], "unknown format"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path: Path,
    format: str,  # noqa: A002
    rows: list[Ranked],
    said: str,
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")
    with pytest.raises(DataError, match=said):
        write(path, rows, format)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.jsonl", "before")]
