"""One assigned partition: its state, how far it has read, when it may speak.

A lane goes ``restoring -> ready -> releasing -> closed``; ``blind`` when starting
would mean to guess, ``fenced`` when somebody else owns the partition. It knows
neither Faust nor Kafka: the log's bounds, the state log and the emitter come in as
small interfaces. Only ``ready`` lanes are fed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detector.records import LogRecord
from streams.fence import Fence, Fenced, Frozen
from streams.history import DamagedState, Restored
from streams.outbox import SHARD, Emitter, Outbox
from streams.packs import Packs, unpack
from streams.ports import CoreFactory, LogPort, PartitionCore
from streams.progress import Counters, LaneProgress, LaneState
from streams.settings import StateReset
from streams.startpoint import Blind, damaged, recreated, starting_point

logger = logging.getLogger(__name__)

TRANSIENT = (TimeoutError, ConnectionError, OSError)
"""Errors after which a snapshot is tried again; an adapter maps its own to these."""

OUTPUTS_MAX = 10_000
"""Outputs that may wait: beyond, the lane reads no further until they can leave."""

VERIFY_AFTER_S = 2.0
"""Age of a manifest from which on ownership is checked again before sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneConfig:
    """What all lanes of a worker have in common."""

    cores: CoreFactory
    log: LogPort
    emitter: Emitter
    counters: Counters
    monotonic_s: Callable[[], float]
    log_partitions: int
    state_reset: StateReset
    topic: str


class Lane:
    """The life of one partition in this worker.

    Parameters
    ----------
    partition : int
        Number of the partition, the same in the log and in the state topic.
    fence : Fence
        Its ownership and snapshots.
    config : LaneConfig
        What it shares with the other lanes.
    """

    def __init__(self, partition: int, fence: Fence, config: LaneConfig) -> None:
        self.partition = partition
        self.state = LaneState.RESTORING
        self.reason = ""
        self.core: PartitionCore = config.cores.new(partition)
        self.outbox = Outbox()
        self.committable: int | None = None
        self.highwater: int | None = None
        self.applied_ms: int | None = None
        self._fence = fence
        self._config = config
        self._packs = Packs()
        self._snapshot_lock = asyncio.Lock()
        self._written_offset = -1
        self._saved: int | None = None
        self._progress_s = config.monotonic_s()
        self._snapshot_s: float | None = None
        self._suspect: int | None = None
        self._held_back = ""

    @property
    def next_offset(self) -> int:
        """Offset of the next record to apply; it moves in step with the state."""
        return self.core.next_offset

    @property
    def is_ready(self) -> bool:
        """Whether the lane may apply what it is given."""
        return self.state is LaneState.READY

    @property
    def wants_records(self) -> bool:
        """Whether records should be fetched for the lane."""
        return self.is_ready and len(self.outbox) < OUTPUTS_MAX

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that no acknowledged manifest holds."""
        return self.next_offset != self._written_offset or self.outbox.is_dirty

    # Restore.

    async def restore(self) -> None:
        """Claim the partition, take its newest state, stand at its next offset.

        Ends in ``ready``, in ``blind`` with a reason, or raises ``Fenced``.
        """
        try:
            restored = await self._fence.claim()
            bounds = await self._config.log.bounds(self.partition)
            start = starting_point(
                restored,
                bounds,
                ordered=self._fence.ordered,
                log_partitions=self._config.log_partitions,
                reset=self._config.state_reset,
            )
        except Blind as error:
            self._go_blind(str(error))
            return
        except DamagedState as error:
            self._go_blind(damaged(error))
            return
        except Fenced:
            self.state = LaneState.FENCED
            raise
        if self.state is not LaneState.RESTORING:
            return
        try:
            self._take(restored, start)
        except DamagedState as error:
            self._go_blind(str(error))
            return
        await self._config.log.seek(self.partition, start)
        if self.state is LaneState.RESTORING:
            self._progress_s = self._config.monotonic_s()
            # What came meanwhile is told by the first fetch.
            self.highwater = bounds.end
            self.state = LaneState.READY
            logger.info(
                "lane.ready topic=%s partition=%d epoch=%d next_offset=%d",
                *(self._config.topic, self.partition, self._fence.epoch, start),
            )

    def _take(self, restored: Restored | None, start: int) -> None:
        if restored is None:
            self.core = self._config.cores.new(self.partition)
            self.core.next_offset = start
            return
        shards = unpack(restored.shards)
        self.outbox = Outbox.decode(shards.pop(SHARD)) if SHARD in shards else Outbox()
        self.core = self._config.cores.restore(self.partition, shards, start)
        self.committable = self._saved = start
        self._written_offset = start

    def _go_blind(self, reason: str) -> None:
        self.state, self.reason = LaneState.BLIND, reason
        logger.error(
            "lane.blind topic=%s partition=%d: %s",
            *(self._config.topic, self.partition, reason),
        )

    # Records.

    def apply(self, records: Sequence[LogRecord]) -> None:
        """Apply records and keep what they produce; one synchronous step."""
        self.outbox.add(self.core.apply(records).records)
        self._config.counters.records_in += len(records)
        self.applied_ms = records[-1].timestamp_ms
        self._progress_s = self._config.monotonic_s()
        self._suspect = None

    async def accepts(self, first_offset: int) -> bool:
        """Return whether a batch that begins here may be applied.

        A batch that begins above ``next_offset`` is either a left-over of a fetch
        from another position or stands behind offsets that hold no record
        (transaction markers, compaction). So it is fetched again from our own
        position; if it begins there again and the log still reaches back to that
        position, the hole is real.
        """
        wanted = self.next_offset
        if first_offset == wanted:
            return True
        if first_offset < wanted:
            return await self._reaches_us(wanted)
        if self._suspect != wanted:
            self._suspect = wanted
            await self._config.log.seek(self.partition, wanted)
            return False
        bounds = await self._config.log.bounds(self.partition)
        if bounds.start > wanted:
            self._go_blind(
                f"the log begins at offset {bounds.start}, this partition has read up "
                f"to {wanted}: retention was faster than we. Stop the workers and run "
                "`hypercare state rebuild` to read what is left, or `hypercare state "
                "reset` to begin at the log's end"
            )
            return False
        self._config.counters.gaps_accepted += 1
        return self.is_ready

    async def _reaches_us(self, wanted: int) -> bool:
        """Return whether the log still has the offset we are at.

        Kafka's client goes to the start by itself where a topic was created anew;
        what it then returns looks like records that are known already.
        """
        bounds = await self._config.log.bounds(self.partition)
        if bounds.end < wanted:
            self._go_blind(recreated(bounds.end, wanted))
            return False
        return self.is_ready

    async def reseek(self) -> None:
        """Stand at our own next offset again, after a fetch was thrown away."""
        await self._config.log.seek(self.partition, self.next_offset)

    # Snapshots.

    async def snapshot(self) -> bool:
        """Write what has changed, then let the outputs go. ``False``: try again.

        One at a time. The encoding is synchronous, the waiting is not: records are
        applied meanwhile and belong to the next snapshot.
        """
        async with self._snapshot_lock:
            if self.state not in (LaneState.READY, LaneState.RELEASING):
                return False
            try:
                if self.is_dirty:
                    await self._write()
                left = await self._send()
                await self._fence.clean()
            except Fenced:
                self.state = LaneState.FENCED
                raise
            except TRANSIENT as error:
                self._config.counters.snapshots_failed += 1
                logger.warning(
                    "lane.snapshot_failed partition=%d error=%r", self.partition, error
                )
                return False
            return left

    async def _write(self) -> None:
        frozen, outputs = self._freeze()
        saved = self.next_offset
        try:
            await self._fence.write(frozen)
        except BaseException:
            # Unknown outcome: the shards were marked clean and may be nowhere.
            self._written_offset = -1
            self.outbox.is_dirty = True
            raise
        self.outbox.mark_durable(outputs)
        self.committable = self._written_offset = frozen.next_offset
        self._saved = saved
        self._config.counters.snapshots += 1
        self._snapshot_s = self._config.monotonic_s()

    def _freeze(self) -> tuple[Frozen, int]:
        """Encode state and outbox as they are at one offset."""
        whole = self._fence.must_write_whole
        due = set() if whole else self._packs.due()
        # Who takes over from a worker that ends in peace has nothing to read again.
        is_last = self.state is LaneState.RELEASING
        shards: dict[str, bytes | None] = (
            dict(self.core.all_shards())
            if whole
            else self.core.dirty_shards(due, everything=is_last)
        )
        self.core.mark_clean()
        if whole or self.outbox.is_dirty or SHARD in due:
            shards[SHARD] = self.outbox.encode()
            self.outbox.is_dirty = False
        packs = self._packs.pack(shards, whole=whole, due=due)
        return Frozen(self.core.resume_offset, packs, whole), len(self.outbox)

    async def _send(self) -> bool:
        """Send what is durable, after another look at the fence if time has passed.

        ``False``: a topic did not take it; it stays, and is sent again.

        A worker that was stopped after its manifest would otherwise put an old
        verdict on top of its heir's newer one in a compacted topic.
        """
        age_s = self._config.monotonic_s() - (self._snapshot_s or -VERIFY_AFTER_S)
        if self.outbox.durable and age_s >= VERIFY_AFTER_S:
            await self._fence.verify()
        try:
            sent = await self.outbox.send(self._config.emitter)
        except TRANSIENT as error:
            self._held_back = str(error) or repr(error)
            logger.warning("lane.outputs_held_back %s", self._held_back)
            return False
        self._held_back = ""
        self._config.counters.outputs_sent += sent
        return True

    # The end.

    async def release(self) -> None:
        """Take no more records, write the last snapshot, give the partition back."""
        if self.state is LaneState.READY:
            self.state = LaneState.RELEASING
            if self.is_dirty or self.outbox.durable:
                await self.snapshot()
            else:
                await self._verify()
        self.close()

    async def _verify(self) -> None:
        try:
            await self._fence.verify()
        except Fenced:
            self.state = LaneState.FENCED
            raise
        except TRANSIENT as error:
            logger.warning("lane.verify_failed partition=%d %r", self.partition, error)

    def close(self) -> None:
        """Have nothing to do with the partition any more."""
        if self.state is not LaneState.FENCED:
            self.state = LaneState.CLOSED

    def progress(self) -> LaneProgress:
        """Return where the partition stands now."""
        now_s = self._config.monotonic_s()
        age_s = None if self._snapshot_s is None else now_s - self._snapshot_s
        return LaneProgress(
            partition=self.partition,
            state=self.state,
            epoch=self._fence.epoch,
            next_offset=self.next_offset,
            highwater=self.highwater,
            saved=self._saved,
            idle_s=now_s - self._progress_s,
            snapshot_age_s=age_s,
            snapshot_bytes=self._fence.snapshot_bytes,
            outputs_pending=len(self.outbox),
            reason=self.reason,
            held_back=self._held_back,
        )
