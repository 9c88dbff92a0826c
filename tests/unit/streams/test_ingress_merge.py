"""Ingress records leave in order of time, whoever is fetched first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.ingress import merge as merging
from streams.ingress.merge import HELD_MAX, PATIENCE_S, TimeMerge

USAGE, ERRORS = TP("usage", 0), TP("errors", 0)


class Fetched(NamedTuple):
    """What the merge looks at of a record."""

    offset: int
    timestamp: int
    topic: str = ""
    value: bytes | None = b"12345"


class World:
    """A merge, its clock, and where the partitions end."""

    def __init__(self, **ends: int) -> None:
        self.now_s = 0.0
        self.merge = TimeMerge(lambda: self.now_s)
        self.ends: dict[TP, int | None] = {
            tp: ends.get(tp.topic) for tp in (USAGE, ERRORS)
        }

    def give(self, tp: TP, times: Iterable[int], start: int = 0) -> None:
        """Fetch records of a partition."""
        self.merge.asked([USAGE, ERRORS])
        records = [Fetched(start + i, t, tp.topic) for i, t in enumerate(times)]
        self.merge.add(tp, records)

    def out(self) -> list[tuple[str, int]]:
        """What is let go now."""
        self.merge.release([USAGE, ERRORS], self.ends.__getitem__)
        released = self.merge.take(10**9, 10**9)
        return [(record.topic, record.timestamp) for record in released]


def test_backlogs_leave_in_order_of_time() -> None:
    """Records of both partitions leave oldest first, whoever was fetched first."""
    world = World(usage=4, errors=2)
    world.give(USAGE, [1, 3, 5, 7])
    assert world.out() == [], "an older error may be on its way"
    world.give(ERRORS, [2, 6])
    assert [t for _, t in world.out()] == [1, 2, 3, 5, 6, 7]


def test_partition_with_more_is_waited_for() -> None:
    """When a partition runs dry before its end, the others wait for its next."""
    world = World(usage=4, errors=3)
    world.give(USAGE, [1, 3, 5, 7])
    world.give(ERRORS, [2])
    assert [t for _, t in world.out()] == [1, 2]
    world.give(ERRORS, [4, 9], start=1)
    assert [t for _, t in world.out()] == [3, 4, 5, 7, 9]


def test_partition_at_its_end_holds_nobody() -> None:
    """In ordinary times nothing waits."""
    world = World(usage=1, errors=0)
    world.give(USAGE, [1])
    assert world.out() == [("usage", 1)]


def test_silent_partition_is_given_up() -> None:
    """One that should have records and gives none holds the others a short while."""
    world = World(usage=1, errors=700)
    world.give(USAGE, [1])
    assert world.out() == []
    world.now_s = PATIENCE_S
    assert world.out() == [("usage", 1)]


def test_unknown_end_is_waited_for() -> None:
    """Before the first answer nobody knows whether a partition has records."""
    world = World(usage=1)
    world.give(USAGE, [1])
    assert world.out() == []
    world.ends[ERRORS] = 0
    assert world.out() == [("usage", 1)]


def test_held_records_are_bounded() -> None:
    """A partition with enough held is not fetched; a seek empties everything."""
    world = World(usage=HELD_MAX, errors=1)
    world.give(USAGE, range(HELD_MAX))
    assert world.merge.is_full(USAGE)
    world.merge.clear()
    assert not world.merge.is_full(USAGE)
    assert world.out() == []


def test_held_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bytes allowed only a partition that holds nothing is fetched."""
    monkeypatch.setattr(merging, "HELD_BYTES_MAX", 400)
    world = World(usage=9, errors=1)
    world.give(USAGE, [1, 2])
    assert world.merge.is_full(USAGE)
    assert not world.merge.is_full(ERRORS)


def test_limits_cut_a_run() -> None:
    """A run ends at its records or bytes; what is left comes with the next."""
    world = World(usage=5, errors=0)
    world.give(USAGE, range(5))
    world.merge.release([USAGE, ERRORS], world.ends.__getitem__)
    sizes = [len(world.merge.take(2, 10**9)), len(world.merge.take(9, 1))]
    assert [*sizes, len(world.merge.take(9, 10**9))] == [2, 1, 2]
    assert not world.merge.holds


PARTS = [TP("errors", 0), TP("usage", 0), TP("usage", 1)]


def by_heap(held: dict[TP, list[Fetched]], ends: dict[TP, int]) -> list[Fetched]:
    """Let records go one by one, the oldest head first, as the definition says."""
    out: list[Fetched] = []

    def waits(tp: TP) -> bool:
        return not held[tp] and ends[tp] > 0

    heads = [(held[tp][0].timestamp, tp) for tp in PARTS if held[tp]]
    heapq.heapify(heads)
    while heads and not any(map(waits, PARTS)):
        _, tp = heapq.heappop(heads)
        out.append(held[tp].pop(0))
        if held[tp]:
            heapq.heappush(heads, (held[tp][0].timestamp, tp))
    return out


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_cut_equals_one_by_one(times: list[list[int]], more: list[bool]) -> None:
    """What is let go at once is what the oldest head first would let go, also when
    a sender's times go back."""
    merge = TimeMerge(lambda: 0.0)
    held = {
        tp: [Fetched(i, t, f"{tp.topic}{tp.partition}") for i, t in enumerate(some)]
        for tp, some in zip(PARTS, times, strict=True)
    }
    # Whoever holds all it has is at its end; with more to come it is not.
    ends = {
        tp: len(held[tp]) + 1 if m else 0 for tp, m in zip(PARTS, more, strict=True)
    }
    merge.asked(PARTS)
    for tp, records in held.items():
        merge.add(tp, records)
    merge.release(PARTS, ends.__getitem__)
    assert merge.take(10**9, 10**9) == by_heap(held, ends)


@given(st.data())
def test_every_record_leaves_once(data: st.DataObject) -> None:
    """In whatever portions records are fetched and taken, each leaves once, and
    those of a partition in their order."""
    merge = TimeMerge(lambda: 0.0)
    counts = {tp: data.draw(st.integers(0, 12)) for tp in PARTS}
    given_, out = dict.fromkeys(PARTS, 0), list[Fetched]()
    while any(given_[tp] < counts[tp] for tp in PARTS) or merge.holds:
        merge.asked(PARTS)
        for tp in PARTS:
            n = min(data.draw(st.integers(1, 5)), counts[tp] - given_[tp])
            name = f"{tp.topic}{tp.partition}"
            times = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
            start = given_[tp]
            merge.add(tp, [Fetched(start + i, t, name) for i, t in enumerate(times)])
            given_[tp] += n
        merge.release(PARTS, counts.__getitem__)
        out += merge.take(data.draw(st.integers(1, 9)), 10**9)
    for tp in PARTS:
        name = f"{tp.topic}{tp.partition}"
        assert [r.offset for r in out if r.topic == name] == [*range(counts[tp])]
