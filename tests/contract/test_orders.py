"""Orders over HTTP: components by environment and calendars, as the commands do it."""

from __future__ import annotations

from typing import Any

import pytest

from acting.calendars import Window
from acting.records import Calendar, Word
from streams.gate.orderbodies import OrderWord
from tests.integration.gating import Served
from tests.integration.support import until

pytestmark = pytest.mark.kafka

WINDOW = {
    "name": "always",
    "rrule": "FREQ=DAILY",
    "start": "2026-01-01T00:00",
    "duration": "P1D",
    "timezone": "UTC",
}
CALENDAR = {"word": "calendar", "why": "the season", "service": "pay"}
ORDERS, ONE = "/v1/orders", "/ofrep/v1/evaluate/flags/cart"


def test_words_are_those_of_orders() -> None:
    """Whatever can be ordered can be ordered over HTTP, and calendars beside."""
    assert {*OrderWord} == {*Word, "calendar"}


def executions(served: Served) -> Any:
    """Leases and orders."""
    return served.ask("/v1/executions").body


def test_calendar_is_set_and_cleared(served: Served) -> None:
    """It stands in the log as the command writes it, under the token's name, holds
    for claims, and an empty one takes it back."""
    assert served.ask(ORDERS, {**CALENDAR, "windows": [WINDOW]}).status == 200
    known = served.executions.ledger.known
    windows = (Window(**WINDOW),)
    assert known.calendars["pay"] == Calendar("admin", "the season", "pay", windows)
    told = executions(served)["calendars"]["pay"]
    assert (told["actor"], told["windows"]) == ("admin", [WINDOW])
    whole = {**CALENDAR, "service": "*", "windows": [WINDOW]}
    assert served.ask(ORDERS, whole).status == 200
    claim = {"service": "shop", "release": "regressed", "token": "c" * 16}
    assert served.ask("/v1/claims", claim).body["why"] == "calendar"
    assert served.ask(ORDERS, {**whole, "windows": []}).status == 200
    assert served.ask(ORDERS, {**CALENDAR, "windows": []}).status == 200
    assert executions(served)["calendars"] == {}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (CALENDAR, 409, "needs `windows`"),
        ({**CALENDAR, "windows": [{**WINDOW, "rrule": "FREQ=HOURLY"}]}, 409, "HOURLY"),
        ({**CALENDAR, "windows": [{**WINDOW, "timezone": "Mars"}]}, 409, "Mars"),
        ({**CALENDAR, "windows": [{"name": "a"}]}, 400, "rrule"),
        ({**CALENDAR, "windows": [WINDOW] * 51}, 400, "50"),
        ({**CALENDAR, "windows": [WINDOW], "value": "x"}, 409, "no more"),
        ({"word": "freeze", "why": "x", "windows": []}, 409, "calendar"),
        ({"word": "restore", "why": "x"}, 409, "needs a component"),
        ({"word": "mode", "why": "x", "value": "fast"}, 409, "mode needs one of"),
        ({"word": "approve", "why": "x", "value": "rollback"}, 409, "rec_"),
    ],
)
def test_unclear_order_is_refused(
    served: Served, body: dict[str, Any], status: int, said: str
) -> None:
    """As the commands refuse it; nothing is written."""
    before = executions(served)
    told = served.ask(ORDERS, body)
    assert (told.status, said in told.body["title"]) == (status, True)
    assert executions(served) == before


def test_one_environment_is_withdrawn(served: Served) -> None:
    """A component is taken out of staging and put back there; whoever runs in
    production has it all the time, in the document and over OFREP alike."""

    def cart(environment: str) -> bool:
        context = {"app_version": "2.4.0", "environment": environment}
        return bool(served.ask(ONE, {"context": context}).body["value"])

    until(lambda: served.ask("/v1/flags.json").status == 200, what="flags are served")
    order = {"why": "test", "service": "shop", "value": "cart"}
    staging = {"environment": "staging"}
    assert served.ask(ORDERS, {"word": "withdraw", **order}).status == 409
    assert served.ask(ORDERS, {"word": "withdraw", **order, **staging}).status == 200
    until(lambda: not cart("staging"), what="it is off in staging")
    assert cart("production")
    (told,) = executions(served)["switched"]
    assert (told["environment"], told["action"]) == ("staging", "withdraw")
    elsewhere = {"environment": "production"}
    assert served.ask(ORDERS, {"word": "restore", **order, **elsewhere}).status == 200
    assert executions(served)["switched"] == [told]
    assert served.ask(ORDERS, {"word": "restore", **order, **staging}).status == 200
    until(lambda: cart("staging"), what="it is on in staging again")


def test_calendar_needs_the_scope(served: Served) -> None:
    """Tokens that may only read, or act, order nothing."""
    body = {**CALENDAR, "windows": [WINDOW]}
    for name in ("read", "act"):
        assert served.ask(ORDERS, body, token=name).status == 403
