"""The ingress agent: Faust as intended, with its traps closed.

Faust acknowledges a batch of ``take`` in a ``finally``: whatever happens in the
body, an exception or a cancellation, the offsets count as done. So the body is not
allowed to fail: an error ends the process before the acknowledgement, and a
cancellation waits until the work is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, cast

import faust
from aiokafka.errors import KafkaError
from faust.streams import Stream
from faust.types import EventT, StreamT

from detector.records import Output
from streams.halt import Exit
from streams.ingress.codecs import CODECS
from streams.ingress.pack import Packed, Raw, pack
from streams.lanes import Halt
from streams.progress import Counters
from streams.settings import Settings
from streams.topics import DEADLETTER, LOG

logger = logging.getLogger(__name__)

TAKE_MAX = 500
TAKE_WITHIN_S = 0.1
RETRY_S = 1.0
ATTEMPTS_MAX = 30
"""Tries before the process ends: about as long as a broker takes to come back."""


class Sink(Protocol):
    """Takes records; returns when all are acknowledged."""

    async def write(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Write records to a topic, by key."""

    async def dead(self, topic: str, outputs: Sequence[Output]) -> None:
        """Write dead letters."""


class FaustSink:
    """Writes with the application's own producer (acks=all, murmur2 partitioner).

    Parameters
    ----------
    app : faust.App
        Whose producer is used.
    limit_s : float
        Longest wait for the acknowledgements.
    """

    def __init__(self, app: faust.App, limit_s: float) -> None:
        self._app = app
        self._limit_s = limit_s

    async def write(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Write records and wait for all acknowledgements."""
        await self._send([(topic, key, value, {}) for key, value in records])

    async def dead(self, topic: str, outputs: Sequence[Output]) -> None:
        """Write dead letters and wait for all acknowledgements."""
        await self._send(
            [
                (topic, out.key.encode(), out.value, {"id": out.id.encode()})
                for out in outputs
            ]
        )

    async def _send(
        self, records: Sequence[tuple[str, bytes, bytes, dict[str, bytes]]]
    ) -> None:
        producer = self._app.producer
        async with asyncio.timeout(self._limit_s):
            sent: list[Awaitable[Any]] = [
                await producer.send(topic, key, value, None, None, headers or None)
                for topic, key, value, headers in records
            ]
        if not sent:
            return
        futures = [asyncio.ensure_future(one) for one in sent]
        _, pending = await asyncio.wait(futures, timeout=self._limit_s)
        topics = {record[0]: None for record in records}
        if pending:
            places = ", ".join(topics)
            raise TimeoutError(f"{places}: {len(pending)} records not acknowledged")
        for record, future in zip(records, futures, strict=True):
            _check(record[0], future)


def _check(topic: str, future: asyncio.Future[Any]) -> None:
    """Name the topic that refused; what a broker gets over is tried again."""
    try:
        future.result()
    except KafkaError as error:
        if error.retriable:
            raise ConnectionError(f"{topic}: {error!r}") from error
        raise UndeliverableError(f"{topic} refuses the record: {error!r}") from error


class UndeliverableError(Exception):
    """A topic does not take a record, and would not take it later."""


class Door:
    """Moves batches of ingress messages into the log.

    Parameters
    ----------
    settings : Settings
        Names.
    identity_key : bytes
        With what users and sessions are hashed.
    sink : Sink
        Where records go.
    counters : Counters
        What is counted.
    """

    def __init__(
        self,
        settings: Settings,
        identity_key: bytes,
        sink: Sink,
        counters: Counters,
    ) -> None:
        self.ingress_of = {settings.topic(name): one for name, one in CODECS.items()}
        self._log = settings.topic(LOG)
        self._deadletter = settings.topic(DEADLETTER)
        self._identity_key = identity_key
        self._sink = sink
        self._counters = counters

    async def move(self, messages: Sequence[Raw]) -> Packed:
        """Write what the messages hold and return when it is acknowledged.

        A broker that does not answer is tried again: the copies a retry makes
        carry the same ids.
        """
        packed = pack(messages, self.ingress_of, self._identity_key)
        for attempt in range(ATTEMPTS_MAX):
            try:
                await self._sink.dead(self._deadletter, packed.dead)
                await self._sink.write(self._log, packed.records)
                break
            except (TimeoutError, OSError) as error:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                logger.warning("ingress.put_off error=%r", error)
                await asyncio.sleep(RETRY_S)
        self._counters.note_batch(packed.counts)
        return packed


def raw_of(event: EventT[Any]) -> Raw:
    """Return the Kafka message of a Faust event."""
    message = event.message
    timestamp_ms = round((message.timestamp or 0.0) * 1000)
    return Raw(
        message.topic, message.partition, message.offset, timestamp_ms, message.value
    )


async def unharmed(
    work: Coroutine[Any, Any, Any], where: Callable[[], str], halt: Halt
) -> None:
    """Finish the work even when cancelled; end the process when it fails."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    error = task.exception()
    if error is not None:
        halt(Exit.HANDLER, "%s: the batch could not be moved: %r", where(), error)
    if cancelled:
        raise asyncio.CancelledError


def register(
    app: faust.App,
    settings: Settings,
    identity_key: bytes,
    counters: Counters,
    halt: Halt,
) -> None:
    """Declare the ingress agent: one for all topics.

    One and not one per topic, because only a single stream keeps the order of time
    in which ``streams.merge`` hands the topics' records over.
    """
    door = Door(settings, identity_key, FaustSink(app, settings.io_timeout_s), counters)
    topics = app.topic(
        *door.ingress_of, key_serializer="raw", value_serializer="raw", internal=False
    )
    app.agent(topics, name="ingress", concurrency=1)(_agent(door, halt))


def _agent(
    door: Door, halt: Halt
) -> Callable[[StreamT[Any]], Coroutine[Any, Any, None]]:
    async def ingest(stream: StreamT[Any]) -> None:
        batches = cast(Stream[Any], stream)
        async for events in batches.take_events(TAKE_MAX, within=TAKE_WITHIN_S):
            messages = [raw_of(event) for event in events]
            first, last = messages[0], messages[-1]

            def where(first: Raw = first, last: Raw = last) -> str:
                return f"{first.topic}[{first.partition}]@{first.offset}..{last.offset}"

            await unharmed(door.move(messages), where, halt)

    return ingest
