"""What is sent to the gates, what they send, and what is wrong with a request."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from acting.known import LeaseState
from acting.protocols import Standing
from acting.records import EVERY, LEASE_MAX_S, End, Mode, Order, Token, Word
from streams.gate.reading import Release

NAME_CHARS_MAX = 256
Body = TypeVar("Body", bound=Struct)


class ClaimBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A job wants to carry out what is recommended."""

    service: str
    release: str
    environment: str = "production"
    component: str | None = None
    token: Token
    lease_s: Annotated[int, Meta(ge=1, le=LEASE_MAX_S)] = 600


class OutcomeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """How what was granted ended."""

    token: Token
    end: End
    detail: str = ""


class OrderBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a person says."""

    word: Word
    why: str
    service: str = EVERY
    value: str = ""
    recommendation_id: str = ""


class FlaggerBody(Struct, kw_only=True):
    """What Flagger sends; it may grow."""

    name: str
    namespace: str
    phase: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class StandingTold(Struct):
    """How a release stands; the last three where something is recommended."""

    verdict: str
    standing: Standing
    text: str
    action: str | None
    target: str | None
    recommendation: str | None


class GateTold(Struct):
    """What Argo's jsonPath ``{$.data}`` takes out."""

    data: StandingTold


class RecordTold(Struct):
    """A record of a topic, value in base64, with its signature."""

    topic: str
    key: str
    value: bytes
    signature: str


class RecommendationsTold(Struct):
    """Recommendations, newest first."""

    recommendations: list[RecordTold]


class LeaseTold(Struct):
    """Who may carry out, or has carried out, an action of a recommendation."""

    recommendation: str
    action: str
    service: str
    release: str
    holder: str
    state: LeaseState
    granted_at: int
    until: int


class ExecutionsTold(Struct):
    """Leases and what people have ordered."""

    leases: list[LeaseTold]
    stopped: Order | None
    frozen: dict[str, Order]
    modes: dict[str, Mode]


class RulingTold(Struct):
    """What became of a claim: the exit code of ``hypercare gate``, reason, sentence."""

    answer: int
    why: str
    text: str


class OutcomeTold(Struct):
    """What was told."""

    told: End


class OrderTold(Struct):
    """What holds now."""

    holds: Word


class ReasonTold(Struct):
    """Why yes, or why no."""

    reason: str


class StatusTold(Struct):
    """``ok``, or what is missing."""

    status: str


class Problem(Exception):
    """Ends a request with a status and a sentence that names the fix."""

    def __init__(self, status: int, title: str) -> None:
        self.status, self.title = status, title
        super().__init__(title)


def asked_in(fields: Any) -> Release:
    """What a query or a hook's metadata asks about."""
    service, release = fields.get("service", ""), fields.get("release", "")
    if not service or not release:
        raise Problem(400, "`service` and `release` are needed")
    environment = fields.get("environment") or "production"
    # Argo does not encode its arguments: 1.2.0+build arrives with a blank.
    release = release.replace(" ", "+")
    asked = Release(service, environment, release, fields.get("component") or None)
    if any(len(part or "") > NAME_CHARS_MAX for part in asked):
        raise Problem(400, f"a name is longer than {NAME_CHARS_MAX} characters")
    return asked


async def read_body(request: web.Request, kind: type[Body]) -> Body:
    """The body of a request, or 400 with what is wrong."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not as it should be: {error}") from error


def checked(kind: type[Body], *values: object) -> Body:
    """A record with these values, or 400 with what is wrong."""
    fields = kind.__struct_fields__
    try:
        return msgspec.convert(
            {"type": kind.__name__.lower(), **dict(zip(fields, values, strict=True))},
            type=kind,
        )
    except msgspec.ValidationError as error:
        raise Problem(400, f"the body is not as it should be: {error}") from error
