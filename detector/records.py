"""What goes into a partition and what comes out: the core's only doors.

Plain values. The shell turns Kafka records into ``LogRecord`` and ``Output``
back into Kafka records; replay and simulation use the same two types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class LogRecord(NamedTuple):
    """One record of the log, as Kafka gave it.

    ``timestamp_ms`` is Kafka's record timestamp: LogAppendTime in production,
    ``received_at`` in replay; its running maximum is the arrival clock.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Input that can not be used: data about data, never an exception.

    ``reason`` is a word of ``detector.decode.Reason``, ``field`` the dotted path
    of the first offending field, ``original`` the redacted bytes.
    """

    reason: str
    field: str
    detail: str
    original: str


@dataclass(frozen=True, slots=True)
class Output:
    """One record to publish. ``topic`` is a logical name: verdicts,
    recommendations or deadletter. ``id`` is what receivers dedupe by."""

    topic: str
    key: str
    value: bytes
    id: str


@dataclass(slots=True)
class Outputs:
    """Everything one ``apply`` produced, in log order."""

    records: list[Output] = field(default_factory=list)
