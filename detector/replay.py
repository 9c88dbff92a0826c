"""Recorded lines into decisions, without Kafka and without looking ahead.

A line is one record of the log: an envelope object or an array of them, in
arrival order. Its arrival time is the newest ``received_at`` in it; a file
without any is taken as if every record arrived when the time it covers ended.
The core is the one that runs live, so a replay of a recorded run gives the same
bytes, whatever the batch size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from detector.engine import Partition
from detector.events import WINDOW_MAX_S, EpochMs
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet
from detector.verdicts import RecommendationRecord, VerdictRecord
from detector.wire import DEADLETTER, RECOMMENDATIONS, VERDICTS


class _Stamp(Struct):
    received_at: EpochMs | None = None
    ts: EpochMs = 0
    window_s: Annotated[int, Meta(ge=0, le=WINDOW_MAX_S)] = 0

    @property
    def arrival_ms(self) -> int:
        """When the record came in, as far as the line says."""
        if self.received_at is not None:
            return self.received_at
        return self.ts + self.window_s * 1000


_stamps: msgspec.json.Decoder[list[_Stamp] | _Stamp] = msgspec.json.Decoder(
    list[_Stamp] | _Stamp
)
_verdicts = msgspec.json.Decoder(VerdictRecord)
_recommendations = msgspec.json.Decoder(RecommendationRecord)


def arrival_ms(line: bytes, so_far_ms: int) -> int:
    """Arrival time of a line; one that can not be read arrives with the last."""
    try:
        stamps = _stamps.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return so_far_ms
    several = stamps if isinstance(stamps, list) else [stamps]
    return max([so_far_ms, *(stamp.arrival_ms for stamp in several)])


class Replay:
    """Feeds lines to a partition and says what changed, line by line.

    Attributes
    ----------
    lines, rejected : int
        Lines read and records refused so far.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.partition = Partition(0, rules, topic="replay")
        self.lines = 0
        self.rejected: list[Output] = []
        self._revisions: dict[str, int] = {}
        self._arrival_ms = 0

    def feed(self, lines: Iterable[bytes], batch: int = 1) -> Iterator[bytes]:
        """Yield the output lines of each batch as soon as it is applied."""
        source = iter(lines)
        while chunk := list(islice(source, batch)):
            for output in self.partition.apply(self.records(chunk)).records:
                shown = self.show(output)
                if shown is not None:
                    yield shown

    def records(self, lines: Iterable[bytes]) -> list[LogRecord]:
        """Lines as records of the log; empty ones are none."""
        return [self._record(line) for line in lines if line.strip()]

    def show(self, output: Output) -> bytes | None:
        """An output as a line, or None where nothing changed for a reader."""
        if output.topic == VERDICTS:
            return encode_verdict(_verdicts.decode(output.value))
        if output.topic == RECOMMENDATIONS:
            record = _recommendations.decode(output.value)
            if self._revisions.get(record.id) == record.revision:
                return None
            self._revisions[record.id] = record.revision
            return encode_recommendation(record)
        if output.topic == DEADLETTER:
            self.rejected.append(output)
        return None

    def _record(self, line: bytes) -> LogRecord:
        self._arrival_ms = arrival_ms(line, self._arrival_ms)
        record = LogRecord(self.lines, self._arrival_ms, None, line.strip())
        self.lines += 1
        return record


def encode_verdict(record: VerdictRecord) -> bytes:
    """A verdict as a replay line."""
    whole = record.evidence[0].rate_ratio if record.evidence else None
    return msgspec.json.encode(
        {
            "type": "verdict",
            "decided_at": record.decided_at,
            "service": record.service,
            "environment": record.environment,
            "release": record.release,
            "component": record.component,
            "verdict": record.verdict,
            "id": record.recommendation_id,
            "revision": None,
            "segment": None,
            "log_e": record.log_e,
            "rate_ratio": whole,
            "reasons": record.reasons,
        }
    )


def encode_recommendation(record: RecommendationRecord) -> bytes:
    """A revision of a recommendation as a replay line."""
    return msgspec.json.encode(
        {
            "type": "recommendation",
            "decided_at": record.decided_at,
            "service": record.service,
            "environment": record.environment,
            "release": record.release,
            "component": record.component,
            "action": record.action,
            "id": record.id,
            "revision": record.revision,
            "state": record.state,
            "segment": record.segment,
            "log_e": record.log_e,
            "rate_ratio": record.rate_ratio,
            "reasons": record.reasons,
        }
    )
