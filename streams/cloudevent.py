"""Outputs as CloudEvents in Kafka's binary mode.

The value is the event's data, so who does not know CloudEvents reads plain JSON.
Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from detector.records import Output

SOURCE = b"/hypercare"


class _When(msgspec.Struct):
    decided_at: int | None = None
    at: int | None = None


_decoder = msgspec.json.Decoder(_When)


def headers_of(output: Output, source: bytes = SOURCE) -> list[tuple[str, bytes]]:
    """Kafka headers of an output: our id, and the attributes of an event.

    ``ce_id`` tells a re-issue from the first issue; (source, id) is for deduping. The
    time is that of the decision: where it is missing, SDKs make one up at each read.
    """
    found = [
        ("id", output.id.encode()),
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", f"hypercare.{output.topic}.v1".encode()),
        ("ce_source", source),
        ("ce_id", output.id.encode()),
        ("ce_subject", output.key.encode()),
    ]
    time = _time_of(output.value)
    if time is not None:
        found.append(("ce_time", time))
    return found


def _time_of(value: bytes) -> bytes | None:
    try:
        when = _decoder.decode(value)
    except msgspec.DecodeError:  # an array of aggregates: nobody's event
        return None
    at_ms = when.at if when.decided_at is None else when.decided_at
    if at_ms is None:
        return None
    told = datetime.fromtimestamp(at_ms / 1000, UTC)
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
