"""What all routes of the gates share: who knows, and who may ask."""

from __future__ import annotations

from aiohttp import web

from acting.protocols import Standing
from streams.errors import Unreachable
from streams.gate.access import Bearer, Scope, Tokens, token_in
from streams.gate.bodies import Problem
from streams.gate.judging import Judge, Known
from streams.gate.reading import Release


class Desk:
    """What handlers work with.

    Parameters
    ----------
    judge : Judge
        Knows and claims.
    tokens : Tokens or None
        Who may ask.
    is_open : bool
        Without tokens everybody who reaches the server may read.
    """

    def __init__(self, judge: Judge, tokens: Tokens | None, *, is_open: bool) -> None:
        self.judge = judge
        self._tokens = tokens
        self._is_open = tokens is None and is_open

    def known(self, asked: Release) -> Known:
        """How a release stands; stale while nobody knows."""
        try:
            return self.judge.known(asked)
        except Unreachable as error:
            return Known(Standing.STALE, str(error), None)

    def admit(self, request: web.Request, scope: Scope, offered: str | None) -> Bearer:
        """Who asks; ends the request of those who may not."""
        if self._is_open and scope is Scope.READ:
            return Bearer("anybody on this machine", Scope.READ)
        if self._tokens is None:
            raise Problem(403, "no tokens are known here: set HYPERCARE_GATES_TOKENS")
        token = token_in(request.headers.get("Authorization", "")) or offered
        bearer = self._tokens.bearer(token) if token else None
        if bearer is None:
            raise Problem(401, "a bearer token that is known here is needed")
        if bearer.scope.rank < scope.rank:
            raise Problem(403, f"the token of {bearer.name} is not good for {scope}")
        return bearer
