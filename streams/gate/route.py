"""What a route of the gates is, and a visit to one.

All that is said of a route stands in one place: who may ask, what is sent, which
answers there are. The server, the OpenAPI document and the counters read it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web

from streams.gate.access import Bearer, Scope
from streams.gate.bodies import Problem
from streams.gate.desk import Desk


class Param(NamedTuple):
    """A value in the query."""

    name: str
    help: str
    required: bool = False


class Answer(NamedTuple):
    """A status: what it means, and the body's type; None: a problem (RFC 9457)."""

    help: str
    body: Any = None


@dataclass(slots=True)
class Visit:
    """One request on its way through a handler.

    Attributes
    ----------
    desk : Desk
        Who knows and who counts.
    request : web.Request
        What was sent.
    bearer : Bearer or None
        Who asks; None until the token was seen.
    answer : str
        What is counted beside the protocol; the status where a handler says nothing.
    """

    desk: Desk
    request: web.Request
    bearer: Bearer | None = None
    answer: str = ""

    @property
    def caller(self) -> Bearer:
        """Who asks."""
        assert self.bearer is not None, "the route admits nobody"
        return self.bearer

    def admit(self, scope: Scope, offered: str | None = None) -> None:
        """Let the caller in, or end the request."""
        self.bearer = self.desk.admit(self.request, scope, offered)

    def need(self, scope: Scope) -> None:
        """Go on only with a token that is good for this."""
        if self.caller.scope.rank < scope.rank:
            name = self.caller.name
            raise Problem(403, f"the token of {name} is not good for {scope}")


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route.

    Attributes
    ----------
    method, path : str, str
        As aiohttp and OpenAPI write them.
    handler : callable
        Answers a visit.
    summary : str
        What it is for, in a sentence.
    answers : dict
        By status, those of the guard (401, 403, ...) left out.
    scope : Scope or None
        What a token must be good for; None: nobody is asked.
    protocol : str
        Under which name its requests are counted.
    query : tuple of Param
        Values in the query.
    body : type or None
        What is sent.
    parts : dict
        Values of a part of the path, where only some are known.
    admits_late : bool
        The token may stand in the body: the handler admits.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Answer]
    scope: Scope | None = Scope.READ
    protocol: str = "api"
    query: tuple[Param, ...] = ()
    body: Any = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    admits_late: bool = False
