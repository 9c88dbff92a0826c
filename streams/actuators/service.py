"""The process: one of all delivers, the others stand by and take over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from streams.actuators.actinglane import ActingLane
from streams.actuators.alertlane import AlertLane
from streams.actuators.alertmanager import Alertmanager
from streams.actuators.drilling import Drills
from streams.actuators.hooks import UnknownHooks
from streams.actuators.journal import Journal
from streams.actuators.lane import Lane, Tools, Troubles
from streams.actuators.leases import Leases
from streams.actuators.parcel import Parcel
from streams.actuators.receiver import Receiver
from streams.actuators.table import KINDS
from streams.actuators.tally import Queue, Tally
from streams.connection import aiokafka_options
from streams.gate.reading import RECOMMENDED_WITHIN_MS, signed_of
from streams.greeting import unseen
from streams.permissions import Role, group_of
from streams.settings import Settings
from streams.signing import Unsigned, Verifier
from streams.topictable import DELIVERIES

logger = logging.getLogger(__name__)

BYTES_MAX = 64 * 1024 * 1024
"""Of all queues together; each receiver has an equal share."""

POLL_MS = 500
RETRY_S = 5.0
RECOMMENDATIONS = "recommendations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the process works with.

    Parameters
    ----------
    verifier : Verifier
        Whose recommendations count.
    leases : Leases or None
        Who may act; needed where a receiver acts.
    now_ms, chance, token, rest : callable
        Clock, chance on [0, 1), names of claims, a wait of so many seconds.
    enable : collection of str
        Receivers that answered 410 and are to be told again.
    """

    verifier: Verifier
    leases: Leases | None
    now_ms: Callable[[], int]
    chance: Callable[[], float]
    token: Callable[[], str]
    rest: Callable[[float], Awaitable[None]]
    enable: Iterable[str] = ()


class Service:
    """Reads recommendations and hands them to the lanes, while it is its turn.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    receivers : list of Receiver
        The file.
    parts : Parts
        Clocks and helpers.
    """

    def __init__(
        self, settings: Settings, receivers: list[Receiver], parts: Parts
    ) -> None:
        self._settings, self._receivers, self._parts = settings, receivers, parts
        self._lanes: dict[str, Lane] = {}
        self._shift: asyncio.Task[None] | None = None
        self.problem = "not in the group yet"
        self.is_active = False
        self._unknown = UnknownHooks([one.name for one in receivers])
        self.tally = Tally(
            self._queues, lambda: self.is_active, lambda: len(self._unknown)
        )

    async def run(self) -> None:
        """Be a member of the group until cancelled; Kafka may come and go."""
        while True:
            try:
                await self._member()
            except Troubles as error:
                self.problem = str(error) or type(error).__name__
                logger.warning("act.waiting: %s", self.problem)
                await self._parts.rest(RETRY_S)

    async def _member(self) -> None:
        conf = self._settings
        topic = conf.topic(DELIVERIES)
        consumer = AIOKafkaConsumer(
            **aiokafka_options(conf, "act"),
            group_id=group_of(conf, Role.ACTOR),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=int(conf.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(conf.session_timeout_s * 1_000 / 5),
        )
        try:
            await consumer.start()
            if topic not in await consumer.topics():
                raise unseen(conf, topic)
            consumer.subscribe([topic], listener=_Turns(self))
            self.problem = ""
            while True:
                parts = consumer.assignment()
                # Whose turn it is, is all that this consumer is for.
                consumer.pause(*parts)
                await consumer.getmany(timeout_ms=POLL_MS)
                if self._shift is not None and self._shift.done():
                    self._shift.result()
        finally:
            await self.end_shift()
            await consumer.stop()

    def begin_shift(self) -> None:
        """It is our turn."""
        self._shift = asyncio.create_task(self._work(), name="act-shift")

    async def end_shift(self) -> None:
        """It is somebody else's turn: nothing is begun any more."""
        shift, self._shift = self._shift, None
        self.is_active = False
        if shift is not None:
            shift.cancel()
            with suppress(asyncio.CancelledError, *Troubles):
                await shift

    async def _work(self) -> None:
        """Deliver until cancelled."""
        while True:
            journal = Journal(self._settings)
            try:
                await self._deliver(journal)
            except KafkaError as error:
                self.problem = str(error) or type(error).__name__
                logger.warning("act.restarting: %s", self.problem)
                await self._parts.rest(RETRY_S)
            except Exception as error:
                # A defect of ours: all stands in the topic, and others wait for it.
                self.problem = f"a defect: {error!r}"
                logger.exception("act.defect")
                await self._parts.rest(RETRY_S)
            finally:
                self.is_active = False
                with suppress(KafkaError):
                    await journal.close()

    async def _deliver(self, journal: Journal) -> None:
        await journal.open()
        parts = self._parts
        restored = await journal.restore(parts.now_ms())
        tools = Tools(
            keep=journal.keep,
            now_ms=parts.now_ms,
            chance=parts.chance,
            tally=self.tally,
        )
        self._lanes = {r.name: self._lane(r, tools) for r in self._receivers}
        for parcel in restored.parcels.values():
            await self._take_up(journal, parcel)
        drills = Drills(self._lanes, tools)
        self.problem, self.is_active = "", True
        logger.info("act.active deliveries=%d", len(restored.parcels))
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes.values():
                    group.create_task(lane.run(), name=f"act-{lane.receiver.name}")
                group.create_task(self._read(journal, restored.positions, drills))
        except* KafkaError as errors:
            raise errors.exceptions[0] from None
        finally:
            await drills.end()
            for lane in self._lanes.values():
                lane.actuator.close()

    async def _take_up(self, journal: Journal, parcel: Parcel) -> None:
        lane = self._lanes.get(parcel.receiver)
        if lane is None:
            if not parcel.state.is_over:
                await journal.forget(parcel)
        elif parcel.event == "" and parcel.receiver in self._parts.enable:
            await journal.forget(parcel)
        else:
            lane.restore(parcel)

    def _lane(self, receiver: Receiver, tools: Tools) -> Lane:
        kind, share = KINDS[receiver.kind], BYTES_MAX // max(1, len(self._receivers))
        actuator = kind.make(receiver)
        if isinstance(actuator, Alertmanager):
            return AlertLane(receiver, actuator, tools, share)
        if not kind.acts:
            return Lane(receiver, actuator, tools, share)
        leases = self._parts.leases
        assert leases is not None
        return ActingLane(
            receiver,
            actuator,
            tools,
            share,
            leases=leases,
            token=self._parts.token,
            rest=self._parts.rest,
        )

    async def _read(
        self, journal: Journal, positions: Mapping[int, int], drills: Drills
    ) -> None:
        """Hand every recommendation to all lanes, from where that ended last."""
        conf = self._settings
        consumer = AIOKafkaConsumer(
            **aiokafka_options(conf, "act-read"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            parts = await journal.partitions(conf.topic(RECOMMENDATIONS))
            await self._seek(consumer, parts, positions)
            while True:
                found = await consumer.getmany(timeout_ms=POLL_MS)
                for part, records in found.items():
                    for record in records:
                        await self._hand(record, drills)
                    after = records[-1].offset + 1
                    await journal.read_up_to({part.partition: after})
        finally:
            await consumer.stop()

    async def _seek(
        self, consumer: Any, parts: list[TopicPartition], positions: Mapping[int, int]
    ) -> None:
        """Go on; the first time begin with what is still of use."""
        consumer.assign(parts)
        since_ms = self._parts.now_ms() - RECOMMENDED_WITHIN_MS
        news = [part for part in parts if part.partition not in positions]
        found = await consumer.offsets_for_times(dict.fromkeys(news, since_ms))
        ends = await consumer.end_offsets(news)
        for part in parts:
            at = positions.get(part.partition)
            if at is None:
                later = found.get(part)
                at = ends[part] if later is None else later.offset
            consumer.seek(part, at)

    async def _hand(self, record: Any, drills: Drills) -> None:
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        try:
            signed = signed_of(record)
            self._parts.verifier.check(
                record.topic, record.key, record.value, signed.signature.encode()
            )
        except Unsigned as error:
            logger.warning("act.unsigned %s: %s", place, error)
            return
        except msgspec.DecodeError as error:
            logger.warning("act.unreadable %s: %s", place, error)
            return
        if signed.record.test:
            await drills.begin(signed)
            return
        self._unknown.note(signed.record)
        # At once: one after another, each more receiver would add a write that Kafka
        # acknowledges to what the last one waits in a burst.
        taken = (lane.take(signed) for lane in self._lanes.values())
        for problem in await asyncio.gather(*taken, return_exceptions=True):
            if problem is not None:
                raise problem

    def _queues(self) -> Iterable[Queue]:
        now_ms = self._parts.now_ms()
        for lane in self._lanes.values() if self.is_active else ():
            oldest_ms = lane.oldest_ms()
            age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1_000
            name, count = lane.receiver.name, len(lane.waiting)
            yield Queue(name, count, age_s, lane.is_disabled)


class _Turns(ConsumerRebalanceListener):  # type: ignore[misc]
    """Begins and ends our turn as the group says."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._service.end_shift()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if assigned:
            self._service.begin_shift()
