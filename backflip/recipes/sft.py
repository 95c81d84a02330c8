"""Stage 1, supervised fine-tuning: from demonstrations in the store to a policy that imitates them (P, section 3.5).

    python -m backflip.recipes.sft --store feedback.db --model SmolLM2-135M-Instruct --folder runs/sft

The loss falls on the answers alone. Several demonstrations share a row, and none sees another. The policy that people
like best has long overfitted the validation loss (P), so several models are kept on the way, and one of them is picked.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import DataError
from backflip.feedback.store import Store
from backflip.lm import optim
from backflip.lm.backbone import seed_everything
from backflip.lm.data import MicroBatches, demonstration_tree, epoch_order
from backflip.lm.heads import Causal, trainable
from backflip.lm.packing import Tree
from backflip.lm.parents import parent_of
from backflip.lm.pretraining import Documents, text_parents
from backflip.lm.rewards import load_reward
from backflip.lm.sampler import LocalSampler, SamplerConfig, stream_key
from backflip.lm.tokens import Tokens
from backflip.recipes.command import command
from backflip.records import Demonstration, Prompt, content_id
from backflip.runs import Parent, Run, atomic_folder, open_run, progress, require_finite
from backflip.runs.checkpoint import discard, load_latest, save
from backflip.runs.ranks import World, all_gather_objects, average_gradients, barrier, rank_seed, shard, world

__all__ = ["Config", "Kept", "Result", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Fine-tunes a causal model on the demonstrations of a store. The defaults are the paper's, as far as it goes."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the picked model will be in its `model`, all kept ones in its `kept`."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL. The run's lineage says which demonstrations were used."""
    model: str
    """The model to start from, a Transformers folder."""
    project: str = "default"
    """The store's project."""
    prompts: str | None = None
    """A prompt set: demonstrations of its validation prompts are held out, those of its test prompts are left out."""
    validation_share: float = 0.1
    """Without held-out demonstrations in `prompts`: the share of prompts that is held out, by seed and prompt."""
    limit: int | None = None
    """Train on at most so many demonstrations, the first that were given."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_layers: int = 0
    """Put LoRA on the upper so many layers; 0 on all."""
    lora_alpha: float = 32.0
    """LoRA's scale is alpha / rank."""
    epochs: int = 16
    """Passes over the demonstrations (P: 16; 2 for the policy that PPO starts from)."""
    batch: int = 32
    """Examples an update (P: 32)."""
    learning_rate: float = 9.65e-6
    """At the start (P: 9.65e-6); it falls as a cosine to 10 %, without warm-up."""
    dropout: float = 0.2
    """Residual dropout (P: 0.2)."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """The gradient's norm is at most this."""
    pretraining: tuple[Path, ...] = ()
    """Plain text files that are mixed in, so that the policy forgets less."""
    pretraining_share: float = 0.1
    """The share of a batch's examples that are pretraining text, if there is any (P: 0.1 before PPO)."""
    pretraining_length: int = 256
    """Tokens of an example of pretraining text."""
    max_length: int = 1024
    """Tokens of prompt and answer; a longer prompt loses its beginning. 0: no limit."""
    row_length: int = 0
    """Tokens of a packed row; 0: as long as the longest example of a pass."""
    micro_tokens: int = 4096
    """Tokens a pass; bounds memory."""
    keep: int = 4
    """Models kept, evenly spaced, the last one included; 0 keeps one an epoch."""
    pick_by: Literal["last", "loss", "reward"] = "last"
    """Which kept model becomes `model`: the last, the lowest validation loss, or the highest mean reward (P)."""
    reward_model: str | None = None
    """For pick_by reward: a reward model's folder, or python:module:function."""
    pick_prompts: int = 64
    """For pick_by reward: at most so many validation prompts."""
    pick_tokens: int = 128
    """For pick_by reward: tokens of an answer."""
    pick_temperature: float = 0.0
    """For pick_by reward: 0 is greedy."""
    checkpoint_every: int = field(default=50, metadata=NOT_FINGERPRINTED)
    """Updates from one checkpoint to the next."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_tokens", "pick_prompts", "pick_tokens", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.limit is None or self.limit >= 1, "limit", seen=self.limit, wanted="1 or more, or none")
        for name in (
            "lora_rank",
            "lora_layers",
            "max_length",
            "row_length",
            "keep",
            "pick_temperature",
            "weight_decay",
        ):
            require(getattr(self, name) >= 0, name, seen=getattr(self, name), wanted="0 or more")
        require(0 <= self.seed < 2**32, "seed", seen=self.seed, wanted="0 to below 2^32")
        for name in ("learning_rate", "clip_norm", "lora_alpha"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")
        for name in ("validation_share", "dropout", "pretraining_share"):
            require(0 <= getattr(self, name) < 1, name, seen=getattr(self, name), wanted="a share in [0, 1)")
        require(self.pretraining_length >= 2, "pretraining_length", seen=self.pretraining_length, wanted="2 or more")
        room = self.documents < self.batch
        require(room, "batch", seen=self.batch, wanted=f"more than its {self.documents} examples of pretraining text")
        named = self.pick_by != "reward" or self.reward_model is not None
        require(named, "reward_model", seen=self.reward_model, wanted="a reward model where pick_by is 'reward'")

    @property
    def documents(self) -> int:
        """Examples of pretraining text in a batch: at least one where there are files and a share."""
        return max(1, round(self.batch * self.pretraining_share)) if self.pretraining and self.pretraining_share else 0

    @property
    def demonstrations(self) -> int:
        """Demonstrations in a batch."""
        return self.batch - self.documents


class Kept(NamedTuple):
    """A model kept on the way. Its loss and reward are on validation prompts; None if there are none, or not asked."""

    step: int
    folder: str
    loss: float | None
    reward: float | None


@dataclass(frozen=True)
class Result:
    """What a run ends with: the picked `model`, the update that it is from, and all that were `kept`."""

    model: str
    step: int
    steps: int
    pick_by: str
    loss: float | None
    reward: float | None
    demonstrations: int
    validation: int
    kept: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        judged = [
            f"{name} {value:.3f}" for name, value in (("loss", self.loss), ("reward", self.reward)) if value is not None
        ]
        found = f", validation {' and '.join(judged)}" if judged else ""
        return (
            f"policy in {self.model}: update {self.step} of {self.steps}, picked by {self.pick_by} among "
            f"{len(self.kept)}{found}; trained on {self.demonstrations} demonstrations"
        )


class _Data(NamedTuple):
    train: list[Demonstration]
    validation: list[Demonstration]
    prompts: list[Prompt]  # that a policy is tried on


def run(config: Config, *, after_step: Callable[[int], None] | None = None) -> Result:
    """Trains, keeps, picks; the same folder goes on or is done. `after_step` is called with the updates done so far.

    Raises DataError where the store has nothing to learn from, ModelError where the model does not serve,
    CheckpointError where the folder is of other work, TrainingDiverged at a number that is not finite.
    """
    here = world()
    with ExitStack() as stack:
        data = _read(config)
        ledger = stack.enter_context(_open(config, data)) if here.rank == 0 else None
        done, fingerprint = all_gather_objects((ledger.done, ledger.fingerprint) if ledger else (False, ""), here)[0]
        if not done:
            trainer = _Trainer(config, data, here)
            kept = _train(trainer, ledger, fingerprint, after_step)
            if ledger:
                ledger.finish(asdict(_pick(config, data, kept, steps=trainer.steps)))
                discard(config.folder / "checkpoints")
        result = all_gather_objects(dict(ledger.result) if ledger else {}, here)[0]
    return Result(**result)


def _open(config: Config, data: _Data) -> AbstractContextManager[Run]:
    ids = [[d.id for d in part] for part in (data.train, data.validation)]
    texts = {"sha256": content_id(ids, [p.id for p in data.prompts]), "demonstrations": len(data.train)}
    parents = [parent_of(config.model), Parent("data", config.store, texts)]
    if config.pick_by == "reward" and config.reward_model:
        parents.append(parent_of(config.reward_model))
    if config.documents:
        parents += text_parents(config.pretraining)
    return open_run(config.folder, recipe="sft", config=config, seed=config.seed, parents=parents)


# --- data ---


def _read(config: Config) -> _Data:
    """Raises DataError where no demonstration is left to train on."""
    with Store.existing(config.store) as store:
        shown = list(store.demonstrations(project=config.project))
        sets = {
            s: list(store.prompts(name=config.prompts, split=s)) if config.prompts else []
            for s in ("validation", "test")
        }
    test = {p.id for p in sets["test"]}
    usable = [d for d in shown if d.prompt.id not in test]
    held = {p.id for p in sets["validation"]} & {d.prompt.id for d in usable}
    held = held or _held_out(sorted({d.prompt.id for d in usable}), seed=config.seed, share=config.validation_share)
    train = [d for d in usable if d.prompt.id not in held][: config.limit]
    if not train:
        raise DataError(
            f"project {config.project!r} of {config.store} has {len(shown)} demonstrations, and none is left to "
            f"train on without those of {len(test)} test prompts and {len(held)} validation prompts; add "
            "demonstrations, or check project, prompts and validation_share"
        )
    validation = [d for d in usable if d.prompt.id in held]
    prompts = sets["validation"] or list({d.prompt.id: d.prompt for d in validation}.values())
    if config.pick_by != "last" and not (prompts if config.pick_by == "reward" else validation):
        raise DataError(
            f"pick_by is {config.pick_by!r} and nothing is held out to judge by; wanted validation prompts: name a "
            "prompt set that has some, or raise validation_share"
        )
    return _Data(train, validation, prompts[: config.pick_prompts])


def _held_out(prompts: Sequence[str], *, seed: int, share: float) -> set[str]:
    """A share of the prompts (ids): at least one, and never all."""
    count = min(max(1, round(share * len(prompts))), len(prompts) - 1) if share and prompts else 0
    return set(sorted(prompts, key=lambda p: content_id("held out", seed, p))[:count])


def _answer_tokens(trees: Sequence[Tree]) -> int:
    """Tokens that the loss falls on: of a plain document all but the first."""
    return sum(len(r) - (not tree.prompt) for tree in trees for r in tree.responses)


# --- training ---


class _Trainer:
    """The model in training. What an update does depends on its number and the state that a checkpoint holds alone."""

    def __init__(self, config: Config, data: _Data, here: World) -> None:
        seed_everything(config.seed)
        self.config, self.here = config, here
        self.tokens = Tokens.load(config.model)
        self.train, self.validation = (
            [demonstration_tree(self.tokens, d, max_length=config.max_length) for d in part]
            for part in (data.train, data.validation)
        )
        self.documents = (
            Documents(self.tokens, config.pretraining, length=config.pretraining_length, seed=config.seed)
            if config.documents
            else None
        )
        self.steps_an_epoch = math.ceil(len(self.train) / config.demonstrations)
        self.steps = config.epochs * self.steps_an_epoch
        self.model = _model(config, self.tokens, here)
        self.parameters: list[nn.Parameter] = trainable([self.model])
        self.optimiser = optim.adam(self.parameters, rate=config.learning_rate, weight_decay=config.weight_decay)
        self.rate = optim.cosine(self.steps)

    def batch(self, step: int) -> tuple[list[Tree], list[Tree]]:
        """The demonstrations and the pretraining examples of an update; an epoch's last batch may be smaller."""
        size, count = self.config.demonstrations, self.config.documents
        epoch, place = divmod(step, self.steps_an_epoch)
        order = epoch_order(len(self.train), seed=self.config.seed, epoch=epoch)[place * size : (place + 1) * size]
        return [self.train[i] for i in order], self.documents.take(step * count, count) if self.documents else []

    def update(self, step: int) -> dict[str, float]:
        """One step down the mean loss of all answer tokens of the batch; returns the step's metrics."""
        config, started = self.config, time.perf_counter()
        rate = config.learning_rate * self.rate(step)
        optim.set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        self.model.train()
        torch.manual_seed(rank_seed(config.seed, self.here.rank) * 1_000_003 + step)  # dropout's draws: the step's own
        parts = self.batch(step)
        counts = [_answer_tokens(trees) for trees in parts]
        total = max(sum(counts), 1)
        losses = [self._sum(self._backward(shard(trees, self.here), total)) for trees in parts]
        average_gradients(self.parameters, self.here)
        norm = optim.clip_gradients(self.parameters, config.clip_norm, what="SFT gradient")
        self.optimiser.step()
        tokens, seconds = sum(tree.length for trees in parts for tree in trees), time.perf_counter() - started
        metrics = {"sft/loss": sum(losses) / total, "sft/learning_rate": rate, "sft/grad_norm": norm}
        if parts[1]:
            metrics["sft/demonstration_loss"] = losses[0] / max(counts[0], 1)
            metrics["sft/pretraining_loss"] = losses[1] / max(counts[1], 1)
        return metrics | {"sft/tokens": tokens, "time/train": seconds, "sft/tokens_per_second": tokens / seconds}

    def _backward(self, trees: Sequence[Tree], total: int) -> float:
        """Adds these trees' part of the gradient; returns their summed loss."""
        summed = 0.0
        for _, packed in self._passes(trees):
            loss = -self.model.scores(packed.to(self.here.device)).logprobs.sum()
            (loss * self.here.size / total).backward()  # gradients are averaged over ranks
            summed += float(loss.detach())
        return summed

    def _passes(self, trees: Sequence[Tree]) -> MicroBatches:
        row = self.config.row_length or max((tree.length for tree in trees), default=0)
        return MicroBatches(trees, tokens=self.config.micro_tokens, row_length=row, pad=self.tokens.pad)

    def _sum(self, value: float) -> float:
        return sum(all_gather_objects(value, self.here))

    @torch.no_grad()
    def validation_loss(self) -> dict[str, float]:
        """The mean loss of the held-out answers' tokens, without dropout; nothing where nothing is held out."""
        if not self.validation:
            return {}
        self.model.eval()
        passes = self._passes(shard(self.validation, self.here))
        summed = sum(float(self.model.scores(p.to(self.here.device)).logprobs.sum()) for _, p in passes)
        return {"sft/validation_loss": -self._sum(summed) / max(_answer_tokens(self.validation), 1)}

    def state(self, kept: Sequence[Kept]) -> dict[str, Any]:
        return {
            "parameters": [p.detach() for p in self.parameters],
            "optimiser": self.optimiser.state_dict(),
            "kept": [(k.step, k.loss) for k in kept],
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> list[Kept]:
        """Back to a checkpoint; returns what was kept until then."""
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        return [Kept(step, str(_place(self.config, step)), loss, None) for step, loss in state["kept"]]


def _model(config: Config, tokens: Tokens, here: World) -> Causal:
    model = Causal.load(config.model, device=str(here.device), dropout=config.dropout)
    model.requires_grad_(True)
    model.adapt(rank=config.lora_rank, layers=config.lora_layers, alpha=config.lora_alpha)
    settings = model.backbone.config
    settings.pad_token_id, settings.eos_token_id = tokens.pad, tokens.eos  # plain `generate` then stops where ours does
    return model


def _marks(trainer: _Trainer) -> set[int]:
    """After how many updates a model is kept."""
    count = trainer.config.keep or trainer.config.epochs
    return {trainer.steps * (k + 1) // count for k in range(count)} - {0}


def _train(
    trainer: _Trainer, ledger: Run | None, fingerprint: str, after_step: Callable[[int], None] | None
) -> list[Kept]:
    """Every update from the last checkpoint on; returns what was kept."""
    config, marks, folder = trainer.config, _marks(trainer), trainer.config.folder
    checkpoint = load_latest(folder / "checkpoints", fingerprint=fingerprint)
    kept = trainer.restore(checkpoint.state) if checkpoint else []
    done = checkpoint.step if checkpoint else 0
    if ledger:
        ledger.metrics.truncate(done)
    with progress(trainer.steps, "SFT", done=done) as step:
        for number in range(done + 1, trainer.steps + 1):
            metrics = trainer.update(number - 1)
            if number in marks:
                metrics |= trainer.validation_loss()
            require_finite(number, metrics)
            if number in marks:
                kept.append(_keep(trainer, number, metrics.get("sft/validation_loss")))
            if ledger:
                ledger.metrics.write(number, metrics)
                if number in marks or number % config.checkpoint_every == 0:
                    save(folder / "checkpoints", number, trainer.state(kept), fingerprint=fingerprint)
            step(note=f"loss {metrics['sft/loss']:.3f}")
            if after_step:
                after_step(number)
    return kept


def _place(config: Config, step: int) -> Path:
    return config.folder / "kept" / f"step-{step:06d}"


def _keep(trainer: _Trainer, step: int, loss: float | None) -> Kept:
    folder = _place(trainer.config, step)
    if trainer.here.rank == 0:
        with atomic_folder(folder) as partial:
            trainer.model.save(partial)
    barrier(trainer.here)
    return Kept(step, str(folder), loss, None)


# --- picking ---


def _pick(config: Config, data: _Data, kept: Sequence[Kept], *, steps: int) -> Result:
    """Puts the chosen one of the kept models into `model`; of equals the later."""
    if config.pick_by == "reward":
        kept = [k._replace(reward=_reward(config, k, data.prompts)) for k in kept]
    worth: dict[str, Callable[[Kept], float]] = {
        "last": lambda k: k.step,
        "loss": lambda k: -math.inf if k.loss is None else -k.loss,
        "reward": lambda k: -math.inf if k.reward is None else k.reward,
    }
    best = max(reversed(kept), key=worth[config.pick_by])
    with atomic_folder(config.folder / "model") as folder:
        shutil.copytree(best.folder, folder, copy_function=_link, dirs_exist_ok=True)
    return Result(
        model=str(config.folder / "model"),
        step=best.step,
        steps=steps,
        pick_by=config.pick_by,
        loss=best.loss,
        reward=best.reward,
        demonstrations=len(data.train),
        validation=len(data.validation),
        kept=[k._asdict() for k in kept],
    )


def _reward(config: Config, kept: Kept, prompts: Sequence[Prompt]) -> float:
    """The mean reward of a kept model's answers to the validation prompts. Text goes in: tokenizers may differ."""
    assert config.reward_model is not None
    device = str(world().device)
    model = Causal.load(kept.folder, device=device)
    tokens = Tokens(model.tokenizer, name=f"the tokenizer of {kept.folder!r}")
    settings = SamplerConfig(max_tokens=config.pick_tokens, temperature=config.pick_temperature, seed=config.seed)
    keys = [stream_key(p.id) for p in prompts]
    groups = LocalSampler(model, settings).sample([tokens.opening(p) for p in prompts], samples=1, keys=keys)
    texts, ended = ([[tokens.decode(c.tokens) for c in g] for g in groups], [[c.ended for c in g] for g in groups])
    scores = load_reward(config.reward_model, device=device).scores(prompts, texts, ended=ended)
    return sum(row[0] for row in scores) / len(scores)


def _link(source: str, target: str) -> None:
    """A second name for the same file costs no space; files of a model are replaced, never written over."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main() -> None:
    """`python -m backflip.recipes.sft`."""
    command(Config, run, description=__doc__)


if __name__ == "__main__":
    main()
