"""Routes for those who keep the gates running."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from streams.gate.bodies import StatusTold
from streams.gate.route import PAGES, Answer, Route, Visit
from streams.serving import json_answer


async def healthz(_: Visit) -> web.Response:
    """The process answers."""
    return json_answer(StatusTold("ok"))


async def readyz(visit: Visit) -> web.Response:
    """All topics were read, and Kafka answers.

    Flags that are served, if old ones, are no reason to send nobody here.
    """
    problem, flags = visit.desk.judge.board.problem, visit.desk.flags
    old = flags.problem if flags is not None else ""
    if flags is not None and flags.served is None:
        problem = problem or old
    return json_answer(
        StatusTold(problem or "ok", old or None), 503 if problem else 200
    )


async def metrics(visit: Visit) -> web.Response:
    """The gates' own metrics."""
    accept = visit.request.headers.get("Accept", "")
    body, kind = await visit.desk.metrics.page(accept)
    return web.Response(body=body, headers={"Content-Type": kind})


async def description(visit: Visit) -> web.Response:
    """What there is to ask, for programs."""
    return web.Response(body=visit.desk.description, content_type="application/json")


ROUTES = (
    Route(
        method="GET",
        path="/v1/openapi.json",
        handler=description,
        summary="This document.",
        scope=None,
        protocol=PAGES,
        answers={200: Answer("OpenAPI 3.1", dict[str, Any])},
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Metrics of this gate, for Prometheus.",
        protocol=PAGES,
        answers={200: Answer("Prometheus text or OpenMetrics", str, "text/plain")},
    ),
    Route(
        method="GET",
        path="/healthz",
        handler=healthz,
        summary="Whether the process answers.",
        scope=None,
        protocol=PAGES,
        answers={200: Answer("it does", StatusTold)},
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=readyz,
        summary="Whether all topics were read once and Kafka answers.",
        scope=None,
        protocol=PAGES,
        answers={
            200: Answer("they were", StatusTold),
            503: Answer("what is missing", StatusTold),
        },
    ),
)
