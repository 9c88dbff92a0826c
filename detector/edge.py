"""An event as it may stand in the log, whichever way it came in.

The same event read at the same place gives the same bytes each time, so that a crash
between writing and acknowledging makes copies that are recognised.
"""

from __future__ import annotations

import msgspec

from detector.events import Event
from detector.identity import event_id, hash_identities
from detector.redact import scrub

EVENTS_MAX = 500
BYTES_MAX = 512_000
"""Limits of one array of the log; half of Kafka's default record limit."""


def ready_for_log(
    event: Event,
    place: tuple[str, int, int, int],
    timestamp_ms: int,
    identity_key: bytes,
) -> Event:
    """The event with a name, its time of arrival, and nobody in it.

    Parameters
    ----------
    event : Event
        As it was decoded.
    place : (str, int, int, int)
        Topic, partition, offset and number in the record it was read from: what names
        it where its sender gave no id.
    timestamp_ms : int
        Kafka's time of that record.
    identity_key : bytes
        With what users and sessions are hashed.
    """
    name = event_id(event, *place)
    changes: dict[str, object] = {}
    if name.startswith("at\0"):
        # NUL may not stand in a field; the place itself needs no separator.
        changes["id"] = name.replace("\0", ":")
    if event.received_at is None:
        changes["received_at"] = timestamp_ms
    named = msgspec.structs.replace(event, **changes)
    return scrub(hash_identities(named, identity_key))
