"""One partition from assignment to revocation, with crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from detector.records import Output
from streams.fence import Fence, Fenced
from streams.lane import OUTPUTS_MAX, Lane, LaneConfig
from streams.outbox import Outbox
from streams.ports import Bounds, CoreFactory
from streams.progress import Counters, LaneState
from streams.settings import StateReset
from streams.statelog import Write
from tests.integration.workers import OUTPUT_EVERY, CountingCores, CountingPartition
from tests.unit.streams.memory import (
    MemoryEmitter,
    MemoryLog,
    MemoryPartition,
    MemoryStateLog,
    records,
)


class World:
    """What workers share: the state partition, the log, the output topics."""

    def __init__(self) -> None:
        self.partition = MemoryPartition()
        self.log = MemoryLog(Bounds(0, 1_000_000, None))
        self.emitter = MemoryEmitter()
        self.counters = Counters()
        self.now_s = 0.0
        self.cores: CoreFactory = CountingCores()

    def lane(
        self,
        *,
        reset: StateReset = StateReset.NO,
        log_partitions: int = 4,
        emitter: MemoryEmitter | None = None,
    ) -> Lane:
        """Return the lane of a new worker."""
        state_log = MemoryStateLog(self.partition)
        config = LaneConfig(
            cores=self.cores,
            log=self.log,
            emitter=emitter or self.emitter,
            counters=self.counters,
            monotonic_s=lambda: self.now_s,
            log_partitions=log_partitions,
            state_reset=reset,
            topic="hypercare.events",
        )
        return Lane(
            0,
            Fence(state_log, worker="w", log_partitions=log_partitions),
            config,
        )

    async def ready(self) -> Lane:
        """Return the lane of a new worker after its restore."""
        lane = self.lane()
        await lane.restore()
        assert lane.state is LaneState.READY, lane.reason
        return lane


def count(lane: Lane) -> int:
    assert isinstance(lane.core, CountingPartition)
    return lane.core.counts.total()


def state_log_of(lane: Lane) -> MemoryStateLog:
    log = lane._fence._log
    assert isinstance(log, MemoryStateLog)
    return log


async def test_fresh_partition_starts_at_log_start() -> None:
    """Without state and without a commit reading begins where the log begins."""
    world = World()
    world.log.held = Bounds(40, 100, None)
    lane = await world.ready()
    assert (lane.next_offset, world.log.seeks) == (40, [40])


async def test_heir_goes_on_exactly() -> None:
    """State and offset of the heir are those of the last snapshot, not the commit."""
    world = World()
    first = await world.ready()
    first.apply(records(0, 30))
    assert await first.snapshot()
    first.apply(records(30, 50))
    world.log.held = Bounds(0, 100, 10)
    heir = await world.ready()
    assert (heir.next_offset, count(heir), world.log.seeks[-1]) == (30, 30, 30)


async def test_commit_follows_the_manifest() -> None:
    """Nothing may be committed before a manifest, and then only what it holds."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    assert lane.committable is None
    await lane.snapshot()
    lane.apply(records(30, 60))
    assert lane.committable == 30


async def test_repeated_records_are_dropped() -> None:
    """Records below the next offset are not counted again."""
    lane = await World().ready()
    lane.apply(records(0, 30))
    lane.apply(records(10, 40))
    assert (count(lane), lane.next_offset) == (40, 40)


async def test_crash_after_shards_repeats_nothing() -> None:
    """A crash between shards and manifest: the heir starts from the one before."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    await lane.snapshot()
    lane.apply(records(30, 99))
    state_log_of(lane).lost_after = 1
    assert not await lane.snapshot()
    heir = await world.ready()
    heir.apply(records(30, 99))
    assert count(heir) == 99


async def test_crash_before_outputs_sends_them() -> None:
    """A crash between manifest and outputs: the heir sends them, same ids."""
    world = World()
    lost = MemoryEmitter()
    lost.failing = True
    lane = world.lane(emitter=lost)
    await lane.restore()
    lane.apply(records(0, 2 * OUTPUT_EVERY))
    assert not await lane.snapshot()
    heir = await world.ready()
    await heir.snapshot()
    assert world.emitter.ids == ["shop-100", "shop-200"]


async def test_crash_before_commit_repeats_same_ids() -> None:
    """A crash after the outputs: the heir may send them again, never others."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 2 * OUTPUT_EVERY))
    await lane.snapshot()
    heir = await world.ready()
    await heir.snapshot()
    assert world.emitter.ids == ["shop-100", "shop-200"] * 2
    assert world.emitter.sent[:2] == world.emitter.sent[2:]


async def test_outputs_wait_for_the_manifest() -> None:
    """No output leaves before the manifest that holds it is acknowledged."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, OUTPUT_EVERY))
    log = state_log_of(lane)
    seen: list[int] = []

    async def look(writes: Sequence[Write]) -> None:
        seen.append(len(world.emitter.sent))
        log.before = look

    log.before = look
    await lane.snapshot()
    # Shards and manifest came before the output, cleaning after it.
    assert seen[:2] == [0, 0]
    assert len(world.emitter.sent) == 1


async def test_sent_outputs_leave_the_snapshot() -> None:
    """Outputs that Kafka has are not part of the next snapshot."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, OUTPUT_EVERY))
    await lane.snapshot()
    await lane.snapshot()
    heir = await world.ready()
    await heir.snapshot()
    assert world.emitter.ids == ["shop-100"]


async def test_records_during_a_snapshot_are_next() -> None:
    """What is applied while a snapshot waits belongs to the next one."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, OUTPUT_EVERY))

    async def apply_more(writes: Sequence[Write]) -> None:
        lane.apply(records(OUTPUT_EVERY, 2 * OUTPUT_EVERY))

    state_log_of(lane).before = apply_more
    await lane.snapshot()
    assert (lane.committable, world.emitter.ids) == (100, ["shop-100"])
    heir = await world.ready()
    assert count(heir) == 100


async def test_rebalance_in_mid_snapshot() -> None:
    """A release waits for the snapshot under way and writes the rest after it."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 10))
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(writes: Sequence[Write]) -> None:
        lane.apply(records(10, 25))
        held.set()
        await go_on.wait()

    state_log_of(lane).before = hold
    snapshot = asyncio.ensure_future(lane.snapshot())
    await held.wait()
    release = asyncio.ensure_future(lane.release())
    await asyncio.sleep(0)
    assert lane.state is LaneState.RELEASING
    go_on.set()
    await asyncio.gather(snapshot, release)
    assert (lane.committable, lane.state) == (25, LaneState.CLOSED)
    assert count(await world.ready()) == 25


async def test_zombie_emits_and_commits_nothing() -> None:
    """A worker that wakes up behind a higher claim writes, and that is all."""
    world = World()
    zombie = await world.ready()
    zombie.apply(records(0, 30))
    await zombie.snapshot()
    zombie.apply(records(30, 2 * OUTPUT_EVERY))
    heir = await world.ready()
    with pytest.raises(Fenced):
        await zombie.snapshot()
    assert zombie.state is LaneState.FENCED
    assert (zombie.committable, world.emitter.sent) == (30, [])
    heir.apply(records(30, 2 * OUTPUT_EVERY))
    await heir.snapshot()
    assert (count(heir), world.emitter.ids) == (200, ["shop-100", "shop-200"])


async def test_claim_between_manifest_and_outputs() -> None:
    """An heir that comes before the outputs left sends the very same ones."""
    world = World()
    zombie = await world.ready()
    zombie.apply(records(0, OUTPUT_EVERY))
    heir = world.lane()

    async def heir_first() -> None:
        await heir.restore()
        await heir.snapshot()

    world.emitter.before = heir_first
    await zombie.snapshot()
    assert world.emitter.ids == ["shop-100", "shop-100"]
    assert world.emitter.sent[0] == world.emitter.sent[1]
    with pytest.raises(Fenced):
        await zombie.snapshot()


async def test_stopped_before_sending_sends_nothing() -> None:
    """A worker stopped between manifest and outputs, and replaced, stays silent."""
    world = World()
    zombie = await world.ready()
    zombie.apply(records(0, OUTPUT_EVERY))
    world.emitter.failing = True
    await zombie.snapshot()
    world.emitter.failing = False
    world.now_s += 20
    heir = await world.ready()
    await heir.snapshot()
    assert world.emitter.ids == ["shop-100"]
    with pytest.raises(Fenced):
        await zombie.snapshot()
    assert world.emitter.ids == ["shop-100"]


async def test_idle_zombie_learns_at_release() -> None:
    """A worker without changes that was replaced ends fenced when revoked."""
    world = World()
    idle = await world.ready()
    while idle.is_dirty:
        await idle.snapshot()
    await world.ready()
    with pytest.raises(Fenced):
        await idle.release()


async def test_revoked_restore_stays_silent() -> None:
    """A lane that is closed while it restores does not become ready."""
    world = World()
    lane = world.lane()

    async def revoke(writes: Sequence[Write]) -> None:
        lane.close()

    state_log_of(lane).before = revoke
    await lane.restore()
    assert (lane.state, world.log.seeks) == (LaneState.CLOSED, [])


async def test_revoked_during_seek_stays_silent() -> None:
    """A lane that is closed while it seeks does not become ready."""
    world = World()
    lane = world.lane()

    async def revoke() -> None:
        lane.close()

    world.log.before_seek = revoke
    await lane.restore()
    assert lane.state is LaneState.CLOSED


async def test_gap_is_fetched_again_first() -> None:
    """A batch that begins too high is refused once and sought again; if the hole
    stands, and the log reaches back, it is real."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 10))
    assert not await lane.accepts(15)
    assert world.log.seeks[-1] == 10
    assert await lane.accepts(15)
    assert world.counters.gaps_accepted == 1


async def test_old_fetch_is_not_a_gap() -> None:
    """A left-over of another position is refused, the right batch then taken."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 10))
    assert not await lane.accepts(500)
    assert await lane.accepts(10)
    assert world.counters.gaps_accepted == 0


async def test_retention_ahead_of_us_blinds() -> None:
    """Records deleted before they were read are not skipped silently."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 10))
    await lane.accepts(50)
    world.log.held = Bounds(50, 100, None)
    assert not await lane.accepts(50)
    assert lane.state is LaneState.BLIND
    assert "hypercare state reset" in lane.reason


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(31, 90, 30), "retention deleted records"),
        (Bounds(0, 29, None), "created anew"),
    ],
    ids=["retention", "recreated"],
)
async def test_impossible_log_blinds(bounds: Bounds, words: str) -> None:
    """A log that can not be continued at the state's offset is refused."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 30))
    await lane.snapshot()
    world.log.held = bounds
    heir = world.lane()
    await heir.restore()
    assert heir.state is LaneState.BLIND
    assert words in heir.reason
    assert not heir.wants_records


async def test_lost_state_topic_blinds() -> None:
    """A committed offset without any snapshot is not a fresh start."""
    world = World()
    world.log.held = Bounds(0, 90, 30)
    lane = world.lane()
    await lane.restore()
    assert lane.state is LaneState.BLIND
    assert "HYPERCARE_STATE_RESET=rebuild" in lane.reason


@pytest.mark.parametrize(
    ("reset", "offset"), [(StateReset.REBUILD, 5), (StateReset.SKIP, 90)]
)
async def test_reset_starts_where_told(reset: StateReset, offset: int) -> None:
    """Rebuild begins at the start of the log, skip at its end."""
    world = World()
    world.log.held = Bounds(5, 90, 30)
    lane = world.lane(reset=reset)
    await lane.restore()
    assert (lane.state, lane.next_offset) == (LaneState.READY, offset)


async def test_other_partition_count_blinds() -> None:
    """State written for another number of partitions is refused with the way out."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 3))
    await lane.snapshot()
    heir = world.lane(log_partitions=8)
    await heir.restore()
    assert heir.state is LaneState.BLIND
    assert "4 partitions, now it has 8" in heir.reason


async def test_full_outbox_stops_reading() -> None:
    """Outputs that can not leave stop the reading instead of filling the memory."""
    world = World()
    world.emitter.failing = True
    lane = await world.ready()
    lane.outbox.add([_output(n) for n in range(OUTPUTS_MAX)])
    assert not lane.wants_records
    await lane.snapshot()
    world.emitter.failing = False
    await lane.snapshot()
    assert lane.wants_records


async def test_outage_is_survived() -> None:
    """Snapshots that fail are tried again and lose nothing."""
    world = World()
    lane = await world.ready()
    for start in range(0, 50, 10):
        lane.apply(records(start, start + 10))
        state_log_of(lane).lost_after = start % 3
        assert not await lane.snapshot()
    assert world.counters.snapshots_failed == 5
    assert await lane.snapshot()
    assert count(await world.ready()) == 50


async def test_failed_snapshot_stays_due() -> None:
    """A snapshot that only takes sent outputs out is tried again after a failure."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, OUTPUT_EVERY))
    await lane.snapshot()
    state_log_of(lane).lost_after = 0
    assert not await lane.snapshot()
    assert lane.is_dirty
    assert await lane.snapshot()
    heir = await world.ready()
    assert len(heir.outbox) == 0


async def test_progress_tells_the_truth() -> None:
    """Progress shows state, epoch, offsets, ages and sizes."""
    world = World()
    lane = await world.ready()
    lane.apply(records(0, 10))
    world.now_s = 3.0
    before = lane.progress()
    await lane.snapshot()
    world.now_s = 5.0
    after = lane.progress()
    assert (before.idle_s, before.snapshot_age_s) == (3.0, None)
    assert (after.state, after.epoch, after.next_offset) == (LaneState.READY, 1, 10)
    assert (after.saved, after.snapshot_age_s) == (10, 2.0)
    assert after.snapshot_bytes > 0


def test_unknown_output_topic_is_refused() -> None:
    """An output for a topic nobody publishes is an error, not a lost output."""
    outbox = Outbox()
    with pytest.raises(ValueError, match="no destination"):
        outbox.add([_output(1, topic="nowhere")])


def _output(number: int, topic: str = "verdicts") -> Output:
    return Output(topic, "k", b"v", str(number))
