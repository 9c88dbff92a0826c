"""A group member that reads the log, in a thread of its own.

aiokafka's documented interface and nothing else. The thread keeps its heartbeats
going while the main loop counts; every call comes from the main loop, and rebalances
are told to the main loop and wait for its answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.types import TP

from streams.connection import aiokafka_options
from streams.fetching import FETCH_WAIT_MS
from streams.membership import (
    FETCH_BYTES,
    FETCH_RECORDS,
    POLL_INTERVAL_S,
    heartbeat_s,
    join_s,
)
from streams.patience import wait_briefly
from streams.settings import Settings

T = TypeVar("T")
Listen = Callable[[set[TP]], Awaitable[None]]

NOTHING = -1
"""No partition has this number: who asks for it gets errors and no records."""


def log_options(settings: Settings) -> dict[str, Any]:
    """Options of the log's consumer, the same as Faust's has."""
    return {
        **aiokafka_options(settings, "log"),
        "group_id": settings.group,
        # Faust's, too: a group has one way to share, or members are refused.
        "partition_assignment_strategy": [RoundRobinPartitionAssignor],
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_poll_records": FETCH_RECORDS,
        "max_poll_interval_ms": POLL_INTERVAL_S * 1000,
        "max_partition_fetch_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "session_timeout_ms": int(settings.session_timeout_s * 1000),
        "heartbeat_interval_ms": int(heartbeat_s(settings) * 1000),
        "rebalance_timeout_ms": 60_000,
        "request_timeout_ms": int(join_s(settings) * 1000),
    }


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Takes rebalances from the client's thread to the main loop, and waits."""

    def __init__(self, revoked: Listen, assigned: Listen) -> None:
        self._main = asyncio.get_running_loop()
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._tell(self._revoked, revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._tell(self._assigned, assigned)

    async def _tell(self, listen: Listen, parts: Iterable[TopicPartition]) -> None:
        async def run() -> None:
            await listen({TP(*part) for part in parts})

        told = asyncio.run_coroutine_threadsafe(run(), self._main)
        await asyncio.wrap_future(told)


class LogClient:
    """Reads one topic as a member of the group.

    Parameters
    ----------
    settings : Settings
        The worker's settings.
    topic : str
        The log.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._nothing = TopicPartition(topic, NOTHING)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._ending: asyncio.Event
        self._consumer: AIOKafkaConsumer

    async def start(self, revoked: Listen, assigned: Listen) -> None:
        """Connect and begin to join the group; raises what the client raises."""
        self._thread.start()
        await asyncio.wrap_future(self._ready)
        await self._call(self._open(_Listener(revoked, assigned)))

    async def stop(self) -> None:
        """Leave the group and end the thread."""
        if not self._thread.is_alive():
            return
        try:
            await self._call(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._ending.set)
            main = asyncio.get_running_loop()
            await main.run_in_executor(None, self._thread.join)

    async def getmany(self, active: set[TP], timeout: float) -> dict[TP, list[Any]]:
        """Return records of some partitions; of none, only the group's errors."""
        parts = [TopicPartition(*tp) for tp in active] or [self._nothing]
        wait_ms = int(timeout * 1000) if active else 0
        found = await self._call(self._consumer.getmany(*parts, timeout_ms=wait_ms))
        return {TP(*part): records for part, records in found.items()}

    async def seek_wait(self, positions: Mapping[TP, int]) -> None:
        """Stand at offsets; records of other positions are dropped."""
        await self._call(self._seek(positions))

    async def commit(self, offsets: Mapping[TP, int]) -> None:
        """Commit offsets of the group."""
        parts = {TopicPartition(*tp): offset for tp, offset in offsets.items()}
        await self._call(self._consumer.commit(parts))

    async def committed(self, tp: TP) -> int | None:
        """Return the offset the group has committed of a partition."""
        offset = await self._call(self._consumer.committed(TopicPartition(*tp)))
        return None if offset is None else int(offset)

    def assignment(self) -> set[TP]:
        """Return the partitions of this member."""
        return {TP(*part) for part in self._consumer.assignment()}

    def highwater(self, tp: TP) -> int | None:
        """Return the end of a partition as of the last fetch."""
        try:
            end = self._consumer.highwater(TopicPartition(*tp))
        except AssertionError:  # not ours any more
            return None
        return None if end is None else int(end)

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic, once it is known."""
        known = self._consumer.partitions_for_topic(topic)
        return len(known) if known else None

    # In the thread.

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._consumer = AIOKafkaConsumer(**log_options(self._settings))
        wait_briefly(self._consumer._client, self._settings.io_timeout_s)
        self._ready.set_result(None)
        await self._ending.wait()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(work, self._loop)
        )

    async def _open(self, listener: _Listener) -> None:
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=listener)

    async def _close(self) -> None:
        async with asyncio.timeout(self._settings.io_timeout_s):
            await self._consumer.stop()

    async def _seek(self, positions: Mapping[TP, int]) -> None:
        for tp, offset in positions.items():
            self._consumer.seek(TopicPartition(*tp), offset)
