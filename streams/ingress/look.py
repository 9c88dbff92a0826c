"""Looks at the ingress topics' offsets with a connection of its own."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.bus import Bus
from streams.connection import aiokafka_reader_options
from streams.ingress.drained import Held
from streams.topics import INGRESS


class IngressLook:
    """``streams.ingress.drained.IngressOffsets`` of a cluster.

    Parameters
    ----------
    bus : Bus
        Settings, time limit and the sorting of errors.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._topics = [bus.settings.topic(name) for name in INGRESS]
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def ingress_offsets(self) -> Mapping[tuple[str, int], Held]:
        """What every ingress partition holds, and what the group has moved."""
        async with self._bus.limited("ingress offsets"):
            consumer, admin = await self._connected()
            # Not from the consumer: it knows topics it is subscribed to, and no other.
            described = await admin.describe_topics(self._topics)
            parts = [
                TopicPartition(topic["topic"], part["partition"])
                for topic in described
                for part in topic["partitions"]
            ]
            ends = await consumer.end_offsets(parts)
            starts = await consumer.beginning_offsets(parts)
            # Last: what was moved meanwhile only makes the answer more cautious.
            group = await admin.list_consumer_group_offsets(self._bus.settings.group)
        moved = {tuple(part): found.offset for part, found in group.items()}
        return {
            (part.topic, part.partition): Held(
                starts[part], ends[part], moved.get(tuple(part))
            )
            for part in parts
        }

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        async with self._bus.limited("ingress offsets"):
            if consumer is not None:
                await consumer.stop()
            if admin is not None:
                await admin.close()

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        common = aiokafka_reader_options(self._bus.settings, "look")
        if self._consumer is None:
            consumer = AIOKafkaConsumer(enable_auto_commit=False, **common)
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        if self._admin is None:
            admin = AIOKafkaAdminClient(**common)
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        return self._consumer, self._admin
