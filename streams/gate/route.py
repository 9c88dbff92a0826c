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
from streams.gate.bodies import NAME_CHARS_MAX, Problem
from streams.gate.desk import Desk

PAGES = "pages"
"""Protocol of what supervisors and scrapers ask again and again: it is not counted."""


class Param(NamedTuple):
    """A value in the query."""

    name: str
    help: str
    required: bool = False


class Answer(NamedTuple):
    """A status: what it means, and the body's type; None: a problem (RFC 9457).

    An empty ``kind`` is of an answer without a body.
    """

    help: str
    body: Any = None
    kind: str = "application/json"


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

    def admit(
        self, scope: Scope, offered: str | None = None, *, is_limited: bool = True
    ) -> None:
        """Let the caller in, or end the request."""
        self.bearer = self.desk.admit(self.request, scope, offered)
        if is_limited:
            self.desk.limit(self.request, self.bearer)

    def check_query(self, known: tuple[Param, ...]) -> None:
        """Go on only with values of a length that names have."""
        for one in known:
            if len(self.request.query.get(one.name, "")) > NAME_CHARS_MAX:
                most = f"longer than {NAME_CHARS_MAX} characters"
                raise Problem(400, f"`{one.name}` is {most}")

    def need(self, scope: Scope) -> None:
        """Go on only with a token that is good for this."""
        if self.caller.scope.rank < scope.rank:
            name = self.caller.name
            raise Problem(403, f"the token of {name} is not good for {scope}")

    def allow(self, service: str) -> None:
        """Go on only with a token that is good for this service."""
        if not self.caller.may(service):
            name = self.caller.name
            raise Problem(403, f"the token of {name} is not good for {service!r}")


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]
Fallback = Callable[[Visit, str], web.StreamResponse]


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
    query, headers : tuple of Param
        Values in the query, and in headers beside the token.
    body : type or None
        What is sent.
    parts : dict
        Values of a part of the path, where only some are known.
    admits_late : bool
        The token may stand in the body: the handler admits.
    fallback : callable or None
        What a client hears that takes an error, or 429, for an answer of another
        kind: given the reason where we can not, or will not now, look.
    is_limited : bool
        Whether too many requests are refused; not, where a refusal would do harm and
        saves nothing.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Answer]
    scope: Scope | None = Scope.READ
    protocol: str = "api"
    query: tuple[Param, ...] = ()
    headers: tuple[Param, ...] = ()
    body: Any = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    admits_late: bool = False
    fallback: Fallback | None = None
    is_limited: bool = True
