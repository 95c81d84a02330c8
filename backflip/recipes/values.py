"""Whose values: one reward for everybody, or one a group? Fitted, held out, and compared group by group.

    python -m backflip.recipes.values --store feedback.db --model runs/reward/model --by aim --folder runs/values

The trunk (of a causal or a reward model) stays as it is; heads are fitted on its states. Folds are of prompts.
The model that is saved has a reward for each group, `runs/values/model#GROUP`, which PPO takes one by one, weighted,
or by the worst (`combine`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.table import Table
from rich.text import Text
from safetensors.torch import load_file, save
from torch import Tensor

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import CheckpointError, DataError
from backflip.evaluation.numbers import Number
from backflip.evaluation.preference import Judged, accuracy
from backflip.feedback.intervals import bootstrap_ratio, told
from backflip.feedback.store import Store
from backflip.lm.backbone import Backbone, load_causal, load_classifier, load_tokenizer, save_classifier
from backflip.lm.groups import GroupHeads, PairsOfGroups, alone, combined, fit_heads, pooled
from backflip.lm.packing import batches_by_tokens, pack
from backflip.lm.parents import parent_of
from backflip.lm.rankings import Ranking, ranking
from backflip.lm.rewards import MAX_LENGTH
from backflip.lm.tokens import Tokens
from backflip.recipes.command import command
from backflip.records import Answer, Labeller, content_id
from backflip.runs import Parent, atomic_folder, atomic_write_bytes, atomic_write_json, open_run, progress
from backflip.runs.ranks import world

__all__ = ["Config", "Result", "main", "run"]

RESULTS, STATES, OTHERS = "results.json", "states.safetensors", "others"
_INNER = 4  # one part in so many of a fold's training pairs chooses the strengths
_STRENGTHS = (0.003, 0.03, 0.3)
_OWN = (0.03, 0.3, 3.0, 30.0)


@dataclass(frozen=True)
class Config:
    """Fits one reward for all and one a group, and says by group how often each is right."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the model will be in its `model`."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL."""
    model: str
    """The trunk: a causal model's or a reward model's folder."""
    by: str = "labeller"
    """The groups: `labeller` makes each labeller one; else an attribute of labellers."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = "train"
    """Only answers to questions of this purpose; None takes all."""
    up_to: int | None = None
    """Only answers up to this number; None takes all that there are when the run starts."""
    trunk: Literal["causal", "reward"] = "causal"
    """What kind of model it is."""
    layers: int = 0
    """Keep the first so many layers; 0 keeps all."""
    kinds: tuple[Literal["heads", "embedding"], ...] = ("heads", "embedding")
    """How groups differ: a head of their own each, or an embedding of few numbers."""
    rank: int = 4
    """Numbers of an embedding."""
    least: int = 20
    """Groups with fewer pairs go together, as "others"."""
    limit: int | None = None
    """Only so many questions of each group, drawn by seed."""
    weights: dict[str, float] = field(default_factory=dict)
    """The shares of the groups in a reward that is weighted; none: there is no such reward."""
    folds: int = 5
    """Parts of the prompts, each held out once."""
    max_length: int = 256
    """Tokens of prompt and answer; a longer prompt loses its beginning."""
    batch_tokens: int = 4096
    """Tokens of one pass."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(bool(self.kinds), "kinds", seen=self.kinds, wanted="one or more")
        require(self.folds >= 2, "folds", seen=self.folds, wanted="2 or more")
        for name in ("rank", "least", "max_length", "batch_tokens"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.limit is None or self.limit >= 1, "limit", seen=self.limit, wanted="1 or more, or none")
        require(self.layers >= 0, "layers", seen=self.layers, wanted="0 or more")
        bad = {name: share for name, share in self.weights.items() if share < 0}
        require(not bad, "weights", seen=bad, wanted="no share below 0")


@dataclass(frozen=True)
class Result:
    """What results.json holds. `groups`: name -> pairs. `accuracy`: model -> group (and "all") -> value, low, high, n.

    Models are `pooled`, `heads`, `embedding`, and `alone` (fitted on the group alone). `gain`: model -> group -> its
    accuracy less the pooled one's on the same pairs. `choices`: rule -> group -> accuracy of one reward for everybody,
    made of the groups' (mean, worst, weighted, or one group's alone). `n` counts pairs, the intervals are over prompts.
    """

    name: str
    about: str
    groups: Mapping[str, int]
    accuracy: Mapping[str, Mapping[str, Any]]
    gain: Mapping[str, Mapping[str, Any]]
    choices: Mapping[str, Mapping[str, Any]]
    prompts: int
    model: str

    def __rich__(self) -> Table:
        """A row a group and reward: any number of groups fits a narrow terminal."""
        table = Table("group", "pairs", "reward", "held-out accuracy", title=self.name)
        rewards = {f"fitted: {name}": rows for name, rows in self.accuracy.items()}
        rewards |= {f"one of all: {name}": rows for name, rows in self.choices.items()}
        for group in (*self.groups, "all"):
            table.add_section()
            for i, (name, rows) in enumerate(rewards.items()):
                first = (group, str(rows[group]["n"])) if i == 0 else ("", "")
                table.add_row(*map(Text, (*first, name, _cell(rows[group]))))
        return table


class _Data(NamedTuple):
    rankings: list[Ranking]
    groups: tuple[str, ...]
    pairs: PairsOfGroups
    units: list[str]  # the prompt of each pair
    labellers: list[Labeller]


class _Fold(NamedTuple):
    """One part held out: margins of its pairs by model, and by rule."""

    held: Tensor
    models: dict[str, Tensor]
    rules: dict[str, Tensor]


def run(config: Config) -> Result:
    """Computes the states once, fits, compares, saves; the same folder goes on or is done.

    Raises DataError where there are fewer than two groups with enough pairs, ModelError where the model does not serve.
    """
    torch.manual_seed(config.seed)
    with Store.existing(config.store) as store:
        tokens = Tokens(load_tokenizer(config.model), name=f"the tokenizer of {config.model!r}")
        snapshot = store.snapshot(up_to=config.up_to, project=config.project, purpose=config.purpose)
        data = _read(config, store, tokens, snapshot.up_to)
    answers = {"up_to": snapshot.up_to, "withdrawn": snapshot.withdrawn, "snapshot": snapshot.digest}
    parents = [parent_of(config.model), Parent("answers", config.store, answers)]
    with open_run(config.folder, recipe="values", config=config, seed=config.seed, parents=parents) as run:
        if run.done:
            return _stored(config.folder / RESULTS)
        backbone = _trunk(config)
        states = _states(config, backbone, data, tokens)
        folds = [_fold(config, states, data, fold) for fold in range(config.folds)]
        heads = fit_heads(
            states, data.pairs, groups=len(data.groups), **_strengths(config, states, data.pairs, config.kinds[0])
        )
        _save(config, backbone, tokens, heads.standardised(states), data.groups)
        result = _result(config, data, folds)
        atomic_write_json(config.folder / RESULTS, vars(result))
        run.finish({"file": RESULTS, "model": result.model, "groups": dict(result.groups)})
        return result


# --- data


def _read(config: Config, store: Store, tokens: Tokens, up_to: int) -> _Data:
    questions = {q.id: q for q in store.questions(project=config.project, purpose=config.purpose) if q.prompt}
    found = store.answers(up_to=up_to, project=config.project, purpose=config.purpose)
    answers = [n.answer for n in found if n.answer.question in questions and not n.answer.cannot_tell]
    by_question: dict[str, list[Answer]] = {}
    for answer in _limited(config, answers):
        by_question.setdefault(answer.question, []).append(answer)
    made = [
        ranking(tokens, questions[key], own, max_length=config.max_length)
        for key, own in by_question.items()
        if questions[key].medium == "text"
    ]
    rankings = [one for one in made if one.compared]
    counts = Counter(_group(config, c.labeller) for one in rankings for c in one.compared)
    kept = sorted(name for name, count in counts.items() if count >= config.least)
    named = tuple(kept + ([OTHERS] if len(kept) < len(counts) else []))
    if len(named) < 2:
        raise DataError(
            f"project {config.project!r} has the groups {dict(counts)} by {config.by!r}; wanted two or more with "
            f"{config.least} pairs: choose another attribute, or a smaller `least`"
        )
    if strange := set(config.weights) - set(named):
        raise DataError(f"weights name {sorted(strange)}; wanted groups: {', '.join(named)}")
    return _pairs(config, rankings, named)


def _limited(config: Config, answers: Sequence[Answer]) -> list[Answer]:
    """At most `limit` questions of each group: those of the lowest draws."""
    if config.limit is None:
        return list(answers)
    drawn: dict[str, set[str]] = {}
    for answer in answers:
        drawn.setdefault(_group(config, answer.labeller), set()).add(answer.question)
    kept = {
        g: set(sorted(own, key=lambda q: content_id("values", config.seed, q))[: config.limit])
        for g, own in drawn.items()
    }
    return [a for a in answers if a.question in kept[_group(config, a.labeller)]]


def _group(config: Config, labeller: Labeller) -> str:
    """An import numbers a labeller's further answers to one question, `annotator1#2`: the same person."""
    return labeller.id.partition("#")[0] if config.by == "labeller" else labeller.groups.get(config.by, OTHERS)


def _pairs(config: Config, rankings: list[Ranking], named: tuple[str, ...]) -> _Data:
    place = {name: i for i, name in enumerate(named)}
    rows: list[tuple[int, int, int, float, float]] = []
    units: list[str] = []
    labellers: list[Labeller] = []
    first = 0
    for one in rankings:
        for c in one.compared:
            group = place.get(_group(config, c.labeller), place.get(OTHERS, 0))
            rows.append((first + c.better, first + c.worse, group, c.weight, c.target))
            units.append(one.prompt)
            labellers.append(c.labeller)
        first += len(one.tree.responses)
    better, worse, groups, weight, target = zip(*rows, strict=True)
    columns = (
        torch.tensor(better),
        torch.tensor(worse),
        torch.tensor(groups),
        torch.tensor(weight),
        torch.tensor(target),
    )
    return _Data(rankings, named, PairsOfGroups(*columns), units, labellers)


# --- states


def _trunk(config: Config) -> Backbone:
    device = str(world().device)
    backbone = (
        load_causal(config.model, device=device)[0]
        if config.trunk == "causal"
        else load_classifier(config.model, device=device)[0]
    )
    backbone.keep_layers(config.layers)
    return backbone.eval().requires_grad_(False)


@torch.inference_mode()
def _states(config: Config, backbone: Backbone, data: _Data, tokens: Tokens) -> Tensor:
    """(candidates, hidden): the state of each candidate's last token; computed once and kept in the folder."""
    path = config.folder / STATES
    trees = [one.tree for one in data.rankings]
    if path.exists():
        kept = load_file(path)["states"]
        if len(kept) == sum(len(tree.responses) for tree in trees):
            return kept
    parts: list[Tensor] = []
    with progress(len(trees), "states") as step:
        for indices in batches_by_tokens([tree.length for tree in trees], config.batch_tokens):
            packed = pack([trees[i] for i in indices], row_length=2 * config.max_length, pad=tokens.pad).to(
                backbone.device
            )
            parts.append(backbone(packed).flatten(0, 1)[packed.last].float().cpu())
            step(len(indices))
    states = torch.cat(parts)
    atomic_write_bytes(path, save({"states": states}))
    return states.clone()


def _save(config: Config, backbone: Backbone, tokens: Tokens, heads: GroupHeads, groups: tuple[str, ...]) -> None:
    head = torch.nn.Linear(heads.weight.shape[1], len(groups), bias=False)
    head.weight.data.copy_(heads.weight)
    backbone.config.pad_token_id = tokens.pad  # an ordinary classifier finds the last token by it
    setattr(backbone.config, MAX_LENGTH, config.max_length)
    with atomic_folder(config.folder / "model") as partial:
        save_classifier(partial, backbone, head, tokens.tokenizer, offset=heads.offset.tolist(), labels=groups)


# --- fitting and comparing


def _held(config: Config, units: Sequence[str], fold: int) -> Tensor:
    """Which pairs are of this fold's prompts."""
    return torch.tensor([int(content_id("fold", config.seed, unit)[:13], 16) % config.folds == fold for unit in units])


def _fold(config: Config, states: Tensor, data: _Data, fold: int) -> _Fold:
    held = _held(config, data.units, fold)
    train, test = data.pairs.where(~held), data.pairs.where(held)
    count = len(data.groups)
    models: dict[str, Tensor] = {}
    for kind in ("pooled", *config.kinds):
        given = pooled(train) if kind == "pooled" else train
        chosen = _strengths(config, states, given, kind)
        heads = fit_heads(states, given, groups=1 if kind == "pooled" else count, **chosen)
        scores = heads.scores(states)
        own = torch.zeros_like(test.group) if kind == "pooled" else test.group
        models[kind] = scores[test.better, own] - scores[test.worse, own]
        if kind == config.kinds[0]:
            standard = heads.standardised(states).scores(states)
    models["alone"] = _alone(config, states, count, train, test)
    rules = {"mean": combined(standard, "mean"), "worst": combined(standard, "worst")}
    if config.weights:
        rules["weighted"] = combined(standard, "mean", [config.weights.get(name, 0.0) for name in data.groups])
    rules |= {f"{name} alone": standard[:, g] for g, name in enumerate(data.groups)} if count <= 4 else {}
    return _Fold(held, models, {rule: one[test.better] - one[test.worse] for rule, one in rules.items()})


def _alone(config: Config, states: Tensor, count: int, train: PairsOfGroups, test: PairsOfGroups) -> Tensor:
    """Each group's margins by a head that was fitted on that group's own answers."""
    margins = torch.zeros(len(test.group))
    for group in range(count):
        own, mine = alone(train, group), test.group == group
        if not len(own.better) or not mine.any():
            continue
        scores = fit_heads(states, own, groups=1, **_strengths(config, states, own, "pooled")).scores(states)[:, 0]
        margins[mine] = scores[test.better[mine]] - scores[test.worse[mine]]
    return margins


def _strengths(config: Config, states: Tensor, pairs: PairsOfGroups, kind: str) -> dict[str, Any]:
    """The penalties that do best on the last part of the training pairs: the held-out fold has no say."""
    inner = torch.arange(len(pairs.better)) >= len(pairs.better) * (_INNER - 1) // _INNER
    rest, test = pairs.where(~inner), pairs.where(inner)
    groups = int(pairs.group.max()) + 1
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for ridge in _STRENGTHS:
        for own in _OWN if kind != "pooled" else (1.0,):
            chosen = {"kind": kind, "ridge": ridge, "own": own, "rank": config.rank, "seed": config.seed}
            scores = fit_heads(states, rest, groups=groups, **chosen).scores(states)  # type: ignore[arg-type]
            right = float((scores[test.better, test.group] > scores[test.worse, test.group]).float().mean())
            if right > best[0]:
                best = (right, chosen)
    return best[1]


def _result(config: Config, data: _Data, folds: Sequence[_Fold]) -> Result:
    strict = data.pairs.target == 1
    margins = {name: _joined(folds, len(strict), [f.models[name] for f in folds]) for name in folds[0].models}
    rules = {name: _joined(folds, len(strict), [f.rules[name] for f in folds]) for name in folds[0].rules}
    members = {name: strict & (data.pairs.group == g) for g, name in enumerate(data.groups)} | {"all": strict}
    return Result(
        name=config.folder.name,
        about=(
            f"{int(strict.sum())} pairs on {len(set(data.units))} prompts by {len(data.groups)} groups ({config.by}); "
            f"{config.folds} folds of prompts; heads on a frozen trunk"
        ),
        groups={name: int(members[name].sum()) for name in data.groups},
        accuracy={m: {g: _accuracy(config, data, own, on) for g, on in members.items()} for m, own in margins.items()},
        gain={
            m: {g: _gain(config, data, own, margins["pooled"], on) for g, on in members.items()}
            for m, own in margins.items()
            if m != "pooled"
        },
        choices={r: {g: _accuracy(config, data, own, on) for g, on in members.items()} for r, own in rules.items()},
        prompts=len(set(data.units)),
        model=str(config.folder / "model"),
    )


def _joined(folds: Sequence[_Fold], count: int, parts: Sequence[Tensor]) -> Tensor:
    margins = torch.zeros(count)
    for fold, part in zip(folds, parts, strict=True):
        margins[fold.held] = part
    return margins


def _accuracy(config: Config, data: _Data, margins: Tensor, on: Tensor) -> dict[str, float]:
    places = on.nonzero().flatten().tolist()
    judged = [Judged(data.units[i], data.labellers[i], 1, float(margins[i])) for i in places]
    found = accuracy(judged, seed=config.seed)
    return {**{k: found[k] for k in ("value", "low", "high")}, "n": found["pairs"]}


def _gain(config: Config, data: _Data, ours: Tensor, theirs: Tensor, on: Tensor) -> dict[str, float]:
    """The difference of two accuracies on the same pairs, with an interval over prompts."""
    points = 0.5 * (torch.sign(ours) - torch.sign(theirs))
    gained: dict[str, float] = {}
    count: dict[str, int] = {}
    for i in on.nonzero().flatten().tolist():
        gained[data.units[i]] = gained.get(data.units[i], 0.0) + float(points[i])
        count[data.units[i]] = count.get(data.units[i], 0) + 1
    interval = bootstrap_ratio(list(gained.values()), list(count.values()), seed=config.seed)
    return Number(*interval, n=sum(count.values()))._asdict()


def _stored(path: Path) -> Result:
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}), though its run is done; delete the folder") from error


def _cell(found: Mapping[str, float]) -> str:
    return told(found, ".3f")


def main() -> None:
    """`python -m backflip.recipes.values`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
