"""The batch source: races of fetch and seek, commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from faust.types import TP

from detector.records import LogRecord
from streams.halt import Exit
from streams.lane import Lane
from streams.ports import Bounds
from streams.source import BatchConsumer, BatchTransport
from tests.unit.streams.rig import LOG, USAGE, Halted, MemoryBus, Rig

P0, P1, AGENT = TP(LOG, 0), TP(LOG, 1), TP(USAGE, 0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig([P0, P1, AGENT])
    await made.own()
    yield made
    await made.close()


def total(stop: int) -> tuple[int, int]:
    return stop, sum(range(stop))


async def test_app_uses_the_batch_consumer(rig: Rig) -> None:
    """The application's transport and consumer are ours."""
    assert isinstance(rig.app.transport, BatchTransport)
    assert isinstance(rig.app.consumer, BatchConsumer)


async def test_batches_go_to_lanes(rig: Rig) -> None:
    """Records of the log go to their lanes, others to the agents."""
    for tp in (P0, P1, AGENT):
        rig.thread.produce(tp, 5)
    await rig.fetch()
    assert (rig.counted(0), rig.counted(1)) == (total(5), total(5))
    assert rig.messages == [(AGENT, n) for n in range(5)]


async def test_restoring_lanes_are_not_fetched() -> None:
    """No records are taken for partitions that are not ready for them."""
    rig = Rig([P0, AGENT])
    rig.thread.produce(P0, 5)
    await rig.fetch()
    assert (rig.thread.fetched, rig.thread.positions[P0]) == ([{AGENT}], 0)


async def test_nothing_fetchable_fetches_nothing() -> None:
    """With no fetchable partition no fetch is made: empty would mean all."""
    rig = Rig([P0])
    await rig.fetch()
    assert rig.thread.fetched == []


async def test_fetch_across_a_seek_is_discarded(rig: Rig) -> None:
    """A fetch in flight while Faust seeks is thrown away and read again."""
    rig.thread.produce(P0, 30)
    await rig.fetch()
    rig.thread.before_return = rig.consumer.perform_seek
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


async def test_seek_during_restore_keeps_position() -> None:
    """Faust's seek to the commit in the middle of a restore does not win."""
    bus = MemoryBus()
    first = Rig([P0], bus)
    await first.own()
    first.thread.produce(P0, 30)
    for _ in range(3):
        await first.fetch()
    await first.lane().snapshot()
    await first.close()
    heir = Rig([P0], bus)
    heir.thread.produce(P0, 50)
    heir.thread.commits[P0] = 20

    async def faust_seeks(writes: object) -> None:
        await heir.consumer.perform_seek()
        assert heir.thread.positions[P0] == 20

    task = asyncio.ensure_future(heir.own())
    while 0 not in bus.logs or heir.lanes.lanes == {}:
        await asyncio.sleep(0)
    bus.logs[0].before = faust_seeks
    await task
    await heir.consumer.perform_seek()
    for _ in range(3):
        await heir.fetch()
    assert heir.counted() == total(50)
    await heir.close()


async def test_agents_lose_no_first_fetch(rig: Rig) -> None:
    """A thrown-away fetch of a topic without any commit is read again."""
    rig.thread.produce(AGENT, 10)
    rig.thread.before_return = rig.consumer.perform_seek
    await rig.fetch()
    assert rig.messages == []
    await rig.fetch()
    assert rig.messages == [(AGENT, n) for n in range(10)]


async def test_seek_amid_batches_discards_the_rest(rig: Rig) -> None:
    """A seek while one partition's batch is handled voids the other partition's."""
    rig.thread.produce(P0, 5)
    rig.thread.produce(P1, 5)
    apply = Lane.apply
    seeks: list[asyncio.Future[None]] = []

    async def seek_soon() -> None:
        await rig.consumer.perform_seek()

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


async def test_seek_stops_the_rest_of_a_fetch(rig: Rig) -> None:
    """Messages of a fetch that are yielded one by one end at a seek."""
    rig.thread.produce(AGENT, 6)
    seen = []
    async for _, message in rig.consumer.getmany(timeout=0.01):
        seen.append(message.offset)
        if message.offset == 2:
            await rig.consumer.perform_seek()
    assert seen == [0, 1, 2]


async def test_stopped_flow_hands_nothing_over(rig: Rig) -> None:
    """A fetch that returns after the flow was stopped is undone."""
    rig.thread.produce(P0, 10)

    async def stop() -> None:
        rig.consumer.stop_flow()

    rig.thread.before_return = stop
    await rig.fetch()
    assert (rig.counted(), rig.thread.positions[P0]) == (total(0), 0)


async def test_only_manifests_are_committed(rig: Rig) -> None:
    """Faust commits the log up to the last acknowledged manifest, no further."""
    rig.thread.produce(P0, 20)
    await rig.fetch()
    await rig.lane().snapshot()
    await rig.fetch()
    offsets = rig.consumer._filter_committable_offsets(
        rig.consumer._filter_tps_with_pending_acks()
    )
    assert offsets == {P0: 10, P1: 0}


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


async def test_batch_topics_are_not_called_stuck(rig: Rig) -> None:
    """Faust's detector of stuck streams leaves batch partitions alone."""
    rig.consumer.verify_event_path(0.0, P0)


async def test_sought_leader_does_not_end_a_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without a position, as after the loss of a broker, is no error:
    Faust's detector asserts that there is one, and would end the worker."""

    def unknown(now: float, tp: TP) -> None:
        raise AssertionError

    monkeypatch.setattr(rig.thread, "verify_event_path", unknown, raising=False)
    rig.consumer.verify_event_path(0.0, AGENT)
