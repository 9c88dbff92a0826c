"""Ingress records leave in order of time, whoever is fetched first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from faust.types import TP

from streams.merge import HELD_MAX, PATIENCE_S, TimeMerge

USAGE, ERRORS = TP("usage", 0), TP("errors", 0)


class Fetched(NamedTuple):
    """What the merge looks at of a record."""

    offset: int
    timestamp: int


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
        records = [Fetched(start + i, t) for i, t in enumerate(times)]
        self.merge.add(tp, 0, records)

    def out(self) -> list[tuple[str, int]]:
        """What is let go now."""
        released = self.merge.release([USAGE, ERRORS], self.ends.__getitem__)
        return [(tp.topic, record.timestamp) for tp, _, record in released]


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
