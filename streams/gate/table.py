"""All routes of the gates. Add one: a handler, a ``Route``, a line here."""

from __future__ import annotations

from streams.gate import changes, flagger, flagroutes, kayenta, pages, questions
from streams.gate.route import Route

ROUTES: tuple[Route, ...] = (
    *questions.ROUTES,
    *changes.ROUTES,
    *flagger.ROUTES,
    *kayenta.ROUTES,
    *flagroutes.ROUTES,
    *pages.ROUTES,
)
