"""Many single events into their scopes at once, as if they came one by one.

What is counted here adds up, whatever the order: sums, maxima, sets. What depends on
order (repeats, first failures of a unit, numbers of signatures, fading shares) is
taken in the order of the log, but without asking again what a whole shape shares.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from detector.durations import singles
from detector.events import Usage
from detector.evidence.types import BoolArray, IntArray
from detector.funnel import Steps
from detector.groups.arrange import buckets, numbered, sizes, sorted_by
from detector.groups.ones import plus_ones
from detector.groups.places import Place
from detector.groups.repeats import Repeats, find_repeats
from detector.groups.ripening import ripen
from detector.groups.rowtable import Rows
from detector.identity import id64
from detector.intake import HOUR_MS
from detector.latencystate import take as take_durations
from detector.signals.telemetry import KNOWN, LATE, OFF, OFF_MS, note_lines
from detector.signature import signature_of
from detector.windows import Cell, OpenWindow, add_error, add_failures

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


class Group(NamedTuple):
    """Events of one shape in one window."""

    place: Place
    window: OpenWindow
    cell: Cell


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
    shapes = table.columns.shape[rows]
    usage = table.usage[shapes]
    rows, late, known, shapes = rows[usage], late[usage], known[usage], shapes[usage]
    if not len(rows):
        return
    arrival = table.columns.arrival[rows]
    off = np.abs(arrival - table.columns.ts[rows]) > OFF_MS
    fate = LATE * late + KNOWN * known + OFF * off
    numbers: dict[int, int] = {}
    of_shape = [
        numbers.setdefault(id(p.health) if p else 0, len(numbers)) for p in table.places
    ]
    health = np.array(of_shape)[shapes]
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
    numbers: dict[int, int] = {}
    cells = [numbers.setdefault(id(group.cell), len(numbers)) for group in groups]
    by_cell = dict(zip(cells, groups, strict=True))
    if table.has_people:
        usage = table.usage[table.columns.shape[rows]]
        cell_of = np.array(cells)[group_of[usage]].tolist()
        _count_people(table, rows[usage].tolist(), cell_of, by_cell)
    rare = np.array([place is not None and place.rare for place in table.places])
    at = np.flatnonzero(rare[table.columns.shape[rows]])
    for row, number in zip(rows[at].tolist(), group_of[at].tolist(), strict=True):
        _fail(table, row, groups[number])


def _count_people(
    table: Rows, rows: list[int], cell_of: list[int], by_cell: dict[int, Group]
) -> None:
    """Who was served, and for how long; cells in the order of first sight."""
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
    if columns.durations is not None:
        for number, times_ms in buckets(rows, cell_of, columns.durations):
            group = by_cell[number]
            histogram = singles(times_ms)
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
    order = np.argsort(first)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes))
    found: list[Group] = []
    for row, window_ms, count, latest_ms, watermark_ms in zip(
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
        group = Group(place, window, window.cell(*place.key))
        _add(group, count, latest_ms, watermark_ms)
        found.append(group)
    return found, rank[code_of]


def _add(group: Group, count: int, latest_ms: int, watermark_ms: int) -> None:
    """Add events that differ in time and identity only."""
    place, cell, scope = group.place, group.cell, group.place.scope
    scope.strata.overflow += place.overflow * count
    stream = "usage" if place.is_usage else "errors"
    scope.last_event_ms[stream] = max(scope.last_event_ms[stream], latest_ms)
    if not place.is_usage:
        return
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
    release.last_usage_ms = max(release.last_usage_ms, latest_ms)
    scope.units_total = plus_ones(scope.units_total, count)
    scope.watermark_ms = max(scope.watermark_ms, watermark_ms)


def _fail(table: Rows, row: int, group: Group) -> None:
    """Count a failure, whose order matters: who failed first, what is new."""
    event, place, end_ms = table.event(row), group.place, int(table.end[row])
    scope, owner = place.scope, place.release.number
    hour = (end_ms - 1) // HOUR_MS
    if isinstance(event, Usage):
        name = f"outcome:{event.outcome}"
        number = scope.catalogue.number(name, end_ms, event.url)
        failures = [(number, 1.0)]
        add_failures(group.cell, event, owner, scope.seen_bad, hour, failures)
    else:
        number = scope.catalogue.number(signature_of(event), end_ms, event.url)
        add_error(group.cell, event, owner, scope.seen_bad, hour, number)
