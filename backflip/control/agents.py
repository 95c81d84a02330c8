"""What the control loop asks of an agent, whichever it is: the four verbs, and what it does with its past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

from backflip.control.agent import PPO, PPOSettings
from backflip.control.replay import Judge
from backflip.control.sac import SAC, SACSettings
from backflip.control.spaces import Space

__all__ = ["Agent", "Settings", "make_agent"]

Settings = PPOSettings | SACSettings


class _Acted(Protocol):
    @property
    def actions(self) -> Tensor: ...


class Agent(Protocol):
    """Acts for `settings.steps` steps of every environment, then learns from rewards that others give."""

    @property
    def settings(self) -> Settings: ...

    @property
    def net(self) -> nn.Module:
        """What acts."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether it learns from earlier rollouts again, so that their rewards must be kept on one scale."""
        ...

    @property
    def curious(self) -> bool:
        """Whether it wants to explore by itself before anybody is asked."""
        ...

    def act(self, observations: NDArray[Any], *, greedy: bool = False) -> _Acted: ...
    def record(self, observations: NDArray[Any], choice: Any) -> None: ...
    def returns(self, rewards: Tensor, last: NDArray[Any]) -> dict[str, float]: ...
    def update(self, done: float = 0.0) -> dict[str, float]: ...

    def explore(self, last: NDArray[Any]) -> dict[str, float]:
        """What it does with a rollout that nobody has rewards for; metrics."""
        ...

    def relabel(self, judge: Judge) -> None:
        """What it remembers is worth something else by now."""
        ...

    def drop(self) -> None:
        """Forgets the recorded steps."""
        ...

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


def make_agent(space: Space, settings: Settings, *, count: int, seed: int) -> Agent:
    """The agent whose settings these are; ConfigError where it does not deal with such a space."""
    kind = SAC if isinstance(settings, SACSettings) else PPO
    return kind(space, settings, count=count, seed=seed)  # type: ignore[arg-type]
