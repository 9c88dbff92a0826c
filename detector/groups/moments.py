"""When the events of a scope can not wait any longer to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from detector.clocks import note_clock
from detector.evidence.types import IntArray
from detector.groups.ahead import END, Ahead, Known, Moment
from detector.groups.lane import NOWHERE, Lane
from detector.groups.places import Finder
from detector.groups.rowtable import Rows
from detector.scope import ScopeKey
from detector.signals.telemetry import forget_sample, shift_of

if TYPE_CHECKING:
    from detector.engine import Partition

LOOK_ROWS = 1024
"""Rows of a scope that are looked at before the next."""


class Moments:
    """Finds the next moments of scopes, as things stand.

    Parameters
    ----------
    partition : Partition
    rows : Rows
        Of the run; gets the places of the scopes that are looked at.
    """

    def __init__(self, partition: Partition, rows: Rows) -> None:
        self.partition = partition
        self.rows = rows
        self.columns = rows.columns
        self.ahead = Ahead(rows)

    def next(self, going: Sequence[Lane]) -> dict[int, Moment]:
        """The next moment of each scope that has one."""
        found: dict[int, Moment] = {}
        looking: list[tuple[Lane, IntArray]] = []
        for lane in going:
            rest = lane.rest
            if lane.begun != NOWHERE and self.is_due(lane):
                found[id(lane)] = Moment(lane.begun, END, False)
                upto = self.columns.start[lane.begun + 1]
                rest = rest[: np.searchsorted(rest, upto)]
            looking.append((lane, rest))
        self.ahead.learn([self._known(lane) for lane in going])
        while looking := [(lane, rest) for lane, rest in looking if len(rest)]:
            blocks = [self._block(rest) for _, rest in looking]
            seen = self.ahead.first(np.concatenate(blocks))
            left: list[tuple[Lane, IntArray]] = []
            learnt: list[Known] = []
            for (lane, rest), block in zip(looking, blocks, strict=True):
                moment = seen.get(int(self.rows.scope[lane.shapes[0]]))
                if moment is None:
                    left.append((lane, rest[len(block) :]))
                elif moment.is_sample and self._sample(moment.row):
                    learnt.append(self._known(lane))
                    begin = self.columns.start[moment.record]
                    left.append((lane, rest[np.searchsorted(rest, begin) :]))
                else:
                    found[id(lane)] = min(found.get(id(lane), moment), moment)
            self.ahead.learn(learnt)
            looking = left
        return found

    def _known(self, lane: Lane) -> Known:
        """Where the shapes of a scope are counted, and what would stop it."""
        finder = _finder(self.partition, lane.key)
        for shape in lane.shapes:
            found = None if finder is None else finder.find(self.columns.shapes[shape])
            self.rows.places[shape] = found
        if finder is None:
            return Known(lane.shapes, lane.own, None, 0)
        scope = finder.scope
        return Known(lane.shapes, lane.own, scope, self.partition.wait_ms(scope))

    def _sample(self, row: int) -> bool:
        """Let a row teach how its clock and its way are, if that changes nothing.

        Nothing that is counted before it asks for samples, only for what was
        learnt from them. False if something is: then it must be taken by itself.
        """
        place = self.rows.place(row)
        scope, health = place.scope, place.health
        known = shift_of(health), self.partition.wait_ms(scope)
        before = replace(health), scope.holds_ms
        note_clock(
            scope,
            place.release.number,
            int(self.columns.end[row]),
            int(self.columns.arrival[row]),
            window_ms=1000 * place.shape.window_s,
            grace_ms=place.inforce.rule.grace_ms,
        )
        if (shift_of(health), self.partition.wait_ms(scope)) == known:
            self.partition.dirty.add(scope.key)
            return True
        forget_sample(health, before[0])
        scope.holds_ms = before[1]
        return False

    def _block(self, rest: IntArray) -> IntArray:
        """The next rows to be looked at.

        A moment may be the end of a record: all of it must have been seen.
        """
        if len(rest) <= LOOK_ROWS:
            return rest
        upto = self.columns.start[int(self.columns.record[rest[LOOK_ROWS - 1]]) + 1]
        return rest[: np.searchsorted(rest, upto)]

    def is_due(self, lane: Lane) -> bool:
        """Whether the end of a record of this scope closes windows."""
        scope = self.partition.scopes.get(lane.key)
        limit_ms = -1 if scope is None else self.partition.limit_ms(scope)
        return scope is not None and limit_ms > scope.closed_until_ms


def _finder(partition: Partition, key: ScopeKey) -> Finder | None:
    """Who knows where a scope counts its single events; None for a new scope."""
    found = partition.finders.get(key)
    scope = partition.scopes.get(key)
    if found is None and scope is not None:
        inforce = partition.rulebook.find(*key)
        found = partition.finders[key] = Finder(scope, inforce)
    return found
