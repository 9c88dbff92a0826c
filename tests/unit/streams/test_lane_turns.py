"""A lane whose snapshots leave services out: where its successors begin."""

from __future__ import annotations

import pytest

from detector import turns
from streams.core import Core, DetectorCores
from streams.lane import Lane
from tests.unit.detector.traffic import QUICK, Log, at, usage
from tests.unit.streams.test_lane import World

SERVICES = [f"s{number}" for number in range(8)]
LOG = Log()
for number in range(3):
    LOG.add(at(number + 1) + 500, *(usage(number, "1", 9, service=s) for s in SERVICES))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight services are many: two of them to a snapshot."""
    monkeypatch.setattr(turns, "SCOPES_MIN", 1)
    monkeypatch.setattr(turns, "TURNS", 4)


def units(lane: Lane) -> dict[str, float]:
    """Units counted of each service, in windows closed or open."""
    assert isinstance(lane.core, Core)
    return {
        key.service: scope.units_total
        for key, scope in lane.core.partition.scopes.items()
    }


async def left_behind(world: World) -> Lane:
    """A lane with a whole snapshot at 1, and one at 2 that leaves services out."""
    world.cores = DetectorCores(QUICK, "hypercare.events")
    lane = await world.ready()
    for record in LOG.records[:2]:
        lane.apply([record])
        assert await lane.snapshot()
    return lane


async def test_killed_lane_is_read_again() -> None:
    """The heir begins where those who were left out are; nothing counts twice."""
    world = World()
    lane = await left_behind(world)
    assert (lane.committable, lane.progress().saved, lane.next_offset) == (1, 2, 2)
    assert lane.is_dirty
    heir = await world.ready()
    assert (heir.next_offset, world.log.seeks[-1]) == (1, 1)
    heir.apply(LOG.records[1:])
    lane.apply(LOG.records[2:])
    assert units(heir) == units(lane)
    assert set(units(heir).values()) == {27.0}


async def test_released_lane_leaves_nobody_out() -> None:
    """Who takes over from a worker that ended in peace reads nothing again."""
    world = World()
    lane = await left_behind(world)
    await lane.release()
    heir = await world.ready()
    assert (heir.next_offset, world.log.seeks[-1]) == (2, 2)


async def test_quiet_log_is_saved_in_the_end() -> None:
    """Without another record, four snapshots hold all and the fifth has no news."""
    world = World()
    lane = await left_behind(world)
    for _ in range(3):
        assert lane.is_dirty
        assert await lane.snapshot()
    assert (lane.committable, lane.is_dirty) == (2, False)
