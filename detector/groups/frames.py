"""Events that differ in their time alone, read without parsing any of them twice.

A sender writes its events with one program: but for the time and who was served, the
same bytes come again and again. So a run of records is cut at its times, and what
stands between two of them, a joint, is looked up. A joint that was not seen before is
taken apart, and each beginning and end that meet are parsed once, with two times.
What is not understood at once is left to the parser, run by run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.evidence.types import IntArray
from detector.groups.arrange import numbered
from detector.groups.light import (
    MEMBERS_MAX,
    RECORD_BYTES_MAX,
    Light,
    Shape,
    key_of,
    read,
    shape_of,
)

CUT = b'"ts":'
DIGITS = 13
"""Digits of a time in milliseconds from 2001 to 2286."""

JOINTS_MAX = 8_192
MISSES_FREE = 64
MISS_SHARE = 16
"""More unknown joints than one in so many: the events are not alike."""

PAUSE_RUNS = 3
"""Runs that are not looked at after one that was not understood."""

_BETWEEN = re.compile(rb"\}\]?\n\[?\{|\},\{")
_OTHER_TIME = b"1234567890123"
_POWERS = 10 ** np.arange(DIGITS - 1, -1, -1)
_COMMA, _OBJECT, _ARRAY, _NOTHING = range(4)
_TAIL, _CLOSE, _OPEN, _HEAD = range(4)


class Framed(NamedTuple):
    """Single events of whole records that say nothing but what their shape says.

    ``counts`` are the events of each record; ``heads`` and ``tails`` the texts around
    the times, ``head`` and ``tail`` which of them each event has.
    """

    counts: IntArray
    ts: IntArray
    shape: IntArray
    shapes: list[Shape]
    head: IntArray
    tail: IntArray
    heads: list[bytes]
    tails: list[bytes]

    def event(self, row: int) -> Light:
        """One of the events."""
        time = str(int(self.ts[row])).encode()
        found = _parse(
            self.heads[int(self.head[row])], time, self.tails[int(self.tail[row])]
        )
        if found is None:
            raise ValueError(f"row {row} was read and can not be read again")
        return found


class Frames:
    """What was learnt about the texts around times; a cache, no part of any state."""

    def __init__(self) -> None:
        self._pause = 0
        self._clear()

    def _clear(self) -> None:
        self._joints: dict[bytes, int] = {}
        self._fresh: list[tuple[int, int, int, int]] = []
        self._known: IntArray = np.zeros((4, 0), dtype=np.int64)
        self._heads: dict[bytes, int] = {}
        self._tails: dict[bytes, int] = {}
        self._pairs: dict[tuple[int, int], Shape | None] = {}

    def read(self, values: Sequence[bytes | None]) -> Framed | None:
        """The events of these records; None if they are not all understood."""
        if self._pause:
            self._pause -= 1
            return None
        if len(self._joints) > JOINTS_MAX:
            self._clear()
        found = self._read(values)
        if found is None:
            self._pause = PAUSE_RUNS
        return found

    def _read(self, values: Sequence[bytes | None]) -> Framed | None:
        if not all(values) or max(map(len, values)) > RECORD_BYTES_MAX:  # type: ignore[arg-type]
            return None
        begin, *pieces = b"\n".join(values).split(CUT)  # type: ignore[arg-type]
        opened = {b"[{": _ARRAY, b"{": _OBJECT}.get(begin[: begin.find(b"{") + 1])
        if not pieces or opened is None or b"\n" in begin:
            return None
        ts = _times([piece[:DIGITS] for piece in pieces])
        joints = self._learnt([piece[DIGITS:] for piece in pieces])
        if ts is None or joints is None:
            return None
        facts = np.take(self._table(), np.array(joints), axis=1)
        head0 = self._heads.setdefault(begin[begin.find(b"{") + 1 :], len(self._heads))
        head = np.concatenate([[head0], facts[_HEAD][:-1]])
        counts = _counts(opened, facts)
        if counts is None or len(counts) != len(values):
            return None
        return self._framed(counts, ts, head, facts[_TAIL])

    def _table(self) -> IntArray:
        """What is known of the joints, by number: what is new is added at the end."""
        if self._fresh:
            end = len(self._joints)
            if end > self._known.shape[1]:
                room = np.zeros((len(self._known), end), dtype=np.int64)
                self._known = np.concatenate((self._known, room), axis=1)
            self._known[:, end - len(self._fresh) : end] = np.array(self._fresh).T
            self._fresh = []
        return self._known

    def _framed(
        self, counts: IntArray, ts: IntArray, head: IntArray, tail: IntArray
    ) -> Framed | None:
        heads, tails = list(self._heads), list(self._tails)
        codes, shape = numbered(head * len(tails) + tail)
        shapes = []
        for code in codes.tolist():
            pair = code // len(tails), code % len(tails)
            if pair not in self._pairs:
                self._pairs[pair] = _shape_of(heads[pair[0]], tails[pair[1]])
            found = self._pairs[pair]
            if found is None:
                return None
            shapes.append(found)
        return Framed(counts, ts, shape, shapes, head, tail, heads, tails)

    def _learnt(self, texts: list[bytes]) -> list[int] | None:
        """Numbers of the joints; None if too many are new or one is no joint."""
        try:
            return [self._joints[text] for text in texts]
        except KeyError:
            pass
        missing = dict.fromkeys(text for text in texts if text not in self._joints)
        if len(missing) > MISSES_FREE + len(texts) // MISS_SHARE:
            return None
        for text in missing:
            joint = self._taken_apart(text)
            if joint is None:
                return None
            self._joints[text] = len(self._joints)
            self._fresh.append(joint)
        return [self._joints[text] for text in texts]

    def _taken_apart(self, text: bytes) -> tuple[int, int, int, int] | None:
        """Rest of an object, how it ends, how the next one begins, its beginning."""
        between = _BETWEEN.findall(text)
        if len(between) > 1:
            return None
        if between:
            tail, head = text.split(between[0])
            ending, _, opening = between[0].partition(b"\n")
        else:
            ending, opening, head = text[-2:], b"", b""
            ending = b"}]" if ending == b"}]" else ending[-1:]
            tail = text[: -len(ending)]
        if b"\n" in tail + head or ending not in (b"}", b"}]", b"},{"):
            return None
        closed = {b"}": _OBJECT, b"}]": _ARRAY, b"},{": _COMMA}[ending]
        opened = {b"{": _OBJECT, b"[{": _ARRAY, b"": _NOTHING}[opening]
        return (
            self._tails.setdefault(tail, len(self._tails)),
            closed,
            _COMMA if closed == _COMMA else opened,
            self._heads.setdefault(head, len(self._heads)),
        )


def _times(digits: list[bytes]) -> IntArray | None:
    """The times; None unless each is a number of thirteen digits."""
    text = np.frombuffer(b"".join(digits), dtype=np.uint8)
    if len(text) != DIGITS * len(digits) or min(map(len, digits)) < DIGITS:
        return None
    values = text.reshape(-1, DIGITS) - np.uint8(ord("0"))
    if values.max() > 9 or values[:, 0].min() < 1:
        return None
    times: IntArray = values @ _POWERS
    return times


def _counts(opened: int, facts: IntArray) -> IntArray | None:
    """Events of each record; None unless brackets match and only the last one ends."""
    ends = np.flatnonzero(facts[_CLOSE] != _COMMA)
    last = np.flatnonzero(facts[_OPEN] == _NOTHING)
    if not len(ends) or last.tolist() != [len(facts[_OPEN]) - 1]:
        return None
    begun = np.concatenate([[opened], facts[_OPEN][ends[:-1]]])
    counts = np.diff(ends, prepend=-1)
    if (begun != facts[_CLOSE][ends]).any() or counts.max() > MEMBERS_MAX:
        return None
    return counts if (counts[begun == _OBJECT] == 1).all() else None


def _parse(head: bytes, time: bytes, tail: bytes) -> Light | None:
    events = read(b"{" + head + CUT + time + tail + b"}")
    return None if events is None or len(events) != 1 else events[0]


def _shape_of(head: bytes, tail: bytes) -> Shape | None:
    """The shape of an object around a time; None if there is more in it.

    Read with two times it has both: so what stands there is its time, whatever it is.
    """
    for time in (_OTHER_TIME, _OTHER_TIME[::-1]):
        event = _parse(head, time, tail)
        if event is None or event.ts != int(time):
            return None
        rest = (event.id, event.session, event.user, event.trace_id, event.sent_at)
        if any(value is not None for value in (*rest, event.duration_ms)):
            return None
    return None if event is None else shape_of(key_of(event))


frames = Frames()
