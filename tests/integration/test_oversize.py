"""Events that no record of the log can hold, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from streams.bus import Bus
from streams.ingress.door import Door
from streams.ingress.pack import Raw
from streams.ingress.sink import LogSink
from streams.kafka_local import LocalKafka
from streams.progress import Counted, Counters
from streams.settings import Settings
from streams.topics import DEADLETTER, LOG
from tests.integration.support import Stage, stage, until
from tests.integration.test_source_kafka import log_ids, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

KEY = b"0123456789abcdef"
LIMIT = 20_000
EVENTS = 900


def event(name: str, **more: object) -> dict[str, object]:
    """An error event of a service of its own name."""
    common: dict[str, object] = {"kind": "error", "ts": 1_700_000_000_000, "id": name}
    return common | {"service": f"shop-{name[-1]}", "release": "1.2.3"} | more


def letters(made: Stage) -> list[Mapping[str, Any]]:
    """All dead letters, copies removed."""
    return [json.loads(one) for one in dict.fromkeys(read_all(made, DEADLETTER, 1))]


def limit_log(settings: Settings) -> None:
    """Let the log take small records only."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        limits = {"max.message.bytes": str(LIMIT)}
        name = settings.topic(LOG)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, limits)])
    finally:
        admin.close()


async def move(settings: Settings, value: bytes) -> Counters:
    """Move one message as a worker does."""
    bus, counters = Bus(settings), Counters()
    door = Door(settings, KEY, LogSink(settings, bus), counters)
    await bus.start()
    try:
        await door.move([Raw(settings.topic("errors"), 0, 7, 1_700_000_000_500, value)])
    finally:
        await door.sink.stop()
        await bus.stop()
    return counters


def test_broker_refusal_costs_one_event(kafka: LocalKafka, tmp_path: Path) -> None:
    """A log whose broker takes small records gets every event that fits, and one dead
    letter names size, limit and field of the one that does not."""
    made = Stage(kafka.bootstrap, "smalllog", tmp_path)
    limit_log(made.settings)
    events = [event(f"e{n:03}") for n in range(EVENTS)]
    # Not to be compressed below the limit: the broker looks at compressed batches.
    chance = random.Random(15)
    frames = ["".join(chance.choices("abcdefghij ", k=4_000)) for _ in range(25)]
    events[450]["frames"] = frames
    value = json.dumps(events).encode()
    counters = asyncio.run(move(made.settings, value))
    refused = Counted(made.settings.topic(LOG), "kafka", "rejected", "too_large")
    assert counters.ingress[refused] == 1
    (letter,) = letters(made)
    assert (letter["reason"], letter["field"]) == ("too_large", "frames")
    assert "max.message.bytes of smalllog.events" in letter["detail"]
    wanted = {f"e{n:03}" for n in range(EVENTS)} - {"e450"}
    assert set(log_ids(made)) == wanted


def test_huge_event_does_not_end_a_worker(kafka: LocalKafka, tmp_path: Path) -> None:
    """An event near Kafka's own limit, compressed by its sender, is a dead letter; the
    worker goes on with what came with it and after it."""
    with stage(kafka.bootstrap, "hugeevent", tmp_path) as made:
        worker = made.start("w0")
        huge = event("huge", frames=["\N{GRINNING FACE}" * 4_096] * 62)
        producer: Any = KafkaProducer(
            bootstrap_servers=kafka.bootstrap,
            compression_type="gzip",
            max_request_size=2**21,
        )
        topic = made.settings.topic("errors")
        for found in ([event("a1"), huge, event("a2")], [event("a3")]):
            value = json.dumps(found, ensure_ascii=False).encode()
            producer.send(topic, value, partition=1)
        producer.flush()
        producer.close()
        until(
            lambda: (
                {"a1", "a2", "a3"} <= set(log_ids(made)) or worker.poll() is not None
            ),
            what="what came with the huge event is in the log",
        )
        assert worker.poll() is None
        (letter,) = letters(made)
        assert (letter["reason"], letter["field"]) == ("too_large", "frames")
        assert (letter["topic"], letter["index"]) == (topic, 1)
