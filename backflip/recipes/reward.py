"""Stage 4, the reward model: from rankings in the store to a model that scores an answer (P, section 3.5).

    python -m backflip.recipes.reward --store feedback.db --model runs/sft/model --folder runs/reward

A question is one batch element whatever its K: its prompt and its K answers are one tree, each scored once, and its
pairs weigh 1/C(K,2). If several labellers answered it, they share that weight. Held out are whole prompts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import DataError
from backflip.evaluation.preference import Judged, agreement_ceiling, breakdown, preference_calibration
from backflip.feedback.intervals import told
from backflip.feedback.pairs import Ties
from backflip.feedback.store import Snapshot, Store
from backflip.lm import lean, optim
from backflip.lm.backbone import load_causal, load_tokenizer, random_trunk, seed_everything
from backflip.lm.data import epoch_order
from backflip.lm.heads import Scalar, trainable
from backflip.lm.packing import Tree
from backflip.lm.parents import parent_of
from backflip.lm.rankings import Ranking, kwise_loss, ranking, ranking_metrics
from backflip.lm.rewards import MAX_LENGTH, micro_batches, reward_tree, score_trees
from backflip.lm.tokens import Tokens
from backflip.maths.moments import RunningMoments, gain_and_bias
from backflip.recipes.command import command
from backflip.records import Answer, Demonstration, Question, content_id
from backflip.runs import (
    Parent,
    Run,
    RunRecord,
    atomic_folder,
    atomic_write_json,
    open_run,
    progress,
    read_metrics,
    read_run,
    require_finite,
)
from backflip.runs.checkpoint import discard, load_latest, restore_rng, rng_state, save
from backflip.runs.ranks import World, all_gather_objects, average_gradients, shard, world

__all__ = ["Config", "Result", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Trains a reward model on the rankings of a store. The defaults are the paper's, as far as it gives them."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the model will be in its `model`."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL. The run's lineage says which answers were used."""
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
    """The gradient's norm is at most this. 0: not clipped; each weight is stepped in backward, its gradient freed."""
    recompute: bool = False
    """Keeps what enters each layer alone and computes the rest again in backward: less memory, a third more time."""
    max_length: int = 1024
    """Tokens of prompt and answer; a longer prompt loses its beginning. 0: no limit."""
    micro_tokens: int = 4096
    """Tokens a pass; bounds memory."""
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
    """Score at most so many demonstrations, or questions, for the normalisation."""
    checkpoint_every: int = field(default=20, metadata=NOT_FINGERPRINTED)
    """Updates from one checkpoint to the next."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_tokens", "reference_texts", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        for name in ("layers", "lora_rank", "lora_layers", "max_length", "clip_norm"):
            require(getattr(self, name) >= 0, name, seen=getattr(self, name), wanted="0 or more")
        require(0 <= self.seed < 2**32, "seed", seen=self.seed, wanted="0 to below 2^32")
        for name in ("learning_rate", "lora_alpha"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")
        for name in ("lapse", "validation_share"):
            require(0 <= getattr(self, name) < 1, name, seen=getattr(self, name), wanted="a share in [0, 1)")
        possible = self.pick == "last" or self.validation_share > 0
        require(possible, "pick", seen=self.pick, wanted="'last' where validation_share is 0: best is by held-out loss")


@dataclass(frozen=True)
class Result:
    """What a run ends with. `accuracy` ({value, low, high}), `loss` and `ece` are held-out; None if nothing was.

    `answers` is the snapshot of the store that was trained on; `normalised_on` says which texts score 0 on average.
    """

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

    def __str__(self) -> str:
        held = "nothing was held out"
        if self.accuracy:
            held = f"held-out accuracy {told(self.accuracy, '.3f')} on {self.held_out_pairs} pairs"
        return (
            f"reward model in {self.model}: {held}; trained on {self.pairs} pairs of {self.questions} questions, "
            f"answers up to number {self.answers['up_to']}; mean 0 on {self.normalised_on}"
        )


class _Data(NamedTuple):
    """What is trained on; what is held out; and answers by held-out labellers to prompts that were not trained on."""

    tokens: Tokens
    train: list[Ranking]
    held_out: list[Ranking]
    strangers: list[Ranking]
    ceiling: dict[str, float] | None


def run(config: Config, *, as_done: bool = False) -> Result:
    """Trains, reports, normalises and saves; the same folder goes on or is done.

    Answers that were withdrawn since it was done make it other work; with `as_done` it stands.
    Raises DataError where the store has nothing to learn from, ModelError where the model does not serve,
    CheckpointError where the folder is of other work, TrainingDiverged at a number that is not finite.
    """
    here, earlier = world(), read_run(config.folder)
    seed_everything(config.seed)
    with ExitStack() as stack:
        store = stack.enter_context(Store.existing(config.store))
        up_to = all_gather_objects(_up_to(config, earlier, store), here)[0]  # answers may come in between two ranks
        snapshot = store.snapshot(up_to=up_to, project=config.project, purpose=config.purpose)
        shown = sorted(store.demonstrations(project=config.project), key=lambda d: d.id)
        finished = earlier is not None and earlier.status == "done"
        if earlier and finished and as_done:
            snapshot = Snapshot(**earlier.result["answers"])
        data = None if finished else _read(config, store, snapshot)  # before the folder is taken: bad input leaves none
        ledger = _open(stack, config, snapshot, shown) if here.rank == 0 else None
        done, fingerprint = all_gather_objects((ledger.done, ledger.fingerprint) if ledger else (False, ""), here)[0]
        if data and not done:
            model = _model(config, data.tokens, here)
            with lean.seen_rows(model.backbone.trunk, [ranking.tree for ranking in data.train]):
                _train(config, model, data, ledger, fingerprint, here)
            report = _report(config, model, data, here)  # before the normalisation: its gain would hide the fit
            on = _normalise(config, model, data, shown, here)
            if ledger:
                _finish(config, model, ledger, {**report, "normalised_on": on, "answers": asdict(snapshot)})
        result = all_gather_objects(dict(ledger.result) if ledger else {}, here)[0]
    return Result(**result)


def _open(stack: ExitStack, config: Config, snapshot: Snapshot, shown: Sequence[Demonstration]) -> Run:
    answers = {"up_to": snapshot.up_to, "withdrawn": snapshot.withdrawn, "snapshot": snapshot.digest}
    texts = {"sha256": content_id([d.id for d in shown]), "demonstrations": len(shown)}
    parents = [
        parent_of(config.model),
        Parent("answers", config.store, answers),
        Parent("data", config.store, texts),
    ]
    return stack.enter_context(
        open_run(config.folder, recipe="reward", config=config, seed=config.seed, parents=parents)
    )


def _up_to(config: Config, earlier: RunRecord | None, store: Store) -> int:
    """A run that was begun goes on with the answers that it began with, although the store may have more by now."""
    pinned = [p.detail["up_to"] for p in earlier.parents if "up_to" in p.detail] if earlier else []
    if config.up_to is not None:
        return config.up_to
    return int(pinned[0]) if pinned else store.last_sequence()


# --- data ---


def _read(config: Config, store: Store, snapshot: Snapshot) -> _Data:
    """Raises DataError where no pair is left to train on."""
    tokens = Tokens(load_tokenizer(config.model), name=f"the tokenizer of {config.model!r}")
    questions = {q.id: q for q in store.questions(project=config.project, purpose=config.purpose) if q.prompt}
    prompts = {key: q.prompt.id for key, q in questions.items() if q.prompt and q.medium == "text"}
    found = store.answers(up_to=snapshot.up_to, project=config.project, purpose=config.purpose)
    answers = [n.answer for n in found if n.answer.question in prompts and not n.answer.cannot_tell]
    held = _held_out({prompts[a.question] for a in answers}, seed=config.seed, share=config.validation_share)
    known = [a for a in answers if a.labeller.id not in config.held_out_labellers]
    train = _rankings(config, tokens, questions, [a for a in known if prompts[a.question] not in held])
    if not any(c.target == 1 for r in train for c in r.compared):
        raise DataError(
            f"project {config.project!r} has {len(answers)} answers about texts (purpose {config.purpose!r}, up to "
            f"number {snapshot.up_to}) and no pair of them to train on; wanted rankings that prefer something: ask "
            "labellers or import answers, or check project, purpose, validation_share and held_out_labellers"
        )
    rest = [a for a in known if prompts[a.question] in held]
    trained = {r.prompt for r in train}
    strange = [a for a in answers if a.labeller.id in config.held_out_labellers and prompts[a.question] not in trained]
    held_out, strangers = (_rankings(config, tokens, questions, some) for some in (rest, strange))
    return _Data(tokens, train, held_out, strangers, agreement_ceiling(answers))


def _held_out(prompts: set[str], *, seed: int, share: float) -> set[str]:
    """Each prompt by a draw of its own: one that was trained on in an earlier round is never held out in a later one.

    A handful of prompts may all be drawn to one side; then the one nearest to the line goes over.
    """
    draws = {p: int(content_id("held out", seed, p)[:13], 16) / 16**13 for p in prompts}
    held = {p for p in prompts if draws[p] < share}
    if share and len(prompts) > 1 and not held:
        return {min(prompts, key=lambda p: draws[p])}
    return held - {max(prompts, key=lambda p: draws[p])} if held and held == prompts else held


def _rankings(
    config: Config, tokens: Tokens, questions: Mapping[str, Question], answers: Sequence[Answer]
) -> list[Ranking]:
    """One a question that has a pair, in the order of its first answer."""
    by_question: dict[str, list[Answer]] = {}
    for answer in answers:
        by_question.setdefault(answer.question, []).append(answer)
    made = [
        ranking(tokens, questions[key], own, ties=config.ties, max_length=config.max_length)
        for key, own in by_question.items()
    ]
    return [one for one in made if one.compared]


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
    if config.recompute:
        model.backbone.compute_again()
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

    def update(self, number: int, batch: Sequence[Ranking]) -> dict[str, float]:
        """One step on a batch of questions, in passes bounded by tokens; returns the step's metrics."""
        config, started = self.config, time.perf_counter()
        rate = config.learning_rate * self.rate(number)
        optim.set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        mine = shard(batch, self.here)
        scores, norm = [torch.empty(0)], 0.0
        passes = list(micro_batches([r.tree for r in mine], config.micro_tokens, _pad(self.model)))
        at_once = config.clip_norm == 0 and self.here.size == 1  # neither the norm nor other ranks are waited for
        for number, (indices, packed) in enumerate(passes, start=1):
            given = self.model.rewards(packed.to(self.here.device))
            loss = kwise_loss(given, [mine[i] for i in indices], questions=len(batch), lapse=config.lapse)
            if at_once and number == len(passes):
                norm = lean.step_in_backward(loss, self.parameters, self.optimiser)
            else:
                (loss * self.here.size).backward()  # gradients are averaged over ranks
            scores.append(given.detach().cpu())
        if not at_once:
            average_gradients(self.parameters, self.here)
            norm = optim.clip_gradients(self.parameters, config.clip_norm or math.inf, what="reward model's gradient")
            self.optimiser.step()
        parts = all_gather_objects((torch.cat(scores), mine), self.here)
        whole = torch.cat([s for s, _ in parts])
        fit = ranking_metrics(whole, [r for _, own in parts for r in own], lapse=config.lapse)
        metrics = {f"reward/{name}": value for name, value in fit.items()}
        metrics |= {"reward/grad_norm": norm, "reward/learning_rate": rate}
        metrics |= {"reward/tokens": sum(r.tree.length for r in batch), "time/train": time.perf_counter() - started}
        return metrics

    def state(self, best: dict[str, Any]) -> dict[str, Any]:
        parameters = [p.detach() for p in self.parameters]
        return {"parameters": parameters, "optimiser": self.optimiser.state_dict(), "rng": rng_state(), "best": best}

    def restore(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Back to a checkpoint; returns the best weights until then."""
        self.put(state["parameters"])
        self.optimiser.load_state_dict(state["optimiser"])
        restore_rng(state["rng"])
        best: dict[str, Any] = state["best"]
        return best

    def better(self, best: dict[str, Any], loss: float) -> dict[str, Any]:
        """The weights of the lowest held-out loss so far, where they are wanted."""
        if self.config.pick == "last" or (best and best["loss"] <= loss):
            return best
        return {"loss": loss, "parameters": [p.detach().clone() for p in self.parameters]}

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)


def _train(config: Config, model: Scalar, data: _Data, ledger: Run | None, fingerprint: str, here: World) -> None:
    """All epochs, from the last checkpoint on; leaves the picked weights in the model."""
    checkpoints = config.folder / "checkpoints"
    an_epoch = math.ceil(len(data.train) / config.batch)
    total = an_epoch * config.epochs
    parameters = trainable([model])
    optimiser = optim.adam(parameters, rate=config.learning_rate)  # without weight decay: see lean.seen_rows
    trainer = _Trainer(config, model, parameters, optimiser, optim.cosine(total), here)
    kept = load_latest(checkpoints, fingerprint=fingerprint)
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
                best = trainer.better(best, metrics["reward/held_out_loss"])
            require_finite(number + 1, metrics)
            if ledger:
                ledger.metrics.write(number + 1, metrics)
                if (number + 1) % config.checkpoint_every == 0 or number + 1 == total:
                    save(checkpoints, number + 1, trainer.state(best), fingerprint=fingerprint)
            step(note=f"loss {metrics['reward/loss']:.4f}")
    if best:
        trainer.put(best["parameters"])


# --- after training ---


def _pad(model: Scalar) -> int:
    return int(model.backbone.config.pad_token_id)


def _scores(config: Config, model: Scalar, trees: Sequence[Tree], here: World) -> list[list[float]]:
    """Each tree's scores, the work shared among the ranks."""
    parts = all_gather_objects(score_trees(model, shard(trees, here), config.micro_tokens, _pad(model)), here)
    return [parts[i % here.size][i // here.size] for i in range(len(trees))]


def _held_out_metrics(config: Config, model: Scalar, rankings: Sequence[Ranking], here: World) -> dict[str, float]:
    rows = _scores(config, model, [r.tree for r in rankings], here)
    fit = ranking_metrics(torch.tensor([s for row in rows for s in row]), rankings, lapse=config.lapse)
    metrics = {f"reward/held_out_{name}": fit[name] for name in ("loss", "accuracy") if name in fit}
    judged = _judged(rows, rankings)
    return metrics | ({"reward/ece": preference_calibration(judged, lapse=config.lapse).ece} if judged else {})


def _judged(rows: Sequence[Sequence[float]], rankings: Sequence[Ranking]) -> list[Judged]:
    return [
        Judged(one.prompt, c.labeller, c.distance, row[c.better] - row[c.worse])
        for row, one in zip(rows, rankings, strict=True)
        for c in one.compared
        if c.target == 1
    ]


def _report(config: Config, model: Scalar, data: _Data, here: World) -> dict[str, Any]:
    """What is held out, by distance, labeller and group, with its calibration; what labellers themselves agree on."""
    report: dict[str, Any] = {"agreement_ceiling": data.ceiling}
    for name, rankings in (("held_out", data.held_out), ("held_out_labellers", data.strangers)):
        rows = _scores(config, model, [r.tree for r in rankings], here)
        judged, flat = _judged(rows, rankings), torch.tensor([s for row in rows for s in row])
        loss = {"loss": float(kwise_loss(flat, rankings, questions=len(rankings), lapse=config.lapse))} if rows else {}
        report[name] = {**breakdown(judged, lapse=config.lapse, seed=config.seed), **loss} if judged else None
    for name, rankings in (("train", data.train), ("held_out", data.held_out)):
        report[f"{name}_questions"], report[f"{name}_pairs"] = len(rankings), sum(len(r.compared) for r in rankings)
    return report


def _normalise(config: Config, model: Scalar, data: _Data, shown: Sequence[Demonstration], here: World) -> str:
    """Sets the offset, and with gain_bias the head's scale; returns which texts score 0 on average now."""
    if config.normalise == "demonstrations" and shown:
        some, on = shown[: config.reference_texts], "demonstrations"
        trees = [reward_tree(data.tokens, d.prompt, [d.answer], [True], max_length=config.max_length) for d in some]
    else:
        trees, on = [r.tree for r in data.train[: config.reference_texts]], "the completions trained on"
    rows = _scores(config, model, trees, here)
    scores = torch.tensor([s for row in rows for s in row], dtype=torch.float64)
    if config.normalise == "gain_bias":
        gain, bias = gain_and_bias(scores)
        model.head.weight.data.mul_(gain)
        model.reward_offset = -bias
    else:
        model.reward_offset = RunningMoments.of(scores).mean
    return on


def _finish(config: Config, model: Scalar, ledger: Run, report: dict[str, Any]) -> None:
    curve = [{"step": m["step"], "loss": m["reward/loss"]} for m in read_metrics(config.folder)]
    report |= {"offset": model.reward_offset, "loss_curve": curve}
    atomic_write_json(config.folder / "reports" / "reward.json", report)
    with atomic_folder(config.folder / "model") as folder:
        model.save(folder)
    held = report["held_out"]
    result = Result(
        model=str(config.folder / "model"),
        accuracy={name: held["accuracy"][name] for name in ("value", "low", "high")} if held else None,
        loss=held["loss"] if held else None,
        ece=held["calibration"]["ece"] if held else None,
        questions=report["train_questions"],
        pairs=report["train_pairs"],
        held_out_pairs=report["held_out_pairs"],
        offset=model.reward_offset,
        normalised_on=report["normalised_on"],
        answers=report["answers"],
    )
    ledger.finish(asdict(result))
    discard(config.folder / "checkpoints")


def main() -> None:
    """`python -m backflip.recipes.reward`."""
    command(Config, run, description=__doc__)


if __name__ == "__main__":
    main()
