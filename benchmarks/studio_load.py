"""The studio under load: labellers who all answer every few seconds, and the next question in a very large store.

    python benchmarks/studio_load.py                       # everything, about five minutes
    python benchmarks/studio_load.py --part sqlite         # one part; the others stay as they were measured

The real server in a process of its own, on this machine; the labellers in another. What was acknowledged is compared
with what the store has afterwards. Times are those of answer-and-next: one request that keeps an answer and brings a
question.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from postgres import postgres
from studio_visitors import Line, answer, visit

from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.records import Candidate, Message, Prompt, Question
from backflip.runs import atomic_write_json
from backflip.runs.version import code_version
from backflip.studio.accounts.entry import Accounts
from backflip.studio.users import User

Part = Literal["sqlite", "postgresql", "million"]
PROJECT = "load"
WORDS = "the rain falls from clouds because small drops join until the air can hold them no longer".split()  # noqa: SIM905


@dataclass(frozen=True)
class Config:
    """Measures the studio under load."""

    part: tuple[Part, ...] = ("sqlite", "postgresql", "million")
    """What to measure."""
    labellers: int = 200
    """How many label at once."""
    every: float = 4.0
    """Seconds from one answer of a labeller to the next."""
    seconds: float = 60.0
    """How long."""
    questions: int = 1_000_000
    """How many questions the very large store has."""
    looks: int = 1000
    """How often a question is answered and the next one asked for there."""
    work: Path = field(default=Path("runs/studio_load"))
    """Where the stores are made; the very large one is kept there."""
    out: Path = Path("docs/results/studio_load.json")
    """The results."""


def main() -> None:
    """Measures, and writes the results beside those of the other parts."""
    config = tyro.cli(Config, description=__doc__)
    config.work.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = json.loads(config.out.read_text()) if config.out.exists() else {}
    runs = {run["store"]: run for run in known.get("runs", [])}
    million = known.get("next_question_1m_p99_ms")
    if "sqlite" in config.part:
        file = config.work / "load.db"
        for old in config.work.glob("load.db*"):
            old.unlink()
        runs["sqlite"] = load(config, str(file), "sqlite")
    if "postgresql" in config.part:
        with postgres() as url:
            runs["postgresql"] = load(config, url, "postgresql")
    if "million" in config.part:
        million = next_question(config)
    shown = [word if not Path(word).is_absolute() else Path(word).name for word in sys.argv[1:]]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    result = {
        "command": shlex.join(["python", "benchmarks/studio_load.py", *shown]),
        "version": code_version(),
        "machine": {"cores": os.cpu_count(), "ram_gib": round(memory), "architecture": platform.machine()},
        "runs": [runs[name] for name in ("sqlite", "postgresql") if name in runs],
        "next_question_1m_p99_ms": million,
    }
    atomic_write_json(config.out, result)
    print(json.dumps(result, indent=2))


def load(config: Config, url: str, name: str) -> dict[str, Any]:
    """All labellers at once; then what was acknowledged against what is there."""
    wanted = round(config.labellers * (config.seconds / config.every + 3))
    with Store.open(url) as store:
        store.add_questions((question(i) for i in range(wanted)), project=PROJECT)
        tokens = labellers(store, config.labellers)
    with serve(url) as port:
        work = visit("127.0.0.1", port, tokens, project=PROJECT, every=config.every, seconds=config.seconds)
        crowd = asyncio.run(work)
    for error in crowd.errors[:5]:
        print(error, file=sys.stderr)
    with Store.open(url) as store:
        kept = list(store.answers(project=PROJECT))
    sequences = {numbered.sequence for numbered in kept}
    pairs = Counter((numbered.answer.labeller.id, numbered.answer.question) for numbered in kept)
    return {
        "store": name,
        "labellers": config.labellers,
        "answers": len(crowd.acknowledged),
        "errors": len(crowd.errors),
        "lost": len(set(crowd.acknowledged.values()) - sequences),
        "twice": sum(count - 1 for count in pairs.values()) + max(0, len(kept) - len(crowd.acknowledged)),
        "p50_ms": quantile(crowd.waits, 0.5),
        "p99_ms": quantile(crowd.waits, 0.99),
    }


def next_question(config: Config) -> float:
    """The 99th percentile of what a labeller waits for the next question, among very many in the store."""
    file = config.work / f"questions_{config.questions}.db"
    if not file.exists():
        half = file.with_suffix(".half")
        half.unlink(missing_ok=True)
        with Store.open(half) as store:
            made = (question(i, candidates=2, priority=float(i * 7919 % 1000)) for i in range(config.questions))
            store.add_questions(made, project=PROJECT)
            Projects(store).save(Project(PROJECT))
        half.rename(file)
    with Store.open(file) as store:
        (token,) = labellers(store, 1, tag=f"{time.time_ns()}")
    with serve(str(file)) as port:
        return quantile(asyncio.run(_looks(port, token, config.looks)), 0.99)


async def _looks(port: int, token: str, count: int) -> list[float]:
    """What one labeller waits for answer-and-next, with two questions in hand as a page has them."""
    line, waits = Line("127.0.0.1", port, token), []
    path = f"/api/projects/{PROJECT}"
    _, reply = await line.post(f"{path}/lease", {"count": 2})
    held = reply["leases"]
    for number in range(count):
        said = answer(held.pop(0), key=f"look-{number}") | {"next": 1}
        begin = time.monotonic()
        status, reply = await line.post(f"{path}/answers", said)
        waits.append(time.monotonic() - begin)
        assert status == 200, reply
        held += reply["leases"]
    line.close()
    return waits


def question(number: int, *, candidates: int = 4, priority: float = 0.0) -> Question:
    """A question of so many answers of forty words each."""
    texts = [f"Answer {i} to {number}. **{WORDS[i]}**: " + " ".join(WORDS * 2) for i in range(candidates)]
    prompt = Prompt(messages=(Message("user", f"Why does it rain, asked for time {number}?"),))
    return Question("text", tuple(Candidate(text=text) for text in texts), prompt, priority=priority)


def labellers(store: Store, count: int, *, tag: str = "") -> list[str]:
    """The tokens of so many accounts of the project."""
    accounts = Accounts(store, time.time, session_seconds=3600)
    boss = User("boss", "boss", "admin")
    return [
        accounts.add_script(f"labeller{tag}-{i}", kind="simulated", projects=[PROJECT], admin=boss, address="")
        for i in range(count)
    ]


@contextmanager
def serve(url: str) -> Iterator[int]:
    """The real server; its port."""
    command = [sys.executable, "-m", "backflip", "studio", "--accounts", "--port", "0", "--store", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        finally:
            server.terminate()


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return round(1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 1)


if __name__ == "__main__":
    main()
