"""Runs of records through one partition: together where nothing comes in between.

Events and lines of known shapes are counted in groups. What a group can not take (a
new release, a clock gone wrong, a combiner's tick, a deploy, a command) goes the long
way, event by event, at its own place in the log; and every window is closed as of the
very record that makes it due. Scopes do not depend on each other, so all of them go on
in turns: each is counted up to its own next moment, whatever the place of that in the
log, by one call for all. What they put out is laid in the order of the log at the end.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from detector.closing import Due, close_due
from detector.decode import Result, decode
from detector.events import Command, Tick
from detector.evidence.types import IntArray
from detector.groups.ahead import END, Moment
from detector.groups.arrange import split_by
from detector.groups.columns import Columns
from detector.groups.grouped import Tallies, count_rows
from detector.groups.lane import NOWHERE, Lane
from detector.groups.lines import TICK
from detector.groups.moments import Moments
from detector.groups.rowtable import Rows
from detector.intake import Intake
from detector.records import Outputs, Rejected
from detector.scope import ScopeKey

if TYPE_CHECKING:
    from detector.engine import Partition

RUN_EVENTS_MIN = 24
"""Fewer events go the long way: a group of few costs more than it saves."""

_WHOLE = -1
"""In place of a row: a record as a whole, before its rows."""

Place = tuple[int, int, int]
"""Where something is put out: a record, its row, `END` or `_WHOLE`, and of which scope
it is: the first row of it in the record."""


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
        The run's events and lines; its other records stand between them.
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
        self.rows = Rows(columns, np.array(of_shape, dtype=np.int64))
        self.moments = Moments(partition, self.rows)
        own = split_by(self.rows.scope[columns.shape], len(self.keys))
        self._lanes = [Lane(key, own[n]) for key, n in numbers.items()]
        for shape, number in enumerate(of_shape):
            self._lanes[number].shapes.append(shape)
        skipped = partition.turns.skipped
        self._lanes = [lane for lane in self._lanes if lane.key not in skipped]
        self._wholes = deque(columns.whole)
        self._items = {r: decode(columns.records[r].value) for r in columns.whole}
        self._touched = {r: self._keys_of(i) for r, i in self._items.items()}
        self._said: defaultdict[Place, Outputs] = defaultdict(Outputs)

    def has_room(self) -> bool:
        """Whether nobody has to be forgotten for who is new."""
        keys = {*self.keys, *(k for keys in self._touched.values() for k in keys)}
        fresh = len(keys - self.partition.scopes.keys())
        return not fresh or self.partition.has_room(0, fresh)

    def go(self) -> None:
        """Apply all records of the run."""
        columns, partition = self.columns, self.partition
        moved = self._lanes
        while moved or self._wholes:
            self._stop(moved)
            self._advance(moved)
            moved = self._apply_wholes()
        for place in sorted(self._said):
            self.outputs.records += self._said[place].records
        partition.arrival_ms = columns.arrivals[-1]
        partition.next_offset = columns.records[-1].offset + 1

    def _keys_of(self, items: Sequence[Result]) -> dict[ScopeKey, None]:
        """Whom a record that is taken as a whole may concern."""
        keys: dict[ScopeKey, None] = {}
        for item in items:
            if isinstance(item, (Tick, Command)):  # may concern all scopes there are
                keys.update(dict.fromkeys(self.keys))
            elif not isinstance(item, Rejected):
                keys[ScopeKey(item.service, item.environment)] = None
        return keys

    def _stop(self, moved: Sequence[Lane]) -> None:
        """Note how far scopes can go: to the next whole record that concerns them."""
        first: dict[ScopeKey, int] = {}
        for record in self._wholes:
            for key in self._touched[record]:
                first.setdefault(key, self.columns.start[record])
        for lane in moved:
            upto = first.get(lane.key)
            lane.stop = len(lane.own)
            if upto is not None:
                lane.stop = int(np.searchsorted(lane.own, upto))

    def _apply_wholes(self) -> list[Lane]:
        """Apply records as a whole, until one concerns who has moved just now.

        Gives those who have. Whoever the next one concerns stands before it: it is
        the first of those that are left.
        """
        moved: dict[ScopeKey, None] = {}
        while self._wholes and moved.keys().isdisjoint(self._touched[self._wholes[0]]):
            record = self._wholes.popleft()
            moved.update(self._touched[record])
            self.partition.arrival_ms = self.columns.arrivals[record]
            self.partition.apply_items(
                self.columns.records[record],
                self._items.pop(record),
                self._said[record, _WHOLE, 0],
            )
        return [lane for lane in self._lanes if lane.key in moved]

    def _advance(self, moved: list[Lane]) -> None:
        """Bring scopes to where they stop, moment by moment."""
        while moved := [m for m in moved if len(m.rest) or m.begun != NOWHERE]:
            if sum(len(m.rest) for m in moved) < RUN_EVENTS_MIN:
                walking, going = moved, []
            else:
                walking = [m for m in moved if m.is_restless]
                going = [m for m in moved if not m.is_restless]
            moments = self.moments.next(going)
            self._count(going, moments)
            due: list[tuple[int, Lane]] = []
            moved = []
            for lane in going:
                moment = moments.get(id(lane))
                lane.begun = NOWHERE
                if moment is None:
                    continue
                if moment.row == END:
                    due.append((moment.record, lane))
                else:
                    lane.begun = moment.record
                    self._take_known(moment.row)
                    lane.cursor += 1
                lane.turns += 1
                moved.append(lane)
            self._close(due)
            for lane in walking:
                self._walk(lane)

    def _count(self, going: Sequence[Lane], moments: dict[int, Moment]) -> None:
        """Count what comes before the moments, of all scopes together."""
        waiting: list[IntArray] = []
        for lane in going:
            rest = lane.rest
            moment = moments.get(id(lane))
            if moment is not None:
                upto = moment.row
                if upto == END:
                    upto = self.columns.start[moment.record + 1]
                rest = rest[: np.searchsorted(rest, upto)]
            if len(rest):
                lane.cursor += len(rest)
                self.partition.dirty.add(lane.key)
                waiting.append(rest)
        if not waiting:
            return
        rows = np.sort(np.concatenate(waiting)) if len(waiting) > 1 else waiting[0]
        if len(rows) < RUN_EVENTS_MIN:
            for row in rows.tolist():
                self._take_known(row)
        else:
            _note(self.partition, count_rows(self.rows, rows))

    def _take_known(self, row: int) -> None:
        """One event the long way; where its scope counts is known as before."""
        shape = int(self.columns.shape[row])
        is_known = self.rows.places[shape] or self.columns.shapes[shape].word == TICK
        key = self.keys[int(self.rows.scope[shape])]
        finder = self.partition.finders.get(key)
        self._take(row)
        if finder is not None and is_known:
            self.partition.finders[key] = finder

    def _take(self, row: int) -> None:
        """One event the long way, as of its own place in the log."""
        columns, partition = self.columns, self.partition
        record = int(columns.record[row])
        partition.arrival_ms = columns.arrivals[record]
        offset, index = columns.records[record].offset, columns.index(row)
        said = self._said[record, row, row]
        partition.take(self.rows.event(row), offset, index, {}, said)

    def _walk(self, lane: Lane) -> None:
        """Take all rows of a scope the long way, up to where it stops."""
        rest = lane.rest
        lane.cursor = lane.stop
        for row in rest.tolist():
            record = int(self.columns.record[row])
            self._end(lane, record)
            self._take(row)
            lane.begun = record
        self._end(lane, NOWHERE)

    def _end(self, lane: Lane, record: int) -> None:
        """Close what is due of a walking scope once its record is left for another."""
        if lane.begun not in (record, NOWHERE):
            if self.moments.is_due(lane):
                self._close([(lane.begun, lane)])
            lane.begun = NOWHERE

    def _close(self, due: list[tuple[int, Lane]]) -> None:
        """Close what is due at the ends of records, in the order of the log."""
        columns, partition = self.columns, self.partition
        moments = []
        for record, lane in due:
            begin = columns.start[record]
            first = int(lane.own[np.searchsorted(lane.own, begin)])
            now = Due(
                scope=partition.scopes[lane.key],
                offset=columns.records[record].offset,
                arrival_ms=columns.arrivals[record],
                outputs=self._said[record, END, first],
            )
            moments.append((first, now))
        moments.sort(key=lambda moment: moment[0])
        close_due(partition, [moment for _, moment in moments])
