"""Recording: partitions spelt out per service, clocks kept apart."""

from __future__ import annotations

import json
from typing import Any

from streams.recording import Stored, partition_lines


def lines(*records: tuple[int, Any]) -> list[tuple[int, Any]]:
    """Recorded lines, decoded."""
    stored = [Stored(at, json.dumps(body).encode()) for at, body in records]
    return [(s.arrival_ms, json.loads(s.line)) for s in partition_lines(stored)]


def usage(service: str, **more: Any) -> dict[str, Any]:
    """A usage record of a service."""
    return {"kind": "usage", "ts": 1, "service": service, "release": "1", **more}


def test_arrival_is_a_running_maximum() -> None:
    """Lines carry the arrival clock of their partition, which never goes back."""
    found = lines((50, usage("a")), (20, usage("a")))
    assert [at for at, _ in found] == [50, 50]
    assert [body["received_at"] for _, body in found] == [50, 50]


def test_sender_skew_survives() -> None:
    """The difference of received_at and sent_at stays as it was."""
    ((_, body),) = lines((500, usage("a", sent_at=100, received_at=400)))
    assert body["received_at"] - body["sent_at"] == 300


def test_tick_reaches_known_services() -> None:
    """A tick becomes one tick for each service seen in the partition so far."""
    tick = {"kind": "tick", "ts": 9, "service": "all"}
    found = lines((1, tick), (2, [usage("a"), usage("b")]), (3, tick))
    assert [body if isinstance(body, dict) else len(body) for _, body in found] == [
        2,
        2,
    ]
    assert [t["service"] for t in found[1][1]] == ["a", "b"]


def test_rules_precede_later_services() -> None:
    """A service first seen after a reload gets the rules before its first record."""
    rules = {"kind": "command", "ts": 5, "service": "all", "name": "ruleset"}
    found = lines((1, usage("a")), (2, rules), (3, usage("b")))
    told = [(b[0] if isinstance(b, list) else b) for _, b in found]
    kinds = [(t["kind"], t["service"]) for t in told]
    assert kinds == [
        ("usage", "a"),
        ("command", "a"),
        ("command", "b"),
        ("usage", "b"),
    ]


def test_garbage_has_no_line() -> None:
    """What is not JSON decided nothing and is left out."""
    assert list(partition_lines([Stored(1, b"\xff"), Stored(2, None)])) == []
