"""From ingress messages to records of the log: pure, no Faust, no Kafka.

The same message gives the same bytes each time it is read (its own Kafka timestamp
becomes ``received_at``, its place becomes the id where the sender gave none), so a
crash between writing and acknowledging makes copies that are recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from detector.events import Event
from detector.identity import event_id, hash_identities
from detector.records import Output, Rejected
from detector.redact import redact_bytes, scrub
from detector.wire import dead_letter
from streams.ingress.codecs import DECODERS, Ingress
from streams.progress import Counted

EVENTS_MAX = 500
BYTES_MAX = 512_000
"""Limits of one array; half of Kafka's default record limit."""

NOT_ACCEPTED = "not_accepted"
"""Reason of an event whose kind the topic may not carry."""

_encode = msgspec.json.Encoder().encode


class Raw(NamedTuple):
    """One message of an ingress topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


@dataclass(slots=True)
class Packed:
    """What a batch of messages becomes."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    dead: list[Output] = field(default_factory=list)
    counts: dict[Counted, int] = field(default_factory=dict)


def pack(
    messages: Iterable[Raw], ingress_of: Mapping[str, Ingress], identity_key: bytes
) -> Packed:
    """Decode messages and pack the events of each service into arrays.

    ``ingress_of`` says how each topic is read. The order of the events of one
    service is kept, over all topics.
    """
    packed = Packed()
    by_service: dict[str, list[bytes]] = {}
    for message in messages:
        ingress = ingress_of[message.topic]
        for index, item in enumerate(DECODERS[ingress.codec](message.value)):
            ready = _ready(item, message, index, ingress, identity_key)
            if isinstance(ready, Rejected):
                _reject(packed, ready, message, index, ingress.codec)
            else:
                _count(packed, message.topic, ingress.codec, "accepted", "")
                by_service.setdefault(ready.service, []).append(_encode(ready))
    for service, events in by_service.items():
        key = service.encode()
        packed.records += [(key, array) for array in _arrays(events)]
    return packed


def _ready(
    item: Event | Rejected, message: Raw, index: int, ingress: Ingress, key: bytes
) -> Event | Rejected:
    """Return the event as it may stand in the log."""
    if isinstance(item, Rejected):
        return item
    if not isinstance(item, ingress.kinds):
        kind = _tag(type(item))
        allowed = ", ".join(_tag(kind) for kind in ingress.kinds)
        return Rejected(
            reason=NOT_ACCEPTED,
            field="kind",
            detail=f"{message.topic} takes {allowed}, not {kind}",
            original=redact_bytes(_encode(scrub(item))),
        )
    place = (message.topic, message.partition, message.offset, index)
    name = event_id(item, *place)
    changes: dict[str, object] = {}
    if name.startswith("at\0"):
        # NUL may not stand in a field; the place itself needs no separator.
        changes["id"] = name.replace("\0", ":")
    if item.received_at is None:
        changes["received_at"] = message.timestamp_ms
    return scrub(hash_identities(msgspec.structs.replace(item, **changes), key))


def _tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


def _count(packed: Packed, topic: str, codec: str, result: str, reason: str) -> None:
    key = Counted(topic, codec, result, reason)
    packed.counts[key] = packed.counts.get(key, 0) + 1


def _reject(
    packed: Packed, item: Rejected, message: Raw, index: int, codec: str
) -> None:
    _count(packed, message.topic, codec, "rejected", item.reason)
    place = (message.topic, message.partition, message.offset, index)
    packed.dead.append(dead_letter(item, *place))


def _arrays(events: list[bytes]) -> Iterable[bytes]:
    """Join encoded events into arrays within the limits; a lone event fits always."""
    part: list[bytes] = []
    size = 2
    for event in events:
        if part and (len(part) >= EVENTS_MAX or size + len(event) + 1 > BYTES_MAX):
            yield b"[" + b",".join(part) + b"]"
            part, size = [], 2
        part.append(event)
        size += len(event) + 1
    if part:
        yield b"[" + b",".join(part) + b"]"
