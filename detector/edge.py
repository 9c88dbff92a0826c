"""An event as it may stand in the log, whichever way it came in.

The same event read at the same place gives the same bytes each time, so that a crash
between writing and acknowledging makes copies that are recognised.
"""

from __future__ import annotations

import msgspec

from detector.events import Event
from detector.identity import event_id, hash_identities
from detector.reasons import Reason
from detector.records import Rejected
from detector.redact import redact_bytes, scrub

EVENTS_MAX = 500
BYTES_MAX = 512_000
"""Limits of one array of the log; half of Kafka's default record limit."""

EVENT_BYTES_MAX = 1_000_000
"""Limit of one event of the log: by itself it has to fit into a record of Kafka, and
into what the core reads."""


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


def oversize(line: bytes, limit: str = f"at most {EVENT_BYTES_MAX:,}") -> Rejected:
    """Why an event can not stand in the log, naming what takes most of it.

    Parameters
    ----------
    line : bytes
        The event as it would stand there.
    limit : str
        What it is too large for.
    """
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    name, size = max(
        ((name, len(bytes(raw))) for name, raw in fields.items()),
        key=lambda field: (field[1], field[0]),
    )
    return Rejected(
        reason=Reason.TOO_LARGE,
        field=name,
        detail=f"{len(line):,} bytes, {limit}; {name} takes {size:,}: send less of it",
        original=redact_bytes(line),
    )
