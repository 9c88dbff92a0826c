"""Moves whole fetches of the ingress topics into the log, oldest first.

The consumer puts records in and a task takes them out in runs: while one run waits
for its acknowledgements the next is packed, and it is sent only after them. So there
is never more than one run on its way, a service's events keep their order, and what
may be committed is simply the end of the last run that is acknowledged. What has
been taken is never read again while the partition is held: a seek goes to its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from faust.types import TP

from streams.halt import Exit
from streams.ingress.door import Door
from streams.ingress.merge import Highwater, TimeMerge
from streams.ingress.pack import Packed
from streams.lanes import Halt

logger = logging.getLogger(__name__)

RUN_RECORDS = 10_000
RUN_BYTES = 4 * 1024 * 1024
"""Limits of one run."""

GATHER_RECORDS = 2_000
GATHER_S = 0.05
"""Time in which more may come before a run of fewer records is moved."""

SLICE_RECORDS = 500
SLICE_BYTES = 256 * 1024
"""Limits of what is packed before other tasks of the loop get their turn."""


class Intake:
    """The ingress topics that are read in batches.

    Parameters
    ----------
    door : Door
        Writes to the log.
    halt : callable
        Ends the process: ``halt(code, message, *args)``.
    monotonic_s : callable
        Clock for the patience with silent partitions.
    reads : bool
        False for a process that has no ingress topics.
    """

    def __init__(
        self,
        door: Door,
        *,
        halt: Halt,
        monotonic_s: Callable[[], float],
        reads: bool = True,
    ) -> None:
        self.topics = frozenset(
            name for name, one in door.ingress_of.items() if reads and one.in_batches
        )
        self._door = door
        self._packer = door.packer()
        self._halt = halt
        self._merge = TimeMerge(monotonic_s)
        self._partitions: Callable[[], Iterable[TP]] = tuple
        self._highwater: Highwater = lambda tp: None
        self._taken: dict[TP, int] = {}
        self._done: dict[TP, int] = {}
        self._work: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._given = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._is_closed = False

    def bind(self, partitions: Callable[[], Iterable[TP]], end: Highwater) -> None:
        """Say who knows which partitions are held, and where they end."""
        self._partitions, self._highwater = partitions, end

    # What the source asks.

    @property
    def holds(self) -> bool:
        """Whether records wait, perhaps for those of another partition."""
        return self._merge.holds

    def wants(self, tp: TP) -> bool:
        """Return whether records of the partition may be fetched now."""
        return not self._is_closed and not self._merge.is_full(tp)

    def position(self, tp: TP) -> int | None:
        """Return the offset behind what has been taken; None before the first."""
        return self._taken.get(tp)

    def committable(self, tp: TP) -> int | None:
        """Return the offset below which everything is acknowledged."""
        return self._done.get(tp)

    def asked(self, tps: Iterable[TP]) -> None:
        """Hear which partitions were asked for records."""
        self._merge.asked(tps)

    def on_records(self, tp: TP, records: Sequence[Any]) -> None:
        """Take the records of one partition."""
        if not self._is_closed:
            self._merge.add(tp, records)

    def go_on(self) -> None:
        """Move what may be moved, in a task of its own."""
        if self._is_closed or not self._merge.holds:
            return
        if self._work is None or self._work.done():
            self._work = asyncio.ensure_future(self._live())
        self._given.set()

    def on_seek(self) -> None:
        """Forget what has not been taken: it is read again."""
        self._merge.clear()

    async def on_revoked(self, limit_s: float) -> None:
        """Forget what has not been taken, finish what has, within the limit."""
        self._merge.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._at_rest.wait()
                return
        # Nothing is lost: what is not acknowledged is not committed.
        logger.warning("ingress.release_timed_out: will be moved again")

    def forget(self, tps: Iterable[TP]) -> None:
        """Let partitions go, once what can be committed of them is."""
        for tp in tps:
            self._taken.pop(tp, None)
            self._done.pop(tp, None)

    async def close(self, limit_s: float) -> None:
        """Take nothing more and finish what has been taken, within the limit."""
        self._is_closed = True
        await self.on_revoked(limit_s)

    async def stop(self) -> None:
        """Disconnect; what is still on its way is given up."""
        self._is_closed = True
        tasks = [task for task in (self._work, self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._door.sink.stop()

    # Moving.

    async def _live(self) -> None:
        while True:
            self._given.clear()
            self._release()
            if not len(self._merge):
                await self._settle()
                await self._given.wait()
                continue
            if len(self._merge) < GATHER_RECORDS:
                await asyncio.sleep(GATHER_S)
                self._release()
            run = self._merge.take(RUN_RECORDS, RUN_BYTES)
            if run:
                self._at_rest.clear()
                await self._guarded(partial(self._move, run), run[0])

    def _release(self) -> None:
        self._merge.release(self._partitions(), self._highwater)

    async def _settle(self) -> None:
        """Wait for the run on its way."""
        if self._sending is not None:
            await self._sending
            self._sending = None
        self._at_rest.set()

    async def _move(self, run: list[Any]) -> None:
        """Pack a run, and send it once the one before is acknowledged."""
        ends = {TP(r.topic, r.partition): r.offset + 1 for r in run}
        self._taken.update(ends)
        for part in _slices(run):
            self._packer.add(part)
            await asyncio.sleep(0)
        packed = self._packer.take()
        if self._sending is not None:
            await self._sending
        self._sending = asyncio.ensure_future(
            self._guarded(partial(self._send, packed, ends), run[0])
        )

    async def _send(self, packed: Packed, ends: dict[TP, int]) -> None:
        await self._door.write(packed)
        for tp, end in ends.items():
            self._done[tp] = max(end, self._done.get(tp, 0))

    async def _guarded(
        self, work: Callable[[], Coroutine[Any, Any, None]], first: Any
    ) -> None:
        """Run a part of the work; an error ends the process before any commit."""
        try:
            await work()
        except Exception as error:
            logger.exception("ingress.failed")
            where = f"{first.topic}[{first.partition}]@{first.offset}"
            self._halt(
                *(Exit.HANDLER, "%s: the batch could not be moved: %r"),
                *(where, error),
            )


def _slices(run: list[Any]) -> Iterator[list[Any]]:
    """Cut a run into parts of bounded records and bytes."""
    part: list[Any] = []
    size = 0
    for record in run:
        part.append(record)
        size += len(record.value or b"")
        if len(part) >= SLICE_RECORDS or size >= SLICE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
