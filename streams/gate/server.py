"""The gates as a server: Argo Rollouts, Flagger, scripts and people ask over HTTP.

Reading needs a token unless the server listens on loopback without a token file; what
changes anything always does. Answers are JSON, errors say what helps (RFC 9457), and
nothing here ever redirects: Flagger would take the page behind it for a yes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from acting.answers import Answer
from acting.protocols import Hook, Standing, argo_verdict, flagger
from acting.records import Order, Outcome
from streams.errors import Unreachable
from streams.gate.access import Bearer, Scope, Tokens, token_in
from streams.gate.bodies import (
    ClaimBody,
    FlaggerBody,
    OrderBody,
    OutcomeBody,
    Problem,
    asked_in,
    checked,
    read_body,
)
from streams.gate.judging import Judge, Known
from streams.gate.reading import Release
from streams.hosts import HostNames, is_loopback
from streams.web import HEADERS

BODY_BYTES_MAX = 64 * 1024
FLAGGER_LEASE_S = 3_600
PROBLEM = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gates:
    """The HTTP server.

    Parameters
    ----------
    judge : Judge
        Knows and claims.
    tokens : Tokens or None
        Who may ask; None lets everybody on this machine read.
    host, port : str, int
        Where to listen; port 0 takes any free one.
    names : tuple of str
        Further host names.
    """

    def __init__(
        self,
        judge: Judge,
        tokens: Tokens | None,
        *,
        host: str,
        port: int,
        names: tuple[str, ...] = (),
    ) -> None:
        self._judge = judge
        self._tokens = tokens
        self._host, self.port = host, port
        self._names = HostNames(host, names)
        self._is_open = tokens is None and is_loopback(host)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises OSError where the address can not be had."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The routes behind their guard."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard], client_max_size=BODY_BYTES_MAX)
        app.on_response_prepare.append(_secure)
        get, post = app.router.add_get, app.router.add_post
        get("/v1/gate", self._gate)
        get("/v1/recommendations", self._recommendations)
        get("/v1/executions", self._executions)
        post("/v1/claims", self._claim)
        post("/v1/outcomes", self._outcome)
        post("/v1/orders", self._order)
        post("/flagger/{hook}", self._flagger)
        get("/healthz", self._healthz)
        get("/readyz", self._readyz)
        return app

    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        try:
            if not self._names.know(request.headers.get("Host", "")):
                raise Problem(403, "this host name is not known here")
            return await handler(request)
        except Problem as problem:
            return _problem(problem.status, problem.title)
        except Unreachable as error:
            return _problem(503, str(error))
        except web.HTTPException as error:
            return _problem(error.status, error.reason)

    # Questions.

    async def _gate(self, request: web.Request) -> web.Response:
        """How a release stands. Argo reads ``data.verdict``: while nobody knows it is
        inconclusive with 200, as five errors would abort a rollout."""
        self._admit(request, Scope.READ)
        known = self._known(asked_in(request.query))
        is_open = known.signed is not None and known.standing is Standing.REGRESSED
        wanted = known.signed.record if known.signed and is_open else None
        return _json(
            {
                "data": {
                    "verdict": argo_verdict(known.standing),
                    "standing": known.standing,
                    "text": known.text,
                    "action": wanted.action if wanted else None,
                    "target": wanted.target if wanted else None,
                    "recommendation": wanted.id if wanted else None,
                }
            }
        )

    async def _flagger(self, request: web.Request) -> web.Response:
        """A hook of Flagger; ``rollback`` claims, as a yes rolls back."""
        body = await read_body(request, FlaggerBody)
        bearer = self._admit(request, Scope.READ, body.metadata.get("token"))
        name = request.match_info["hook"]
        if name not in list(Hook):
            raise Problem(404, f"no hook {name}: one of {', '.join(Hook)}")
        hook = Hook(name)
        asked = asked_in({"service": body.name, **body.metadata})
        known, refused = self._known(asked), None
        if hook is Hook.ROLLBACK and known.standing is Standing.REGRESSED:
            _need(bearer, Scope.ACT)
            holder = f"flagger {body.namespace}/{body.name}"
            ruling = await self._judge.claim(asked, holder, None, FLAGGER_LEASE_S)
            refused = ruling if ruling.answer is not Answer.ACT else None
        told = flagger(hook, known.standing, refused, known.text)
        return _json({"reason": told.reason}, told.status)

    def _known(self, asked: Release) -> Known:
        try:
            return self._judge.known(asked)
        except Unreachable as error:
            return Known(Standing.STALE, str(error), None)

    async def _recommendations(self, request: web.Request) -> web.Response:
        """Recommendations as they stand in their topic, for readers who check them."""
        self._admit(request, Scope.READ)
        fields = ("topic", "key", "value", "signature")
        records = self._judge.board.recommendations()
        found = [dict(zip(fields, one, strict=False)) for one in records]
        return _json({"recommendations": found})

    async def _executions(self, request: web.Request) -> web.Response:
        """Leases, and what people have ordered."""
        self._admit(request, Scope.READ)
        known = (await self._judge.ledger()).known
        leases = [
            {
                "recommendation": one.recommendation.id,
                "action": one.recommendation.action,
                "service": one.recommendation.service,
                "release": one.recommendation.release,
                "holder": one.holder,
                "state": one.state,
                "granted_at": one.granted_ms,
                "until": one.until_ms,
            }
            for one in known.leases.values()
        ]
        orders = {"stopped": known.stopped, "frozen": known.frozen}
        return _json({"leases": leases, **orders, "modes": known.modes})

    # What changes something.

    async def _claim(self, request: web.Request) -> web.Response:
        """Claim what is recommended, as ``hypercare gate`` does."""
        bearer = self._admit(request, Scope.ACT)
        body = await read_body(request, ClaimBody)
        asked = Release(body.service, body.environment, body.release, body.component)
        ruling = await self._judge.claim(asked, bearer.name, body.token, body.lease_s)
        return _json({"answer": ruling.answer, "why": ruling.why, "text": ruling.text})

    async def _outcome(self, request: web.Request) -> web.Response:
        """How what was granted ended."""
        self._admit(request, Scope.ACT)
        body = await read_body(request, OutcomeBody)
        await self._judge.append(checked(Outcome, body.token, body.end, body.detail))
        return _json({"told": body.end})

    async def _order(self, request: web.Request) -> web.Response:
        """What a person says; who it is says the token."""
        bearer = self._admit(request, Scope.ADMIN)
        body = await read_body(request, OrderBody)
        place = body.service, body.value, body.recommendation_id
        await self._judge.append(
            checked(Order, body.word, bearer.name, body.why, *place)
        )
        return _json({"holds": body.word})

    # Who asks.

    def _admit(
        self, request: web.Request, scope: Scope, offered: str | None = None
    ) -> Bearer:
        if self._is_open and scope is Scope.READ:
            return Bearer("anybody on this machine", Scope.READ)
        if self._tokens is None:
            raise Problem(403, "no tokens are known here: set HYPERCARE_GATES_TOKENS")
        token = token_in(request.headers.get("Authorization", "")) or offered
        bearer = self._tokens.bearer(token) if token else None
        if bearer is None:
            raise Problem(401, "a bearer token that is known here is needed")
        _need(bearer, scope)
        return bearer

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        problem = self._judge.board.problem
        return _json({"status": problem or "ok"}, 503 if problem else 200)


def _need(bearer: Bearer, scope: Scope) -> None:
    if bearer.scope.rank < scope.rank:
        raise Problem(403, f"the token of {bearer.name} is not good for {scope}")


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


def _problem(status: int, title: str) -> web.Response:
    told = {"type": "about:blank", "title": title, "status": status}
    body = msgspec.json.encode(told)
    answer = web.Response(body=body, status=status, content_type=PROBLEM)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
