"""The PPO run: update after update, judged, recorded and checkpointed, resumable at any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from backflip.errors import DataError
from backflip.feedback.store import Store
from backflip.lm.backbone import seed_everything
from backflip.lm.rewards import Rewards, weighted
from backflip.lm.sampler import Sampler
from backflip.recipes.ppo.algorithm import learn, mean_over, rollout
from backflip.recipes.ppo.config import Config, Result
from backflip.recipes.ppo.trainer import Trainer
from backflip.records import Prompt, content_id
from backflip.runs.checkpoint import load_latest, save
from backflip.runs.files import atomic_folder
from backflip.runs.ledger import Run, open_run
from backflip.runs.lineage import Parent
from backflip.runs.metrics import require_finite
from backflip.runs.progress import progress
from backflip.runs.ranks import world

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

    `reward`, `judge` and `sampler` replace what the configuration names. Raises ConfigError, ModelError, DataError for
    what cannot start, TrainingDiverged for a loss or score that is not finite.
    """
    seed_everything(config.seed)
    prompts = _prompts(config, config.split)
    reward = reward or weighted(config.reward)
    judge = judge or (weighted(config.judge) if config.judge else None)
    validation = _prompts(config, config.judge_split) if judge else []
    with open_run(
        config.folder, recipe="ppo", config=config, seed=config.seed, parents=_parents(config, prompts)
    ) as run:
        if run.done:
            return Result(**run.result)
        trainer = Trainer(config, world(), reward=reward, judge=judge, sampler=sampler)
        _resume(trainer, run)
        with progress(config.updates, "PPO", done=trainer.update) as step:
            while trainer.update < config.updates and not trainer.stopped:
                episodes = rollout(trainer, prompts)
                metrics = episodes.metrics | learn(trainer, episodes)
                trainer.update += 1
                metrics |= _judge(trainer, run, validation)
                _record(trainer, run, metrics)
                step(note=f"score {metrics['objective/score']:.2f}, KL {metrics['objective/kl']:.1f}")
                if after_update:
                    after_update(trainer)
        result = _finish(trainer, run)
        run.finish(vars(result))
        return result


def _judge(trainer: Trainer, run: Run, validation: Sequence[Prompt]) -> dict[str, float]:
    """Every `judge_every` updates: the held-out judge's mean on validation prompts; the best policy so far is kept."""
    config = trainer.config
    if trainer.judge is None or trainer.update % config.judge_every:
        return {}
    ids = [trainer.tokens.prompt(prompt) for prompt in validation]
    with trainer.ema.applied():
        groups = trainer.sampler.sample(ids, samples=1, keys=[_VALIDATION + i for i in range(len(ids))])
        texts = [[trainer.tokens.decode(group[0].tokens)] for group in groups]
        ended = [[group[0].ended] for group in groups]
        scores = trainer.judge.scores(validation, texts, ended=ended)
        mean = sum(score for (score,) in scores) / len(scores)
        if mean > trainer.best:
            trainer.best, trainer.best_update = mean, trainer.update
            _save_policy(trainer, run.folder / "best")
    return {"judge/score": mean}


def _save_policy(trainer: Trainer, folder: Path) -> None:
    if trainer.ranks.rank == 0:
        with atomic_folder(folder) as partial:
            trainer.policy.save(partial)


def _record(trainer: Trainer, run: Run, metrics: dict[str, float]) -> None:
    """Writes what the update saw; then, and only then, a checkpoint that has seen it."""
    config = trainer.config
    metrics = mean_over(trainer.ranks, metrics)
    require_finite(trainer.update, {k: v for k, v in metrics.items() if k != "value/explained_variance"})
    budget = config.kl.budget
    if budget is not None and metrics["objective/kl"] > budget:
        trainer.stopped = "kl budget"
    run.metrics.write(trainer.update, metrics)
    last = trainer.update == config.updates or bool(trainer.stopped)
    if last or trainer.update % config.checkpoint_every == 0:
        save(run.folder / "checkpoints", trainer.update, trainer.state(), fingerprint=run.fingerprint)


def _resume(trainer: Trainer, run: Run) -> None:
    checkpoint = load_latest(run.folder / "checkpoints", fingerprint=run.fingerprint)
    if checkpoint is not None:
        trainer.load(checkpoint.step, checkpoint.state)
    run.metrics.truncate(trainer.update)


def _finish(trainer: Trainer, run: Run) -> Result:
    """Puts the best policy by the held-out judge, or else the last (averaged) one, in `model`."""
    best = run.folder / "best"
    if not trainer.best_update:
        with trainer.ema.applied():
            _save_policy(trainer, run.folder / "model")
    elif trainer.ranks.rank == 0 and best.exists():
        best.rename(run.folder / "model")
    judged = trainer.best if trainer.best_update else None
    return Result(
        model=str(run.folder / "model"),
        updates=trainer.update,
        best_update=trainer.best_update or trainer.update,
        judge=judged,
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


def _parents(config: Config, prompts: Sequence[Prompt]) -> list[Parent]:
    models = [str(config.policy), *(spec for spec, _ in config.reward), *([str(config.value)] if config.value else [])]
    digest = content_id("prompts", [prompt.id for prompt in prompts])
    named = f"{config.store}#{config.prompts}/{config.split}"
    return [*(Parent("model", ref) for ref in models), Parent("data", named, {"sha256": digest})]


def main() -> None:
    """`python -m backflip.recipes.ppo`."""
    result = run(tyro.cli(Config))
    print(f"policy: {result.model} (update {result.best_update} of {result.updates}, {result.stopped})")
