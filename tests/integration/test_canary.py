"""An e-mail address in every field of every event type reaches nothing of ours."""

from __future__ import annotations

import http.client
import re
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from streams.kafka_local import LocalKafka
from streams.topics import INGRESS, TOPICS
from streams.wallclock import now_ms
from tests.integration.canary import CANARY, messages
from tests.integration.detecting import DetectorStage, detector_stage
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NEEDLES = (CANARY.encode(), b"ada.canary", b"mail.example.org")
EVENTS_MIN = 500


def is_moved(made: DetectorStage, sent: dict[str, int]) -> bool:
    """Whether the agents have committed everything that was sent."""
    admin = KafkaAdminClient(bootstrap_servers=made.settings.kafka)
    try:
        group = made.settings.group
        found = admin.list_group_offsets(group)[group]
    finally:
        admin.close()
    moved = {
        name: sum(
            max(0, found[part].offset)
            for number in range(made.settings.partitions)
            if (part := TopicPartition(made.settings.topic(name), number)) in found
        )
        for name in sent
    }
    return moved == sent


def hits(where: str, blob: bytes | None) -> list[str]:
    """Places of the address in a blob, compressed or not."""
    blobs = [blob or b""]
    with suppress(zlib.error):
        blobs.append(zlib.decompress(blobs[0]))
    return [where for one in blobs for needle in NEEDLES if needle in one]


def page(port: int, path: str) -> bytes:
    """A page of the worker."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


def test_canary_identity_leaves_no_trace(kafka: LocalKafka, tmp_path: Path) -> None:
    """The address stands in each field of each event type, in keys, headers and
    broken bodies: 0 hits in log, state, dead letters, verdicts, pages, worker log."""
    with detector_stage(kafka.bootstrap, "canary", tmp_path) as made:
        made.start("w0")
        until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
        producer = made.producer()
        sent: dict[str, int] = {}
        for name, body in messages(now_ms()):
            producer.send(
                made.settings.topic(name),
                body,
                key=CANARY.encode(),
                headers=[("from", CANARY.encode())],
            )
            sent[name] = sent.get(name, 0) + 1
        producer.flush(timeout=60)
        assert sum(sent.values()) > EVENTS_MIN
        until(lambda: is_moved(made, sent), what="all events are moved")
        until(lambda: bool(made.read("deadletter")), what="dead letters")
        found: list[str] = []
        port = int(re.findall(r"web\.listening .*port=(\d+)", made.said("w0"))[-1])
        for path in ("/metrics", "/v1/status", "/readyz"):
            found += hits(path, page(port, path))
        made.end()
        accepted = 0
        for spec in TOPICS:
            if spec.name in INGRESS:
                continue
            for record in made.read(spec.name):
                accepted += spec.name == "events"
                parts = [record.key, record.value, *(v for _, v in record.headers)]
                for part in parts:
                    found += hits(f"{spec.name}@{record.offset}", part)
        for partition, (_, shards) in made.manifests().items():
            for name, shard in shards.items():
                place = f"shard {partition}/{name}"
                found += hits(place, name.encode()) + hits(place, shard)
        found += hits("worker log", made.said("w0").encode())
        assert accepted > 0
        assert found == []
