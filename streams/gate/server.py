"""The gates as a server: Argo Rollouts, Flagger, scripts and people ask over HTTP.

Reading needs a token unless the server listens on loopback without a token file; what
changes anything always does. Answers are JSON, errors say what helps (RFC 9457), and
nothing here ever redirects: Flagger would take the page behind it for a yes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from streams.errors import Unreachable
from streams.gate.access import Tokens
from streams.gate.bodies import Problem
from streams.gate.desk import Desk
from streams.gate.judging import Judge
from streams.gate.route import Route, Visit
from streams.gate.table import ROUTES
from streams.hosts import HostNames, is_loopback
from streams.serving import Handler, Listener, Variables, guarded, json_answer

BODY_BYTES_MAX = 64 * 1024
PROBLEM = "application/problem+json"
VARIABLES = Variables(
    host="HYPERCARE_GATES_HOST",
    port="HYPERCARE_GATES_PORT",
    names="HYPERCARE_WEB_NAMES",
)


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
        self._desk = Desk(judge, tokens, is_open=is_loopback(host))
        self._names = HostNames(host, names)
        self._listener = Listener(
            self.application(), host=host, port=port, variables=VARIABLES
        )

    @property
    def port(self) -> int:
        """On which port it listens."""
        return self._listener.port

    async def start(self) -> None:
        """Listen; raises ListenError where the address can not be had."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close the port."""
        await self._listener.stop()

    def application(self) -> web.Application:
        """The routes behind their guard."""
        app = guarded(self._guard, client_max_size=BODY_BYTES_MAX)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._visited(route))
        return app

    def _visited(
        self, route: Route
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            visit = Visit(self._desk, request)
            if route.scope is not None and not route.admits_late:
                visit.admit(route.scope)
            return await route.handler(visit)

        return handle

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


def _problem(status: int, title: str) -> web.Response:
    told = {"type": "about:blank", "title": title, "status": status}
    answer = json_answer(told, status, PROBLEM)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
