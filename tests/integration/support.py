"""A set of topics on a real Kafka, load on the log, and workers to kill."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from streams.bus import Bus
from streams.history import History, Manifest
from streams.outbox import SHARD
from streams.packs import unpack
from streams.settings import Settings, SourceKind
from streams.topics import LOG, create_missing
from streams.wallclock import monotonic_s

ROOT = Path(__file__).resolve().parents[2]
KEYS = 20


def until(claim: Callable[[], bool], *, what: str, limit_s: float = 180.0) -> None:
    """Wait until the claim holds; fail with its name when it does not."""
    pause, end_s = threading.Event(), monotonic_s() + limit_s
    while not claim():
        assert monotonic_s() < end_s, f"not within {limit_s} s: {what}"
        pause.wait(0.05)


class Stage:
    """Topics of one test under their own prefix, and what happened on them."""

    replication = 1

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        folder: Path,
        source: SourceKind = SourceKind.FAUST,
    ) -> None:
        self.settings = Settings(
            kafka=bootstrap,
            prefix=prefix,
            group=prefix,
            partitions=4,
            replication=self.replication,
        )
        self.folder = folder
        self.source = source
        self.workers: list[subprocess.Popen[bytes]] = []
        create_missing(self.settings)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a worker."""
        return os.environ | {
            "HYPERCARE_KAFKA": self.settings.kafka,
            "HYPERCARE_PREFIX": self.settings.prefix,
            "HYPERCARE_GROUP": self.settings.group,
            "HYPERCARE_DEMO": "1",
            "HYPERCARE_WORKER": name,
            "HYPERCARE_SOURCE": self.source,
            "HYPERCARE_SESSION_TIMEOUT": "3",
            "HYPERCARE_SNAPSHOT_INTERVAL": "0.3",
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker; what it says goes into a file of its name."""
        with self.log_of(name).open("ab") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.workers"],
                cwd=ROOT,
                env=self.environment(name),
                stdout=out,
                stderr=out,
            )
        self.workers.append(worker)
        return worker

    def log_of(self, name: str) -> Path:
        """Return the file with what a worker has said."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """Return what a worker has said."""
        path = self.log_of(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self) -> None:
        """Kill whatever is left."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()

    def recreate(self, name: str) -> None:
        """Delete a topic and create it anew."""
        topic = self.settings.topic(name)
        admin = KafkaAdminClient(bootstrap_servers=self.settings.kafka)
        try:
            admin.delete_topics([topic])
            until(lambda: topic not in admin.list_topics(), what="the topic is gone")
        finally:
            admin.close()
        create_missing(self.settings)

    def manifests(self) -> dict[int, tuple[Manifest, dict[str, bytes]]]:
        """Return the newest snapshot of each partition."""
        return asyncio.run(self._manifests())

    async def _manifests(self) -> dict[int, tuple[Manifest, dict[str, bytes]]]:
        bus, found = Bus(self.settings), {}
        for partition in range(self.settings.partitions):
            log, history = bus.state_log(partition), History()
            async for record in log.read(0, await log.end()):
                history.add(record.key, record.value)
            newest = history.newest()
            if newest is not None:
                found[partition] = (newest.manifest, unpack(newest.shards))
        return found

    def counts(self, but: int | None = None) -> tuple[Counter[str], Counter[str]]:
        """Return counts and sums per key, as the newest snapshots have them;
        ``but``: a partition that is left out."""
        counts: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        for partition, (_, shards) in self.manifests().items():
            if partition == but:
                continue
            for key, shard in shards.items():
                if key != SHARD:
                    count, total = json.loads(shard)
                    counts[key] += count
                    sums[key] += total
        return counts, sums

    def applied(self, but: int | None = None) -> int:
        """Return how many records the newest snapshots have counted."""
        return self.counts(but)[0].total()

    def keys_of(self, partition: int) -> set[str]:
        """Return the keys a partition has counted."""
        return set(self.manifests()[partition][1]) - {SHARD}

    def outputs(self) -> list[tuple[str, bytes]]:
        """Return (id, value) of everything on the verdict topic."""
        return asyncio.run(self._outputs())

    async def _outputs(self) -> list[tuple[str, bytes]]:
        name = self.settings.topic("verdicts")
        tps = [TopicPartition(name, p) for p in range(self.settings.partitions)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka, auto_offset_reset="earliest"
        ) as consumer:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found: list[tuple[str, bytes]] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        found.append(
                            (dict(record.headers)["id"].decode(), record.value)
                        )
            return found


class Load:
    """Writes numbers 0..total-1 to the log at a steady pace, in a thread."""

    def __init__(self, settings: Settings, total: int, rate: int) -> None:
        self.total = total
        self.sent = 0
        self._rate = rate
        self._settings = settings
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()

    async def _run(self) -> None:
        topic = self._settings.topic(LOG)
        async with AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka, acks="all", enable_idempotence=True
        ) as producer:
            step = max(self._rate // 20, 1)
            for start in range(0, self.total, step):
                numbers = range(start, min(start + step, self.total))
                waiting = [
                    await producer.send(topic, str(n).encode(), key=key_of(n))
                    for n in numbers
                ]
                await asyncio.gather(*waiting)
                self.sent = numbers.stop
                await asyncio.sleep(0.05)

    def expected(self) -> tuple[Counter[str], Counter[str]]:
        """Return counts and sums per key of an undisturbed run."""
        counts: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        for number in range(self.total):
            key = key_of(number).decode()
            counts[key] += 1
            sums[key] += number
        return counts, sums


def key_of(number: int) -> bytes:
    """Return the key a number is written under."""
    return f"k{number % KEYS}".encode()


@contextmanager
def stage(
    bootstrap: str,
    prefix: str,
    folder: Path,
    source: SourceKind = SourceKind.FAUST,
) -> Iterator[Stage]:
    """Make topics, and leave no worker behind; ``source``: who reads the log."""
    made = Stage(bootstrap, prefix, folder, source)
    try:
        yield made
    finally:
        made.end()
