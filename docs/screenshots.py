"""The pictures of docs/studio.md: every page of the studio, as Chromium shows it over a finished demo.

    backflip demo
    backflip control demo
    python docs/screenshots.py --demo runs/demo --control runs/control-demo/run

Nothing on them is invented: the runs are the demo's, the texts are its models', and who ranks are simulated labellers,
called so (one ranking is this script's own, by the keys that a picture shows). The demo's folder is copied first,
without weights, and only the copy is written to. The Chinese pages want a Chinese font on the machine (on Debian:
fonts-noto-cjk or fonts-wqy-microhei), and the clips the control extra.
"""

from __future__ import annotations

import fcntl
import io
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import tyro
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from backflip.demo import task
from backflip.demo.contents import fill_store
from backflip.feedback.oracle import SimulatedLabeller
from backflip.feedback.projects import GOLD, Projects
from backflip.feedback.store import Store
from backflip.records import Answer, Labeller, Question
from backflip.runs.lineage import LOCK, read_run
from backflip.studio.app import create_app
from backflip.studio.settings import Settings

HERE: Final = Path(__file__).resolve().parent
CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-background-networking")
TOKEN: Final = "a-token-for-pictures"
DESK: Final = ViewportSize(width=1200, height=800)
PHONE: Final = ViewportSize(width=390, height=844)


@dataclass(frozen=True)
class Config:
    """Takes the pictures."""

    demo: Path = Path("runs/demo")
    """A demo's folder, finished or under way."""
    control: Path = Path("runs/control-demo/run")
    """A control demo's run; its pictures are left out where there is none."""
    only: tuple[str, ...] = ()
    """The names of the pictures to be taken; none: all."""
    out: Path = HERE / "studio"
    """Where the pictures go."""


class Shot(NamedTuple):
    """One picture: its name, the page, and what is done there first. `tall` shows more than one screen of it."""

    name: str
    path: str
    act: Callable[[Page], None] | None = None
    language: str = "en-GB"
    dark: bool = False
    phone: bool = False
    tall: int = 0


def main() -> None:
    """`python docs/screenshots.py`."""
    config = tyro.cli(Config, description=__doc__)
    with tempfile.TemporaryDirectory() as scratch, _studio(config, Path(scratch)) as (url, gold, clips):
        config.out.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            signed_in = _sign_in(browser, url)
            for shot in _shots(gold):
                if config.only and shot.name not in config.only:
                    continue
                if shot.path == "/runs/hopper" and not config.control.is_dir():
                    print(f"{shot.name} is left out: there is no {config.control}")
                    continue
                if shot.name == "compare" and not clips:
                    print("compare is left out: clips want the control extra, pip install 'backflip[control]'")
                    continue
                path = config.out / f"{shot.name}.png"
                path.write_bytes(_small(_take(browser, url, shot, signed_in)))
                print(f"{path} {path.stat().st_size // 1024} kB")
            browser.close()


def _shots(gold: str) -> list[Shot]:
    project = f"/admin/projects/{task.SOURCE}"
    return [
        Shot("rank", f"/rank/{task.SOURCE}", _rank),
        Shot("rank_phone_dark", f"/rank/{task.SOURCE}", _rank, dark=True, phone=True),
        Shot("rank_zh", f"/rank/{task.SOURCE}", _rank, language="zh-CN"),
        Shot("compare", "/compare/clips", _settle),
        Shot("write", f"/write/{task.SOURCE}", _write),
        Shot("runs", "/runs", _settle),
        Shot("run", "/runs/demo/round-1/ppo", _curves, tall=1500),
        Shot("run_dark", "/runs/demo/round-1/ppo", _curves, dark=True),
        Shot("run_phone_zh", "/runs/demo/round-1/reward", _curves, language="zh-CN", phone=True),
        Shot("control_run", "/runs/hopper", _look, tall=860),
        Shot("control_run_phone_zh", "/runs/hopper", _look, language="zh-CN", dark=True, phone=True),
        Shot("quality", f"/quality/{task.SOURCE}", tall=1250),
        Shot("quality_zh", f"/quality/{task.SOURCE}", language="zh-CN"),
        Shot("admin", "/admin"),
        Shot("admin_project", project, tall=1100),
        Shot("admin_project_zh", project, language="zh-CN", dark=True),
        Shot("admin_queue", f"{project}/queue", tall=1300),
        Shot("admin_test", f"{project}/tests/new?question={gold}"),
        Shot("admin_people", "/admin/people"),
        Shot("admin_audit", "/admin/audit"),
        Shot("account", "/account", tall=1000),
    ]


def _settle(page: Page) -> None:
    page.wait_for_timeout(1500)


def _rank(page: Page) -> None:
    page.locator(".answer").first.wait_for()
    begin = page.locator("dialog[open] button").last
    if begin.count():
        begin.click()
    for key in ("2", "4", "=", "1"):
        page.keyboard.press(key)
    _settle(page)


def _write(page: Page) -> None:
    begin = page.locator("dialog[open] button").last
    if begin.count():
        begin.click()
    _settle(page)


def _curves(page: Page) -> None:
    page.locator(".uplot").first.wait_for()
    _settle(page)


def _look(page: Page) -> None:
    page.locator(".look-curves .uplot").first.wait_for()
    page.get_by_role("slider").fill("280")
    _settle(page)


def _sign_in(browser: Browser, url: str) -> Any:
    """Comes in by the link, does what an admin does (an invitation, an account for a judge), and ranks one question."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/?token={TOKEN}")
    page.goto(f"{url}/admin/people")
    page.locator("#script-name").fill("judge-of-style")
    page.get_by_role("button", name="Make the account").click()
    page.locator("#project").select_option(task.SOURCE)
    page.locator("#note").fill("from the reading group")
    page.get_by_role("button", name="Make a link").click()
    page.locator("#link").wait_for()
    page.goto(f"{url}/rank/{task.SOURCE}")
    _rank(page)
    page.keyboard.press("Enter")
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    state = context.storage_state()
    context.close()
    return state


def _take(browser: Browser, url: str, shot: Shot, signed_in: Any) -> bytes:
    view = PHONE if shot.phone else DESK
    context = browser.new_context(
        viewport=ViewportSize(width=view["width"], height=shot.tall or view["height"]),
        color_scheme="dark" if shot.dark else "light",
        locale=shot.language,
        timezone_id="UTC",
        reduced_motion="reduce",
        has_touch=shot.phone,
        storage_state=signed_in,
    )
    page = context.new_page()
    page.goto(url + shot.path)
    (shot.act or _settle)(page)
    picture = page.screenshot()
    context.close()
    return picture


def _small(picture: bytes) -> bytes:
    """The same with a palette of its own: a page has few colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(96, dither=Image.Dither.NONE)
    target = io.BytesIO()
    image.save(target, "png", optimize=True)
    return target.getvalue()


# --- what there is to see


@contextmanager
def _studio(config: Config, scratch: Path) -> Iterator[tuple[str, str, bool]]:
    """A studio over a copy of the demo: its address, a question to make gold of, and whether there are clips."""
    runs, demo = scratch / "runs", config.demo
    shutil.copytree(
        demo, runs / "demo", ignore=shutil.ignore_patterns("*.safetensors", "*.pt", "checkpoints", "*.lock")
    )
    if config.control.is_dir():
        bulk = shutil.ignore_patterns("segments", "pool", "agent", "predictor", "tensorboard", "*.lock", "feedback.*")
        shutil.copytree(config.control, runs / "hopper", ignore=bulk)
        shutil.copytree(config.control / "feedback.media", scratch / "media")
    with ExitStack() as held, Store.open(runs / "demo" / "feedback.db") as store:
        for path in demo.rglob("run.json"):  # what runs there is held here: the copy shows it as it is
            if (record := read_run(path.parent)) is not None and record.status == "running":
                lock = held.enter_context((runs / "demo" / path.parent.relative_to(demo) / LOCK).open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        asked = _label(store)
        with_clips = _clips(store, scratch / "media")
        app = create_app(store, Settings(token=TOKEN, runs=runs, media=scratch / "media"))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", asked.id, with_clips
        server.should_exit = True
        thread.join(10)


def _label(store: Store) -> Question:
    """Three more simulated labellers, of different care, answer what the demo's one was asked; a few are gold."""
    known = list(store.questions(project=task.SOURCE, purpose="train"))[:48]
    store.add_questions(known, overlap=5, project=task.SOURCE)
    fill_store(store)
    described = Projects(store).find(task.SOURCE)
    if described and not described.title:
        Projects(store).save(_described())
    begun = datetime(2026, 11, 20, 9, tzinfo=UTC)
    gold = [Question("text", q.candidates, q.prompt, purpose=GOLD) for q in known[:4]]
    store.add_questions(gold, overlap=1000, project=task.SOURCE)
    for question in gold:
        _answer(store, SimulatedLabeller(0, "maker", temperature=0.0), question, begun, kind="maker")
    for place, (temperature, language) in enumerate(((0.05, "English"), (0.15, "English"), (0.4, "中文")), start=2):
        oracle = SimulatedLabeller(place, f"simulated-{place}", temperature=temperature, tie_margin=0.02)
        for turn, question in enumerate([*known, *gold]):
            when = begun + timedelta(hours=turn)
            _answer(store, oracle, question, when, groups={"language": language}, seconds=8.0 + (turn * place) % 17)
    return known[5]


def _described() -> Any:
    from backflip.demo.contents import INSTRUCTIONS, TITLE
    from backflip.feedback.projects import Project

    return Project(task.SOURCE, title=TITLE, instructions=INSTRUCTIONS, groups=("language",))


def _answer(
    store: Store, oracle: SimulatedLabeller, question: Question, when: datetime, *, kind: Any = "simulated", **more: Any
) -> None:
    assert question.prompt is not None
    scores = {c.id: task.judge(question.prompt, c.text or "", c.ended) for c in question.candidates}
    groups = more.pop("groups", {})
    said = oracle.answer(question, scores)
    labeller = Labeller(said.labeller.id, kind, groups)
    stamp = when.isoformat(timespec="seconds")
    store.answer(Answer(question.id, labeller, said.tiers, shown=said.shown, time=stamp, source="simulated", **more))


def _clips(store: Store, media: Path) -> bool:
    """Pairs of clips of a hopper that does not know how to hop yet; False without the control extra."""
    try:
        from backflip.control.clips import figure_of, planar_clip
        from backflip.feedback.media import Media
    except ImportError:
        return False
    import gymnasium
    import numpy as np

    from backflip.records import Candidate

    env, figure, kept = (
        gymnasium.make("Hopper-v5", terminate_when_unhealthy=False),
        figure_of("Hopper-v5"),
        Media(media),
    )
    assert figure is not None
    keys = []
    for seed in range(8):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        poses = []
        for _ in range(60):
            env.step(env.action_space.sample())
            poses.append(np.array(env.unwrapped.data.qpos))  # type: ignore[attr-defined]
        keys.append(kept.put_json(planar_clip(figure, np.stack(poses))))
    pairs = zip(keys[::2], keys[1::2], strict=True)
    store.add_questions([Question("clip", tuple(Candidate(media=k) for k in pair)) for pair in pairs], project="clips")
    return True


if __name__ == "__main__":
    main()
