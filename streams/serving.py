"""One HTTP server: where it listens, what every answer carries, and how it ends.

The pages of a worker and the gates are both served by it; what they answer is theirs.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

logger = logging.getLogger(__name__)

SHUTDOWN_S = 2.0
IDLE_S = 75.0
"""A connection that has not sent a whole head by then is closed, as is an idle one."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "hypercare",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guard = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class _Heads(logging.Filter):
    """Drops what is not HTTP: anybody could fill the log with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


logger.addFilter(_Heads())


class ListenError(Exception):
    """The server can not start; the text names the address and the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Names of the variables that errors point to."""

    host: str = "HYPERCARE_WEB_HOST"
    port: str = "HYPERCARE_WEB_PORT"
    names: str = "HYPERCARE_WEB_NAMES"


class Listener:
    """A server on one address.

    Parameters
    ----------
    application : web.Application
        What is served.
    host, port : str, int
        Where to listen; port 0 takes any free one, see ``port`` after ``start``.
    variables : Variables
        What errors tell people to set.
    tls : ssl.SSLContext or None
        With whose certificate; None speaks plain HTTP.
    """

    def __init__(
        self,
        application: web.Application,
        *,
        host: str,
        port: int,
        variables: Variables,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host, self.port = host, port
        self._application = application
        self._variables = variables
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        ListenError
            The address can not be used.
        """
        runner = web.AppRunner(
            self._application,
            access_log=None,
            logger=logger,
            shutdown_timeout=SHUTDOWN_S,
            keepalive_timeout=IDLE_S,
        )
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ListenError(self._explain(error)) from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port; connections get a moment to end."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _explain(self, error: OSError) -> str:
        where = f"{self.host}:{self.port}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"port {self.port} on {self.host} is taken by another program: end it, "
                f"or set {self._variables.port} to a free port (0: any)"
            )
        if error.errno == errno.EACCES:
            return (
                f"no right to listen on {where}: set {self._variables.port} to a port "
                "above 1023"
            )
        return (
            f"can not listen on {where} ({error.strerror or error}): set "
            f"{self._variables.host} to an address of this machine"
        )


def guarded(guard: Guard, **limits: Any) -> web.Application:
    """An application: all requests pass the guard, all answers are hardened."""

    @web.middleware
    async def middle(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await guard(request, handler)

    app = web.Application(middlewares=[middle], **limits)
    app.on_response_prepare.append(_harden)
    return app


def json_answer(
    value: Any, status: int = 200, kind: str = "application/json"
) -> web.Response:
    """A JSON answer; numbers JSON does not have (no upper limit, say) become null."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type=kind)


async def _harden(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
