"""Puts the demonstration together, and takes it down whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaConsumer

from detector.verdicts import RecommendationRecord, VerdictRecord
from streams.demo.screen import Screen
from streams.demo.shop import ShopTraffic
from streams.errors import Refused
from streams.greeting import open_client
from streams.kafka_local import LocalKafka
from streams.rulesdata import rules_folder
from streams.settings import Settings
from streams.topics import create_missing
from streams.wallclock import now_ms

GIVE_UP_S = 180
POLL_MS = 200
STOP_WAIT_S = 12


def run_demo(*, kafka_port: int, web_port: int, version: str, screen: Screen) -> bool:
    """Run the demonstration; whether the right recommendation came."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        screen.say("Apache Kafka is being started (jars are fetched the first time)")
        broker = LocalKafka(
            folder / "kafka", version=version, port=kafka_port, tied=True
        )
        stack.callback(broker.wipe)
        broker.start(screen.progress)
        screen.say(f"Apache Kafka {version} is up on {broker.bootstrap}")
        settings = Settings(
            kafka=broker.bootstrap, demo=True, partitions=2, snapshot_interval_s=0.5
        )
        create_missing(settings)
        log = folder / "worker.log"
        worker = stack.enter_context(_worker(settings, web_port, folder, log))
        screen.say(f"the worker is up; metrics: http://127.0.0.1:{web_port}/metrics")
        traffic = ShopTraffic(settings, screen.shop)
        stack.callback(traffic.stop)
        return _watch(settings, traffic, worker, log, screen)


def _watch(
    settings: Settings,
    traffic: ShopTraffic,
    worker: subprocess.Popen[bytes],
    log: Path,
    screen: Screen,
) -> bool:
    """Show verdicts as they come until the recommendation is there."""
    topics = [settings.topic("verdicts"), settings.topic("recommendations")]
    consumer: Any = open_client(
        settings,
        KafkaConsumer,
        "demo",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
    )
    consumer.subscribe(topics)
    traffic.start()
    screen.start_clock(now_ms())
    end_ms = now_ms() + GIVE_UP_S * 1000
    try:
        while now_ms() < end_ms:
            if worker.poll() is not None:
                tail = log.read_text(errors="replace")[-2000:]
                raise Refused(f"the worker ended with {worker.returncode}:\n{tail}")
            if traffic.problem is not None:
                raise Refused(f"the shop could not send: {traffic.problem}")
            for records in consumer.poll(POLL_MS).values():
                for record in records:
                    if _show(record.topic == topics[0], record.value, screen):
                        return True
    finally:
        consumer.close()
    raise Refused(
        f"no recommendation within {GIVE_UP_S} s; the machine may be too slow. "
        f"The worker said:\n{log.read_text(errors='replace')[-2000:]}"
    )


def _show(is_verdict: bool, value: bytes, screen: Screen) -> bool:
    if is_verdict:
        screen.verdict(msgspec.json.decode(value, type=VerdictRecord), now_ms())
        return False
    body = msgspec.json.decode(value)
    record = msgspec.convert(body.get("data", body), RecommendationRecord)
    screen.recommendation(record, now_ms())
    return record.action == "rollback"


@contextmanager
def _worker(
    settings: Settings, web_port: int, folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """``hypercare worker`` as a process of its own, as in production."""
    rules = folder / "demo.yaml"
    rules.write_text(
        rules_folder().joinpath("demo.yaml").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")},
        "HYPERCARE_KAFKA": settings.kafka,
        "HYPERCARE_PARTITIONS": str(settings.partitions),
        "HYPERCARE_SNAPSHOT_INTERVAL": str(settings.snapshot_interval_s),
        "HYPERCARE_TICK_INTERVAL": "1",
        "HYPERCARE_DEMO": "1",
        "HYPERCARE_RULES": str(rules),
        "HYPERCARE_WEB_PORT": str(web_port),
    }
    command = [sys.executable, "-m", "streams.cli", "worker"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
