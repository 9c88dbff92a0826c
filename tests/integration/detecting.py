"""The whole product on a real Kafka: workers with the detector, input, output."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from detector.replay import encode_recommendation, encode_verdict
from detector.simulate import Record, Shop, burst, ramp
from detector.verdicts import RecommendationRecord, VerdictRecord
from streams.signing import HEADER, Verifier, new_key
from streams.topics import LOG
from tests.integration.support import ROOT, Stage

START_MS = 1_795_356_000_000
WINDOWS = 130
DEPLOY_AT = 20
HARM_AT = 40

RULES = """\
version: 1
rules:
  - name: test
    strata: [{attr: os}, {attr: region}]
end_of_rules: true
"""


def shops() -> list[Shop]:
    """One service with a bad segment, two that are well."""
    share = ramp([(DEPLOY_AT, 0.3)])
    bad = Shop(
        service="shop-bad",
        weight=share,
        harm=burst(HARM_AT, 10_000, 6.0),
        harm_segment=(("os", "android"),),
    )
    outage = burst(60, 80, 8.0)
    return [
        bad,
        Shop(service="shop-well", weight=share),
        Shop(service="shop-outage", weight=share, ambient=outage),
    ]


def windows(rng: np.random.Generator, count: int) -> Iterator[list[Record]]:
    """Records of all shops, window by window."""
    streams = [shop.windows(rng, START_MS, count) for shop in shops()]
    for group in zip(*streams, strict=True):
        yield [record for records in group for record in records]


class DetectorStage(Stage):
    """Workers are ``hypercare worker``.

    They hardly tick: what the shops send lies in the past, and a tick with the time
    of day would make the rest of it late.
    """

    tick_interval_s = 300
    program: tuple[str, ...] = ("streams.cli", "worker")

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        super().__init__(bootstrap, prefix, folder)
        self.write_files()

    def write_files(self) -> None:
        """Rules, and the keys that recommendations are signed with."""
        self.rules = self.folder / "rules.yaml"
        self.rules.write_text(RULES, encoding="utf-8")
        self.secret, self.public = (self.folder / f"keys.{n}" for n in ("key", "pub"))
        for path, text in zip((self.secret, self.public), new_key(), strict=True):
            path.write_bytes(text)

    def environment(self, name: str) -> dict[str, str]:
        """Add rules, and any free port for the pages."""
        return super().environment(name) | {
            "HYPERCARE_RULES": str(self.rules),
            "HYPERCARE_SIGNING_KEYS": str(self.secret),
            "HYPERCARE_WEB_PORT": "0",
            "HYPERCARE_TICK_INTERVAL": str(self.tick_interval_s),
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker with the detector."""
        with self.log_of(name).open("ab") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", *self.program],
                cwd=ROOT,
                env=self.environment(name),
                stdout=out,
                stderr=out,
            )
        self.workers.append(worker)
        return worker

    def producer(self) -> Any:
        """A kafka-python producer, as a user would have it."""
        return KafkaProducer(
            bootstrap_servers=self.settings.kafka.split(","), acks="all"
        )

    def write_log(self, records: Sequence[Record], producer: Any) -> None:
        """Write records straight into the log, one array per service."""
        by_service: dict[str, list[Record]] = {}
        for record in records:
            by_service.setdefault(record["service"], []).append(record)
        for service, group in by_service.items():
            value = msgspec.json.encode(group)
            producer.send(self.settings.topic(LOG), value, key=service.encode())
        producer.flush(timeout=60)

    def read(self, name: str) -> list[Any]:
        """All records of a topic, partition by partition."""
        topic = self.settings.topic(name)
        consumer: Any = KafkaConsumer(
            bootstrap_servers=self.settings.kafka.split(","),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            numbers = sorted(consumer.partitions_for_topic(topic) or ())
            parts = [TopicPartition(topic, n) for n in numbers]
            ends = consumer.end_offsets(parts)
            consumer.assign(parts)
            found: list[Any] = []
            while any(consumer.position(p) < ends[p] for p in parts):
                for records in consumer.poll(500).values():
                    found += records
            return found
        finally:
            consumer.close()

    def recommendations(self) -> list[RecommendationRecord]:
        """What stands on the recommendation topic, each signed by the worker."""
        verifier, found = Verifier.load([self.public]), []
        for record in self.read("recommendations"):
            signed = dict(record.headers).get(HEADER)
            verifier.check(record.topic, record.key, record.value, signed)
            found.append(msgspec.json.decode(record.value, type=RecommendationRecord))
        return found

    def audit_lines(self) -> dict[str, list[bytes]]:
        """Published decisions as replay lines by service, copies removed."""
        lines: dict[str, list[bytes]] = {}
        seen: set[bytes] = set()
        revisions: dict[str, int] = {}
        for record in self.read("audit"):
            name = dict(record.headers)["id"]
            if name in seen:
                continue
            seen.add(name)
            body = json.loads(record.value)
            if "command" in body:
                continue  # what people and reloads told is no decision
            if "verdict" in body:
                line = encode_verdict(msgspec.convert(body, VerdictRecord))
            else:
                found = msgspec.convert(body, RecommendationRecord)
                if revisions.get(found.id) == found.revision:
                    continue
                revisions[found.id] = found.revision
                line = encode_recommendation(found)
            lines.setdefault(body["service"], []).append(line)
        return lines


@contextmanager
def detector_stage(
    bootstrap: str, prefix: str, folder: Path
) -> Iterator[DetectorStage]:
    """Make topics, and leave no worker behind."""
    made = DetectorStage(bootstrap, prefix, folder)
    try:
        yield made
    finally:
        made.end()


def pause(seconds: float) -> None:
    """Let a real worker on a real broker catch up between two real writes."""
    threading.Event().wait(seconds)
