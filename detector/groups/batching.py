"""Runs of records through one partition: together where nothing comes in between.

Single events of known shapes are counted in groups. What a group can not take (a new
release, a clock sample, a deploy, a command) goes the long way, event by event, at
its own place in the log; and every window is closed after the very record that makes
it due. Scopes do not depend on each other, so each has its own moments: events of a
scope wait until its next one, or until the run ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector.closing import close_due
from detector.decode import decode
from detector.events import Command, Tick
from detector.evidence.types import IntArray
from detector.groups.ahead import END, Ahead
from detector.groups.arrange import split_by
from detector.groups.columns import Columns
from detector.groups.grouped import Tallies, count_rows
from detector.groups.lines import TICK
from detector.groups.places import Finder
from detector.groups.rowtable import Rows
from detector.intake import Intake
from detector.records import Outputs, Rejected
from detector.scope import ScopeKey

if TYPE_CHECKING:
    from detector.engine import Partition

RUN_EVENTS_MIN = 24
"""Fewer events go the long way: a group of few costs more than it saves."""

LOOK_ROWS = 1024
"""Rows of a scope that are looked at before the next; few scopes share a run."""

TURNS_FREE = 8
TURN_ROWS = 64
"""A scope that is interrupted more often than every so many rows goes the long way."""

_WHOLE = -1
"""In place of a row: a record as a whole, before its rows."""


class Moment(NamedTuple):
    """Where a scope's events can not wait any longer; sorts by the log."""

    record: int
    row: int
    scope: int
    version: int


def _is_due(partition: Partition, key: ScopeKey) -> bool:
    """Whether the next record of a scope closes windows."""
    scope = partition.scopes.get(key)
    return scope is not None and partition.limit_ms(scope) > scope.closed_until_ms


def _finder(partition: Partition, key: ScopeKey) -> Finder | None:
    """Who knows where a scope counts its single events; None for a new scope."""
    found = partition.finders.get(key)
    scope = partition.scopes.get(key)
    if found is None and scope is not None:
        inforce = partition.rulebook.find(*key)
        found = partition.finders[key] = Finder(scope, inforce)
    return found


def _note(partition: Partition, tallies: Tallies) -> None:
    """Note what became of events that were counted in groups."""
    for word, count in (
        (Intake.COUNTED, tallies.counted),
        (Intake.LATE, tallies.late),
        (Intake.DUPLICATE, tallies.duplicates),
    ):
        if count:
            partition.counts[word.value] += count
    partition.ids_held += tallies.named


class Run:
    """One run of records through a partition.

    Parameters
    ----------
    partition : Partition
    columns : Columns
        The run's single events; its other records stand between them.
    outputs : Outputs
        Takes what the run puts out.
    """

    def __init__(
        self, partition: Partition, columns: Columns, outputs: Outputs
    ) -> None:
        self.partition = partition
        self.columns = columns
        self.outputs = outputs
        numbers: dict[ScopeKey, int] = {}
        of_shape = [
            numbers.setdefault(ScopeKey(s.service, s.environment), len(numbers))
            for s in columns.shapes
        ]
        self.keys = list(numbers)
        self.number = numbers
        self.rows = Rows(columns, np.array(of_shape, dtype=np.int64))
        self.ahead = Ahead(self.rows)
        self._shapes: list[list[int]] = [[] for _ in self.keys]
        for shape, number in enumerate(of_shape):
            self._shapes[number].append(shape)
        self._own = split_by(self.rows.scope[columns.shape], len(self.keys))
        self._cursor = [0] * len(self.keys)
        self._turns = [0] * len(self.keys)
        self._versions = [0] * len(self.keys)
        self._heap: list[Moment] = []

    def go(self) -> None:
        """Apply all records of the run."""
        columns, partition = self.columns, self.partition
        for number in range(len(self.keys)):
            self._find_places(number)
        self._plan_all()
        for record in columns.whole:
            heapq.heappush(self._heap, Moment(record, _WHOLE, -1, 0))
        while self._heap:
            self._reach(heapq.heappop(self._heap))
        self._count(self._rest())
        partition.arrival_ms = columns.arrivals[-1]
        partition.next_offset = columns.records[-1].offset + 1

    def _plan_all(self) -> None:
        """First moments; many scopes are looked at together, few block by block."""
        if len(self.keys) <= len(self.columns) // LOOK_ROWS:
            for number in range(len(self.keys)):
                self._push(number, self._look(self._own[number]))
            return
        every = np.arange(len(self.columns))
        for number, moment in self.ahead.first(every).items():
            self._push(number, [moment])

    def _look(self, rest: IntArray) -> list[tuple[int, int]]:
        """The first moment among the rows of a scope, if there is one."""
        begin = 0
        while begin < len(rest):
            # A moment may be the end of a record: all of it must have been seen.
            last = rest[min(begin + LOOK_ROWS, len(rest)) - 1]
            upto = self.columns.start[int(self.columns.record[last]) + 1]
            end = int(np.searchsorted(rest, upto))
            found = self.ahead.first(rest[begin:end])
            if found:
                return list(found.values())
            begin = end
        return []

    def _push(self, number: int, found: list[tuple[int, int]]) -> None:
        if found:
            moment = Moment(*min(found), number, self._versions[number])
            heapq.heappush(self._heap, moment)

    def _reach(self, moment: Moment) -> None:
        if moment.row == _WHOLE:
            self._apply_whole(moment.record)
        elif moment.version != self._versions[moment.scope]:
            return
        elif moment.row == END:
            self._close(moment)
        else:
            self._make_room([self.keys[moment.scope]], moment.row, moment.record)
            self._flush(moment.scope, moment.row)
            self._take_known(moment.row)
            self._cursor[moment.scope] += 1
            self._plan(moment.scope, moment.record, is_touched=True)

    def _take_known(self, row: int) -> None:
        """The same of a row that teaches a scope nothing about its places."""
        key = self.keys[int(self.rows.scope[self.columns.shape[row]])]
        finder = self.partition.finders.get(key)
        self._take(row)
        shape = int(self.columns.shape[row])
        is_known = self.rows.places[shape] or self.columns.shapes[shape].word == TICK
        if finder is not None and is_known:
            self.partition.finders[key] = finder

    def _take(self, row: int) -> None:
        """One event the long way, at its own place in the log."""
        columns, partition = self.columns, self.partition
        record = int(columns.record[row])
        partition.arrival_ms = columns.arrivals[record]
        offset, index = columns.records[record].offset, columns.index(row)
        partition.take(self.rows.event(row), offset, index, {}, self.outputs)

    def _apply_whole(self, record: int) -> None:
        """A record with something else than single events."""
        items = decode(self.columns.records[record].value)
        upto = self.columns.start[record]
        keys: dict[ScopeKey, None] = {}
        for item in items:
            if isinstance(item, (Tick, Command)):  # may concern all scopes there are
                keys.update(dict.fromkeys(self.keys))
            elif not isinstance(item, Rejected):
                keys[ScopeKey(item.service, item.environment)] = None
        self._make_room(keys, upto, record)
        touched = [self.number[key] for key in keys if key in self.number]
        for number in touched:
            self._flush(number, upto)
        self.partition.arrival_ms = self.columns.arrivals[record]
        self.partition.apply_items(self.columns.records[record], items, self.outputs)
        for number in touched:
            self._plan(number, record)

    def _close(self, moment: Moment) -> None:
        """The end of a record that makes windows due, of all its scopes at once."""
        numbers = [moment.scope]
        while self._heap and self._heap[0][:2] == moment[:2]:
            other = heapq.heappop(self._heap)
            if other.version == self._versions[other.scope]:
                numbers.append(other.scope)
        columns, partition = self.columns, self.partition
        begin, upto = columns.start[moment.record], columns.start[moment.record + 1]
        firsts = []
        for number in numbers:
            own = self._own[number]
            firsts.append(int(own[np.searchsorted(own, begin)]))
            self._flush(number, upto)
        touched = [key for _, key in sorted(zip(firsts, numbers, strict=True))]
        partition.arrival_ms = columns.arrivals[moment.record]
        offset = columns.records[moment.record].offset
        keys = [self.keys[number] for number in touched]
        close_due(partition, keys, offset, self.outputs)
        for number in numbers:
            self._plan(number, moment.record)

    def _make_room(self, keys: Iterable[ScopeKey], upto: int, record: int) -> None:
        """Before a scope may be forgotten everything else must stand where it does."""
        fresh = sum(key not in self.partition.scopes for key in keys)
        if fresh and not self.partition.has_room(0, fresh):
            for number in range(len(self.keys)):
                self._flush(number, upto)
                self._turns[number] = END  # whoever is forgotten has no places
                before = self._own[number][: self._cursor[number]]
                begun = bool(len(before)) and before[-1] >= self.columns.start[record]
                self._plan(number, record, is_touched=begun)

    def _plan(self, number: int, record: int, *, is_touched: bool = False) -> None:
        """When this scope's events can next not wait, seen from a record.

        ``is_touched`` says that an event of the record was taken and its end is yet
        to come.
        """
        self._versions[number] += 1
        self._turns[number] += 1
        found: list[tuple[int, int]] = []
        if is_touched and _is_due(self.partition, self.keys[number]):
            found.append((record, END))
        own = self._own[number]
        rest = own[self._cursor[number] :]
        if len(rest) and self._turns[number] > TURNS_FREE + len(own) // TURN_ROWS:
            found.append((int(self.columns.record[rest[0]]), int(rest[0])))
        elif len(rest):
            self._find_places(number)
            found += self._look(rest)
        self._push(number, found)

    def _find_places(self, number: int) -> None:
        """Look up where the shapes of a scope are counted, and what would stop it."""
        shapes = self._shapes[number]
        finder = _finder(self.partition, self.keys[number])
        for shape in shapes:
            found = None if finder is None else finder.find(self.columns.shapes[shape])
            self.rows.places[shape] = found
        rest = self._own[number][self._cursor[number] :]
        wait_ms = 0 if finder is None else self.partition.wait_ms(finder.scope)
        self.ahead.learn(shapes, rest, wait_ms)

    def _flush(self, number: int, upto: int) -> None:
        """Count what waits of a scope before a row."""
        own, begin = self._own[number], self._cursor[number]
        end = int(np.searchsorted(own, upto))
        if end > begin:
            self._cursor[number] = end
            self._count(own[begin:end])

    def _rest(self) -> IntArray:
        waiting = [
            own[begin:] for own, begin in zip(self._own, self._cursor, strict=True)
        ]
        return waiting[0] if len(waiting) == 1 else np.sort(np.concatenate(waiting))

    def _count(self, rows: IntArray) -> None:
        if len(rows) < RUN_EVENTS_MIN:
            for row in rows.tolist():
                self._take_known(row)
            return
        counts = np.bincount(self.rows.scope[self.columns.shape[rows]])
        for number in np.flatnonzero(counts).tolist():
            self.partition.dirty.add(self.keys[number])
        _note(self.partition, count_rows(self.rows, rows))
