"""Tells somebody of every revision, signed: Standard Webhooks 1.0.0."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook as Standard
from yarl import URL

from detector.rulefile.errors import Report
from detector.rulefile.kinds import INVALID
from detector.rulefile.shapes import Listing
from detector.rulefile.yamltree import Node
from detector.verdicts import RecommendationState
from streams.actuators.keys import Address, Spec
from streams.actuators.parcel import Parcel, Result, Word
from streams.actuators.receiver import Context, Kind, Receiver
from streams.actuators.retryafter import retry_after_ms
from streams.actuators.secrets import Lost, Secret, SecretKind
from streams.outgoing import NotSent, Reply, Unanswered

BODY_BYTES_MAX = 20_000
CUT_CHARS = 500
TYPE = "hypercare.recommendation"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")
SECRET_BYTES = range(24, 65)
KEYS_MAX = 4


class _Key(SecretKind):
    """A secret of the form that Standard Webhooks asks for."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The secret, or `INVALID` with the reason reported."""
        found = super().read(node, path, report)
        if found is not INVALID and not _is_key(found.reveal()):
            hint = 'make one: echo "whsec_$(openssl rand -base64 32)"'
            message = f"{path}: {found!r} is not whsec_ and 24 to 64 bytes in base64"
            report.add(node.place, message, hint)
            return INVALID
        return found


def _is_key(text: str) -> bool:
    if not SECRET.fullmatch(text):
        return False
    try:
        raw = base64.b64decode(text.removeprefix("whsec_") + "==")
    except ValueError:
        return False
    return len(raw) in SECRET_BYTES


class Webhook:
    """Posts signed messages.

    Parameters
    ----------
    receiver : Receiver
        Its plan has ``url`` and ``secrets``; each of them signs, so that keys can
        change without a gap.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._url = URL(receiver.plan["url"].fill({}), encoded=True)
        self._secrets: list[Secret] = receiver.plan["secrets"]
        self._out = receiver.outgoing()

    def obstacle(self, parcel: Parcel) -> str:
        """Nothing stands in its way."""
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Post one message; only 2xx is a success."""
        body = message(parcel)
        try:
            headers = signed(self._secrets, parcel.event, now_ms, body)
            reply = await self._out.send("POST", self._url, headers, body)
        except (NotSent, Unanswered, Lost) as error:
            return Result(Word.AGAIN, str(error))
        return heard(reply, now_ms)

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """Tell it as ever; the type and `test` in it say that nothing is wrong."""
        result = await self.deliver(parcel, now_ms)
        if result.word is Word.DONE:
            return Result(Word.DONE, "told, marked as a test")
        return Result(Word.FAILED, result.detail)

    async def check(self) -> list[str]:
        """Whether its address may be reached."""
        try:
            await self._out.addresses(self._url)
        except NotSent as error:
            return [str(error)]
        return []

    def close(self) -> None:
        """Drop its threads."""
        self._out.close()


def message(parcel: Parcel) -> bytes:
    """The body: the same bytes for every attempt, always below 20 kB."""
    record = parcel.record()
    created = record.revision == 1 and record.state is RecommendationState.OPEN
    updated = "updated" if record.state is RecommendationState.OPEN else record.state
    data = msgspec.to_builtins(record)
    proof = {
        "topic": parcel.topic,
        "key": parcel.key,
        "value": base64.b64encode(parcel.value).decode(),
        "signature": parcel.signature,
    }
    happened = "created" if created else updated
    said = {
        # Who knows no drills passes over a type that it does not know.
        "type": f"{TYPE}.{'drill' if record.test else happened}",
        "timestamp": iso(record.issued_at),
        "data": {**data, "proof": proof},
    }
    body = msgspec.json.encode(said)
    if len(body) < BODY_BYTES_MAX:
        return body
    short = {k: v[:CUT_CHARS] if isinstance(v, str) else v for k, v in data.items()}
    said["data"] = {**short, "segment": None, "is_cut": True}
    return msgspec.json.encode(said)


def signed(
    secrets: list[Secret], event: str, now_ms: int, body: bytes
) -> dict[str, str]:
    """Headers of one attempt: its time is new, its id is not."""
    now = datetime.fromtimestamp(now_ms // 1_000, UTC)
    signatures = [
        Standard(one.reveal()).sign(event, now, body.decode()) for one in secrets
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": event,
        "webhook-timestamp": str(now_ms // 1_000),
        "webhook-signature": " ".join(signatures),
    }


def heard(reply: Reply, now_ms: int) -> Result:
    """What an answer means: 2xx, gone, or again, when they ask for it."""
    if 200 <= reply.status < 300:
        return Result(Word.DONE)
    detail = f"answered {reply.status}"
    if reply.status == 410:
        return Result(Word.GONE, detail)
    return Result(Word.AGAIN, detail, retry_after_ms(reply, now_ms))


def iso(at_ms: int) -> str:
    """A time as RFC 3339 writes it."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _keys(context: Context) -> Mapping[str, Spec]:
    key = _Key(context.environment)
    return {"url": Spec(Address()), "secrets": Spec(Listing(key, KEYS_MAX, 1))}


KIND = Kind(_keys, Webhook)
