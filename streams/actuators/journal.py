"""The topic of deliveries: how far each has come, and up to where was read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.actuators.lane import KEPT_MS
from streams.actuators.parcel import Parcel
from streams.connection import aiokafka_options
from streams.patience import wait_briefly
from streams.settings import Settings
from streams.topictable import DELIVERIES

POSITION = "position|"
POLL_MS = 500

_encoder = msgspec.json.Encoder()
_parcels = msgspec.json.Decoder(Parcel)
_offsets = msgspec.json.Decoder(int)


class Restored(NamedTuple):
    """What stood in the topic: deliveries by name, next offset by partition."""

    parcels: dict[str, Parcel]
    positions: dict[int, int]


class Journal:
    """Reads and writes `deliveries`; one process at a time does.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._part = TopicPartition(settings.topic(DELIVERIES), 0)
        self._producer: Any = None

    async def open(self) -> None:
        """Connect for writing."""
        self._producer = AIOKafkaProducer(
            **aiokafka_options(self._settings, "deliveries"),
            acks="all",
            enable_idempotence=True,
        )
        wait_briefly(self._producer.client, self._settings.io_timeout_s)
        await self._producer.start()

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic."""
        numbers = await self._producer.partitions_for(topic)
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    async def keep(self, parcel: Parcel) -> None:
        """Write how far a delivery has come; returns once Kafka has it."""
        await self._write(parcel.name, _encoder.encode(parcel))

    async def forget(self, parcel: Parcel) -> None:
        """Let compaction remove a delivery."""
        await self._write(parcel.name, None)

    async def read_up_to(self, positions: Mapping[int, int]) -> None:
        """Note the next offsets of recommendations that are to be read."""
        for partition, offset in positions.items():
            await self._write(f"{POSITION}{partition}", _encoder.encode(offset))

    async def restore(self, now_ms: int) -> Restored:
        """Everything that stands in the topic; what is too old is removed."""
        parcels: dict[str, Parcel] = {}
        positions: dict[int, int] = {}
        async with aclosing(self._records()) as records:
            async for key, value in records:
                name = key.decode("utf-8", "replace")
                if name.startswith(POSITION):
                    partition = int(name.removeprefix(POSITION))
                    positions[partition] = _offsets.decode(value)
                    continue
                parcels.pop(name, None)
                if value is not None:
                    parcels[name] = _parcels.decode(value)
        for name, one in list(parcels.items()):
            if one.state.is_over and one.event and one.begun_ms < now_ms - KEPT_MS:
                await self.forget(parcels.pop(name))
        return Restored(parcels, positions)

    async def _write(self, key: str, value: bytes | None) -> None:
        await self._producer.send_and_wait(
            self._part.topic, value, key=key.encode(), partition=0
        )

    async def _records(self) -> AsyncGenerator[tuple[bytes, Any], None]:
        consumer = AIOKafkaConsumer(
            **aiokafka_options(self._settings, "deliveries-read"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            consumer.assign([self._part])
            await consumer.seek_to_beginning(self._part)
            end = (await consumer.end_offsets([self._part]))[self._part]
            while await consumer.position(self._part) < end:
                found = await consumer.getmany(timeout_ms=POLL_MS)
                for record in found.get(self._part, ()):
                    yield record.key, record.value
        finally:
            await consumer.stop()
