"""How often somebody may try to sign in: tries are counted by account and by address, and then one has to wait."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from backflip.studio.refusals import TooMany

__all__ = ["Limit", "Limits", "network"]

_KEPT = 20_000  # keys that are remembered at most; the longest unused is forgotten first


def network(address: str) -> str:
    """What counts as one address: an IPv6 client has a whole /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


class Limit:
    """At most `times` tries of one key in any `seconds`."""

    def __init__(self, times: int, seconds: float, clock: Callable[[], float]) -> None:
        self._times, self._seconds, self._clock = times, seconds, clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Counts a try and returns 0, or, if there were too many, the seconds to wait."""
        now = self._clock()
        with self._lock:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while tries and tries[0] <= now - self._seconds:
                tries.popleft()
            if len(tries) >= self._times:
                return tries[0] + self._seconds - now
            tries.append(now)
            if len(self._tries) > _KEPT:
                self._tries.popitem(last=False)
        return 0.0

    def give_back(self, key: str, *, everything: bool = False) -> None:
        """Uncounts the last try of a key, or all of them."""
        with self._lock:
            tries = self._tries.get(key)
            if tries:
                tries.pop()
            if everything:
                self._tries.pop(key, None)


class Limits:
    """10 tries an account and 40 an address in a quarter of an hour, whether or not the account exists."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._account, self._address = Limit(10, 900, clock), Limit(40, 900, clock)

    def take(self, account: str, address: str) -> None:
        """Counts a try before it is made (many at once would else slip through); raises TooMany to who has to wait."""
        seconds = self._address.take(network(address)) or self._account.take(account)
        if seconds > 0:
            raise TooMany(f"too many tries; wait {max(1, round(seconds / 60))} minutes and try again", seconds)

    def succeeded(self, account: str, address: str) -> None:
        """It was the right one: it counts no more, and the account starts anew."""
        self._account.give_back(account, everything=True)
        self._address.give_back(network(address))
