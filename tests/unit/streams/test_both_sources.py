"""What either source of the log promises: races of fetch and seek, commits, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka.errors import (
    CorruptRecordException,
    NotLeaderForPartitionError,
    RecordTooLargeError,
)
from faust.types import TP

from detector.records import LogRecord
from streams import bounded
from streams.bounded import Refused
from streams.halt import Exit
from streams.lane import Lane
from streams.ports import Bounds
from streams.progress import LaneState
from streams.settings import SourceKind
from tests.unit.streams.rig import LOG, RIGS, Halted, Rig

P0, P1 = TP(LOG, 0), TP(LOG, 1)


@pytest.fixture(params=SourceKind)
def kind(request: pytest.FixtureRequest) -> SourceKind:
    """Who reads the log."""
    made: SourceKind = request.param
    return made


@pytest.fixture
async def rig(kind: SourceKind) -> AsyncIterator[Rig]:
    """A worker that owns two partitions."""
    made = RIGS[kind]([P0, P1])
    await made.own()
    yield made
    await made.close()


def total(stop: int) -> tuple[int, int]:
    return stop, sum(range(stop))


async def test_batches_go_to_lanes(rig: Rig) -> None:
    """Records of the log go to their lanes in whole batches."""
    for tp in (P0, P1):
        rig.thread.produce(tp, 5)
    await rig.fetch()
    assert (rig.counted(0), rig.counted(1)) == (total(5), total(5))


async def test_restoring_lanes_are_not_fetched(kind: SourceKind) -> None:
    """No records are taken for partitions that are not ready for them."""
    rig = RIGS[kind]([P0])
    rig.thread.produce(P0, 5)
    await rig.fetch()
    assert rig.thread.positions[P0] == 0


async def test_fetch_across_a_seek_is_discarded(rig: Rig) -> None:
    """A fetch in flight while somebody seeks is thrown away and read again."""
    rig.thread.produce(P0, 30)
    await rig.fetch()
    rig.thread.before_return = rig.seek
    await rig.fetch()
    assert rig.counted() == total(10)
    assert rig.lanes.counters.fetches_discarded == 1
    for _ in range(3):
        await rig.fetch()
    assert rig.counted() == total(30)


async def test_fetch_across_a_restore_is_discarded(rig: Rig) -> None:
    """A fetch of the old position never reaches a state restored meanwhile."""
    rig.thread.produce(P0, 40)
    await rig.fetch()
    await rig.lane().snapshot()
    await rig.fetch()

    async def rebalance() -> None:
        await rig.lanes.on_revoked([P0, P1])
        await rig.own()

    rig.thread.before_return = rebalance
    for _ in range(5):
        await rig.fetch()
    assert rig.counted() == total(40)
    assert rig.lanes.counters.fetches_discarded >= 1


async def test_crash_state_with_old_fetch(rig: Rig) -> None:
    """Even when the state goes BACK during a fetch, nothing is skipped or doubled."""
    rig.thread.produce(P0, 40)
    await rig.fetch()
    await rig.lane().snapshot()
    await rig.fetch()
    assert rig.counted() == total(20)

    async def lose_the_lane() -> None:
        # As after a session timeout: no release, the state falls back to 10.
        rig.lane().close()
        await rig.own()
        assert rig.lane().next_offset == 10

    rig.thread.before_return = lose_the_lane
    for _ in range(5):
        await rig.fetch()
    assert rig.counted() == total(40)


async def test_seek_amid_batches_discards_the_rest(rig: Rig) -> None:
    """A seek while one partition's batch is handled voids the other partition's."""
    rig.thread.produce(P0, 5)
    rig.thread.produce(P1, 5)
    apply = Lane.apply
    seeks: list[asyncio.Future[None]] = []

    async def seek_soon() -> None:
        await rig.seek()

    def apply_and_seek(lane: Lane, records: Sequence[LogRecord]) -> None:
        apply(lane, records)
        if not seeks:
            seeks.append(asyncio.ensure_future(seek_soon()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "apply", apply_and_seek)
        await rig.fetch()
    await seeks[0]
    assert rig.lanes.counters.fetches_discarded == 1
    for _ in range(2):
        await rig.fetch()
    assert (rig.counted(0), rig.counted(1)) == (total(5), total(5))


async def test_only_manifests_are_committed(rig: Rig) -> None:
    """The log is committed up to the last acknowledged manifest, no further."""
    rig.thread.produce(P0, 20)
    await rig.fetch()
    await rig.lane().snapshot()
    await rig.fetch()
    await rig.commit()
    assert {tp: rig.thread.commits[tp] for tp in (P0, P1)} == {P0: 10, P1: 0}


async def test_gap_in_the_log_is_accepted(rig: Rig) -> None:
    """Offsets without records (transaction markers) do not stop the reading."""
    rig.thread.produce(P0, 10)
    await rig.fetch()
    rig.thread.records[P0] += [13, 14]
    for _ in range(3):
        await rig.fetch()
    assert rig.counted() == (12, sum(range(10)) + 27)
    assert rig.lanes.counters.gaps_accepted == 1


async def test_unreadable_record_ends_the_process(rig: Rig) -> None:
    """An error of the core ends the process, naming topic, partition and offset."""

    def fail(records: object) -> None:
        raise ValueError("impossible")

    rig.thread.produce(P0, 3)
    rig.lane().core.apply = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(Halted, match=r"hypercare.events\[0\]@0: .*impossible") as end:
        await rig.fetch()
    assert end.value.code is Exit.HANDLER


async def test_misrouted_records_are_counted(rig: Rig) -> None:
    """Records whose key belongs to another partition are counted."""
    rig.thread.produce(P0, 5)
    rig.thread.produce(P1, 5)
    await rig.fetch()
    assert rig.lanes.counters.misrouted in (5, 10)


async def test_bounds_come_from_the_log(rig: Rig) -> None:
    """Bounds are the log's start and end and the group's commit."""
    rig.thread.produce(P0, 7)
    rig.thread.commits[P0] = 3
    assert await rig.lanes.bounds(0) == Bounds(0, 7, 3)


async def test_revoke_snapshots_and_commits_first(rig: Rig) -> None:
    """When a partition is taken away its state is written and its offset committed
    before it goes."""
    rig.thread.produce(P0, 10)
    await rig.fetch()
    await rig.revoke({P0, P1})
    assert rig.thread.commits[P0] == 10
    assert rig.lane().state is LaneState.CLOSED
    heir = RIGS[rig.kind]([P0], rig.bus)
    heir.thread.produce(P0, 10)
    await heir.own()
    assert heir.counted() == total(10)
    await heir.close()


async def test_failed_fetch_is_tried_again(rig: Rig) -> None:
    """An error that Kafka may get over is logged, and reading goes on."""
    rig.thread.produce(P0, 5)
    rig.thread.failure = NotLeaderForPartitionError()
    await rig.round()
    rig.thread.failure = None
    await rig.fetch()
    assert rig.counted() == total(5)


@pytest.mark.parametrize(
    "failure",
    [RecordTooLargeError("offset 7", {}), CorruptRecordException("offset 7")],
    ids=["large", "corrupt"],
)
async def test_unreadable_fetch_ends_the_process(rig: Rig, failure: Exception) -> None:
    """A record larger than a fetch, behind which the client already stands, or a
    damaged batch ends the process before anything behind it is read."""
    rig.thread.failure = failure
    with pytest.raises(Halted, match="offset 7") as end:
        await rig.round()
    assert end.value.code is Exit.HANDLER


async def test_refused_batch_is_told_before_reading_on(rig: Rig) -> None:
    """A batch of the log that was stepped over has its dead letter before the
    records behind it are applied."""
    rig.thread.produce(P0, 5)
    seen = []

    async def refuse() -> None:
        bounded.REFUSED.append(Refused(LOG, 0, 0, 3, "too large"))

    async def report(refused: list[Refused]) -> None:
        seen.append((refused[0].next, rig.lane().next_offset))

    rig.thread.before_return = refuse
    rig.lanes.on_refused = report  # type: ignore[method-assign]
    await rig.fetch()
    assert (seen, rig.lane().next_offset) == ([(3, 0)], 5)
