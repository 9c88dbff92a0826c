"""Flagger's webhooks. No redirects: it takes the page behind them for a yes."""

from __future__ import annotations

import msgspec
from aiohttp import web

from acting.answers import Answer as Word
from acting.protocols import NO, YES, Hook, Standing, Told, flagger
from streams.gate.access import Scope
from streams.gate.bodies import FlaggerBody, Problem, ReasonTold, asked_in, read_body
from streams.gate.route import Answer, Route, Visit
from streams.serving import json_answer

LEASE_S = 3_600


async def hook(visit: Visit) -> web.Response:
    """A hook of Flagger; ``rollback`` claims, as a yes rolls back."""
    body = await read_body(visit.request, FlaggerBody)
    visit.admit(Scope.READ, body.metadata.token)
    which = _hook_of(visit)
    told = msgspec.structs.asdict(body.metadata)
    asked = asked_in(told | {"service": body.metadata.service or body.name})
    visit.allow(asked.service)
    known, refused = await visit.desk.known(asked), None
    if which is Hook.ROLLBACK and known.standing is Standing.REGRESSED:
        visit.need(Scope.ACT)
        holder = f"flagger {body.namespace}/{body.name}"
        ruling = await visit.desk.judge.claim(asked, holder, None, LEASE_S)
        refused = ruling if ruling.answer is not Word.ACT else None
    answer = flagger(which, known.standing, refused, known.text)
    return _answered(visit, answer)


def nobody_looked(visit: Visit, why: str) -> web.Response:
    """Of 429 and 5xx Flagger drops the text, and waits inside its loop."""
    return _answered(visit, flagger(_hook_of(visit), Standing.STALE, None, why))


def _hook_of(visit: Visit) -> Hook:
    name = visit.request.match_info["hook"]
    if name not in list(Hook):
        raise Problem(404, f"no hook {name}: one of {', '.join(Hook)}")
    return Hook(name)


def _answered(visit: Visit, told: Told) -> web.Response:
    visit.answer = "yes" if told.status == YES else "no"
    return json_answer(ReasonTold(told.reason), told.status)


ROUTES = (
    Route(
        method="POST",
        path="/flagger/{hook}",
        handler=hook,
        summary="A webhook of Flagger, by its type.",
        body=FlaggerBody,
        parts={"hook": tuple(Hook)},
        answers={
            YES: Answer("yes; to `rollback` it means: roll back", ReasonTold),
            NO: Answer("no, and why", ReasonTold),
            404: Answer("there is no such hook"),
        },
        protocol="flagger",
        admits_late=True,
        fallback=nobody_looked,
    ),
)
