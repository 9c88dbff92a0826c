"""Events with an e-mail address in every place where one can stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.unit.detector.samples import SAMPLES

CANARY = "ada.canary+4711@mail.example.org"
TOPIC_OF_KIND = {
    "usage": "usage",
    "latency": "usage",
    "error": "errors",
    "feedback": "feedback",
    "deploy": "deploys",
}


def poisoned(value: Any) -> Iterator[Any]:
    """Copies of a value, each with the address in one place of it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: bad} for bad in poisoned(inner))
        yield {**value, CANARY: "x"}
    elif isinstance(value, list):
        yield [*value, CANARY]
        for index, inner in enumerate(value):
            for bad in poisoned(inner):
                yield [*value[:index], bad, *value[index + 1 :]]
    elif isinstance(value, str):
        yield CANARY
        yield f"{value} by {CANARY}, twice: {CANARY}"
        yield f"https://x.example/a?mail={CANARY.replace('@', '%40')}"
    else:
        yield CANARY


def messages(now_ms: int) -> Iterator[tuple[str, bytes]]:
    """Topic and body of every poisoned event, and of broken ones."""
    for name, sample in SAMPLES.items():
        kind = sample["kind"]
        if kind not in TOPIC_OF_KIND:
            continue
        topic = TOPIC_OF_KIND[kind]
        fresh = {**sample, "ts": now_ms - 20_000}
        fresh |= {key: now_ms for key in ("sent_at", "received_at") if key in sample}
        for number, event in enumerate(poisoned(fresh)):
            if event.get("id") == sample.get("id"):
                event["id"] = f"{name}-{number}"
            yield topic, json.dumps(event).encode()
        body = json.dumps({**fresh, "user": CANARY}).encode()
        yield topic, body[:-1]
        yield topic, body + b"}"
        yield topic, b"\xff" + CANARY.encode()
        yield topic, CANARY.encode()
