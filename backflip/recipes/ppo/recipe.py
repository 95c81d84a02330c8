"""The PPO run: update after update, judged, recorded and checkpointed, resumable at any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from backflip.errors import CheckpointError, DataError
from backflip.feedback.store import Store
from backflip.lm.backbone import seed_everything
from backflip.lm.rewards import Rewards, weighted
from backflip.lm.sampler import Sampler
from backflip.lm.specs import PYTHON
from backflip.recipes.command import command
from backflip.recipes.ppo.algorithm import gather, learn, rollout
from backflip.recipes.ppo.config import Config, Result
from backflip.recipes.ppo.frozen import Frozen
from backflip.recipes.ppo.trainer import Trainer
from backflip.records import Prompt, content_id
from backflip.runs.checkpoint import load_latest, save
from backflip.runs.files import atomic_folder
from backflip.runs.ledger import Run, open_run
from backflip.runs.lineage import Parent, read_run
from backflip.runs.metrics import require_finite
from backflip.runs.progress import Step, progress
from backflip.runs.ranks import World, all_gather_objects, rank_seed, shard, world

__all__ = ["main", "run"]

_VALIDATION = 1 << 40  # random streams of validation prompts: beyond any training visit's


def run(
    config: Config,
    *,
    reward: Rewards | None = None,
    judge: Rewards | None = None,
    sampler: Sampler | None = None,
    after_update: Callable[[Trainer], None] | None = None,
) -> Result:
    """Trains a policy; goes on where an earlier call in the same folder stopped.

    `reward`, `judge` and `sampler` replace what the configuration names. With several ranks each calls this; rank 0
    alone writes. Raises ConfigError, ModelError, DataError for what cannot start (nothing is written then),
    CheckpointError where the folder is of other work, TrainingDiverged for a loss or score that is not finite.
    """
    ranks = world()
    prompts = _prompts(config, config.split)
    validation = _prompts(config, config.judge_split) if judge or config.judge else []
    parents = _parents(config, prompts, validation)
    earlier = read_run(config.folder)
    trainer = None if earlier and earlier.status == "done" else _trainer(config, ranks, reward, judge, sampler)
    with ExitStack() as stack:
        opened = open_run(config.folder, recipe="ppo", config=config, seed=config.seed, parents=parents)
        run = stack.enter_context(opened) if ranks.rank == 0 else None
        done, fingerprint = all_gather_objects((run.done, run.fingerprint) if run else (False, ""), ranks)[0]
        if not done:
            assert trainer is not None  # a folder's work is never undone
            _resume(trainer, run, fingerprint)
            _train(trainer, run, prompts, validation, after_update)
            result = _finish(trainer)
            if run:
                run.finish(vars(result))
        return Result(**all_gather_objects(dict(run.result) if run else {}, ranks)[0])


def _trainer(
    config: Config, ranks: World, reward: Rewards | None, judge: Rewards | None, sampler: Sampler | None
) -> Trainer:
    """Models are drawn from the shared seed, so that adapters start equal; from then on each rank has its own."""

    def frozen(given: Rewards | None, specs: Sequence[tuple[str, float]]) -> Frozen[Rewards]:
        load = (lambda: given) if given else (lambda: weighted(specs, device=str(ranks.device)))
        return Frozen(load, keep=not config.reload_frozen)

    seed_everything(config.seed)
    judges = frozen(judge, config.judge) if judge or config.judge else None
    trainer = Trainer(config, ranks, reward=frozen(reward, config.reward), judge=judges, sampler=sampler)
    seed_everything(rank_seed(config.seed, ranks.rank))
    return trainer


def _train(
    trainer: Trainer,
    run: Run | None,
    prompts: Sequence[Prompt],
    validation: Sequence[Prompt],
    after_update: Callable[[Trainer], None] | None,
) -> None:
    config = trainer.config
    with _progress(trainer) as step:
        while trainer.update < config.updates and not trainer.stopped:
            episodes = rollout(trainer, prompts)
            metrics = episodes.metrics | learn(trainer, episodes)
            trainer.update += 1
            metrics |= _judge(trainer, validation)
            _record(trainer, run, metrics)
            step(note=f"score {metrics['objective/score']:.2f}, KL {metrics['objective/kl']:.1f}")
            if after_update:
                after_update(trainer)


def _progress(trainer: Trainer) -> AbstractContextManager[Step]:
    if trainer.ranks.rank:
        return nullcontext(_silent)
    return progress(trainer.config.updates, "PPO", done=trainer.update)


def _silent(advance: int = 1, *, note: str = "") -> None:
    """The progress of a rank that nobody looks at."""


def _judge(trainer: Trainer, validation: Sequence[Prompt]) -> dict[str, float]:
    """Every `judge_every` updates: the held-out judge's mean on validation prompts; the best policy so far is kept."""
    if trainer.judge is None or trainer.update % trainer.config.judge_every:
        return {}
    share = shard(list(enumerate(validation)), trainer.ranks)
    prompts = [prompt for _, prompt in share]
    ids, keys = [trainer.tokens.prompt(prompt) for prompt in prompts], [_VALIDATION + i for i, _ in share]
    with trainer.ema.applied():
        sampled = trainer.sampler.sample(ids, samples=1, keys=keys)
        texts = [[trainer.tokens.decode(group[0].tokens)] for group in sampled]
        with trainer.judge.use() as judge:
            scores = judge.scores(prompts, texts, ended=[[group[0].ended] for group in sampled])
            del judge  # may be the last hold on it
        everywhere = [score for (score,) in gather(scores, trainer.ranks)]
        mean = sum(everywhere) / len(everywhere)
        if mean > trainer.best:
            trainer.best, trainer.best_update = mean, trainer.update
            _save_policy(trainer, trainer.config.folder / "best")
    return {"judge/score": mean}


def _save_policy(trainer: Trainer, folder: Path) -> None:
    if trainer.ranks.rank == 0:
        with atomic_folder(folder) as partial:
            trainer.policy.save(partial)


def _record(trainer: Trainer, run: Run | None, metrics: dict[str, float]) -> None:
    """Writes what the update saw; then, and only then, a checkpoint that has seen it."""
    config = trainer.config
    require_finite(trainer.update, {k: v for k, v in metrics.items() if k != "value/explained_variance"})
    budget = config.kl.budget
    if budget is not None and metrics["objective/kl"] > budget:
        trainer.stopped = "kl budget"
    if run:
        run.metrics.write(trainer.update, metrics)
    last = trainer.update == config.updates or bool(trainer.stopped)
    if last or trainer.update % config.checkpoint_every == 0:
        state = trainer.state()
        if run:
            save(run.folder / "checkpoints", trainer.update, state, fingerprint=run.fingerprint)


def _resume(trainer: Trainer, run: Run | None, fingerprint: str) -> None:
    """Takes up the newest checkpoint; raises CheckpointError where ranks do not see the same one."""
    checkpoint = load_latest(trainer.config.folder / "checkpoints", fingerprint=fingerprint)
    if checkpoint is not None:
        trainer.load(checkpoint.step, checkpoint.state)
    seen = all_gather_objects(trainer.update, trainer.ranks)
    if len(set(seen)) > 1:
        raise CheckpointError(
            f"the ranks found checkpoints of updates {seen} in {trainer.config.folder}; wanted the same on each: "
            "put the run folder where all of them can read it"
        )
    if run:
        run.metrics.truncate(trainer.update)


def _finish(trainer: Trainer) -> Result:
    """Puts the best policy by the held-out judge, or else the last (averaged) one, in `model`."""
    folder = trainer.config.folder
    if not trainer.best_update:
        with trainer.ema.applied():
            _save_policy(trainer, folder / "model")
    elif trainer.ranks.rank == 0 and (folder / "best").exists():  # else it was renamed before a kill
        (folder / "best").rename(folder / "model")
    return Result(
        model=str(folder / "model"),
        updates=trainer.update,
        best_update=trainer.best_update or trainer.update,
        judge=trainer.best if trainer.best_update else None,
        stopped=trainer.stopped or "finished",
    )


def _prompts(config: Config, split: str) -> list[Prompt]:
    with Store.open(config.store) as store:
        prompts = list(store.prompts(name=config.prompts, split=split))
    if not prompts:
        raise DataError(
            f"prompt set {config.prompts!r} in {config.store} has no prompts in split {split!r}; "
            "add some (`backflip data prompts`), or name another set or split"
        )
    return prompts


def _parents(config: Config, prompts: Sequence[Prompt], validation: Sequence[Prompt]) -> list[Parent]:
    models = [str(config.policy), *(spec for spec, _ in (*config.reward, *config.judge))]
    models += [str(config.value)] if config.value else []
    parents = [Parent("data" if ref.startswith(PYTHON) else "model", ref) for ref in models]
    for split, chosen in ((config.split, prompts), (config.judge_split, validation)):
        if chosen:
            digest = content_id("prompts", [prompt.id for prompt in chosen])
            parents.append(Parent("data", f"{config.store}#{config.prompts}/{split}", {"sha256": digest}))
    return parents + [Parent("data", str(path), {"sha256": _digest(path)}) for path in config.ptx.text]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"ptx.text {path} cannot be read ({error}); wanted a UTF-8 text file") from error


def main() -> None:
    """`python -m backflip.recipes.ppo`."""
    command(Config, run, description=__doc__)
