"""Forged, flipped, stale and replayed recommendations, asked for over HTTP."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detector.verdicts import (
    Action,
    RecommendationRecord,
    Verdict,
    recommendation_id,
)
from streams.kafka_local import LocalKafka
from streams.signing import Signer, new_key
from streams.wallclock import now_ms
from tests.integration.gating import MINUTE_MS, Place, Served, rollback_of, verdict_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MANY = int(os.environ.get("FORGERIES", "300"))
KINDS = (
    "value",
    "signature",
    "stranger",
    "unsigned",
    "moved",
    "stale",
    "ahead",
    "made",
)
WHY = {"stale": "expired", "ahead": "issued_ahead", "made": "forged_id"}


def withdrawal(service: str, **facts: Any) -> RecommendationRecord:
    """A component of a service is to be taken out: nothing limits how many."""
    start_ms = now_ms()
    name = recommendation_id(service, "production", "2", "cart", start_ms)
    known = {"id": name, "episode_start_ms": start_ms, "component": "cart"}
    known |= {"target": None, "action": Action.WITHDRAW}
    return rollback_of((service, "2"), **known | facts)


class Forger:
    """Writes what nobody may believe."""

    def __init__(self, place: Place, folder: Path, rng: np.random.Generator) -> None:
        self._place, self._rng = place, rng
        (folder / "stranger.key").write_bytes(new_key()[0])
        self._stranger = Signer.load([folder / "stranger.key"])
        self._topic = place.settings.topic("recommendations")

    def write(self, kind: str, service: str) -> None:
        """A recommendation with one thing wrong, beside a verdict that names it."""
        wanted, place = withdrawal(service), self._place
        at_ms = now_ms()
        if kind == "stale":
            old = {"issued_at": at_ms - 11 * MINUTE_MS, "expires_at": at_ms - MINUTE_MS}
            wanted = msgspec.structs.replace(wanted, **old)
        elif kind == "ahead":
            wanted = msgspec.structs.replace(wanted, issued_at=at_ms + 10 * MINUTE_MS)
        elif kind == "made":
            wanted = msgspec.structs.replace(wanted, id=f"rec_{service:x<26}")
        key, value = wanted.id.encode(), msgspec.json.encode(wanted)
        signature = place.signer.header(self._topic, key, value)
        if kind == "value":
            # Inside a text, so that it can still be read as a recommendation.
            at = value.index(b"three times") + int(self._rng.integers(11))
            value = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        elif kind == "signature":
            at = int(self._rng.integers(len(signature)))
            signature = (
                signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
            )
        elif kind == "stranger":
            signature = self._stranger.header(self._topic, key, value)
        elif kind == "unsigned":
            signature = b""
        elif kind == "moved":
            signature = place.signer.header(f"{self._topic}-other", key, value)
        said = verdict_of(
            (service, "2"), verdict=Verdict.REGRESSED, recommendation_id=wanted.id
        )
        place.verdict(said, flush=False)
        place.put(key, value, signature)


def claimed(gates: Served, service: str) -> Any:
    """What a job hears that asks for the lease."""
    token = secrets.token_hex(16)
    body = {"service": service, "release": "2", "component": "cart", "token": token}
    return gates.ask("/v1/claims", body).body


def test_forgeries_get_nothing_over_http(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Bad ones are refused with 21 and a reason, as many good ones are
    granted, and each of those is refused as handled when it is asked for again."""
    with closing(Place(kafka.bootstrap, "forged", tmp_path)) as place:
        forger = Forger(place, tmp_path, rng)
        kinds = {f"bad{n}": KINDS[n % len(KINDS)] for n in range(MANY)}
        for service, kind in kinds.items():
            forger.write(kind, service)
        for number in range(MANY):
            service = f"good{number}"
            wanted = withdrawal(service)
            said = verdict_of(
                (service, "2"), verdict=Verdict.REGRESSED, recommendation_id=wanted.id
            )
            place.verdict(said, flush=False)
            place.recommend(wanted, flush=False)
        # What is not even a recommendation must keep nobody from reading on.
        place.put(b"\xff", b"{}", b"")
        place.put(b"rec_empty", None, b"")
        place.pulse()
        heard: Counter[tuple[str, int, str]] = Counter()
        with place.served() as gates:
            for number, (service, kind) in enumerate(kinds.items()):
                if number % 100 == 0:
                    place.pulse()
                found = claimed(gates, service)
                assert found["text"]
                heard[kind, found["answer"], found["why"]] += 1
                good = claimed(gates, f"good{number}")
                assert good["answer"] == 10, good
                again = claimed(gates, f"good{number}")
                assert again["answer"] == 11, again
        expected = Counter(
            (kind, 21, WHY.get(kind, "unsigned")) for kind in kinds.values()
        )
        assert heard == expected
        known = gates.judge.known_claims
        assert len(known.leases) == MANY
