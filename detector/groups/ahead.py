"""Up to where the events of a scope can wait to be counted together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.combined import FORGOTTEN_MS, is_combined
from detector.evidence.types import BoolArray, IntArray
from detector.groups.places import may_become_candidate
from detector.groups.rowtable import Rows
from detector.groups.sums import COUNT
from detector.identity import sender_id
from detector.scope import Scope
from detector.signals.telemetry import OFF_MS, SAMPLE_APART_MS, Health

END = 1 << 60
"""In place of a row: the end of a record."""

_NEVER = np.iinfo(np.int64).max // 4
_CLOCKS = {"right": 0, "constant": 1, "erratic": 2}
(
    _PLACED,
    _WIDTH,
    _CLOSED,
    _DUE,
    _OVERDUE,
    _SKEW,
    _CLOCK,
    _SHIFT,
    _SAMPLED_END,
    _SAMPLED_AT,
    _APART,
    _TOLD,
    _FORGET,
    _FACTS,
) = range(14)


class Ahead:
    """Finds the first row of a scope that has to be taken by itself.

    Parameters
    ----------
    rows : Rows
        Gets the end and the lateness of the rows that were looked at.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._facts: IntArray = np.zeros((_FACTS, len(rows.places)), dtype=np.int64)
        self._skewed = rows.columns.skewed()
        self._has_exact = False

    def learn(self, shapes: Sequence[int], rest: IntArray, wait_ms: int) -> None:
        """Note how things stand for the shapes of one scope, whose rows are to come.

        ``wait_ms`` is how long the watermark must be past the end of its windows.
        """
        table = self._rows
        scopes = [p.scope for s in shapes if (p := table.places[s]) is not None]
        if not scopes:
            self._facts[_PLACED, shapes] = 0
            return
        scope = scopes[0]
        due_ms = (scope.closed_until_ms // scope.width_ms + 1) * scope.width_ms
        due_ms += wait_ms
        wary = self._wary(scope, shapes, rest)
        common = (
            scope.width_ms,
            scope.closed_until_ms,
            due_ms,
            scope.watermark_ms >= due_ms,
        )
        told = _told_by(scope)
        if scope.combined or self._has_exact:
            self._note_exact(scope, rest)
        nothing = (0,) * _FACTS
        facts = [
            nothing
            if place is None or place.release.number in wary
            else (
                1,
                *common,
                place.inforce.rule.skew_ms,
                *_clock_of(place.health),
                max(SAMPLE_APART_MS, place.shape.window_s * 500),
                *told,
            )
            for place in (table.places[shape] for shape in shapes)
        ]
        self._facts[:, shapes] = np.array(facts, dtype=np.int64).T

    def _wary(self, scope: Scope, shapes: Sequence[int], rest: IntArray) -> set[int]:
        """Releases whose next usage may put them on trial."""
        table = self._rows
        of_rest, most = table.columns.shape[rest], len(table.places)
        there = np.bincount(of_rest, minlength=most)
        counts = there
        if table.sums is not None:
            weights = table.sums.amounts[COUNT, rest]
            counts = np.bincount(of_rest, weights=weights, minlength=most)
        more: dict[int, float] = {}
        for shape in shapes:
            place = table.places[shape]
            if place is not None and place.is_usage and there[shape]:
                number = place.release.number
                more[number] = more.get(number, 0.0) + float(counts[shape])
        return may_become_candidate(scope.registry, more, scope.units_total)

    def first(self, rows: IntArray) -> dict[int, tuple[int, int]]:
        """The first moment of each scope with one: a row, or the end of a record."""
        table = self._rows
        slow, due = self._look(rows)
        if not (slow.any() or due.any()):
            return {}
        scope, record = table.scope[table.columns.shape], table.columns.record
        found = {
            int(scope[row]): (int(record[row]), row)
            for row in _firsts(rows[slow], scope)
        }
        for row in _firsts(rows[due], scope):
            number, moment = int(scope[row]), (int(record[row]), END)
            found[number] = min(found.get(number, moment), moment)
        return found

    def _look(self, rows: IntArray) -> tuple[BoolArray, BoolArray]:
        """Rows that must be taken by themselves, and those that make windows due."""
        table, columns = self._rows, self._rows.columns
        facts = np.take(self._facts, columns.shape[rows], axis=1)
        usage = table.usage[columns.shape[rows]]
        ts, arrival = columns.end[rows], columns.arrival[rows]
        exact = table.exact[rows]
        end = self._corrected(ts, arrival, facts, exact)
        late = end <= facts[_CLOSED]
        table.end[rows], table.late[rows] = end, late
        slow: BoolArray = (facts[_PLACED] == 0) | (end > arrival + facts[_SKEW])
        slow |= usage & (
            (ts != facts[_SAMPLED_END])
            & (arrival - facts[_SAMPLED_AT] >= facts[_APART])
            & ~exact
        )
        slow |= usage & (arrival > facts[_FORGET])
        slow |= late & ~usage
        if self._skewed is not None:
            slow |= self._skewed[rows]
        reached = np.minimum(np.minimum(end, arrival), facts[_TOLD])
        due: BoolArray = usage & ~late & (reached >= facts[_DUE])
        due |= facts[_OVERDUE] == 1
        return slow, due

    def _note_exact(self, scope: Scope, rest: IntArray) -> None:
        """Mark rows that come from one of the combiners of a scope."""
        self._has_exact = True
        columns, exact = self._rows.columns, self._rows.exact
        if columns.sums is None:
            by_shape = np.array([is_combined(scope, s.sender) for s in columns.shapes])
            exact[rest] = by_shape[columns.shape[rest]]
            return
        numbers = [sender_id(name) for name in scope.combined]
        exact[rest] = np.isin(columns.sums.sender[rest], numbers)

    def _corrected(
        self, ts: IntArray, arrival: IntArray, facts: IntArray, exact: BoolArray
    ) -> IntArray:
        """Ends on our clock, as ``corrected_end_ms`` gives them one by one."""
        off = (np.abs(arrival - ts) > OFF_MS) & (facts[_CLOCK] != 0) & ~exact
        if not off.any():
            return ts
        width = np.maximum(facts[_WIDTH], 1)
        constant = facts[_CLOCK] == _CLOCKS["constant"]
        moved = np.where(constant, ts + facts[_SHIFT], arrival // width * width)
        return np.where(off, moved, ts)


def _clock_of(health: Health) -> tuple[int, int, int, int]:
    sampled_ms = health.sampled_arrival_ms if health.offsets_ms else -_NEVER
    clock = _CLOCKS[health.clock]
    return clock, health.shift_ms, health.sampled_end_ms, sampled_ms


def _told_by(scope: Scope) -> tuple[int, int]:
    """Up to when all combiners have told, and after which arrival one is forgotten."""
    if not scope.combined:
        return _NEVER, _NEVER
    told = scope.combined.values()
    until_ms = min(one.until_ms for one in told)
    return until_ms, min(one.arrival_ms for one in told) + FORGOTTEN_MS


def _firsts(rows: IntArray, scope: IntArray) -> list[int]:
    """The first of the rows of each scope; rows ascend."""
    if not len(rows):
        return []
    _, first = np.unique(scope[rows], return_index=True)
    found: list[int] = rows[first].tolist()
    return found
