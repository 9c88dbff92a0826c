"""A hot service through combiners: who gets what, and what reaches the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from detector.combiner import Combiner
from detector.records import LogRecord, Output
from detector.simulate import Shop

KEY = b"0123456789abcdef"
START_MS = 1_795_356_000_000
Event = dict[str, Any]
Timed = tuple[int, Event]
"""When an event arrives, and what it says."""


def traffic(shop: Shop, windows: int, seed: int, lag_ms: int = 300) -> list[Timed]:
    """Single events of a shop in the order in which they arrive."""
    rng = np.random.default_rng(seed)
    found: list[Timed] = []
    before = 0.0
    for index in range(windows):
        ts = START_MS + index * shop.window_s * 1000
        share = shop.weight(index)
        if share != before:
            phase = "started" if before == 0 else "progressed"
            found.append((ts, shop.deploy(ts, share, phase)))
            before = share
        found += [(e["ts"] + lag_ms, e) for e in shop.events(rng, ts, index)]
    return sorted(found, key=lambda timed: timed[0])


def tick(now_ms: int) -> Event:
    """The time, as the owner of a silent partition says it."""
    return {"kind": "tick", "ts": now_ms, "service": "all"}


def with_ticks(timed: Sequence[Timed], seconds: int = 120) -> list[Timed]:
    """The traffic, and then the time until all windows are over."""
    end_ms = timed[-1][0]
    later = range(end_ms + 5_000, end_ms + 1000 * seconds, 5_000)
    return [*timed, *((ms, tick(ms)) for ms in later)]


def log_of(timed: Iterable[Timed]) -> list[LogRecord]:
    """One record for each event."""
    return [
        LogRecord(offset, ms, None, json.dumps(event).encode())
        for offset, (ms, event) in enumerate(timed)
    ]


def shared(timed: Iterable[Timed], combiners: int) -> list[list[Timed]]:
    """Which combiner gets what: by session; commands and deploys anywhere."""
    parts: list[list[Timed]] = [[] for _ in range(combiners)]
    for ms, event in timed:
        if event["kind"] == "tick":
            for part in parts:
                part.append((ms, event))
            continue
        who = event.get("session") or event.get("user") or event.get("id") or str(ms)
        parts[crc32(who.encode()) % combiners].append((ms, event))
    return parts


def combined(
    timed: Sequence[Timed], combiners: int = 4, *, away: tuple[int, int] = (0, 0)
) -> list[Timed]:
    """What reaches the log of single events, and when.

    ``away`` is from when until when the last combiner sends nothing: then it all comes.
    """
    found: list[tuple[int, int, Event]] = []
    for number, part in enumerate(shared(timed, combiners)):
        one = Combiner(number, KEY, senders=combiners)
        for record in log_of(part):
            at_ms = record.timestamp_ms + 50 * number
            if number == combiners - 1 and away[0] <= at_ms < away[1]:
                at_ms = away[1]
            for output in one.apply([record]).records:
                found += [(at_ms, number, event) for event in members(output)]
    found.sort(key=lambda timed: timed[:2])
    return [(ms, event) for ms, _, event in found]


def members(output: Output) -> list[Event]:
    """The events of one record for the log."""
    assert output.topic == "combined", output
    read = json.loads(output.value)
    return read if isinstance(read, list) else [read]
