"""Combiners on a real Kafka: killed, joined and left, and every session counts once."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import load_rules
from streams.halt import Exit
from streams.kafka_local import LocalKafka
from streams.settings import Settings
from streams.topics import HOT, LOG, create_missing
from streams.wallclock import now_ms
from tests.integration.detecting import RULES, DetectorStage
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTS = 4
SERVICES = ("cart", "shop")
SESSIONS = 12_000
RATE = 600
FIRST = 75
"""Sessions of less than the first 20 s: whichever combiner is heard of first, alone it
must not close a window (its end and 20 s of grace) that the others have lines of."""

SPAN_MS = 2_400_000
"""Event time that the traffic covers: so much faster than the clock that the test need
not wait for windows, and no stall of the machine looks like a clock that is off."""


class CombinerStage(DetectorStage):
    """Processes are ``hypercare combiner``."""

    program = ("streams.cli", "combiner")

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        super().__init__(bootstrap, prefix, folder)
        self.settings = replace(self.settings, hot_partitions=PARTS)
        create_missing(self.settings)

    def environment(self, name: str) -> dict[str, str]:
        """Add the hot topic."""
        return super().environment(name) | {
            "HYPERCARE_HOT_PARTITIONS": str(PARTS),
            "HYPERCARE_IDENTITY_KEY": "0123456789abcdef",
        }

    def log(self) -> list[LogRecord]:
        """What stands in the log, in the order of its arrival."""
        found = sorted(self.read(LOG), key=lambda r: (r.timestamp, r.offset))
        return [
            LogRecord(place, r.timestamp, r.key, r.value)
            for place, r in enumerate(found)
        ]

    def told_ms(self) -> dict[tuple[str, str], int]:
        """Up to when each combiner has sent all of each service."""
        told: dict[tuple[str, str], int] = {}
        for event in events_of(self.log()):
            if event["kind"] == "tick" and "sender" in event:
                key = (event["service"], event["sender"])
                told[key] = max(told.get(key, 0), event["ts"])
        return told


@contextmanager
def combiner_stage(
    bootstrap: str, prefix: str, folder: Path
) -> Iterator[CombinerStage]:
    """Make topics, and leave no combiner behind."""
    made = CombinerStage(bootstrap, prefix, folder)
    try:
        yield made
    finally:
        made.end()


def events_of(records: list[LogRecord]) -> list[dict[str, Any]]:
    return [event for r in records for event in json.loads(r.value or b"[]")]


class Sessions:
    """Sends sessions with two requests each, one in fifty fails; the first comes
    twice. ``sent`` is how many have been acknowledged; those after the first wait
    for ``go_on``."""

    def __init__(self, settings: Settings) -> None:
        self.sent = 0
        self.go_on = threading.Event()
        self.begin_ms = now_ms() - SPAN_MS
        self._settings = settings
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Sessions:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()

    async def _run(self) -> None:
        topic = self._settings.topic(HOT)
        async with AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka, acks="all", enable_idempotence=True
        ) as producer:
            step = RATE // 20
            for start in range(0, SESSIONS, step):
                if start >= FIRST:
                    await asyncio.to_thread(self.go_on.wait, 120)
                waiting = [
                    await producer.send(topic, json.dumps(event).encode(), key=key)
                    for n in range(start, start + step)
                    for key, event in self._session(n)
                ]
                await asyncio.gather(*waiting)
                self.sent = start + step
                await asyncio.sleep(0.05)

    def _session(self, n: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
        name = f"s{n}"
        common = {
            "service": SERVICES[n % 2],
            "release": "1.0.0",
            "session": name,
            "ts": self.begin_ms + n * SPAN_MS // SESSIONS,
        }
        for number in (0, 1, 0):
            yield name.encode(), {"kind": "usage", "id": f"{name}-{number}", **common}
        if n % 50 == 0:
            yield name.encode(), {"kind": "error", "type": "E", "id": name, **common}

    def end(self) -> None:
        """Tell every combiner what time it is."""
        asyncio.run(self._end())

    async def _end(self) -> None:
        tick = {"kind": "tick", "ts": now_ms(), "service": "all"}
        async with AIOKafkaProducer(bootstrap_servers=self._settings.kafka) as producer:
            for number in range(PARTS):
                await producer.send_and_wait(
                    self._settings.topic(HOT),
                    json.dumps(tick).encode(),
                    partition=number,
                )


def all_told(made: CombinerStage, until_ms: int) -> bool:
    told = made.told_ms()
    return len(told) == PARTS * len(SERVICES) and min(told.values()) >= until_ms


def assert_counted_once(made: CombinerStage) -> None:
    """Copies are copies byte by byte, and the detector counts each session once."""
    records = made.log()
    copies: dict[str, set[str]] = {}
    for event in events_of(records):
        if "id" in event:
            copies.setdefault(event["id"] + event["service"], set()).add(
                json.dumps(event, sort_keys=True)
            )
    assert all(len(said) == 1 for said in copies.values())
    totals: Counter[tuple[str, str]] = Counter()
    for said in copies.values():
        event = json.loads(next(iter(said)))
        totals[event["kind"], "count"] += event["count"]
        totals[event["kind"], "sessions"] += event["sessions"]
    assert totals == {
        ("usage", "count"): 2 * SESSIONS,
        ("usage", "sessions"): SESSIONS,
        ("error", "count"): SESSIONS // 50,
        ("error", "sessions"): SESSIONS // 50,
    }
    partition = Partition(0, load_rules(RULES, source="test"))
    partition.apply(records)
    for scope in partition.scopes.values():
        # Late ones are copies then, whose windows are over.
        assert scope.units_total == SESSIONS


def test_killed_combiners_count_exactly(kafka: LocalKafka, tmp_path: Path) -> None:
    """kill -9 in the middle of windows, one that joins, one that leaves in order: every
    session is counted once by who reads the log."""
    with (
        combiner_stage(kafka.bootstrap, "combiners", tmp_path) as made,
        Sessions(made.settings) as load,
    ):
        first = made.start("c0")
        until(lambda: all_told(made, load.begin_ms), what="every partition is heard of")
        load.go_on.set()
        second = made.start("c1")
        until(lambda: "lane.ready" in made.said("c1"), what="another one works")
        first.kill()
        made.start("c2")
        until(lambda: "lane.ready" in made.said("c2"), what="the heir works")
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=15) == Exit.STOPPED
        until(lambda: load.sent == SESSIONS, what="all is sent")
        load.end()
        end_ms = load.begin_ms + SPAN_MS
        until(lambda: all_told(made, end_ms), what="all windows have been sent")
        assert_counted_once(made)
