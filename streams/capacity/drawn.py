"""The traffic that slopes are measured on, drawn by the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np

from detector.events import EVERY_SERVICE
from detector.records import LogRecord
from detector.rulefile import RuleSet, load_rules
from detector.simulate import Record, Shop, ramp

START_MS = 1_767_225_600_000
WINDOW_MS = 10_000
SINGLE_WINDOWS, SINGLE_SESSIONS = 5, 2_000
DIVIDED = "strata: [{attr: os}, {attr: region}]"
WHOLE = "strata: []\n    auto_strata: false"


def rules(strata: str) -> RuleSet:
    """Shipped defaults with these strata."""
    text = f"version: 1\nrules:\n  - name: capacity\n    {strata}\nend_of_rules: true\n"
    return load_rules(text, source="capacity")


def shop(service: str = "shop") -> Shop:
    """A release beside its predecessor from the third window on."""
    return Shop(service=service, weight=ramp([(2, 0.3)]))


def packed(array: int) -> list[LogRecord]:
    """Single events with ids and sessions, in records of so many."""
    rng = np.random.default_rng(1)
    source = replace(shop(), sessions_per_window=float(SINGLE_SESSIONS))
    found: list[LogRecord] = []
    for index in range(SINGLE_WINDOWS):
        ts = START_MS + index * WINDOW_MS
        events = list(source.events(rng, ts, index))
        if index == 2:
            events.insert(0, source.deploy(ts, 0.3, "started"))
        for low in range(0, len(events), array):
            part = events[low : low + array]
            value = msgspec.json.encode(part if array > 1 else part[0])
            at_ms = part[-1]["ts"] + 300
            found.append(LogRecord(len(found), at_ms, b"shop", value))
    return found


def windows(services: int, releases: int) -> Iterator[list[list[Record]]]:
    """Aggregates of each window, a list for each service; later releases are live
    beside the first two."""
    rng = np.random.default_rng(3)
    sources = [
        shop(f"service-{i}").windows(rng, START_MS, 10_000) for i in range(services)
    ]
    while True:
        found = [next(source) for source in sources]
        for events in found:
            plain = [e for e in events if e.get("release") == "2.3.1"]
            for number in range(1, releases):
                name = f"2.2.{number}"
                events += [
                    {**e, "release": name, "seq": e["seq"] + 10**6 * number}
                    for e in plain
                ]
        yield found


def window(
    first: int, index: int, found: list[list[Record]], step_ms: int = WINDOW_MS
) -> tuple[list[LogRecord], LogRecord]:
    """The records of one window, a record a service, and the tick that closes it."""
    end_ms = START_MS + index * step_ms + WINDOW_MS
    moved = (step_ms - WINDOW_MS) * index
    records = [
        LogRecord(
            first + place,
            end_ms,
            None,
            msgspec.json.encode([{**e, "ts": e["ts"] + moved} for e in events]),
        )
        for place, events in enumerate(found)
    ]
    tick = {"kind": "tick", "ts": end_ms + 20_000, "service": EVERY_SERVICE}
    at = first + len(records)
    return records, LogRecord(at, end_ms + 20_000, None, msgspec.json.encode(tick))
