"""How many events a second does ingress move into the log, and for how much processor?

Run ``python -m bench.ingress``. Starts an Apache Kafka of its own, fills the usage
topic with single events, and lets three processes in turn move them: a bare aiokafka
loop that decodes the key field only, joins and writes; the worker, which reads in
batches and checks, hashes and scrubs every event; and the worker with one ordinary
Faust agent a topic. Prints one JSON object: medians of interleaved rounds, ratios to
the bare loop first. The log itself is not read meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.topics import LOG, create_missing

ROOT = Path(__file__).resolve().parent.parent
EVENTS = {"bare": 400_000, "batches": 400_000, "agent": 40_000}
ROUNDS = 3
PARTITIONS = 4
SERVICES = 50
ARRAY = 500
SAMPLE_S = 0.01
LIMIT_S = 120
START_MS = int(time.time()) * 1000 - 3_600_000
"""An hour ago: what claims to be old is deleted by retention before it is read."""


class _Keyed(msgspec.Struct):
    service: str


def event(number: int) -> bytes:
    """One single event of about 200 bytes."""
    return (
        b'{"kind":"usage","ts":%d,"service":"service-%d","release":"shop-2.31",'
        b'"attrs":{"region":"eu-west-1","os":"ios"},"session":"s-%d",'
        b'"outcome":"ok","duration_ms":12.5,"id":"request-%08d"}'
        % (
            *(START_MS + number // 100, number % SERVICES),
            *(number % 30_000, number),
        )
    )


async def fill(settings: Settings, count: int) -> None:
    """Write single events, each service to one partition."""
    topic = settings.topic("usage")
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka, max_batch_size=900_000
    ) as producer:
        for partition in range(PARTITIONS):
            batch = producer.create_batch()
            for n in range(count):
                if n % SERVICES % PARTITIONS != partition:
                    continue
                at_ms = START_MS + n // 100
                if batch.append(key=None, value=event(n), timestamp=at_ms) is None:
                    await producer.send_batch(batch, topic, partition=partition)
                    batch = producer.create_batch()
                    batch.append(key=None, value=event(n), timestamp=at_ms)
            await producer.send_batch(batch, topic, partition=partition)


def watch(moved: Callable[[], int], total: int) -> None:
    """Time from the first sight of moved events to the last, then end the process."""
    end_s = time.monotonic() + LIMIT_S
    first: tuple[int, float, float] | None = None
    while time.monotonic() < end_s:
        count = moved()
        at = (count, time.monotonic(), time.process_time())
        if first is None and count:
            first = at
        if first is not None and count >= total:
            events = count - first[0] or 1
            found = {
                "per_s": events / (at[1] - first[1]),
                "per_core": events / (at[2] - first[2]),
            }
            print(json.dumps(found), flush=True)
            os._exit(0)
        time.sleep(SAMPLE_S)
    os.write(2, f"moved {moved()} of {total}\n".encode())
    os._exit(1)


def watched(moved: Callable[[], int], total: int) -> None:
    """Begin to watch in a thread."""
    threading.Thread(target=watch, args=(moved, total), daemon=True).start()


async def bare(settings: Settings, total: int) -> None:
    """Read, decode the key field, join the slices of a service, write, wait."""
    decode = msgspec.json.Decoder(_Keyed).decode
    moved = 0
    watched(lambda: moved, total)
    async with (
        AIOKafkaConsumer(
            settings.topic("usage"),
            bootstrap_servers=settings.kafka,
            group_id=settings.group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        ) as consumer,
        AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            acks="all",
            enable_idempotence=True,
            max_batch_size=600_000,
        ) as producer,
    ):
        while moved < total:
            found = await consumer.getmany(timeout_ms=1000, max_records=5000)
            values: dict[str, list[bytes]] = {}
            count = 0
            for records in found.values():
                count += len(records)
                for record in records:
                    service = decode(record.value).service
                    values.setdefault(service, []).append(record.value)
            sent = [
                await producer.send(
                    settings.topic(LOG),
                    b"[" + b",".join(some[low : low + ARRAY]) + b"]",
                    key=service.encode(),
                )
                for service, some in values.items()
                for low in range(0, len(some), ARRAY)
            ]
            await asyncio.gather(*sent)
            await consumer.commit()
            moved += count
    time.sleep(1)


def worker(settings: Settings, total: int, *, in_batches: bool) -> None:
    """A worker as it is deployed, which reads the ingress topics only."""
    from detector.rulefile import load_rules
    from streams.app import create_app
    from streams.core import DetectorCores
    from streams.ingress import codecs
    from streams.rulesdata import default_rules_text

    for name, one in codecs.CODECS.items():
        codecs.CODECS[name] = replace(one, in_batches=in_batches)
    rules = load_rules(default_rules_text(), source="shipped")
    app = create_app(settings, DetectorCores(rules, settings.topic(LOG)))
    app.lanes.wants = lambda tp: False  # type: ignore[method-assign]
    watched(lambda: sum(app.lanes.counters.ingress.values()), total)
    one = faust.Worker(app, loglevel="warning", quiet=True, redirect_stdouts=False)
    one.execute_from_commandline()


def settings_of(kafka: str, name: str) -> Settings:
    """Topics of their own for every run."""
    return Settings(
        kafka=kafka,
        group=name,
        prefix=name,
        partitions=PARTITIONS,
        demo=True,
        worker=name,
        tick_interval_s=3600.0,
    )


def measure(kafka: str, way: str, number: int) -> dict[str, float]:
    """One run of one contender."""
    name = f"{way}{number}"
    settings = settings_of(kafka, name)
    create_missing(settings)
    asyncio.run(fill(settings, EVENTS[way]))
    done = subprocess.run(
        [sys.executable, "-m", "bench.ingress", way, kafka, name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=2 * LIMIT_S,
    )
    found: dict[str, float] = json.loads(done.stdout)
    print(way, number, {k: round(v) for k, v in found.items()}, file=sys.stderr)
    return found


def contend(way: str, kafka: str, name: str) -> None:
    """The part of a contender, in a process of its own."""
    settings = settings_of(kafka, name)
    if way == "bare":
        asyncio.run(bare(settings, EVENTS[way]))
    else:
        worker(settings, EVENTS[way], in_batches=way == "batches")


def compare(ways: list[str]) -> dict[str, Any]:
    """Medians of interleaved rounds."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        broker = LocalKafka(Path(folder), port=free_ports(2), tied=True)
        broker.start(lambda line: print(line, file=sys.stderr))
        try:
            for number in range(ROUNDS):
                for way, found in runs.items():
                    found.append(measure(broker.bootstrap, way, number))
        finally:
            broker.wipe()
    return summary(runs)


def summary(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Ratios to the bare loop of the same round, then rates with their spread."""
    result: dict[str, Any] = {}
    for way, found in runs.items():
        per_core = [one["per_core"] for one in found]
        line: dict[str, Any] = {}
        if way != "bare" and "bare" in runs:
            bare_loop = [one["per_core"] for one in runs["bare"]]
            pairs = zip(per_core, bare_loop, strict=True)
            ratios = [mine / theirs for mine, theirs in pairs]
            line["of_bare_per_core"] = round(statistics.median(ratios), 3)
        line["events_per_core_s"] = [round(x) for x in sorted(per_core)]
        line["events_per_s"] = round(statistics.median(o["per_s"] for o in found))
        result[way] = line
    return result


def main() -> None:
    """Measure everything, or be one of those that are measured."""
    if len(sys.argv) > 1:
        contend(*sys.argv[1:])
    else:
        print(json.dumps(compare(list(EVENTS)), indent=2))


if __name__ == "__main__":
    main()
