"""The worker's own connection to Kafka: state records, outputs and ticks.

One idempotent producer with acks=all, so that retries neither double nor reorder a
partition's records, and one short-lived reader per look at a state partition. Every
call ends within the time limit; what Kafka may yet get over becomes
``ConnectionError`` or ``TimeoutError`` and is tried again, the rest is raised as it
is and ends the process. A producer that is out of order is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from detector.combiner.sending import COMBINED
from detector.records import Output
from detector.wire import RECOMMENDATIONS
from streams import signing
from streams.brokerclock import BrokerClock
from streams.cloudevent import headers_of
from streams.connection import aiokafka_options, aiokafka_reader_options
from streams.outbox import Ways
from streams.patience import wait_briefly
from streams.settings import Settings
from streams.signing import Signer
from streams.statelog import StateRecord, Write
from streams.topics import STATE
from streams.wallclock import monotonic_s, now_ms

logger = logging.getLogger(__name__)

FATAL = (InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerFenced)
"""The producer itself is broken, for example because records expired while all brokers
were away and left a hole in its numbers: only a new one helps."""

RENEW_S = 1.0

READ_MS = 500


class Bus:
    """Producer and readers of one worker.

    Parameters
    ----------
    settings : Settings
        Where Kafka is, names and time limits.
    state : str
        Last part of the name of the state topic.
    signer : Signer or None
        Signs recommendations.
    ways : Ways or None
        To which topics outputs go; those of a worker where none are given.

    Attributes
    ----------
    clock : BrokerClock
        The brokers' time, as their acknowledgements tell it.
    """

    def __init__(
        self,
        settings: Settings,
        state: str = STATE,
        signer: Signer | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.settings = settings
        self._ways = ways or Ways()
        self._signer = signer
        self._state = state
        self.clock = BrokerClock(monotonic_s, now_ms)
        self._producer: AIOKafkaProducer | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._servers = deque(settings.kafka.split(","))

    async def start(self) -> None:
        """Connect; must run in the loop that uses the bus."""
        if self._producer is not None:
            return
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            compression_type=self.settings.connection.compression_type(),
            **aiokafka_options(self.settings),
        )
        wait_briefly(producer.client, self.settings.io_timeout_s)
        try:
            async with asyncio.timeout(self.settings.io_timeout_s * 2):
                await producer.start()
        except (KafkaError, TimeoutError):
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait([renewing])
        producer, self._producer = self._producer, None
        if producer is not None:
            async with asyncio.timeout(self.settings.io_timeout_s):
                await producer.stop()

    def _replace_producer(self) -> None:
        """Begin to replace a broken producer; until then nothing can be sent.

        What it still held counts as not written: a snapshot is written whole the
        next time, and outputs are sent again.
        """
        broken, self._producer = self._producer, None
        if broken is not None:
            self._renewing = asyncio.create_task(self._renew(broken))

    async def _renew(self, broken: AIOKafkaProducer) -> None:
        while self._producer is None:
            try:
                await self.start()
            except (KafkaError, OSError) as error:
                logger.warning("bus.renew_put_off %r", error)
                await asyncio.sleep(RENEW_S)
        logger.warning("bus.renewed: the producer was out of order")
        with suppress(KafkaError, OSError):
            async with asyncio.timeout(self.settings.io_timeout_s):
                await broken.stop()

    async def produce(
        self,
        topic: str,
        writes: Sequence[Write],
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> list[int]:
        """Write records in order and return their offsets once acknowledged."""
        async with self.limited(topic):
            sent = [
                await self._send(topic, key, value, partition, headers)
                for key, value in writes
            ]
        return await self._acknowledged(topic, sent)

    async def emit(self, outputs: Sequence[Output]) -> None:
        """Send outputs to their topics, in order; return when all are acknowledged."""
        sent: dict[str, list[Awaitable[Any]]] = {}
        for output in outputs:
            key = output.key.encode()
            for name in self._ways.topics[output.topic]:
                topic = self.settings.topic(name)
                headers = self._headers(topic, key, output)
                async with self.limited(topic):
                    one = await self._send(topic, key, output.value, None, headers)
                sent.setdefault(topic, []).append(one)
        # The topic that takes nothing is named, and the others get theirs first.
        found = await asyncio.gather(
            *(self._acknowledged(topic, ones) for topic, ones in sent.items()),
            return_exceptions=True,
        )
        for error in found:
            if isinstance(error, BaseException):
                raise error

    def _headers(
        self, topic: str, key: bytes, output: Output
    ) -> list[tuple[str, bytes]]:
        if output.topic == COMBINED:  # what goes into the log is input, no event
            return []
        headers = headers_of(output, self._ways.source)
        if output.topic == RECOMMENDATIONS and self._signer is not None:
            signed = self._signer.header(topic, key, output.value)
            headers.append((signing.HEADER, signed))
        return headers

    async def _send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> Awaitable[Any]:
        if self._producer is None:
            raise ConnectionError("the worker's producer is not connected")
        future: Awaitable[Any] = await self._producer.send(
            topic, value, key=key, partition=partition, headers=list(headers)
        )
        return future

    async def extent(self, topic: str, partition: int) -> tuple[int, int]:
        """Return first offset and end offset of a partition.

        Not asked through Faust's consumer: on its connection the question waits
        behind a fetch that waits for records (measured: 6 s for 4 idle partitions).
        """
        tp = TopicPartition(topic, partition)
        async with self.reader() as consumer, self.limited(topic):
            starts = await consumer.beginning_offsets([tp])
            ends = await consumer.end_offsets([tp])
        return int(starts[tp]), int(ends[tp])

    def state_log(self, partition: int) -> KafkaStateLog:
        """Return one partition of the state topic."""
        return KafkaStateLog(self, self.settings.topic(self._state), partition)

    async def _acknowledged(self, topic: str, sent: list[Awaitable[Any]]) -> list[int]:
        # Not gather under a timeout: cancelling would drop the futures' results.
        if not sent:
            return []
        futures = [asyncio.ensure_future(one) for one in sent]
        _, pending = await asyncio.wait(futures, timeout=self.settings.io_timeout_s)
        if pending:
            raise TimeoutError(f"{topic}: {len(pending)} records not acknowledged")
        async with self.limited(topic):
            found = [await one for one in futures]
        self.clock.note(found[-1].timestamp, found[-1].timestamp_type)
        return [one.offset for one in found]

    @asynccontextmanager
    async def limited(self, topic: str) -> AsyncIterator[None]:
        """Bound what happens inside and sort its errors, naming the topic."""
        try:
            async with asyncio.timeout(self.settings.io_timeout_s):
                yield
        except FATAL as error:
            self._replace_producer()
            raise ConnectionError(f"{topic}: {error!r}: a new producer") from error
        except KafkaError as error:
            raise ConnectionError(f"{topic}: {error!r}") from error

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Open a consumer without a group."""
        async with self.limited("reader"):
            consumer = await self._open_reader()
        try:
            yield consumer
        finally:
            async with asyncio.timeout(self.settings.io_timeout_s):
                await consumer.stop()

    async def _open_reader(self) -> AIOKafkaConsumer:
        """Connect by the server that answered last, or else by the next that does.

        The client asks them in any order: a claim opens several readers, and each
        would wait for a frozen one anew.
        """
        for left in reversed(range(len(self._servers))):
            options = aiokafka_reader_options(self.settings, "state")
            options["bootstrap_servers"] = self._servers[0]
            consumer = AIOKafkaConsumer(
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=8 * 1024 * 1024,
                **options,
            )
            try:
                await consumer.start()
                break
            except BaseException as error:
                await consumer.stop()
                self._servers.rotate(-1)
                if not left or not isinstance(error, KafkaError):
                    raise
        return consumer


class KafkaStateLog:
    """One partition of the state topic, as :class:`streams.fence.StateLog`."""

    def __init__(self, bus: Bus, topic: str, partition: int) -> None:
        self._bus = bus
        self._tp = TopicPartition(topic, partition)
        self._idle_max = int(bus.settings.io_timeout_s * 1000) // READ_MS

    async def append(self, writes: Sequence[Write]) -> list[int]:
        """Write records in order; return their offsets once acknowledged."""
        return await self._bus.produce(
            self._tp.topic, writes, partition=self._tp.partition
        )

    async def end(self) -> int:
        """Return the offset the next record will get."""
        async with self._bus.reader() as consumer, self._bus.limited(self._tp.topic):
            ends = await consumer.end_offsets([self._tp])
        return int(ends[self._tp])

    async def read(self, start: int, stop: int) -> AsyncIterator[StateRecord]:
        """Yield what stands in ``[start, stop)``; compaction leaves holes."""
        if start >= stop:
            return
        async with self._bus.reader() as consumer:
            consumer.assign([self._tp])
            consumer.seek(self._tp, start)
            idle = 0
            while idle < self._idle_max:
                async with self._bus.limited(self._tp.topic):
                    batches = await consumer.getmany(self._tp, timeout_ms=READ_MS)
                    position = await consumer.position(self._tp)
                idle = 0 if batches else idle + 1
                for record in batches.get(self._tp, ()):
                    if record.offset < stop:
                        yield StateRecord(
                            *(record.offset, record.key, record.value),
                            record.timestamp,
                        )
                if position >= stop:
                    return
        raise TimeoutError(
            f"{self._tp.topic}-{self._tp.partition}: no records at offset {position} "
            f"of [{start}, {stop})"
        )
