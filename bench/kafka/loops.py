"""Bare loops around a client library that decode, count and drop copies."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.kafka.contest import Entry
from bench.kafka.meter import Meter
from bench.plain import PlainCount

POLL_RECORDS = 5_000
FETCH_BYTES = 4 * 1024 * 1024


def run_aiokafka(entry: Entry) -> None:
    """`getmany` in a loop, with the fetch sizes of Hypercare's worker."""
    asyncio.run(_aiokafka(entry))


async def _aiokafka(entry: Entry) -> None:
    count = PlainCount(ids=entry.load.ids, sessions=entry.load.sessions)
    meter, left = Meter(), dict(entry.ends)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=entry.bootstrap,
        group_id=entry.group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    consumer.assign([TopicPartition(entry.topic, p) for p in left])
    while left:
        found = await consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS)
        if found:
            meter.begin()
        for tp, records in found.items():
            end = entry.ends[tp.partition]
            if records[-1].offset >= end:
                records = [record for record in records if record.offset < end]
            count.add([record.value for record in records])
            if not records or records[-1].offset + 1 >= end:
                left.pop(tp.partition, None)
    meter.end(count.events)


def run_confluent(entry: Entry) -> None:
    """`consume` in a loop."""
    from confluent_kafka import Consumer
    from confluent_kafka import TopicPartition as Partition

    count = PlainCount(ids=entry.load.ids, sessions=entry.load.sessions)
    meter, left = Meter(), dict(entry.ends)
    consumer = Consumer(
        {
            "bootstrap.servers": entry.bootstrap,
            "group.id": entry.group,
            "auto.offset.reset": "earliest",
            "max.partition.fetch.bytes": FETCH_BYTES,
        }
    )
    consumer.assign([Partition(entry.topic, p, 0) for p in left])
    while left:
        records = consumer.consume(POLL_RECORDS, timeout=0.5)
        if records:
            meter.begin()
        values = []
        for record in records:
            offset, partition = record.offset(), record.partition()
            if offset < entry.ends[partition]:
                values.append(record.value())
            if offset + 1 >= entry.ends[partition]:
                left.pop(partition, None)
        count.add(values)
    meter.end(count.events)
