"""Stage 4, the reward model: from rankings in the store to a model that scores an answer (P, section 3.5).

    python -m backflip.recipes.reward --store feedback.db --model runs/sft/model --folder runs/reward

A question is one batch element whatever its K: its prompt and its K answers are one tree, each scored once, and its
pairs weigh 1/C(K,2). If several labellers answered it, they share that weight. Held out are whole prompts.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor, nn

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import DataError
from backflip.evaluation.preference import Judged, agreement_ceiling, breakdown
from backflip.feedback.pairs import Pair, Ties, pairs
from backflip.feedback.store import Snapshot, Store
from backflip.lm import optim
from backflip.lm.backbone import load_causal, load_tokenizer, random_trunk, seed_everything
from backflip.lm.data import epoch_order
from backflip.lm.heads import Scalar, trainable
from backflip.lm.packing import Tree
from backflip.lm.rewards import MAX_LENGTH, micro_batches, reward_tree, score_trees
from backflip.lm.tokens import Tokens
from backflip.maths.moments import RunningMoments, gain_and_bias
from backflip.maths.preference import pair_accuracy, ranking_loss
from backflip.records import Answer, Demonstration, Labeller, Prompt, Question, content_id
from backflip.runs import MetricsWriter, Parent, Run, atomic_folder, atomic_write_json, open_run, progress, read_metrics
from backflip.runs import read_run, require_finite
from backflip.runs.checkpoint import load_latest, restore_rng, rng_state, save
from backflip.runs.ranks import World, all_gather_objects, average_gradients, barrier, leave, shard, world

__all__ = ["Config", "Result", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Trains a reward model on the rankings of a store. The defaults are the paper's, as far as it gives them."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the model will be in its `model`."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL. The answers used are pinned in the run's lineage."""
    model: str
    """The model to start from, a Transformers folder; its tokenizer goes with the reward model."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = "train"
    """Only answers to questions of this purpose; None takes all."""
    up_to: int | None = None
    """Only answers up to this number; None takes all that there are when the run starts."""
    init: Literal["model", "random", "reward"] = "model"
    """`model`: its trunk and a fresh head; `random`: its shape only; `reward`: it is a reward model, trained on."""
    layers: int = 0
    """Keep the first so many layers; 0 keeps all."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_layers: int = 0
    """Put LoRA on the upper so many layers; 0 on all."""
    lora_alpha: float = 32.0
    """LoRA's scale is alpha / rank."""
    epochs: int = 1
    """Passes over the questions; P trains one, for more overfits."""
    batch: int = 64
    """Questions an update (P: 64)."""
    learning_rate: float = 9e-6
    """At the start (P: 9e-6); it falls as a cosine to 10 %."""
    clip_norm: float = 1.0
    """The gradient's norm is at most this."""
    max_length: int = 1024
    """Tokens of prompt and answer; a longer prompt loses its beginning. 0: no limit."""
    micro_tokens: int = 4096
    """Tokens a pass; bounds memory and changes nothing else."""
    ties: Ties = "drop"
    """Ties are dropped (P), or are pairs with target one half."""
    lapse: float = 0.0
    """The share of answers that are taken to be noise (H: 0.1)."""
    validation_share: float = 0.1
    """The share of prompts that is held out, by seed and prompt."""
    held_out_labellers: tuple[str, ...] = ()
    """Labellers (ids) whose answers are not trained on, and are reported apart (P: 69.6 % against 72.4 %)."""
    pick: Literal["last", "best"] = "last"
    """After several epochs keep the last weights, or those of the lowest held-out loss."""
    normalise: Literal["demonstrations", "gain_bias"] = "demonstrations"
    """Demonstrations score 0 on average (P), or the completions trained on have mean 0 and deviation 1 (A)."""
    reference_texts: int = 1024
    """Score at most so many texts for the normalisation."""
    checkpoint_every: int = field(default=20, metadata=NOT_FINGERPRINTED)
    """Updates from one checkpoint to the next."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_tokens", "reference_texts", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        for name in ("layers", "lora_rank", "lora_layers", "max_length"):
            require(getattr(self, name) >= 0, name, seen=getattr(self, name), wanted="0 or more")
        for name in ("learning_rate", "clip_norm", "lora_alpha"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")
        for name in ("lapse", "validation_share"):
            require(0 <= getattr(self, name) < 1, name, seen=getattr(self, name), wanted="a share in [0, 1)")
        held_out = self.pick == "last" or self.validation_share > 0
        require(held_out, "pick", seen=self.pick, wanted="'last' where validation_share is 0: best is by held-out loss")


@dataclass(frozen=True)
class Result:
    """What a run ends with. `accuracy` ({value, low, high}), `loss` and `ece` are held-out; None if nothing was."""

    model: str
    accuracy: Mapping[str, float] | None
    loss: float | None
    ece: float | None
    questions: int
    pairs: int
    held_out_pairs: int
    offset: float
    normalised_on: str
    answers: Mapping[str, Any]


class _Compared(NamedTuple):
    """A pair with its places among the element's candidates; `weight` is 1/C(K,2) over the number of answers."""

    better: int
    worse: int
    pair: Pair
    labeller: Labeller
    weight: float


@dataclass(frozen=True)
class _Element:
    """A question as training sees it: one tree, each candidate a response, and what all its answers say of it."""

    prompt: str
    tree: Tree
    compared: tuple[_Compared, ...]


@dataclass(frozen=True)
class _Data:
    train: list[_Element]
    held_out: list[_Element]
    strangers: list[_Element]  # answers by held-out labellers, to prompts that were not trained on
    ceiling: dict[str, float] | None


def run(config: Config) -> Result:
    """Trains, normalises, reports and saves; the same folder goes on or is done.

    Raises DataError where the store has nothing to learn from, ModelError where the model does not serve,
    CheckpointError where the folder is of other work, TrainingDiverged at a loss that is not finite.
    """
    here = world()
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(config.store))
        snapshot = store.snapshot(up_to=_up_to(config), project=config.project, purpose=config.purpose)
        shown = list(store.demonstrations(project=config.project))
        ledger = _open(stack, config, snapshot, shown) if here.rank == 0 else None
        done, fingerprint = all_gather_objects((ledger.done, ledger.fingerprint) if ledger else (False, ""), here)[0]
        if not done:
            _work(config, store, snapshot, shown, ledger, fingerprint, here)
        result = all_gather_objects(dict(ledger.result) if ledger else {}, here)[0]
    return Result(**result)


def _open(stack: ExitStack, config: Config, snapshot: Snapshot, shown: Sequence[Demonstration]) -> Run:
    answers = {"up_to": snapshot.up_to, "withdrawn": snapshot.withdrawn, "snapshot": snapshot.digest}
    texts = {"sha256": content_id(*(d.id for d in shown)), "demonstrations": len(shown)}
    parents = [
        Parent("model", config.model),
        Parent("answers", config.store, answers),
        Parent("data", config.store, texts),
    ]
    return stack.enter_context(
        open_run(config.folder, recipe="reward", config=config, seed=config.seed, parents=parents)
    )


def _up_to(config: Config) -> int | None:
    """A run that was begun goes on with the answers that it began with, although the store has more by now."""
    earlier = read_run(config.folder)
    if config.up_to is None and earlier is not None and earlier.recipe == "reward":
        return next((p.detail.get("up_to") for p in earlier.parents if p.kind == "answers"), None)
    return config.up_to


def _work(
    config: Config,
    store: Store,
    snapshot: Snapshot,
    shown: Sequence[Demonstration],
    ledger: Run | None,
    fingerprint: str,
    here: World,
) -> None:
    seed_everything(config.seed)
    tokens = Tokens(load_tokenizer(config.model), name=f"the tokenizer of {config.model!r}")
    data = _read(config, store, snapshot, tokens)
    model = _model(config, tokens, here)
    _train(config, model, data, ledger, fingerprint, here)
    normalised_on = _normalise(config, model, tokens, data, shown, here)
    report = _report(config, model, tokens, data, here)
    if ledger is None:
        barrier(here)  # the model is there when a run ends, on every rank
        return
    report |= {"offset": model.reward_offset, "normalised_on": normalised_on, "answers": asdict(snapshot)}
    curve = [(m["step"], m["reward/loss"]) for m in read_metrics(config.folder) if "reward/loss" in m]
    atomic_write_json(config.folder / "reports" / "reward.json", report | {"loss_curve": curve})
    with atomic_folder(config.folder / "model") as folder:
        model.save(folder)
    accuracy = report["held_out"] and {n: report["held_out"]["accuracy"][n] for n in ("value", "low", "high")}
    result = Result(
        model=str(config.folder / "model"),
        accuracy=accuracy,
        loss=report["held_out_loss"],
        ece=report["held_out"] and report["held_out"]["calibration"]["ece"],
        questions=len(data.train),
        pairs=_count(data.train),
        held_out_pairs=_count(data.held_out),
        offset=model.reward_offset,
        normalised_on=normalised_on,
        answers=asdict(snapshot),
    )
    ledger.finish(asdict(result))
    shutil.rmtree(config.folder / "checkpoints", ignore_errors=True)  # three times the trained weights, needed no more
    barrier(here)


# --- data ---


def _read(config: Config, store: Store, snapshot: Snapshot, tokens: Tokens) -> _Data:
    """Raises DataError where no answer, or no pair, is left to train on."""
    questions = {q.id: q for q in store.questions(project=config.project, purpose=config.purpose) if q.medium == "text"}
    found = store.answers(up_to=snapshot.up_to, project=config.project, purpose=config.purpose)
    answers = [n.answer for n in found if n.answer.question in questions and not n.answer.cannot_tell]
    asked = {a.question: questions[a.question].prompt for a in answers}
    held = _held_out({p.id for p in asked.values() if p}, seed=config.seed, share=config.validation_share)
    strange = [a for a in answers if a.labeller.id in config.held_out_labellers]
    known = [a for a in answers if a.labeller.id not in config.held_out_labellers]
    train = _elements(config, tokens, questions, [a for a in known if _prompt(questions[a.question]).id not in held])
    trained = {e.prompt for e in train}
    away = [a for a in strange if _prompt(questions[a.question]).id not in trained]
    if not any(c.pair.target == 1 for e in train for c in e.compared):
        raise DataError(
            f"project {config.project!r} has {len(answers)} answers about texts (purpose {config.purpose!r}, up to "
            f"number {snapshot.up_to}) and no pair of them to train on; wanted rankings that prefer something: ask "
            "labellers or import answers, lower validation_share, or check project, purpose and held_out_labellers"
        )
    rest = _elements(config, tokens, questions, [a for a in known if _prompt(questions[a.question]).id in held])
    strangers = _elements(config, tokens, questions, away)
    return _Data(train, rest, strangers, agreement_ceiling(answers))


def _prompt(question: Question) -> Prompt:
    if question.prompt is None:
        raise DataError(f"question {question.id[:12]} about texts has no prompt; import it again with one")
    return question.prompt


def _held_out(prompts: set[str], *, seed: int, share: float) -> set[str]:
    """Each prompt by a draw of its own: one that was trained on in an earlier round is never held out in a later one.

    A handful of prompts may all be drawn to one side; then the nearest to the line goes over.
    """
    draws = {p: int(content_id("held out", seed, p)[:13], 16) / 16**13 for p in prompts}
    held = {p for p, draw in draws.items() if draw < share}
    if share and len(prompts) > 1 and not held:
        return {min(draws, key=lambda p: draws[p])}
    return held - {max(draws, key=lambda p: draws[p])} if held and held == prompts else held


def _elements(
    config: Config, tokens: Tokens, questions: Mapping[str, Question], answers: Sequence[Answer]
) -> list[_Element]:
    """One element a question that has a pair, in the order of its first answer."""
    by_question: dict[str, list[Answer]] = {}
    for answer in answers:
        by_question.setdefault(answer.question, []).append(answer)
    made = [_element(config, tokens, questions[key], own) for key, own in by_question.items()]
    return [element for element in made if element.compared]


def _element(config: Config, tokens: Tokens, question: Question, answers: Sequence[Answer]) -> _Element:
    place = {c.id: k for k, c in enumerate(question.candidates)}
    compared = tuple(
        _Compared(place[p.better], place[p.worse], p, answer.labeller, p.weight / len(answers))
        for answer in answers
        for p in pairs(answer, config.ties)
    )
    prompt, ended = _prompt(question), [c.ended for c in question.candidates]
    texts = [c.text or "" for c in question.candidates]
    return _Element(prompt.id, reward_tree(tokens, prompt, texts, ended, max_length=config.max_length), compared)


# --- model and training ---


def _model(config: Config, tokens: Tokens, here: World) -> Scalar:
    device = str(here.device)
    if config.init == "reward":
        model = Scalar.load(config.model, device=device)
        model.backbone.keep_layers(config.layers)
        model.reward_offset = 0.0  # it is made anew at the end, from raw scores
    else:
        if config.init == "random":
            trunk = random_trunk(config.model, seed=config.seed, layers=config.layers, device=device)
        else:
            trunk, _ = load_causal(config.model, device=device)
            trunk.keep_layers(config.layers)
        model = Scalar.on_trunk(trunk, tokens.tokenizer, seed=config.seed)
    model.requires_grad_(True)
    model.adapt(rank=config.lora_rank, layers=config.lora_layers, alpha=config.lora_alpha)
    model.backbone.config.pad_token_id = tokens.pad  # an ordinary classifier finds the last token by it
    setattr(model.backbone.config, MAX_LENGTH, config.max_length)
    return model.eval()  # dropout is off (detail 10)


class _Trainer(NamedTuple):
    """What an update needs, and what a checkpoint holds."""

    config: Config
    model: Scalar
    parameters: list[nn.Parameter]
    optimiser: torch.optim.Optimizer
    rate: optim.Schedule
    here: World

    @property
    def pad(self) -> int:
        return int(self.model.backbone.config.pad_token_id)

    def update(self, number: int, batch: Sequence[_Element]) -> dict[str, float]:
        """One step on a batch of questions, in passes bounded by tokens; returns the step's metrics."""
        config, started = self.config, time.perf_counter()
        rate = config.learning_rate * self.rate(number)
        optim.set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        mine, scores = shard(batch, self.here), []
        for indices, packed in micro_batches([e.tree for e in mine], config.micro_tokens, self.pad):
            given = self.model.rewards(packed.to(self.here.device))
            loss = _loss(given, [mine[i] for i in indices], questions=len(batch), lapse=config.lapse)
            (loss * self.here.size).backward()  # type: ignore[no-untyped-call]  # gradients are averaged over ranks
            scores.append(given.detach().cpu())
        average_gradients(self.parameters, self.here)
        norm = optim.clip_gradients(self.parameters, config.clip_norm, what="reward model's gradient")
        self.optimiser.step()
        parts = all_gather_objects((torch.cat(scores) if scores else torch.empty(0), mine), self.here)
        metrics = _fit(torch.cat([s for s, _ in parts]), [e for _, own in parts for e in own], config.lapse)
        tokens = sum(element.tree.length for element in batch)
        timing = {"time/train": time.perf_counter() - started, "reward/tokens": tokens}
        return {**metrics, "reward/grad_norm": norm, "reward/learning_rate": rate, **timing}

    def state(self, best: dict[str, Any]) -> dict[str, Any]:
        return {
            "parameters": [p.detach() for p in self.parameters],
            "optimiser": self.optimiser.state_dict(),
            "rng": rng_state(),
            "best": best,
        }

    def restore(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Back to a checkpoint; returns the best weights until then."""
        self.put(state["parameters"])
        self.optimiser.load_state_dict(state["optimiser"])
        restore_rng(state["rng"])
        best: dict[str, Any] = state["best"]
        return best

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)


def _train(
    config: Config, model: Scalar, data: _Data, ledger: Run | None, fingerprint: str, here: World
) -> None:
    """All epochs, from the last checkpoint on; leaves the picked weights in the model."""
    parameters = trainable([model])
    an_epoch = math.ceil(len(data.train) / config.batch)
    total = an_epoch * config.epochs
    optimiser = optim.adam(parameters, rate=config.learning_rate)
    trainer = _Trainer(config, model, parameters, optimiser, optim.cosine(total), here)
    kept = load_latest(config.folder / "checkpoints", fingerprint=fingerprint)
    start, best = (kept.step, trainer.restore(kept.state)) if kept else (0, {})
    if ledger:
        ledger.metrics.truncate(start)
    with progress(total, "reward", done=start) as step:
        for number in range(start, total):
            epoch, place = divmod(number, an_epoch)
            order = epoch_order(len(data.train), seed=config.seed, epoch=epoch)
            batch = [data.train[i] for i in order[place * config.batch : (place + 1) * config.batch]]
            metrics = trainer.update(number, batch)
            if place == an_epoch - 1 and data.held_out:
                metrics |= _held_out_metrics(config, model, data.held_out, here)
                best = _better(config, trainer, best, metrics["reward/held_out_loss"])
            require_finite(number + 1, metrics)
            if ledger:
                _record(config, ledger.metrics, number + 1, metrics)
                if (number + 1) % config.checkpoint_every == 0 or number + 1 == total:
                    save(config.folder / "checkpoints", number + 1, trainer.state(best), fingerprint=fingerprint)
            step(note=f"loss {metrics['reward/loss']:.4f}")
    if best:
        trainer.put(best["parameters"])


def _record(config: Config, writer: MetricsWriter, step: int, metrics: Mapping[str, float]) -> None:
    writer.write(step, metrics)


def _better(config: Config, trainer: _Trainer, best: dict[str, Any], loss: float) -> dict[str, Any]:
    """The weights of the lowest held-out loss so far, where they are wanted."""
    if config.pick == "last" or (best and best["loss"] <= loss):
        return best
    return {"loss": loss, "parameters": [p.detach().clone() for p in trainer.parameters]}


def _loss(scores: Tensor, elements: Sequence[_Element], *, questions: int, lapse: float) -> Tensor:
    """The K-wise loss (P, eq. 1) of `elements`, a part of a batch of `questions`; scores (candidates of all,)."""
    table = _places(elements)
    weight = scores.new_tensor([c.weight / questions for e in elements for c in e.compared])
    target = scores.new_tensor([c.pair.target for e in elements for c in e.compared])
    better, worse = table.to(scores.device)
    return ranking_loss(scores=scores, better=better, worse=worse, weight=weight, target=target, lapse=lapse)


def _places(elements: Sequence[_Element]) -> Tensor:
    """(2, pairs): each pair's better and worse candidate among all the elements' candidates in one row."""
    rows, first = [], 0
    for element in elements:
        rows += [(first + c.better, first + c.worse) for c in element.compared]
        first += len(element.tree.responses)
    return torch.tensor(rows, dtype=torch.long).view(-1, 2).T


def _fit(scores: Tensor, elements: Sequence[_Element], lapse: float) -> dict[str, float]:
    """How well scores (candidates,) explain the pairs; metrics of a batch, on the CPU."""
    better, worse = scores[_places(elements)]
    strict = torch.tensor([c.pair.target == 1 for e in elements for c in e.compared])
    metrics = {
        "reward/loss": float(_loss(scores, elements, questions=len(elements), lapse=lapse)),
        "reward/score_mean": float(scores.mean()),
        "reward/score_std": float(scores.std(correction=0)),
    }
    if strict.any():
        right = pair_accuracy(better=better[strict], worse=worse[strict])
        metrics |= {"reward/accuracy": float(right), "reward/margin": float((better - worse)[strict].mean())}
    return metrics


# --- after training ---


def _scores(config: Config, model: Scalar, trees: Sequence[Tree], here: World) -> list[list[float]]:
    """Each tree's scores, the work shared among the ranks."""
    pad = int(model.backbone.config.pad_token_id)
    parts = all_gather_objects(score_trees(model, shard(trees, here), config.micro_tokens, pad), here)
    return [parts[i % here.size][i // here.size] for i in range(len(trees))]


def _held_out_metrics(config: Config, model: Scalar, elements: Sequence[_Element], here: World) -> dict[str, float]:
    rows = _scores(config, model, [e.tree for e in elements], here)
    metrics = _fit(torch.tensor([s for row in rows for s in row]), elements, config.lapse)
    found = {name: metrics[f"reward/{name}"] for name in ("loss", "accuracy") if f"reward/{name}" in metrics}
    held = {f"reward/held_out_{name}": value for name, value in found.items()}
    judged = _judged(rows, elements)
    return held | ({"reward/ece": breakdown(judged, lapse=config.lapse)["calibration"]["ece"]} if judged else {})


def _judged(rows: Sequence[Sequence[float]], elements: Sequence[_Element]) -> list[Judged]:
    return [
        Judged(element.prompt, c.labeller, c.pair.distance, row[c.better] - row[c.worse])
        for row, element in zip(rows, elements, strict=True)
        for c in element.compared
        if c.pair.target == 1
    ]


def _report(config: Config, model: Scalar, data: _Data, here: World) -> dict[str, Any]:
    """What reports/reward.json holds, but for the training's own curve."""
    rows = _scores(config, model, [e.tree for e in data.held_out], here)
    judged = _judged(rows, data.held_out)
    away = _judged(_scores(config, model, [e.tree for e in data.strangers], here), data.strangers)
    flat = torch.tensor([s for row in rows for s in row])
    loss = float(_loss(flat, data.held_out, questions=len(rows), lapse=config.lapse)) if rows else None
    return {
        "held_out": breakdown(judged, lapse=config.lapse, seed=config.seed) if judged else None,
        "held_out_loss": loss,
        "held_out_labellers": breakdown(away, lapse=config.lapse, seed=config.seed) if away else None,
        "agreement_ceiling": data.ceiling,
        "questions": {"train": len(data.train), "held_out": len(data.held_out)},
        "pairs": {"train": _count(data.train), "held_out": _count(data.held_out)},
    }


def _normalise(
    config: Config, model: Scalar, tokens: Tokens, data: _Data, shown: Sequence[Demonstration], here: World
) -> str:
    """Sets the offset (and with gain_bias the head's scale); returns what the mean of 0 was taken on."""
    if config.normalise == "demonstrations" and shown:
        some, on = sorted(shown, key=lambda d: d.id)[: config.reference_texts], "demonstrations"
        trees = [reward_tree(tokens, d.prompt, [d.answer], [True], max_length=config.max_length) for d in some]
    else:
        some_elements, on = data.train[: config.reference_texts], "training completions"
        trees = [e.tree for e in some_elements]
    scores = torch.tensor([s for row in _scores(config, model, trees, here) for s in row], dtype=torch.float64)
    if config.normalise == "gain_bias":
        gain, bias = gain_and_bias(scores)
        model.head.weight.data.mul_(gain)
        model.reward_offset = -bias
    else:
        model.reward_offset = RunningMoments.of(scores).mean
    return on


def _count(elements: Sequence[_Element]) -> int:
    return sum(len(e.compared) for e in elements)


def main() -> None:
    """The command line."""
    config = tyro.cli(Config)
    result = run(config)
    leave(world())
    print(describe(result))


if __name__ == "__main__":
    main()
