"""Records that a topic finds too large: fewer at a time, and what is left over."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from detector.edge import oversize
from detector.records import Output
from detector.wire import dead_letter

Record = tuple[bytes, bytes]
"""Key and value of a record of the log; the value is an array of events."""

_encode = msgspec.json.Encoder().encode
_events = msgspec.json.Decoder(list[msgspec.Raw])

NOWHERE = -1
"""Partition and offset of what never got any."""


def halves(records: Sequence[Record]) -> tuple[list[Record], list[Record]] | None:
    """The same events in two parts that keep their order; None for a lone event."""
    middle = len(records) // 2
    if middle:
        return list(records[:middle]), list(records[middle:])
    ((key, value),) = records
    events = _events.decode(value)
    middle = len(events) // 2
    if not middle:
        return None
    first, second = _encode(events[:middle]), _encode(events[middle:])
    return [(key, first)], [(key, second)]


def letter_of(record: Record, topic: str) -> Output:
    """The dead letter of a lone event that a topic does not take.

    Its id comes from its bytes: it has no place in the log, and the same event is
    refused again after a crash.
    """
    _, value = record
    (event,) = _events.decode(value)
    item = oversize(bytes(event), f"more than max.message.bytes of {topic} lets in")
    letter = dead_letter(item, topic, NOWHERE, NOWHERE, 0)
    return replace(letter, id=hashlib.sha256(value).hexdigest()[:16])


__all__ = ["NOWHERE", "Record", "halves", "letter_of"]
