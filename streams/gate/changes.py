"""Routes that change something: claims, their outcomes, people's orders."""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec import UNSET

from acting.calendars import Window
from acting.orders import problem_of
from acting.records import EVERY, Calendar, Order, Outcome, Word
from streams.gate.access import Scope
from streams.gate.bodies import (
    ClaimBody,
    OutcomeBody,
    OutcomeTold,
    Problem,
    RulingTold,
    checked,
    read_body,
)
from streams.gate.orderbodies import OrderBody, OrderTold, OrderWord
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
    await visit.desk.judge.append(_ordered(body, visit.caller.name))
    return json_answer(OrderTold(body.word))


def _ordered(body: OrderBody, actor: str) -> Order | Calendar:
    """The record of an order; 409 where it does not say what its word needs."""
    if body.word is OrderWord.CALENDAR:
        return _calendar(body, actor)
    if body.windows is not UNSET:
        raise Problem(409, "`windows` go with the word calendar")
    word, named = Word(body.word.value), body.recommendation_id
    place = body.service, body.value, named, body.environment
    made = Order(word, actor, body.why, *place)
    problem = problem_of(made)
    if problem:
        raise Problem(409, problem)
    return made


def _calendar(body: OrderBody, actor: str) -> Calendar:
    if body.windows is UNSET:
        raise Problem(409, "calendar needs `windows`; an empty list takes it back")
    if body.value or body.recommendation_id or body.environment is not UNSET:
        raise Problem(409, "calendar takes a service and `windows`, and no more")
    told = msgspec.to_builtins(body.windows)
    try:
        windows = msgspec.convert(told, tuple[Window, ...])
    except msgspec.ValidationError as error:
        raise Problem(409, f"nobody could follow this calendar: {error}") from error
    return Calendar(actor, body.why, body.service, windows)


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
        answers={
            200: Answer("what holds now", OrderTold),
            409: Answer("the word needs what is missing, or takes no such thing"),
            503: AWAY,
        },
        protocol="people",
    ),
)
