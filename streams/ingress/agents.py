"""An ingress agent: Faust as intended, with its traps closed.

For topics of formats whose rate is low; all others are read in batches
(``streams.ingress.intake``). Both go through the same door.

Faust acknowledges a batch of ``take`` in a ``finally``: whatever happens in the
body, an exception or a cancellation, the offsets count as done. So the body is not
allowed to fail: an error ends the process before the acknowledgement, and a
cancellation waits until the work is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import faust
from faust.streams import Stream
from faust.types import EventT, StreamT, TopicT

from streams.halt import Exit
from streams.ingress.door import Door
from streams.ingress.pack import Raw
from streams.lanes import Halt

TAKE_MAX = 500
TAKE_WITHIN_S = 0.1


def raw_of(event: EventT[Any]) -> Raw:
    """Return the Kafka message of a Faust event."""
    message = event.message
    timestamp_ms = round((message.timestamp or 0.0) * 1000)
    return Raw(
        message.topic, message.partition, message.offset, timestamp_ms, message.value
    )


async def unharmed(
    work: Coroutine[Any, Any, Any], where: Callable[[], str], halt: Halt
) -> None:
    """Finish the work even when cancelled; end the process when it fails."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    error = task.exception()
    if error is not None:
        halt(Exit.HANDLER, "%s: the batch could not be moved: %r", where(), error)
    if cancelled:
        raise asyncio.CancelledError


def raw_topic(app: faust.App, name: str) -> TopicT:
    """A topic whose records are handed on as they are."""
    return app.topic(name, key_serializer="raw", value_serializer="raw", internal=False)


def register(app: faust.App, door: Door, halt: Halt) -> None:
    """Declare an agent for every ingress topic that is not read in batches."""
    for name, one in door.ingress_of.items():
        if not one.in_batches:
            topic = raw_topic(app, name)
            app.agent(topic, name=f"ingress-{name}", concurrency=1)(_agent(door, halt))


def _agent(
    door: Door, halt: Halt
) -> Callable[[StreamT[Any]], Coroutine[Any, Any, None]]:
    async def ingest(stream: StreamT[Any]) -> None:
        batches = cast(Stream[Any], stream)
        async for events in batches.take_events(TAKE_MAX, within=TAKE_WITHIN_S):
            messages = [raw_of(event) for event in events]
            first, last = messages[0], messages[-1]

            def where(first: Raw = first, last: Raw = last) -> str:
                return f"{first.topic}[{first.partition}]@{first.offset}..{last.offset}"

            await unharmed(door.move(messages), where, halt)

    return ingest
