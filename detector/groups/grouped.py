"""Many events or lines into their scopes at once, as if they came one by one.

What is counted here adds up, whatever the order: sums, maxima, sets. What depends on
order (repeats, first failures of a unit, numbers of signatures, fading shares) is
taken in the order of the log, but without asking again what a whole shape shares.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from detector.durations import Histogram, singles
from detector.events import Error, Usage
from detector.evidence.types import BoolArray, IntArray
from detector.groups.adding import (
    Group,
    add_lines,
    add_ones,
    advance,
    note,
    note_senders,
)
from detector.groups.arrange import buckets, numbered, sizes, sorted_by
from detector.groups.histograms import histograms
from detector.groups.repeats import Repeats, find_repeats
from detector.groups.ripening import ripen
from detector.groups.rowtable import Rows
from detector.identity import id64
from detector.intake import HOUR_MS
from detector.latencystate import take as take_durations
from detector.signals.telemetry import KNOWN, LATE, OFF, OFF_MS, note_lines
from detector.signature import signature_of
from detector.windows import OpenWindow, add_error, add_failures, failed_outcomes

PERSONS_MAX = 1 << 16


class _Persons(dict[str, int]):
    """Hashes of sessions and users: the same ones come again and again."""

    def __missing__(self, name: str) -> int:
        if len(self) >= PERSONS_MAX:
            self.clear()
        found = self[name] = id64(name)
        return found


_persons = _Persons()


class Tallies(NamedTuple):
    """What became of events, and how many of them left an id behind."""

    counted: int
    late: int
    duplicates: int
    named: int


def count_rows(table: Rows, rows: IntArray) -> Tallies:
    """Count rows, ascending, all of which have places."""
    grid_ms = table.grid_ms(rows)
    repeats = find_repeats(table, rows, grid_ms)
    late = table.late[rows] & ~repeats.known  # a copy is a copy, however late
    taken = ~(late | repeats.known)
    _note_lines(table, rows, late, repeats.known)
    _note_late(table, rows[late])
    for row in rows[repeats.known].tolist():
        table.place(row).scope.duplicates += 1
    ripen(table, rows[~repeats.known], repeats.marks)
    counted = rows[taken]
    if len(counted):
        _count(table, counted, grid_ms[taken], repeats)
    return Tallies(
        counted=len(counted),
        late=int(late.sum()),
        duplicates=int(repeats.known.sum()),
        named=0 if table.named is None else int(table.named[counted].sum()),
    )


def _note_lines(table: Rows, rows: IntArray, late: BoolArray, known: BoolArray) -> None:
    """Note what became of usage lines, each release's in their order."""
    usage = table.usage[table.columns.shape[rows]]
    rows, late, known = rows[usage], late[usage], known[usage]
    if not len(rows):
        return
    arrival = table.columns.arrival[rows]
    off = np.abs(arrival - table.columns.end[rows]) > OFF_MS
    off &= ~table.exact[rows]
    fate = LATE * late + KNOWN * known + OFF * off
    numbers: dict[int, int] = {}
    health = table.of_places(
        rows, lambda place: numbers.setdefault(id(place.health), len(numbers))
    )
    if len(numbers) > 1:
        order, _ = sorted_by(health, len(numbers))
        rows, arrival, fate, health = (a[order] for a in (rows, arrival, fate, health))
    begins = [0, *(np.flatnonzero(health[1:] != health[:-1]) + 1).tolist(), len(rows)]
    arrivals_ms, fates = arrival.tolist(), fate.astype(np.uint8).tobytes()
    for begin, end in pairwise(begins):
        place = table.place(int(rows[begin]))
        note_lines(place.health, arrivals_ms[begin:end], fates[begin:end])


def _note_late(table: Rows, rows: IntArray) -> None:
    """Usage that came too late; errors go the long way then."""
    counts = np.bincount(table.columns.shape[rows])
    for shape in np.flatnonzero(counts).tolist():
        place, count = table.places[shape], int(counts[shape])
        if place is None:
            continue
        place.scope.late += count
        if place.inforce.slow_delay_max_ms:  # then a late line has a stratum, too
            place.scope.strata.overflow += place.overflow * count


def _count(table: Rows, rows: IntArray, grid_ms: IntArray, repeats: Repeats) -> None:
    groups, group_of = _groups(table, rows, grid_ms, repeats)
    shapes = table.columns.shape[rows]
    usage = table.usage[shapes]
    if table.sums is not None:
        note_senders(table, rows[usage], groups, group_of[usage])
    latency = table.latency[shapes]
    if latency.any() or table.has_people:
        numbers: dict[tuple[int, tuple[int, int]], int] = {}
        cells = [
            numbers.setdefault((id(group.window), group.place.key), len(numbers))
            for group in groups
        ]
        by_cell = dict(zip(cells, groups, strict=True))
        cell_of = np.array(cells)[group_of]
        own = cell_of[usage].tolist()
        _count_people(table, rows[usage].tolist(), own, by_cell)
        timed = usage | latency
        _count_durations(table, rows[timed], cell_of[timed], by_cell)
    at = np.flatnonzero(_rare(table, rows))
    for row, number in zip(rows[at].tolist(), group_of[at].tolist(), strict=True):
        _fail(table, row, groups[number])


def _rare(table: Rows, rows: IntArray) -> BoolArray:
    """What is counted by itself: errors, and usage with failures."""
    if table.sums is None:
        alone: BoolArray = table.of_places(rows, lambda place: place.rare) != 0
        return alone
    shapes = table.columns.shape[rows]
    found: BoolArray = table.sums.fails[rows]
    found |= ~(table.usage | table.latency)[shapes]
    return found


def _count_people(
    table: Rows, rows: list[int], cell_of: list[int], by_cell: dict[int, Group]
) -> None:
    """Who was served; cells in the order of first sight."""
    columns = table.columns
    if columns.sessions is not None:
        for number, names in buckets(rows, cell_of, columns.sessions):
            cell = by_cell[number].cell
            cell.session_ids.update(map(_persons.__getitem__, names))
            cell.session_tally.usage_lines += len(names)
    if columns.users is not None:
        for number, names in buckets(rows, cell_of, columns.users):
            cell = by_cell[number].cell
            cell.user_ids.update(map(_persons.__getitem__, names))
            cell.user_tally.usage_lines += len(names)


def _count_durations(
    table: Rows, rows: IntArray, cell_of: IntArray, by_cell: dict[int, Group]
) -> None:
    """For how long; cells, layouts and buckets in the order of first sight."""
    durations = table.columns.durations
    several: list[tuple[int, Histogram]] = []
    if table.sums is None:
        if durations is not None:
            found = buckets(rows.tolist(), cell_of.tolist(), durations)
            several = [(number, singles(times_ms)) for number, times_ms in found]
    else:
        lines = [table.columns.lines[row] for row in rows.tolist()]
        several = histograms(lines, cell_of.tolist())
    for number, histogram in several:
        group = by_cell[number]
        take_durations(group.window.durations, group.place.key, histogram)


def _groups(
    table: Rows, rows: IntArray, grid_ms: IntArray, repeats: Repeats
) -> tuple[list[Group], IntArray]:
    """Count what adds up, by shape and window; which group each row is in.

    Groups come in the order of their first rows, as what they make would.
    """
    ends, end_of = numbered(grid_ms)
    codes, code_of = numbered(table.columns.shape[rows] * len(ends) + end_of)
    by_code, begins = sorted_by(code_of, len(codes))
    first = by_code[begins]
    end = table.end[rows]
    marks = np.minimum(end, table.columns.arrival[rows])
    amounts = None
    order = np.argsort(first)
    if table.sums is not None:
        amounts = np.add.reduceat(table.sums.amounts[:, rows[by_code]], begins, axis=1)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes))
    found: list[Group] = []
    for code, row, window_ms, count, latest_ms, watermark_ms in zip(
        order.tolist(),
        rows[first[order]].tolist(),
        grid_ms[first[order]].tolist(),
        sizes(begins, len(rows))[order].tolist(),
        np.maximum.reduceat(end[by_code], begins)[order].tolist(),
        np.maximum.reduceat(marks[by_code], begins)[order].tolist(),
        strict=True,
    ):
        place = table.place(row)
        number = int(table.scope[table.columns.shape[row]])
        ids = repeats.fresh.get((number, window_ms))
        window = place.scope.open.get(window_ms)
        if window is None:
            window = OpenWindow(window_ms, ids or set())
            place.scope.open[window_ms] = window
        group = Group(place, window)
        note(group, count, latest_ms)
        if not place.is_usage:
            pass
        elif amounts is None:
            add_ones(group, count, latest_ms)
        else:
            add_lines(group, count, amounts[:, code].tolist())
        if place.is_usage:
            advance(group, latest_ms, watermark_ms)
        found.append(group)
    return found, rank[code_of]


def _fail(table: Rows, row: int, group: Group) -> None:
    """Count a failure, whose order matters: who failed first, what is new."""
    event, place, end_ms = table.event(row), group.place, int(table.end[row])
    scope, owner = place.scope, place.release.number
    catalogue, hour = scope.catalogue, (end_ms - 1) // HOUR_MS
    if isinstance(event, Usage):
        failures = [
            (catalogue.number(f"outcome:{outcome}", end_ms, event.url), count)
            for outcome, count in failed_outcomes(event).items()
        ]
        if event.sessions is not None and event.unit == "session":
            group.cell.sessions.bad += math.fsum(n for _, n in failures)
        add_failures(group.cell, event, owner, scope.seen_bad, hour, failures)
    elif isinstance(event, Error):
        number = catalogue.number(signature_of(event), end_ms, event.url)
        add_error(group.cell, event, owner, scope.seen_bad, hour, number)
