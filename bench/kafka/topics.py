"""Topics for a run, filled once: every contestant reads the same bytes."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import Producer

from bench.kafka.workloads import Record
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import UnknownTopicOrPartitionError
from streams.settings import Settings
from streams.topics import LOG, STATE, create_missing

QUEUE_FULL_S = 0.5
GONE_LIMIT_S = 30.0
OWN = (STATE, "verdicts", "recommendations", "audit", "deadletter")
"""Topics in which a worker of Hypercare leaves something."""


def fill(settings: Settings, records: Iterable[Record]) -> tuple[dict[int, int], int]:
    """Write a log; returns the offset at which each partition ends, and its events.

    Records keep the time at which they are said to have arrived: what is stored while
    the topic takes times from senders has them, whatever the setting is later.
    """
    create_missing(settings)
    topic = settings.topic(LOG)
    _set_times(settings, topic, "CreateTime")
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "linger.ms": 50,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
            "partitioner": "murmur2_random",
        }
    )
    counts: Counter[int] = Counter()
    events = 0
    for record in records:
        _send(producer, topic, record)
        counts[record.partition] += 1
        events += record.events
    producer.flush()
    _set_times(settings, topic, "LogAppendTime")
    return dict(counts), events


def _send(producer: Any, topic: str, record: Record) -> None:
    while True:
        try:
            producer.produce(
                topic,
                record.value,
                record.key,
                record.partition,
                timestamp=record.timestamp_ms,
            )
        except BufferError:
            producer.poll(QUEUE_FULL_S)
            continue
        producer.poll(0)
        return


def _set_times(settings: Settings, topic: str, kind: str) -> None:
    with admin(settings) as client:
        wanted = {"message.timestamp.type": kind}
        client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs=wanted)]
        )


def forget(settings: Settings) -> None:
    """Let the next worker begin without any state."""
    names = [settings.topic(name) for name in OWN]
    with admin(settings) as client:
        for name in names:
            with contextlib.suppress(UnknownTopicOrPartitionError):
                client.delete_topics([name])
        until = time.monotonic() + GONE_LIMIT_S
        while set(names) & set(client.list_topics()):
            if time.monotonic() > until:
                raise TimeoutError(f"topics of {settings.prefix} are still there")
            time.sleep(0.1)
    create_missing(settings)


def drop(settings: Settings) -> None:
    """Remove all topics of a run."""
    with admin(settings) as client:
        mine = [n for n in client.list_topics() if n.startswith(f"{settings.prefix}.")]
        if mine:
            client.delete_topics(mine)


@contextlib.contextmanager
def admin(settings: Settings) -> Iterator[Any]:
    """A client that asks the broker for changes."""
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as client:
        yield client
