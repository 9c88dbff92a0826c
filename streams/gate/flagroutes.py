"""Routes of feature flags: the document for flagd, and OFREP for single flags."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from acting.flags import encoded
from acting.ofrep import Reply, bad_context, evaluate, evaluate_all
from streams.gate.bodies import Problem, read_sent
from streams.gate.evaluating import TARGETING_KEY
from streams.gate.flags import Served, etag_of
from streams.gate.route import Answer, Param, Route, Visit

NONE_HERE = "no flags are served here: set HYPERCARE_FLAGS_FILE"
FLAGS, OFREP = "flags", "ofrep"
"""Protocols under which requests are counted."""


class EvaluationBody(Struct):
    """Who asks: any values that rules look at, ``targetingKey`` by its own name."""

    context: dict[str, Any] = {}


class EvaluationTold(Struct):
    """What a flag is; without a variant the caller's default holds."""

    key: str
    reason: str
    metadata: dict[str, Any]
    variant: str | UnsetType = UNSET
    value: Any = UNSET


class FailureTold(Struct, rename="camel"):
    """Why a flag can not be evaluated."""

    error_code: str
    error_details: str
    key: str | UnsetType = UNSET


class EvaluationsTold(Struct):
    """Every enabled flag, or why it can not be evaluated."""

    flags: list[dict[str, Any]]
    metadata: dict[str, Any]


async def whole(visit: Visit) -> web.Response:
    """The document, as far as the caller may see it."""
    if visit.desk.flags is None:
        raise Problem(404, NONE_HERE)
    part = _served(visit).part(visit.caller)
    return _named(visit, part.body, part.etag)


async def one(visit: Visit) -> web.Response:
    """What one flag is for the caller."""
    key = visit.request.match_info["key"]
    if visit.desk.flags is None:
        told = {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": NONE_HERE}
        return _answer(Reply(404, told))
    context = await _context(visit)
    if isinstance(context, str):
        return _answer(bad_context(key, context))
    served = _served(visit)
    resolve = partial(served.evaluator.resolve, context=context)
    return _answer(evaluate(served.part(visit.caller).document, key, resolve))


async def every(visit: Visit) -> web.Response:
    """What all flags that the caller may see are for the caller."""
    if visit.desk.flags is None:
        raise Problem(404, NONE_HERE)
    context = await _context(visit)
    if isinstance(context, str):
        return _answer(bad_context(None, context))
    served = _served(visit)
    resolve = partial(served.evaluator.resolve, context=context)
    document = served.part(visit.caller).document
    # Rules of a thousand flags would hold up whoever else asks.
    reply = await asyncio.to_thread(evaluate_all, document, resolve)
    body = encoded(reply.body)
    return _named(visit, body, etag_of(body))


async def _context(visit: Visit) -> dict[str, Any] | str:
    """The context that was sent, or what is wrong with it."""
    sent = await read_sent(visit.request)
    try:
        context = msgspec.json.decode(sent, type=EvaluationBody).context
    except (msgspec.DecodeError, RecursionError) as error:
        return f"the body is not as it should be: {error}"
    if not isinstance(context.get(TARGETING_KEY, ""), str):
        return f"`context.{TARGETING_KEY}` must be text"
    return context


def _served(visit: Visit) -> Served:
    desk = visit.desk.flags
    assert desk is not None, "asked before"
    if desk.served is None:
        raise Problem(503, desk.problem)
    return desk.served


def _named(visit: Visit, body: bytes, etag: str) -> web.Response:
    """A body under its name, unless the client has these bytes already."""
    told = visit.request.headers.get("If-None-Match", "")
    names = [name.strip().removeprefix("W/") for name in told.split(",")]
    headers = {"ETag": etag}
    if etag in names or told.strip() == "*":
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


def _answer(reply: Reply) -> web.Response:
    body = encoded(reply.body)
    return web.Response(body=body, status=reply.status, content_type="application/json")


KNOWN = Param("If-None-Match", "names of answers that the client has")
SAME = Answer("the client has it already", kind="")
WRONG = Answer("the body or its context is wrong", FailureTold)
UNREAD = Answer("the executions have not been read yet")
ABSENT = Answer("no flags are served here")

ROUTES = (
    Route(
        method="GET",
        path="/v1/flags.json",
        handler=whole,
        summary="The document of feature flags for flagd, with a strong ETag.",
        headers=(KNOWN,),
        answers={
            200: Answer("what the token may see of it", dict[str, Any]),
            304: SAME,
            404: ABSENT,
            503: UNREAD,
        },
        protocol=FLAGS,
    ),
    Route(
        method="POST",
        path="/ofrep/v1/evaluate/flags/{key}",
        handler=one,
        summary="OFREP: what one flag is for a caller.",
        body=EvaluationBody,
        answers={
            200: Answer("variant and value, or the caller's default", EvaluationTold),
            400: Answer(
                "the context is wrong, or the flag has no variant for it", FailureTold
            ),
            404: Answer("disabled, or none that the token may see", FailureTold),
            503: UNREAD,
        },
        protocol=OFREP,
    ),
    Route(
        method="POST",
        path="/ofrep/v1/evaluate/flags",
        handler=every,
        summary="OFREP: what all enabled flags are for a caller, with an ETag.",
        headers=(KNOWN,),
        body=EvaluationBody,
        answers={
            200: Answer("flags, and failures in their place", EvaluationsTold),
            304: SAME,
            400: WRONG,
            404: ABSENT,
            503: UNREAD,
        },
        protocol=OFREP,
    ),
)
