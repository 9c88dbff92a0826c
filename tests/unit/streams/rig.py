"""Faust's real consumer on a broker thread in memory, so that races can be forced.

Only the thread that talks to Kafka is replaced; fetching, seeking, committing and
rebalancing run through Faust's and our own code.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from aiokafka.consumer.fetcher import OffsetResetStrategy
from faust.types import TP

from streams.app import HypercareApp, create_app
from streams.halt import Exit
from streams.lane import Lane
from streams.lanes import Lanes
from streams.ownsource import OwnSource
from streams.progress import LaneState
from streams.settings import Settings, SourceKind
from streams.source import BatchConsumer
from tests.integration.workers import CountingCores, CountingPartition
from tests.unit.streams.memory import MemoryEmitter, MemoryPartition, MemoryStateLog

LOG = "hypercare.events"
USAGE = "hypercare.usage"
NOWHERE = 1_000_000
"""Position of a partition whose leader has not been heard: behind every record."""


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


class Coordinator:
    """The group's coordinator while nothing is wrong with it."""

    _pending_exception: Exception | None = None

    def __init__(self) -> None:
        self._coordination_task: asyncio.Future[None] = asyncio.Future()

    def check_errors(self) -> None:
        """Raise what is pending."""
        error, self._pending_exception = self._pending_exception, None
        if error is not None:
            raise error


class BrokerThread:
    """Positions, records and commits of all partitions; a fetch can be held."""

    def __init__(self, assigned: Iterable[TP]) -> None:
        self.assigned = set(assigned)
        self.records: defaultdict[TP, list[int]] = defaultdict(list)
        self.positions: dict[TP, int] = {tp: 0 for tp in self.assigned}
        self.commits: dict[TP, int] = {}
        self.starts: defaultdict[TP, int] = defaultdict(int)
        self.before_return: Callable[[], Awaitable[None]] | None = None
        self.before_commits: Callable[[], Awaitable[None]] | None = None
        self.is_frozen = False
        self.fetched: list[set[TP]] = []
        self.seeks: list[tuple[TP, int]] = []
        self._coordinator: Any = Coordinator()
        self.failure: Exception | None = None
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
        if self.failure is not None:
            raise self.failure
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

    async def start(self, revoked: object, assigned: object) -> None:
        """Be connected already."""

    async def stop(self) -> None:
        """Have nothing to disconnect."""

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Move positions."""
        for tp, offset in partitions.items():
            self.seeks.append((TP(*tp), offset))
            self.positions[TP(*tp)] = offset

    async def seek_to_committed(self, *tps: TP) -> dict[TP, int | None]:
        """Do what aiokafka does: leave alone what has no commit."""
        if self.before_commits is not None:
            await self.before_commits()
        found: dict[TP, int | None] = {}
        for tp in (TP(*one) for one in tps):
            found[tp] = self.commits.get(tp)
            if self.commits.get(tp):
                self.positions[tp] = self.commits[tp]
        return found

    @property
    def _fetcher(self) -> BrokerThread:
        return self

    def request_offset_reset(self, tps: Iterable[TP], strategy: int) -> None:
        """Move positions to the first record, once a leader says which that is."""
        assert strategy == OffsetResetStrategy.EARLIEST
        for tp in (TP(*one) for one in tps):
            self.positions[tp] = NOWHERE if self.is_frozen else self.starts[tp]

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

    kind = SourceKind.FAUST

    def __init__(self, tps: Iterable[TP], bus: MemoryBus | None = None) -> None:
        self.settings = Settings(
            demo=True, worker="rig", snapshot_interval_s=60.0, source=self.kind
        )
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
        self.thread = self.bus.log = BrokerThread(tps)
        self.messages: list[tuple[TP, int]] = []
        self.consumer = cast(BatchConsumer, self.app.consumer)
        # The thread that is replaced has made a loop it will never run.
        self.consumer._thread.thread_loop.close()
        self.connect()

    def connect(self) -> None:
        """Put the source on the broker thread and the lanes behind it."""
        self.consumer.batch = self.lanes
        self.consumer._thread = self.thread  # type: ignore[assignment]
        self.lanes.source = self.consumer
        self.app.consumer_generation_id = 1
        self.consumer._set_active_tps(self.thread.assigned)
        self.consumer.resume_flow()

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

    async def round(self) -> None:
        """Run one round as the worker does, errors and all."""
        await self.fetch()

    async def seek(self) -> None:
        """Let somebody seek while nothing is wrong with the lanes."""
        await self.consumer.perform_seek()

    async def commit(self) -> None:
        """Commit what may be committed."""
        await self.consumer.commit()

    async def revoke(self, tps: set[TP]) -> None:
        """Take partitions away, as a rebalance does."""
        await self.consumer.on_partitions_revoked(tps)

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


class OwnRig(Rig):
    """The same worker with the log's own consumer."""

    kind = SourceKind.OWN

    def connect(self) -> None:
        """Put the source on the broker thread and the lanes behind it."""
        self.source = self.lanes.source = OwnSource(
            *(self.settings, self.lanes, self.thread),
            halt=halt,
            monotonic_s=lambda: -1.0,
        )

    async def fetch(self) -> None:
        """Run one round of the fetch loop."""
        assert await self.source.step(0.01)

    async def round(self) -> None:
        """Run one round as the worker does, errors and all."""
        await self.source.step(0.01)

    async def seek(self) -> None:
        """Seek every ready lane to where it stands."""
        for tp in self.thread.assigned:
            offset = self.lanes.position(tp)
            if offset is not None:
                await self.source.seek_to(tp, offset)

    async def commit(self) -> None:
        """Commit what may be committed."""
        await self.source.commit()

    async def revoke(self, tps: set[TP]) -> None:
        """Take partitions away, as a rebalance does."""
        await self.source.on_partitions_revoked(tps)


RIGS = {SourceKind.FAUST: Rig, SourceKind.OWN: OwnRig}
