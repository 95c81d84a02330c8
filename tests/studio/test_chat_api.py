"""The OpenAI-compatible API, by the official client against a server that listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from backflip.chat.model import ChatModels
from backflip.lm.engine import EngineConfig
from backflip.lm.hub import tiny_model
from backflip.safety.rules import WordList
from backflip.safety.verdict import ALLOWED, Context, Filter, Verdict
from backflip.studio.chat.blocked import Blocked, read_blocked
from backflip.studio.chat.limits import Limits, Places
from backflip.studio.chat.openai_api import create_api
from backflip.studio.chat.service import Service
from backflip.studio.command import Server, listen
from backflip.studio.refusals import TooMany

HELLO = [{"role": "user", "content": "hello"}]
LIMITS = Limits(longest=900, characters=2000, at_once=4, at_once_each=3, per_minute=1000)


@dataclass
class Fussy:
    """Blocks the model's texts from the twentieth character on."""

    name: str = "fussy"

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: B008
        if context.role == "user" or len(text) < 20:
            return ALLOWED
        return Verdict(False, {"long": 1.0}, "fussy: long")


@dataclass
class Api:
    url: str
    service: Service
    log: Path
    server: Server
    thread: threading.Thread

    def client(self, **options: object) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, max_retries=0, **{"api_key": "none"} | options)  # type: ignore[arg-type]

    def free(self) -> None:
        """Waits until nothing is under way."""
        until = time.monotonic() + 10
        while self.service.places.busy:
            assert time.monotonic() < until, "a place was not freed"
            time.sleep(0.005)


@contextmanager
def endless(api: Api) -> Iterator[None]:
    """The model never ends by itself meanwhile: its answers last until the limit, a second or so."""
    engine = api.service.models["tiny"].engine
    eos, engine.eos = engine.eos, -1
    yield
    engine.eos = eos


@contextmanager
def serving(
    folder: Path, log: Path, *, filters: Filter | None, key: str = "", limits: Limits = LIMITS
) -> Iterator[Api]:
    models = ChatModels.load([f"tiny={folder}", f"other={folder}"], EngineConfig(rows=4, context=1000))
    service = Service(models, filters=filters, limits=limits, blocked=Blocked(log))
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_api(service, key=key), "127.0.0.1", 0, service.end)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield Api(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", service, log, server, thread)
        server.should_exit = True
        thread.join(10)
    service.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("api") / "model").folder


@pytest.fixture(scope="module")
def api(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    log = tmp_path_factory.mktemp("log") / "blocked.jsonl"
    with serving(folder, log, filters=WordList({"bad": ["forbidden fruit"]})) as api:
        yield api


def test_models_are_listed(api: Api) -> None:
    with api.client() as client:
        assert [model.id for model in client.models.list()] == ["tiny", "other"]
        assert client.models.retrieve("other").id == "other"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("third")


def test_an_answer_whole_and_in_pieces_is_the_same(api: Api) -> None:
    with api.client() as client:
        asked = {"model": "other", "messages": HELLO, "max_tokens": 40, "temperature": 0.9, "seed": 7}
        whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
        stream = list(
            client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
        )
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.completion_tokens <= 40
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in stream if c.choices][-1] == whole.choices[0].finish_reason
    assert stream[-1].usage == whole.usage
    assert {c.model for c in stream} == {"other"}


def test_a_stop_is_not_shown(api: Api) -> None:
    with api.client() as client:
        asked = {"model": "tiny", "messages": HELLO, "max_completion_tokens": 40, "seed": 7}
        text = client.chat.completions.create(**asked).choices[0].message.content  # type: ignore[call-overload]
        stop = text[10:13]
        cut = client.chat.completions.create(**asked, stop=stop).choices[0]  # type: ignore[call-overload]
    assert (cut.message.content, cut.finish_reason) == (text[: text.index(stop)], "stop")


def test_a_blocked_text_of_the_users_has_no_answer_and_is_logged(api: Api) -> None:
    bad = [{"role": "user", "content": "f0rbidden fruit, please"}]
    with api.client() as client:
        whole = client.chat.completions.create(model="tiny", messages=bad).choices[0]  # type: ignore[arg-type]
        stream = list(client.chat.completions.create(model="tiny", messages=bad, stream=True))  # type: ignore[arg-type, call-overload]
    assert (whole.message.content, whole.finish_reason) == ("", "content_filter")
    assert [c.choices[0].finish_reason for c in stream] == [None, "content_filter"]
    rows = read_blocked(api.log)
    assert [(row["role"], row["text"]) for row in rows] == [("user", bad[0]["content"])] * 2
    assert api.log.stat().st_mode & 0o077 == 0


def test_nothing_blocked_of_the_models_is_shown(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path / "log", filters=Fussy()) as api, api.client() as client:
        asked = {"model": "tiny", "messages": HELLO, "max_tokens": 200, "seed": 1}
        stream = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
        whole = client.chat.completions.create(**asked).choices[0]  # type: ignore[call-overload]
        assert stream[-1].choices[0].finish_reason == whole.finish_reason == "content_filter"
        assert "".join(c.choices[0].delta.content or "" for c in stream) == whole.message.content == ""
        assert [row["role"] for row in read_blocked(api.log)] == ["assistant", "assistant"]


def test_a_client_that_goes_away_frees_its_place(api: Api) -> None:
    with endless(api), api.client() as client:
        asked = {"model": "tiny", "messages": HELLO, "max_tokens": 900}
        for _ in range(8):  # more than there are places
            stream = client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
            next(iter(stream))
            stream.close()
            api.free()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{api.url}/chat/completions", json=asked | {"temperature": 2}, timeout=0.05)
        api.free()


def test_only_so_many_answers_at_once(api: Api) -> None:
    with endless(api), api.client() as client:
        asked = {"model": "tiny", "messages": HELLO, "max_tokens": 900, "stream": True}
        streams = [client.chat.completions.create(**asked) for _ in range(3)]  # type: ignore[call-overload]
        with pytest.raises(openai.RateLimitError, match="3 of your answers are under way") as refused:
            client.chat.completions.create(**asked)  # type: ignore[call-overload]
        assert int(refused.value.response.headers["retry-after"]) >= 1
        for stream in streams:
            stream.close()
        api.free()


def test_only_so_many_requests_a_minute() -> None:
    now = [0.0]
    places = Places(Limits(per_minute=2), clock=lambda: now[0])
    for client in ("a", "a", "b"):
        with places.take(client):
            pass
    now[0] = 20.0
    with pytest.raises(TooMany, match="2 requests within a minute") as refused, places.take("a"):
        pass
    assert refused.value.headers == {"Retry-After": "40"}
    now[0] = 60.0
    with places.take("a"):
        assert places.busy == 1
    assert places.busy == 0


def test_what_does_not_fit_is_left_out_with_notice(api: Api) -> None:
    old = [{"role": "user", "content": "q " * 400}, {"role": "assistant", "content": "a " * 300}]
    with api.client() as client:
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=[*old, *HELLO], max_tokens=9)  # type: ignore[arg-type, list-item]
    assert raw.headers["x-backflip-left-out"] == "2"
    assert raw.parse().model_extra["backflip"] == {"left_out": 2, "blocked": None}  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "third"}, openai.NotFoundError, "no model 'third'; wanted one of tiny, other"),
        ({"n": 2}, openai.BadRequestError, "n is 2"),
        ({"top_p": 0.5}, openai.BadRequestError, "top_p is 0.5"),
        ({"temperature": 3}, openai.BadRequestError, "temperature: "),
        ({"messages": []}, openai.BadRequestError, "messages: "),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, openai.BadRequestError, "ends with assistant"),
        ({"messages": [{"role": "user", "content": "x" * 2001}]}, openai.APIStatusError, "2001 characters"),
        ({"max_tokens": 1000}, openai.APIStatusError, "max_tokens is 1000; wanted 1 to 900"),
        ({"max_tokens": 0}, openai.APIStatusError, "max_tokens is 0"),
        ({"stop": ["a"] * 5}, openai.BadRequestError, "more than 4"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_in_the_clients_words(
    api: Api, change: dict[str, object], error: type[openai.APIStatusError], message: str, stream: bool
) -> None:
    with api.client() as client, pytest.raises(error, match=message) as raised:
        client.chat.completions.create(**{"model": "tiny", "messages": HELLO, "stream": stream} | change)  # type: ignore[call-overload]
    assert set(raised.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
    assert api.service.places.busy == 0


def test_ctrl_c_ends_streams_and_a_key_is_asked_for(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path / "log", filters=WordList({"bad": ["forbidden"]}), key="word") as api:
        with api.client() as client, pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
            client.models.list()
        with endless(api), api.client(api_key="word") as client:
            stream = iter(client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=900, stream=True))  # type: ignore[arg-type, call-overload]
            next(stream)
            api.server.should_exit = True
            with pytest.raises(openai.APIError, match="ended the answer before it was whole"):
                list(stream)
        api.thread.join(10)
        assert not api.thread.is_alive()
