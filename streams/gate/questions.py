"""Routes that read: how a release stands, what is recommended, what is claimed."""

from __future__ import annotations

from aiohttp import web

from acting.protocols import Standing, argo_verdict
from acting.records import EVERY
from streams.gate.bodies import (
    ExecutionsTold,
    GateTold,
    LeaseTold,
    RecommendationsTold,
    RecordTold,
    StandingTold,
    SwitchedTold,
    asked_in,
)
from streams.gate.route import Answer, Param, Route, Visit
from streams.serving import json_answer

ASKED = (
    Param("service", "the service", required=True),
    Param("release", "the release; a blank is read as +", required=True),
    Param("environment", "production where nothing is said"),
    Param("component", "a component of the release"),
)


async def gate(visit: Visit) -> web.Response:
    """How a release stands. Argo reads ``data.verdict``: while nobody knows it is
    inconclusive with 200, as five errors would abort a rollout."""
    asked = asked_in(visit.request.query)
    visit.allow(asked.service)
    known = await visit.desk.known(asked)
    is_open = known.signed is not None and known.standing is Standing.REGRESSED
    wanted = known.signed.record if known.signed and is_open else None
    visit.answer = argo_verdict(known.standing)
    told = StandingTold(
        verdict=visit.answer,
        standing=known.standing,
        text=known.text,
        action=wanted.action if wanted else None,
        target=wanted.target if wanted else None,
        recommendation=wanted.id if wanted else None,
    )
    return json_answer(GateTold(told))


def nobody_looked(visit: Visit, why: str) -> web.Response:
    """Argo takes five errors for the end of a rollout; this pauses it."""
    visit.answer = argo_verdict(Standing.STALE)
    told = StandingTold(visit.answer, Standing.STALE, why, None, None, None)
    return json_answer(GateTold(told))


async def recommendations(visit: Visit) -> web.Response:
    """Recommendations as they stand in their topic, for readers who check them."""
    found = [
        RecordTold(*one[:4])
        for one in visit.desk.judge.board.recommendations()
        if visit.caller.may(one.record.service)
    ]
    return json_answer(RecommendationsTold(found))


async def executions(visit: Visit) -> web.Response:
    """Leases, and what people have ordered."""
    known = (await visit.desk.judge.ledger()).known
    leases = [
        LeaseTold(
            recommendation=one.recommendation.id,
            action=one.recommendation.action,
            service=one.recommendation.service,
            release=one.recommendation.release,
            holder=one.holder,
            state=one.state,
            granted_at=one.granted_ms,
            until=one.until_ms,
        )
        for one in known.leases.values()
        if visit.caller.may(one.recommendation.service)
    ]
    calendars = {
        service: one
        for service, one in known.calendars.items()
        if service == EVERY or visit.caller.may(service)
    }
    switched = [
        SwitchedTold(
            service=place.service,
            environment=place.environment,
            component=place.component,
            action=done.action,
            target=done.target,
            recommendation=done.recommendation,
            at_ms=done.at_ms,
        )
        for place, done in sorted(known.switched.items())
        if visit.caller.may(place.service)
    ]
    told = ExecutionsTold(
        leases=leases,
        stopped=known.stopped,
        frozen=known.frozen,
        ping_pong=known.ping_pong,
        modes=known.modes,
        calendars=calendars,
        switched=switched,
    )
    return json_answer(told)


ROUTES = (
    Route(
        method="GET",
        path="/v1/gate",
        handler=gate,
        summary="How a release stands, for Argo Rollouts and scripts; claims nothing.",
        query=ASKED,
        answers={200: Answer("how it stands, inconclusive included", GateTold)},
        protocol="argo",
        fallback=nobody_looked,
    ),
    Route(
        method="GET",
        path="/v1/recommendations",
        handler=recommendations,
        summary="Recommendations of the last twenty minutes, with signature.",
        answers={200: Answer("as they stand in their topic", RecommendationsTold)},
    ),
    Route(
        method="GET",
        path="/v1/executions",
        handler=executions,
        summary="Leases, and the orders that hold.",
        answers={
            200: Answer("all of them", ExecutionsTold),
            503: Answer("Kafka does not answer"),
        },
    ),
)
