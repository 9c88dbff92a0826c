"""Reading the log without Faust's consumer: the way out if Faust breaks ours.

A service of the Faust application that owns a member of the same group
(:mod:`streams.logclient`) and gives whole batches to the same handler as
:mod:`streams.source`. The same promises, and the same guard of seeks: every seek bumps
the mark of its partition, before and after, under one lock; a fetch whose mark changed
is thrown away and the partition is put back to where its owner stands.

Chosen by ``HYPERCARE_SOURCE=own``. Ingress topics stay with Faust's consumer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust import Service
from faust.types import TP

from detector.records import LogRecord
from streams.bounded import Refused, take_refused
from streams.halt import Exit
from streams.lane import TRANSIENT
from streams.lanes import Halt
from streams.ports import BatchHandler
from streams.settings import Settings
from streams.source import IDLE_S

logger = logging.getLogger(__name__)

RETRY_S = 1.0
FETCH_S = 1.0
COMMIT_S = 1.0
"""Shortest time between two commits of the group."""


class Client(Protocol):
    """A member of the group, as :class:`streams.logclient.LogClient`."""

    async def start(
        self,
        revoked: Callable[[set[TP]], Awaitable[None]],
        assigned: Callable[[set[TP]], Awaitable[None]],
    ) -> None:
        """Connect and join."""

    async def stop(self) -> None:
        """Leave and disconnect."""

    async def getmany(self, active: set[TP], timeout: float) -> dict[TP, list[Any]]:
        """Return records of the partitions; raise what is wrong with the group."""

    async def seek_wait(self, positions: Mapping[TP, int]) -> None:
        """Stand at offsets."""

    async def commit(self, offsets: Mapping[TP, int]) -> Any:
        """Commit offsets."""

    async def committed(self, tp: TP) -> int | None:
        """Return the group's offset."""

    def assignment(self) -> set[TP]:
        """Return the partitions of this member."""

    def highwater(self, tp: TP) -> int | None:
        """Return the end of a partition."""

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic."""


class OwnSource(Service):
    """Gives the log's batches to a handler; :class:`streams.lanes.Source`.

    Parameters
    ----------
    settings : Settings
        Time limits.
    batch : BatchHandler
        Who takes the records.
    client : Client
        The member of the group.
    halt : callable
        Ends the process: ``halt(code, message, *args)``.
    monotonic_s : callable
        Clock for the pace of commits.
    """

    def __init__(
        self,
        settings: Settings,
        batch: BatchHandler,
        client: Client,
        *,
        halt: Halt,
        monotonic_s: Callable[[], float],
        **kwargs: Any,
    ) -> None:
        self.batch = batch
        self._settings = settings
        self._client = client
        self._halt = halt
        self._monotonic_s = monotonic_s
        self._marks: defaultdict[TP, int] = defaultdict(int)
        self._seek_lock = asyncio.Lock()
        self._committed: dict[TP, int] = {}
        self._commit_due_s = 0.0
        self._pumping: asyncio.Task[None] | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        """Join the group and begin to read."""
        try:
            await self._client.start(self.on_partitions_revoked, self.on_assigned)
        except (KafkaError, OSError) as error:
            self._halt(Exit.UNREACHABLE, "kafka.gone: %r: start again", error)
        self._pumping = asyncio.create_task(self._pump())

    async def on_stop(self) -> None:
        """Read no more, commit what the last manifests say, leave the group."""
        if self._pumping is None:
            return
        self._pumping.cancel()
        await asyncio.wait([self._pumping])
        await self.commit()
        try:
            await self._client.stop()
        except (KafkaError, OSError) as error:
            logger.warning("source.leave_failed %r", error)

    # Fetching.

    async def _pump(self) -> None:
        while True:
            if not await self.step(FETCH_S):
                await asyncio.sleep(RETRY_S)

    async def step(self, timeout_s: float) -> bool:
        """Fetch once and hand over; ``False``: wait a little before the next time."""
        try:
            await self._round(timeout_s)
        except (*TRANSIENT, KafkaError) as error:
            self.batch.on_read_error(error)
            return False
        except Exception as error:
            logger.exception("source.failed")
            self._halt(Exit.HANDLER, "the log can not be read: %r", error)
        return True

    async def _round(self, timeout_s: float) -> None:
        assigned = self._client.assignment()
        async with self._seek_lock:
            wanted = {tp for tp in assigned if self.batch.wants(tp)}
            marks = {tp: self._marks[tp] for tp in wanted}
        if len(wanted) < len(assigned):
            timeout_s = min(timeout_s, IDLE_S * 4)
        records = await self._client.getmany(wanted, timeout_s)
        if refused := take_refused(self.batch.topics.__contains__):
            await self.batch.on_refused(refused)
        for tp, batch in records.items():
            await self._hand_over(tp, marks.get(tp), batch)
        if self._monotonic_s() >= self._commit_due_s:
            await self.commit()
        if not wanted:
            await asyncio.sleep(IDLE_S)

    async def _hand_over(self, tp: TP, mark: int | None, batch: list[Any]) -> None:
        # Asked for each batch: a seek may come while another one is handled.
        if self._marks[tp] != mark:
            self.batch.on_discarded([tp])
            offset = self.batch.position(tp)
            if offset is not None:
                await self.seek_to(tp, offset)
            return
        records = [LogRecord(r.offset, r.timestamp, r.key, r.value) for r in batch]
        await self.batch.on_records(tp, records, self._client.highwater(tp))

    # What the lanes ask.

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Make ``offset`` the next record fetched of a partition."""
        async with self._seek_lock:
            self._bump([tp])
            try:
                async with self._limited():
                    await self._client.seek_wait({tp: offset})
            finally:
                self._bump([tp])

    async def committed(self, tp: TP) -> int | None:
        """Return the offset the group has committed of a partition."""
        async with self._limited():
            return await self._client.committed(tp)

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic."""
        return self._client.topic_partitions(topic)

    def _bump(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._marks[tp] += 1

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Bound a wait for Kafka; what it may get over is tried again by the lane."""
        try:
            async with asyncio.timeout(self._settings.io_timeout_s):
                yield
        except KafkaError as error:
            # Also a partition that is not ours any more: the lane is about to hear.
            raise ConnectionError(f"the log: {error!r}") from error

    # Committing.

    async def commit(self) -> None:
        """Commit up to the last acknowledged manifests, where that has moved."""
        self._commit_due_s = self._monotonic_s() + COMMIT_S
        offsets: dict[TP, int] = {}
        for tp in self._client.assignment():
            offset = self.batch.committable(tp)
            if offset is not None and self._committed.get(tp) != offset:
                offsets[tp] = offset
        if not offsets:
            return
        try:
            async with self._limited():
                await self._client.commit(offsets)
        except TRANSIENT as error:
            # Nothing depends on it: who owns the partition starts from its manifest.
            logger.warning("source.commit_put_off %r", error)
        else:
            self._committed.update(offsets)

    # Rebalances. The group's client swallows what is raised in here.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Write the last snapshots and commit before the partitions go."""
        try:
            await self.batch.on_revoked(revoked)
            await self.commit()
        except Exception as error:
            logger.exception("source.revoke_failed")
            self._halt(Exit.HANDLER, "partitions can not be given back: %r", error)
        self._bump(revoked)
        self._committed.clear()

    async def on_assigned(self, assigned: set[TP]) -> None:
        """Begin to own partitions."""
        try:
            self._bump(assigned)
            await self.batch.on_assigned(assigned)
        except Exception as error:
            logger.exception("source.assign_failed")
            self._halt(Exit.HANDLER, "partitions can not be taken: %r", error)


class IngressOnly:
    """The handler of Faust's consumer when the log is read by :class:`OwnSource`.

    Parameters
    ----------
    lanes : BatchHandler
        Who hears of what concerns ingress topics.
    """

    def __init__(self, lanes: BatchHandler) -> None:
        self._lanes = lanes
        self.topics: frozenset[str] = frozenset()

    def wants(self, tp: TP) -> bool:
        """Return False: no partition of Faust's is a batch partition."""
        return False

    def position(self, tp: TP) -> int | None:
        """Return None: Faust seeks to what is committed."""
        return None

    def committable(self, tp: TP) -> int | None:
        """Return None: Faust commits what is acknowledged."""
        return None

    async def on_records(
        self, tp: TP, records: list[LogRecord], highwater: int | None
    ) -> None:
        """Take nothing: there are no batch partitions."""

    async def on_assigned(self, tps: Iterable[TP]) -> None:
        """Leave the lanes alone: Faust's rebalances are not theirs."""

    async def on_revoked(self, tps: Iterable[TP]) -> None:
        """Leave the lanes alone."""

    def on_discarded(self, tps: Iterable[TP]) -> None:
        """Count fetches that a seek has overtaken."""
        self._lanes.on_discarded(tps)

    async def on_refused(self, refused: list[Refused]) -> None:
        """Write down what was too large to open."""
        await self._lanes.on_refused(refused)

    def reports(self, topic: str) -> bool:
        """Return whether to be told of batches refused: of all but the log."""
        return topic not in self._lanes.topics

    def on_read_error(self, error: Exception) -> None:
        """Go on or end the process, as for the log."""
        self._lanes.on_read_error(error)
