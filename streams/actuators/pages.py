"""What `hypercare act` shows: metrics, health, readiness. Read only, on loopback."""

from __future__ import annotations

from aiohttp import web

from streams.actuators.service import Service
from streams.hosts import HostNames
from streams.serving import Handler, Listener, Variables, guarded, json_answer

VARIABLES = Variables(host="HYPERCARE_ACT_HOST", port="HYPERCARE_ACT_PORT")


class Pages:
    """The HTTP server of one process.

    Parameters
    ----------
    service : Service
        What it is about.
    host, port : str, int
        Where to listen; port 0 takes any free one.
    names : tuple of str
        Further host names.
    """

    def __init__(
        self, service: Service, *, host: str, port: int, names: tuple[str, ...] = ()
    ) -> None:
        self._service = service
        self._names = HostNames(host, names)
        app = guarded(self._guard)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._listener = Listener(app, host=host, port=port, variables=VARIABLES)

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

    async def _metrics(self, request: web.Request) -> web.Response:
        body, kind = self._service.tally.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _healthz(self, _: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        """200 also for who stands by: it does what it should."""
        problem, is_active = self._service.problem, self._service.is_active
        said = {"status": problem or "ok", "active": is_active}
        return json_answer(said, 503 if problem else 200)

    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if not self._names.know(request.headers.get("Host", "")):
            return json_answer({"error": "this host name is not known here"}, 403)
        return await handler(request)
