"""The lanes of one worker: who is fed, who restores, who snapshots when.

This is the handler that :mod:`streams.source` gives its batches to. Whatever goes
wrong in here ends the process before anything is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Any, NoReturn, Protocol

from aiokafka.partitioner import murmur2
from faust.types import TP

from detector.records import LogRecord
from streams.bounded import Refused
from streams.fence import Fence, Fenced
from streams.halt import Exit
from streams.lane import TRANSIENT, Lane, LaneConfig
from streams.membership import release_s
from streams.outbox import Emitter
from streams.ports import Bounds, CoreFactory
from streams.progress import Counters, LaneProgress, LaneState
from streams.refusals import Refusals
from streams.settings import Settings
from streams.statelog import StateLog
from streams.topics import LOG

logger = logging.getLogger(__name__)

SLICE_S = 0.025
"""Time after which other tasks of the loop get their turn."""

SLICE_RECORDS = 5000
SLICE_RECORDS_FIRST = 16
"""Most records applied in one go, and how many before their cost is known."""

RETRY_S = 1.0
EVERY_SERVICE_KEY = b"all"

Halt = Callable[..., NoReturn]


class Source(Protocol):
    """What the lanes need of the consumer."""

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Make ``offset`` the next record fetched."""

    async def committed(self, tp: TP) -> int | None:
        """Return the offset the group has committed."""

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic."""


class StateBus(Emitter, Protocol):
    """Where state and outputs go, and where the log is asked about itself."""

    async def extent(self, topic: str, partition: int) -> tuple[int, int]:
        """Return first offset and end offset of a partition."""

    def state_log(self, partition: int) -> StateLog:
        """Return one partition of the state topic."""


class Lanes:
    """All partitions of the log that this worker holds.

    Parameters
    ----------
    settings : Settings
        Names, intervals, limits.
    cores : CoreFactory
        Makes the functional core of a partition.
    bus : StateBus
        State topic and outputs.
    halt : callable
        Ends the process: ``halt(code, message, *args)``.
    monotonic_s : callable
        Clock for ages and intervals.
    log : str
        Last part of the name of the topic that is read.
    """

    def __init__(
        self,
        settings: Settings,
        cores: CoreFactory,
        bus: StateBus,
        *,
        halt: Halt,
        monotonic_s: Callable[[], float],
        log: str = LOG,
    ) -> None:
        self.settings = settings
        self.topic = settings.topic(log)
        self._is_keyed_by_service = log == LOG
        self.topics = frozenset({self.topic})
        self.counters = Counters()
        self.lanes: dict[int, Lane] = {}
        self.source: Source | None = None
        self._slice_records = SLICE_RECORDS_FIRST
        self.assigned_once = False
        self._cores = cores
        self._bus = bus
        self._halt = halt
        self._monotonic_s = monotonic_s
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # What the source asks.

    def wants(self, tp: TP) -> bool:
        """Return whether records of the partition may be fetched now."""
        lane = self.lanes.get(tp.partition)
        return lane is not None and lane.wants_records

    def position(self, tp: TP) -> int | None:
        """Return the offset a ready lane is at."""
        lane = self.lanes.get(tp.partition)
        return lane.next_offset if lane is not None and lane.is_ready else None

    def committable(self, tp: TP) -> int | None:
        """Return the offset of the last acknowledged manifest."""
        lane = self.lanes.get(tp.partition)
        held = lane is not None and lane.state is not LaneState.FENCED
        return lane.committable if lane is not None and held else None

    async def on_refused(self, refused: list[Refused]) -> None:
        """Write down what was too large to open before reading on."""
        await Refusals(self._bus, self.counters).report(refused)

    def reports(self, topic: str) -> bool:
        """Return whether to be told of batches refused: of every topic."""
        return True

    def on_read_error(self, error: Exception) -> None:
        """Go on after what Kafka may get over; end the process after the rest."""
        if isinstance(error, TRANSIENT) or getattr(error, "retriable", False):
            logger.warning("source.read_put_off %r", error)
            return
        self._halt(Exit.HANDLER, "%s: reading failed: %r", self.topic, error)

    def on_discarded(self, tps: Iterable[TP]) -> None:
        """Count fetches that a seek has overtaken."""
        count = len(list(tps))
        self.counters.fetches_discarded += count
        logger.info("source.fetch_discarded partitions=%d", count)

    async def on_records(
        self, tp: TP, records: list[LogRecord], highwater: int | None
    ) -> None:
        """Apply a batch in slices; drop it when the lane is not ready for it."""
        lane = self.lanes.get(tp.partition)
        if lane is None or not lane.is_ready or not records:
            return
        lane.highwater = highwater
        at = records[0].offset
        try:
            if not await lane.accepts(at):
                return
            start = 0
            # The lane may be revoked while others have their turn.
            while start < len(records) and lane.state is LaneState.READY:
                part = records[start : start + self._slice_records]
                start, at = start + len(part), part[0].offset
                self._count_misrouted(tp.partition, part)
                began_s = self._monotonic_s()
                lane.apply(part)
                took_s = self._monotonic_s() - began_s
                self._slice_records = next_slice(len(part), took_s)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise
        except TRANSIENT as error:
            logger.warning("lane.batch_put_off partition=%d %r", tp.partition, error)
            await self._put_back(lane)
        except Exception as error:
            logger.exception("lane.apply_failed")
            self._halt(
                *(Exit.HANDLER, "%s[%d]@%d: the record could not be applied: %r"),
                *(tp.topic, tp.partition, at, error),
            )

    async def _put_back(self, lane: Lane) -> None:
        """Fetch again what was not applied; without that, begin anew."""
        try:
            await lane.reseek()
        except TRANSIENT:
            self._begin(lane.partition)

    # Rebalances.

    async def on_assigned(self, tps: Iterable[TP]) -> None:
        """Begin to restore the partitions that are new to us, forget lost ones."""
        assigned = list(tps)
        self.assigned_once = True
        for partition in set(self.lanes) - {tp.partition for tp in assigned}:
            self.lanes.pop(partition).close()
            self._cancel(partition)
        for tp in assigned:
            lane = self.lanes.get(tp.partition)
            if lane is None or lane.state is LaneState.CLOSED:
                self._begin(tp.partition)

    async def on_revoked(self, tps: Iterable[TP]) -> None:
        """Write the last snapshots and let the partitions go, within the limit."""
        partitions = [tp.partition for tp in tps if tp.partition in self.lanes]
        await asyncio.gather(*(self._release(partition) for partition in partitions))

    async def release_all(self) -> None:
        """Let every partition go; the worker ends."""
        await asyncio.gather(*(self._release(p) for p in list(self.lanes)))

    def report(self) -> list[LaneProgress]:
        """Return the progress of every lane, by partition."""
        return [self.lanes[p].progress() for p in sorted(self.lanes)]

    def _begin(self, partition: int) -> None:
        self._cancel(partition)
        fence = Fence(
            self._bus.state_log(partition),
            worker=self.settings.worker,
            log_partitions=self._log_partitions(),
        )
        lane = Lane(partition, fence, self._config())
        self.lanes[partition] = lane
        self._tasks[partition] = asyncio.ensure_future(
            self._guarded(lane, self._live(lane))
        )

    async def _release(self, partition: int) -> None:
        lane = self.lanes[partition]
        if lane.state is LaneState.READY:
            limit_s = release_s(self.settings)
            await self._guarded(lane, self._bounded_release(lane, limit_s))
        lane.close()
        self._cancel(partition)

    async def _bounded_release(self, lane: Lane, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await lane.release()
        except TimeoutError:
            # Nothing is lost: the next owner starts from the last manifest.
            logger.warning("lane.release_timed_out partition=%d", lane.partition)

    def _cancel(self, partition: int) -> None:
        task = self._tasks.pop(partition, None)
        if task is not None:
            task.cancel()

    # The life of a lane.

    async def _live(self, lane: Lane) -> None:
        """Restore, then write snapshots until the lane is given back."""
        while lane.state is LaneState.RESTORING:
            try:
                await lane.restore()
            except TRANSIENT as error:
                logger.warning(
                    "lane.restore_put_off partition=%d %r", lane.partition, error
                )
                await asyncio.sleep(RETRY_S)
        while lane.is_ready:
            await lane.snapshot()
            await asyncio.sleep(self.settings.snapshot_interval_s)

    async def _guarded(self, lane: Lane, work: Coroutine[Any, Any, None]) -> None:
        """Run a lane's work; what it can not handle ends the process."""
        where = (self.topic, lane.partition, lane.next_offset)
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Fenced as error:
            self._halt(Exit.FENCED, "%s[%d]@%d: fenced: %s", *where, error)
        except Exception as error:
            logger.exception("lane.failed")
            self._halt(Exit.HANDLER, "%s[%d]@%d: the lane failed: %r", *where, error)

    def _config(self) -> LaneConfig:
        return LaneConfig(
            cores=self._cores,
            log=self,
            emitter=self._bus,
            counters=self.counters,
            monotonic_s=self._monotonic_s,
            log_partitions=self._log_partitions(),
            state_reset=self.settings.state_reset,
            topic=self.topic,
        )

    def _log_partitions(self) -> int:
        count = self.source.topic_partitions(self.topic) if self.source else None
        return count or self.settings.partitions

    # What a lane asks of the log.

    async def bounds(self, partition: int) -> Bounds:
        """Return what the partition of the log holds."""
        start, end = await self._bus.extent(self.topic, partition)
        committed = await self._connected().committed(TP(self.topic, partition))
        return Bounds(start, end, committed)

    async def seek(self, partition: int, offset: int) -> None:
        """Make ``offset`` the next record fetched of a partition of the log."""
        await self._connected().seek_to(TP(self.topic, partition), offset)

    def _connected(self) -> Source:
        if self.source is None:
            raise ConnectionError("the consumer is not connected yet")
        return self.source

    def _count_misrouted(self, partition: int, records: list[LogRecord]) -> None:
        """Count records that another partitioner sent to the wrong partition."""
        if not self._is_keyed_by_service:
            return
        partitions = self._log_partitions()
        for key, count in Counter([record.key for record in records]).items():
            if key is None or key == EVERY_SERVICE_KEY:
                continue
            if partition_of(key, partitions) != partition:
                self.counters.misrouted += count


def next_slice(records: int, took_s: float) -> int:
    """Return how many records to apply in one go, after so many took so long.

    A record can be one event or hundreds, and close no window or one of each
    service: an array of a backlog costs a thousand times what a lone event does.

    Examples
    --------
    >>> next_slice(100, 0.1), next_slice(100, 0.001), next_slice(1, 3.0)
    (25, 200, 1)
    """
    fitting = int(records * SLICE_S / took_s) if took_s > 0 else SLICE_RECORDS
    return max(1, min(fitting, 2 * records, SLICE_RECORDS))


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """Return where Kafka's default partitioner puts a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
