"""Stage 2, sampling: K completions a prompt, and a question a prompt for those who compare them (P, section 3.5).

    python -m backflip.recipes.sample --store feedback.db --model runs/sft/model --prompts demo --folder runs/samples

What is drawn for a prompt depends on the seed and the prompt alone: not on the other prompts, nor on how many are
decoded side by side, nor on whether the run was interrupted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from backflip.config import NOT_FINGERPRINTED, require
from backflip.feedback.codec import encode_prompt
from backflip.feedback.selection import Method, choose, members_wanted
from backflip.feedback.store import Store
from backflip.lm.heads import Causal
from backflip.lm.parents import parent_of, parents_of
from backflip.lm.sampler import Completion, LocalSampler, Sampler, SamplerConfig, stream_key
from backflip.lm.selectors import question_priorities
from backflip.lm.tokens import Tokens
from backflip.recipes.command import command
from backflip.records import MAX_CANDIDATES, MIN_CANDIDATES, Candidate, Prompt, Question, content_id
from backflip.runs import MetricsWriter, Parent, atomic_write_bytes, open_run, progress
from backflip.runs.files import refuse_full_disk
from backflip.runs.lineage import producer
from backflip.runs.ranks import World, all_gather_objects, shard, world

__all__ = ["SAMPLES", "Config", "Result", "main", "run"]

SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Config:
    """Samples answers to the prompts of a set, and asks which are better."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the samples will be in its `samples.jsonl`."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL: prompts come from it, questions go into it."""
    model: str
    """The policy, a Transformers folder."""
    prompts: str = "default"
    """The prompt set."""
    split: str = "train"
    """The split of the prompt set."""
    limit: int | None = None
    """Only the first so many prompts."""
    samples: int = 4
    """K, completions a prompt (P: 4 to 9)."""
    max_tokens: int = 128
    """Tokens of an answer; one that is cut off there is recorded as not ended."""
    temperature: float = 1.0
    """0 is greedy. There is no top-k or top-p."""
    rows: int = 32
    """Samples decoded side by side."""
    chunk: int = field(default=64, metadata=NOT_FINGERPRINTED)
    """Prompts after which samples are written; an interrupted run loses at most these."""
    ask: bool = True
    """Add a question a prompt to the store."""
    project: str = "default"
    """The store's project, for the questions."""
    purpose: str = "train"
    """The questions' purpose."""
    overlap: int = 1
    """Answers wanted to a question, each by another labeller."""
    priority: float = 0.0
    """The questions' priority: higher is asked first."""
    select: Method | None = None
    """Which questions come first, by what the selectors say; None: as the prompts come."""
    selectors: tuple[str, ...] = ()
    """What `select` goes by: reward models' folders, or python:package.module:function; an ensemble has two or more."""
    most: int | None = None
    """Ask at most so many questions, those that come first; None asks all."""
    origin: str = ""
    """Who made the candidates, never shown; default: the name of the run that made the model, or of its folder."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "max_tokens", "rows", "chunk", "overlap"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        for name in ("limit", "most"):
            seen = getattr(self, name)
            require(seen is None or seen >= 1, name, seen=seen, wanted="1 or more, or none")
        guided = self.select is not None or not self.selectors
        require(guided, "select", seen=self.select, wanted="how to go by the selectors, such as disagreement")
        require(self.temperature >= 0, "temperature", seen=self.temperature, wanted="0 (greedy) or more")
        require(self.seed >= 0, "seed", seen=self.seed, wanted="0 or more")
        comparable = not self.ask or MIN_CANDIDATES <= self.samples <= MAX_CANDIDATES
        wanted = f"{MIN_CANDIDATES} to {MAX_CANDIDATES} where questions are asked (or ask=False)"
        require(comparable, "samples", seen=self.samples, wanted=wanted)
        possible = not self.ask or self.temperature > 0
        require(
            possible, "temperature", seen=self.temperature, wanted="above 0: greedy samples of a prompt are all equal"
        )


@dataclass(frozen=True)
class Result:
    """What a run ends with. `asked` counts the questions made, `not_asked` prompts whose samples were all equal.

    `left_out` counts the questions that came after the `most` that were asked.
    """

    samples_file: str
    prompts: int
    samples: int
    asked: int
    not_asked: int
    mean_length: float
    ended_share: float
    left_out: int = 0

    def __str__(self) -> str:
        asked = f"; {self.asked} questions asked" if self.asked else ""
        asked += f", {self.left_out} that came later left out" if self.left_out else ""
        equal = f", {self.not_asked} prompts left out whose samples are all equal" if self.not_asked else ""
        return (
            f"{self.samples} samples of {self.prompts} prompts in {self.samples_file} "
            f"({self.mean_length:.1f} tokens on average, {self.ended_share:.0%} ended){asked}{equal}"
        )


def run(config: Config, *, sampler: Sampler | None = None) -> Result:
    """Samples, writes, asks; the same folder goes on after the last prompt written, or is done.

    `sampler` replaces the one in this process. Raises DataError where there is no prompt or an empty one, ModelError
    where the model does not serve, CheckpointError where the folder is of other work.
    """
    here = world()
    _check_selectors(config)
    with ExitStack() as stack:
        store = stack.enter_context(Store.existing(config.store))
        prompts = store.some_prompts(name=config.prompts, split=config.split, limit=config.limit)
        digest = {"sha256": content_id([p.id for p in prompts]), "prompts": len(prompts)}
        named = f"{config.store}#{config.prompts}/{config.split}"
        parents = [parent_of(config.model), Parent("data", named, digest), *parents_of(config.selectors)]
        opened = open_run(config.folder, recipe="sample", config=config, seed=config.seed, parents=parents)
        ledger = stack.enter_context(opened) if here.rank == 0 else None
        if not all_gather_objects(ledger.done if ledger else False, here)[0]:
            _sample(config, prompts, sampler, ledger.metrics if ledger else None, here)
            if ledger:
                ledger.finish(asdict(_finish(config, store, prompts)))
        result = all_gather_objects(dict(ledger.result) if ledger else {}, here)[0]
    return Result(**result)


def _sample(
    config: Config, prompts: Sequence[Prompt], sampler: Sampler | None, metrics: MetricsWriter | None, here: World
) -> None:
    """A chunk of prompts after the other, each written when it is whole."""
    path = config.folder / SAMPLES
    done = all_gather_objects(_resume(path, config.samples, metrics) if metrics else 0, here)[0]
    if done == len(prompts):
        return
    tokens = Tokens.load(config.model)
    engine = sampler or _engine(config, here)
    with progress(len(prompts), "sampling", done=done) as step:
        for start in range(done, len(prompts), config.chunk):
            chunk, began = prompts[start : start + config.chunk], time.perf_counter()
            mine = shard(chunk, here)
            ids = [tokens.opening(prompt) for prompt in mine]
            groups = engine.sample(ids, samples=config.samples, keys=[stream_key(p.id) for p in mine])
            rows = [_row(tokens, p, c) for p, group in zip(mine, groups, strict=True) for c in group]
            everywhere = [row for part in all_gather_objects(rows, here) for row in part]
            if metrics:
                _append(path, _in_order(everywhere, chunk))
                metrics.write(start + len(chunk), _metrics(everywhere, time.perf_counter() - began))
            step(len(chunk))


def _engine(config: Config, here: World) -> Sampler:
    settings = SamplerConfig(config.max_tokens, config.temperature, config.rows, config.seed)
    return LocalSampler(Causal.load(config.model, device=str(here.device)), settings)


def _row(tokens: Tokens, prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """A sample as its line holds it. The tokens and their logprobs are the sampler's; the text is for people."""
    text = tokens.decode(completion.tokens)
    return {
        "prompt_id": prompt.id,
        "prompt": json.loads(encode_prompt(prompt)),
        "sample": completion.sample,
        "candidate_id": Candidate(text=text).id,
        "text": text,
        "ended": completion.ended,
        "tokens": list(completion.tokens),
        "logprobs": list(completion.logprobs),
    }


def _in_order(rows: Iterable[dict[str, Any]], chunk: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Ranks took every so many-th prompt; the file has them as they came."""
    place = {prompt.id: i for i, prompt in enumerate(chunk)}
    return sorted(rows, key=lambda row: (place[row["prompt_id"]], row["sample"]))


def _metrics(rows: Sequence[dict[str, Any]], seconds: float) -> dict[str, float]:
    count = sum(len(row["tokens"]) for row in rows)
    return {
        "sample/mean_length": count / len(rows),
        "sample/ended_share": sum(row["ended"] for row in rows) / len(rows),
        "sample/mean_logprob": sum(sum(row["logprobs"]) for row in rows) / count,
        "sample/tokens_per_second": count / seconds,
        "time/sample": seconds,
    }


# --- the file ---


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with refuse_full_disk(path), path.open("ab") as file:
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def _resume(path: Path, samples: int, metrics: MetricsWriter) -> int:
    """How many prompts are written whole; what a killed process left of the next ones is dropped."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    done = sum(line.endswith(b"\n") for line in lines) // samples
    if len(lines) != done * samples or (lines and not lines[-1].endswith(b"\n")):
        atomic_write_bytes(path, b"".join(lines[: done * samples]))
    metrics.truncate(done)
    return done


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# --- questions ---


def _finish(config: Config, store: Store, prompts: Sequence[Prompt]) -> Result:
    """Asks, in one transaction; asking again after an interruption adds nothing twice."""
    path = config.folder / SAMPLES
    rows = _read(path)
    questions = _questions(config, prompts, rows) if config.ask else []
    asked = _first(config, questions)
    with store.transaction():
        store.add_questions(asked, overlap=config.overlap, project=config.project)
        if config.select is not None:  # a question that was there has its priority of now
            store.prioritise({question.id: question.priority for question in asked})
    return Result(
        samples_file=str(path),
        prompts=len(prompts),
        samples=len(rows),
        asked=len(asked),
        not_asked=len(prompts) - len(questions) if config.ask else 0,
        mean_length=sum(len(row["tokens"]) for row in rows) / len(rows),
        ended_share=sum(row["ended"] for row in rows) / len(rows),
        left_out=len(questions) - len(asked),
    )


def _check_selectors(config: Config) -> None:
    """Before anything is sampled. Raises ConfigError."""
    if config.select is not None:
        wanted, given = members_wanted(config.select), len(config.selectors)
        require(given >= wanted, "selectors", seen=given, wanted=f"{wanted} or more for select {config.select!r}")


def _first(config: Config, questions: Sequence[Question]) -> list[Question]:
    """The questions that are asked, with their priorities, in the order of the prompts."""
    if config.select is None:
        return list(questions[: config.most])
    found = question_priorities(questions, config.selectors, config.select, seed=config.seed)
    kept = sorted(choose(np.array(found), len(questions) if config.most is None else config.most).tolist())
    return [replace(questions[i], priority=config.priority + found[i]) for i in kept]


def _questions(config: Config, prompts: Sequence[Prompt], rows: Sequence[dict[str, Any]]) -> list[Question]:
    """One a prompt that has at least two different texts, each text once."""
    origin = config.origin or _origin(Path(config.model))
    by_prompt: dict[str, dict[str, Candidate]] = {}
    for row in rows:
        candidate = Candidate(text=row["text"], origin=origin, ended=row["ended"])
        by_prompt.setdefault(row["prompt_id"], {}).setdefault(candidate.id, candidate)
    return [
        Question("text", tuple(found.values()), prompt, purpose=config.purpose, priority=config.priority)
        for prompt in prompts
        if len(found := by_prompt[prompt.id]) >= MIN_CANDIDATES
    ]


def _origin(model: Path) -> str:
    made_by = producer(model)
    return made_by.name if made_by else model.name


def main() -> None:
    """`python -m backflip.recipes.sample`."""
    command(Config, run, description=__doc__)


if __name__ == "__main__":
    main()
