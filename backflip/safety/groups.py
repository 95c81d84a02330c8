"""Which texts are near-duplicates of one another: those must not be trained on and tested on at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from backflip.safety.fold import fold

__all__ = ["near_duplicates"]

_COMMON = 200  # a shingle that more texts share says nothing of any two of them


def near_duplicates(texts: Sequence[str], *, shingle: int = 3, alike: float = 0.5) -> list[int]:
    """A group number a text: two texts whose sets of `shingle` words overlap by `alike` (Jaccard) share it.

    Groups are closed: what is alike to a member is in. Texts shorter than a shingle are one shingle.
    """
    sets = [_shingles(text, shingle) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    parent = list(range(len(texts)))
    for i, own in enumerate(sets):
        shared = Counter(j for s in own if len(holders[s]) < _COMMON for j in holders[s])
        for j, count in shared.items():
            if count >= alike * (len(own) + len(sets[j]) - count):
                parent[_root(parent, i)] = _root(parent, j)
        for s in own:
            holders[s].append(i)
    return [_root(parent, i) for i in range(len(texts))]


def _shingles(text: str, size: int) -> set[str]:
    words = fold(text).split()
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = i = parent[parent[i]]
    return i
