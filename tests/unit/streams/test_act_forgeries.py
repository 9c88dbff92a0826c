"""What `hypercare act` reads and what its receivers hear: forged, flipped, replayed."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from streams.actuators.drilling import Drills
from streams.actuators.parcel import MINUTE, parcel_of
from streams.actuators.secrets import Secret
from streams.actuators.service import Parts, Service
from streams.actuators.webhook import message
from streams.actuators.webhook import signed as signed_headers
from streams.settings import Settings
from streams.signing import HEADER, Signer, new_key
from streams.wallclock import now_ms
from tests.unit.streams.lanes import Keyed, Told, World, lane_of
from tests.unit.streams.receivers import SECRET, recommendation, signed

MANY = 10_000
TOPIC = "t.recommendations"


def flipped(value: bytes, bit: int) -> bytes:
    """The same with one bit turned."""
    made = bytearray(value)
    made[bit // 8 % len(made)] ^= 1 << bit % 8
    return bytes(made)


def record(
    key: bytes | None, value: bytes | None, *signatures: bytes, topic: str = TOPIC
) -> Any:
    """A record as the client hands it on."""
    headers = [(HEADER, one) for one in signatures]
    return SimpleNamespace(
        topic=topic, partition=0, offset=1, key=key, value=value, headers=headers
    )


async def test_ten_thousand_forgeries_reach_nobody(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    """Flipped, unsigned, signed by a stranger, moved to another key or topic, emptied:
    no receiver hears of it, and each is told with its reason. As many good ones are
    told once each, and once only though each is read twice."""
    world, told, keyed = World(), Told(), Keyed(tmp_path)
    (tmp_path / "stranger.key").write_bytes(new_key()[0])
    stranger = Signer.load([tmp_path / "stranger.key"])
    parts = Parts(
        verifier=keyed.verifier,
        leases=None,
        now_ms=lambda: world.at_ms,
        chance=lambda: 0.5,
        token=lambda: "t" * 16,
        rest=_never,
    )
    service, lane = Service(Settings(prefix="t"), [], parts), lane_of(world, told)
    lanes = service._lanes = {"one": lane}
    drills = Drills(lanes, world.tools)
    kinds = 10
    for number in range(MANY):
        wanted = recommendation(release=f"2.4.{number}")
        value, key = msgspec.json.encode(wanted), wanted.id.encode()
        signature = keyed.signer.header(TOPIC, key, value)
        bit = int(rng.integers(1 << 30))
        bad = [
            record(key, flipped(value, bit), signature),
            record(key, value, flipped(signature, bit)),
            record(key, value, stranger.header(TOPIC, key, value)),
            record(key, value),
            record(flipped(key, bit), value, signature),
            record(key, value, signature, topic="t.audit"),
            record(key, value, b""),
            record(key, None, signature),
            record(None, value, signature),
            record(b"\xff", value, signature),
        ][number % kinds]
        await service._hand(bad, drills)
        assert lane.waiting == {}
        good = record(key, value, signature)
        for _ in range(2):
            await service._hand(good, drills)
            await lane.step()
    assert len(told.events) == len({event for event, _ in told.events}) == MANY
    said = [one.getMessage() for one in caplog.records if "act.un" in one.getMessage()]
    assert len(said) == MANY
    assert all(len(line.split(": ", 1)[1]) > 10 for line in said)


async def _never(seconds: float) -> None:
    raise AssertionError


def test_ten_thousand_forged_messages_are_refused(rng: np.random.Generator) -> None:
    """Whoever receives a webhook refuses what was flipped anywhere, what another secret
    signed, and what is old, with the standard's own library; good ones it accepts, and
    a replayed one has the id of the first."""
    key, hook = Secret("a test", SECRET), Webhook(SECRET)
    at_ms, seen = now_ms(), set()
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    for number in range(MANY):
        wanted = recommendation(release=f"2.4.{number}")
        sent = parcel_of("one", signed(wanted), at_ms)
        body = message(sent)
        headers = signed_headers([key], sent.event, at_ms, body)
        assert hook.verify(body, headers)["data"]["id"] == wanted.id
        seen.add(headers["webhook-id"])
        bad_body, bad = body, dict(headers)
        match number % 5:
            case 0:
                bad_body = flipped(body, int(rng.integers(1 << 30)))
            case 1:
                bad["webhook-id"] += "0"
            case 2:
                old_ms = at_ms - 6 * MINUTE
                bad = signed_headers([key], sent.event, old_ms, body)
            case 3:
                later = str(int(bad["webhook-timestamp"]) + 60)
                bad["webhook-timestamp"] = later
            case _:
                stranger = Secret("a test", other)
                bad = signed_headers([stranger], sent.event, at_ms, body)
        with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
            hook.verify(bad_body, bad)
    assert len(seen) == MANY
