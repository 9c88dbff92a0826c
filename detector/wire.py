"""Outputs as bytes: what stands on the verdict, recommendation and other topics.

JSON with the field order of the structures, so equal decisions are equal bytes.
"""

from __future__ import annotations

import hashlib

import msgspec

from detector.records import Output, Rejected
from detector.verdicts import RecommendationRecord, VerdictRecord

VERDICTS = "verdicts"
RECOMMENDATIONS = "recommendations"
DEADLETTER = "deadletter"
COMMANDS = "commands"

_encoder = msgspec.json.Encoder()


def scope_name(
    service: str, environment: str, release: str, component: str | None
) -> str:
    """Key of a verdict: service/environment/release[/component]."""
    parts = [service, environment, release]
    return "/".join([*parts, component] if component else parts)


def verdict_output(record: VerdictRecord) -> Output:
    """A verdict as one record of ``hypercare.verdicts``."""
    key = scope_name(
        record.service, record.environment, record.release, record.component
    )
    # One record of the log can close several windows: arrival alone names no verdict.
    name = f"{key}@{record.decided_at}.{record.offset}.{record.window_end}"
    return Output(VERDICTS, key, _encoder.encode(record), name)


def recommendation_output(record: RecommendationRecord) -> Output:
    """A revision of a recommendation as one record of its topic.

    The record's id tells a re-issue from the first issue; the recommendation's own
    id and revision are in the data.
    """
    return Output(
        RECOMMENDATIONS,
        record.id,
        _encoder.encode(record),
        f"{record.id}.{record.revision}.{record.issued_at}",
    )


def ahead_of_time(ahead_ms: int) -> Rejected:
    """Why a record that ends so long after it arrived is not taken."""
    return Rejected(
        reason="future",
        field="ts",
        detail=f"ends {ahead_ms} ms after it arrived; "
        "correct the sender's clock or send sent_at",
        original="",
    )


def dead_letter(
    item: Rejected, topic: str, partition: int, offset: int, index: int
) -> Output:
    """A rejection as one record of ``hypercare.deadletter``, with its place."""
    place = f"{topic}/{partition}/{offset}/{index}"
    body = {
        "reason": item.reason,
        "field": item.field,
        "detail": item.detail,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "index": index,
        "original": item.original,
    }
    digest = hashlib.sha256(place.encode()).hexdigest()[:16]
    return Output(DEADLETTER, place, _encoder.encode(body), digest)
