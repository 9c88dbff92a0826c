"""Ingress partitions in order of time, also when there is a backlog.

Usage and errors come through different topics. A fetch returns one partition's
records after the other's, so after an outage of ours hours of usage would enter the
log before the first error of the same time, which would then be late. Here a record
is let go only when no other partition can still hold an older one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
from faust.types import TP

HELD_MAX = 20_000
"""Records of one partition that may wait; beyond, it is not fetched."""

HELD_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of all records that may wait; beyond, only partitions that hold nothing are
fetched: the others wait for them."""

READY_MAX = 20_000
"""Records that may wait in order; beyond, the others stay with their partitions."""

RECORD_BYTES = 200
"""What a record costs beside its value, about."""

PATIENCE_S = 2.0
"""A partition that should have records, is asked and gives none for this long no
longer holds the others up (its records may have been deleted by retention)."""

Highwater = Callable[[TP], int | None]


class _Held:
    """The waiting records of one partition and their times."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.times = np.zeros(0, dtype=np.int64)

    def add(self, records: Sequence[Any]) -> None:
        """Put records at the end."""
        self.records += records
        times = np.fromiter((r.timestamp for r in records), np.int64, len(records))
        self.times = np.concatenate([self.times, times])

    def reached(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Time of each record or of an older one before it: those keep their order."""
        return np.maximum.accumulate(self.times)

    def take(self, count: int) -> list[Any]:
        """Remove the first records."""
        taken = self.records[:count]
        del self.records[:count]
        self.times = self.times[count:].copy()
        return taken


class TimeMerge:
    """Holds fetched records and lets them go oldest first.

    Parameters
    ----------
    monotonic_s : callable
        Clock for the patience with partitions that give nothing.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._held: dict[TP, _Held] = {}
        self._next: dict[TP, int] = {}
        self._silent_since_s: dict[TP, float] = {}
        self._ready: deque[Any] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def holds(self) -> bool:
        """Whether any record waits."""
        return self._bytes > 0

    def add(self, tp: TP, records: Sequence[Any]) -> None:
        """Take fetched records of a partition."""
        if records:
            self._held.setdefault(tp, _Held()).add(records)
            self._bytes += sum(map(_size, records))
            self._next[tp] = records[-1].offset + 1
            self._silent_since_s.pop(tp, None)

    def asked(self, tps: Iterable[TP]) -> None:
        """Note that these partitions were asked for records."""
        now_s = self._monotonic_s()
        for tp in tps:
            if tp not in self._held:
                self._silent_since_s.setdefault(tp, now_s)

    def is_full(self, tp: TP) -> bool:
        """Whether a partition should not be fetched for now."""
        held = self._held.get(tp)
        if held is None:
            return False
        return len(held.records) >= HELD_MAX or self._bytes >= HELD_BYTES_MAX

    def clear(self) -> None:
        """Forget everything: a seek or a rebalance reads it again."""
        self._held.clear()
        self._next.clear()
        self._silent_since_s.clear()
        self._ready.clear()
        self._bytes = 0

    def take(self, records_max: int, bytes_max: int) -> list[Any]:
        """Remove what may go, oldest timestamp first, within the limits."""
        taken: list[Any] = []
        size = 0
        while self._ready and len(taken) < records_max and size < bytes_max:
            record = self._ready.popleft()
            taken.append(record)
            size += _size(record)
        self._bytes -= size
        return taken

    def release(self, tps: Iterable[TP], highwater: Highwater) -> None:
        """Let go what may go of the partitions ``tps``, oldest timestamp first.

        Up to where a partition that is behind its end has nothing held any more:
        its next record may be the oldest of all.
        """
        if len(self._ready) >= READY_MAX or not self._held:
            return
        if self._waits(tps, highwater):
            return
        parts = sorted(self._held)
        reached = [self._held[tp].reached() for tp in parts]
        stop = min(
            (
                (int(times[-1]), rank)
                for rank, (tp, times) in enumerate(zip(parts, reached, strict=True))
                if self._is_behind(tp, highwater(tp))
            ),
            default=None,
        )
        counts = [_count(times, rank, stop) for rank, times in enumerate(reached)]
        times = np.concatenate([t[:n] for t, n in zip(reached, counts, strict=True)])
        taken = [self._take(tp, n) for tp, n in zip(parts, counts, strict=True)]
        records = list(chain.from_iterable(taken))
        # Stable: of one time the first partition goes first, as in the cut above.
        order = np.argsort(times, kind="stable")
        self._ready.extend([records[i] for i in order.tolist()])

    def _take(self, tp: TP, count: int) -> list[Any]:
        held = self._held[tp]
        taken = held.take(count)
        if not held.records:
            del self._held[tp]
        return taken

    def _waits(self, tps: Iterable[TP], highwater: Highwater) -> bool:
        now_s = self._monotonic_s()
        return any(
            tp not in self._held
            and self._is_behind(tp, highwater(tp))
            and now_s - self._silent_since_s.get(tp, now_s) < PATIENCE_S
            for tp in tps
        )

    def _is_behind(self, tp: TP, end: int | None) -> bool:
        return end is None or self._next.get(tp, 0) < end


def _count(
    reached: np.ndarray[Any, np.dtype[np.int64]],
    rank: int,
    stop: tuple[int, int] | None,
) -> int:
    """How many of a partition's records go, up to the last of the one that stops."""
    if stop is None:
        return len(reached)
    at_ms, stop_rank = stop
    side: Literal["left", "right"] = "right" if rank <= stop_rank else "left"
    return int(np.searchsorted(reached, at_ms, side=side))


def _size(record: Any) -> int:
    return len(record.value or b"") + RECORD_BYTES
