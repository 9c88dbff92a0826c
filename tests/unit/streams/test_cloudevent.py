"""What workers put out is read by the CloudEvents SDK as what it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.formats.json import JSONFormat

from detector.records import Output
from detector.wire import recommendation_output
from streams.cloudevent import headers_of
from tests.unit.acting.test_ledger import wish

DECIDED_MS = 1_790_000_123_456


def read(output: Output) -> Any:
    """The event as the SDK sees it."""
    message = KafkaMessage(
        headers=dict(headers_of(output)), key=output.key.encode(), value=output.value
    )
    return from_kafka_event(message, JSONFormat())


def test_recommendation_is_a_cloud_event() -> None:
    """Identity, type, subject and time are the same at every read, data is JSON."""
    record = wish(decided_at=DECIDED_MS)
    output = recommendation_output(record)
    first, again = read(output), read(output)
    for event in (first, again):
        assert event.get_id() == output.id
        assert event.get_source() == "/hypercare"
        assert event.get_type() == "hypercare.recommendations.v1"
        assert event.get_subject() == record.id
        assert event.get_specversion() == "1.0"
        assert event.get_time() == datetime.fromtimestamp(DECIDED_MS / 1000, UTC)
        assert event.get_data() == json.loads(output.value)


def test_reissue_is_another_event() -> None:
    """A receiver that drops what it has seen takes a re-issue as news."""
    one, other = (
        recommendation_output(wish(issued_at=DECIDED_MS + n, decided_at=DECIDED_MS + n))
        for n in (0, 1)
    )
    assert dict(headers_of(one))["ce_id"] != dict(headers_of(other))["ce_id"]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ({"decided_at": 0}, b"1970-01-01T00:00:00.000Z"),
        ({"at": DECIDED_MS, "command": "freeze"}, b"2026-09-21T14:15:23.456Z"),
        ({"reason": "not_json"}, None),
        ([{"ts": 1}], None),
    ],
)
def test_time_is_that_of_the_decision(value: object, time: bytes | None) -> None:
    """Commands have one too; what nobody decided has none."""
    output = Output("audit", "k", msgspec.json.encode(value), "id")
    assert dict(headers_of(output)).get("ce_time") == time
