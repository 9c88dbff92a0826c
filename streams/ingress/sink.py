"""Writes what ingress has packed to the log, in order, and waits until it stands.

A producer of its own, beside that of state and outputs: what ingress has to wait for
delays no snapshot. It is idempotent and acks=all. When anything goes wrong it is let
go with all that it still holds and the whole batch is written by a new one, after
the old one has ended: so the first copies of a service's events stay in their order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RecordListTooLargeError,
)

from detector.records import Output
from streams.connection import aiokafka_options
from streams.outbox import Emitter
from streams.patience import wait_briefly
from streams.settings import Settings
from streams.topics import LOG

logger = logging.getLogger(__name__)

BATCH_BYTES = 600_000
"""Bytes of one batch of the producer: one full array, or many small ones."""

_RENEWED = (InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerFenced)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class UndeliverableError(Exception):
    """A topic does not take a record, and would not take it later."""


class TooLargeError(UndeliverableError):
    """A topic does not take records of this size."""


class LogSink:
    """The log and the dead letters on Kafka.

    Parameters
    ----------
    settings : Settings
        Where Kafka is, names and time limits.
    emitter : Emitter
        Takes the dead letters.
    """

    def __init__(self, settings: Settings, emitter: Emitter) -> None:
        self._settings = settings
        self._emitter = emitter
        self._log = settings.topic(LOG)
        self._producer: AIOKafkaProducer | None = None

    async def dead(self, outputs: Sequence[Output]) -> None:
        """Write dead letters and wait for all acknowledgements."""
        if outputs:
            await self._emitter.emit(outputs)

    async def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Write records to the log and wait for all acknowledgements.

        Raises
        ------
        ConnectionError, TimeoutError
            Not all are known to be written; all of them may be written again.
        TooLargeError
            The topic takes no records of such a size, or not so many in one batch.
        UndeliverableError
            The topic refuses a record.
        """
        if not records:
            return
        try:
            await self._write(records)
        except BaseException:
            await self._abandon()
            raise

    async def _abandon(self) -> None:
        """Let the producer go with what it holds: none of it is sent later."""
        if self._producer is not None:
            self._producer._message_accumulator.fail_all(ConnectionError("given up"))
            sender = self._producer._sender.sender_task
            if sender is not None:
                sender.cancel()
        await self.stop()

    async def stop(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError):
                async with asyncio.timeout(self._settings.io_timeout_s):
                    await producer.stop()

    async def _write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        limit_s = self._settings.io_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                producer = await self._connected()
                sent = [
                    asyncio.ensure_future(
                        await producer.send(self._log, value, key=key)
                    )
                    for key, value in records
                ]
            # Not gather under a timeout: cancelling would drop the futures' results.
            _, pending = await asyncio.wait(sent, timeout=limit_s)
            if pending:
                raise TimeoutError(f"{self._log}: {len(pending)} not acknowledged")
            errors = [error for one in sent if (error := one.exception()) is not None]
            # What one refusal did to the records behind it is not what is wrong.
            errors.sort(key=lambda error: not isinstance(error, _TOO_LARGE))
            if errors:
                raise errors[0]
        except _RENEWED as error:
            raise ConnectionError(f"{self._log}: {error!r}: a new producer") from error
        except _TOO_LARGE as error:
            raise TooLargeError(f"{self._log} refuses the size: {error!r}") from error
        except KafkaError as error:
            if error.retriable:
                raise ConnectionError(f"{self._log}: {error!r}") from error
            text = f"{self._log} refuses the record: {error!r}"
            raise UndeliverableError(text) from error

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            options = aiokafka_options(self._settings, "ingress")
            # Longer than our own patience: one batch must not expire before the next.
            options["request_timeout_ms"] *= 2
            producer = AIOKafkaProducer(
                acks="all",
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES,
                compression_type=self._settings.connection.compression_type(),
                **options,
            )
            wait_briefly(producer.client, self._settings.io_timeout_s)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer
