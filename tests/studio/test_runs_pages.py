"""Runs as pages, as JSON and as events: what is there, what grows, what was killed, and what is none of ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from studio_kit import Site

from backflip.feedback.store import Store
from backflip.records import Candidate, Prompt, Question
from backflip.runs import Parent, Written, append_texts, open_run
from backflip.runs.metrics import MetricsWriter
from backflip.studio.events import Event, Watches
from backflip.studio.tail import Mark, lines_after
from backflip.studio.watching import changes, curves


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


T = TypeVar("T")


@dataclass(frozen=True)
class Nothing:
    """A configuration."""

    rate: float = 0.1


@dataclass(frozen=True)
class Asking:
    """A control run's configuration, as far as it matters here."""

    project: str
    store: str


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """In a loop of its own: browser tests in the same process leave one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result(30)


def make_run(
    root: Path, name: str, *, end: str = "done", recipe: str = "ppo", parents: tuple[Parent, ...] = ()
) -> Path:
    folder = root / name
    with_error = pytest.raises(ValueError, match="too bad") if end == "failed" else None
    try:
        with open_run(folder, recipe=recipe, config=Nothing(), seed=7, parents=parents, root=root.parent) as run:
            run.metrics.write(1, {"objective/score": 0.5, "objective/kl": 2.0})
            run.metrics.write(2, {"objective/score": 0.75, "objective/kl": 3.0, "judge/score": 0.25})
            append_texts(folder, [Written.to(Prompt.ask("Why <b>?"), step=2, text="Because.", ended=False, score=1.5)])
            if end == "failed":
                raise ValueError("too bad")
            run.finish({"model": str(folder / "model")})
    except ValueError:
        assert with_error is not None
    if end == "killed":
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"status": "running", "finished": None, "result": {}}))
    return folder


@pytest.fixture
def runs(site: Site) -> Path:
    root = site.studio.settings.runs
    root.mkdir(parents=True, exist_ok=True)
    return root


def test_the_list_tells_the_truth(site: Site, runs: Path) -> None:
    for end in ("done", "failed", "killed"):
        make_run(runs, f"loop/{end}", end=end)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "run.json").write_text("{")
    ann = site.person("ann")
    found = {run["name"]: run for run in ann.get("/api/runs").json()}
    assert {name: run["status"] for name, run in found.items()} == {
        "loop/done": "done",
        "loop/failed": "failed",
        "loop/killed": "killed",
    }
    assert found["loop/failed"]["error"] == "ValueError: too bad"
    assert found["loop/done"]["headline"] == {"name": "judge/score", "value": 0.25, "step": 2}
    page = ann.get("/runs").text
    assert all(word in page for word in ("loop/done", "failed", "killed", "judge/score"))


def test_one_run_shows_all_of_itself(site: Site, runs: Path) -> None:
    folder = make_run(runs, "sft", recipe="sft")
    data = Parent("data", "feedback.db#demo/train", {"prompts": 12})
    made = (Parent("run", str(folder)), Parent("answers", "x.db", {"up_to": 40, "withdrawn": 2}), data)
    make_run(runs, "ppo", parents=made)
    ann = site.person("ann")
    page = ann.get("/runs/ppo").text
    assert 'href="/runs/sft"' in page
    assert "answers up to number 40, less 2 withdrawn" in page
    assert "12 prompts" in page
    assert "rate" in page
    found = ann.get("/api/run/ppo").json()
    assert found["series"]["objective/score"] == [[1, 0.5], [2, 0.75]]
    assert found["series"]["judge/score"] == [[2, 0.25]]
    (text,) = found["texts"]
    assert (text["prompt"], text["text"], text["score"]) == ([["user", "Why <b>?"]], "Because.", 1.5)


def test_a_report_is_shut_in(site: Site, runs: Path) -> None:
    folder = make_run(runs, "ppo")
    ann = site.person("ann")
    assert ann.get("/runs/ppo/report").status_code == 404
    (folder / "report.html").write_text("<script>1</script>")
    reply = ann.get("/runs/ppo/report")
    assert reply.text == "<script>1</script>"
    assert reply.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "connect-src" not in reply.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["../outside", "nothing", ".hidden", "..", "a/../../outside", "%00", "sft/run.json"])
def test_nothing_else_is_read(site: Site, runs: Path, name: str) -> None:
    make_run(runs, "sft")
    make_run(runs.parent, "outside")
    make_run(runs, ".hidden")
    ann = site.person("ann")
    for path in (f"/api/run/{name}", f"/api/events?run={name}"):
        assert ann.get(path).status_code in (404, 400), path


def test_who_is_not_signed_in_sees_nothing(site: Site, runs: Path) -> None:
    make_run(runs, "sft")
    visitor = site.visitor()
    assert visitor.get("/runs/sft").status_code == 303
    assert visitor.get("/api/runs").status_code == 401
    assert visitor.get("/api/events").status_code == 401


def test_clips_are_those_of_the_run_or_of_its_last_questions(site: Site, runs: Path) -> None:
    clips = [Question("clip", (Candidate(media=f"{i}a.json"), Candidate(media=f"{i}b.json"))) for i in range(3)]
    site.store.add_questions(clips, project="hop")
    store = str(runs.parent / "feedback.db")
    mine, other = Asking("hop", store), Asking("hop", str(runs / "other.db"))
    for name, config in {"mine": mine, "other": other}.items():
        with open_run(runs / name, recipe="control", config=config, seed=1) as run:
            run.finish({})
    ann = site.person("ann")
    assert ann.get("/runs/mine").text.count("data-clip=") == 4
    assert "data-clip=" not in ann.get("/runs/other").text
    (runs / "other" / "clips.jsonl").write_text('{"step": 7, "media": "x.mp4", "label": "a flip"}\n')
    page = ann.get("/runs/other").text
    assert "/media/x.mp4?for=" in page
    assert "a flip" in page


LOOK = {"version": 1, "steps": 800, "true_return": -3.5, "clip": f"{'c' * 64}.json", "predicted": [0.5], "history": []}


def test_a_look_is_for_all_but_those_who_answer_for_the_run(site: Site, runs: Path) -> None:
    site.fill()
    config = Asking("default", str(runs.parent / "feedback.db"))
    with open_run(runs / "hop", recipe="control_processes", config=config, seed=1) as run:
        (run.folder / "look.json").write_text(json.dumps(LOOK))
        ann, eve, ada = site.person("ann"), site.person("eve", "labeller", projects=[]), site.person("ada", "admin")
        for visitor, status in ((ann, 404), (eve, 200), (ada, 200)):
            assert visitor.get("/api/runs/hop/look").status_code == status
            assert ('id="look"' in visitor.get("/runs/hop").text) == (status == 200)
        run.finish({})
    found = ann.get("/api/runs/hop/look").json()  # now it sways nobody
    assert found.pop("url").startswith(f"/media/{LOOK['clip']}?for=")
    assert found == LOOK


@pytest.mark.parametrize("content", [None, "{", "[]", '{"version": 2}'])
def test_a_run_without_a_look_has_none(site: Site, runs: Path, content: str | None) -> None:
    folder = make_run(runs, "hop")
    if content:
        (folder / "look.json").write_text(content)
    ann = site.person("ann")
    assert ann.get("/api/runs/hop/look").status_code == 404
    assert 'id="look"' not in ann.get("/runs/hop").text


# --- what changes


def test_events_tell_what_came_since(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "run", end="killed")
    first = changes(tmp_path, "run", "")
    assert [e.name for e in first] == ["metrics", "texts", "state"]
    assert [line["step"] for line in json.loads(first[0].data)] == [1, 2]
    last = first[-1].id
    assert [e.id for e in first[:-1]] == ["", ""]  # who loses the line in between gets all of it again
    assert changes(tmp_path, "run", last) == []
    writer = MetricsWriter(folder, tensorboard=False)
    writer.write(3, {"objective/score": 1.0})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "obj')  # still being written
    (event,) = changes(tmp_path, "run", last)
    assert json.loads(event.data) == [{"step": 3, "objective/score": 1.0}]
    writer.truncate(1)
    again = changes(tmp_path, "run", event.id)
    assert [e.name for e in again] == ["anew", "metrics", "texts"]
    assert [line["step"] for line in json.loads(again[1].data)] == [1]


def test_a_mark_survives_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert lines_after(path, Mark()) == ([], Mark(), False, False)
    path.write_text("a\nb\nc")
    tail = lines_after(path, Mark.parse("nonsense"))
    assert tail.lines == ["a", "b"]
    assert Mark.parse(str(tail.mark)) == tail.mark
    path.write_text("")
    assert lines_after(path, tail.mark).anew


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    lines = "".join(f'{{"step": {i}, "a": {i}.0}}\n' for i in range(5001)) + '{"step": 5001, "b": null, "c": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_text(lines)
    found = curves(tmp_path)["series"]
    assert 1000 < len(found["a"]) <= 2001
    assert (found["a"][0], found["a"][-1]) == ((0, 0.0), (5000, 5000.0))
    assert found["c"] == [(5001, 1.0)]
    assert "b" not in found


def test_many_who_look_on_cost_one_look() -> None:
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return looks // 3

    async def watch() -> tuple[int, list[bool]]:
        stopping = asyncio.Event()
        watches = Watches(stopping)

        async def one() -> bool:
            async with watches.join("key", look, 0.01) as watch:
                return await watch.changed(5)

        seen = await asyncio.gather(*(one() for _ in range(50)))
        return len(watches), seen

    left, seen = apart(watch)
    assert seen == [True] * 50
    assert left == 0, "the last one ends the watch"
    assert looks < 10


def test_a_stream_ends_when_the_server_stops() -> None:
    async def stop() -> float:
        stopping = asyncio.Event()
        watches = Watches(stopping)
        async with watches.join("key", lambda: 0, 60) as watch:
            asyncio.get_running_loop().call_later(0.01, stopping.set)
            began = time.monotonic()
            assert await watch.changed(30)
            return time.monotonic() - began

    assert apart(stop) < 5


def test_events_have_their_form() -> None:
    assert Event.of("state", {"é": 1}, "7").encode() == 'id: 7\nevent: state\ndata: {"é": 1}\n\n'
    assert Event("anew", "{}").encode() == "event: anew\ndata: {}\n\n"
