"""Routes that change something: claims, their outcomes, people's orders."""

from __future__ import annotations

from aiohttp import web

from acting.records import EVERY, Order, Outcome
from streams.gate.access import Scope
from streams.gate.bodies import (
    ClaimBody,
    OrderBody,
    OrderTold,
    OutcomeBody,
    OutcomeTold,
    RulingTold,
    checked,
    read_body,
)
from streams.gate.reading import Release
from streams.gate.route import Answer, Route, Visit
from streams.serving import json_answer

AWAY = Answer("Kafka does not answer: nothing was written")


async def claim(visit: Visit) -> web.Response:
    """Claim what is recommended, as ``hypercare gate`` does."""
    body = await read_body(visit.request, ClaimBody)
    visit.allow(body.service)
    asked = Release(body.service, body.environment, body.release, body.component)
    ruling = await visit.desk.judge.claim(
        asked, visit.caller.name, body.token, int(body.lease_s)
    )
    visit.answer = ruling.why
    return json_answer(RulingTold(int(ruling.answer), ruling.why, ruling.text))


async def outcome(visit: Visit) -> web.Response:
    """How what was granted ended."""
    body = await read_body(visit.request, OutcomeBody)
    if visit.caller.is_limited:
        known = (await visit.desk.judge.ledger()).known
        held = [lease for lease in known.leases.values() if lease.token == body.token]
        for lease in held:
            visit.allow(lease.recommendation.service)
    await visit.desk.judge.append(checked(Outcome, body.token, body.end, body.detail))
    return json_answer(OutcomeTold(body.end))


async def order(visit: Visit) -> web.Response:
    """What a person says; who it is says the token."""
    body = await read_body(visit.request, OrderBody)
    visit.allow(_service_of(visit, body))
    place = body.service, body.value, body.recommendation_id
    name = visit.caller.name
    await visit.desk.judge.append(checked(Order, body.word, name, body.why, *place))
    return json_answer(OrderTold(body.word))


def _service_of(visit: Visit, body: OrderBody) -> str:
    """What an order is about, all services where nobody can say."""
    if not body.recommendation_id:
        return body.service
    for one in visit.desk.judge.board.recommendations():
        if one.key == body.recommendation_id:
            return one.record.service
    return EVERY


ROUTES = (
    Route(
        method="POST",
        path="/v1/claims",
        handler=claim,
        summary="Take the lease to carry out what is recommended; one caller gets it.",
        scope=Scope.ACT,
        body=ClaimBody,
        answers={
            200: Answer("the answer of `hypercare gate`, by number", RulingTold),
            503: AWAY,
        },
        protocol="jobs",
    ),
    Route(
        method="POST",
        path="/v1/outcomes",
        handler=outcome,
        summary="Report how what was granted ended.",
        scope=Scope.ACT,
        body=OutcomeBody,
        answers={200: Answer("what was told", OutcomeTold), 503: AWAY},
        protocol="jobs",
    ),
    Route(
        method="POST",
        path="/v1/orders",
        handler=order,
        summary="Stop, freeze, approve and the like; who says it is the token's owner.",
        scope=Scope.ADMIN,
        body=OrderBody,
        answers={200: Answer("what holds now", OrderTold), 503: AWAY},
        protocol="people",
    ),
)
