"""What a slow source sends is counted once more by its age, many events at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from detector.events import Error
from detector.evidence.types import IntArray
from detector.groups.arrange import numbered, sizes, sorted_by
from detector.groups.rowtable import Rows
from detector.groups.sums import (
    COUNT,
    SESSIONS,
    TOLD_COUNT,
    TOLD_SESSIONS,
    TOLD_USERS,
    USERS,
    Sums,
)
from detector.scope import Scope


def ripen(table: Rows, rows: IntArray, marks: Mapping[int, int]) -> None:
    """Note rows that are no repeats; ``marks`` are the numbers of the named ones."""
    rows = rows[table.ripens[table.columns.shape[rows]]]
    shapes = table.columns.shape[rows]
    of_scope = table.scope[shapes]
    last = np.zeros(len(table.places), dtype=np.int64)
    last[of_scope] = rows + 1
    failed: dict[int, list[int]] = {}
    for row in rows[~table.usage[shapes]].tolist():
        number = int(table.scope[table.columns.shape[row]])
        failed.setdefault(number, []).append(row)
    bins_ms = np.zeros(len(table.places), dtype=np.int64)
    failures: list[int] = []
    newest: list[tuple[Scope, int]] = []
    for number in np.flatnonzero(last).tolist():
        row = int(last[number]) - 1
        place = table.place(row)
        if not place.inforce.slow_delay_max_ms:
            continue
        scope, own = place.scope, failed.get(number, [])
        newest.append((scope, int(table.columns.arrival[row])))
        if not scope.maturity.stays(len(own), named=scope.named_slow):
            _note(table, scope, rows[of_scope == number], own, marks)
            continue
        failures += own
        if scope.maturity.keeps(named=scope.named_slow):
            bins_ms[number] = scope.maturity.bin_ms
    kept = rows[bins_ms[of_scope] > 0]
    _note_all(table, kept, bins_ms, failures, marks)
    for scope, arrival_ms in newest:
        scope.maturity.clock_ms = max(scope.maturity.clock_ms, arrival_ms)


def _note(
    table: Rows,
    scope: Scope,
    rows: IntArray,
    failed: list[int],
    marks: Mapping[int, int],
) -> None:
    """Note units up to each failure, as each may change whether they count."""
    bins_ms = np.full(len(table.places), scope.maturity.bin_ms)
    before = 0
    for row in failed:
        at = int(np.searchsorted(rows, row))
        if scope.maturity.keeps(named=scope.named_slow):
            _note_all(table, rows[before:at], bins_ms, [], marks)
        _note_failure(table, row, marks)
        before = at + 1
    if scope.maturity.keeps(named=scope.named_slow):
        _note_all(table, rows[before:], bins_ms, [], marks)


def _note_all(
    table: Rows,
    rows: IntArray,
    bins_ms: IntArray,
    failures: list[int],
    marks: Mapping[int, int],
) -> None:
    """Note units and failures, those of a shape and bin at the first of them.

    ``bins_ms`` is the width of a bin by scope. Lines are noted one by one: strips
    count in single precision.
    """
    firsts = {row: 0 for row in failures}
    rows = rows[table.usage[table.columns.shape[rows]] & ~table.late[rows]]
    if table.sums is not None:
        firsts |= dict.fromkeys(rows.tolist(), 1)
    elif len(rows):
        shapes, times_ms = table.columns.shape[rows], table.columns.end[rows]
        bins, bin_of = numbered(times_ms // bins_ms[table.scope[shapes]])
        codes, code_of = numbered(shapes * len(bins) + bin_of)
        by_code, begins = sorted_by(code_of, len(codes))
        counts = sizes(begins, len(rows)).tolist()
        firsts |= zip(rows[by_code[begins]].tolist(), counts, strict=True)
    for row in sorted(firsts):
        if not firsts[row]:
            _note_failure(table, row, marks)
        elif table.sums is not None:
            _note_sum(table, row, table.sums)
        else:
            place, at_ms = table.place(row), int(table.columns.end[row])
            place.scope.maturity.note_units(place.key, at_ms, firsts[row])


def _note_sum(table: Rows, row: int, sums: Sums) -> None:
    """Note the units of a line."""
    place = table.place(row)
    told = place.shape.told or 0
    way, column = "request", COUNT if told & TOLD_COUNT else None
    if told & TOLD_SESSIONS:
        way, column = "session", SESSIONS
    elif told & TOLD_USERS and sums.senders[row] is None:
        way, column = "user", USERS
    amount = 1.0 if column is None else float(sums.amounts[column, row])
    at_ms = int(table.columns.end[row]) - 500 * place.shape.window_s
    place.scope.maturity.note_sum(place.key, at_ms, way, amount)


def _note_failure(table: Rows, row: int, marks: Mapping[int, int]) -> None:
    place = table.place(row)
    place.scope.maturity.note(
        cast(Error, table.event(row)),
        place.key,
        int(table.columns.arrival[row]),
        named=place.scope.named_slow,
        late=False,
        mark=marks.get(row),
        delay_max_ms=place.inforce.slow_delay_max_ms,
    )
