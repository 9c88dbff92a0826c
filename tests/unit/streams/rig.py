"""Faust's real consumer on a broker thread in memory, so that races can be forced.

Only the thread that talks to Kafka is replaced; fetching, seeking, committing and
rebalancing run through Faust's and our own code.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from faust.types import TP

from streams.app import HypercareApp, create_app
from streams.halt import Exit
from streams.lane import Lane
from streams.lanes import Lanes
from streams.progress import LaneState
from streams.settings import Settings
from streams.source import BatchConsumer
from tests.integration.workers import CountingCores, CountingPartition
from tests.unit.streams.memory import MemoryEmitter, MemoryPartition, MemoryStateLog

LOG = "hypercare.events"
USAGE = "hypercare.usage"


class Record(NamedTuple):
    """What the driver returns for one message."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    headers: tuple[Any, ...]
    key: bytes
    value: bytes
    checksum: None
    serialized_key_size: int
    serialized_value_size: int


class BrokerThread:
    """Positions, records and commits of all partitions; a fetch can be held."""

    def __init__(self, assigned: Iterable[TP]) -> None:
        self.assigned = set(assigned)
        self.records: defaultdict[TP, list[int]] = defaultdict(list)
        self.positions: dict[TP, int] = {tp: 0 for tp in self.assigned}
        self.commits: dict[TP, int] = {}
        self.starts: defaultdict[TP, int] = defaultdict(int)
        self.before_return: Callable[[], Awaitable[None]] | None = None
        self.fetched: list[set[TP]] = []
        self.seeks: list[tuple[TP, int]] = []
        self.max_records = 10

    def produce(self, tp: TP, count: int) -> None:
        """Append records."""
        self.records[tp] += range(self._end(tp), self._end(tp) + count)

    def _end(self, tp: TP) -> int:
        return self.records[tp][-1] + 1 if self.records[tp] else self.starts[tp]

    async def getmany(
        self, active: set[TP] | None, timeout: float
    ) -> dict[TP, list[Record]]:
        """Take records at the positions, move them, perhaps wait, then return."""
        self.fetched.append(set(active or ()))
        found = {}
        for tp in active or ():
            ready = [n for n in self.records[tp] if n >= self.positions[tp]]
            if ready:
                taken = ready[: self.max_records]
                self.positions[tp] = taken[-1] + 1
                found[tp] = [_record(tp, n) for n in taken]
        if self.before_return is not None:
            hook, self.before_return = self.before_return, None
            await hook()
        return found

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Move positions."""
        for tp, offset in partitions.items():
            self.seeks.append((TP(*tp), offset))
            self.positions[TP(*tp)] = offset

    async def seek_to_committed(self) -> dict[TP, int | None]:
        """Do what aiokafka does: leave alone what has no commit."""
        for tp in self.assigned:
            if self.commits.get(tp):
                self.positions[tp] = self.commits[tp]
        return {tp: self.commits.get(tp) for tp in self.assigned}

    async def seek_to_beginning(self, *tps: TP) -> None:
        """Move positions to the first record."""
        for tp in tps:
            self.positions[TP(*tp)] = self.starts[TP(*tp)]

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit."""
        self.commits.update(offsets)
        return True

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Call in the thread: here there is only one."""
        return await fun(*args)

    def _ensure_consumer(self) -> BrokerThread:
        return self

    async def committed(self, tp: TP) -> int | None:
        """Return the committed offset."""
        return self.commits.get(TP(*tp))

    def assignment(self) -> set[TP]:
        """Return what is assigned."""
        return set(self.assigned)

    def highwater(self, tp: TP) -> int:
        """Return where the log ends."""
        return self._end(TP(*tp))

    def topic_partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        return 4


def _record(tp: TP, n: int) -> Record:
    return Record(
        tp.topic, tp.partition, n, 1_000 + n, 0, (), b"k", str(n).encode(), None, 1, 1
    )


class Halted(Exception):
    """Stands for the end of the process."""

    def __init__(self, code: Exit, text: str) -> None:
        self.code = code
        super().__init__(text)


def halt(code: Exit, message: str, *args: object) -> Any:
    """Raise instead of ending the test's own process."""
    raise Halted(code, message % args)


class MemoryBus:
    """State partitions and outputs that outlive the workers of a test."""

    def __init__(self) -> None:
        self.partitions: defaultdict[int, MemoryPartition] = defaultdict(
            MemoryPartition
        )
        self.emitter = MemoryEmitter()
        self.logs: dict[int, MemoryStateLog] = {}
        self.log: BrokerThread | None = None

    async def extent(self, topic: str, partition: int) -> tuple[int, int]:
        """Return first offset and end offset of the log of the newest worker."""
        assert self.log is not None
        tp = TP(topic, partition)
        return self.log.starts[tp], self.log.highwater(tp)

    def state_log(self, partition: int) -> MemoryStateLog:
        """Return a new worker's view of one partition."""
        self.logs[partition] = MemoryStateLog(self.partitions[partition])
        return self.logs[partition]

    async def emit(self, outputs: Any) -> None:
        """Take outputs."""
        await self.emitter.emit(outputs)


class Rig:
    """One worker: Faust's consumer, real lanes, counting cores, no Kafka."""

    def __init__(self, tps: Iterable[TP], bus: MemoryBus | None = None) -> None:
        self.settings = Settings(demo=True, worker="rig", snapshot_interval_s=60.0)
        self.app: HypercareApp = create_app(self.settings, CountingCores())
        self.bus = bus or MemoryBus()
        self.lanes = Lanes(
            self.settings,
            CountingCores(),
            self.bus,
            halt=halt,
            monotonic_s=lambda: 0.0,
        )
        self.app.lanes = self.lanes
        self.consumer = cast(BatchConsumer, self.app.consumer)
        self.consumer.batch = self.lanes
        # The thread that is replaced has made a loop it will never run.
        self.consumer._thread.thread_loop.close()
        self.thread = self.bus.log = BrokerThread(tps)
        self.consumer._thread = self.thread  # type: ignore[assignment]
        self.lanes.source = self.consumer
        self.app.consumer_generation_id = 1
        self.consumer._set_active_tps(self.thread.assigned)
        self.consumer.resume_flow()
        self.messages: list[tuple[TP, int]] = []

    async def own(self) -> None:
        """Let the lanes restore and wait until all of them have."""
        await self.lanes.on_assigned(
            [tp for tp in self.thread.assigned if tp.topic == LOG]
        )
        while any(
            lane.state is LaneState.RESTORING for lane in self.lanes.lanes.values()
        ):
            await asyncio.sleep(0)

    async def fetch(self) -> None:
        """Run one round of the fetch loop, keeping what agents would get."""
        async for tp, message in self.consumer.getmany(timeout=0.01):
            self.messages.append((tp, message.offset))

    def lane(self, partition: int = 0) -> Lane:
        """Return a lane."""
        return self.lanes.lanes[partition]

    def counted(self, partition: int = 0) -> tuple[int, int]:
        """Return count and sum of a partition."""
        core = self.lane(partition).core
        assert isinstance(core, CountingPartition)
        return core.counts.total(), core.sums.total()

    async def close(self) -> None:
        """Stop the lanes' tasks."""
        tasks = list(self.lanes._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
