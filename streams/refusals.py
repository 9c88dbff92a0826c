"""Tells what became of batches that were too large to read: dead letters, a count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from detector.records import Output, Rejected
from detector.wire import dead_letter
from streams.bounded import Refused
from streams.lane import TRANSIENT
from streams.outbox import Emitter
from streams.progress import Counted, Counters

logger = logging.getLogger(__name__)

TOO_LARGE = "too_large"
"""Reason of a batch that decompresses to more than the limit."""

CODEC = "kafka"
"""In place of a codec: Kafka's own batch could not be opened."""

RETRY_S = 1.0


class Refusals:
    """Reports batches that were stepped over.

    Parameters
    ----------
    emitter : Emitter
        Takes the dead letters.
    counters : Counters
        Gets one more rejection per record of the batch.
    """

    def __init__(self, emitter: Emitter, counters: Counters) -> None:
        self._emitter = emitter
        self._counters = counters

    async def report(self, refused: Sequence[Refused]) -> None:
        """Write a dead letter for each batch and return once they are acknowledged.

        Nothing is read meanwhile: what follows would be committed, and with it the
        hole that nobody has been told of.
        """
        letters = [letter_of(one) for one in refused]
        while letters:
            try:
                await self._emitter.emit(letters)
                break
            except TRANSIENT as error:
                logger.warning("source.refusal_put_off error=%r", error)
                await asyncio.sleep(RETRY_S)
        for one in refused:
            key = Counted(one.topic, CODEC, "rejected", TOO_LARGE)
            self._counters.count_ingress(key, one.next - one.first)


def letter_of(refused: Refused) -> Output:
    """Return the dead letter of a batch; its bytes stay in the topic it came from."""
    last = refused.next - 1
    item = Rejected(
        reason=TOO_LARGE,
        field="",
        detail=f"{refused.why}; offsets {refused.first} to {last} were stepped over. "
        "Send smaller batches (batch.size, linger.ms)",
        original="",
    )
    return dead_letter(item, refused.topic, refused.partition, refused.first, 0)
