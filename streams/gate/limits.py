"""How often one caller may ask: token buckets, the clock an argument."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

CALLERS_MAX = 10_000
BURST_S = 10.0
"""So many seconds' worth may come at once."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class Buckets:
    """A bucket for each caller, the oldest forgotten first.

    Parameters
    ----------
    rate_per_s : float
        How many requests a second flow back into each.
    monotonic_s : callable
        Clock.
    """

    def __init__(self, rate_per_s: float, monotonic_s: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._most = max(1.0, rate_per_s * BURST_S)
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str) -> int:
        """Seconds this caller has to wait; 0 lets it in."""
        now_s = self._monotonic_s()
        found = self._buckets.setdefault(caller, _Bucket(self._most, now_s))
        self._buckets.move_to_end(caller)
        while len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        flown = (now_s - found.at_s) * self._rate_per_s
        found.left, found.at_s = min(self._most, found.left + flown), now_s
        if found.left >= 1:
            found.left -= 1
            return 0
        return max(1, math.ceil((1 - found.left) / self._rate_per_s))


def network_of(address: str | None) -> str:
    """Whose address it is: of IPv6 the first half, all the rest is theirs to choose."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
