"""Ingress partitions in order of time, also when there is a backlog.

Usage and errors come through different topics. A fetch returns one partition's
records after the other's, so after an outage of ours hours of usage would enter the
log before the first error of the same time, which would then be late. Here a record
is let go only when no other partition can still hold an older one.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from faust.types import TP

HELD_MAX = 20_000
"""Records of one partition that may wait; beyond, it is not fetched."""

PATIENCE_S = 2.0
"""A partition that should have records, is asked and gives none for this long no
longer holds the others up (its records may have been deleted by retention)."""


class TimeMerge:
    """Holds fetched records and lets them go oldest first.

    Parameters
    ----------
    monotonic_s : callable
        Clock for the patience with partitions that give nothing.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._held: dict[TP, deque[tuple[int, Any]]] = {}
        self._next: dict[TP, int] = {}
        self._silent_since_s: dict[TP, float] = {}

    def add(self, tp: TP, mark: int, records: Iterable[Any]) -> None:
        """Take fetched records of a partition; ``mark`` tells later if a seek came."""
        held = self._held.setdefault(tp, deque())
        held.extend((mark, record) for record in records)
        if held:
            self._next[tp] = held[-1][1].offset + 1
            self._silent_since_s.pop(tp, None)

    def asked(self, tps: Iterable[TP]) -> None:
        """Note that these partitions were asked for records."""
        now_s = self._monotonic_s()
        for tp in tps:
            if not self._held.get(tp):
                self._silent_since_s.setdefault(tp, now_s)

    def is_full(self, tp: TP) -> bool:
        """Whether a partition should not be fetched for now."""
        return len(self._held.get(tp, ())) >= HELD_MAX

    def clear(self) -> None:
        """Forget everything: a seek or a rebalance reads it again."""
        self._held.clear()
        self._next.clear()
        self._silent_since_s.clear()

    def release(
        self, tps: Iterable[TP], highwater: Callable[[TP], int | None]
    ) -> Iterator[tuple[TP, int, Any]]:
        """Yield (partition, mark, record), oldest timestamp first.

        Ends when a partition of ``tps`` that is behind its end has nothing held:
        its next record may be the oldest of all.
        """
        watched = list(tps)
        heads = [
            (held[0][1].timestamp, tp.topic, tp.partition, tp)
            for tp, held in self._held.items()
            if held
        ]
        heapq.heapify(heads)
        if self._waits(watched, highwater):
            return
        while heads:
            tp = heads[0][3]
            held = self._held.get(tp)
            if not held:  # a seek emptied everything meanwhile
                return
            mark, record = held.popleft()
            yield tp, mark, record
            if held:
                head = (held[0][1].timestamp, tp.topic, tp.partition, tp)
                heapq.heapreplace(heads, head)
                continue
            heapq.heappop(heads)
            # Only now can somebody have become the one all others wait for.
            if self._waits(watched, highwater):
                return

    def _waits(self, tps: Iterable[TP], highwater: Callable[[TP], int | None]) -> bool:
        now_s = self._monotonic_s()
        return any(
            not self._held.get(tp)
            and self._is_behind(tp, highwater(tp))
            and now_s - self._silent_since_s.get(tp, now_s) < PATIENCE_S
            for tp in tps
        )

    def _is_behind(self, tp: TP, end: int | None) -> bool:
        return end is None or self._next.get(tp, 0) < end
