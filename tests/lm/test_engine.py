"""The engine: what it draws for one is what it would draw alone, whoever comes and goes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backflip.errors import ModelError
from backflip.lm.engine import Engine, EngineConfig, Request
from backflip.lm.heads import Causal
from backflip.lm.sampler import LocalSampler, SamplerConfig

PROMPTS = [(5, 6, 7), (8,), (9, 10, 11, 12, 13, 14), (15, 16)]


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.why: str | None = None
        self.over = threading.Event()
        self.news: queue.Queue[int | None] = queue.Queue()

    def __call__(self, token: int | None, why: str | None) -> None:
        if token is not None:
            self.tokens.append(token)
        else:
            assert self.why is None, "told twice that it is over"
            self.why = why
            self.over.set()
        self.news.put(token)

    def result(self) -> tuple[list[int], str | None]:
        assert self.over.wait(30), "the engine never ended it"
        return self.tokens, self.why


@pytest.fixture
def engine(tiny_folder: Path) -> Iterator[Engine]:
    with Engine(Causal.load(tiny_folder).eval(), EngineConfig(rows=2, context=64, waiting=8)) as made:
        yield made


def ask(engine: Engine, prompt: tuple[int, ...], **options: object) -> tuple[Request, Heard]:
    heard = Heard()
    return engine.submit(prompt, heard, **({"max_tokens": 12, "seed": 1} | options)), heard  # type: ignore[arg-type]


def test_greedy_equals_the_sampler(engine: Engine, tiny_folder: Path) -> None:
    groups = LocalSampler(Causal.load(tiny_folder), SamplerConfig(12, temperature=0.0)).sample(PROMPTS, samples=1)
    heard = [ask(engine, prompt, temperature=0.0)[1] for prompt in PROMPTS]
    for one, (completion,) in zip(heard, groups, strict=True):
        tokens, why = one.result()
        assert tokens == [t for t in completion.tokens if t != engine.eos]
        assert why == ("stop" if completion.ended else "length")


def test_a_seed_decides_whoever_else_asks(engine: Engine) -> None:
    alone = ask(engine, PROMPTS[0], temperature=2.0)[1].result()
    crowd = [ask(engine, prompt, temperature=2.0, seed=7)[1] for prompt in PROMPTS]
    among = ask(engine, PROMPTS[0], temperature=2.0)[1].result()
    assert among == alone
    assert crowd[0].result() != alone


def test_limits_temperatures_and_ends_are_each_requests_own(engine: Engine) -> None:
    engine.eos = -1
    said = ask(engine, PROMPTS[0], temperature=2.0)[1].result()[0]
    place = next(i for i in range(3, 12) if said[i] not in said[:i])
    engine.eos = said[place]
    stops, cut, cold = (
        ask(engine, PROMPTS[0], temperature=2.0)[1],
        ask(engine, PROMPTS[0], temperature=2.0, max_tokens=2)[1],
        ask(engine, PROMPTS[0], temperature=0.0, max_tokens=5)[1],
    )
    assert stops.result() == (said[:place], "stop")
    assert cut.result() == (said[:2], "length")
    assert cold.result()[0] != said[:5]


def test_who_goes_away_leaves_the_place_to_who_waits(engine: Engine) -> None:
    engine.eos = -1  # nobody ends by themselves
    long = [ask(engine, prompt, max_tokens=60) for prompt in PROMPTS[:2]]  # both places
    waiting = ask(engine, PROMPTS[3], max_tokens=3)[1]
    long[0][1].news.get(timeout=30)  # it has begun
    long[0][0].cancel()
    long[0][0].cancel()
    assert long[0][1].result()[1] == "cancelled"
    assert len(waiting.result()[0]) == 3
    assert len(long[1][1].result()[0]) == 60


def test_what_cannot_be_answered_is_refused(engine: Engine) -> None:
    for prompt, limit in (((), 4), ((5,) * 64, 4), ((5,), 0)):
        with pytest.raises(ModelError, match="shorten the dialogue"):
            ask(engine, prompt, max_tokens=limit)
    assert len(ask(engine, (5,) * 60, temperature=0.0)[1].result()[0]) <= 4  # all that the context leaves


def test_too_many_are_told_to_come_again(tiny_folder: Path) -> None:
    with Engine(Causal.load(tiny_folder).eval(), EngineConfig(rows=1, context=64, waiting=0)) as engine:
        engine.eos = -1
        held, gate = threading.Event(), threading.Event()

        def holds(*_: object) -> None:
            held.set()
            gate.wait(30)

        engine.submit((5,), holds, max_tokens=2)
        assert held.wait(30)
        waits = ask(engine, (6,))[1]
        with pytest.raises(ModelError, match="has 1 requests waiting; try again later"):
            ask(engine, (7,))
        gate.set()
        assert len(waits.result()[0]) == 12


def test_a_listener_that_fails_harms_nobody_else(engine: Engine) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    engine.eos = -1
    engine.submit(PROMPTS[0], broken, max_tokens=50)
    assert len(ask(engine, PROMPTS[1])[1].result()[0]) == 12


def test_closing_ends_everything_once(tiny_folder: Path) -> None:
    engine = Engine(Causal.load(tiny_folder).eval(), EngineConfig(rows=1, context=64))
    engine.eos = -1
    heard = [ask(engine, prompt, max_tokens=50)[1] for prompt in PROMPTS]
    engine.close()
    engine.close()
    assert {one.result()[1] for one in heard} <= {"cancelled", "length"}
    with pytest.raises(ModelError, match="is closed"):
        ask(engine, (5,))
