"""The shell on a real Kafka: rebalances, ingress, lost state, stray records."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from detector.records import Output
from streams.bus import Bus
from streams.halt import Exit
from streams.kafka_local import LocalKafka
from streams.settings import Settings, SourceKind
from streams.topics import DEADLETTER, LOG, STATE
from tests.integration.support import Load, Stage, stage, until
from tests.integration.test_kill_worker import RATE, assert_exact

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EVENTS = 4_000


@pytest.mark.fault("6")
@pytest.mark.parametrize(
    ("stays", "guests"),
    [
        (SourceKind.FAUST, [SourceKind.FAUST] * 3),
        (SourceKind.OWN, [SourceKind.FAUST, SourceKind.OWN]),
    ],
    ids=["faust", "mixed"],
)
def test_joins_and_leaves_count_exactly(
    kafka: LocalKafka, tmp_path: Path, stays: SourceKind, guests: list[SourceKind]
) -> None:
    """One worker, then three or four of either kind, then one: those that join and
    leave in order under load cost no record and no copy."""
    with (
        stage(kafka.bootstrap, f"rebalances-{stays}", tmp_path, stays) as made,
        Load(made.settings, 10_000 * len(guests), RATE) as load,
    ):
        made.start("stays")
        until(lambda: made.applied() > 0, what="the first worker counts")
        running = {}
        for number, kind in enumerate(guests):
            made.source = kind
            running[f"guest{number}"] = made.start(f"guest{number}")
        for name in running:
            until(lambda n=name: "lane.ready" in made.said(n), what="the guest works")  # type: ignore[misc]
        for guest in running.values():
            guest.send_signal(signal.SIGTERM)
            assert guest.wait(timeout=15) == 0
        assert_exact(made, load)


def test_lost_state_topic_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    """A worker that finds its state topic empty reads nothing and says what to do."""
    with stage(kafka.bootstrap, "loststate", tmp_path) as made:
        first = made.start("first")
        with Load(made.settings, 2_000, RATE) as load:
            pass
        until(lambda: made.applied() == load.total, what="all counted")
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=15) == 0
        made.recreate(STATE)
        made.start("second")
        until(
            lambda: made.said("second").count("lane.blind") == 4,
            what="all partitions are blind",
        )
        assert "hypercare state rebuild" in made.said("second")
        assert made.applied() == 0


def test_ingress_loses_nothing_when_killed(kafka: LocalKafka, tmp_path: Path) -> None:
    """Events of the ingress topics all reach the log though workers are killed on
    the way; copies carry the same id, bad ones a dead letter."""
    with stage(kafka.bootstrap, "ingress", tmp_path) as made:
        worker = made.start("w0")
        asyncio.run(send_usage(made))
        for number in range(1, 3):
            wanted = EVENTS * number // 4
            until(
                lambda n=wanted: len(set(log_ids(made))) >= n,  # type: ignore[misc]
                what="events arrive",
            )
            worker.kill()
            worker.wait()
            worker = made.start(f"w{number}")
        until(lambda: len(set(log_ids(made))) == EVENTS, what="all have arrived")
        letters = Counter(
            (letter["reason"], letter["offset"])
            for letter in map(json.loads, read_all(made, DEADLETTER, 1))
        )
        assert len(letters) == 4


async def send_usage(made: Stage) -> None:
    """Send events, every thousandth followed by bytes that are none."""
    topic = made.settings.topic("usage")
    async with AIOKafkaProducer(bootstrap_servers=made.settings.kafka) as producer:
        waiting = []
        for n in range(EVENTS):
            event = {
                "kind": "usage",
                "ts": 1_700_000_000_000 + n,
                "service": f"shop{n % 7}",
                "release": "1.0.0",
                "id": f"e{n}",
            }
            value = json.dumps(event).encode()
            waiting.append(await producer.send(topic, value, partition=n % 4))
            if n % 1_000 == 0:
                waiting.append(await producer.send(topic, b"{bad", partition=0))
        await asyncio.gather(*waiting)


def log_ids(made: Stage) -> list[str]:
    """Return the ids of all events in the log."""
    values = read_all(made, LOG, made.settings.partitions)
    return [event["id"] for value in values for event in json.loads(value)]


def read_all(made: Stage, name: str, partitions: int) -> list[bytes]:
    """Return every value of a topic."""
    return asyncio.run(_read_all(made, name, partitions))


async def _read_all(made: Stage, name: str, partitions: int) -> list[bytes]:
    tps = [TopicPartition(made.settings.topic(name), p) for p in range(partitions)]
    values: list[bytes] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=made.settings.kafka, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records]
    return values


async def test_refused_records_cost_no_producer(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    """Records that a topic refuses leave a hole in the numbers of the producer; the
    next ones get a new producer, and the worker lives on."""
    settings = Stage(kafka.bootstrap, "refusedrecords", tmp_path).settings
    letter, verdict = (
        Output(name, "k", b"x" * 100, name) for name in ("deadletter", "verdicts")
    )
    bus = Bus(settings)
    await bus.start()
    try:
        await bus.emit([letter, verdict])
        limit_records(settings, "1")
        for _ in range(3):
            with pytest.raises(ConnectionError, match=r"refusedrecords\.deadletter"):
                await bus.emit([letter])
        limit_records(settings, "1048588")
        for _ in range(100):
            with suppress(ConnectionError):
                await bus.emit([letter, verdict])
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the producer stays broken")
    finally:
        await bus.stop()


async def test_frozen_server_is_asked_once(kafka: LocalKafka, tmp_path: Path) -> None:
    """Where the first bootstrap server takes connections and says nothing, one reader
    waits for it; the next ones ask another server first."""
    settings = Stage(kafka.bootstrap, "frozenserver", tmp_path).settings
    loop = asyncio.get_running_loop()
    taken: list[object] = []

    def silent() -> asyncio.Protocol:
        taken.append(None)
        return asyncio.Protocol()

    server = await loop.create_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    servers = f"{host}:{port},{kafka.bootstrap}"
    bus = Bus(replace(settings, kafka=servers))
    for _ in range(4):
        assert await bus.extent(settings.topic(LOG), 0) == (0, 0)
    assert len(taken) == 1
    server.close()


def limit_records(settings: Settings, size: str) -> None:
    """Let the topic of dead letters take records up to a size."""
    topic = settings.topic(DEADLETTER)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        limits = {"max.message.bytes": size}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limits)])
    finally:
        admin.close()


def test_missing_topics_end_the_worker(kafka: LocalKafka, tmp_path: Path) -> None:
    """A worker without its topics ends at once, naming each and the command."""
    with stage(kafka.bootstrap, "notopics", tmp_path) as made:
        made.settings = replace(made.settings, prefix="neverthere")
        worker = made.start("w0")
        assert worker.wait(timeout=20) == Exit.SETTINGS
        said = made.said("w0")
        assert "neverthere.state" in said
        assert "hypercare topics create" in said
