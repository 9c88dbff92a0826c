"""Reading one partition of the state topic: from its end back, no further than needed.

A topic that is never compacted keeps every snapshot there ever was. Whoever takes a
partition over reads what the newest manifest needs, and nothing before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from streams.history import DamagedState, History

TAIL_RECORDS = 64
"""How far before its end a partition is read first, to find the newest manifest."""

Write = tuple[bytes, bytes | None]


class StateRecord(NamedTuple):
    """One record of a state partition."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0


class StateLog(Protocol):
    """One partition of the state topic. Every call has its own time limit."""

    async def append(self, writes: Sequence[Write]) -> list[int]:
        """Write records in order; return their offsets once all replicas have them."""

    def read(self, start: int, stop: int) -> AsyncIterator[StateRecord]:
        """Yield what stands in ``[start, stop)``."""

    async def end(self) -> int:
        """Return the offset the next record will get."""


class Recent(NamedTuple):
    """What stands in a partition from the offset ``start`` on."""

    history: History
    start: int
    records: list[StateRecord]


async def recent(log: StateLog, end: int) -> Recent:
    """Read back from ``end`` as far as a new owner needs.

    All of it is read only where no complete snapshot is found.
    """
    start, records = end, list[StateRecord]()
    wanted = max(0, end - TAIL_RECORDS)
    while True:
        records = [record async for record in log.read(wanted, start)] + records
        start = wanted
        history = History()
        for record in records:
            history.add(record.key, record.value)
        needed = history.needed_since()
        if start == 0:
            return Recent(history, start, records)
        if needed is None:
            wanted = max(0, end - 8 * (end - start))
        elif needed < start:
            wanted = needed
        elif _is_whole(history):
            return Recent(history, start, records)
        else:
            wanted = 0


async def fold(history: History, log: StateLog, start: int, stop: int) -> None:
    """Add what stands in ``[start, stop)`` to a history."""
    async for record in log.read(start, stop):
        history.add(record.key, record.value)


def _is_whole(history: History) -> bool:
    """Whether what the newest manifest names is there, or an order makes it void."""
    try:
        return history.newest() is not None or history.ordered() is not None
    except DamagedState:
        return False
