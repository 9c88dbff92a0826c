"""Lines into decisions: arrival times, odd lines, and the core's own answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detector.replay import Replay, arrival_ms
from tests.unit.detector.traffic import (
    QUICK,
    Log,
    harmful,
    recommendations,
    run,
    said,
)


def lines_of(log: Log, received: bool = True) -> list[bytes]:
    """A log as a recording, with arrival times or without."""
    lines = []
    for record in log.records:
        found = json.loads(record.value or b"")
        events = found if isinstance(found, list) else [found]
        for event in events:
            if received:
                event["received_at"] = record.timestamp_ms
        lines.append(json.dumps(events).encode() + b"\n")
    return lines


def replayed(lines: list[bytes], batch: int = 1) -> list[dict[str, Any]]:
    """The decoded output lines."""
    return [json.loads(line) for line in Replay(QUICK).feed(lines, batch)]


def test_replay_is_the_core() -> None:
    """Verdicts and recommendations are those of the partition, in its order."""
    outputs = run(harmful())
    found = replayed(lines_of(harmful()))
    verdicts = [r for r in found if r["type"] == "verdict"]
    assert [r["verdict"] for r in verdicts] == [
        r["verdict"] for r in said(outputs, "verdicts")
    ]
    (one,) = (r for r in found if r["type"] == "recommendation")
    (same,) = recommendations(outputs)
    for key in ("id", "revision", "action", "decided_at", "log_e", "rate_ratio"):
        assert one[key] == same[key]


def test_reissues_are_not_shown() -> None:
    """A reader of replay sees one line per revision."""
    found = [r for r in replayed(lines_of(harmful(90))) if r["type"] != "verdict"]
    assert [r["revision"] for r in found] == [1]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_change_no_byte(batch: int) -> None:
    """The same lines for any batch size."""
    lines = lines_of(harmful(40))
    assert replayed(lines, batch) == replayed(lines)


def test_output_comes_when_decided() -> None:
    """A line is out before the next input is read: replay never looks ahead."""
    read = 0

    def source() -> Any:
        nonlocal read
        for line in lines_of(harmful(40)):
            read += 1
            yield line

    stream = Replay(QUICK).feed(source())
    next(stream)
    assert read < 12


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"received_at": 9, "ts": 50}', 9),
        (b'{"ts": 50, "window_s": 1}', 1050),
        (b'[{"received_at": 9}, {"received_at": 12}]', 12),
        (b'{"received_at": 1000000000000000000}', 7),
        (b'{"received_at": 99999999999999999999999}', 7),
        (b'{"ts": 5, "window_s": 9000000000000}', 7),
        (b'{"received_at": -5}', 7),
        (b'{"received_at": "2026-01-01T00:00:00Z"}', 7),
        (b'{"\xff": 1}', 7),
        (b"[" * 100_000, 7),
        (b"", 7),
        (b"[]", 7),
        (b'{"received_at": 3}', 7),
    ],
)
def test_arrival_time_of_lines(line: bytes, expected: int) -> None:
    """The newest arrival in the line, never backwards, never from nonsense."""
    assert arrival_ms(line, 7) == expected


def test_one_bad_line_poisons_nothing() -> None:
    """Garbage between the lines is counted and changes no decision."""
    lines = lines_of(harmful())
    spoilt = list(lines)
    for index in range(len(lines) - 1, 0, -3):
        spoilt.insert(index, b'{"received_at": 1000000000000000000, "kind": "usage"}')
        spoilt.insert(index, b"\n")
    replay = Replay(QUICK)
    found = [json.loads(line) for line in replay.feed(spoilt)]
    assert found == replayed(lines)
    assert len(replay.rejected) == (len(lines) + 1) // 3


def test_recording_without_arrivals() -> None:
    """Without arrival times every record arrives when what it covers ends."""
    found = replayed(lines_of(harmful(), received=False))
    assert [r["action"] for r in found if r["type"] == "recommendation"] == ["rollback"]
    assert all(r["decided_at"] % 10_000 == 0 for r in found)
