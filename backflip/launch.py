"""The command line that starts a recipe here, on several processes, or on a Ray cluster. Recipes never know.

Pure functions: they build argv and start nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Literal, get_args

from backflip.config import require
from backflip.errors import ConfigError

__all__ = ["Target", "argv"]

Target = Literal["local", "torchrun", "ray"]


def argv(
    recipe: str,
    args: Sequence[str] = (),
    *,
    target: Target = "local",
    processes: int = 1,
    nodes: int = 1,
    rendezvous: str | None = None,
    address: str | None = None,
    working_dir: str = ".",
    gpus: float = 0,
) -> list[str]:
    """The argv that runs `python -m backflip.recipes.RECIPE ARGS`.

    * `local`: one process with this interpreter.
    * `torchrun`: `processes` on each of `nodes`; with more than one node, `rendezvous` is the host:port of one of them.
    * `ray`: a job on the cluster at `address` (or where RAY_ADDRESS points), with `gpus` and, when `processes` is
      above 1, torchrun inside the job. Ray hands the job's words to a shell, so words that a shell would read
      otherwise are refused: put such values into a config file.

    Raises ConfigError at values that do not go together.
    """
    require(recipe.isidentifier(), "recipe", seen=recipe, wanted="the name of a recipe, such as sft")
    require(target in get_args(Target), "target", seen=target, wanted=f"one of {', '.join(get_args(Target))}")
    require(processes >= 1, "processes", seen=processes, wanted="1 or more")
    require(nodes >= 1, "nodes", seen=nodes, wanted="1 or more")
    module = f"backflip.recipes.{recipe}"
    if target == "local":
        require(processes == nodes == 1, "processes", seen=processes * nodes, wanted="1 with target local, or torchrun")
        return [sys.executable, "-m", module, *args]
    if target == "torchrun":
        return [sys.executable, *_torchrun(processes, nodes, rendezvous), module, *args]
    require(nodes == 1, "nodes", seen=nodes, wanted="1 with target ray")
    words = [*(_torchrun(processes, 1, None) if processes > 1 else ["-m"]), module, *args]
    where = ["--address", address] if address else []
    share = ["--entrypoint-num-gpus", f"{gpus:g}"] if gpus else []
    return ["ray", "job", "submit", *where, "--working-dir", working_dir, *share, "--", "python", *map(_plain, words)]


def _torchrun(processes: int, nodes: int, rendezvous: str | None) -> list[str]:
    if nodes == 1:
        where = ["--standalone"]
    else:
        require(rendezvous is not None, "rendezvous", seen=rendezvous, wanted="the host:port of one node")
        where = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", str(rendezvous)]
    return ["-m", "torch.distributed.run", *where, "--nproc-per-node", str(processes), "-m"]


def _plain(word: str) -> str:
    if shlex.quote(word) != word:
        raise ConfigError(
            f"argument {word!r} needs quoting, which ray does not keep; wanted a plain word: use a config file"
        )
    return word
