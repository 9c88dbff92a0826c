"""All that a backtest found, in one structure: the table, the page and JSON show it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from detector.backtest.intervals import Share
from detector.backtest.labels import Label
from detector.backtest.scores import Difference, Row, Summary, differences, grouped
from detector.backtest.told import Part


class Trial(Struct):
    """One rule set on the history."""

    name: str
    hash: str
    summary: Summary
    by_service: dict[str, Summary]
    by_rule: dict[str, Summary]
    rows: list[Row]


class Against(Struct):
    """How another rule set differs from the first."""

    first: str
    other: str
    differences: list[Difference]


class Outcome(Struct):
    """A whole backtest; times in epoch milliseconds by arrival."""

    source: str
    lines: int
    refused: int
    begin_ms: int
    end_ms: int
    rulesets_left_out: int
    labels_without_release: list[Label]
    trials: list[Trial]
    against: list[Against]


def trial_of(name: str, rules_hash: str, rows: list[Row], summary: Summary) -> Trial:
    """A rule set's rows with their figures."""
    by = {field: dict(grouped(rows, field)) for field in ("service", "rule")}
    return Trial(name, rules_hash, summary, by["service"], by["rule"], rows)


def against_first(trials: Sequence[Trial]) -> list[Against]:
    """Each further rule set beside the first."""
    first = trials[0]
    return [
        Against(first.name, other.name, differences(first.rows, other.rows))
        for other in trials[1:]
    ]


def covered_ms(parts: Sequence[Part]) -> tuple[int, int]:
    """First and last arrival of a history."""
    begins = [part.begin_ms for part in parts if part.begin_ms >= 0]
    return min(begins, default=-1), max((p.end_ms for p in parts), default=-1)


def json_of(outcome: Outcome) -> bytes:
    """One JSON object; shares have their value, too."""
    return msgspec.json.encode(_plain(outcome))


def _plain(value: Any) -> Any:
    if isinstance(value, Share):
        return {**value._asdict(), "value": value.value}
    if isinstance(value, Struct):
        return {n: _plain(getattr(value, n)) for n in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def clock(ms: int | None) -> str:
    """A time as people write it, in UTC; a dash where there is none."""
    if ms is None or ms < 0:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def length(ms: float | None) -> str:
    """A length of time in minutes and seconds."""
    if ms is None:
        return "-"
    seconds = round(abs(ms) / 1000)
    sign = "-" if ms < 0 else ""
    hours, rest = divmod(seconds, 3600)
    minutes = f"{rest // 60}m{rest % 60:02}s"
    return f"{sign}{hours}h{minutes}" if hours else sign + minutes


def percent(found: Share) -> str:
    """A share with what it was counted from and its limits."""
    if found.value is None:
        return "- (0 of 0)"
    limits = f"{found.low:.1%} to {found.high:.1%}"
    return f"{found.value:.1%} ({found.hits} of {found.of}; {limits})"


def few(found: Share) -> str:
    """The same, short enough for a column among many."""
    if not found.of:
        return "-"
    return f"{found.hits} of {found.of} ({found.low:.0%}-{found.high:.0%})"
