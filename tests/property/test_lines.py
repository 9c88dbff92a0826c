"""Lines counted in groups give what counting line by line gives, to the byte."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest

from detector import state
from detector.engine import Partition
from detector.groups import batching, lane, moments, runs
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet
from tests.unit.detector.traffic import QUICK, START_MS, Event, rules

FAST = ("persistence_s: 30", "hypercare: {min_hours: 0.0, min_exposure: 100}")
STRATA = "[{attr: os, max_values: 2}, {attr: region}]"
BOOKS = [QUICK, rules(*FAST), rules(*FAST, strata=STRATA)]
WIDTH_MS = 10_000
OUTCOMES = ["ok", "client_error", "server_error", "timeout", "cancelled"]


class Lines:
    """A seeded log of instances and combiners that send sums of each window."""

    def __init__(self, seed: int, windows: int) -> None:
        self.rng = rng = random.Random(seed)
        self.services = ["shop", "cart", "pay"][: rng.randint(1, 3)]
        self.senders = rng.choice([1, 3, 12])
        self.combined = rng.choice([0, 0, 1, 3])
        self.array = rng.choice([1, 7, 40])
        self.shares = {
            name: rng.choice(choices)
            for name, choices in {
                "copy": [0.0, 0.02, 0.3],
                "late": [0.0, 0.02, 0.2],
                "error": [0.0, 0.1, 0.4],
                "latency": [0.0, 0.1, 0.4],
                "single": [0.0, 0.1, 0.5],
                "odd": [0.0, 0.0, 0.01],
                "numbered": [0.0, 1.0, 0.7],
                "outcomes": [0.0, 0.5, 1.0],
                "person": [0.0, 0.0, 0.2],
                "sent": [0.0, 0.0, 0.1],
                "future": [0.0, 0.0, 0.01],
            }.items()
        }
        self.shift_ms = rng.choice([0, 0, 0, 30_000, -40_000])
        self.widths = rng.choice([[10], [10], [10, 10, 30]])
        self.pause = rng.choice([0, 0, windows // 2])
        self.numbers = count()
        self.kept: list[Event] = []
        self.records: list[LogRecord] = []
        self.now_ms = START_MS
        for index in range(windows):
            self._window(index)

    def happens(self, name: str) -> bool:
        """Draw whether something happens."""
        return self.rng.random() < self.shares[name]

    def _window(self, index: int) -> None:
        """What all senders say of one window, and when a combiner was done."""
        rng = self.rng
        self.now_ms = START_MS + (index + 1) * WIDTH_MS + rng.randint(0, 2_000)
        if index == self.pause and index:
            self.now_ms += 1_000_000  # longer than a silent combiner is waited for
        start_ms = START_MS + index * WIDTH_MS
        drawn: list[Event] = []
        if index == 3:
            drawn.append({"kind": "deploy", "ts": start_ms, "service": "shop"})
            drawn[-1] |= {"release": "2", "strategy": rng.choice(["canary", "mobile"])}
        for number in range(self.combined):
            sender = f"combiner/{number}"
            for service in self.services:
                if index >= self.pause or number == 0:
                    drawn += self._lines(start_ms, service, sender)
                    drawn.append(self._tick(start_ms, service, sender))
        for number in range(self.senders):
            for service in self.services:
                drawn += self._lines(start_ms, service, f"instance-{number}")
        while drawn:
            some, drawn = drawn[: self.array], drawn[self.array :]
            self._add(some)

    def _tick(self, start_ms: int, service: str, sender: str) -> Event:
        return {
            "kind": "tick",
            "ts": start_ms + WIDTH_MS,
            "service": service,
            "sender": sender,
        }

    def _add(self, events: list[Event]) -> None:
        self.now_ms += self.rng.randint(0, 40)
        value = msgspec.json.encode(events if len(events) > 1 else events[0])
        self.records.append(LogRecord(len(self.records), self.now_ms, b"k", value))

    def _lines(self, start_ms: int, service: str, sender: str) -> Iterator[Event]:
        for release in ("1", "2"):
            for os in ("a", "b", "c"):
                if self.rng.random() < 0.7:
                    yield self._line(start_ms, service, sender, release, os)

    def _line(self, ts: int, service: str, sender: str, release: str, os: str) -> Event:
        rng = self.rng
        if self.kept and self.happens("copy"):
            return dict(rng.choice(self.kept[-200:]))
        if self.happens("odd"):
            return self._odd(ts, service, release)
        window_s = rng.choice(self.widths)
        line: Event = {"ts": ts - (window_s * 1000 - WIDTH_MS), "window_s": window_s}
        line |= {"service": service, "release": release, "attrs": {"os": os}}
        line["ts"] += self.shift_ms if rng.random() < 0.9 else 0
        line["ts"] -= rng.choice([40_000, 90_000]) if self.happens("late") else 0
        line["ts"] += 600_000 if self.happens("future") else 0
        if rng.random() < 0.95:
            line["sender"] = sender
        if self.happens("numbered"):
            line[rng.choice(["seq", "seq", "id"])] = next(self.numbers)
            line |= {"id": f"i{line['id']}"} if "id" in line else {}
        if self.happens("sent"):
            line["sent_at"] = ts + rng.choice([WIDTH_MS, -120_000])
        self._fill(line)
        self.kept.append(line)
        return line

    def _fill(self, line: Event) -> None:
        rng = self.rng
        if self.happens("single"):
            line["window_s"] = 0
            line |= {"kind": "usage", "session": f"s{rng.randrange(90)}"}
            if rng.random() < 0.3:
                line |= {"duration_ms": rng.choice([0, 3, rng.random() * 100])}
        elif self.happens("error"):
            line |= {"kind": "error", "signature": rng.choice("ABC")}
            line |= {"severity": "info"} if rng.random() < 0.1 else {}
            line |= self._sums(("count", "sessions", "users"))
        elif self.happens("latency"):
            line |= {"kind": "latency", **self._histogram()}
        else:
            line |= {"kind": "usage", "unit": rng.choice(["request", "session"])}
            line |= self._sums(("count", "sessions", "users"))
            if self.happens("outcomes"):
                found = {word: rng.choice([0, 0, 1, 4]) for word in OUTCOMES}
                line["outcomes"] = found
                line["count"] = sum(found.values()) + rng.choice([0, 9])
            elif rng.random() < 0.1:
                line["outcome"] = rng.choice(OUTCOMES)
        if self.happens("person"):
            line["session"] = f"s{rng.randrange(90)}"
            line["user"] = f"u{rng.randrange(30)}"
            line["trace_id"] = f"t{rng.randrange(300)}"

    def _sums(self, names: tuple[str, ...]) -> Event:
        rng = self.rng
        first = {names[0]: rng.choice([0, 1, 7, 90])} if rng.random() < 0.95 else {}
        return first | {
            name: rng.choice([0, 1, 7, 90]) for name in names if rng.random() < 0.4
        }

    def _histogram(self) -> Event:
        rng = self.rng
        counts = [rng.choice([0, 0, 1, 5]) for _ in range(5)]
        if rng.random() < 0.5:
            bounds = rng.choice(
                [[1, 2, 5, 9], [1, 2, 5, 8.5], [2, 4, 6, 7], [1, 3, 4, 5]]
            )
            return {"bounds_ms": bounds, "counts": counts}
        scale = rng.choice([3, 3, 0, 1, 2])
        positive = {"offset": rng.randint(-9, 9), "counts": counts}
        zeros = rng.choice([0, 2])
        return {
            "exponential": {"scale": scale, "zero_count": zeros, "positive": positive}
        }

    def _odd(self, ts: int, service: str, release: str) -> Event:
        common = {"ts": ts, "service": service, "release": release, "window_s": 10}
        kinds: list[Event] = [
            {**common, "kind": "usage", "count": 5, "sample_rate": 0.3},
            {**common, "kind": "usage", "count": 5, "outcomes": {"ok": 6}},
            {**common, "kind": "usage", "count": 5, "seq": 4},
            {**common, "kind": "usage", "count": 9_000_000_000},
            {**common, "kind": "usage", "count": 5, "step": "pay"},
            {**common, "kind": "usage", "count": 2, "duration_ms": 4},
            {**common, "kind": "feedback", "count": 2, "score_sum": 7},
            {**common, "kind": "deploy", "ts": ts + 9, "phase": "started"},
            {**common, "kind": "deploy", "ts": ts, "release": "c", "component": "c"},
            {**common, "kind": "usage", "count": 3, "release": "9"},
            {"kind": "tick", "ts": ts, "service": "all"},
            {"kind": "tick", "ts": ts, "service": "all", "sender": "combiner/0"},
            {"kind": "nonsense", "ts": ts},
        ]
        return self.rng.choice(kinds)


Result = tuple[list[Output], dict[str, int], dict[str, bytes]]


def applied(
    records: list[LogRecord], book: RuleSet, batch: int, *, in_groups: bool
) -> Result:
    """Outputs, counts and the whole state after a log."""
    partition = Partition(0, book)
    partition.in_groups = in_groups
    found: list[Output] = []
    for first in range(0, len(records), batch):
        found += partition.apply(records[first : first + batch]).records
    return found, dict(partition.counts), state.all_blocks(partition)


@pytest.mark.parametrize("seed", [*range(30), 249])
def test_grouped_lines_change_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Outputs, counters and snapshots are the same bytes in groups and one by one."""
    rng = random.Random(seed)
    if rng.random() < 0.85:  # groups of two: all seams are met
        monkeypatch.setattr(batching, "RUN_EVENTS_MIN", 2)
        monkeypatch.setattr(runs, "TICK_BYTES_MIN", 0)
        monkeypatch.setattr(lane, "TURNS_FREE", rng.choice([1_000_000, 8, 2]))
        monkeypatch.setattr(moments, "LOOK_ROWS", rng.choice([16, 64]))
    records = Lines(seed, 12).records
    book = rng.choice(BOOKS)
    alone = applied(records, book, 1_000_000, in_groups=False)
    assert applied(records, book, rng.choice([1, 7, 40, 1000]), in_groups=True) == alone


def test_most_lines_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a steady stream of sums nearly every line is counted in a group."""
    grouped: list[int] = []
    counted = batching.count_rows

    def count_rows(table: Any, rows: Any) -> Any:
        grouped.append(len(rows))
        return counted(table, rows)

    monkeypatch.setattr(batching, "count_rows", count_rows)
    lines = [
        {
            "kind": "usage",
            "ts": START_MS + window * WIDTH_MS,
            "window_s": 10,
            "service": "shop",
            "release": "12"[sender % 2],
            "sender": f"i{sender}",
            "seq": window,
            "count": 40,
            "sessions": 9,
        }
        for window in range(20)
        for sender in range(500)
    ]
    records = [
        LogRecord(
            i // 50,
            START_MS + (i // 500 + 1) * WIDTH_MS + i % 500,
            None,
            msgspec.json.encode(lines[i : i + 50]),
        )
        for i in range(0, len(lines), 50)
    ]
    applied(records, QUICK, 100, in_groups=True)
    assert sum(grouped) > 0.9 * len(lines)
