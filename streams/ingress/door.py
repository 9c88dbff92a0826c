"""The one way into the log: packed, dead letters first, until it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from detector.reasons import Reason
from detector.records import Output
from streams.ingress.codecs import CODECS
from streams.ingress.pack import Message, Packed, Packer
from streams.ingress.parting import Record, halves, letter_of
from streams.ingress.sink import TooLargeError
from streams.progress import Counted, Counters
from streams.refusals import CODEC
from streams.settings import Settings
from streams.topics import LOG

logger = logging.getLogger(__name__)

RETRY_S = 1.0
ATTEMPTS_MAX = 30
"""Tries before the process ends: about as long as a broker takes to come back."""


class Sink(Protocol):
    """Takes records; returns when all are acknowledged."""

    async def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Write records to the log, by key."""

    async def dead(self, outputs: Sequence[Output]) -> None:
        """Write dead letters."""

    async def stop(self) -> None:
        """Disconnect."""


class Door:
    """Moves batches of ingress messages into the log.

    Parameters
    ----------
    settings : Settings
        Names.
    identity_key : bytes
        With what users and sessions are hashed.
    sink : Sink
        Where records go.
    counters : Counters
        What is counted.
    """

    def __init__(
        self,
        settings: Settings,
        identity_key: bytes,
        sink: Sink,
        counters: Counters,
    ) -> None:
        self._log = settings.topic(LOG)
        self.ingress_of = {settings.topic(name): one for name, one in CODECS.items()}
        self.sink = sink
        self._identity_key = identity_key
        self._counters = counters

    def packer(self) -> Packer:
        """Return what packs messages for this door; one for each who moves any."""
        return Packer(self.ingress_of, self._identity_key)

    async def write(self, packed: Packed) -> None:
        """Write what was packed and return when it is acknowledged.

        A broker that does not answer is tried again: the copies a retry makes
        carry the same ids.
        """
        for attempt in range(ATTEMPTS_MAX):
            try:
                await self.sink.dead(packed.dead)
                refused = await self._write(packed.records)
                break
            except (TimeoutError, OSError) as error:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                logger.warning("ingress.put_off error=%r", error)
                await asyncio.sleep(RETRY_S)
        self._counters.note_batch(packed.counts)
        if refused:
            key = Counted(self._log, CODEC, "rejected", Reason.TOO_LARGE)
            self._counters.count_ingress(key, refused)

    async def _write(self, records: Sequence[Record]) -> int:
        """Write records, ever fewer at a time where the log takes no such sizes.

        What is too large by itself becomes a dead letter; return how many those are.
        The rest may stand in the log more than once, in its order, with the same ids.
        """
        try:
            await self.sink.write(records)
        except TooLargeError as error:
            logger.warning("ingress.too_large records=%d %s", len(records), error)
            parts = halves(records)
            if parts is None:
                await self.sink.dead([letter_of(records[0], self._log)])
                return 1
            return sum([await self._write(part) for part in parts])
        return 0

    async def move(self, messages: Sequence[Message]) -> Packed:
        """Write what the messages hold and return when it is acknowledged."""
        packer = self.packer()
        packer.add(messages)
        packed = packer.take()
        await self.write(packed)
        return packed
