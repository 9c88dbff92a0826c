"""A run of records as columns: one row for each event or line, in log order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import TypeVar, cast

import numpy as np

from detector.arrival import SENDER_SKEW_MAX_MS
from detector.evidence.types import BoolArray, IntArray
from detector.groups.arrange import present
from detector.groups.frames import Framed, frames
from detector.groups.light import Light, Shape, ShapeKey, shape_of
from detector.groups.light import full as full_light
from detector.groups.linereading import read_many, read_singles, unsound
from detector.groups.lines import Line, Whole
from detector.groups.lines import full as full_line
from detector.groups.sums import Sums, shapes_of, sums_of, told_of
from detector.records import LogRecord

_EMPTY = b""
Member = TypeVar("Member", Light, Line)


class Columns:
    """The light events of some records, row by row.

    If none of them holds lines they are read as single events, else all as lines.

    Parameters
    ----------
    records : sequence of LogRecord
        In the order of the log.
    arrival_ms : int
        Arrival clock before them.

    Attributes
    ----------
    start : list of int
        First row of each record, and the number of rows.
    whole : list of int
        Records that are not light and have no rows.
    record, shape, end, arrival : arrays of shape (rows,)
        Position of the record and of the shape, end of the time that is covered (as
        sent), arrival clock.
    arrivals : list of int
        Arrival clock at each record.
    shapes : list of Shape
    sums : Sums or None
        What the rows stand for, if they are lines.
    lines : sequence of Line
        The rows, if they are lines.
    ids, traces, sessions, users, durations : list or None
        What each row says of itself; None where no row does.
    """

    ids: list[str | None] | None = None
    traces: list[str | None] | None = None
    sessions: list[str | None] | None = None
    users: list[str | None] | None = None
    durations: list[float | None] | None = None
    sums: Sums | None = None
    lines: Sequence[Line] = ()

    def __init__(self, records: Sequence[LogRecord], arrival_ms: int) -> None:
        self.records = records
        values = [record.value for record in records]
        self._framed = frames.read(values)
        self._events: list[Light] = []
        if self._framed is not None:
            self._take(self._framed)
        elif (parts := read_singles(values)) is not None:
            self._read(parts)
        else:
            self._read_lines(read_many(values))
        stamps = np.array([r.timestamp_ms for r in records], dtype=np.int64)
        clock: IntArray = np.maximum(np.maximum.accumulate(stamps), arrival_ms)
        self.arrivals: list[int] = clock.tolist()
        self.arrival: IntArray = clock[self.record]

    def __len__(self) -> int:
        return len(self.end)

    def event(self, row: int) -> Whole:
        """The event of a row, as the decoder of all events gives it."""
        shape = self.shapes[int(self.shape[row])]
        if self._framed is not None:
            return full_light(self._framed.event(row), shape)
        if self.sums is not None:
            return full_line(self.lines[row], shape)
        return full_light(self._events[row], shape)

    def index(self, row: int) -> int:
        """Place of a row's event in its record."""
        return row - self.start[int(self.record[row])]

    def skewed(self) -> BoolArray | None:
        """Rows whose sender's clock is off, by what it said; None where nobody did."""
        events: Sequence[Light | Line] = self._events or self.lines
        sent = [e.sent_at for e in events]
        if sent.count(None) == len(sent):
            return None
        lags = [
            0
            if event.sent_at is None
            else (arrival if event.received_at is None else event.received_at)
            - event.sent_at
            for event, arrival in zip(events, self.arrival.tolist(), strict=True)
        ]
        far: BoolArray = np.abs(np.array(lags)) > SENDER_SKEW_MAX_MS
        return far

    def _take(self, framed: Framed) -> None:
        self.end: IntArray = framed.ts
        self.shape: IntArray = framed.shape
        self.shapes: list[Shape] = framed.shapes
        self._place(framed.counts)

    def _read(self, parts: Sequence[Light | list[Light] | None]) -> None:
        """Take single events; a record with an unsound shape is not light either."""
        kept = [*parts]
        while True:
            events = self._flatten(kept)
            self.shape, shapes = _shapes_of(events)
            if self._drop(kept, shapes, []):
                break
        self._events = events
        self._describe(events)
        self.end = np.array([e.ts for e in events], dtype=np.int64)

    def _read_lines(self, parts: Sequence[Line | list[Line] | None]) -> None:
        """Take lines; a record with one that is unsound has no rows."""
        kept = [*parts]
        while True:
            lines = self._flatten(kept)
            told = told_of(lines)
            self.shape, shapes = shapes_of(lines, told)
            if self._drop(kept, shapes, unsound(lines)):
                break
        self.lines = lines
        self._describe(lines)
        self.sums = sums_of(lines, told, self.shape, self.shapes)
        window_s = np.array([shape.window_s for shape in self.shapes], dtype=np.int64)
        begin = np.array([e.ts for e in lines], dtype=np.int64)
        self.end = begin + 1000 * window_s[self.shape]

    def _describe(self, events: Sequence[Light] | Sequence[Line]) -> None:
        """Note what each event says of itself."""
        self.ids = present([e.id for e in events])
        self.traces = present([e.trace_id for e in events])
        self.sessions = present([e.session for e in events])
        self.users = present([e.user for e in events])
        self.durations = present([e.duration_ms for e in events])

    def _drop(
        self,
        kept: list[Member | list[Member] | None],
        shapes: list[Shape | None],
        rows: list[int],
    ) -> bool:
        """Take records out whose shape or row is unsound; True if there was none."""
        self.shapes = [s for s in shapes if s is not None]
        if len(self.shapes) == len(shapes) and not rows:
            return True
        bad = np.array([shape is None for shape in shapes])[self.shape]
        bad[rows] = True
        for record in np.unique(self.record[bad]).tolist():
            kept[record] = None
        return False

    def _flatten(self, parts: list[Member | list[Member] | None]) -> list[Member]:
        if not {list, type(None)} & set(map(type, parts)):
            self._place(np.ones(len(parts), dtype=np.int64))
            return cast(list[Member], parts)
        rows = [_members(part) for part in parts]
        self._place(np.array([len(several) for several in rows], dtype=np.int64))
        return list(chain.from_iterable(rows))

    def _place(self, counts: IntArray) -> None:
        """Which rows are those of which record."""
        self.record: IntArray = np.repeat(np.arange(len(counts)), counts)
        self.start: list[int] = [0, *np.cumsum(counts).tolist()]
        self.whole: list[int] = np.flatnonzero(counts == 0).tolist()


def _shapes_of(events: Sequence[Light]) -> tuple[IntArray, list[Shape | None]]:
    """The shape of each single event, and the shapes; None for an unsound one."""
    keys: defaultdict[ShapeKey, int] = defaultdict()
    keys.default_factory = keys.__len__
    rows = [
        keys[
            e.service,
            e.release,
            _EMPTY + e.attrs,  # the quickest copy of its bytes
            e.environment,
            e.sender,
            e.word,
            e.outcome,
        ]
        for e in events
    ]
    return np.array(rows, dtype=np.int64), [shape_of(key) for key in keys]


def _members(part: Member | list[Member] | None) -> list[Member]:
    if part is None:
        return []
    return part if type(part) is list else [part]  # type: ignore[list-item]
