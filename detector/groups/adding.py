"""What a group of events or lines adds to its cell, its release and its scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from detector.evidence.types import IntArray
from detector.funnel import Steps
from detector.groups.ones import plus_ones
from detector.groups.places import Place
from detector.groups.rowtable import Rows
from detector.groups.sums import (
    COUNT,
    ENTERED,
    GOOD,
    SESSIONS,
    TOLD_COUNT,
    TOLD_SESSIONS,
    TOLD_USERS,
    USERS,
)
from detector.signals.telemetry import note_sender
from detector.windows import Cell, OpenWindow


class Group(NamedTuple):
    """Events or lines of one shape in one window."""

    place: Place
    window: OpenWindow

    @property
    def cell(self) -> Cell:
        """Where they count; histograms have a place of their own."""
        return self.window.cell(*self.place.key)


def note(group: Group, count: int, latest_ms: int) -> None:
    """Note that there were so many, of usage and of errors alike."""
    place, scope = group.place, group.place.scope
    scope.strata.overflow += place.overflow * count
    stream = place.stream
    scope.last_event_ms[stream] = max(scope.last_event_ms[stream], latest_ms)
    if stream != "latency":
        group.window.cell(*place.key)  # made where the first of them stands


def add_ones(group: Group, count: int, latest_ms: int) -> None:
    """Add single usage events, which differ in time and identity only."""
    place, cell, scope = group.place, group.cell, group.place.scope
    steps = group.window.steps.setdefault(place.key, Steps())
    steps.entered = plus_ones(steps.entered, count)
    cell.usage_lines += count
    cell.seen_units = plus_ones(cell.seen_units, count)
    cell.weighted_units = plus_ones(cell.weighted_units, count)
    cell.requests.units = plus_ones(cell.requests.units, count)
    cell.usage_senders.add(place.sender)
    senders = place.health.senders
    senders[place.sender] = max(latest_ms, senders[place.sender])
    release = place.release
    release.units = plus_ones(release.units, count)
    scope.units_total = plus_ones(scope.units_total, count)


def add_lines(group: Group, count: int, amounts: Sequence[float]) -> None:
    """Add usage lines, whose sums are whole numbers; their senders come apart."""
    place, cell, scope = group.place, group.cell, group.place.scope
    told, units = place.shape.told or 0, amounts[COUNT]
    steps = group.window.steps.setdefault(place.key, Steps())
    steps.entered += amounts[ENTERED]
    cell.usage_lines += count
    cell.seen_units += units
    cell.weighted_units += units
    cell.requests.units += units
    if told & TOLD_SESSIONS:
        cell.sessions.units += amounts[SESSIONS]
        cell.sessions.usage_lines += count
        if told & TOLD_COUNT and place.shape.word == "request":
            cell.ok_lines += count
            cell.weighted_ok += amounts[GOOD]
    if told & TOLD_USERS:
        cell.users.units += amounts[USERS]
        cell.users.usage_lines += count
    place.release.units += units
    scope.units_total += units


def advance(group: Group, latest_ms: int, watermark_ms: int) -> None:
    """Usage says what time it is, at most what the slowest combiner has told."""
    release, scope = group.place.release, group.place.scope
    release.last_usage_ms = max(release.last_usage_ms, latest_ms)
    if scope.combined:
        until_ms = min(told.until_ms for told in scope.combined.values())
        watermark_ms = min(watermark_ms, until_ms)
    scope.watermark_ms = max(scope.watermark_ms, watermark_ms)


def note_senders(
    table: Rows, rows: IntArray, groups: Sequence[Group], group_of: IntArray
) -> None:
    """Remember who sends usage lines, in the order of the log."""
    assert table.sums is not None
    nobody: set[int] = set()
    sets = [g.cell.usage_senders if g.place.is_usage else nobody for g in groups]
    for number, sender, end_ms in zip(
        group_of.tolist(),
        table.sums.sender[rows].tolist(),
        table.end[rows].tolist(),
        strict=True,
    ):
        sets[number].add(sender)
        health = groups[number].place.health
        known = health.senders.get(sender)
        if known is None:
            note_sender(health, sender, end_ms)
        elif known < end_ms:
            health.senders[sender] = end_ms
