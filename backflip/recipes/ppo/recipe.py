"""The PPO run: update after update, judged, recorded and checkpointed, resumable at any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from pathlib import Path

from backflip.errors import CheckpointError
from backflip.feedback.store import Store
from backflip.lm.backbone import seed_everything
from backflip.lm.parents import parents_of
from backflip.lm.pretraining import text_parents
from backflip.lm.rewards import Rewards, weighted
from backflip.lm.sampler import Sampler
from backflip.recipes.command import command
from backflip.recipes.ppo.algorithm import Rollout, gather, learn, rollout
from backflip.recipes.ppo.config import Config, Result
from backflip.recipes.ppo.frozen import Frozen
from backflip.recipes.ppo.trainer import Trainer
from backflip.records import Prompt, content_id
from backflip.runs.checkpoint import discard, load_latest, save
from backflip.runs.files import atomic_folder, replace_folder
from backflip.runs.ledger import Run, open_run
from backflip.runs.lineage import Parent, read_run
from backflip.runs.metrics import require_finite
from backflip.runs.progress import Step, progress
from backflip.runs.ranks import World, all_gather_objects, rank_seed, shard, world
from backflip.runs.texts import Written, append_texts, truncate_texts

__all__ = ["main", "run"]

_VALIDATION = 1 << 40  # random streams of validation prompts: beyond any training visit's
_SHOWN, _TIMES = 2, 32  # texts for people: so many at a time, about so often in a run


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
    with Store.existing(config.store) as store:
        prompts = store.some_prompts(name=config.prompts, split=config.split)
        judged = judge or config.judge.spec
        validation = store.some_prompts(name=config.prompts, split=config.judge.split) if judged else []
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
                discard(config.folder / "checkpoints")
        return Result(**all_gather_objects(dict(run.result) if run else {}, ranks)[0])


def _trainer(
    config: Config, ranks: World, reward: Rewards | None, judge: Rewards | None, sampler: Sampler | None
) -> Trainer:
    """Models are drawn from the shared seed, so that adapters start equal; from then on each rank has its own."""

    def frozen(given: Rewards | None, specs: Sequence[tuple[str, float]], *, worst: bool = False) -> Frozen[Rewards]:
        load = (lambda: given) if given else (lambda: weighted(specs, worst=worst, device=str(ranks.device)))
        return Frozen(load, keep=not config.reload_frozen)

    seed_everything(config.seed)
    judges = frozen(judge, config.judge.spec) if judge or config.judge.spec else None
    trainer = Trainer(
        config,
        ranks,
        reward=frozen(reward, config.reward, worst=config.combine == "worst"),
        judge=judges,
        sampler=sampler,
    )
    seed_everything(rank_seed(config.seed, ranks.rank))
    return trainer


def _train(
    trainer: Trainer,
    run: Run | None,
    prompts: Sequence[Prompt],
    validation: Sequence[Prompt],
    after_update: Callable[[Trainer], None] | None,
) -> None:
    if trainer.judge and not trainer.update:
        _record(trainer, run, _judge(trainer, validation, run))  # so that the best is never worse than the start
    with _progress(trainer) as step:
        while not trainer.over:
            episodes = rollout(trainer, prompts)
            metrics = episodes.metrics | learn(trainer, episodes)
            trainer.update += 1
            _show(trainer, episodes, run)
            _heed_budget(trainer, metrics["objective/kl"])
            if trainer.judge and (trainer.over or trainer.update % trainer.config.judge.every == 0):
                metrics |= _judge(trainer, validation, run)
            _record(trainer, run, metrics)
            _checkpoint(trainer, run)
            step(note=f"score {metrics['objective/score']:z.2f}, KL {metrics['objective/kl']:z.1f}")
            if after_update:
                after_update(trainer)


def _progress(trainer: Trainer) -> AbstractContextManager[Step]:
    if trainer.ranks.rank:
        return nullcontext(_silent)
    return progress(trainer.config.updates, "PPO", done=trainer.update)


def _silent(advance: int = 1, *, note: str = "") -> None:
    """The progress of a rank that nobody looks at."""


def _show(trainer: Trainer, episodes: Rollout, run: Run | None) -> None:
    """Writes down a few of the update's episodes, now and then, for people to read."""
    samples, every = trainer.config.samples, max(1, trainer.config.updates // _TIMES)
    if run and (trainer.update == 1 or trainer.update % every == 0):
        firsts = zip(episodes.prompts, episodes.trees, range(0, len(episodes.raw), samples), strict=True)
        append_texts(
            run.folder,
            [
                Written.to(
                    prompt,
                    step=trainer.update,
                    text=trainer.tokens.decode(tree.responses[0]),
                    ended=episodes.ended[first],
                    score=episodes.raw[first],
                )
                for prompt, tree, first in islice(firsts, _SHOWN)
            ],
        )


def _judge(trainer: Trainer, validation: Sequence[Prompt], run: Run | None) -> dict[str, float]:
    """The held-out judge's mean on validation prompts; the best policy so far is kept, and a few texts are shown."""
    assert trainer.judge is not None
    share = shard(list(enumerate(validation)), trainer.ranks)
    prompts = [prompt for _, prompt in share]
    ids, keys = [trainer.tokens.opening(prompt) for prompt in prompts], [_VALIDATION + i for i, _ in share]
    with trainer.ema.applied():
        sampled = trainer.sampler.sample(ids, samples=1, keys=keys)
        texts = [[trainer.tokens.decode(group[0].tokens)] for group in sampled]
        with trainer.judge.use() as judge:
            scores = judge.scores(prompts, texts, ended=[[group[0].ended] for group in sampled])
            del judge  # may be the last hold on it
        if run:
            said = zip(prompts, texts, sampled, scores, strict=True)
            append_texts(
                run.folder,
                [
                    Written.to(p, step=trainer.update, text=t, ended=c.ended, score=score, split="validation")
                    for p, (t,), (c,), (score,) in islice(said, _SHOWN)
                ],
            )
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
    require_finite(trainer.update, {k: v for k, v in metrics.items() if k != "value/explained_variance"})
    if run:
        run.metrics.write(trainer.update, metrics)


def _heed_budget(trainer: Trainer, kl: float) -> None:
    budget = trainer.config.kl.budget
    if budget is not None and kl > budget:
        trainer.stopped = "kl budget"


def _checkpoint(trainer: Trainer, run: Run | None) -> None:
    """Of an update whose metrics are written, and never before they are."""
    if trainer.over or trainer.update % trainer.config.checkpoint_every == 0:
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
        last = trainer.update if checkpoint else -1  # the start is judged again: line 0 is its own
        run.metrics.truncate(last)
        truncate_texts(run.folder, last)


def _finish(trainer: Trainer) -> Result:
    """Puts the best policy by the held-out judge, or else the last (averaged) one, in `model`."""
    folder = trainer.config.folder
    judged = trainer.best > -math.inf
    if not judged:
        with trainer.ema.applied():
            _save_policy(trainer, folder / "model")
    elif trainer.ranks.rank == 0 and (folder / "best").exists():  # else it was renamed before a kill
        replace_folder(folder / "best", folder / "model")
    return Result(
        model=str(folder / "model"),
        updates=trainer.update,
        best_update=trainer.best_update if judged else trainer.update,
        judge=trainer.best if judged else None,
        stopped=trainer.stopped or "finished",
    )


def _parents(config: Config, prompts: Sequence[Prompt], validation: Sequence[Prompt]) -> list[Parent]:
    start = [config.value.start] if config.value.start else []
    parents = parents_of([config.policy, *(spec for spec, _ in (*config.reward, *config.judge.spec)), *start])
    for split, chosen in ((config.split, prompts), (config.judge.split, validation)):
        if chosen:
            digest = content_id("prompts", [prompt.id for prompt in chosen])
            parents.append(Parent("data", f"{config.store}#{config.prompts}/{split}", {"sha256": digest}))
    return parents + text_parents(config.ptx.text)


def main() -> None:
    """`python -m backflip.recipes.ppo`."""
    command(Config, run, description=__doc__)
