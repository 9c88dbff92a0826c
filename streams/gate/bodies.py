"""What is sent to the gates, what they send, and what is wrong with a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from acting.known import LeaseState
from acting.protocols import Standing
from acting.records import (
    LEASE_MAX_S,
    Calendar,
    End,
    Mode,
    Name,
    Order,
    Text,
    Token,
)
from streams.gate.reading import Release

NAME_CHARS_MAX = 256
Label = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
"""A name, or nothing."""

BODY_S = 10.0
"""A body that has not come by then is not waited for."""

Headers = Mapping[str, str]
Body = TypeVar("Body", bound=Struct)


class ClaimBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A job wants to carry out what is recommended."""

    service: Name
    release: Name
    environment: Name = "production"
    component: Name | None = None
    token: Token
    lease_s: Annotated[float, Meta(ge=1, le=LEASE_MAX_S)] = 600


class OutcomeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """How what was granted ended."""

    token: Token
    end: End
    detail: Text = ""


class FlaggerMetadata(Struct, kw_only=True):
    """What the canary's author has written; more than this is passed over."""

    release: Name
    service: Label = ""
    environment: Label = ""
    component: Label = ""
    token: str = ""


class FlaggerBody(Struct, kw_only=True):
    """What Flagger sends; it may grow."""

    name: Name
    namespace: Name
    metadata: FlaggerMetadata
    phase: str = ""


class KayentaPlace(Struct):
    """An arm of a Kayenta scope; Argo calls ``location`` region."""

    scope: Name
    location: Label = ""


class KayentaScope(Struct, rename="camel"):
    """A scope: ``experimentScope.scope`` names the release."""

    experiment_scope: KayentaPlace


class KayentaThresholds(Struct):
    """From which score on who asks takes a release for good, or for undecided."""

    passing: Annotated[float, Meta(gt=0, le=100)] = msgspec.field(name="pass")
    marginal: Annotated[float, Meta(gt=0, le=100)]


class KayentaBody(Struct):
    """What Kayenta's clients post; more than this is passed over."""

    scopes: Annotated[dict[Name, KayentaScope], Meta(min_length=1, max_length=8)]
    thresholds: KayentaThresholds


class KayentaConfig(Struct):
    """A canary configuration that clients look up by name."""

    id: str
    name: str
    applications: list[str]


class KayentaStarted(Struct, rename="camel"):
    """Under which id to ask."""

    canary_execution_id: str


class KayentaScore(Struct, rename="camel"):
    """A whole number that follows the posted thresholds."""

    score: int
    classification: str
    classification_reason: str


class KayentaJudged(Struct):
    """What the judge says."""

    score: KayentaScore


class KayentaResult(Struct, rename="camel"):
    """The result around it."""

    judge_result: KayentaJudged


class KayentaTold(Struct):
    """How a canary stands; complete at once, or nobody knows now."""

    complete: bool
    status: str
    result: KayentaResult | None = None


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


class SwitchedTold(Struct):
    """A component that was taken out, or replaced by a version, until it is restored.

    Without a recommendation a person did it.
    """

    service: str
    environment: str
    component: str
    action: str
    target: str | None
    recommendation: str
    at_ms: int


class ExecutionsTold(Struct):
    """Leases, what people have ordered, and which components are switched."""

    leases: list[LeaseTold]
    stopped: Order | None
    frozen: dict[str, Order]
    ping_pong: dict[str, Order]
    modes: dict[str, Mode]
    calendars: dict[str, Calendar]
    switched: list[SwitchedTold]


class RulingTold(Struct):
    """What became of a claim: the exit code of ``hypercare gate``, reason, sentence."""

    answer: int
    why: str
    text: str


class OutcomeTold(Struct):
    """What was told."""

    told: End


class ReasonTold(Struct):
    """Why yes, or why no."""

    reason: str


class StatusTold(Struct, omit_defaults=True):
    """``ok``, or what is missing; why the flags that are served may be old."""

    status: str
    flags: str | None = None


class Problem(Exception):
    """Ends a request with a status and a sentence that names the fix."""

    def __init__(self, status: int, title: str, headers: Headers | None = None) -> None:
        self.status, self.title = status, title
        self.headers = dict(headers or {})
        super().__init__(title)

    @classmethod
    def later(cls, wait_s: int) -> Problem:
        """Too many requests."""
        wait = {"Retry-After": str(wait_s)}
        return cls(429, f"too many requests: wait {wait_s} s", wait)


class Limited(Exception):
    """A caller who is known asks too often."""

    def __init__(self, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many requests: wait {wait_s} s")


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


async def read_sent(request: web.Request) -> bytes:
    """The bytes of a body, or 408 where they do not come."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, f"the body did not come within {BODY_S:.0f} s") from None


async def read_body(request: web.Request, kind: type[Body]) -> Body:
    """The body of a request, or 400 with what is wrong."""
    sent = await read_sent(request)
    try:
        return msgspec.json.decode(sent, type=kind)
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
