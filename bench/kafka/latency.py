"""How long after the record that decides it does a recommendation stand on its topic?

Run ``python -m bench.kafka.latency``. A worker as it is shipped reads a log that is
written at the pace of its events, while releases of all services go bad. Every verdict
and recommendation names the record that decided it; both topics get their times from
the broker, so one clock measures. The grace for late events is no part of this: it ends
before the deciding record comes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.kafka import topics
from bench.kafka.process import ROOT
from bench.kafka.workloads import PARTITIONS, service_names
from detector.simulate import Shop, constant, ramp
from streams.kafka_local import LocalKafka, free_ports
from streams.lanes import partition_of
from streams.settings import Settings
from streams.topics import create_missing

SERVICES = 40
WINDOW_S = 2
ARRAY = 100
BAD_FROM = 5
HARM = 8.0
READY_S, LAST_S = 10.0, 6.0
RULES = f"""\
version: 1
rules:
  - name: bench
    window_s: {WINDOW_S}
    grace_s: 2
    persistence_s: 6
    strata: [{{attr: os}}, {{attr: region}}]
end_of_rules: true
"""


class Sent(NamedTuple):
    """A record to be sent when its last event is over."""

    at_ms: int
    key: bytes
    value: bytes


def records(start_ms: int, windows: int, rate: int) -> list[Sent]:
    """Events of all services in order of time, ``rate`` of them a second."""
    rng = np.random.default_rng(11)
    found: list[Sent] = []
    for name in service_names(SERVICES):
        shop = Shop(
            service=name,
            window_s=WINDOW_S,
            sessions_per_window=rate * WINDOW_S / SERVICES,
            error_rate=0.02,
            weight=ramp([(BAD_FROM, 0.4)]),
            harm=constant(HARM),
        )
        found += packed(shop, rng, start_ms, windows)
    return sorted(found)


def packed(
    shop: Shop, rng: np.random.Generator, start_ms: int, windows: int
) -> Iterator[Sent]:
    """A service's records: full ones, and what a second has left over."""
    key = shop.service.encode()
    for index in range(windows):
        ts = start_ms + index * WINDOW_S * 1000
        drawn = [shop.deploy(ts, 0.4, "started")] if index == BAD_FROM else []
        for event in shop.events(rng, ts, index):
            full = len(drawn) >= ARRAY or (
                drawn and event["ts"] - drawn[0]["ts"] > 1000
            )
            if full:
                yield Sent(int(drawn[-1]["ts"]), key, msgspec.json.encode(drawn))
                drawn = []
            drawn.append(event)
        if drawn:
            yield Sent(int(drawn[-1]["ts"]), key, msgspec.json.encode(drawn))


def send(settings: Settings, due: list[Sent]) -> None:
    """Send each record when its time has come."""
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 5})
    topic = settings.topic("events")
    for one in due:
        ahead_s = one.at_ms / 1000 - time.time()
        if ahead_s > 0:
            producer.flush()
            time.sleep(max(0.0, one.at_ms / 1000 - time.time()))
        partition = partition_of(one.key, PARTITIONS)
        producer.produce(topic, one.value, one.key, partition)
        producer.poll(0)
    producer.flush()


def read(settings: Settings, name: str) -> list[Any]:
    """All records of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka, "group.id": f"read-{name}"}
    )
    topic = settings.topic(name)
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    parts = [TopicPartition(topic, n, 0) for n in numbers]
    total = sum(consumer.get_watermark_offsets(p, timeout=10)[1] for p in parts)
    consumer.assign(parts)
    found: list[Any] = []
    while len(found) < total:
        batch = consumer.consume(5_000, timeout=5.0)
        if not batch:
            break
        found += batch
    consumer.close()
    return found


def delays_ms(settings: Settings, name: str, field: str) -> list[int]:
    """From the record that decided to what was decided, by the broker's clock."""
    came = {
        (r.partition(), r.offset()): r.timestamp()[1] for r in read(settings, "events")
    }
    found = []
    for record in read(settings, name):
        body = msgspec.json.decode(record.value()) if record.value() else None
        if not body or body.get("withdrawn"):
            continue
        partition = partition_of(body["service"].encode(), PARTITIONS)
        decided_ms = came.get((partition, body[field]))
        if decided_ms is not None:
            found.append(record.timestamp()[1] - decided_ms)
    return found


def cpu_s(worker: subprocess.Popen[bytes]) -> float:
    """Processor time of the worker so far."""
    took = psutil.Process(worker.pid).cpu_times()
    return took.user + took.system


def measure(settings: Settings, folder: Path, rate: int, seconds: int) -> None:
    """Run a worker under a load and print a line for each kind of output."""
    create_missing(settings)
    rules = folder / f"rules-{rate}.yaml"
    rules.write_text(RULES, encoding="utf-8")
    windows = seconds // WINDOW_S
    drawn = records(0, windows, rate)
    worker = start(settings, rules, folder / f"worker-{rate}.log")
    try:
        start_ms = (int((time.time() + READY_S) * 1000) // 10_000 + 1) * 10_000
        due = [shifted(one, start_ms) for one in drawn]
        threading.Event().wait(max(0.0, start_ms / 1000 - time.time()))
        before = cpu_s(worker)
        send(settings, due)
        used = (cpu_s(worker) - before) / seconds
        threading.Event().wait(LAST_S)
    finally:
        worker.terminate()
        worker.wait(30)
    for name, field in (("recommendations", "evidence_offset"), ("verdicts", "offset")):
        found = delays_ms(settings, name, field)
        shown = (
            "none"
            if not found
            else "  ".join(
                f"p{q} {np.percentile(found, q) / 1000:.2f} s" for q in (50, 90, 99)
            )
        )
        print(
            f"{rate:>7,} events/s  {used:4.0%} of a core  {name:16}"
            f"{len(found):6}  {shown}",
            flush=True,
        )


def shifted(one: Sent, start_ms: int) -> Sent:
    """The record as of the start: its times were drawn as of zero."""
    events = msgspec.json.decode(one.value)
    for event in events:
        event["ts"] += start_ms
        event.pop("received_at", None)
    return Sent(one.at_ms + start_ms, one.key, msgspec.json.encode(events))


def start(
    settings: Settings, rules: Path, log: Path, **more: str
) -> subprocess.Popen[bytes]:
    """A worker as it is shipped, with further variables."""
    environment = os.environ | {
        "HYPERCARE_KAFKA": settings.kafka,
        "HYPERCARE_PREFIX": settings.prefix,
        "HYPERCARE_GROUP": settings.prefix,
        "HYPERCARE_DEMO": "1",
        "HYPERCARE_RULES": str(rules),
        "HYPERCARE_WEB_PORT": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "worker"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
        )


def main() -> None:
    """Measure at each rate."""
    parser = argparse.ArgumentParser(description="From event to recommendation.")
    parser.add_argument("--rates", default="1000,15000", help="events per second")
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hypercare-bench-") as folder,
        LocalKafka(Path(folder) / "kafka", port=free_ports(2), tied=True) as kafka,
    ):
        for number, rate in enumerate(map(int, given.rates.split(","))):
            settings = Settings(
                kafka=f"127.0.0.1:{kafka.port}", prefix=f"late{number}", demo=True
            )
            measure(settings, Path(folder), rate, given.seconds)
            topics.drop(settings)


if __name__ == "__main__":
    main()
