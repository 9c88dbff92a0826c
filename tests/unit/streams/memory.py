"""A state partition, a log and an emitter in memory, with places to interleave.

They keep the same promises as the ones on Kafka and hold what is written, so that
tests can force the order of events that a broker only shows by luck.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from detector.records import LogRecord, Output
from streams.ports import Bounds
from streams.statelog import StateRecord, Write

Hook = Callable[[Sequence[Write]], Awaitable[None]]


class MemoryPartition:
    """The records of one state partition, shared by all workers."""

    def __init__(self) -> None:
        self.records: list[StateRecord] = []
        self.end = 0

    def append(self, key: bytes | None, value: bytes | None) -> int:
        """Append one record and return its offset."""
        self.records.append(StateRecord(self.end, key, value))
        self.end += 1
        return self.end - 1

    def compact(self) -> None:
        """Keep the last record of each key, and drop tombstones but the last."""
        last = {record.key: record.offset for record in self.records}
        self.records = [
            record
            for record in self.records
            if last[record.key] == record.offset
            and (record.value is not None or record.offset == self.end - 1)
        ]


class MemoryStateLog:
    """One worker's view of a partition; ``before`` runs ahead of each append."""

    def __init__(self, partition: MemoryPartition) -> None:
        self.partition = partition
        self.before: Hook | None = None
        self.lost_after: int | None = None

    async def append(self, writes: Sequence[Write]) -> list[int]:
        """Write all, or only ``lost_after`` of them and then lose the connection."""
        if self.before is not None:
            hook, self.before = self.before, None
            await hook(writes)
        count = len(writes) if self.lost_after is None else self.lost_after
        offsets = [self.partition.append(*write) for write in writes[:count]]
        if self.lost_after is not None:
            self.lost_after = None
            raise ConnectionError("connection lost")
        return offsets

    async def read(self, start: int, stop: int) -> AsyncIterator[StateRecord]:
        """Yield what stands in ``[start, stop)``."""
        for record in list(self.partition.records):
            if start <= record.offset < stop:
                yield record

    async def end(self) -> int:
        """Return the next offset."""
        return self.partition.end


class MemoryEmitter:
    """Keeps what was emitted; ``failing`` makes it lose the connection."""

    def __init__(self) -> None:
        self.sent: list[Output] = []
        self.failing = False
        self.refusing: set[str] = set()
        self.before: Callable[[], Awaitable[None]] | None = None

    async def emit(self, outputs: Sequence[Output]) -> None:
        """Take outputs."""
        if self.before is not None:
            hook, self.before = self.before, None
            await hook()
        if self.failing:
            raise ConnectionError("connection lost")
        if any(output.topic in self.refusing for output in outputs):
            raise ConnectionError("refused")
        self.sent.extend(outputs)

    @property
    def ids(self) -> list[str]:
        """Return the ids of what was emitted, in order."""
        return [output.id for output in self.sent]


class MemoryLog:
    """One log with bounds that a test sets; it remembers seeks."""

    def __init__(self, bounds: Bounds = Bounds(0, 0, None)) -> None:  # noqa: B008
        self.held = bounds
        self.seeks: list[int] = []
        self.before_seek: Callable[[], Awaitable[None]] | None = None

    async def bounds(self, partition: int) -> Bounds:
        """Return the bounds."""
        return self.held

    async def seek(self, partition: int, offset: int) -> None:
        """Remember the seek."""
        if self.before_seek is not None:
            await self.before_seek()
        self.seeks.append(offset)


def records(start: int, stop: int, key: bytes = b"shop") -> list[LogRecord]:
    """Return records whose numbers are their offsets."""
    return [LogRecord(n, 1_000 + n, key, str(n).encode()) for n in range(start, stop)]
