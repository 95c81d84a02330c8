"""Pretraining text as examples of a fixed length: mixed into SFT and PPO so that a policy does not forget (P)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backflip.errors import DataError
from backflip.lm.data import epoch_order
from backflip.lm.packing import Tree
from backflip.lm.tokens import Tokens
from backflip.runs.files import sha256_of
from backflip.runs.lineage import Parent

__all__ = ["Documents", "text_parents"]


class Documents:
    """Plain text files, cut into examples of `length` tokens, in an order shuffled anew each time all were seen."""

    def __init__(self, tokens: Tokens, paths: Sequence[Path], *, length: int, seed: int) -> None:
        self.seed = seed
        self.examples: list[Tree] = []
        for path in paths:
            ids = tokens.text(_read(path))
            cut = (ids[start : start + length] for start in range(0, len(ids), length))
            self.examples += [Tree((), (piece,)) for piece in cut if len(piece) > 1]
        if not self.examples:
            named = ", ".join(str(p) for p in paths) or "no file"
            raise DataError(f"pretraining text ({named}) has no example of two tokens; give a text file with prose")

    def take(self, start: int, count: int) -> list[Tree]:
        """Examples number `start` to `start + count` of the endless sequence: a resumed run goes on where it was."""
        size = len(self.examples)
        orders: dict[int, list[int]] = {}
        taken = []
        for number in range(start, start + count):
            epoch, place = divmod(number, size)
            if epoch not in orders:
                orders[epoch] = epoch_order(size, seed=self.seed, epoch=epoch)
            taken.append(self.examples[orders[epoch][place]])
        return taken


def text_parents(paths: Sequence[Path]) -> list[Parent]:
    """The files as a run's parents, by what they hold. Raises DataError where one cannot be read."""
    parents = []
    for path in paths:
        with _readable(path):
            parents.append(Parent("data", str(path), {"sha256": sha256_of(path)}))
    return parents


def _read(path: Path) -> str:
    with _readable(path):
        return path.read_text(encoding="utf-8")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"pretraining text {path} cannot be read ({error}); wanted a UTF-8 text file") from error
