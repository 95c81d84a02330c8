"""Stage 6, evaluation: policies compared blindly on prompts that none of them was trained on (P, section 3.6).

    python -m backflip.recipes.evaluate --store feedback.db --policies base=BASE sft=runs/sft/model \
        ppo=runs/ppo/model best=runs/sft/model,best_of=4 --judges judge python:my.module:judge --folder runs/evaluate

Who compares sees the prompt and the texts and never whose they are. Intervals resample prompts, not samples. A
best-of-n picks from n samples of its policy and meets another sample of that policy, one that it could not pick.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from rich.console import Group
from tyro.constructors import PrimitiveConstructorSpec

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import CheckpointError, LabellingPaused
from backflip.evaluation.answers import kl_to_reference, sampled, with_system
from backflip.evaluation.contest import RM, Drawn, Entry, Policy, Source, figures, people_rates, shown_answers
from backflip.evaluation.people import PURPOSE, blind_question
from backflip.evaluation.standings import rated_together
from backflip.evaluation.table import comparison_table, ratings_table, side_by_side
from backflip.feedback.store import Store
from backflip.lm.heads import Causal
from backflip.lm.parents import parents_of
from backflip.lm.rewards import PythonReward, Rewards, load_reward
from backflip.lm.sampler import SamplerConfig
from backflip.lm.specs import PYTHON
from backflip.lm.tokens import Tokens
from backflip.recipes.command import command
from backflip.records import MAX_CANDIDATES, Answer, Prompt, Question, content_id
from backflip.runs import Parent, atomic_write_json, open_run
from backflip.runs.ranks import world

__all__ = ["Config", "Policy", "Result", "main", "parse_policy", "run"]

PEOPLE, RESULTS, SCORES = "people", "results.json", "scores.json"
Parts = Callable[[Prompt, str, bool], Mapping[str, float]]


def parse_policy(text: str) -> Policy:
    """`NAME=FOLDER[,best_of=N][,system=TEXT]`; the system message is the rest of the text.

    Raises ValueError where it is not of this form.
    """
    found = re.fullmatch(r"([^=,]+)=(.+?)(?:,best_of=(\d+))?(?:,system=(.*))?", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{text!r} is no policy; wanted NAME=FOLDER[,best_of=N][,system=TEXT]")
    return Policy(found[1], found[2], found[4], int(found[3] or 1))


def _policy_text(policy: Policy) -> list[str]:
    best = f",best_of={policy.best_of}" if policy.best_of > 1 else ""
    return [f"{policy.name}={policy.model}{best}" + ("" if policy.system is None else f",system={policy.system}")]


_PolicyArgument = PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME=FOLDER[,best_of=N][,system=TEXT]",
    instance_from_str=lambda words: parse_policy(words[0]),
    is_instance=lambda value: isinstance(value, Policy),
    str_from_instance=_policy_text,
)


@dataclass(frozen=True)
class Config:
    """Compares two or more policies on the prompts of a split."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder: results.json, each sample's scores in scores.json, and each policy's answers in answers/."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL: prompts come from it, questions to people go into it."""
    policies: tuple[Annotated[Policy, _PolicyArgument], ...]
    """The contestants; `best_of` picks by the reward model, `system` puts a system message before each prompt."""
    prompts: str = "default"
    """The prompt set."""
    split: str = "test"
    """The split of the prompt set."""
    limit: int | None = None
    """Only the first so many prompts."""
    against: tuple[str, ...] = ()
    """Whom each policy is compared with, by name; none: the first policy."""
    kl_to: str | None = None
    """The policy to which KL is measured, by name."""
    judges: tuple[tuple[str, str], ...] = ()
    """(name, spec) of each judge: `python:module:function`, whose attribute `parts` may give parts, or a folder."""
    reward: str | None = None
    """The reward model, a folder or `python:module:function`: another judge ("rm"), and who picks the best of n."""
    labellers: Literal["judge", "people"] = "judge"
    """`people`: asks people too, through the store; pauses until they have answered."""
    project: str = "default"
    """People: the store's project for the questions."""
    overlap: int = 1
    """People: how many answers each question wants."""
    samples: int = 4
    """Answers a prompt of each policy at least; the pairs of two policies are all of theirs. Best of n needs n + 1."""
    temperature: float = 1.0
    """Of sampling; KL is at this temperature too."""
    greedy: Literal["no", "shown", "all"] = "no"
    """A greedy answer as well, apart from the samples, for reading: to the `shown` prompts, or to `all`, compared."""
    max_tokens: int = 128
    """Tokens of an answer."""
    rows: int = 32
    """Samples decoded side by side."""
    show: tuple[str, ...] = ()
    """Shows the answers to prompts that hold one of these texts, side by side."""
    show_first: int = 3
    """Shows the answers to the first so many prompts."""
    seed: int = 0
    """Of sampling and of the bootstrap."""

    def __post_init__(self) -> None:
        names = [policy.name for policy in self.policies]
        require(len(names) >= 2, "policies", seen=names, wanted="two or more")
        require(len({n.lower() for n in names}) == len(names), "policies", seen=names, wanted="each name once")
        different = len({(p.source, p.best_of) for p in self.policies}) == len(names)
        require(different, "policies", seen=names, wanted="policies that differ in model, system or best_of")
        for other in (*self.against, *([self.kl_to] if self.kl_to else [])):
            require(other in names, "against and kl_to", seen=other, wanted=f"names of policies ({', '.join(names)})")
        for name in ("samples", "max_tokens", "rows", "overlap"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.limit is None or self.limit >= 1, "limit", seen=self.limit, wanted="1 or more, or none")
        require(self.show_first >= 0, "show_first", seen=self.show_first, wanted="0 or more")
        require(self.seed >= 0, "seed", seen=self.seed, wanted="0 or more")
        require(
            self.temperature > 0, "temperature", seen=self.temperature, wanted="above 0; for greedy say --greedy all"
        )
        best = [policy for policy in self.policies if policy.best_of > 1]
        self._check_who_compares(names, best)

    def _check_who_compares(self, names: Sequence[str], best: Sequence[Policy]) -> None:
        by = [name for name, _ in self.judges]
        require(
            len(set(by)) == len(by) and not {RM, PEOPLE} & set(by),
            "judges",
            seen=by,
            wanted=f"each name once, and neither {RM!r} nor {PEOPLE!r}",
        )
        few = self.labellers == "judge" or len(names) <= MAX_CANDIDATES
        require(few, "policies", seen=len(names), wanted=f"at most {MAX_CANDIDATES} where people rank them")
        for policy in best:
            twins = [p.name for p in best if p.source == policy.source and p is not policy and p.name in self.opponents]
            require(
                not twins, "against", seen=twins, wanted=f"no best-of over the samples that {policy.name} picks from"
            )
            require(policy.name != self.kl_to, "kl_to", seen=self.kl_to, wanted="a policy without best_of")

    @property
    def opponents(self) -> tuple[str, ...]:
        """`against`, or its default."""
        return self.against or (self.policies[0].name,)

    @property
    def sampling(self) -> SamplerConfig:
        """The sampler's settings."""
        return SamplerConfig(self.max_tokens, self.temperature, self.rows, self.seed)


@dataclass(frozen=True)
class Result:
    """What results.json holds. `policies`: name -> figures; `shown`: prompts with each policy's answer.

    Figures are `judges` (name -> value, low, high, parts), `rm`, `kl` (value, low, high, to, bound), `tokens`,
    `eos_share`, `win_rates` and `same_length` (who compared -> opponent -> value, low, high, pairs, prompts), and
    `greedy`, the same of greedy answers. `length_controlled` has the win rates at equal lengths. A figure that does not
    exist is null. `ratings`: who compared -> policy -> its Elo rating (value, low, high, n prompts).
    """

    file: str
    prompts: int
    opponents: Sequence[str]
    policies: Mapping[str, Any]
    shown: Sequence[Mapping[str, Any]]
    ratings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __rich__(self) -> Group:
        tables = [comparison_table(self.policies, f"samples, {self.prompts} prompts")]
        if greedy := {name: figures["greedy"] for name, figures in self.policies.items() if figures["greedy"]}:
            tables.append(comparison_table(greedy, f"greedy answers, {self.prompts} prompts"))
        if self.ratings:
            tables.append(ratings_table(self.ratings))
        return Group(*tables, *(side_by_side(row) for row in self.shown))


class _Judge(NamedTuple):
    """Who compares; `parts` gives what its score is made of, if it says."""

    rewards: Rewards
    parts: Parts | None


def run(config: Config, *, judges: Mapping[str, Rewards] | None = None) -> Result:
    """Samples each policy once, has its answers judged, and compares; the same folder goes on or is done.

    `judges` adds to those that the configuration names. Raises DataError where there is no prompt, ModelError where a
    model does not serve, LabellingPaused where people have not answered all.
    """
    with Store.existing(config.store) as store:
        prompts = store.some_prompts(name=config.prompts, split=config.split, limit=config.limit)
        with open_run(
            config.folder, recipe="evaluate", config=config, seed=config.seed, parents=_parents(config, prompts)
        ) as run:
            if run.done:
                return _read(config.folder / RESULTS)
            panel = _panel(config, judges or {})
            _require_judges(config, panel)
            entries = _entries(config, prompts, panel, greedy=False)
            read = [p for i, p in enumerate(prompts) if config.greedy == "all" or _is_shown(config, p, i)]
            greedy = _entries(config, read, panel, greedy=True) if config.greedy != "no" and read else {}
            asked = _ask(config, store, prompts, entries) if config.labellers == "people" else []
            result = _result(config, prompts, entries, greedy, _answered(config, store, asked))
            atomic_write_json(
                config.folder / SCORES, {n: dict(e.drawn.scores) for n, e in entries.items() if not e.picks}
            )
            atomic_write_json(config.folder / RESULTS, asdict(result))
            _refuse_missing(config, store, asked, result)
            run.finish({"file": RESULTS, "prompts": result.prompts})
            return result


def _read(path: Path) -> Result:
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), though its run is done; delete the folder and evaluate again"
        ) from error


def _parents(config: Config, prompts: Sequence[Prompt]) -> list[Parent]:
    rewrites = [p.system for p in config.policies if p.system and p.system.startswith(PYTHON)]
    specs = [*rewrites, *(spec for _, spec in config.judges), *([config.reward] if config.reward else [])]
    digest = {"sha256": content_id([p.id for p in prompts]), "prompts": len(prompts)}
    named = f"{config.store}#{config.prompts}/{config.split}"
    return [*parents_of([*(p.model for p in config.policies), *specs]), Parent("data", named, digest)]


def _panel(config: Config, more: Mapping[str, Rewards]) -> dict[str, _Judge]:
    device = str(world().device)
    named = {name: load_reward(spec, device=device) for name, spec in config.judges} | dict(more)
    if config.reward:
        named[RM] = load_reward(config.reward, device=device)
    return {name: _Judge(rewards, _parts_of(rewards)) for name, rewards in named.items()}


def _require_judges(config: Config, panel: Mapping[str, _Judge]) -> None:
    """Here and not in `Config`, for a loop fills in the reward model that it has yet to train."""
    best = [policy.name for policy in config.policies if policy.best_of > 1]
    require(not best or RM in panel, "reward", seen=config.reward, wanted=f"who picks the best of n for {best}")
    judged = bool(panel) or config.labellers == "people"
    require(judged, "judges", seen=config.judges, wanted="one or more judges, a reward model, or people")


def _parts_of(rewards: Rewards) -> Parts | None:
    owner = rewards.function if isinstance(rewards, PythonReward) else rewards
    parts: Parts | None = getattr(owner, "parts", None)
    return parts if callable(parts) else None


# --- the answers


def _entries(
    config: Config, prompts: Sequence[Prompt], panel: Mapping[str, _Judge], *, greedy: bool
) -> dict[str, Entry]:
    """Every policy with its answers, by name; greedy ones know no best of n."""
    entries: dict[str, Entry] = {}
    drawn: dict[Source, Drawn] = {}
    for policy in config.policies:
        if greedy and policy.best_of > 1:
            continue
        if policy.source not in drawn:
            drawn[policy.source] = _draw(config, policy, prompts, panel, greedy=greedy)
        source = drawn[policy.source]
        own = [tuple(range(len(row))) for row in source.answers]
        if policy.best_of > 1:
            own = [(int(np.argmax(row[: policy.best_of])),) for row in source.scores[RM]]
        entries[policy.name] = Entry(policy, source, own)
    return entries if greedy else _with_kl(config, prompts, entries)


def _draw(
    config: Config, policy: Policy, prompts: Sequence[Prompt], panel: Mapping[str, _Judge], *, greedy: bool
) -> Drawn:
    most = max(p.best_of for p in config.policies if p.source == policy.source)
    samples = 1 if greedy else max(config.samples, most + 1 if most > 1 else 1)
    settings = SamplerConfig(config.max_tokens, 0.0, config.rows, config.seed) if greedy else config.sampling
    answers = sampled(
        config.folder / "answers" / f"{policy.name}{'+greedy' * greedy}.jsonl",
        name=policy.name,
        model=policy.model,
        prompts=prompts,
        samples=samples,
        system=policy.system,
        settings=settings,
        device=str(world().device),
    )
    texts = [[w.text for w in row] for row in answers]
    ended = [[w.ended for w in row] for row in answers]
    scores = {name: judge.rewards.scores(prompts, texts, ended) for name, judge in panel.items()}
    parts = {
        name: [[judge.parts(p, w.text, w.ended) for w in row] for p, row in zip(prompts, answers, strict=True)]
        for name, judge in panel.items()
        if judge.parts
    }
    return Drawn(policy.source, answers, scores, parts, reserve=most if most > 1 else 0)


def _with_kl(config: Config, prompts: Sequence[Prompt], entries: dict[str, Entry]) -> dict[str, Entry]:
    """The same with the KL of each source's answers to the reference, where one is named and reads the same tokens."""
    if config.kl_to is None:
        return entries
    named = entries[config.kl_to].policy
    reference = Causal.load(named.model, device=str(world().device))
    reads = [with_system(prompt, named.system) for prompt in prompts]
    vocabulary = reference.tokenizer.get_vocab()
    kls: dict[Source, list[list[float]] | None] = {}
    for entry in entries.values():
        source, answers = entry.drawn.source, entry.drawn.answers
        if source == named.source:
            kls[source] = [[0.0] * len(row) for row in answers]
        elif source not in kls:
            same = Tokens.load(entry.policy.model).tokenizer.get_vocab() == vocabulary
            kls[source] = kl_to_reference(reference, reads, answers, temperature=config.temperature) if same else None
    return {n: replace(e, drawn=replace(e.drawn, kl=kls[e.drawn.source])) for n, e in entries.items()}


# --- the figures


def _result(
    config: Config,
    prompts: Sequence[Prompt],
    entries: Mapping[str, Entry],
    greedy: Mapping[str, Entry],
    answered: Sequence[Sequence[Answer]],
) -> Result:
    reference = next((p for p in config.policies if p.name == config.kl_to), None)
    policies: dict[str, Any] = {}
    for name, entry in entries.items():
        others, greedy_others = _opponents(config, name, entries), _opponents(config, name, greedy)
        found = figures(entry, others, reference=reference, seed=config.seed)
        compared = config.greedy == "all" and name in greedy
        found["greedy"] = figures(greedy[name], greedy_others, reference=None, seed=config.seed) if compared else None
        if answered:
            rates = people_rates(entry, others, answered, seed=config.seed)
            found["win_rates"][PEOPLE], found["same_length"][PEOPLE] = rates
        policies[name] = found
    chosen = [i for i, prompt in enumerate(prompts) if _is_shown(config, prompt, i)]
    shown = [
        {
            "prompt": _question(prompts[i]),
            "answers": shown_answers(entries, greedy, i, greedy_prompt=i if config.greedy == "all" else place),
        }
        for place, i in enumerate(chosen)
    ]
    rated = rated_together(entries, {PEOPLE: answered} if any(answered) else {}, seed=config.seed)
    return Result(str(config.folder / RESULTS), len(prompts), list(config.opponents), policies, shown, rated)


def _opponents(config: Config, name: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {other: entries[other] for other in config.opponents if other != name and other in entries}


def _is_shown(config: Config, prompt: Prompt, number: int) -> bool:
    return number < config.show_first or any(wanted.lower() in _question(prompt).lower() for wanted in config.show)


def _question(prompt: Prompt) -> str:
    return prompt.messages[-1].content if prompt.messages else str(prompt.text)


# --- people


def _ask(
    config: Config, store: Store, prompts: Sequence[Prompt], entries: Mapping[str, Entry]
) -> list[Question | None]:
    """A question a prompt into the store; asking again after an interruption adds nothing twice."""
    asked = [
        blind_question(prompt, {name: entry.candidate(i) for name, entry in entries.items()})
        for i, prompt in enumerate(prompts)
    ]
    store.add_questions([q for q in asked if q], overlap=config.overlap, project=config.project)
    return asked


def _answered(config: Config, store: Store, asked: Sequence[Question | None]) -> list[list[Answer]]:
    """The answers that are there, prompt by prompt."""
    answers: dict[str, list[Answer]] = {question.id: [] for question in asked if question}
    for numbered in store.answers(project=config.project, purpose=PURPOSE):
        if numbered.answer.question in answers:
            answers[numbered.answer.question].append(numbered.answer)
    return [answers[question.id] if question else [] for question in asked]


def _refuse_missing(config: Config, store: Store, asked: Sequence[Question | None], result: Result) -> None:
    """Raises LabellingPaused while people have not given all the answers that are wanted."""
    given = _answered(config, store, asked)
    missing = sum(max(0, config.overlap - len(row)) for row, question in zip(given, asked, strict=True) if question)
    if missing:
        raise LabellingPaused(
            f"{missing} answers by people are still wanted in project {config.project!r} (purpose {PURPOSE!r}); what "
            f"there is stands in {result.file}. Have them answered (`backflip ask --purpose {PURPOSE} --labellers "
            "keyboard`, say), then start the same command again"
        )


def main() -> None:
    """`python -m backflip.recipes.evaluate`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
