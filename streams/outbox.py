"""What was decided and has not left yet.

Outputs wait here until the snapshot that holds them is acknowledged; then they are
sent, and forgotten once Kafka has them. The outbox is a shard of that snapshot: a
worker that dies between the two sends them again, under the same id, because ids
come from the facts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import msgspec

from detector.combiner.sending import COMBINED
from detector.records import Output
from detector.wire import COMMANDS
from streams.cloudevent import SOURCE

SHARD = "outbox"
LETTERS = "deadletter"

DESTINATIONS: dict[str, tuple[str, ...]] = {
    "verdicts": ("verdicts", "audit"),
    "recommendations": ("recommendations", "audit"),
    COMMANDS: ("audit",),
    LETTERS: ("deadletter",),
    COMBINED: ("events",),
}
"""Logical name -> topics. ``audit`` keeps what compaction deletes elsewhere."""


class Ways(NamedTuple):
    """Where outputs go: topics by logical name, and what events give as their source.

    A logical name without topics is sent nowhere.
    """

    topics: Mapping[str, tuple[str, ...]] = DESTINATIONS
    source: bytes = SOURCE


class Emitter(Protocol):
    """Sends outputs. Returns when all of them are acknowledged, in order."""

    async def emit(self, outputs: Sequence[Output]) -> None:
        """Send each output to all of its destinations."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    topic: str
    key: str
    value: bytes
    id: str


class Outbox:
    """Pending outputs of one partition, oldest first."""

    def __init__(self) -> None:
        self._pending: deque[Output] = deque()
        self.durable = 0
        self.is_dirty = True

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, outputs: Sequence[Output]) -> None:
        """Put what one batch produced at the end."""
        for output in outputs:
            if output.topic not in DESTINATIONS:
                known = ", ".join(DESTINATIONS)
                raise ValueError(
                    f"no destination for output topic {output.topic!r}, one of: {known}"
                )
        if outputs:
            self._pending.extend(outputs)
            self.is_dirty = True

    def encode(self) -> bytes:
        """Return the shard; the order of the outputs is part of it."""
        rows = [_Row(o.topic, o.key, o.value, o.id) for o in self._pending]
        return msgspec.msgpack.encode(rows)

    @classmethod
    def decode(cls, shard: bytes) -> Outbox:
        """Return the outbox of a restored snapshot: all of it may be sent."""
        rows = msgspec.msgpack.decode(shard, type=list[_Row])
        outbox = cls()
        outbox._pending.extend(Output(r.topic, r.key, r.value, r.id) for r in rows)
        outbox.durable = len(rows)
        return outbox

    def mark_durable(self, count: int) -> None:
        """Say that the first ``count`` outputs stand in an acknowledged snapshot."""
        self.durable = count

    async def send(self, emitter: Emitter) -> int:
        """Send what is durable and return how many outputs that were.

        What was decided goes first: a topic of dead letters that takes nothing
        holds back dead letters, and no verdict is sent again and again beside them.
        """
        sent = 0
        for is_letter in (False, True):
            durable = islice(self._pending, self.durable)
            batch = [o for o in durable if (o.topic == LETTERS) is is_letter]
            if batch:
                await emitter.emit(batch)
                self._forget(is_letter)
                sent += len(batch)
        return sent

    def _forget(self, is_letter: bool) -> None:
        """Drop what has been sent of the durable ones; the rest keeps its order."""
        durable = [self._pending.popleft() for _ in range(self.durable)]
        kept = [o for o in durable if (o.topic == LETTERS) is not is_letter]
        self._pending.extendleft(reversed(kept))
        self.durable = len(kept)
        self.is_dirty = True
