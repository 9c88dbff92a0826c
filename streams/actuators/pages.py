"""What `hypercare act` shows: metrics, health, readiness. Read only, on loopback."""

from __future__ import annotations

import msgspec
from aiohttp import web

from streams.actuators.service import Service
from streams.hosts import HostNames
from streams.web import HEADERS


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
        self._host, self.port = host, port
        self._names = HostNames(host, names)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises OSError where the address can not be had."""

        async def secure(_: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(HEADERS)

        app = web.Application()
        app.on_response_prepare.append(secure)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None)
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

    async def _metrics(self, request: web.Request) -> web.Response:
        self._guard(request)
        body, kind = self._service.tally.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _healthz(self, request: web.Request) -> web.Response:
        self._guard(request)
        return _json({"status": "ok"}, 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        """200 also for who stands by: it does what it should."""
        self._guard(request)
        problem, is_active = self._service.problem, self._service.is_active
        said = {"status": problem or "ok", "active": is_active}
        return _json(said, 503 if problem else 200)

    def _guard(self, request: web.Request) -> None:
        if not self._names.know(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="this host name is not known here")


def _json(value: object, status: int) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")
