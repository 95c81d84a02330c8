"""Payloads are lossless: every field of every record comes back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from backflip.feedback import codec
from backflip.records import Answer, Candidate, Demonstration, Labeller, Message, Prompt, Question

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # a lone surrogate has no UTF-8, so no id
solid = texts.filter(str.strip)
groups = st.dictionaries(texts, texts, max_size=2)
labellers = st.builds(Labeller, solid, st.sampled_from(["person", "simulated", "import", "maker"]), groups)
dialogues = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=2).map(
    lambda turns: (*turns, Message("user", "and?"))
)
prompts = st.one_of(
    st.builds(Prompt, messages=dialogues, user=st.none() | texts, source=texts), st.builds(Prompt, text=texts)
)
candidates = st.one_of(st.builds(Candidate, text=texts, origin=texts), st.builds(Candidate, media=texts, origin=texts))
questions = st.builds(
    Question,
    medium=st.sampled_from(["text", "clip"]),
    candidates=st.lists(candidates, min_size=2, max_size=9, unique_by=lambda c: c.id).map(tuple),
    prompt=prompts,
    purpose=texts,
    priority=st.floats(-9, 9),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    question = draw(questions)
    ids = draw(st.permutations([candidate.id for candidate in question.candidates]))
    cut = draw(st.integers(1, len(ids)))
    return Answer(
        question=question.id,
        labeller=draw(labellers),
        tiers=draw(st.sampled_from([(), (tuple(ids),), (tuple(ids[:cut]), *((c,) for c in ids[cut:]))])),
        shown=tuple(ids),
        ratings=draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 7))),
        flags=draw(st.dictionaries(st.sampled_from(ids), st.lists(texts, max_size=2).map(tuple))),
        seconds=draw(st.none() | st.floats(0, 1e6)),
        time=draw(texts),
        source=draw(texts),
        note=draw(texts),
    )


@given(questions)
def test_a_question_comes_back(question: Question) -> None:
    assert codec.decode_question(codec.encode_question(question), priority=question.priority) == question


@given(answers())
def test_an_answer_comes_back(answer: Answer) -> None:
    assert codec.decode_answer(codec.encode_answer(answer)) == answer


@given(prompts, solid, labellers, texts)
def test_a_demonstration_and_its_prompt_come_back(prompt: Prompt, text: str, author: Labeller, source: str) -> None:
    demonstration = Demonstration(prompt, text, author, source)
    assert codec.decode_demonstration(codec.encode_demonstration(demonstration)) == demonstration
    assert codec.decode_prompt(codec.encode_prompt(prompt)) == prompt


def test_a_payload_holds_no_raw_control_characters() -> None:
    payload = codec.encode_prompt(Prompt(text="a\x00b"))  # PostgreSQL's text cannot hold NUL
    assert "\x00" not in payload
    assert json.loads(payload)["text"] == "a\x00b"
