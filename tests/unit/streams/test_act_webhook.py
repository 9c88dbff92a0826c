"""Webhooks: signed as the standard has it, tried again as it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from standardwebhooks import Webhook as Standard

from detector.verdicts import RecommendationState
from streams.actuators.config import load
from streams.actuators.parcel import HOUR, RETRIES_MS, Word, next_try_ms
from streams.actuators.secrets import Secret
from streams.actuators.webhook import BODY_BYTES_MAX, Webhook, message, signed
from streams.wallclock import now_ms
from tests.unit.streams.receivers import (
    OTHER,
    SECRET,
    START_MS,
    dripping,
    flooding,
    parcel,
    receiver,
    serving,
    silent,
    slamming,
    status,
    webhook,
)


def test_published_vector_holds() -> None:
    """Secret, id, time and body of the standard give its signature."""
    event, at_ms = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000
    body = b'{"test": 2432232314}'
    found = signed([Secret("a test", SECRET)], event, at_ms, body)
    assert found["webhook-signature"] == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_library_verifies_what_arrives() -> None:
    """With two secrets either one verifies; the id and the body stay the same, the
    time is that of the attempt."""
    async with serving(status("500 No")) as server:
        one = receiver(
            "name: one\nkind: webhook\nallow: [127.0.0.0/8]\nwebhook:\n"
            f"  url: '{server.url}'\n  secrets: [{{env: SECRET}}, {{env: OTHER}}]"
        )
        hook, sent, at_ms = Webhook(one), parcel(), now_ms()
        for later_ms in (0, 7_000):
            result = await hook.deliver(sent, at_ms + later_ms)
            assert result.word is Word.AGAIN
        hook.close()
    heads = [_headers(head) for head, _ in server.heard]
    bodies = [body for _, body in server.heard]
    assert bodies[0] == bodies[1]
    assert {head["webhook-id"] for head in heads} == {sent.event}
    assert [int(head["webhook-timestamp"]) for head in heads] == [
        at_ms // 1_000,
        (at_ms + 7_000) // 1_000,
    ]
    for secret in (SECRET, OTHER):
        for head, body in zip(heads, bodies, strict=True):
            told = Standard(secret).verify(body, head)
            assert told["type"] == "hypercare.recommendation.created"
            assert told["data"]["action"] == "rollback"


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    pairs = (line.split(": ", 1) for line in lines if line)
    return {name.lower(): value for name, value in pairs}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "created"),
        ({"revision": 2}, "updated"),
        ({"revision": 2, "state": RecommendationState.EXECUTED}, "executed"),
        ({"revision": 3, "state": RecommendationState.WITHDRAWN}, "withdrawn"),
    ],
)
def test_type_says_what_happened(changes: dict[str, Any], said: str) -> None:
    """Created, updated, or the state that it came to."""
    told = json.loads(message(parcel(**changes)))
    assert told["type"] == f"hypercare.recommendation.{said}"


@pytest.mark.parametrize("chars", [10, 9_000, 60_000])
def test_body_stays_small(chars: int) -> None:
    """However long a sentence is, the message is JSON below 20 kB with its id."""
    told = message(parcel(sentence='"' * chars, expected_effect="\u20ac" * chars))
    assert len(told) < BODY_BYTES_MAX
    assert json.loads(told)["data"]["id"] == parcel().key


@pytest.mark.parametrize(
    ("behave", "word"),
    [
        (status("204 No Content"), Word.DONE),
        (flooding, Word.DONE),
        (status("500 No"), Word.AGAIN),
        (status("404 No"), Word.AGAIN),
        (status("301 Moved", "Location: http://169.254.169.254/"), Word.AGAIN),
        (status("410 Gone"), Word.GONE),
        (silent, Word.AGAIN),
        (dripping, Word.AGAIN),
        (slamming, Word.AGAIN),
    ],
)
async def test_only_two_hundreds_succeed(behave: Any, word: Word) -> None:
    """2xx is a success whatever follows, 410 ends it, all else is tried again."""
    async with serving(behave) as server:
        hook = Webhook(webhook(server.url, timeout_s=1))
        assert (await hook.deliver(parcel(), START_MS)).word is word
        hook.close()
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("line", "headers", "wait_ms"),
    [
        ("429 Slow", ["Retry-After: 120"], 120_000),
        ("503 Busy", ["Retry-After: 7"], 7_000),
        ("429 Slow", [], 60_000),
        ("502 Bad", [], 60_000),
        ("504 Late", [], 60_000),
        ("500 No", [], 0),
        ("429 Slow", ["Retry-After: Mon, 23 Nov 2026 12:00:30 GMT"], 30_000),
        ("429 Slow", ["Retry-After: soon"], 60_000),
        ("429 Slow", ["Retry-After: -5"], 60_000),
    ],
)
async def test_retry_after_is_honoured(
    line: str, headers: list[str], wait_ms: int
) -> None:
    """Seconds or a date; where nothing usable is said, throttling waits a minute."""
    noon_ms = 1_795_435_200_000
    async with serving(status(line, *headers)) as server:
        hook = Webhook(webhook(server.url))
        result = await hook.deliver(parcel(), noon_ms)
        hook.close()
    assert (result.word, result.retry_after_ms) == (Word.AGAIN, wait_ms)


def test_schedule_is_the_standards() -> None:
    """Ten attempts within three days and a bit, each up to a tenth later."""
    for chance, factor in ((lambda: 0.0, 1.0), (lambda: 1.0, 1.1)):
        waits = [next_try_ms(n, 0, 0, chance) for n in range(1, 10)]
        assert waits == [int(one * factor) for one in RETRIES_MS]
    assert next_try_ms(10, 0, 0, lambda: 0.0) is None
    assert next_try_ms(1, 5, 3 * HOUR, lambda: 0.5) == 5 + 3 * HOUR


def test_secret_is_never_shown(rng: np.random.Generator) -> None:
    """Neither a receiver nor an error about a wrong secret holds it."""
    one = webhook("https://a.example/")
    assert SECRET not in repr(one)
    assert SECRET not in str(one.plan["secrets"])
    bad = "whsec_" + rng.bytes(8).hex()
    text = (
        "version: 1\nreceivers:\n- name: a\n  kind: webhook\n  webhook:\n"
        "    url: https://a.example/\n    secrets: [{env: BAD}]\nend_of_receivers: true"
    )
    with pytest.raises(Exception, match="24 to 64 bytes") as caught:
        load(text, source="r.yaml", environment={"BAD": bad})
    assert bad not in str(caught.value)
