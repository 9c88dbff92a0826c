"""The state topic seen from outside: what stands in it, and how to begin anew.

``hypercare state reset`` and ``rebuild`` write one record per partition, an order
(:mod:`streams.history`). It carries an epoch above all others, so whatever was
written before counts no more, and an owner that is still alive ends at its next
write. The next owner begins where the order says; its first snapshot makes the
order void. Nothing is deleted here: the new owner clears up behind its snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from aiokafka.errors import KafkaError

from streams.bus import Bus
from streams.errors import Refused, Unreachable
from streams.fence import Fenced, order
from streams.groups import Group, look_at_group
from streams.history import (
    FROM_START,
    DamagedState,
    History,
    Key,
    Restored,
    total_bytes,
)
from streams.packs import unpack
from streams.ports import Bounds
from streams.settings import Settings
from streams.startpoint import Blind, damaged, starting_point
from streams.statelog import recent
from streams.topics import LOG, STATE, TopicAdmin


class Begin(StrEnum):
    """Where a partition begins anew."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """What the state topic says of one partition, and whether that can be used.

    ``ordered`` is the offset an operator told the next owner to begin at (-1: the
    log's start); ``blind`` is empty, or why a worker would refuse to start.
    """

    partition: int
    epoch: int
    owner: str
    next_offset: int | None
    ordered: int | None
    log_start: int
    log_end: int
    shards: int
    bytes: int
    written_ms: int | None
    blind: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """What was written for one partition."""

    partition: int
    epoch: int
    offset: int


class StateAdmin:
    """Looks at the state topic and orders partitions to begin anew.

    Parameters
    ----------
    bus : Bus
        Connected by :func:`open_admin`.
    partitions : int
        Partitions the log has, as Kafka says.
    """

    def __init__(self, bus: Bus, partitions: int) -> None:
        self._bus = bus
        self.partitions = partitions

    async def group(self) -> Group:
        """Return the workers' group: who is in it, what it has committed."""
        return await look_at_group(self._bus)

    async def survey(self) -> list[PartitionState]:
        """Return what stands in the state topic, partition by partition."""
        committed = (await self.group()).committed
        return [await self._look(n, committed) for n in range(self.partitions)]

    async def begin_anew(
        self, partitions: Collection[int], begin: Begin
    ) -> list[Ordered]:
        """Order partitions to begin at the start or at the present end of the log.

        Raises
        ------
        Refused
            There is no such partition, or a worker kept claiming it.
        """
        unknown = sorted(set(partitions) - set(range(self.partitions)))
        if unknown:
            last = self.partitions - 1
            raise Refused(f"the log has no partition {unknown[0]}: give 0 to {last}")
        return [await self._order(n, begin) for n in sorted(set(partitions))]

    async def _order(self, partition: int, begin: Begin) -> Ordered:
        offset = FROM_START
        if begin is Begin.END:
            _, offset = await self._bus.extent(self._bus.settings.topic(LOG), partition)
        log = self._bus.state_log(partition)
        try:
            epoch = await order(log, offset, self._bus.settings.worker)
        except Fenced as error:
            raise Refused(
                f"partition {partition}: workers kept claiming it: stop them first"
            ) from error
        return Ordered(partition, epoch, offset)

    async def _look(
        self, partition: int, committed: Mapping[tuple[str, int], int]
    ) -> PartitionState:
        topic = self._bus.settings.topic(LOG)
        start, end = await self._bus.extent(topic, partition)
        log = self._bus.state_log(partition)
        history, _, records = await recent(log, await log.end())
        times = {r.key: r.timestamp_ms for r in records if r.timestamp_ms}
        bounds = Bounds(start, end, committed.get((topic, partition)))
        restored, blind = self._judge(history, bounds)
        manifest = restored.manifest if restored else None
        packs = restored.shards if restored else {}
        written = Key("m", manifest.epoch, manifest.seq) if manifest else None
        return PartitionState(
            partition=partition,
            epoch=history.epoch_seen,
            owner=history.owner() or (manifest.worker if manifest else ""),
            next_offset=manifest.next_offset if manifest else None,
            ordered=history.ordered(),
            log_start=start,
            log_end=end,
            shards=len(unpack(packs)),
            bytes=total_bytes(packs),
            written_ms=times.get(written.encode()) if written else None,
            blind=blind,
        )

    def _judge(self, history: History, bounds: Bounds) -> tuple[Restored | None, str]:
        """Return the newest snapshot, and why a worker would refuse it."""
        restored = None
        try:
            restored = history.newest()
            if restored is not None:
                unpack(restored.shards)
            starting_point(
                restored,
                bounds,
                ordered=history.ordered(),
                log_partitions=self.partitions,
                reset=self._bus.settings.state_reset,
            )
        except Blind as error:
            return restored, str(error)
        except DamagedState as error:
            return None, damaged(error)
        return restored, ""


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[StateAdmin]:
    """Connect, and disconnect whatever happens.

    Raises
    ------
    Refused
        The log or the state topic is missing, or they do not fit each other.
    Unreachable
        Kafka does not answer, or stops answering in between.
    """
    counts = await asyncio.get_running_loop().run_in_executor(None, _counts, settings)
    bus = Bus(settings)
    try:
        await bus.start()
        log = _partitions(settings, counts, LOG)
        state = _partitions(settings, counts, STATE)
        if log != state:
            raise Refused(
                f"topic {settings.topic(LOG)} has {log} partitions and "
                f"{settings.topic(STATE)} has {state}: both need the same number "
                "(`hypercare topics check` says more)"
            )
        yield StateAdmin(bus, log)
    except (KafkaError, OSError) as error:
        raise Unreachable(
            f"Kafka at {settings.kafka} does not answer ({error}): set HYPERCARE_KAFKA"
        ) from error
    finally:
        with suppress(KafkaError, OSError):
            await bus.stop()


def _counts(settings: Settings) -> dict[str, int]:
    admin = TopicAdmin(settings)
    try:
        return {name: found.partitions for name, found in admin.existing().items()}
    finally:
        admin.close()


def _partitions(settings: Settings, counts: Mapping[str, int], name: str) -> int:
    topic = settings.topic(name)
    if topic not in counts:
        raise Refused(
            f"topic {topic} does not exist on {settings.kafka}: run `hypercare topics "
            "create` or set HYPERCARE_PREFIX"
        )
    return counts[topic]
