"""Samples are the same however the run went, and each prompt's different texts are asked about once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from backflip.errors import CheckpointError, ConfigError, DataError, ModelError
from backflip.feedback.codec import decode_prompt
from backflip.feedback.store import Store
from backflip.lm.heads import Causal
from backflip.lm.hub import tiny_model
from backflip.lm.packing import Tree, pack
from backflip.lm.sampler import Completion, LocalSampler, SamplerConfig
from backflip.lm.tokens import Tokens
from backflip.recipes import sample
from backflip.records import Candidate, Labeller, Prompt

PROMPTS = [Prompt.ask(f"What is {topic}?") for topic in ("rain", "snow", "the moon", "bees", "bread")]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("sample") / "policy").folder)


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = str(tmp_path / "feedback.db")
    with Store.open(path) as opened:
        opened.add_prompts(PROMPTS, name="default")
    return path


@pytest.fixture
def configure(tmp_path: Path, store: str, policy: str) -> Callable[..., sample.Config]:
    """A small configuration; keywords change it."""

    def make(folder: str = "run", **changes: Any) -> sample.Config:
        known = {"folder": tmp_path / folder, "store": store, "model": policy}
        return sample.Config(**(known | {"samples": 3, "max_tokens": 8, "chunk": 2} | changes))

    return make


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


class Scripted:
    """A sampler whose answers are written out, and which counts what it is asked for."""

    def __init__(self, tokens: Tokens, answers: Sequence[tuple[str, bool]]) -> None:
        self.tokens, self.answers, self.calls = tokens, answers, 0

    def sample(
        self, prompts: Sequence[Sequence[int]], *, samples: int, keys: Sequence[int] | None = None
    ) -> list[list[Completion]]:
        self.calls += len(prompts)
        made = [self.tokens.answer(text, ended=ended) for text, ended in self.answers[:samples]]
        return [
            [Completion(i, k, ids, (-0.5,) * len(ids), ids[-1] == self.tokens.eos) for k, ids in enumerate(made)]
            for i in range(len(prompts))
        ]


def test_lines_hold_what_was_sampled(configure: Callable[..., sample.Config], policy: str) -> None:
    config = configure()
    result = sample.run(config)
    rows = lines(config.folder)
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [(p.id, k) for p in PROMPTS for k in range(3)]
    tokens, model = Tokens.load(policy), Causal.load(policy)
    for row in rows:
        prompt = decode_prompt(json.dumps(row["prompt"]))
        assert prompt.id == row["prompt_id"]
        assert row["text"] == tokens.decode(row["tokens"])
        assert row["candidate_id"] == Candidate(text=row["text"]).id
        assert row["ended"] == (row["tokens"][-1] == tokens.eos)
        with torch.no_grad():
            scores = model.scores(pack([Tree(tokens.prompt(prompt), (tuple(row["tokens"]),))]))
        assert row["logprobs"] == pytest.approx(scores.logprobs.tolist(), abs=1e-4)
    assert (result.prompts, result.samples) == (5, 15)
    assert result.mean_length == sum(len(row["tokens"]) for row in rows) / 15


def test_draws_depend_on_seed_and_prompt_alone(configure: Callable[..., sample.Config], store: str) -> None:
    sample.run(configure("one", ask=False))
    sample.run(configure("other", ask=False, rows=2, chunk=5))
    one, other = (
        [{k: v for k, v in row.items() if k != "logprobs"} for row in lines(configure(name).folder)]
        for name in ("one", "other")
    )
    assert one == other
    with Store.open(store) as opened:
        opened.add_prompts(PROMPTS[3:], name="fewer")
    sample.run(configure("fewer", ask=False, prompts="fewer", samples=2))
    texts = {(row["prompt_id"], row["sample"]): row["text"] for row in one}
    assert all(row["text"] == texts[row["prompt_id"], row["sample"]] for row in lines(configure("fewer").folder))
    sample.run(configure("seed", ask=False, seed=1))
    assert [row["text"] for row in lines(configure("seed").folder)] != [row["text"] for row in one]


def test_the_stream_of_a_prompt_is_named_by_its_id(policy: str, configure: Callable[..., sample.Config]) -> None:
    config = configure(ask=False)
    sample.run(config)
    engine = LocalSampler(Causal.load(policy), SamplerConfig(max_tokens=8))
    prompt = PROMPTS[2]
    (group,) = engine.sample([Tokens.load(policy).prompt(prompt)], samples=3, keys=[int(prompt.id[:15], 16)])
    rows = [row for row in lines(config.folder) if row["prompt_id"] == prompt.id]
    assert [row["tokens"] for row in rows] == [list(c.tokens) for c in group]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("torn", ["", '{"prompt_id": "ab', "whole"])
def test_an_interrupted_run_goes_on_after_the_last_whole_prompt(
    configure: Callable[..., sample.Config], policy: str, torn: str
) -> None:
    sample.run(configure("whole"))
    config = configure("parts")
    engine = LocalSampler(Causal.load(policy), SamplerConfig(max_tokens=8))
    ended = 0

    def stop(_: Completion) -> None:
        nonlocal ended
        ended += 1
        if ended > 9:  # within the second chunk of two prompts with three samples
            raise _StopError

    engine.on_done = stop
    with pytest.raises(_StopError):
        sample.run(config, sampler=engine)
    path = config.folder / "samples.jsonl"
    assert len(lines(config.folder)) == 6
    whole_line = path.read_text().splitlines()[0] + "\n"  # of a prompt whose other samples never came
    with path.open("a") as file:
        file.write(whole_line if torn == "whole" else torn)
    sample.run(config)
    assert path.read_bytes() == (configure("whole").folder / "samples.jsonl").read_bytes()


def test_a_finished_run_samples_nothing_again(configure: Callable[..., sample.Config], policy: str) -> None:
    scripted = Scripted(Tokens.load(policy), [("one", True), ("two", True), ("three", True)])
    first = sample.run(configure(), sampler=scripted)
    assert scripted.calls == 5
    assert sample.run(configure(), sampler=scripted) == first
    assert scripted.calls == 5
    with pytest.raises(CheckpointError, match="temperature"):
        sample.run(configure(temperature=0.7))


def test_questions_show_each_text_once(configure: Callable[..., sample.Config], policy: str, store: str) -> None:
    answers = [("It is wet.", True), ("It is wet.", True), ("It is wet and", False), ("Cold.", True)]
    scripted = Scripted(Tokens.load(policy), answers)
    result = sample.run(
        configure(samples=4, purpose="train", overlap=2, priority=3.0, origin="round-1"), sampler=scripted
    )
    assert (result.asked, result.not_asked) == (5, 0)
    with Store.open(store) as opened:
        questions = list(opened.questions(purpose="train"))
        assert opened.counts().wanted == 10
    assert [q.prompt for q in questions] == PROMPTS
    for question in questions:
        found = {c.text: (c.ended, c.origin) for c in question.candidates}
        assert found == {
            "It is wet.": (True, "round-1"),
            "It is wet and": (False, "round-1"),
            "Cold.": (True, "round-1"),
        }
        assert question.priority == 3.0


def test_equal_samples_are_not_asked_about_but_counted(
    configure: Callable[..., sample.Config], policy: str, store: str
) -> None:
    result = sample.run(configure(), sampler=Scripted(Tokens.load(policy), [("Rain.", True)] * 3))
    assert (result.asked, result.not_asked) == (0, 5)
    with Store.open(store) as opened:
        assert list(opened.questions()) == []


def test_asking_again_after_a_kill_adds_nothing_twice(configure: Callable[..., sample.Config], store: str) -> None:
    config = configure()
    result = sample.run(config)
    with Store.open(store) as opened:
        before = list(opened.questions())
        assert len(before) == result.asked
    # killed after it asked and before it was recorded as done
    record = json.loads((config.folder / "run.json").read_text())
    (config.folder / "run.json").write_text(json.dumps(record | {"status": "running", "result": {}}))
    assert sample.run(config) == result
    with Store.open(store) as opened:
        assert list(opened.questions()) == before


def test_origin_is_the_models_folder_or_run(configure: Callable[..., sample.Config], store: str) -> None:
    sample.run(configure())
    with Store.open(store) as opened:
        assert {c.origin for q in opened.questions() for c in q.candidates} == {"policy"}
        labeller = Labeller("ann", "person")
        assert opened.lease(labeller) is not None


def test_without_asking_the_store_is_left_alone(configure: Callable[..., sample.Config], store: str) -> None:
    result = sample.run(configure(ask=False, samples=1, limit=2, temperature=0.0))
    assert (result.prompts, result.samples, result.asked, result.not_asked) == (2, 2, 0, 0)
    with Store.open(store) as opened:
        assert list(opened.questions()) == []


def test_an_empty_prompt_set(configure: Callable[..., sample.Config]) -> None:
    with pytest.raises(DataError, match="has no prompts in split 'test'"):
        sample.run(configure(split="test"))


def test_a_prompt_without_tokens(configure: Callable[..., sample.Config], store: str) -> None:
    with Store.open(store) as opened:
        opened.add_prompts([Prompt(text="")], name="blank")
    with pytest.raises(DataError, match="has no tokens"):
        sample.run(configure(prompts="blank"))


def test_a_missing_policy(configure: Callable[..., sample.Config], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing"):
        sample.run(configure(model=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 1},
        {"samples": 10},
        {"max_tokens": 0},
        {"temperature": 0.0},
        {"limit": 0},
        {"seed": -1},
        {"chunk": 0},
    ],
)
def test_nonsense_is_refused_by_name(configure: Callable[..., sample.Config], change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        configure(**change)
