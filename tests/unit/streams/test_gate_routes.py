"""What the gates' routes promise to clients that read a status and nothing else."""

from __future__ import annotations

import pytest

from streams.gate.route import Route
from streams.gate.table import ROUTES


@pytest.mark.parametrize("route", ROUTES, ids=lambda one: f"{one.method} {one.path}")
def test_yes_is_exactly_200(route: Route) -> None:
    """Clients take 201, 204 or a redirect for opposite things: no route has any.

    A client that says what it has already may hear that nothing has changed.
    """
    asks = any(header.name == "If-None-Match" for header in route.headers)
    wanted = {200, 304} if asks else {200}
    assert {status for status in route.answers if status < 400} == wanted
