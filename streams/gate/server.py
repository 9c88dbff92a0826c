"""The gates as a server: Argo Rollouts, Flagger, scripts and people ask over HTTP.

Reading needs a token unless the server listens on loopback without a token file; what
changes anything always does. Answers are JSON, errors say what helps (RFC 9457), and
nothing here ever redirects: Flagger would take the page behind it for a yes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from streams.errors import Unreachable
from streams.gate.access import TokenFile
from streams.gate.bodies import Limited, Problem
from streams.gate.desk import Desk
from streams.gate.flags import FlagDesk
from streams.gate.judging import Judge
from streams.gate.limits import Buckets
from streams.gate.metrics import GateMetrics
from streams.gate.openapi import PROBLEM, rendered
from streams.gate.route import PAGES, Route, Visit
from streams.gate.table import ROUTES
from streams.gate.tls import Certificates
from streams.hosts import HostNames, is_loopback
from streams.serving import Handler, Listener, Variables, guarded, json_answer

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 64 * 1024
LOOK_S = 1.0
BROKEN = "the gates have failed: their log says how"
RATE_PER_S = 50
VARIABLES = Variables(
    host="HYPERCARE_GATES_HOST",
    port="HYPERCARE_GATES_PORT",
    names="HYPERCARE_WEB_NAMES",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may reach the gates, under which names, how often.

    ``tokens`` None lets everybody on this machine read, ``certificates`` None is plain
    HTTP, ``names`` are further host names.
    """

    tokens: TokenFile | None = None
    certificates: Certificates | None = None
    names: tuple[str, ...] = ()
    rate_per_s: float = RATE_PER_S


class Gates:
    """The HTTP server.

    Parameters
    ----------
    judge : Judge
        Knows and claims.
    access : Access
        Who may ask.
    host, port : str, int
        Where to listen; port 0 takes any free one.
    metrics : GateMetrics
        Counts requests.
    monotonic_s : callable
        Clock for limits.
    flags : FlagDesk or None
        Serves feature flags.
    """

    def __init__(
        self,
        judge: Judge,
        access: Access,
        *,
        host: str,
        port: int,
        metrics: GateMetrics,
        monotonic_s: Callable[[], float],
        flags: FlagDesk | None = None,
    ) -> None:
        tokens, certificates = access.tokens, access.certificates
        self._desk = Desk(
            judge,
            lambda: tokens.tokens if tokens else None,
            Buckets(access.rate_per_s, monotonic_s),
            is_open=is_loopback(host),
            description=rendered(ROUTES),
            metrics=metrics,
        )
        self._desk.flags = self._flags = flags
        files = {"tokens": tokens, "certificate": certificates, "flags": flags}
        metrics.files = {n: one for n, one in files.items() if one is not None}
        self._watched = [one for one in (tokens, certificates) if one is not None]
        self._watching: asyncio.Task[None] | None = None
        self._names = HostNames(host, access.names)
        self._listener = Listener(
            self.application(),
            host=host,
            port=port,
            variables=VARIABLES,
            tls=certificates.context if certificates else None,
        )

    @property
    def port(self) -> int:
        """On which port it listens."""
        return self._listener.port

    async def start(self) -> None:
        """Listen; raises ListenError where the address can not be had."""
        await self._listener.start()
        self._watching = asyncio.create_task(self._watch(), name="gates-watch")

    async def stop(self) -> None:
        """Close the port."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        await self._listener.stop()

    def application(self) -> web.Application:
        """The routes behind their guard."""
        app = guarded(self._guard, client_max_size=BODY_BYTES_MAX)
        for route in ROUTES:
            handle = self._visited(route)
            if route.method == "GET":
                app.router.add_get(route.path, handle)
            else:
                app.router.add_route(route.method, route.path, handle)
        if self._flags is not None:
            app.cleanup_ctx.append(self._flags.kept)
        return app

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for one in self._watched:
                try:
                    one.poll()
                except Exception:
                    # What holds goes on to hold, and the next look may do better.
                    logger.exception("gates.look_failed")

    def _visited(
        self, route: Route
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            visit = Visit(self._desk, request)
            try:
                answer = await self._answered(route, visit)
            except Problem as problem:
                answer = _problem(problem)
            except web.HTTPException as error:
                answer = _problem(_of(error))
            if route.protocol != PAGES:
                heard = visit.answer or str(answer.status)
                self._desk.metrics.count(route.protocol, heard)
            return answer

        return handle

    async def _answered(self, route: Route, visit: Visit) -> web.StreamResponse:
        """What a route answers, in the words of those who take errors for more."""
        try:
            if route.scope is not None and not route.admits_late:
                visit.admit(route.scope, is_limited=route.is_limited)
            visit.check_query(route.query)
            return await route.handler(visit)
        except Limited as error:
            if route.fallback is None:
                raise Problem.later(error.wait_s) from error
            return route.fallback(visit, str(error))
        except Unreachable as error:
            if route.fallback is None:
                raise Problem(503, str(error)) from error
            return route.fallback(visit, str(error))
        except (Problem, web.HTTPException):
            raise
        except Exception as error:
            logger.exception("gates.failed path=%s", route.path)
            if route.fallback is None:
                raise Problem(500, BROKEN) from error
            return route.fallback(visit, BROKEN)

    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        try:
            if not self._names.know(request.headers.get("Host", "")):
                raise Problem(403, "this host name is not known here")
            return await handler(request)
        except Problem as problem:
            return _problem(problem)
        except web.HTTPException as error:
            return _problem(_of(error))


def _of(error: web.HTTPException) -> Problem:
    """What aiohttp refuses by itself: an unknown path, a method, a large body."""
    kept = {k: v for k, v in error.headers.items() if k == "Allow"}
    return Problem(error.status, error.reason, kept)


def _problem(problem: Problem) -> web.Response:
    told = {"type": "about:blank", "title": problem.title, "status": problem.status}
    answer = json_answer(told, problem.status, PROBLEM)
    answer.headers.update(problem.headers)
    if problem.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
