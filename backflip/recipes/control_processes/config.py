"""What the processes of a control run share: its configuration, its folders, and how each is made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backflip.config import NOT_FINGERPRINTED, load, require
from backflip.control.asking import due
from backflip.control.conversation import Conversation, Film
from backflip.control.envs import make_envs
from backflip.control.learner import Learner, Stage
from backflip.control.pool import Pool
from backflip.control.predictor import Ensemble
from backflip.control.segments import SegmentFolder
from backflip.control.spaces import Space
from backflip.feedback.media import media_beside
from backflip.feedback.store import Store
from backflip.recipes import control
from backflip.runs.checkpoint import Checkpoint, load_latest

__all__ = ["Config", "Newest", "conversation_of", "learner_of", "read_config"]

_LEAD = 8  # answers that the agent may be ahead of: as many questions wait at least


@dataclass(frozen=True)
class Config(control.Config):
    """Trains an agent on answers about its clips, in processes that never wait for one another."""

    seconds_an_answer: float = field(default=0.0, metadata=NOT_FINGERPRINTED)
    """How long the simulated teacher takes for an answer (a person needs 3 to 5); 0: as fast as it can."""
    media: Path | None = field(default=None, metadata=NOT_FINGERPRINTED)
    """Where the clips are that people look at; beside the store by default."""
    expire_share: float = 0.05
    """A question that waits expires when the agent is this share of its steps further, and a minute has passed."""
    patience: float = field(default=0.0, metadata=NOT_FINGERPRINTED)
    """With people: the agent is never further on than their answers warrant; so many seconds after the last answer it
    goes on without. 0: it waits for nobody (H)."""
    look_every: float = field(default=10.0, metadata=NOT_FINGERPRINTED)
    """Seconds from one look at the agent to the next, for people's eyes alone; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reward == "answers", "reward", seen=self.reward, wanted="answers, where others answer meanwhile")
        require(self.seconds_an_answer >= 0, "seconds_an_answer", seen=self.seconds_an_answer, wanted="0 or more")
        require(self.patience >= 0, "patience", seen=self.patience, wanted="0 or more")
        require(0 < self.expire_share <= 1, "expire_share", seen=self.expire_share, wanted="above 0, and 1 at most")

    @property
    def pool(self) -> Pool:
        """From the agent to the one who asks."""
        return Pool(self.folder / "pool")

    @property
    def agents(self) -> Path:
        """The agent's checkpoints."""
        return self.folder / "agent"

    @property
    def predictors(self) -> Path:
        """The predictor's; the newest is what the agent learns from."""
        return self.folder / "predictor"

    @property
    def clips(self) -> Path:
        """The media folder."""
        return self.media or media_beside(self.place)

    @property
    def early(self) -> int:
        """Questions that are asked before they are due, so that people whom the agent waits for wait for nothing."""
        return _LEAD if self.labellers == "people" and self.patience else 0

    def ahead(self, steps: int, answers: int) -> bool:
        """Whether an agent that has made so many steps is further on than so many answers warrant."""
        return due(self.asking, step=steps, steps=self.steps) > answers + _LEAD

    def space(self) -> Space:
        """What the environment takes and gives."""
        envs = make_envs(replace(self.env, count=1))
        envs.close()
        return envs.space


def read_config(folder: Path) -> Config:
    """As the supervisor wrote it for the others; ConfigError where none was begun in `folder`, which may have moved."""
    return replace(load(Config, folder / "control.json"), folder=folder)


def learner_of(config: Config) -> Learner:
    """The agent and its environments, as the recipe in one process makes them."""
    return Learner(
        config.env,
        config.learns,
        seed=config.seed,
        reseed_every=config.checkpoint_every,
        stages=[Stage(round(share * config.steps), horizon) for share, horizon in config.stages],
        stagger=config.stagger,
        witness=config.sealed,
    )


def conversation_of(config: Config, store: Store, film: Film | None = None) -> Conversation:
    """The run's questions and answers."""
    segments = SegmentFolder(config.folder)
    return Conversation(store, segments, project=config.project, wanted=config.wanted, film=film)


class Newest:
    """The newest checkpoint that another process left in a folder, each given once."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self._fingerprint, self._seen = folder, fingerprint, -1

    def look(self) -> Checkpoint | None:
        """One that is newer than the last; None if there is none. It costs a listing where nothing is new."""
        steps = [int(path.stem.removeprefix("step-")) for path in self._folder.glob("step-*.json")]
        if max(steps, default=-1) <= self._seen:
            return None
        found = load_latest(self._folder, fingerprint=self._fingerprint)
        if found is None or found.step <= self._seen:
            return None
        self._seen = found.step
        return found


def ensemble_of(config: Config, space: Space, state: Mapping[str, Any] | None = None) -> Ensemble:
    """The predictor, as it was when `state` was taken."""
    ensemble = Ensemble(space, config.predictor, seed=config.seed)
    if state is not None:
        ensemble.restore(state)
    return ensemble
