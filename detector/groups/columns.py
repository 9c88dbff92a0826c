"""A run of records as columns: one row for each single event, in log order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

import numpy as np

from detector.arrival import SENDER_SKEW_MAX_MS
from detector.evidence.types import BoolArray, IntArray
from detector.groups.arrange import present
from detector.groups.frames import Framed, frames
from detector.groups.light import Light, Shape, ShapeKey, read_many, shape_of
from detector.records import LogRecord

_EMPTY = b""
Parts = list[Light | list[Light] | None]


class Columns:
    """The light events of some records, row by row.

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
    record, shape, ts, arrival : arrays of shape (rows,)
        Position of the record and of the shape, time of the event, arrival clock.
    arrivals : list of int
        Arrival clock at each record.
    shapes : list of Shape
    ids, traces, sessions, users, durations : list or None
        What each row says of itself; None where no row does.
    """

    ids: list[str | None] | None = None
    traces: list[str | None] | None = None
    sessions: list[str | None] | None = None
    users: list[str | None] | None = None
    durations: list[float | None] | None = None

    def __init__(self, records: Sequence[LogRecord], arrival_ms: int) -> None:
        self.records = records
        values = [record.value for record in records]
        self._framed = frames.read(values)
        self._events: list[Light] = []
        if self._framed is not None:
            self._take(self._framed)
        else:
            self._read(read_many(values))
        stamps = np.array([r.timestamp_ms for r in records], dtype=np.int64)
        clock: IntArray = np.maximum(np.maximum.accumulate(stamps), arrival_ms)
        self.arrivals: list[int] = clock.tolist()
        self.arrival: IntArray = clock[self.record]

    def __len__(self) -> int:
        return len(self.ts)

    def event(self, row: int) -> Light:
        """The event of a row."""
        if self._framed is not None:
            return self._framed.event(row)
        return self._events[row]

    def index(self, row: int) -> int:
        """Place of a row's event in its record."""
        return row - self.start[int(self.record[row])]

    def skewed(self) -> BoolArray | None:
        """Rows whose sender's clock is off, by what it said; None where nobody did."""
        sent = [e.sent_at for e in self._events]
        if sent.count(None) == len(sent):
            return None
        lags = [
            0
            if event.sent_at is None
            else (arrival if event.received_at is None else event.received_at)
            - event.sent_at
            for event, arrival in zip(self._events, self.arrival.tolist(), strict=True)
        ]
        far: BoolArray = np.abs(np.array(lags)) > SENDER_SKEW_MAX_MS
        return far

    def _take(self, framed: Framed) -> None:
        self.ts: IntArray = framed.ts
        self.shape: IntArray = framed.shape
        self.shapes: list[Shape] = framed.shapes
        self._place(framed.counts)

    def _read(self, parts: Parts) -> None:
        """Take what was parsed; a record with an unsound shape is not light either."""
        while True:
            self._flatten(parts)
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
                for e in self._events
            ]
            self.shape = np.array(rows, dtype=np.int64)
            shapes = [shape_of(key) for key in keys]
            self.shapes = [s for s in shapes if s is not None]
            if len(self.shapes) == len(shapes):
                break
            unsound = np.array([shape is None for shape in shapes])
            for record in np.unique(self.record[unsound[self.shape]]).tolist():
                parts[record] = None
        events = self._events
        self.ts = np.array([e.ts for e in events], dtype=np.int64)
        self.ids = present([e.id for e in events])
        self.traces = present([e.trace_id for e in events])
        self.sessions = present([e.session for e in events])
        self.users = present([e.user for e in events])
        self.durations = present([e.duration_ms for e in events])

    def _flatten(self, parts: Parts) -> None:
        if not {list, type(None)} & set(map(type, parts)):
            self._events = parts  # type: ignore[assignment]
            self._place(np.ones(len(parts), dtype=np.int64))
            return
        rows = [_members(part) for part in parts]
        self._events = list(chain.from_iterable(rows))
        self._place(np.array([len(several) for several in rows], dtype=np.int64))

    def _place(self, counts: IntArray) -> None:
        """Which rows are those of which record."""
        self.record: IntArray = np.repeat(np.arange(len(counts)), counts)
        self.start: list[int] = [0, *np.cumsum(counts).tolist()]
        self.whole: list[int] = np.flatnonzero(counts == 0).tolist()


def _members(part: Light | list[Light] | None) -> list[Light]:
    if part is None:
        return []
    return part if type(part) is list else [part]  # type: ignore[list-item]
