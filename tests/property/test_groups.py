"""Counting in groups gives what counting event by event gives, to the byte."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector import engine, state
from detector.engine import Partition
from detector.groups import batching, lane, moments, runs
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet
from tests.unit.detector.traffic import QUICK, START_MS, Event, rules

FAST = ("persistence_s: 30", "hypercare: {min_hours: 0.0, min_exposure: 100}")
STRATA = "[{attr: os, max_values: 2}, {attr: region}]"
BOOKS = [QUICK, rules(*FAST), rules(*FAST, strata=STRATA)]
RELEASES = ["1", "2"]


class Traffic:
    """A seeded log: each seed has its own mixture of what can go wrong."""

    def __init__(self, seed: int, events: int) -> None:
        self.rng = rng = random.Random(seed)
        self.services = ["shop", "cart", "pay"][: rng.randint(1, 3)]
        self.shares = {
            name: rng.choice(choices)
            for name, choices in {
                "late": [0.0, 0.02, 0.3],
                "odd": [0.0, 0.01, 0.1],
                "copy": [0.0, 0.05, 0.4],
                "id": [0.0, 1.0, 0.5],
                "person": [0.0, 1.0, 0.5],
                "duration": [0.0, 0.5],
                "outcome": [0.0, 0.02, 0.4],
                "error": [0.0, 0.02, 0.3],
                "future": [0.0, 0.0, 0.01],
                "trace": [0.0, 0.0, 0.2],
                "sent": [0.0, 0.0, 0.1],
                "name": [0.0, 0.0, 0.01],
            }.items()
        }
        self.shift_ms = rng.choice([0, 0, 0, 30_000, -40_000, 600_000])
        self.values = rng.choice([2, 2, 4, 60])
        self.senders = rng.choice([0, 3, 300])
        self.array = rng.choice([1, 1, 20, 100])
        self.pace_ms = rng.choice([5, 50, 400, 3000])
        self.now_ms = START_MS
        self.kept: list[Event] = []
        self.records: list[LogRecord] = []
        left = events
        while left > 0:
            count = 1 if self.array == 1 else rng.randint(1, self.array)
            self._add([self._event() for _ in range(count)])
            left -= count
        for _ in range(8):
            self.now_ms += 10_000
            tick = {"kind": "tick", "ts": self.now_ms, "service": "all"}
            self._add([tick])

    def happens(self, name: str) -> bool:
        """Draw whether something happens."""
        return self.rng.random() < self.shares[name]

    def _add(self, events: list[Event]) -> None:
        value = msgspec.json.encode(events if len(events) > 1 else events[0])
        if self.rng.random() < 0.05:  # written by another program
            value = msgspec.json.format(value, indent=self.rng.choice([0, 2]))
        arrival_ms = self.now_ms + self.rng.choice([0, 5, 1000])
        self.records.append(LogRecord(len(self.records), arrival_ms, b"k", value))

    def _event(self) -> Event:
        rng = self.rng
        self.now_ms += rng.randint(0, 2 * self.pace_ms)
        if self.happens("odd"):
            return self._odd()
        if self.kept and self.happens("copy"):
            return dict(rng.choice(self.kept[-40:]))
        event: Event = {"ts": self._time_ms(), "service": rng.choice(self.services)}
        event["release"] = rng.choice(RELEASES if rng.random() < 0.99 else ["3", "4"])
        event["attrs"] = {
            name: str(rng.randrange(self.values))
            for name in ("os", "region")
            if rng.random() < 0.97
        }
        if self.happens("name"):
            event["service"] = rng.choice(["bad name", "x@y.de", "new-1", "new-2"])
        event |= self._error() if self.happens("error") else self._usage()
        event |= self._identity(event["ts"])
        self.kept.append(event)
        return event

    def _time_ms(self) -> int:
        ts = self.now_ms + (self.shift_ms if self.rng.random() < 0.97 else 0)
        if self.happens("late"):
            ts -= self.rng.choice([30_000, 45_000, 3_600_000])
        if self.happens("future"):
            ts += self.rng.choice([61_000, 10_000_000])
        return ts

    def _error(self) -> Event:
        found: Event = {"kind": "error", "type": self.rng.choice("ABC")}
        if self.rng.random() < 0.3:
            found["message"] = f'order {self.rng.randrange(99)} said "no"\n'
        if self.rng.random() < 0.1:
            found["severity"] = "info"
        return found

    def _usage(self) -> Event:
        found: Event = {"kind": "usage"}
        if self.happens("outcome"):
            found["outcome"] = self.rng.choice(["server_error", "timeout", "cancelled"])
        if self.happens("duration"):
            found["duration_ms"] = self.rng.choice([0, 1.5, 3, self.rng.random() * 100])
        if self.rng.random() < 0.3:
            found["unit"] = "session"
        return found

    def _identity(self, ts: int) -> Event:
        found: Event = {}
        if self.happens("id"):
            found["id"] = f"i{len(self.kept)}"
        if self.happens("person"):
            found["session"] = f"s{self.rng.randrange(200)}"
        if self.happens("person") and self.rng.random() < 0.5:
            found["user"] = f"u{self.rng.randrange(100)}"
        if self.happens("trace"):
            found["trace_id"] = f"t{self.rng.randrange(300)}"
        if self.senders and self.rng.random() < 0.9:
            found["sender"] = f"p{self.rng.randrange(self.senders)}"
        if self.happens("sent"):
            found["sent_at"] = ts + self.rng.choice([0, 100, -120_000])
            found["received_at"] = ts + 5
        return found

    def _odd(self) -> Event:
        """What is no single event, or a command that changes how they count."""
        rng, ts = self.rng, self.now_ms
        whole_ms = ts // 10_000 * 10_000 - 10_000
        service, release = rng.choice(self.services), rng.choice(RELEASES)
        common = {"ts": whole_ms, "service": service, "release": release}
        grace = f"grace_s: {rng.choice([1, 5, 20, 60])}"
        text = rules(grace, "skew_s: 5").to_canonical_json().decode()
        kinds: list[Event] = [
            {**common, "kind": "usage", "window_s": 10, "count": 50, "sessions": 20},
            {**common, "kind": "usage", "window_s": 10, "count": 5, "sample_rate": 0.3},
            {**common, "kind": "usage", "window_s": 60, "count": 90},
            {**common, "kind": "error", "window_s": 10, "count": 5, "signature": "S"},
            {**common, "kind": "latency", "bounds_ms": [1, 5], "counts": [1, 2, 3]},
            {**common, "kind": "feedback", "score": 2},
            {**common, "kind": "deploy", "ts": ts, "phase": "started"},
            {**common, "kind": "deploy", "ts": ts, "phase": "aborted"},
            {**common, "kind": "deploy", "ts": ts, "release": "c", "component": "c"},
            {"kind": "tick", "ts": ts, "service": rng.choice(["all", service])},
            {"kind": "command", "ts": ts, "service": service, "name": "freeze"},
            {
                "kind": "command",
                "ts": ts,
                "service": service,
                "name": rng.choice(["mode", "label"]),
                "recommendation_id": f"rec_{rng.choice('ab')}",
                "value": rng.choice(["shadow", "rule", "wrong"]),
            },
            {"kind": "nonsense", "ts": ts},
            {
                "kind": "command",
                "ts": ts,
                "service": "all",
                "name": "ruleset",
                "rules_text": text,
            },
        ]
        return rng.choice(kinds)


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


@pytest.fixture(name="eager")
def eager_groups(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes groups of two and looks ahead a few rows, so that all seams are met."""

    def set_to(rows: int) -> None:
        monkeypatch.setattr(batching, "RUN_EVENTS_MIN", 2)
        monkeypatch.setattr(runs, "TICK_BYTES_MIN", 0)
        monkeypatch.setattr(lane, "TURNS_FREE", 1_000_000)
        monkeypatch.setattr(moments, "LOOK_ROWS", rows)

    return set_to


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.integers(0, 1_000_000),
    st.sampled_from(BOOKS),
    st.sampled_from([7, 40, 200, 1_000_000]),
    st.sampled_from([16, 64, 1024]),
    st.booleans(),
)
def test_groups_change_nothing(
    eager: Callable[[int], None],
    seed: int,
    book: RuleSet,
    batch: int,
    rows: int,
    is_eager: bool,
) -> None:
    """Outputs, counters and snapshots are the same bytes in groups and one by one."""
    records = Traffic(seed, 300).records
    if is_eager:
        eager(rows)
    alone = applied(records, book, 1_000_000, in_groups=False)
    assert applied(records, book, batch, in_groups=True) == alone


@pytest.mark.parametrize("seed", range(12))
def test_long_logs_are_the_same(seed: int) -> None:
    """The same for logs of several runs, as a worker would apply them."""
    records = Traffic(seed, 2_000).records
    alone = applied(records, QUICK, 1_000_000, in_groups=False)
    assert applied(records, QUICK, 500, in_groups=True) == alone


@pytest.mark.parametrize(("seed", "rows"), [(73, 16), (75, 1024)])
def test_restless_scopes_change_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int, rows: int
) -> None:
    """Nor does it matter which scope comes to the moments of a run first."""
    monkeypatch.setattr(batching, "RUN_EVENTS_MIN", 2)
    monkeypatch.setattr(runs, "TICK_BYTES_MIN", 0)
    monkeypatch.setattr(moments, "LOOK_ROWS", rows)
    records = Traffic(seed, 1_500).records
    book = BOOKS[2] if seed == 73 else BOOKS[1]
    alone = applied(records, book, 1_000_000, in_groups=False)
    assert applied(records, book, 1_000, in_groups=True) == alone


def test_most_events_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a steady stream nearly every event is counted in a group."""
    grouped: list[int] = []
    count = batching.count_rows

    def counted(table: Any, rows: Any) -> Any:
        grouped.append(len(rows))
        return count(table, rows)

    monkeypatch.setattr(batching, "count_rows", counted)
    events: list[dict[str, Any]] = [
        {
            "kind": "usage",
            "ts": START_MS + 2 * index,
            "service": "shop",
            "release": RELEASES[index % 2],
        }
        for index in range(20_000)
    ]
    values = [msgspec.json.encode(events[i : i + 50]) for i in range(0, 20_000, 50)]
    records = [
        LogRecord(i, START_MS + 100 * i + 200, None, value)
        for i, value in enumerate(values)
    ]
    applied(records, QUICK, 100, in_groups=True)
    assert sum(grouped) > 0.95 * len(events)


def test_thin_services_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty services are counted, and close their windows, by a few calls for all."""
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        call = getattr(module, name)

        def noted(*args: Any) -> Any:
            calls[name] += 1
            return call(*args)

        monkeypatch.setattr(module, name, noted)

    counted(batching, "count_rows")
    counted(batching, "close_due")
    records = []
    for window in range(6):
        for service in range(20):
            begin_ms = START_MS + 10_000 * window
            events = [
                {
                    "kind": "usage",
                    "ts": begin_ms + 200 * index,
                    "service": f"service-{service}",
                    "release": RELEASES[index % 2],
                }
                for index in range(50)
            ]
            stamp_ms, value = begin_ms + 10_000, msgspec.json.encode(events)
            records.append(LogRecord(len(records), stamp_ms, None, value))
    found = applied(records, QUICK, 20, in_groups=True)
    assert found[1]["windows_closed"] >= 60
    assert calls["count_rows"] <= 24
    assert calls["close_due"] <= 24
    assert found == applied(records, QUICK, 1_000_000, in_groups=False)


def test_full_memories_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scopes or ids find no more room, it is the same ones that do."""
    monkeypatch.setattr(runs, "IDS_ROOM", 600)
    monkeypatch.setattr(engine, "SCOPES_MAX", 2)
    monkeypatch.setattr(engine, "REMEMBERED_MAX", 700)
    for seed in range(8):
        records = Traffic(seed, 600).records
        alone = applied(records, QUICK, 1_000_000, in_groups=False)
        assert applied(records, QUICK, 300, in_groups=True) == alone


def test_late_copies_are_copies(eager: Callable[[int], None]) -> None:
    """A copy whose window is closed for its time, yet open as it was widened."""
    eager(16)
    records = Traffic(3777, 300).records
    alone = applied(records, QUICK, 1_000_000, in_groups=False)
    assert applied(records, QUICK, 1_000_000, in_groups=True) == alone


def test_made_up_names_are_the_same() -> None:
    """Names that come and go between real events fold into the same bytes."""
    rng = random.Random(16)
    for seed in range(4):
        records = Traffic(seed, 600).records
        mixed = []
        for record in records:
            mixed.append(record)
            for number in rng.sample(range(1000), 3):
                event = {
                    "kind": "usage" if number % 2 else "error",
                    "ts": record.timestamp_ms - 1000,
                    "service": "shop",
                    "release": f"9.{number}",
                    "duration_ms": 5.0,
                }
                if number % 2 == 0:
                    del event["duration_ms"]
                    event["type"] = "Scan"
                value = msgspec.json.encode(event)
                mixed.append(LogRecord(0, record.timestamp_ms, None, value))
        mixed = [r._replace(offset=i) for i, r in enumerate(mixed)]
        alone = applied(mixed, QUICK, 1_000_000, in_groups=False)
        assert applied(mixed, QUICK, 300, in_groups=True) == alone
