"""Seeks of Faust's consumer: marked, under one lock, and never the end of a worker.

Why seeks are guarded: Faust seeks from two places, at the end of a rebalance and
when it finds the flow stopped. A fetch that is in flight while somebody seeks
returns records of the old position. So every seek bumps the mark of its partitions,
before and after, under one lock; :mod:`streams.source` throws away what was fetched
under another mark.

Why seeks do not fail: they follow every rebalance, and a rebalance follows whatever
happened to Kafka. What it does not answer in time is not fetched until it has been
sought; a worker that lost more than an answer hears so from its group.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.ingress.intake import Intake
from streams.lane import TRANSIENT
from streams.ports import BatchHandler

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause before partitions are sought again that could not be."""


class SeekingConsumer(driver.Consumer):
    """Faust's consumer with seeks that are guarded, bounded and tried again.

    Attributes
    ----------
    batch, intake : BatchHandler, Intake
        Who takes whole batches, and so knows where a partition stands.
    unsought : set of TP
        Partitions that do not stand where they have to yet, and are not fetched.
    marks, seek_lock : dict, asyncio.Lock
        Number of each partition's last seek, and who may seek.
    """

    batch: BatchHandler
    intake: Intake
    io_timeout_s: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.marks: defaultdict[TP, int] = defaultdict(int)
        self.seek_lock = asyncio.Lock()
        self.unsought: set[TP] = set()
        self._again: asyncio.Task[None] | None = None
        super().__init__(*args, **kwargs)

    def is_batch(self, tp: TP) -> bool:
        """Return whether the partition belongs to a batch topic."""
        return tp.topic in self.batch.topics

    def owner_of(self, tp: TP) -> BatchHandler | Intake | None:
        """Return who takes whole batches of the partition; None: Faust's agents."""
        if tp.topic in self.batch.topics:
            return self.batch
        return self.intake if tp.topic in self.intake.topics else None

    def held(self) -> set[TP]:
        """Return what is assigned; nothing when the start failed half-way."""
        try:
            return set(self.assignment())
        except ConsumerNotStarted:
            return set()

    def bump(self, tps: Iterable[TP]) -> None:
        """Let every fetch of the partitions that is under way be thrown away."""
        for tp in tps:
            self.marks[tp] += 1

    async def perform_seek(self) -> None:
        """Seek agents' partitions to their commits and ours to their state."""
        await self._seek_no_more()
        async with self.seek_lock:
            tps = set(self.assignment())
            self.bump(tps)
            self.intake.on_seek()
            self.unsought = {tp for tp in tps if not self.is_batch(tp)}
            try:
                await self._seek_unsought()
                await self._seek_positions(tp for tp in tps if self.is_batch(tp))
            finally:
                self.bump(tps | self.held())
        if self.unsought:
            self._again = asyncio.create_task(self._seek_again())

    async def _seek_no_more(self) -> None:
        """Give up what is tried again: a new seek knows better."""
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
            await asyncio.wait([again])

    async def _seek_again(self) -> None:
        """Try until all stand where they have to; nobody fetches them meanwhile."""
        while self.unsought:
            await asyncio.sleep(RETRY_S)
            self.unsought &= self.held()
            try:
                await self._seek_unsought()
            except KafkaError as error:
                self.batch.on_read_error(error)
        logger.info("source.seek_done: all partitions are read again")

    async def _seek_unsought(self) -> None:
        """Seek what is to be sought; what can not be, for now, remains so."""
        tps = set(self.unsought)
        self.bump(tps)
        try:
            await super().perform_seek()
            await self._seek_uncommitted(tps)
        except (*TRANSIENT, KafkaError) as error:
            if isinstance(error, KafkaError) and not error.retriable:
                raise
            # Those of the intake need no commit once something of them was taken.
            tps = {tp for tp in tps if self._position(tp) is not None}
            logger.warning("source.seek_put_off %r", error)
        await self._seek_positions(tps)
        self.bump(tps)
        self.unsought -= tps

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek what is to be sought; batch partitions do not stand at a commit."""
        consumer = self._thread._ensure_consumer()
        held = set(consumer.assignment())
        wanted = [
            one for one in map(self._target, sorted(self.unsought)) if one in held
        ]
        if not wanted:  # would mean all
            return {}
        found = await self._in_thread(consumer.seek_to_committed, *sorted(wanted))
        return cast(Mapping[TP, int], found)

    async def _seek_uncommitted(self, tps: set[TP]) -> None:
        """Go to the start where nothing is committed: Faust leaves those alone.

        Left alone, a partition whose first fetch is thrown away loses it.
        """
        fresh = [self._target(tp) for tp in tps if not self._read_offset[tp]]
        if fresh:
            await self._in_thread(self._begin_anew, fresh)

    async def _begin_anew(self, fresh: list[Any]) -> None:
        """Have positions looked up; until they are known the client fetches nothing.

        Not waited for: a leader may be away for as long as it likes, and the client
        asks again until there is one.
        """
        consumer = self._thread._ensure_consumer()
        held = consumer.assignment()
        consumer._fetcher.request_offset_reset(
            [one for one in fresh if one in held], OffsetResetStrategy.EARLIEST
        )

    async def seek_batches(self, tps: Iterable[TP]) -> None:
        """Put batch partitions back to where their owner stands."""
        async with self.seek_lock:
            await self._seek_positions(tps)

    async def _seek_positions(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            offset = self._position(tp)
            if offset is not None:
                await self._seek_one(tp, offset)

    def _position(self, tp: TP) -> int | None:
        owner = self.owner_of(tp)
        return None if owner is None else owner.position(tp)

    async def _seek_one(self, tp: TP, offset: int) -> None:
        self.bump([tp])
        try:
            async with asyncio.timeout(self.io_timeout_s):
                await self._thread.seek_wait({self._target(tp): offset})
        finally:
            self.bump([tp])

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Make ``offset`` the next record fetched of a batch partition."""
        async with self.seek_lock:
            await self._seek_one(tp, offset)

    async def committed(self, tp: TP) -> int | None:
        """Return the offset the group has committed of a partition."""
        consumer = self._thread._ensure_consumer()
        offset = await self._in_thread(consumer.committed, self._target(tp))
        return cast("int | None", offset)

    def _target(self, tp: TP) -> Any:
        return self._new_topicpartition(tp.topic, tp.partition)

    async def _in_thread(self, ask: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Ask Kafka in the thread that talks to it, within the time limit.

        The limit holds in there: it has two hands, and who is no longer waited for
        must not keep one of them.
        """

        async def limited() -> Any:
            async with asyncio.timeout(self.io_timeout_s):
                return await ask(*args)

        return await self._thread.call_thread(limited)
