"""Kayenta's interface, as Argo Rollouts' provider of that name asks it.

Nothing is kept between the requests: the id of an execution says what it asks about.
It is no secret and proves nothing; whoever asks with it must be let in as with a name.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec
from aiohttp import web

from acting.protocols import Grade, Standing, Thresholds, grade_of
from streams.gate.bodies import (
    KayentaBody,
    KayentaConfig,
    KayentaJudged,
    KayentaResult,
    KayentaScore,
    KayentaStarted,
    KayentaTold,
    Problem,
    asked_in,
    read_body,
)
from streams.gate.reading import Release
from streams.gate.route import Answer, Param, Route, Visit
from streams.serving import json_answer

CONFIG = "hypercare"
WHOLE = "default"
"""Name of the scope that is the release itself; another one is a component of it."""

ID_CHARS_MAX = 4_000
"""Shorter than what a request line may hold."""

NO_ROOM = (
    "thresholds leave no whole number for each answer: marginal must be above 0 and "
    "below pass, 75 and 90 will do"
)


class Execution(NamedTuple):
    """What an id asks about."""

    thresholds: Thresholds
    releases: list[Release]


def id_of(asked: Execution) -> str:
    """An id that says what it asks about, fit for a path."""
    return base64.urlsafe_b64encode(msgspec.json.encode(asked)).decode().rstrip("=")


def execution_of(name: str) -> Execution:
    """What an id asks about, or 404."""
    try:
        value = base64.b64decode(name + "=" * (-len(name) % 4), b"-_", validate=True)
        found = msgspec.json.decode(value, type=Execution)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Problem(404, "no such canary: post one first") from error
    if not found.releases or any(
        found.thresholds.score(grade) is None for grade in Grade
    ):
        raise Problem(404, "no such canary: post one first")
    return found


async def configs(visit: Visit) -> web.Response:
    """The one configuration there is; rules are Hypercare's own."""
    application = visit.request.query.get("application", "")
    return json_answer([KayentaConfig(CONFIG, CONFIG, [application])])


async def start(visit: Visit) -> web.Response:
    """Name what is asked; exactly 200, and the id is always there."""
    if visit.request.match_info["config"] != CONFIG:
        raise Problem(404, f"no such configuration: {CONFIG} is the only one")
    service = visit.request.query.get("application", "")
    body = await read_body(visit.request, KayentaBody)
    thresholds = Thresholds(body.thresholds.passing, body.thresholds.marginal)
    if any(thresholds.score(grade) is None for grade in Grade):
        raise Problem(409, NO_ROOM)
    releases = [
        asked_in(
            {
                "service": service,
                "release": one.experiment_scope.scope,
                "environment": one.experiment_scope.location,
                "component": name if name != WHOLE else None,
            }
        )
        for name, one in body.scopes.items()
    ]
    for one in releases:
        visit.allow(one.service)
    name = id_of(Execution(thresholds, releases))
    if len(name) > ID_CHARS_MAX:
        raise Problem(409, "the names are too long, or there are too many scopes")
    visit.answer = "started"
    return json_answer(KayentaStarted(name))


async def result(visit: Visit) -> web.Response:
    """How it stands now; as for Argo's web provider, what is not known pauses."""
    asked = execution_of(visit.request.match_info["execution"])
    for one in asked.releases:
        visit.allow(one.service)
    known = [await visit.desk.known(one) for one in asked.releases]
    grade = grade_of(one.standing for one in known)
    score = asked.thresholds.score(grade)
    assert score is not None, "ids with other thresholds are refused"
    # What is well needs no words where something else is not.
    shown = [k for k in known if k.standing is not Standing.HEALTHY] or known
    reason = "; ".join(f"{one.standing}: {one.text}" for one in shown)
    visit.answer = grade.value.lower()
    judged = KayentaJudged(KayentaScore(score, grade.value, reason))
    return json_answer(KayentaTold(True, "succeeded", KayentaResult(judged)))


def later(_: Visit, __: str) -> web.Response:
    """Whoever hears this asks again in 15 s."""
    return json_answer(KayentaTold(False, "running"))


APPLICATION = Param("application", "the service", required=True)

ROUTES = (
    Route(
        method="GET",
        path="/canaryConfig",
        handler=configs,
        summary="Kayenta: the configurations there are, which is one.",
        query=(Param("application", "the service"),),
        answers={200: Answer("it is called hypercare", list[KayentaConfig])},
        protocol="kayenta",
        is_limited=False,
    ),
    Route(
        method="POST",
        path="/canary/{config}",
        handler=start,
        summary="Kayenta: name release and thresholds; nothing is kept.",
        query=(APPLICATION,),
        body=KayentaBody,
        parts={"config": (CONFIG,)},
        answers={
            200: Answer("the id to ask with", KayentaStarted),
            404: Answer("there is no such configuration"),
            409: Answer("no room for three answers, or names too long"),
        },
        protocol="kayenta",
        is_limited=False,
    ),
    Route(
        method="GET",
        path="/canary/{execution}",
        handler=result,
        summary="Kayenta: the score, by the thresholds that were posted.",
        answers={
            200: Answer("the score, marginal while nobody knows", KayentaTold),
            404: Answer("no id of ours"),
        },
        protocol="kayenta",
        fallback=later,
    ),
)
