"""Orders to begin anew: what they make void, where the next owner begins."""

from __future__ import annotations

import pytest

from streams.fence import Fence, Fenced, Frozen, order
from streams.history import FROM_START, History, Key, Restored, order_key
from streams.lane import Lane
from streams.ports import Bounds
from streams.progress import LaneState
from streams.settings import StateReset
from streams.startpoint import Blind, starting_point
from tests.unit.streams.memory import MemoryPartition, MemoryStateLog, records
from tests.unit.streams.test_lane import World


def fence_on(partition: MemoryPartition) -> Fence:
    return Fence(MemoryStateLog(partition), worker="w", log_partitions=4)


async def written(partition: MemoryPartition, next_offset: int) -> Fence:
    """A fence that has claimed the partition and written one snapshot."""
    fence = fence_on(partition)
    await fence.claim()
    await fence.write(Frozen(next_offset, {"a": b"1"}, whole=True))
    return fence


@pytest.mark.parametrize("offset", [FROM_START, 0, 90])
def test_order_key_reads_back(offset: int) -> None:
    """The offset of an order stands in its key and comes back."""
    key = order_key(7, offset)
    assert Key.decode(key.encode()) == key
    history = History()
    history.add(key.encode(), b"{}")
    assert history.ordered() == offset
    assert history.epoch_claimed == 7


@pytest.mark.parametrize("raw", [b"r/1", b"r/x/start", b"r/1/end", b"r/1/"])
def test_malformed_orders_are_ignored(raw: bytes) -> None:
    """A key that is nearly an order is no order."""
    assert Key.decode(raw) is None


async def test_order_voids_earlier_snapshots() -> None:
    """After an order the next owner finds no snapshot and where to begin."""
    partition = MemoryPartition()
    await written(partition, 30)
    epoch = await order(MemoryStateLog(partition), 12, "operator")
    heir = fence_on(partition)
    assert await heir.claim() is None
    assert (heir.ordered, heir.epoch) == (12, epoch + 1)


async def test_order_outlives_a_crash() -> None:
    """An owner that dies before its first snapshot leaves the order in force."""
    partition = MemoryPartition()
    await written(partition, 30)
    await order(MemoryStateLog(partition), FROM_START, "operator")
    await fence_on(partition).claim()
    partition.compact()
    heir = fence_on(partition)
    assert await heir.claim() is None
    assert heir.ordered == FROM_START


async def test_first_snapshot_ends_the_order() -> None:
    """Once the new owner has a manifest the order is void, also when cleaned up."""
    partition = MemoryPartition()
    await written(partition, 30)
    await order(MemoryStateLog(partition), 12, "operator")
    fence = await written(partition, 15)
    for _ in range(2):
        heir = fence_on(partition)
        restored = await heir.claim()
        assert restored is not None
        assert (restored.manifest.next_offset, heir.ordered) == (15, None)
        await fence_on(partition).claim()
    with pytest.raises(Fenced):
        await fence.write(Frozen(16, {"a": b"2"}, whole=True))


async def test_order_fences_a_living_owner() -> None:
    """The owner that was alive when the order came ends at its next write, and what
    it wrote counts nothing."""
    partition = MemoryPartition()
    fence = await written(partition, 30)
    await order(MemoryStateLog(partition), 5, "operator")
    with pytest.raises(Fenced):
        await fence.write(Frozen(40, {"a": b"2"}, whole=True))
    heir = fence_on(partition)
    assert await heir.claim() is None
    assert heir.ordered == 5


async def test_newest_order_counts() -> None:
    """A second order replaces the first."""
    partition = MemoryPartition()
    for offset in (5, FROM_START, 9):
        await order(MemoryStateLog(partition), offset, "operator")
    heir = fence_on(partition)
    await heir.claim()
    assert heir.ordered == 9


@pytest.mark.parametrize(
    ("ordered", "bounds", "start"),
    [
        (FROM_START, Bounds(4, 90, 30), 4),
        (50, Bounds(4, 90, 30), 50),
        (90, Bounds(4, 90, None), 90),
        (2, Bounds(4, 90, 30), 4),
    ],
    ids=["start", "between", "end", "retention-passed"],
)
def test_order_decides_the_start(ordered: int, bounds: Bounds, start: int) -> None:
    """An order begins where it says, or at the first record there still is."""
    assert begin(None, bounds, ordered) == start


def test_order_beyond_the_log_blinds() -> None:
    """A log created anew after the order is refused, not guessed around."""
    with pytest.raises(Blind, match="hypercare state reset"):
        begin(None, Bounds(0, 10, None), 50)


def begin(restored: Restored | None, bounds: Bounds, ordered: int | None) -> int:
    return starting_point(
        restored, bounds, ordered=ordered, log_partitions=4, reset=StateReset.NO
    )


async def blind_world(bounds: Bounds) -> tuple[World, Lane]:
    """A partition with a snapshot at 30 that a new worker refuses."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    await lane.snapshot()
    world.log.held = bounds
    heir = world.lane()
    await heir.restore()
    assert heir.state is LaneState.BLIND
    return world, heir


@pytest.mark.parametrize(
    "bounds", [Bounds(31, 90, 30), Bounds(0, 29, 30)], ids=["retention", "recreated"]
)
@pytest.mark.parametrize("to_end", [True, False])
async def test_order_repairs_blind_partitions(bounds: Bounds, to_end: bool) -> None:
    """What was refused starts after an order, empty, where it was told."""
    world, _ = await blind_world(bounds)
    offset = bounds.end if to_end else FROM_START
    await order(MemoryStateLog(world.partition), offset, "operator")
    lane = world.lane()
    await lane.restore()
    assert lane.state is LaneState.READY
    assert lane.next_offset == (bounds.end if to_end else bounds.start)
    assert not lane.core.all_shards()


async def test_order_repairs_another_partition_count() -> None:
    """State of another number of partitions is void after an order."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 3))
    await lane.snapshot()
    await order(MemoryStateLog(world.partition), 3, "operator")
    heir = world.lane(log_partitions=8)
    await heir.restore()
    assert (heir.state, heir.next_offset) == (LaneState.READY, 3)


async def test_log_recreated_under_us_blinds() -> None:
    """A running partition whose log begins anew goes blind instead of taking the new
    records for known ones."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    world.log.held = Bounds(0, 5, 30)
    assert not await lane.accepts(0)
    assert lane.state is LaneState.BLIND
    assert "created anew" in lane.reason


async def test_repeated_records_are_accepted() -> None:
    """A batch that begins below us on an intact log is fed: the core drops copies."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    assert await lane.accepts(20)
