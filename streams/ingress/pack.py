"""From ingress messages to records of the log: pure, no Faust, no Kafka.

The same message gives the same bytes each time it is read (its own Kafka timestamp
becomes ``received_at``, its place becomes the id where the sender gave none), so a
crash between writing and acknowledging makes copies that are recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from detector.edge import (
    BYTES_MAX,
    EVENT_BYTES_MAX,
    EVENTS_MAX,
    oversize,
    ready_for_log,
)
from detector.events import Event
from detector.groups.light import Light, read_many
from detector.records import Output, Rejected
from detector.redact import redact_bytes, scrub
from detector.wire import dead_letter
from streams.ingress.codecs import DECODERS, NATIVE, Ingress
from streams.ingress.plain import Plain, takes_plain
from streams.progress import Counted

NOT_ACCEPTED = "not_accepted"
"""Reason of an event whose kind the topic may not carry."""

LARGE_BYTES = EVENT_BYTES_MAX // 4
"""Messages below hold no event that is too large, whatever hashes and masks add."""

_encode = msgspec.json.Encoder().encode


class Message(Protocol):
    """One message of an ingress topic, as Kafka's client names its parts."""

    @property
    def topic(self) -> str:
        """Where it was read."""

    @property
    def partition(self) -> int:
        """In which partition."""

    @property
    def offset(self) -> int:
        """At which place."""

    @property
    def timestamp(self) -> int:
        """Kafka's time of it, in epoch milliseconds."""

    @property
    def value(self) -> bytes | None:
        """What was sent."""


class Raw(NamedTuple):
    """One message of an ingress topic, by itself."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None


@dataclass(slots=True)
class Packed:
    """What a batch of messages becomes."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    dead: list[Output] = field(default_factory=list)
    counts: dict[Counted, int] = field(default_factory=dict)


class _Topic(NamedTuple):
    ingress: Ingress
    is_plain: bool
    accepted: Counted


class Packer:
    """Packs the events of each service into arrays, in the order they come.

    Parameters
    ----------
    ingress_of : mapping
        How each topic is read.
    identity_key : bytes
        With what users and sessions are hashed.
    """

    def __init__(self, ingress_of: Mapping[str, Ingress], identity_key: bytes) -> None:
        self._topics = {
            name: _Topic(
                one,
                one.codec == NATIVE and takes_plain(one.kinds),
                Counted(name, one.codec, "accepted", ""),
            )
            for name, one in ingress_of.items()
        }
        self._key = identity_key
        self._plain = Plain(identity_key)
        self._begin()

    def _begin(self) -> None:
        self._packed = Packed()
        self._events: dict[str, list[Light | msgspec.Raw]] = {}

    def add(self, messages: Sequence[Message]) -> None:
        """Take the next messages; how many at a time makes no difference."""
        read = read_many([message.value for message in messages])
        for message, found in zip(messages, read, strict=True):
            topic = self._topics[message.topic]
            if (
                found is None
                or not topic.is_plain
                or not self._add_plain(message, topic, found)
            ):
                self._add_slowly(message, topic)

    def take(self) -> Packed:
        """Return what has been added since the last call, packed."""
        packed, by_service = self._packed, self._events
        self._begin()
        for service, events in by_service.items():
            key = service.encode()
            for low in range(0, len(events), EVENTS_MAX):
                arrays = _arrays(events[low : low + EVENTS_MAX])
                packed.records += [(key, array) for array in arrays]
        return packed

    def _add_plain(
        self, message: Message, topic: _Topic, found: Light | list[Light]
    ) -> bool:
        events: list[Light] = found if type(found) is list else [found]  # type: ignore[list-item]
        where = (message.topic, message.partition, message.offset)
        admit, at_ms = self._plain.admit, message.timestamp
        for index, event in enumerate(events):
            if not admit(event, (*where, index), at_ms):
                return False
        if len(message.value or b"") > LARGE_BYTES and any(map(_is_oversize, events)):
            return False
        by_service = self._events
        for event in events:
            try:
                by_service[event.service].append(event)
            except KeyError:
                by_service[event.service] = [event]
        self._count(topic.accepted, len(events))
        return True

    def _add_slowly(self, message: Message, topic: _Topic) -> None:
        ingress = topic.ingress
        for index, item in enumerate(DECODERS[ingress.codec](message.value)):
            ready = _ready(item, message, index, ingress, self._key)
            line = b"" if isinstance(ready, Rejected) else _encode(ready)
            if len(line) > EVENT_BYTES_MAX:
                ready = oversize(line)
            if isinstance(ready, Rejected):
                place = (message.topic, message.partition, message.offset, index)
                self._packed.dead.append(dead_letter(ready, *place))
                refused = (message.topic, ingress.codec, "rejected", ready.reason)
                self._count(Counted(*refused), 1)
            else:
                event = msgspec.Raw(line)
                self._events.setdefault(ready.service, []).append(event)
                self._count(topic.accepted, 1)

    def _count(self, key: Counted, n: int) -> None:
        counts = self._packed.counts
        counts[key] = counts.get(key, 0) + n


def pack(
    messages: Iterable[Message], ingress_of: Mapping[str, Ingress], identity_key: bytes
) -> Packed:
    """Decode messages and pack the events of each service into arrays.

    ``ingress_of`` says how each topic is read. The order of the events of one
    service is kept, over all topics.
    """
    packer = Packer(ingress_of, identity_key)
    packer.add(list(messages))
    return packer.take()


def _ready(
    item: Event | Rejected, message: Message, index: int, ingress: Ingress, key: bytes
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
    return ready_for_log(item, place, message.timestamp, key)


def _is_oversize(event: Light) -> bool:
    return len(_encode(event)) > EVENT_BYTES_MAX


def _tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


def _arrays(events: list[Light | msgspec.Raw]) -> list[bytes]:
    """Encode events as arrays within the limit; a lone event fits always."""
    array = _encode(events)
    if len(array) <= BYTES_MAX or len(events) == 1:
        return [array]
    middle = len(events) // 2
    return _arrays(events[:middle]) + _arrays(events[middle:])
