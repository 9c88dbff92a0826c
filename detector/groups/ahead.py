"""Up to where the events of a scope can wait to be counted together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.combined import FORGOTTEN_MS
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


_UNPLACED = (0,) * _FACTS


class Moment(NamedTuple):
    """What comes first of a scope, a row or the `END` of a record; sorts by the log.

    ``is_sample``: the row only teaches how far its clock and its way are off.
    """

    record: int
    row: int
    is_sample: bool


class Known(NamedTuple):
    """Shapes and rows of a scope, and how far the watermark must be past its windows.

    ``scope`` is None as long as it is new.
    """

    shapes: Sequence[int]
    rows: IntArray
    scope: Scope | None
    wait_ms: int


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
        # Of the whole run, as if nothing was counted yet: no fewer than are to come.
        self._counts: list[float] = np.bincount(
            rows.columns.shape,
            weights=None if rows.sums is None else rows.sums.amounts[COUNT],
            minlength=len(rows.places),
        ).tolist()
        self._combiners: dict[int, tuple[str, ...]] = {}

    def learn(self, known: Sequence[Known]) -> None:
        """Note how things stand for the shapes of some scopes."""
        shapes: list[int] = []
        facts: list[tuple[int, ...]] = []
        for one in known:
            shapes += one.shapes
            facts += self._facts_of(one)
        if shapes:
            self._facts[:, shapes] = np.array(facts, dtype=np.int64).T

    def _facts_of(self, known: Known) -> list[tuple[int, ...]]:
        scope = known.scope
        if scope is None:
            return [_UNPLACED] * len(known.shapes)
        due_ms = (scope.closed_until_ms // scope.width_ms + 1) * scope.width_ms
        due_ms += known.wait_ms
        wary = self._wary(scope, known.shapes)
        self._note_exact(known, tuple(scope.combined))
        common = (
            scope.width_ms,
            scope.closed_until_ms,
            due_ms,
            scope.watermark_ms >= due_ms,
        )
        told = _told_by(scope)
        return [
            _UNPLACED
            if place is None or place.release.number in wary
            else (
                1,
                *common,
                place.inforce.rule.skew_ms,
                *_clock_of(place.health),
                max(SAMPLE_APART_MS, place.shape.window_s * 500),
                *told,
            )
            for place in (self._rows.places[shape] for shape in known.shapes)
        ]

    def _wary(self, scope: Scope, shapes: Sequence[int]) -> set[int]:
        """Releases whose next usage may put them on trial."""
        more: dict[int, float] = {}
        for shape in shapes:
            place = self._rows.places[shape]
            if place is not None and place.is_usage:
                number = place.release.number
                more[number] = more.get(number, 0.0) + self._counts[shape]
        return may_become_candidate(scope.registry, more, scope.units_total)

    def first(self, rows: IntArray) -> dict[int, Moment]:
        """The first moment of each scope with one; rows of a scope ascend."""
        table = self._rows
        slow, samples, due = self._look(rows)
        scope, record = table.scope[table.columns.shape], table.columns.record
        found: dict[int, Moment] = {}
        for at, is_end, is_sample in (
            (slow, False, False),
            (samples, False, True),
            (due, True, False),
        ):
            for row in _firsts(rows[at], scope):
                number = int(scope[row])
                place = END if is_end else row
                moment = Moment(int(record[row]), place, is_sample)
                found[number] = min(found.get(number, moment), moment)
        return found

    def _look(self, rows: IntArray) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Rows to take by themselves, clock samples, and what makes windows due.

        A copy is no sample, so whether a row with a name is one is seen only when it
        is taken.
        """
        table, columns = self._rows, self._rows.columns
        facts = np.take(self._facts, columns.shape[rows], axis=1)
        usage = table.usage[columns.shape[rows]]
        sent, arrival = columns.end[rows], columns.arrival[rows]
        exact = table.exact[rows]
        end = self._corrected(sent, arrival, facts, exact)
        late = end <= facts[_CLOSED]
        table.end[rows], table.late[rows] = end, late
        slow: BoolArray = (facts[_PLACED] == 0) | (end > arrival + facts[_SKEW])
        slow |= usage & (arrival > facts[_FORGET])
        slow |= late & ~usage
        if self._skewed is not None:
            slow |= self._skewed[rows]
        samples: BoolArray = usage & (
            (sent != facts[_SAMPLED_END])
            & (arrival - facts[_SAMPLED_AT] >= facts[_APART])
            & ~exact
        )
        if table.named is not None:
            slow |= samples & table.named[rows]
        samples &= ~slow
        reached = np.minimum(np.minimum(end, arrival), facts[_TOLD])
        due: BoolArray = usage & ~late & (reached >= facts[_DUE])
        due |= facts[_OVERDUE] == 1
        return slow, samples, due

    def _note_exact(self, known: Known, combiners: tuple[str, ...]) -> None:
        """Mark rows that come from one of the combiners of a scope."""
        number = int(self._rows.scope[known.shapes[0]])
        if combiners == self._combiners.get(number, ()):
            return
        self._combiners[number] = combiners
        table, rows = self._rows, known.rows
        if table.sums is None:
            senders = [shape.sender for shape in table.columns.shapes]
            by_shape = np.array([sender in combiners for sender in senders])
            table.exact[rows] = by_shape[table.columns.shape[rows]]
            return
        numbers = [sender_id(name) for name in combiners]
        table.exact[rows] = np.isin(table.sums.sender[rows], numbers)

    def _corrected(
        self, sent: IntArray, arrival: IntArray, facts: IntArray, exact: BoolArray
    ) -> IntArray:
        """Ends on our clock, as ``corrected_end_ms`` gives them one by one."""
        off = (np.abs(arrival - sent) > OFF_MS) & (facts[_CLOCK] != 0) & ~exact
        if not off.any():
            return sent
        width = np.maximum(facts[_WIDTH], 1)
        constant = facts[_CLOCK] == _CLOCKS["constant"]
        moved = np.where(constant, sent + facts[_SHIFT], arrival // width * width)
        return np.where(off, moved, sent)


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
