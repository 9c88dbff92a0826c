"""What all routes of the gates share: who knows, and who may ask."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from acting.protocols import Standing
from streams.errors import Unreachable
from streams.gate.access import Bearer, Scope, Tokens, token_in
from streams.gate.bodies import Limited, Problem
from streams.gate.flags import FlagDesk
from streams.gate.judging import Judge, Known
from streams.gate.limits import Buckets, network_of
from streams.gate.metrics import GateMetrics
from streams.gate.reading import Release

ANYBODY = Bearer("anybody on this machine", Scope.READ)


class Desk:
    """What handlers work with.

    Parameters
    ----------
    judge : Judge
        Knows and claims.
    tokens : callable
        Who may ask, as of now; gives None where there are no tokens.
    buckets : Buckets
        How often.
    is_open : bool
        Without tokens everybody who reaches the server may read.
    description : bytes
        The OpenAPI document.
    metrics : GateMetrics
        Counts requests.
    """

    def __init__(
        self,
        judge: Judge,
        tokens: Callable[[], Tokens | None],
        buckets: Buckets,
        *,
        is_open: bool,
        description: bytes,
        metrics: GateMetrics,
    ) -> None:
        self.judge = judge
        self.flags: FlagDesk | None = None
        self.description = description
        self.metrics = metrics
        self._tokens = tokens
        self._buckets = buckets
        self._is_open = is_open

    async def known(self, asked: Release) -> Known:
        """How a release stands; stale while nobody knows."""
        try:
            return await self.judge.known(asked)
        except Unreachable as error:
            return Known(Standing.STALE, str(error), None)

    def admit(self, request: web.Request, scope: Scope, offered: str | None) -> Bearer:
        """Who asks; ends the request of those who may not."""
        tokens = self._tokens()
        if tokens is None and self._is_open and scope is Scope.READ:
            return ANYBODY
        if tokens is None:
            raise Problem(403, "no tokens are known here: set HYPERCARE_GATES_TOKENS")
        token = token_in(request.headers.get("Authorization", "")) or offered
        bearer = tokens.bearer(token) if token else None
        if bearer is None:
            # No fallback for strangers: they hear 429, whoever they claim to be.
            wait_s = self._buckets.take(_address(request))
            if wait_s:
                raise Problem.later(wait_s)
            raise Problem(401, "a bearer token that is known here is needed")
        if bearer.scope.rank < scope.rank:
            raise Problem(403, f"the token of {bearer.name} is not good for {scope}")
        return bearer

    def limit(self, request: web.Request, bearer: Bearer) -> None:
        """End the request of a caller who asks too often.

        A known token is limited by its name, whatever strangers at its address do.
        """
        wait_s = self._buckets.take(
            _address(request) if bearer is ANYBODY else bearer.name
        )
        if wait_s:
            raise Limited(wait_s)


def _address(request: web.Request) -> str:
    return f"at {network_of(request.remote)}"
