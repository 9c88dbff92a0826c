"""What an order has to say: the same wherever it comes from."""

from __future__ import annotations

import pytest

from acting.orders import problem_of
from acting.records import Order, Word

REC, SHOP, STAGING = (
    "recommendation_id",
    {"service": "shop"},
    {"environment": "staging"},
)
CART = {"service": "shop", "value": "cart"}


@pytest.mark.parametrize(
    ("word", "facts", "said"),
    [
        ("stop", {}, ""),
        ("stop", {"value": "shop"}, "takes no value"),
        ("stop", {REC: "rec_a"}, "not about a recommendation"),
        ("freeze", SHOP, ""),
        ("freeze", SHOP | STAGING, "every environment"),
        ("mode", {"value": "rule"}, ""),
        ("mode", {"value": "fast"}, "mode needs one of"),
        ("approvals", {"value": "5"}, ""),
        ("approvals", {"value": "6"}, "approvals needs one of"),
        ("approve", {REC: "rec_a", "value": "rollback"}, ""),
        ("approve", {REC: "rec_a"}, "the action that is approved"),
        ("approve", {REC: "rec_a", "value": "undo"}, "the action that is approved"),
        ("approve", {"value": "rollback"}, "rec_..."),
        ("reject", {REC: "rec_a"}, ""),
        ("reject", {REC: "shop"}, "rec_..."),
        ("reject", {REC: "rec_a", "value": "rollback"}, "takes no action"),
        ("withdraw", CART | STAGING, ""),
        ("withdraw", CART, "needs the environment"),
        ("withdraw", CART | {"environment": "*"}, "one environment"),
        ("withdraw", {"value": "cart"} | STAGING, "its service"),
        ("withdraw", SHOP | STAGING, "needs a component"),
        ("restore", CART, ""),
        ("restore", CART | STAGING, ""),
        ("restore", CART | {"environment": "*"}, "one environment"),
        ("restore", {"value": "cart"}, "its service"),
    ],
)
def test_orders_say_what_their_word_needs(
    word: str, facts: dict[str, str], said: str
) -> None:
    """Nothing missing, and nothing that the word would pass over."""
    found = problem_of(Order(Word(word), "ada", "test", **facts))
    assert (found == "") == (said == "")
    assert said in found
