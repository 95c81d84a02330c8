"""What each process of a control run does, by name; imported once by the server that all are forked from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch

from backflip.recipes.control_processes.acting import act
from backflip.recipes.control_processes.answering import answer
from backflip.recipes.control_processes.config import Config
from backflip.recipes.control_processes.learning import learn
from backflip.recipes.control_processes.watching import watch

__all__ = ["ROLES"]

Role = Callable[[Config, str], None]


def _on_one_core(role: Role) -> Role:
    """Four processes with two threads each are slower than four with one."""

    def work(config: Config, fingerprint: str) -> None:
        torch.set_num_threads(1)
        role(config, fingerprint)

    return work


ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "acting": _on_one_core(act),
        "learning": _on_one_core(learn),
        "answering": _on_one_core(answer),
        "watching": _on_one_core(watch),
    }
)
