"""Reading the log in whole fetch batches, inside Faust's own consumer.

An ordinary agent takes one trip through task, queue and stream per message; that
is what limits Faust, not decoding. Here the records of the log (BATCH topics) go
from the fetch straight to a handler and those of ingress topics to the intake; all
other topics take Faust's usual way. Group, rebalances and commits stay Faust's.

Every private name of Faust that this project overrides or calls is used in this
module or in :mod:`streams.seeking` and stands in :mod:`streams.pins`, so that an
upgrade fails loudly. A fetch whose mark was changed by a seek is thrown away and the
partition is put back to where its owner stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, ClassVar, cast

from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from faust.types.transports import ConsumerT

from detector.records import LogRecord
from streams.bounded import take_refused
from streams.fetching import PromptThread
from streams.ingress.intake import Intake
from streams.ports import BatchHandler
from streams.seeking import SeekingConsumer

logger = logging.getLogger(__name__)

IDLE_S = 0.05
"""Pause before looking again while no partition can be fetched."""


class BatchConsumer(SeekingConsumer):
    """Faust's consumer, with whole batches for a handler and for the intake."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        transport = cast(BatchTransport, self.transport)
        self.batch, self.intake = transport.batch, transport.intake
        self.io_timeout_s = transport.io_timeout_s
        self.intake.bind(self._ingress, self.highwater)

    def _new_consumer_thread(self) -> PromptThread:
        return PromptThread(self, loop=self.loop, beacon=self.beacon)

    def _ingress(self) -> list[TP]:
        return [tp for tp in self.held() if self.owner_of(tp) is self.intake]

    # Fetching.

    async def _getmany(
        self, active_partitions: set[TP] | None, timeout: float
    ) -> dict[TP, list[Any]]:
        """Fetch, and throw away what a seek has overtaken."""
        async with self.seek_lock:
            wanted = self._fetchable(active_partitions)
            marks = {tp: self.marks[tp] for tp in wanted}
        if not wanted:
            # An empty set would mean ALL partitions to the fetcher.
            await self.sleep(IDLE_S)
            return {}
        if len(wanted) < len(active_partitions or ()) or self.intake.holds:
            timeout = min(timeout, IDLE_S * 4)
        records = await self._fetched(wanted, timeout)
        if refused := take_refused(self.batch.reports):
            await self.batch.on_refused(refused)
        self.intake.asked(tp for tp in wanted if tp.topic in self.intake.topics)
        stale = {tp for tp in records if self.marks[tp] != marks.get(tp)}
        if stale:
            await self._throw_away(records, stale)
        return records

    async def _fetched(self, wanted: set[TP], timeout: float) -> dict[TP, list[Any]]:
        """Fetch; what went wrong must not reach Faust, whose end of it may hang."""
        try:
            return dict(await super()._getmany(wanted, timeout))
        except ConsumerStoppedError:
            raise
        except KafkaError as error:
            self.batch.on_read_error(error)
            return {}

    async def _hear_errors(self) -> None:
        """Ask for the group's errors: without that, as in Faust, it waits for ever."""
        group = self._thread._ensure_consumer()._coordinator
        if not (group._pending_exception or group._coordination_task.done()):
            return

        async def ask() -> None:
            group.check_errors()

        try:
            await self._thread.call_thread(ask)
        except KafkaError as error:
            self.batch.on_read_error(error)

    def _fetchable(self, active: set[TP] | None) -> set[TP]:
        owners = {tp: self.owner_of(tp) for tp in active or ()}
        wanted = {tp for tp, one in owners.items() if one is None or one.wants(tp)}
        return wanted - self.unsought

    async def _throw_away(self, records: dict[TP, list[Any]], stale: set[TP]) -> None:
        """Drop overtaken records and stand where the owners stand."""
        for tp in stale:
            del records[tp]
        self.batch.on_discarded(stale)
        if any(not self.is_batch(tp) for tp in stale):
            await self.perform_seek()
        else:
            await self.seek_batches(stale)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Hand batches over, yield the messages of other topics."""
        generation_id = self.app.consumer_generation_id
        await self._hear_errors()
        records, _ = await self._wait_next_records(timeout)
        if self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        found = cast(dict[TP, list[Any]], records or {})
        marks = {tp: self.marks[tp] for tp in found}
        for tp, batch in found.items():
            is_current = self.marks[tp] == marks[tp]
            if self.owner_of(tp) is self.intake and is_current:
                self.intake.on_records(tp, batch)
            elif self.is_batch(tp) and is_current:
                await self._hand_over(tp, batch)
            elif self.is_batch(tp):
                # A seek came while another partition's batch was handled.
                self.batch.on_discarded([tp])
                await self.seek_batches([tp])
        self.intake.go_on()
        for tp, batch in found.items():
            for record in batch if self.owner_of(tp) is None else ():
                if not self._is_current(tp, marks[tp], generation_id):
                    return  # A seek reads again what is held here.
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._to_message(tp, record)

    def _is_current(self, tp: TP, mark: int, generation_id: int) -> bool:
        """Return whether no seek and no rebalance has come since the fetch."""
        return (
            self.flow_active
            and self.marks[tp] == mark
            and self.app.consumer_generation_id == generation_id
        )

    async def _hand_over(self, tp: TP, batch: list[Any]) -> None:
        new = tuple.__new__
        # Without the call of a constructor in Python, which is half of the time.
        records: list[LogRecord] = [
            new(LogRecord, (r.offset, r.timestamp, r.key, r.value)) for r in batch
        ]
        await self.batch.on_records(tp, records, self.highwater(tp))

    async def _seek_back(self) -> None:
        """Undo a fetch that came back after the flow was stopped."""
        try:
            await self.perform_seek()
        except (TimeoutError, OSError, RuntimeError, AssertionError) as error:
            # Nothing is lost: the end of the rebalance seeks once more.
            logger.warning("source.seek_back_failed error=%r", error)

    # Committing.

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp in self.held():
            owner = self.owner_of(tp)
            if owner is None or owner.committable(tp) is None:
                continue
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        """Commit the log up to the last acknowledged manifest, ingress to its run."""
        owner = self.owner_of(tp)
        return super()._new_offset(tp) if owner is None else owner.committable(tp)

    # Rebalances.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Snapshot and commit BEFORE Faust forgets what was acknowledged."""
        mine = [tp for tp in revoked if self.is_batch(tp)]
        self.bump(tp for tp in revoked if tp.topic in self.intake.topics)
        await asyncio.gather(
            self.batch.on_revoked(mine), self.intake.on_revoked(self.io_timeout_s)
        )
        try:
            async with asyncio.timeout(self.io_timeout_s):
                await self.commit()
        except TimeoutError:
            logger.warning("source.commit_on_revoke_timed_out: will be read again")
        self.intake.forget(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(
        self, assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Let Faust do its part, then begin to own the batch partitions."""
        await super().on_partitions_assigned(assigned, generation_id)
        await self.batch.on_assigned([tp for tp in assigned if self.is_batch(tp)])

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave batch partitions out: Faust would call them stuck for ever.

        And those whose leader is sought: Faust asserts that they have a position.
        """
        with suppress(AssertionError):
            if self.owner_of(tp) is None:
                super().verify_event_path(now, tp)


class BatchTransport(driver.Transport):
    """Faust's transport with :class:`BatchConsumer` as its consumer.

    ``batch`` takes the records of the log and ``intake`` those of ingress topics;
    ``io_timeout_s`` limits every single wait for Kafka.
    """

    Consumer: ClassVar[type[ConsumerT]] = BatchConsumer

    def __init__(
        self,
        *args: Any,
        batch: BatchHandler,
        intake: Intake,
        io_timeout_s: float,
        **kwargs: Any,
    ) -> None:
        self.batch = batch
        self.intake = intake
        self.io_timeout_s = io_timeout_s
        super().__init__(*args, **kwargs)
