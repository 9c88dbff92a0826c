"""Small logs by hand: counts are given, not drawn, so outcomes are certain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detector import state
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet, load_rules

START_MS = 1_795_356_000_000
"""A full hour, so windows of every length begin here."""

WINDOW_MS = 10_000
Event = dict[str, Any]
Counts = tuple[int, int]
"""(sessions, failed sessions)"""


def rules(*lines: str, strata: str = "[]") -> RuleSet:
    """One rule for everything, with further lines of YAML."""
    body = "".join(f"    {line}\n" for line in lines)
    text = (
        f"version: 1\nrules:\n  - name: all\n    strata: {strata}\n{body}"
        "end_of_rules: true\n"
    )
    return load_rules(text, source="test")


QUICK = rules("persistence_s: 30", "hypercare: {min_hours: 0.0, min_exposure: 100}")
"""Rules under which a few windows decide."""


def at(window: int) -> int:
    """Start of a window of 10 s."""
    return START_MS + window * WINDOW_MS


def usage(window: int, release: str, sessions: int, **more: Any) -> Event:
    """An aggregate of sessions of one release in one window."""
    return {
        "kind": "usage",
        "ts": at(window),
        "window_s": 10,
        "service": "shop",
        "release": release,
        "count": sessions,
        "sessions": sessions,
        **more,
    }


def error(window: int, release: str, sessions: int, **more: Any) -> Event:
    """An aggregate of failed sessions of one release in one window."""
    return {
        **usage(window, release, sessions),
        "kind": "error",
        "signature": "KeyError: price",
        **more,
    }


def deploy(window: int, release: str = "2", **more: Any) -> Event:
    """A deploy event at the start of a window."""
    return {
        "kind": "deploy",
        "ts": at(window),
        "service": "shop",
        "release": release,
        **more,
    }


def tick(window: int, service: str = "all") -> Event:
    """The owner of the partition says that a window has begun."""
    return {"kind": "tick", "ts": at(window), "service": service}


def command(window: int, name: str, **more: Any) -> Event:
    """What a person or a reload does."""
    return {
        "kind": "command",
        "ts": at(window),
        "service": "shop",
        "name": name,
        **more,
    }


def arms(window: int, counts: Mapping[str, Counts], **more: Any) -> list[Event]:
    """Usage and errors of several releases in one window."""
    events = []
    for release, (sessions, failed) in counts.items():
        events.append(usage(window, release, sessions, **more))
        if failed:
            events.append(error(window, release, failed, **more))
    return events


class Log:
    """Records of one partition in the order they were appended."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []

    def add(self, at_ms: int, *events: Event) -> Log:
        """Append one record; ``at_ms`` is when it arrived."""
        value = json.dumps(events if len(events) != 1 else events[0]).encode()
        self.records.append(LogRecord(len(self.records), at_ms, b"shop", value))
        return self

    def windows(
        self, span: Iterable[int], counts: Mapping[str, Counts], **more: Any
    ) -> Log:
        """Append one record of aggregates a window, just after its end."""
        for window in span:
            self.add(at(window + 1) + 500, *arms(window, counts, **more))
        return self

    def ticks(self, span: Iterable[int]) -> Log:
        """Append ticks: time passes and nothing else happens."""
        for window in span:
            self.add(at(window), tick(window))
        return self


def harmful(bad_windows: int = 12) -> Log:
    """A canary that fails ten times as often from its first window on."""
    log = Log().windows(range(6), {"1": (800, 8)})
    log.add(at(6), deploy(6, predecessor="1", strategy="canary", weight=0.2))
    return log.windows(range(6, 6 + bad_windows), {"1": (800, 8), "2": (200, 20)})


def run(
    log: Log | Sequence[LogRecord], book: RuleSet = QUICK, batch: int = 1_000_000
) -> list[Output]:
    """Everything a fresh partition puts out for a log."""
    return feed(Partition(0, book), log, batch)


def feed(
    partition: Partition, log: Log | Sequence[LogRecord], batch: int = 1_000_000
) -> list[Output]:
    """Everything a partition puts out for further records."""
    records = log.records if isinstance(log, Log) else log
    found: list[Output] = []
    for first in range(0, len(records), batch):
        found += partition.apply(records[first : first + batch]).records
    return found


def said(outputs: Iterable[Output], topic: str) -> list[dict[str, Any]]:
    """The decoded records of one topic."""
    return [json.loads(o.value) for o in outputs if o.topic == topic]


def verdicts(outputs: Iterable[Output]) -> list[str]:
    """The verdict words in order."""
    return [record["verdict"] for record in said(outputs, "verdicts")]


def recommendations(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    """The recommendation records in order."""
    return said(outputs, "recommendations")


def restored(partition: Partition) -> Partition:
    """The same partition after a snapshot of everything."""
    return state.restore(
        partition.number, state.all_blocks(partition), partition.next_offset
    )
