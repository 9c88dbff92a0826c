"""What a worker shows over HTTP: metrics, health, readiness, status. Read only.

A small server of its own, because Faust's shows tables and configuration. It
answers only under names it knows, so that a page in somebody's browser can not
reach it by pointing a name of its own at this address (DNS rebinding).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from streams.hosts import HostNames
from streams.metrics import Metrics
from streams.readiness import LoopWatch, Problem, Readiness
from streams.serving import Handler, Listener, Variables, guarded, json_answer

BEAT_S = 0.5
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9108
METHODS = ("GET", "HEAD")


class Web:
    """The HTTP server of one worker.

    Parameters
    ----------
    metrics : Metrics
        What is rendered, and where status and readiness look.
    readiness : Readiness
        Decides what is wrong with the partitions.
    is_member : callable
        Whether the group has given this worker its partitions, be they none.
    monotonic_s : callable
        Clock for intervals.
    host, port : str, int
        Where to listen; port 0 takes any free one, see ``port`` after ``start``.
    names : iterable of str
        Further names under which this worker is reached. Listening beyond
        loopback, addresses are accepted too: only names can be rebound.
    variables : Variables
        What errors tell people to set.
    """

    def __init__(
        self,
        metrics: Metrics,
        readiness: Readiness,
        *,
        is_member: Callable[[], bool],
        monotonic_s: Callable[[], float],
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        names: Iterable[str] = (),
        variables: Variables | None = None,
    ) -> None:
        self._variables = variables or Variables()
        self._metrics = metrics
        self._readiness = readiness
        self._is_member = is_member
        self._monotonic_s = monotonic_s
        self._loop_watch = LoopWatch(BEAT_S)
        self._names = HostNames(host, names)
        self._listener = Listener(
            self._application(), host=host, port=port, variables=self._variables
        )
        self._beats: asyncio.Task[None] | None = None
        self._rendering = asyncio.Lock()

    @property
    def host(self) -> str:
        """On which address it listens."""
        return self._listener.host

    @property
    def port(self) -> int:
        """On which port."""
        return self._listener.port

    async def start(self) -> None:
        """Listen and begin to watch the loop.

        Raises
        ------
        ListenError
            The address can not be used.
        """
        await self._listener.start()
        self._loop_watch.beat(self._monotonic_s())
        self._beats = asyncio.create_task(self._beat(), name="web-beat")

    async def stop(self) -> None:
        """Close the port; connections get a moment to end."""
        beats, self._beats = self._beats, None
        if beats is not None:
            beats.cancel()
            await asyncio.wait([beats])
        await self._listener.stop()

    def _application(self) -> web.Application:
        app = guarded(self._guard)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/v1/status", self._status)
        return app

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            now_s = self._monotonic_s()
            self._metrics.observe_stall(self._loop_watch.beat(now_s))
            self._readiness.watch(self._metrics.readings.lanes(), now_s)

    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Refuse foreign names and everything that is no reading."""
        if not self._names.know(request.headers.get("Host", "")):
            what = "this name is not known here"
            fix = f"use an address or set {self._variables.names}"
            return json_answer({"error": what, "fix": fix}, status=403)
        if request.method not in METHODS:
            answer = json_answer({"error": "read only: GET or HEAD"}, status=405)
            answer.headers["Allow"] = ", ".join(METHODS)
            return answer
        try:
            return await handler(request)
        except web.HTTPNotFound:
            paths = ["/metrics", "/healthz", "/readyz", "/v1/status"]
            return json_answer({"error": "not found", "paths": paths}, status=404)

    async def _metrics_page(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        async with self._rendering:
            await self._metrics.snapshot()
            loop = asyncio.get_running_loop()
            body, content_type = await loop.run_in_executor(
                None, self._metrics.render, accept
            )
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def _healthz(self, _: web.Request) -> web.StreamResponse:
        now_s = self._monotonic_s()
        problems = self._loop_watch.problems(now_s)
        longest_s = round(self._loop_watch.longest_s(now_s), 3)
        return _answer(problems, {"loop_stall_longest_s": longest_s})

    async def _readyz(self, _: web.Request) -> web.StreamResponse:
        readings = self._metrics.readings
        lanes = readings.lanes()
        problems = self._readiness.problems(
            lanes, readings.rules(), self._monotonic_s(), is_member=self._is_member()
        )
        return _answer(problems, {"partitions": len(lanes)})

    async def _status(self, _: web.Request) -> web.StreamResponse:
        snapshot = await self._metrics.snapshot()
        status = {
            "as_of_ms": snapshot.now_ms,
            "rules": snapshot.rules,
            "releases": [r for view in snapshot.views for r in view.releases],
            "services": [s for view in snapshot.views for s in view.scopes],
            "lanes": snapshot.lanes,
        }
        return json_answer(status)


def _answer(problems: list[Problem], facts: dict[str, Any]) -> web.Response:
    word = "not ok" if problems else "ok"
    body = {"status": word, "problems": problems, **facts}
    return json_answer(body, status=503 if problems else 200)
