"""What a slow source sends is counted once more by its age, many events at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from detector.events import Error
from detector.evidence.types import IntArray
from detector.groups.arrange import numbered, sorted_by
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
    shapes = table.columns.shape[rows]
    counted = table.ripens[shapes]
    of_scope = table.scope[shapes]
    last = np.zeros(len(table.places), dtype=np.int64)
    last[of_scope[counted]] = rows[counted] + 1
    failed: dict[int, list[int]] = {}
    for row in rows[counted & ~table.usage[shapes]].tolist():
        number = int(table.scope[table.columns.shape[row]])
        failed.setdefault(number, []).append(row)
    numbers = np.flatnonzero(last).tolist()
    for number in numbers:
        row = int(last[number]) - 1
        place = table.place(row)
        if not place.inforce.slow_delay_max_ms:
            continue
        scope = place.scope
        if number in failed or scope.maturity.keeps(named=scope.named_slow):
            own = rows if len(numbers) == 1 else rows[of_scope == number]
            _note(table, scope, own, failed.get(number, []), marks)
        newest_ms = int(table.columns.arrival[row])
        scope.maturity.clock_ms = max(scope.maturity.clock_ms, newest_ms)


def _note(
    table: Rows,
    scope: Scope,
    rows: IntArray,
    failed: list[int],
    marks: Mapping[int, int],
) -> None:
    """Note units up to each failure: only a failure changes whether they count."""
    before = 0
    for row, at in zip(failed, np.searchsorted(rows, failed).tolist(), strict=True):
        _note_units(table, scope, rows[before:at])
        place = table.place(row)
        scope.maturity.note(
            cast(Error, table.event(row)),
            place.key,
            int(table.columns.arrival[row]),
            named=scope.named_slow,
            late=False,
            mark=marks.get(row),
            delay_max_ms=place.inforce.slow_delay_max_ms,
        )
        before = at + 1
    _note_units(table, scope, rows[before:])


def _note_units(table: Rows, scope: Scope, rows: IntArray) -> None:
    maturity = scope.maturity
    if not len(rows) or not maturity.keeps(named=scope.named_slow):
        return
    rows = rows[table.usage[table.columns.shape[rows]] & ~table.late[rows]]
    if not len(rows):
        return
    if table.sums is not None:
        _note_sums(table, scope, rows, table.sums)
        return
    shapes, times_ms = table.columns.shape[rows], table.columns.end[rows]
    bins, bin_of = numbered(times_ms // maturity.bin_ms)
    codes, code_of = numbered(shapes * len(bins) + bin_of)
    by_code, begins = sorted_by(code_of, len(codes))
    first, counts = by_code[begins], np.diff(begins, append=len(rows))
    for code in np.argsort(first).tolist():
        place = table.place(int(rows[first[code]]))
        at_ms = int(times_ms[first[code]])
        maturity.note_units(place.key, at_ms, int(counts[code]))


def _note_sums(table: Rows, scope: Scope, rows: IntArray, sums: Sums) -> None:
    """The same of lines, one by one: strips count in single precision."""
    ends_ms = table.columns.end[rows].tolist()
    for row, end_ms in zip(rows.tolist(), ends_ms, strict=True):
        place = table.place(row)
        told = place.shape.told or 0
        way, column = "request", COUNT if told & TOLD_COUNT else None
        if told & TOLD_SESSIONS:
            way, column = "session", SESSIONS
        elif told & TOLD_USERS and sums.senders[row] is None:
            way, column = "user", USERS
        amount = 1.0 if column is None else float(sums.amounts[column, row])
        at_ms = end_ms - 500 * place.shape.window_s
        scope.maturity.note_sum(place.key, at_ms, way, amount)
