"""Reads whole partitions of a topic, once, without a consumer group."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from detector.records import LogRecord
from streams.bounded import install_in_reader
from streams.greeting import explained_error, open_client, unseen
from streams.recording import Stored, exact_line, partition_lines
from streams.settings import Settings
from streams.topics import LOG

POLL_MS = 1000
BATCH = 2000


def topic_lines(settings: Settings) -> Iterator[bytes]:
    """Read the whole log up to its present end; lines in order of arrival."""
    partitions = open_partitions(settings, settings.topic(LOG))
    streams = [
        partition_lines(Stored(one.timestamp, one.value) for one in records)
        for records in partitions
    ]
    for stamped in heapq.merge(*streams, key=lambda s: s.arrival_ms):
        yield stamped.line


def exact_lines(settings: Settings) -> Iterator[bytes]:
    """Read the whole log up to its present end; lines of an exact recording.

    Their order is the one of ``topic_lines``.
    """
    partitions = open_partitions(settings, settings.topic(LOG))
    streams = [_arriving(n, records) for n, records in enumerate(partitions)]
    for _, line in heapq.merge(*streams, key=lambda arrived: arrived[0]):
        yield line


def _arriving(number: int, records: Iterator[Any]) -> Iterator[tuple[int, bytes]]:
    arrival_ms = 0
    for one in records:
        arrival_ms = max(arrival_ms, one.timestamp)
        record = LogRecord(one.offset, one.timestamp, one.key, one.value)
        yield arrival_ms, exact_line(number, record)


def open_partitions(settings: Settings, topic: str) -> list[Iterator[Any]]:
    """One iterator of Kafka's records per partition, up to the end it has now.

    Raises
    ------
    Unreachable
        If Kafka does not answer or has no such topic.
    """
    try:
        with closing(consumer_of(settings)) as probe:
            parts = partitions_of(settings, probe, topic)
            ends = probe.end_offsets(parts)
    except KafkaError as error:
        raise explained_error(settings, error) from error
    return [_records(settings, part, ends[part]) for part in parts]


def partitions_of(settings: Settings, consumer: Any, topic: str) -> list[Any]:
    """All partitions of a topic, known by its full name.

    Raises
    ------
    Unreachable
        If there is no such topic.
    """
    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    if not numbers:
        raise unseen(settings, topic)
    return [TopicPartition(topic, number) for number in numbers]


def _records(settings: Settings, part: Any, end: int) -> Iterator[Any]:
    consumer: Any = consumer_of(settings)
    try:
        consumer.assign([part])
        consumer.seek_to_beginning(part)
        while consumer.position(part) < end:
            for records in consumer.poll(POLL_MS, max_records=BATCH).values():
                for record in records:
                    if record.offset < end:
                        yield record
    finally:
        consumer.close()


def consumer_of(settings: Settings, purpose: str = "reader") -> Any:
    """A consumer without a group, from the start of what it is told to read."""
    install_in_reader()
    return open_client(
        settings,
        KafkaConsumer,
        purpose,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
